"""Runs of frozen encoders: the yardstick that every network is held against.

``frozen_birdnet`` is logistic regression on its embeddings of the recordings;
``own_answer_birdnet`` is what it says of them itself, nothing trained.
"""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import softmax

from birdnb.config import Profile, key_of
from birdnb.data import StudyData
from birdnb.evaluation.predictions import Predictions
from birdnb.files import BirdnbError
from birdnb.models.embeddings import Embeddings, build_embeddings
from birdnb.models.encoders import Encoder, find_labels, open_encoder
from birdnb.models.frozen import Choice, fit_frozen, pool
from birdnb.models.linear import Linear
from birdnb.registry import CLASSICAL, ENCODERS, FROZEN, OWN_ANSWER, encoder_id, is_yardstick
from birdnb.training.claim import Claim
from birdnb.training.runs import CONFIG, METRICS, FrozenSettings, folder_of, read_json, run_folder

WEIGHTS = "frozen.safetensors"  # of a frozen run: the logistic regression
SIDES = {"train": "train", "val": "validation", "test": "test"}
Outcome = tuple[pd.DataFrame, dict[str, Predictions], dict[str, Any]]  # history, sides, about


def frozen_settings(profile: Profile, run: str) -> FrozenSettings:
    """Return the settings of a run of a frozen encoder by its name, such as frozen_birdnet.

    The encoder is one of the profile's, or one that needs no path. Raises BirdnbError when none of
    them makes a run of that name.
    """
    named = run.removeprefix(FROZEN).removeprefix(OWN_ANSWER)
    known = (*profile.encoders, *ENCODERS)
    name = next((name for name in known if encoder_id(name) == named), None)
    if name is None:
        raise BirdnbError(
            f"no encoder makes the run {run!r}: name it, with encoders: [onnx:PATH] in the profile"
        )
    return _settings(run, name, open_encoder(name, profile))


def settings_of_encoder(data: StudyData, encoder: str) -> list[FrozenSettings]:
    """Return an encoder's runs' settings: its own answer among them if it knows two species."""
    found = open_encoder(encoder, data.profile)
    kinds = [FROZEN, OWN_ANSWER] if (known_species(data, found) >= 0).sum() > 1 else [FROZEN]
    return [_settings(kind + encoder_id(encoder), encoder, found) for kind in kinds]


def _settings(run: str, encoder: str, found: Encoder) -> FrozenSettings:
    of = {"name": run, "encoder": encoder, "weights": found.key}
    if run.startswith(OWN_ANSWER):  # other labels are another answer
        of["labels"] = key_of(list(map(tuple, found.labels)))
    return FrozenSettings(of, found.card, found.network)


def train_frozen(
    data: StudyData, settings: FrozenSettings, claim: Claim, progress: bool = True
) -> Outcome:
    """Fit logistic regression on the embeddings of the training side, as validation chooses."""
    embeddings = _embeddings(data, settings, progress)
    start = time.perf_counter()
    sides = {}
    for name, side in SIDES.items():
        ids = data.side(side)
        sides[name] = [embeddings.load(recording) for recording in ids], data.targets(ids)
    model, choice, rows = fit_frozen(sides["train"], sides["val"], len(data.labels), progress)
    claim.check()
    model.save(claim.folder / WEIGHTS)
    found = {
        name: Predictions(
            data.side(SIDES[name]),
            model.predict_proba(pool(recordings, choice)).astype(np.float32),
            targets,
        )
        for name, (recordings, targets) in sides.items()
    }
    history = pd.DataFrame(rows)
    history.insert(0, "epoch", range(1, len(rows) + 1))
    about = {
        "epochs": 1, "best_epoch": 1, "seconds": time.perf_counter() - start,
        "parameters": model.coefficients.size + model.intercept.size,
        "chosen": dataclasses.asdict(choice),
        "listening_seconds": sum(one.seconds for those, _ in sides.values() for one in those),
    }  # fmt: skip
    return history, found, about | _about(embeddings.encoder)


def own_answer(
    data: StudyData, settings: FrozenSettings, claim: Claim, progress: bool = True
) -> Outcome:
    """Let the encoder name the species of the corpus that it knows, by its surest window.

    Nothing is trained. A species that it does not know is never named, and counts as wrong. Raises
    BirdnbError when it knows fewer than two.
    """
    embeddings = _embeddings(data, settings, progress)
    known = known_species(data, embeddings.encoder)
    if (known >= 0).sum() < 2:
        raise BirdnbError(
            f"{settings.model['encoder']} knows {(known >= 0).sum()} of the species: it has no "
            f"answer of its own for this corpus"
        )
    found, seconds = {}, 0.0
    for name, side in SIDES.items():
        ids = data.side(side)
        recordings = [embeddings.load(recording) for recording in ids]
        seconds += sum(one.seconds for one in recordings)
        logits = np.stack([one.answer for one in recordings])  # (R, L)
        among = np.where(known >= 0, logits[:, known], -np.inf)  # (R, C)
        found[name] = Predictions(ids, softmax(among, axis=1).astype(np.float32), data.targets(ids))
    unknown = [label for label, place in zip(data.labels, known, strict=True) if place < 0]
    about = {"epochs": 0, "seconds": 0.0, "parameters": 0, "species_unknown": unknown}
    about["listening_seconds"] = seconds
    return pd.DataFrame(columns=["epoch"]), found, about | _about(embeddings.encoder)


def known_species(data: StudyData, encoder: Encoder) -> np.ndarray:
    """Return where each species (C,) is in the encoder's labels, by label, common name; else -1."""
    names = {label: [label] for label in data.labels}
    if "common_name" in data.table:
        for label, common in zip(data.table["species"], data.table["common_name"], strict=True):
            if common and common not in names[label]:
                names[label].append(common)
    return find_labels(encoder.labels, list(names.values()))


def finished_encoders(datasets: Sequence[StudyData]) -> list[str]:
    """Return finished runs of encoders on this split or folds; one line names the others."""
    first = datasets[0]
    beside = folder_of(first.corpus.name, first.profile.name, CLASSICAL, None).parent
    runs = sorted(path.name for path in beside.glob("*/") if is_yardstick(path.name))
    current = [run for run in runs if all(finished_on(data, run) for data in datasets)]
    if other := [run for run in runs if run not in current]:
        print(f"not on these recordings and sides: {', '.join(other)}; left out")
    return current


def finished_on(data: StudyData, run: str) -> bool:
    """Tell whether a run is finished on the recordings, species and sides of this data."""
    folder = run_folder(data, run)
    return (folder / METRICS).exists() and (
        read_json(folder / CONFIG).get("split") == data.fingerprint()
    )


def load_frozen(folder: Path) -> tuple[Linear, Choice]:
    """Read the logistic regression of a finished run; ``predict_proba(pool([...], choice))``."""
    return Linear.load(folder / WEIGHTS), Choice(**read_json(folder / METRICS)["chosen"])


def _embeddings(data: StudyData, settings: FrozenSettings, progress: bool) -> Embeddings:
    name = settings.model["encoder"]
    return build_embeddings(name, data.corpus, data.cache, data.profile, progress=progress)


def _about(encoder: Encoder) -> dict[str, Any]:
    return {"pretrained": encoder.card.title}
