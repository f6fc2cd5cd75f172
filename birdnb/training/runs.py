"""Run folders: what a run is made of, whether it is finished, and reading it back.

A run is finished when ``metrics.json`` is there, which is written last. Its configuration
(``config.json``) is its settings, seed, labels, split and spectrograms; ``key`` in it is a hash of
them.
"""

import dataclasses
import importlib.metadata
import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from birdnb import __version__
from birdnb.cards import Card
from birdnb.config import ModelSettings, RunSettings, key_of
from birdnb.corpora.background import background_matrix
from birdnb.data import StudyData
from birdnb.evaluation.predictions import Predictions
from birdnb.files import ROOT, BirdnbError, artifacts_dir, safe_name, sha256_of, sweep, write_json
from birdnb.models import build_model
from birdnb.models.weights import load_all_but, read_weights, weights_key
from birdnb.registry import CLASSICAL
from birdnb.training.checkpoint import BEST
from birdnb.training.devices import device_name
from birdnb.training.own_code import own_code

CONFIG, METRICS, LABELS, HISTORY = "config.json", "metrics.json", "labels.json", "history.csv"
REPLACED = "replaced"  # folder in a run's folder: the finished run before this one
PACKAGES = ("torch", "accelerate", "transformers", "timm", "numpy", "scikit-learn", "librosa")


@dataclass(frozen=True)
class ClassicalSettings:
    """The settings of logistic regression on MFCC statistics, which has none to choose."""

    model: dict[str, str] = field(default_factory=lambda: {"name": CLASSICAL})


@dataclass(frozen=True)
class FrozenSettings:
    """The settings of a run of a frozen encoder, its own answer among them."""

    # name of the run, encoder as it was asked for, keys of its weights and, if it answers, labels
    model: dict[str, str]
    card: Card
    network: ModelSettings | None = None  # what one of our own networks was built from


AnySettings = RunSettings | ClassicalSettings | FrozenSettings


@dataclass
class RunResult:
    """A finished run, read from its folder."""

    name: str
    folder: Path
    config: dict[str, Any]
    labels: list[str]
    history: pd.DataFrame
    metrics: dict[str, Any]
    val: Predictions
    test: Predictions


def run_folder(data: StudyData, run: str) -> Path:
    """Return ``artifacts/runs/<corpus>-<profile>/<run>``, for a fold ``fold-1-of-4`` in it."""
    return folder_of(data.corpus.name, data.profile.name, run, data.fold)


def folder_of(corpus: str, profile: str, run: str, fold: tuple[int, int] | None) -> Path:
    """Return ``run_folder`` by names, for those who have not opened the data."""
    if safe_name(run) != run:
        raise BirdnbError(
            f"the run name {run!r} cannot be a folder: use letters, digits, '.', '_' and '-', such "
            f"as {safe_name(run)}"
        )
    folder = artifacts_dir() / "runs" / f"{corpus}-{profile}" / run
    return folder / f"fold-{fold[0]}-of-{fold[1]}" if fold else folder


def whole_run(data: StudyData, run: str) -> Path:
    """Return where is kept what holds for all folds, ``folds-of-4`` in a run's folder; or that."""
    folder = run_folder(data, run)
    return folder.parent / f"folds-of-{data.fold[1]}" if data.fold else folder


def load_run(folder: Path | str) -> RunResult:
    """Read a finished run. Raises BirdnbError when it is not finished or a file is damaged."""
    folder = Path(folder)
    config, labels, metrics = _finished(folder)
    try:
        history = pd.read_csv(folder / HISTORY)
    except (OSError, ValueError) as error:
        raise _damaged(folder / HISTORY, error) from error
    val, test = (Predictions.load(folder / f"predictions_{side}.npz") for side in ("val", "test"))
    if val.probabilities.shape[1] != len(labels):
        raise BirdnbError(
            f"{folder}: predictions of {val.probabilities.shape[1]} species, {len(labels)} labels: "
            f"train it again"
        )
    return RunResult(config["run"], folder, config, labels, history, metrics, val, test)


def load_model(folder: Path | str) -> nn.Module:
    """Build the network of a finished run with the weights it kept, on the CPU, for evaluation.

    Raises BirdnbError when the run is no network or not finished, or when its weights are damaged
    or of another run.
    """
    folder = Path(folder)
    config, labels, metrics = _finished(folder)
    if not (folder / BEST).exists():
        raise BirdnbError(
            f"{folder} holds no network ({BEST} is missing): load the run of a network, or train "
            f"it again"
        )
    if sha256_of(folder / BEST) != metrics["weights_sha256"]:
        raise BirdnbError(
            f"{folder / BEST} is damaged or of another run (see weights_sha256 in {METRICS}): "
            f"train it again"
        )
    weights, name = read_weights(folder / BEST), config["settings"]["model"]["name"]
    model = build_model(name, len(labels), config["n_frames"], size=config["size"])
    load_all_but(model, weights, (), folder / BEST)
    return model.eval()


def record_size(folder: Path, size: Any) -> None:
    """Add the network's size, which a hub's checkpoint brings along, to ``config.json``."""
    config = read_json(folder / CONFIG)
    if config.get("size") != size:
        write_json(folder / CONFIG, config | {"size": size})


def _finished(folder: Path) -> tuple[Any, Any, Any]:
    """Read configuration, labels and metrics of a finished run."""
    if not (folder / METRICS).exists():
        raise BirdnbError(
            f"{folder} holds no finished run: run its training (it goes on where it stopped)"
        )
    return read_json(folder / CONFIG), read_json(folder / LABELS), read_json(folder / METRICS)


def run_config(
    data: StudyData, run: str, settings: AnySettings, device: torch.device, processes: int
) -> dict[str, Any]:
    """Put together what goes into ``config.json``.

    ``key`` covers what decides the result: settings, seed, labels, split, spectrograms, species in
    the background where they are learned, the bytes of local or shipped weights that the network
    starts from, and the source of a network or an augmentation of one's own.
    """
    plain, split = dataclasses.asdict(settings), data.fingerprint()
    of_encoder: dict[str, Any] = {
        part: plain.pop(part) for part in ("card", "network") if part in plain
    }
    weights = weights_key(settings.model) if isinstance(settings, RunSettings) else None
    behind = _background(data) if plain.get("train", {}).get("background_labels") else None
    own = own_code(settings) if isinstance(settings, RunSettings) else None
    decides = [plain, data.seed, data.labels, split, weights, *filter(None, (behind, own))]
    return {
        "run": run, **of_encoder, "key": key_of(*decides),
        "settings": plain, "seed": data.seed, "fold": list(data.fold) if data.fold else None,
        "profile": data.profile.name, "corpus": data.origin(),
        "recordings": {side: len(data.side(side)) for side in ("train", "validation", "test")},
        "split": split, "weights": weights, "background": behind, "own_code": own,
        "cache": data.cache.folder.name,
        "audio": dataclasses.asdict(data.profile.audio), "n_frames": data.profile.audio.n_frames,
        "device": device_name(device), "processes": processes, "threads": torch.get_num_threads(),
        "birdnb": __version__,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "git_commit": git_commit(),
    }  # fmt: skip


def _background(data: StudyData) -> str | None:
    """Return a key of the species heard behind the training recordings; None without any."""
    behind = background_matrix(data.recordings.loc[data.side("train")], data.labels)  # (R, C)
    return key_of(*(places.tolist() for places in behind.nonzero())) if behind.any() else None


def prepare_folder(folder: Path, config: dict[str, Any], labels: list[str], again: bool) -> None:
    """Leave a folder that is finished or can go on, else a fresh one.

    One line says what is started over, and why. A finished run whose configuration changed goes to
    ``replaced/``. Raises BirdnbError when ``config.json`` is damaged.
    """
    before = read_json(folder / CONFIG) if (folder / CONFIG).exists() and not again else None
    sweep(folder)  # what killed processes were writing
    if before is not None and before.get("key") == config["key"]:
        # what is known of an encoder decides nothing, and is told as it is known now
        if "card" in config and before.get("card") != json.loads(json.dumps(config["card"])):
            write_json(folder / CONFIG, before | {"card": config["card"]})
        return
    if before is not None:
        finished = (folder / METRICS).exists()
        kept = f"; the finished run is kept in {folder / REPLACED}" if finished else ""
        tqdm.write(f"{config['run']}: {_changes(before, config)}: trained from the start{kept}")
    _set_aside(folder)
    write_json(folder / LABELS, labels)
    write_json(folder / CONFIG, config)


def read_json(path: Path) -> Any:
    """Read a JSON file of a run. Raises BirdnbError when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def git_commit(root: Path = ROOT) -> str | None:
    """Return the commit that a copy of birdnb is at, None where git does not know.

    With "+" when what decides results was changed since: the package or its dependencies, not
    reports or notebooks.
    """
    commit = _git(root, "describe", "--always", "--abbrev=12", "--match=")
    changed = _git(root, "status", "--porcelain", "--", "birdnb", "pyproject.toml")
    return f"{commit}+" if commit and changed else commit


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _set_aside(folder: Path) -> None:
    """Empty a run's folder, a finished run copied to ``replaced/`` before, safe from a kill."""
    files = [path for path in folder.glob("[!.]*") if path.is_file()]  # no temporary ones
    if (folder / METRICS).exists():
        copy = folder / ".tmp-replaced"
        for old in (copy, folder / REPLACED):
            if old.exists():
                shutil.rmtree(old)
        copy.mkdir()
        for path in files:
            shutil.copy2(path, copy)
        os.replace(copy, folder / REPLACED)
    # metrics.json goes first: what a kill leaves is no finished run; config.json last: then all of
    # this is done again
    for path in sorted(files, key=lambda path: (path.name == CONFIG) - (path.name == METRICS)):
        path.unlink()


def _changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Say in words what changed between two configurations."""
    old, new = flat(before.get("settings", {})), flat(now["settings"])
    changed = [
        f"{key} {old.get(key)} is now {new.get(key)}"
        for key in sorted(old | new)
        if old.get(key) != new.get(key)
    ]
    if before.get("seed") != now["seed"]:
        changed.append(f"seed {before.get('seed')} is now {now['seed']}")
    if before.get("split") != now["split"]:
        changed.append("the recordings, the split or the spectrograms changed")
    if before.get("weights") != now["weights"]:
        changed.append("the weights it starts from changed")
    if before.get("background") != now["background"]:
        changed.append("the species in the background changed")
    if before.get("own_code") != now["own_code"]:
        known = before.get("own_code") is not None
        changed.append(
            f"the code of its own network or augmentation {'changed' if known else 'was not noted'}"
        )
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return ", ".join(changed[:3]) + more


def flat(settings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return settings by dotted name: part.key -> value."""
    return {
        f"{part}.{key}": value for part, values in settings.items() for key, value in values.items()
    }


def _damaged(path: Path, error: Exception) -> BirdnbError:
    remedy = "train the run again with --again, or delete its folder"
    return BirdnbError(f"{path} is missing or damaged ({error}): {remedy}")
