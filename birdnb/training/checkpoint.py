"""Save and load the state from which a killed training goes on."""

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from birdnb.config import RunSettings, key_of
from birdnb.data import Clips
from birdnb.files import DAMAGED, BirdnbError, atomic_path

BEST, LAST = "best.safetensors", "last.pt"
REMEDY = "use another run name, or start over with --again"


def fit_key(settings: RunSettings, seed: int, labels: Sequence[str], *sides: Clips) -> str:
    """Return a key of all that decides how training ends: settings, seed, labels, clips."""
    digest = hashlib.sha256()
    for clips in sides:
        digest.update(f"{clips.recording_ids} {tuple(clips.lms.shape)}".encode())
        digest.update(clips.target.numpy().tobytes() + clips.recording.numpy().tobytes())
        if clips.shares is not None:
            digest.update(clips.shares.numpy().tobytes())
        # a sample is enough
        digest.update(clips.lms[:: max(1, len(clips) // 32)].cpu().contiguous().numpy().tobytes())
    return key_of(settings, seed, list(labels), digest.hexdigest())


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write the state atomically: tensors, numbers, texts, lists and dictionaries."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch's words for what the disk said
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def load_state(path: Path, key: str, labels: Sequence[str]) -> dict[str, Any]:
    """Read what ``save_state`` wrote, or raise BirdnbError: damaged, or of another training."""
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums
            damaged = archive.testzip()
        if damaged:
            raise BirdnbError(
                f"{path} is damaged (checksum of {damaged}): delete it, or start over with --again"
            )
        state = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        raise BirdnbError(
            f"{path} is damaged ({error}): delete it, or start over with --again"
        ) from error
    if state.get("labels") != list(labels):
        raise BirdnbError(
            f"{path} belongs to a training with other labels ({len(state.get('labels', []))} "
            f"species): {REMEDY}"
        )
    if state.get("key") != key:
        raise BirdnbError(
            f"{path} belongs to a training with other settings, seed or clips: {REMEDY}"
        )
    return state
