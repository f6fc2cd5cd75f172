"""Where the bird sings and where it is quiet: windows chosen from a coarse spectrogram.

After Sprengel et al. 2016 (BirdCLEF: "Audio based bird species identification using deep learning
techniques"): energy counts where it stands out from its frequency band and from its moment, so that
neither steady noise nor clicks and gusts are song. Their medians over the whole recording are
replaced by a low quantile over some minutes: a song that goes on most of the time stays visible,
and so does one at dawn after a windy night.
"""

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import fft

from birdnb.config import AudioSettings

FRAME_SECONDS = 0.007  # [s] about; a power of two samples
LOWEST_HZ, HIGHEST_HZ = 500.0, 11025.0
BAND_HZ = 300.0  # about
FLOOR_QUANTILE = 0.25  # of a band over time: its noise floor
PROMINENCE_DB = 9.5  # three times the amplitude, as Sprengel et al.
NOISE_DB = 6.0  # prominence of a frame, all bands together, that noise alone reaches now and then
LOUD_DB = 20.0  # prominence that counts in full: the loudest bird must not outweigh all others
CHUNK = 12_000  # coarse frames (about 5 minutes) that share a noise floor
SHORTEST_SECONDS = 0.5  # a recording shorter than this holds no song to learn from
PLATEAU = 0.95  # windows with at least this share of the best one's activity are as good
WORTH = 0.2  # a further window is kept with at least this share of the best one's activity
QUIET = 0.15  # noise is taken where activity is below this share of the busiest stretch as long
# of quiet make noise for a clip, turned back and forth: few recordings are quiet for longer
SILENCE_SECONDS = 1.0
DIGITAL_SILENCE_DB = -90.0  # [dB] per band; a gap in which nothing was recorded is not noise


@dataclass(frozen=True)
class Coarse:
    """Activity of a recording and level [dB], (frames,) both, ``hop_seconds`` apart."""

    activity: np.ndarray
    level: np.ndarray
    hop_seconds: float


def coarse_frame(sample_rate: int) -> tuple[int, int]:
    """Return the samples of a coarse frame, and of its hop: a quarter of the sound is enough."""
    size = 2 ** round(np.log2(FRAME_SECONDS * sample_rate))
    return size, 4 * size


def coarse_activity(blocks: Iterable[np.ndarray], sample_rate: int) -> Coarse:
    """Return the activity of blocks of samples, each but the last whole coarse hops."""
    hop = coarse_frame(sample_rate)[1]
    parts = [(_frame_activity(bands), bands.mean(axis=1)) for bands in _chunks(blocks, sample_rate)]
    activity, level = (
        (np.concatenate(part) for part in zip(*parts, strict=True))
        if parts
        else (np.zeros(0), np.zeros(0))
    )
    return Coarse(activity, level, hop / sample_rate)


def find_windows(coarse: Coarse, seconds: float, audio: AudioSettings) -> list[int]:
    """Return the first frames of the windows that hold most activity, best first; at least one.

    Frames of the recording's LMS. At most ``audio.segments_per_recording``, overlapping by half at
    the most and each with activity of its own. A recording shorter than a clip has one, at 0.
    """
    remaining = coarse.activity.copy()
    frame_times = np.arange(len(remaining)) * coarse.hop_seconds
    starts, scores = _scores(remaining, coarse.hop_seconds, seconds, audio)
    free, best = np.ones(len(starts), bool), scores.max()
    chosen: list[int] = []
    while len(chosen) < audio.segments_per_recording and free.any():
        index = _middle_of_best(np.where(free, scores, -1.0))
        if chosen and scores[index] <= WORTH * best:
            break
        chosen.append(int(starts[index]))
        free &= np.abs(starts - starts[index]) * audio.hop_length * 2 >= audio.clip_samples
        begin = starts[index] * audio.hop_length / audio.sample_rate
        remaining[(frame_times >= begin) & (frame_times < begin + audio.clip_seconds)] = (
            0.0  # activity counts once
        )
        scores = _scores(remaining, coarse.hop_seconds, seconds, audio)[1]
    return chosen


def find_silence(coarse: Coarse, seconds: float, audio: AudioSettings) -> int | None:
    """Return the first frame of the quietest SILENCE_SECONDS; None when none is really quiet."""
    starts, scores = _scores(coarse.activity, coarse.hop_seconds, seconds, audio, SILENCE_SECONDS)
    _, recorded = _scores(
        coarse.level > DIGITAL_SILENCE_DB, coarse.hop_seconds, seconds, audio, SILENCE_SECONDS
    )
    quiet = (recorded > 0.95) & (scores <= QUIET * scores.max())
    if seconds < audio.clip_seconds or scores.max() == 0 or not quiet.any():
        return None
    quietest = np.flatnonzero(quiet & (scores <= scores[quiet].min()))
    return int(starts[quietest[len(quietest) // 2]])


def _scores(
    values: np.ndarray, hop_seconds: float, seconds: float, audio: AudioSettings,
    window: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Score every window, as long as a clip or ``window`` [s]: first LMS frame, mean of values."""
    window = window or audio.clip_seconds
    last = max(0, int((seconds - window) * audio.sample_rate)) // audio.hop_length
    starts = np.arange(0, last + 1, 2)
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    first = starts * audio.hop_length / audio.sample_rate / hop_seconds
    length = window / hop_seconds
    frames = np.arange(len(total))
    return starts, (
        np.interp(first + length, frames, total) - np.interp(first, frames, total)
    ) / length


def _middle_of_best(scores: np.ndarray) -> int:
    """Return the middle of the plateau around the best score: a short song is not at the edge."""
    first = last = int(np.argmax(scores))
    enough = PLATEAU * scores[first]
    while last + 1 < len(scores) and scores[last + 1] >= enough:
        last += 1
    while first > 0 and scores[first - 1] >= enough:
        first -= 1
    return (first + last) // 2


def prominence(bands: np.ndarray) -> np.ndarray:
    """Return how far coarse bands (frames, bands) rise above band and moment, 0 to LOUD_DB."""
    above = bands - _quantile(bands, FLOOR_QUANTILE, axis=0)
    above -= np.maximum(_quantile(above, 0.5, axis=1), 0.0)
    return np.clip(above - PROMINENCE_DB, 0.0, LOUD_DB)


def _frame_activity(bands: np.ndarray) -> np.ndarray:
    """Return the activity (frames,) of coarse bands (frames, bands) [dB]."""
    return np.sqrt(np.maximum(prominence(bands).sum(axis=1) - NOISE_DB, 0.0))


def _quantile(values: np.ndarray, share: float, axis: int) -> np.ndarray:
    """Return the value that this share lies below, without interpolation; ``axis`` is kept."""
    index = int(share * (values.shape[axis] - 1))
    return np.take(np.partition(values, index, axis=axis), [index], axis=axis)


def _chunks(blocks: Iterable[np.ndarray], sample_rate: int) -> Iterator[np.ndarray]:
    """Yield the coarse spectrogram (frames, bands) [dB] in chunks of CHUNK to 2 * CHUNK frames."""
    waiting: list[np.ndarray] = []
    for block in blocks:
        if len(bands := coarse_bands(block, sample_rate)):
            waiting.append(bands)
        while sum(map(len, waiting)) >= 2 * CHUNK:
            together = np.concatenate(waiting)
            yield together[:CHUNK]
            waiting = [together[CHUNK:]]
    if waiting:
        yield waiting[0] if len(waiting) == 1 else np.concatenate(waiting)


def coarse_bands(samples: np.ndarray, sample_rate: int, every: int = 1) -> np.ndarray:
    """Return the coarse spectrogram (frames, bands) [dB] of a block; one frame in ``every``."""
    size, hop = coarse_frame(sample_rate)
    if len(samples) < size:
        samples = np.pad(samples, (0, size - len(samples)))
    # (frames, size), a view
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[:: every * hop]
    window, bins, banks = _coarse_banks(sample_rate)
    spectrum = fft.rfft(frames * window)[:, bins]
    power = (spectrum.real**2 + spectrum.imag**2) @ banks
    return 10.0 * np.log10(np.maximum(power, np.float32(1e-12)))


@functools.cache
def _coarse_banks(sample_rate: int) -> tuple[np.ndarray, slice, np.ndarray]:
    """Return the window (size,), the bins used, the matrix (bins, bands) of equally wide bands."""
    size = coarse_frame(sample_rate)[0]
    bin_hz = sample_rate / size
    per_band = max(1, round(BAND_HZ / bin_hz))
    lowest = math.ceil(LOWEST_HZ / bin_hz)
    count = max(1, int(min(HIGHEST_HZ, 0.45 * sample_rate) / bin_hz - lowest) // per_band)
    from scipy import signal  # takes half a second to import: only extraction needs it

    window = signal.get_window("hann", size).astype(np.float32)
    window /= window.sum()  # a sine of full scale gives about -6 dB
    return (
        window,
        slice(lowest, lowest + count * per_band),
        np.repeat(np.eye(count, dtype=np.float32), per_band, axis=0),
    )
