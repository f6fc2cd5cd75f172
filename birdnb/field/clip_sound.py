"""Clips and quiet stretches of a study to listen to, their sound read again where it is wanted."""

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from birdnb.data import StudyData
from birdnb.features.activity import SILENCE_SECONDS, find_silence
from birdnb.features.audio import Recording, hear
from birdnb.features.extract import survey
from birdnb.field.listener import Listener
from birdnb.field.windows import Batch, Wave
from birdnb.files import BirdnbError

BATCH = 64  # clips scored at a time


def clip_batches(
    data: StudyData, lms: np.ndarray, owners: np.ndarray, names: Sequence[str],
    listener: Listener, most: int | None = None,
) -> Iterator[Batch]:  # fmt: skip
    """Yield clips ``lms`` (N, 128, T) [dB], ``most`` of them, evenly spread.

    ``owners`` (N,) are the places of their recordings among ``names``.
    """
    for rows in _parts(np.arange(len(lms)), most):
        waves = clip_waves(data, owners, names, rows, listener)
        yield Batch(np.zeros(len(rows)), lms[rows].astype(np.float32), waves)


def quiet_batches(
    data: StudyData, names: Sequence[str], listener: Listener, most: int | None = None
) -> Iterator[Batch]:
    """Yield the quiet stretches of those recordings that have one, turned back and forth."""
    # a recording with a quiet stretch has a second file
    quiet = np.array([n for n in names if len(data.cache.records[n].checksums) > 1], dtype=object)
    for part in _parts(quiet, most):
        waves = {
            wave: np.stack([_read(data, n, functools.partial(_quiet, data, wave)) for n in part])
            for wave in listener.waves
        }
        yield Batch(
            np.zeros(len(part)), data.cache.noise_bank(part.tolist()).astype(np.float32), waves
        )


def clip_waves(
    data: StudyData, owners: np.ndarray, names: Sequence[str], rows: np.ndarray, listener: Listener
) -> dict[Wave, np.ndarray]:
    """Read the sound of some clips again, where a listener wants more than their spectrograms."""
    waves: dict[Wave, np.ndarray] = {}
    for wave in listener.waves:
        starts = data.cache.index.set_index("recording_id")["starts"]
        pieces = []
        for row in rows:
            name = names[owners[row]]
            place = row - np.flatnonzero(owners == owners[row])[0]  # its clips stand together
            start = float(str(starts[name]).split(";")[place])
            middle = start + data.profile.audio.clip_seconds / 2
            pieces.append(_read(data, name, functools.partial(_cut, wave, middle)))
        waves[wave] = np.stack(pieces)
    return waves


def _parts(rows: np.ndarray, most: int | None) -> Iterator[np.ndarray]:
    """Share out rows into batches, ``most`` of them, evenly spread."""
    rows = rows[:: max(1, -(-len(rows) // most))] if most else rows
    yield from (part for part in np.split(rows, range(BATCH, len(rows), BATCH)) if len(part))


def _read(data: StudyData, name: str, cut: Callable[[Recording], np.ndarray]) -> np.ndarray:
    """Cut something out of a recording of the cache, from the channel that was taken."""
    record = data.cache.records[name]

    def read(sound: Recording) -> np.ndarray:
        sound.channel = None if record.channel == "mean" else int(record.channel) - 1
        return cut(sound)

    return hear(data.corpus.root / record.path, read)


def _cut(wave: Wave, middle: float, sound: Recording) -> np.ndarray:
    first = round(middle * wave.sample_rate) - wave.samples // 2
    return sound.slice(first, first + wave.samples, wave.sample_rate, wave.high_pass_hz)


def _quiet(data: StudyData, wave: Wave, sound: Recording) -> np.ndarray:
    """Cut the quietest second, found as the cache found it, and turn it back and forth."""
    audio = data.profile.audio
    coarse = survey(sound)
    first = find_silence(coarse, min(sound.seconds, audio.first_seconds or np.inf), audio)
    if first is None:
        raise BirdnbError(f"{sound.path} is another than the cache was made of: make it again")
    begin = round(first * audio.hop_length / audio.sample_rate * wave.sample_rate)
    end = begin + round(SILENCE_SECONDS * wave.sample_rate)
    second = sound.slice(begin, end, wave.sample_rate, wave.high_pass_hz)
    return np.pad(second, (0, max(0, wave.samples - len(second))), "symmetric")[: wave.samples]
