"""The files of a cache: one .npy a recording, and all of them packed into one array that is
memory-mapped, so that opening it costs nothing.
"""

from __future__ import annotations

import functools
import hashlib
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from birdnb.config import AudioSettings
from birdnb.features.ledger import Record
from birdnb.files import BirdnbError, atomic_path


class DamagedError(Exception):
    """A file of the cache is missing or not what was written."""


@dataclass(frozen=True)
class SpectrogramFile:
    """A float16 .npy of this shape whose data have this checksum (CRC-32)."""

    path: str  # text: a start makes hundreds of thousands of them
    shape: tuple[int, ...]
    checksum: int


@dataclass(frozen=True)
class Pack:
    """A packed file: float16 of this shape, the files one after the other."""

    path: Path
    shape: tuple[int, ...]
    files: list[SpectrogramFile]


def lms_file(folder: Path, audio: AudioSettings, record: Record) -> SpectrogramFile:
    """``<recording_id>.npy``: (segments, n_mels, T)."""
    shape = (len(record.starts), *_clip_shape(audio))
    return SpectrogramFile(f"{folder}/{record.recording_id}.npy", shape, record.checksum)


def noise_file(folder: Path, audio: AudioSettings, record: Record) -> SpectrogramFile | None:
    """``noise/<recording_id>.npy``: (n_mels, T); None when the recording has no silence."""
    if record.noise_checksum is None:
        return None
    path = f"{folder}/noise/{record.recording_id}.npy"
    return SpectrogramFile(path, _clip_shape(audio), record.noise_checksum)


def files_of(folder: Path, audio: AudioSettings, record: Record) -> list[SpectrogramFile]:
    """All files of a recording."""
    noise = noise_file(folder, audio, record)
    return [lms_file(folder, audio, record), *([noise] if noise else [])]


def lms_pack(folder: Path, audio: AudioSettings, records: Iterable[Record]) -> Pack:
    """The packed spectrograms (sum of segments, n_mels, T) of these records, in their order."""
    files = [lms_file(folder, audio, record) for record in records]
    shape = (sum(file.shape[0] for file in files), *_clip_shape(audio))
    return Pack(folder / "packed" / f"{_name(files)}.npy", shape, files)


def noise_pack(folder: Path, audio: AudioSettings, records: Iterable[Record]) -> Pack:
    """The packed quiet stretches (recordings that have one, n_mels, T)."""
    files = [file for record in records if (file := noise_file(folder, audio, record))]
    return Pack(
        folder / "packed" / f"{_name(files)}-noise.npy", (len(files), *_clip_shape(audio)), files
    )


def write_array(path: Path | str, array: np.ndarray) -> int:
    """Write a .npy atomically; returns the checksum of its data. Raises BirdnbError when it cannot
    be written.
    """
    data = np.ascontiguousarray(array).tobytes()
    _write(path, array.shape, array.dtype, [data])
    return zlib.crc32(data)


def read_array(file: SpectrogramFile) -> np.ndarray:
    """Read a file of the cache. Raises DamagedError when it is not there or not what was written."""
    try:
        with open(file.path, "rb") as opened:
            array = np.lib.format.read_array(opened, allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError) as error:
        raise DamagedError(file.path) from error
    if (
        array.shape != file.shape
        or array.dtype != np.float16
        or zlib.crc32(array.tobytes()) != file.checksum
    ):
        raise DamagedError(file.path)
    return array


def is_intact(file: SpectrogramFile) -> bool:
    """Whether a file is there and undamaged; reads it."""
    try:
        read_array(file)
    except DamagedError:
        return False
    return True


def file_bytes(file: SpectrogramFile | Pack) -> int:
    """Size of a whole file [bytes]; its header takes 128."""
    return 128 + 2 * math.prod(file.shape)


def is_packed(pack: Pack) -> bool:
    """Whether a packed file is there and as long as it should be, or not needed."""
    return not pack.files or (pack.path.is_file() and pack.path.stat().st_size == file_bytes(pack))


def write_pack(pack: Pack, files: Iterable[SpectrogramFile]) -> None:
    """Write a packed file from these files (the pack's own), atomically. Raises DamagedError when
    one of them is damaged.
    """
    _write(
        pack.path, pack.shape, np.dtype(np.float16), (read_array(file).tobytes() for file in files)
    )


def open_pack(pack: Pack) -> np.ndarray:
    """Memory-map a packed file, read-only. Raises BirdnbError when it is damaged."""
    if not pack.files:
        return np.zeros(pack.shape, np.float16)
    try:
        packed = np.load(pack.path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BirdnbError(
            f"{pack.path} cannot be read ({error}): delete it and run again"
        ) from error
    if packed.shape != pack.shape:
        raise BirdnbError(
            f"{pack.path} has shape {packed.shape} instead of {pack.shape}: delete it and run again"
        )
    return packed


@functools.cache
def _clip_shape(audio: AudioSettings) -> tuple[int, int]:
    return audio.n_mels, audio.n_frames


def _name(files: list[SpectrogramFile]) -> str:
    """A hash of what is in the pack and in which order, so that another content has another name."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.path.rpartition('/')[2]} {file.shape} {file.checksum}\n".encode())
    return digest.hexdigest()[:16]


def _write(
    path: Path | str, shape: tuple[int, ...], dtype: np.dtype, parts: Iterable[bytes]
) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": tuple(shape),
    }
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(part)
