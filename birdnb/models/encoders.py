"""Frozen encoders: sound in, a vector a window out; they are used as they are, never trained.

``open_encoder("birdnet", profile)``; ``birdnb.registry.ENCODERS`` says which there are.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from birdnb.cards import Card
from birdnb.config import ModelSettings, Profile
from birdnb.registry import ENCODERS, find, full_encoder

TAIL = 3  # what is left at the end of a recording counts from a third of a window on


class Label(NamedTuple):
    """What an encoder calls one of its classes; ``common`` is "" where it has no such name."""

    scientific: str
    common: str = ""


@dataclass(frozen=True)
class Encoded:
    """W windows: ``embeddings`` (W, D) float32, ``answers`` (W, L) float32 logits or None."""

    embeddings: np.ndarray
    answers: np.ndarray | None = None


class Encoder(ABC):
    """A frozen encoder. Opened again in each process that uses it."""

    name: str  # as it was asked for: "birdnet", "onnx:perch_v2.onnx"
    card: Card
    sample_rate: int  # [Hz]
    window_seconds: float
    high_pass_hz: float = 0.0  # 0: none
    labels: Sequence[Label] = ()  # of its own answers; empty when it has none
    network: ModelSettings | None = None  # of one of our own: what it was built from
    key: str  # changes with whatever changes the embeddings: weights, version, settings

    @property
    def window_samples(self) -> int:
        """Return the samples in a window."""
        return round(self.window_seconds * self.sample_rate)

    @abstractmethod
    def encode(self, windows: np.ndarray) -> Encoded:
        """Encode windows (W, window_samples), float32 of full scale 1."""

    def embed(self, samples: np.ndarray) -> np.ndarray:
        """Return the embeddings (W, D) of sound (samples,) at the encoder's sample rate."""
        return self.encode(self.windows(samples)).embeddings

    def count(self, samples: int) -> int:
        """Return how many windows cover so many samples; at least one.

        What is left at the end is dropped when it is less than a third of a window.
        """
        whole, left = divmod(samples, self.window_samples)
        return max(1, whole + (TAIL * left >= self.window_samples))

    def windows(self, samples: np.ndarray) -> np.ndarray:
        """Cut sound (samples,) into windows (W, window_samples) side by side, the last padded."""
        whole = np.zeros((self.count(len(samples)), self.window_samples), np.float32)
        heard = samples[: whole.size]
        whole.reshape(-1)[: len(heard)] = heard
        return whole


def open_encoder(name: str, profile: Profile) -> Encoder:
    """Open an encoder by name: "birdnet", "birdnet:PATH", "onnx:PATH", "ast", "ast:WEIGHTS".

    A path that ends in .onnx or .tflite will do as well. ``profile`` says what our own networks are
    given. Raises BirdnbError for an unknown name, a package that is not installed, and a file that
    is missing, damaged or foreign.
    """
    kind, _, given = full_encoder(name).partition(":")
    encoder = find("encoder", ENCODERS, kind)(given, profile)
    encoder.name = name
    return encoder


def find_labels(labels: Sequence[Label], names: Sequence[Sequence[str]]) -> np.ndarray:
    """Return the index (C,) into ``labels`` of each species, -1 for one that is not among them.

    ``names`` are those of each species, the best first; they may be scientific or common, and case,
    hyphens and underscores do not count.
    """
    place: dict[str, int] = {}
    for kind in (0, 1):  # a scientific name is never taken for somebody's common one
        for number, label in enumerate(labels):
            place.setdefault(_bare(label[kind]), number)
    place.pop("", None)
    found = [[place[_bare(n)] for n in several if _bare(n) in place] for several in names]
    return np.array([those[0] if those else -1 for those in found], dtype=np.int64)


def _bare(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
