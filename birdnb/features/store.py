"""The spectrograms of a cache: one .npy file a recording, checked by checksums, read by threads."""

import functools
import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from tokenize import TokenError

import numpy as np
import pandas as pd

from birdnb.config import AudioSettings
from birdnb.features.ledger import Record
from birdnb.files import BirdnbError, atomic_path

# Threads that read at once. Measured with 7,700 recordings (1 GB) on two cores: 16 take 1.3 s from
# memory and 2.3 s from the disk, one takes 3.2 and 8.2; one large file would take 0.3 and 16.
READERS = 16


@dataclass(frozen=True)
class LmsFile:
    """A float16 .npy of this shape, the CRC-32 of whose data is known."""

    path: str  # text: opening a cache makes hundreds of thousands of them
    shape: tuple[int, ...]
    checksum: int

    def read(self) -> np.ndarray:
        """Return the array. Raises BirdnbError when the file is not there or was changed."""
        try:
            with open(self.path, "rb") as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError, SyntaxError, TokenError) as error:
            raise self._damaged() from error
        found = (array.shape, array.dtype, zlib.crc32(np.ascontiguousarray(array).data))
        if found != (self.shape, np.float16, self.checksum):
            raise self._damaged()
        return array

    def _damaged(self) -> BirdnbError:
        return BirdnbError(
            f"{self.path} is missing or damaged: run again, and it is made again "
            f"(if this comes back, delete the file first)"
        )


def write_lms(path: Path | str, lms: np.ndarray) -> int:
    """Write spectrograms as float16, atomically, and return their checksum. Raises BirdnbError."""
    lms = np.ascontiguousarray(lms, dtype=np.float16)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        header = np.lib.format.header_data_from_array_1_0(lms)
        np.lib.format.write_array_header_1_0(file, header)
        file.write(lms.tobytes())  # np.save does not say why it cannot write
    return zlib.crc32(lms.data)


def paths_of(folder: Path, recording_id: str) -> tuple[str, str]:
    """Return where a recording's spectrograms and its noise are."""
    return f"{folder}/{recording_id}.npy", f"{folder}/noise/{recording_id}.npy"


def files_of(folder: Path, audio: AudioSettings, record: Record) -> list[LmsFile]:
    """Return the file of a recording's spectrograms and, if it has silence, that of its noise."""
    clip = _clip_shape(audio)
    shapes = [(len(record.starts), *clip), clip]
    paths = paths_of(folder, record.recording_id)
    return [LmsFile(*file) for file in zip(paths, shapes, record.checksums, strict=False)]


def stamped(folder: Path, audio: AudioSettings, record: Record) -> Record:
    """Return the record with time [ns] and size [bytes] of its files, or raise OSError: missing."""
    stats = [os.stat(file.path) for file in files_of(folder, audio, record)]
    written = tuple(n for stat in stats for n in (stat.st_mtime_ns, stat.st_size))
    return record if written == record.written else replace(record, written=written)


def verified(folder: Path, audio: AudioSettings, record: Record) -> Record | None:
    """Return the record, stamped anew, if what was written to since is intact; else None."""
    try:
        found = stamped(folder, audio, record)
        if found is not record:
            for file in files_of(folder, audio, record):
                file.read()
    except (BirdnbError, OSError):
        return None
    return found


@dataclass
class LmsCache:
    """A finished cache.

    ``index``: a row a recording that is in it; ``quarantine``: a row for each left out, with the
    reason (``kind: details``).
    """

    folder: Path
    audio: AudioSettings
    index: pd.DataFrame
    quarantine: pd.DataFrame
    records: dict[str, Record] = field(repr=False)  # of the recordings in the index, in its order

    def load(self, recording_id: str) -> np.ndarray:
        """Return a recording's spectrograms (segments, n_mels, T) float16 [dB], best first."""
        return self._files(recording_id)[0].read()

    def noise(self, recording_id: str) -> np.ndarray | None:
        """Return the LMS of a recording's quietest stretch (n_mels, T) float16 [dB], or None."""
        files = self._files(recording_id)
        return files[1].read() if len(files) > 1 else None

    def load_many(
        self, recording_ids: Sequence[str], segments: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the best ``segments`` (None: all) of many recordings, and their owners.

        Spectrograms (N, n_mels, T) float16 [dB], and (N,) indices into ``recording_ids``.
        """
        files = [self._files(recording_id)[0] for recording_id in recording_ids]
        counts = [file.shape[0] for file in files]
        if segments is not None:
            counts = [min(count, segments) for count in counts]
        return self._gather(files, counts), np.repeat(np.arange(len(files)), counts)

    def noise_bank(self, recording_ids: Sequence[str]) -> np.ndarray:
        """Return the quietest stretches (M, n_mels, T) float16 [dB] of training recordings."""
        files = [file for name in recording_ids for file in self._files(name)[1:]]
        return self._gather(files, [1] * len(files))

    def _gather(self, files: Sequence[LmsFile], counts: Sequence[int]) -> np.ndarray:
        """Return the first ``counts`` clips of each file in one array (N, n_mels, T)."""
        clip = _clip_shape(self.audio)
        lms = np.empty((sum(counts), *clip), np.float16)
        ends = np.cumsum(counts, dtype=int).tolist()

        def fill(file: LmsFile, count: int, end: int) -> None:
            lms[end - count : end] = file.read().reshape(-1, *clip)[:count]

        with ThreadPoolExecutor(READERS) as pool:
            for _ in pool.map(fill, files, counts, ends):
                pass  # errors come out here
        return lms

    def _files(self, recording_id: str) -> list[LmsFile]:
        if recording_id not in self.records:
            raise BirdnbError(
                f"recording {recording_id!r} is not in the cache: see "
                f"{self.folder / 'quarantine.csv'}"
            )
        return files_of(self.folder, self.audio, self.records[recording_id])


@functools.cache
def _clip_shape(audio: AudioSettings) -> tuple[int, int]:
    return audio.n_mels, audio.n_frames
