"""What a run said of every window of a recording, and its file, by which a killed run goes on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from birdnb.files import DAMAGED, atomic_path


@dataclass(frozen=True)
class Heard:
    """A recording that was listened to, or why it could not be."""

    recording: str  # its path as tables name it: relative to the folder that was given
    source: str  # absolute path of the file
    begins: str = ""  # ISO time of its first sample, with the zone where it is known; "" unknown
    clock: str = ""  # where that comes from, or what is wrong with it
    seconds: float = 0.0  # of sound that was read
    sample_rate: int = 0  # [Hz] of the file
    channel: str = "mean"  # or the number of the one taken, where the channels cancel
    silent: float = 0.0  # [s] of digital silence, in whole windows
    note: str = ""  # what is missing or mended: "breaks off after 12.0 s ..."
    reason: str = ""  # why nothing was heard: "kind: details"
    starts: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (W,) [s], of the windows
    probabilities: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))  # (W,C)
    energy: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))  # (W,), see refusal

    def without_windows(self) -> Heard:
        """Return the same without the windows, for those who keep what was heard of thousands."""
        empty = Heard(self.recording, self.source)
        return replace(self, **{name: getattr(empty, name) for name in ARRAYS})

    def save(self, path: Path) -> None:
        """Write an .npz file atomically (plain arrays, no pickle)."""
        about = {key: value for key, value in asdict(self).items() if key not in ARRAYS}
        with atomic_path(path) as temporary:
            np.savez_compressed(
                temporary,
                about=np.array(json.dumps(about)),
                **{k: getattr(self, k) for k in ARRAYS},
            )

    @staticmethod
    def load(path: Path) -> Heard | None:
        """Read what ``save`` wrote; None for a file that is missing or damaged."""
        try:
            with np.load(path, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                return Heard(**about, **{name: file[name] for name in ARRAYS})
        except (*DAMAGED, TypeError):
            return None


ARRAYS = ("starts", "probabilities", "energy")
