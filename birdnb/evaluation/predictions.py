"""Hold what a model says about each recording: probabilities, their file, how they are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from birdnb.files import DAMAGED, BirdnbError, atomic_path

if TYPE_CHECKING:
    import torch

    from birdnb.data import Clips


CPU_BATCH = 16  # clips: EfficientNet-B2 hears half as many again a second as in batches of 64


@dataclass(frozen=True)
class Predictions:
    """The probabilities of C species for R recordings; parts that do not fit: BirdnbError."""

    recording_ids: list[str]
    probabilities: np.ndarray  # (R, C) float32, rows sum to 1
    targets: np.ndarray  # (R,) int

    def __post_init__(self) -> None:
        shape, n = self.probabilities.shape, len(self.recording_ids)
        if len(shape) != 2 or shape[0] != n or self.targets.shape != (n,):
            raise BirdnbError(
                f"predictions do not fit: {n} recordings, probabilities {shape}, targets "
                f"{self.targets.shape}"
            )
        if len(set(self.recording_ids)) != n:
            twice = pd.Series(self.recording_ids)[pd.Series(self.recording_ids).duplicated()].iloc[
                0
            ]
            raise BirdnbError(
                f"recording {twice!r} is predicted twice: predict each recording once (folds must "
                f"not overlap)"
            )
        if n and not (self.targets.min() >= 0 and self.targets.max() < shape[1]):
            raise BirdnbError(
                f"targets lie outside 0..{shape[1] - 1}: predictions and labels belong to "
                f"different runs"
            )
        if n and not np.allclose(self.probabilities.sum(axis=1), 1, atol=1e-3):
            raise BirdnbError(
                "probabilities do not sum to 1 (or are not numbers): the training has diverged, "
                "lower its rates"
            )

    def __len__(self) -> int:
        return len(self.recording_ids)

    @property
    def predicted(self) -> np.ndarray:
        """Return the most probable class of each recording: (R,) int."""
        return self.probabilities.argmax(axis=1)

    def save(self, path: Path | str) -> Path:
        """Write an .npz file atomically (plain arrays, no pickle)."""
        with atomic_path(path) as temporary:
            np.savez_compressed(
                temporary,
                recording_ids=np.asarray(self.recording_ids, dtype=np.str_),
                probabilities=self.probabilities.astype(np.float32),
                targets=self.targets.astype(np.int64),
            )
        return Path(path)

    @staticmethod
    def load(path: Path | str) -> Predictions:
        """Read what ``save`` wrote. Raises BirdnbError for a missing or broken file."""
        try:
            with np.load(path, allow_pickle=False) as file:
                ids, probabilities, targets = (
                    file[key] for key in ("recording_ids", "probabilities", "targets")
                )
        except DAMAGED as error:
            raise BirdnbError(
                f"cannot read the predictions {path} ({error}): repeat the run that wrote them"
            ) from error
        return Predictions([str(i) for i in ids], probabilities, targets)

    def align(self, recording_ids: Sequence[str]) -> Predictions:
        """Return the same recordings in the order given. Raises BirdnbError for others."""
        if set(recording_ids) != set(self.recording_ids) or len(recording_ids) != len(self):
            odd = sorted(set(recording_ids) ^ set(self.recording_ids))
            raise BirdnbError(
                f"{len(odd)} recordings are in one run only ({', '.join(odd[:3])}): repeat the "
                f"runs on one split"
            )
        place = {recording: i for i, recording in enumerate(self.recording_ids)}
        order = [place[recording] for recording in recording_ids]
        return Predictions(list(recording_ids), self.probabilities[order], self.targets[order])


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """Pool predictions of folds. Raises BirdnbError for a recording twice or other classes."""
    if len({part.probabilities.shape[1] for part in parts}) != 1:
        raise BirdnbError(
            "the folds have different numbers of species: repeat them with one set of labels"
        )
    return Predictions(
        [recording for part in parts for recording in part.recording_ids],
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.targets for part in parts]),
    )


def predict(
    model: torch.nn.Module, clips: Clips, normalisation: str, batch_size: int = 64,
    device: torch.device | str | None = None,
) -> Predictions:  # fmt: skip
    """Predict the probabilities of each recording, averaged over its segments.

    The model is put into evaluation mode for the time of the call; ``device`` is where its weights
    are unless given.
    """
    device = device or next(model.parameters()).device
    was_training = model.training
    model.eval()
    logits = clip_logits(model, clips.lms, normalisation, batch_size, device)
    model.train(was_training)
    return by_recording(clips, logits.softmax(dim=-1))


def clip_logits(
    model: Callable[[torch.Tensor], torch.Tensor], lms: torch.Tensor, normalisation: str,
    batch_size: int, device: torch.device | str,
) -> torch.Tensor:  # fmt: skip
    """Return what a model in evaluation mode says of clips (N, 128, T) in dB: (N, C), on the CPU.

    On a CPU at most ``CPU_BATCH`` clips at once: what lies between the layers of more does not fit
    into its caches.
    """
    import torch

    from birdnb.features.lms import normalise

    if torch.device(device).type == "cpu":
        batch_size = min(batch_size, CPU_BATCH)
    found = []
    with torch.inference_mode():
        for part in lms.split(batch_size):
            x = normalise(part.to(device).float(), normalisation)  # (B, 128, T)
            found.append(model(x).float().cpu())  # (B, C)
    return torch.cat(found)


def clip_features(model: Any, lms: torch.Tensor, normalisation: str) -> torch.Tensor:
    """Return what a model in evaluation mode has below its head for clips (N, 128, T) [dB]: (N, D).

    Where its weights are, 64 clips at once; the features come to the CPU.
    """
    import torch

    from birdnb.features.lms import normalise

    device, found = next(model.parameters()).device, []
    with torch.no_grad():
        for part in lms.split(64):
            found.append(model.embed(normalise(part.to(device).float(), normalisation)).cpu())
    return torch.cat(found).float()


def by_recording(clips: Clips, probabilities: torch.Tensor) -> Predictions:
    """Average clips' probabilities (N, C) by recording. Raises BirdnbError: one has no clips."""
    import torch

    n = len(clips.recording_ids)
    counts = torch.bincount(clips.recording, minlength=n)
    if (counts == 0).any():
        raise BirdnbError(
            f"recording {clips.recording_ids[int(counts.argmin())]!r} has no segments: build the "
            f"cache again"
        )
    total = torch.zeros(n, probabilities.shape[1], dtype=torch.float64)
    total.index_add_(0, clips.recording, probabilities.double())
    mean = (total / counts[:, None]).float()  # (R, C)
    targets = torch.zeros(n, dtype=torch.int64).index_copy(0, clips.recording, clips.target)
    return Predictions(list(clips.recording_ids), mean.numpy(), targets.numpy())
