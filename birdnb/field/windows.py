"""Hours of sound as a stream of windows, the same spectrograms as in training."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import soxr

from birdnb.config import AudioSettings
from birdnb.features.lms import butterworth, framed_log_mel, log_mel

RECORDED_DB = -80.0  # [dB] a window with nothing above it holds digital silence: no microphone


@dataclass(frozen=True)
class Wave:
    """The sound itself that a frozen encoder wants, from the middle of each window."""

    sample_rate: int  # [Hz]
    samples: int
    high_pass_hz: float = 0.0  # 0: none


@dataclass(frozen=True)
class Batch:
    """Some windows, one behind the other in time."""

    starts: np.ndarray  # (N,) [s] from the beginning of the recording
    lms: np.ndarray  # (N, n_mels, T) float32 [dB], not normalised
    waves: dict[Wave, np.ndarray] = field(default_factory=dict)  # each (N, samples) float32

    @property
    def recorded(self) -> np.ndarray:
        """Tell which windows hold more than digital silence: (N,) bool."""
        return self.lms.max(axis=(1, 2)) > RECORDED_DB

    def only(self, which: np.ndarray) -> Batch:
        """Return the windows ``which`` (N,) bool."""
        waves = {wave: samples[which] for wave, samples in self.waves.items()}
        return Batch(self.starts[which], self.lms[which], waves)


def batches(
    blocks: Iterable[np.ndarray], sample_rate: int, audio: AudioSettings, step: float,
    size: int = 64, waves: Sequence[Wave] = (),
) -> Iterator[Batch]:  # fmt: skip
    """Yield all windows of a recording given as blocks (samples,) at ``sample_rate`` [Hz].

    A window begins every ``step`` [s], rounded to a frame; the last one ends with the recording. A
    recording shorter than a clip is repeated, as in training. ``waves`` is what is wanted beside
    the spectrograms. Memory does not grow with its length.
    """
    spectra, *others = _fan_out(blocks, 1 + len(waves))
    prepared = _prepared(spectra, sample_rate, audio.sample_rate, audio.high_pass_hz)
    cuts = [Cutter(other, sample_rate, wave) for other, wave in zip(others, waves, strict=True)]
    windows = _windows(prepared, audio, step)
    while together := list(itertools.islice(windows, size)):
        starts = np.array([start for start, _ in together])
        sound = {cut.wave: cut.cut(starts + audio.clip_seconds / 2) for cut in cuts}
        yield Batch(starts, np.stack([lms for _, lms in together]), sound)


def _fan_out(blocks: Iterable[np.ndarray], count: int) -> list[Iterator[np.ndarray]]:
    """Give the same blocks to several readers; ``itertools.tee`` would keep 57 of them."""
    source = iter(blocks)
    lines: list[deque[np.ndarray]] = [deque() for _ in range(count)]

    def line(own: deque[np.ndarray]) -> Iterator[np.ndarray]:
        """Give one reader the blocks, from its own queue or the source."""
        while True:
            if not own:
                block = next(source, None)
                if block is None:
                    return
                for each in lines:
                    each.append(block)
            yield own.popleft()

    return [line(own) for own in lines]


def _prepared(
    blocks: Iterable[np.ndarray], before: int, after: int, high_pass_hz: float
) -> Iterator[np.ndarray]:
    """Resample and high-pass blocks as one stream; the filters keep their state between them."""
    from scipy import signal  # takes half a second to import: only listening needs it

    filters = butterworth(after, high_pass_hz) if high_pass_hz else None
    state = np.zeros((0 if filters is None else len(filters), 2))
    for samples in _resampled(blocks, before, after):
        if not len(samples):  # the resampler waits for more before it gives any
            continue
        if filters is not None:
            samples, state = signal.sosfilt(filters, samples, zi=state)
        yield samples.astype(np.float32, copy=False)


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


class Cutter:
    """Cuts pieces out of a stream, in the order of time; zeros before and after it."""

    def __init__(self, blocks: Iterable[np.ndarray], sample_rate: int, wave: Wave) -> None:
        self.wave = wave
        self._blocks = _prepared(blocks, sample_rate, wave.sample_rate, wave.high_pass_hz)
        self._held, self._first = np.empty(0, np.float32), 0  # its place in the stream

    def cut(self, middles: np.ndarray) -> np.ndarray:
        """Return the pieces (N, samples) around ``middles`` (N,) [s]."""
        starts = np.round(middles * self.wave.sample_rate).astype(int) - self.wave.samples // 2
        return np.stack([self._piece(int(start)) for start in starts])

    def _piece(self, start: int) -> np.ndarray:
        stop, parts = start + self.wave.samples, [self._held]
        ready = self._first + len(self._held)
        while ready < stop and (block := next(self._blocks, None)) is not None:
            parts.append(block)
            ready += len(block)
        drop = min(max(0, start - self._first), ready - self._first)
        self._held, self._first = np.concatenate(parts)[drop:], self._first + drop
        inside = self._held[max(0, start - self._first) : max(0, stop - self._first)]
        before = min(self.wave.samples, max(0, self._first - start))
        return np.pad(inside, (before, self.wave.samples - before - len(inside)))


class _Head:
    """Keeps the samples of a recording as long as it may be shorter than a clip."""

    def __init__(self, enough: int) -> None:
        self.enough = enough
        self.samples: np.ndarray | None = np.empty(0, np.float32)

    def listen(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Give blocks (samples,) on, and keep what they hold while it is short."""
        for block in blocks:
            if self.samples is not None:
                together = np.concatenate([self.samples, block])
                self.samples = together if len(together) < self.enough else None
            yield block
