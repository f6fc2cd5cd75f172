"""Runs of frozen encoders as listeners: logistic regression on a window, or the own answer."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from birdnb.config import AudioSettings, ModelSettings, Profile, RunSettings, SplitSettings
from birdnb.field.windows import Batch, Wave
from birdnb.files import BirdnbError, sha256_of
from birdnb.models.embeddings import Embedded
from birdnb.models.encoders import Encoder, find_labels, open_encoder
from birdnb.models.frozen import pool
from birdnb.registry import FROZEN, OWN_ANSWER
from birdnb.training.runs import METRICS, read_json
from birdnb.training.yardstick import WEIGHTS, load_frozen

Scoring = tuple[Wave, str, Callable[[Batch], np.ndarray]]  # what is heard, weights, probabilities


def open_frozen(
    folder: Path, config: dict[str, Any], labels: list[str], audio: AudioSettings
) -> tuple[Encoder, Scoring]:
    """Open the encoder of a run and what the run makes of a window.

    A window is one of the encoder's own, from the middle of the clip. Raises BirdnbError when the
    encoder is not there, or another than the one the run was made with.
    """
    settings = config["settings"]["model"]
    network = config.get("network")  # one of our own is built as it was in the run's profile
    runs = {"encoder": RunSettings(ModelSettings(**network))} if network else {}
    encoder = open_encoder(settings["encoder"], Profile("field", audio, SplitSettings(), runs))
    if encoder.key != settings["weights"]:
        raise BirdnbError(
            f"{folder}: {settings['encoder']} is another encoder now than the run was made with: "
            f"train the run again"
        )
    wave = Wave(encoder.sample_rate, encoder.window_samples, encoder.high_pass_hz)
    lock = threading.Lock()  # an interpreter does one thing at a time
    if config["run"].startswith(OWN_ANSWER):
        known = _known(folder, encoder, labels)
        told = settings["weights"]
    else:
        model, choice = load_frozen(folder)
        told = settings["weights"] + sha256_of(folder / WEIGHTS)

    def score(batch: Batch) -> np.ndarray:
        """Map windows to scores of the species (N, C)."""
        with lock:
            encoded = encoder.encode(batch.waves[wave])
        if config["run"].startswith(OWN_ANSWER):
            assert encoded.answers is not None
            among = np.where(known >= 0, encoded.answers[:, known], -np.inf)  # (N, C)
            return softmax(among, axis=1).astype(np.float32)
        none = np.zeros(0, np.float32)
        rows = [Embedded(row[None], np.ones(1), none) for row in encoded.embeddings]
        return model.predict_proba(pool(rows, choice)).astype(np.float32)

    return encoder, (wave, hashlib.sha256(told.encode()).hexdigest(), score)


def _known(folder: Path, encoder: Encoder, labels: list[str]) -> np.ndarray:
    """Return the place of each species among the encoder's labels, -1 for none, as in the run."""
    known = find_labels(encoder.labels, [[label] for label in labels])
    unknown = [label for label, place in zip(labels, known, strict=True) if place < 0]
    if unknown != read_json(folder / METRICS)["species_unknown"]:
        raise BirdnbError(
            f"{folder}: its species were found by their common names, which a run does not keep: "
            f"use the run {FROZEN}... of the same encoder"
        )
    return known
