"""A finished run that listens: what it says of windows of sound, whatever it is made of."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from birdnb.config import AudioSettings
from birdnb.evaluation.calibration import apply_temperature
from birdnb.evaluation.ensemble import combine
from birdnb.evaluation.predictions import Predictions, clip_logits
from birdnb.evaluation.refusal import Opinions
from birdnb.field.encoder import open_frozen
from birdnb.field.graph import Network, network_of
from birdnb.field.windows import Batch, Wave
from birdnb.files import BirdnbError, artifacts_dir, sha256_of, user_path
from birdnb.models.classical import ClassicalModel
from birdnb.registry import is_yardstick
from birdnb.settings import filled
from birdnb.training.devices import autocast
from birdnb.training.runs import CONFIG, LABELS, METRICS, read_json

CLASSICAL_FILE = "classical.safetensors"
FOLDS = re.compile(r"folds-of-(\d+)")  # stands for all folds of a run, and holds their thresholds
Hear = Callable[[Batch], Opinions]  # of N windows


@dataclass(frozen=True)
class Listener:
    """A run ready to listen: ``hear(batch)`` gives what it says of windows, of C labels."""

    name: str
    folder: Path
    labels: list[str]
    audio: AudioSettings
    weights: str  # SHA-256 of its weights; of several files, of their hashes and their shares
    hear: Hear
    device: torch.device
    waves: tuple[Wave, ...] = ()  # what it wants to hear beside spectrograms
    synthetic: bool = False  # trained on invented songs
    engine: str = ""  # what computes its networks

    def score(self, batch: Batch) -> np.ndarray:
        """Return the probabilities (N, C) float32 of windows."""
        return self.hear(batch).probabilities


def open_listener(run: str | Path, device: torch.device | str = "cpu") -> Listener:
    """Open a run by its folder, or by its name (``phase3_ast_full``, ``demo-laptop/...``).

    A network, logistic regression or an ensemble; folds are averaged. Raises BirdnbError when it is
    not there, not finished or damaged.
    """
    folder = find_run(run)
    folds = fold_folders(folder)
    listeners = [_open(fold, torch.device(device)) for fold in folds]
    if folds == [folder]:
        return listeners[0]
    if any(other.labels != listeners[0].labels for other in listeners):
        raise BirdnbError(f"{folder}: its folds know different species: train them again")
    return joined(folder.parent.name, folder, listeners, np.ones(len(folds)), temperature=1.0)


def find_run(run: str | Path) -> Path:
    """Return the folder of a run that is finished, or ``folds-of-4`` in it for four folds.

    Raises BirdnbError when there is none, or several have that name, or a run without one of the
    single split has folds of several studies.
    """
    path, runs = user_path(run), artifacts_dir() / "runs"
    named = _named(Path(run)) if _is_name(run) else []
    finished = [folder for folder in [path, *named] if fold_folders(folder)]
    if path in finished or len(finished) == 1:
        return _whole(finished[0])
    if finished:
        names = ", ".join(str(folder.relative_to(runs)) for folder in finished)
        raise BirdnbError(f"several runs are called {str(run)!r}: give one of {names}")
    known = sorted(str(p.parent.relative_to(runs)) for p in runs.glob(f"*/*/{METRICS}"))
    hint = f"finished are {', '.join(known[:8])}" if known else f"none is finished in {runs}"
    raise BirdnbError(f"{str(run)!r} is no finished run: give its folder or name; {hint}")


def fold_folders(folder: Path) -> list[Path]:
    """Return the folders of finished folds, those of a ``folds-of-4`` only; or a run's own."""
    if (folder / METRICS).exists():
        return [folder]
    of = FOLDS.fullmatch(folder.name)
    whole, count = (folder.parent, of[1]) if of else (folder, "*")
    found = [path.parent for path in whole.glob(f"fold-*-of-{count}/{METRICS}")]
    return sorted(found, key=lambda fold: int(fold.name.split("-")[1]))


def _whole(folder: Path) -> Path:
    """Return the folder of a single split, or of the one number of folds that is there."""
    if (folder / METRICS).exists() or FOLDS.fullmatch(folder.name):
        return folder
    counts = sorted({int(fold.name.split("-")[3]) for fold in fold_folders(folder)})
    if len(counts) > 1:
        names = " or ".join(str(folder / f"folds-of-{count}") for count in counts)
        raise BirdnbError(f"{folder} has folds of several studies: give {names}")
    return folder / f"folds-of-{counts[0]}"


def _named(run: Path) -> list[Path]:
    """List where a run of this name may be; ``folds-of-4`` in it need not be a folder yet."""
    if FOLDS.fullmatch(run.name):
        return [folder / run.name for folder in _named(run.parent)]
    runs = artifacts_dir() / "runs"
    return [runs / run, *sorted(runs.glob(f"*/{run}"))]


def _is_name(run: str | Path) -> bool:
    parts = Path(run).parts
    return 1 <= len(parts) <= 3 and ".." not in parts and not set(str(run)) & set("*?[")


def _open(folder: Path, device: torch.device) -> Listener:
    config, labels = read_json(folder / CONFIG), read_json(folder / LABELS)
    if not labels or not all(isinstance(label, str) for label in labels):
        raise BirdnbError(f"{folder / LABELS} names no species: train the run again")
    if "members" in config:
        return _ensemble(folder, config, labels, device)
    audio = filled(AudioSettings, config["audio"], str(folder / CONFIG))
    synthetic, engine = config["corpus"]["synthetic"], ""
    if is_yardstick(config["run"]):
        encoder, (wave, weights, score) = open_frozen(folder, config, labels, audio)
        if 3 <= encoder.window_seconds <= 5:  # as long as a clip may be
            audio = replace(audio, clip_seconds=encoder.window_seconds)
        hear = _without_logits(score)
        return Listener(
            config["run"], folder, labels, audio, weights, hear, device, (wave,), synthetic
        )
    if (folder / CLASSICAL_FILE).exists():
        model = ClassicalModel.load(folder / CLASSICAL_FILE)
        weights = sha256_of(folder / CLASSICAL_FILE)
        hear = _without_logits(lambda batch: model.predict_proba(batch.lms).astype(np.float32))
    else:
        weights = read_json(folder / METRICS).get("weights_sha256", "")
        network, engine = network_of(folder, device)
        hear = by_network(network, config["settings"], device)
    return Listener(
        config["run"], folder, labels, audio, weights, hear, device, (), synthetic, engine
    )


def by_network(network: Network, settings: dict[str, Any], device: torch.device) -> Hear:
    """Return what a network says of windows, by the settings of its run, as in training."""
    normalisation, precision = settings["model"]["normalisation"], settings["train"]["precision"]

    def hear(batch: Batch) -> Opinions:
        """Say what it makes of N windows."""
        lms = torch.from_numpy(batch.lms)  # (N, 128, T)
        with autocast(device, precision):
            logits = clip_logits(network, lms, normalisation, len(lms), device)
        return Opinions(logits.softmax(dim=-1).numpy(), logits.logsumexp(dim=-1).numpy())

    return hear


def _without_logits(score: Callable[[Batch], np.ndarray]) -> Hear:
    """Return what says probabilities only; the energy is not known."""

    def hear(batch: Batch) -> Opinions:
        """Say what it makes of N windows."""
        p = score(batch)
        return Opinions(p, np.full(len(p), np.nan, np.float32))

    return hear


def _ensemble(
    folder: Path, config: dict[str, Any], labels: list[str], device: torch.device
) -> Listener:
    metrics = read_json(folder / METRICS)
    listeners = []
    for name, key in config["members"].items():
        member = member_folder(folder, name)
        if not (member / METRICS).exists() or read_json(member / CONFIG).get("key") != key:
            raise BirdnbError(
                f"{folder}: its member {name} is not there as it was: build the ensemble again"
            )
        listeners.append(_open(member, device))
    if any(listener.labels != labels for listener in listeners):
        raise BirdnbError(f"{folder}: its members know other species: build the ensemble again")
    shares = np.array([metrics["weights"][name] for name in config["members"]])
    return joined(config["run"], folder, listeners, shares, metrics["temperature"])


def member_folder(folder: Path, name: str) -> Path:
    """Return the folder of a member of the ensemble that is in ``folder``, of the same fold."""
    if folder.name.startswith("fold-"):
        return folder.parent.parent / name / folder.name
    return folder.parent / name


def joined(
    name: str, folder: Path, listeners: list[Listener], shares: np.ndarray, temperature: float
) -> Listener:
    """Join runs: energies and probabilities averaged by ``shares``, the latter then scaled."""
    # those that hear spectrograms say how long a clip is: encoders hear its middle
    first = next((one for one in listeners if not one.waves), listeners[0])
    if any(not one.waves and one.audio != first.audio for one in listeners):
        raise BirdnbError(f"{folder}: its parts were trained on different spectrograms")
    used = [(one, share) for one, share in zip(listeners, shares, strict=True) if share > 0]

    weigh = [share for _, share in used]

    def hear(batch: Batch) -> Opinions:
        """Say what it makes of N windows."""
        said = [one.hear(batch) for one, _ in used]
        mean = combine([_predictions(one.probabilities) for one in said], weigh)
        energy = np.average([one.energy for one in said], axis=0, weights=weigh)
        mean = mean if temperature == 1 else apply_temperature(mean, temperature)
        return Opinions(mean.probabilities, energy.astype(np.float32))

    told = [listener.weights for listener in listeners] + [shares.tolist(), temperature]
    weights = first.weights if len(listeners) == 1 else hashlib.sha256(repr(told).encode())
    digest = weights if isinstance(weights, str) else weights.hexdigest()
    waves = tuple(dict.fromkeys(wave for one, _ in used for wave in one.waves))
    engines = "; ".join(dict.fromkeys(one.engine for one, _ in used if one.engine))
    return Listener(
        name, folder, first.labels, first.audio, digest, hear, first.device, waves,
        first.synthetic, engines,
    )  # fmt: skip


def _predictions(probabilities: np.ndarray) -> Predictions:
    names = [str(number) for number in range(len(probabilities))]
    return Predictions(names, probabilities, np.zeros(len(names), np.int64))
