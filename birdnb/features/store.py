"""A finished LMS cache, as runs and notebooks read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from birdnb.config import AudioSettings
from birdnb.features import packing
from birdnb.features.ledger import Record
from birdnb.files import BirdnbError


@dataclass
class LmsCache:
    """A finished cache. ``index``: a row a recording that is in it; ``quarantine``: a row for each
    left out, with the reason (``kind: details``).
    """

    folder: Path
    audio: AudioSettings
    index: pd.DataFrame
    quarantine: pd.DataFrame
    records: dict[str, Record] = field(repr=False)  # of the recordings in the index, in its order

    def load(self, recording_id: str) -> np.ndarray:
        """Spectrograms of a recording (segments, n_mels, T) float16 [dB], best first."""
        return self._read(packing.lms_file(self.folder, self.audio, self._record(recording_id)))

    def noise(self, recording_id: str) -> np.ndarray | None:
        """Spectrogram of a recording's quietest stretch (n_mels, T) float16 [dB], or None when it
        has no silence.
        """
        file = packing.noise_file(self.folder, self.audio, self._record(recording_id))
        return None if file is None else self._read(file)

    def rows(
        self, recording_ids: Sequence[str], segments: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows (N,) of ``packed`` that belong to these recordings, the best ``segments`` of each
        (None: all), and their owners: (N,) indices into ``recording_ids``.
        """
        positions = [
            self._position[recording_id]
            for recording_id in recording_ids
            if self._record(recording_id)
        ]
        first, count = self._first[positions], self._count[positions]
        count = count if segments is None else np.minimum(count, segments)
        owner = np.repeat(np.arange(len(positions)), count)
        within = np.arange(len(owner)) - np.repeat(
            np.cumsum(count) - count, count
        )  # 0, 1, 2 within each recording
        return first[owner] + within, owner

    def load_many(
        self, recording_ids: Sequence[str], segments: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Spectrograms (N, n_mels, T) float16 [dB] of many recordings, copied from ``packed``, and
        their owners (N,).
        """
        rows, owner = self.rows(recording_ids, segments)
        return np.asarray(self.packed[rows]), owner

    def noise_bank(self, recording_ids: Sequence[str]) -> np.ndarray:
        """Quietest stretches (M, n_mels, T) float16 [dB] of the recordings that have one; give
        training recordings only.
        """
        rows = [
            self._noise_row[name]
            for name in recording_ids
            if self._record(name).noise_checksum is not None
        ]
        return np.asarray(self._packed_noise[np.array(rows, int)])

    def __post_init__(self) -> None:
        self._packed_noise  # noqa: B018 - mapped now: a later build, of a corpus that has changed, deletes these files
        self.packed  # noqa: B018

    def __getstate__(self) -> dict[str, object]:
        """Another process maps the files itself: they are not copied there."""
        return {
            name: value
            for name, value in self.__dict__.items()
            if name not in ("packed", "_packed_noise")
        }

    @cached_property
    def packed(self) -> np.ndarray:
        """All spectrograms (sum of segments, n_mels, T) float16 [dB], memory-mapped, in the order
        of the index.
        """
        return packing.open_pack(packing.lms_pack(self.folder, self.audio, self.records.values()))

    @cached_property
    def _packed_noise(self) -> np.ndarray:
        return packing.open_pack(packing.noise_pack(self.folder, self.audio, self.records.values()))

    @cached_property
    def _position(self) -> dict[str, int]:
        return {recording_id: position for position, recording_id in enumerate(self.records)}

    @cached_property
    def _count(self) -> np.ndarray:
        return np.array([len(record.starts) for record in self.records.values()], int)

    @cached_property
    def _first(self) -> np.ndarray:
        return np.cumsum(self._count) - self._count

    @cached_property
    def _noise_row(self) -> dict[str, int]:
        with_noise = [
            name for name, record in self.records.items() if record.noise_checksum is not None
        ]
        return {name: row for row, name in enumerate(with_noise)}

    def _record(self, recording_id: str) -> Record:
        try:
            return self.records[recording_id]
        except KeyError:
            raise BirdnbError(
                f"recording {recording_id!r} is not in the cache: see "
                f"{self.folder / 'quarantine.csv'}"
            ) from None

    def _read(self, file: packing.SpectrogramFile) -> np.ndarray:
        try:
            return packing.read_array(file)
        except packing.DamagedError as error:
            raise BirdnbError(
                f"{file.path} is missing or damaged: run again, and it is made again"
            ) from error
