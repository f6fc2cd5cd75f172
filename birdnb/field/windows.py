"""Hours of sound as a stream of windows, the same spectrograms as in training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import soxr
from scipy import signal

from birdnb.config import AudioSettings
from birdnb.features.audio import butterworth
from birdnb.features.lms import framed_log_mel, log_mel

RECORDED_DB = -80.0  # [dB] a window with nothing above it holds digital silence: no microphone


@dataclass(frozen=True)
class Batch:
    """Some windows, one behind the other in time."""

    starts: np.ndarray  # (N,) [s] from the beginning of the recording
    lms: np.ndarray  # (N, n_mels, T) float32 [dB], not normalised

    @property
    def recorded(self) -> np.ndarray:
        """Tell which windows hold more than digital silence: (N,) bool."""
        return self.lms.max(axis=(1, 2)) > RECORDED_DB


def batches(
    blocks: Iterable[np.ndarray],
    sample_rate: int,
    audio: AudioSettings,
    step: float,
    size: int = 64,
) -> Iterator[Batch]:
    """Yield all windows of a recording given as blocks (samples,) at ``sample_rate`` [Hz].

    A window begins every ``step`` [s], rounded to a frame; the last one ends with the recording. A
    recording shorter than a clip is repeated, as in training. Memory does not grow with its length.
    """
    starts: list[float] = []
    spectrograms: list[np.ndarray] = []
    for start, lms in _windows(_prepared(blocks, sample_rate, audio), audio, step):
        starts.append(start)
        spectrograms.append(lms)
        if len(starts) == size:
            yield Batch(np.array(starts), np.stack(spectrograms))
            starts, spectrograms = [], []
    if starts:
        yield Batch(np.array(starts), np.stack(spectrograms))


def _prepared(
    blocks: Iterable[np.ndarray], sample_rate: int, audio: AudioSettings
) -> Iterator[np.ndarray]:
    """Resample and high-pass blocks as one stream; the filters keep their state between them."""
    filters = butterworth(audio.sample_rate, audio.high_pass_hz)
    state = np.zeros((len(filters), 2))
    for samples in _resampled(blocks, sample_rate, audio.sample_rate):
        if len(samples):  # the resampler waits for more before it gives any
            filtered, state = signal.sosfilt(filters, samples, zi=state)
            yield filtered.astype(np.float32)


def _resampled(blocks: Iterable[np.ndarray], before: int, after: int) -> Iterator[np.ndarray]:
    if before == after:
        yield from blocks
        return
    stream = soxr.ResampleStream(before, after, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _windows(
    blocks: Iterable[np.ndarray], audio: AudioSettings, step: float
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield start [s] and LMS (n_mels, T) of each window of a stream at ``audio.sample_rate``."""
    frames, hop = audio.n_frames, audio.hop_length / audio.sample_rate
    head = _Head(audio.clip_samples)
    held, first, number, last = np.empty((audio.n_mels, 0), np.float32), 0, 0, -1
    for lms in _frames(head.listen(blocks), audio):
        held = np.concatenate([held, lms], axis=1)
        ready = first + held.shape[1] if head.samples is None else 0
        while (start := round(number * step / hop)) + frames <= ready:
            yield start * hop, held[:, start - first :][:, :frames]
            number, last = number + 1, start
        # the last window may have to begin before the next regular one
        keep = max(0, min(start - first, held.shape[1] - frames))
        held, first = held[:, keep:].copy(), first + keep
    if head.samples is not None:  # shorter than a clip
        if len(head.samples):
            yield 0.0, log_mel(np.resize(head.samples, audio.clip_samples), audio)
    elif (end := first + held.shape[1] - frames) > last:
        yield end * hop, held[:, -frames:]


def _frames(blocks: Iterable[np.ndarray], audio: AudioSettings) -> Iterator[np.ndarray]:
    """Yield the LMS (n_mels, any number of frames) of a stream, the same as if made at once."""
    edge = np.zeros(audio.n_fft // 2, np.float32)
    waiting = edge
    for block in _and_then(blocks, edge):
        waiting = np.concatenate([waiting, block])
        if (count := (len(waiting) - audio.n_fft) // audio.hop_length + 1) > 0:
            end = (count - 1) * audio.hop_length + audio.n_fft
            yield framed_log_mel(waiting[:end], audio)
            waiting = waiting[count * audio.hop_length :]


def _and_then(blocks: Iterable[np.ndarray], last: np.ndarray) -> Iterator[np.ndarray]:
    yield from blocks
    yield last


class _Head:
    """Keeps the samples of a recording as long as it may be shorter than a clip."""

    def __init__(self, enough: int) -> None:
        self.enough = enough
        self.samples: np.ndarray | None = np.empty(0, np.float32)

    def listen(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for block in blocks:
            if self.samples is not None:
                together = np.concatenate([self.samples, block])
                self.samples = together if len(together) < self.enough else None
            yield block
