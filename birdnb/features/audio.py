"""Sound files: decode by content and by blocks, downmix, resample, high-pass.

libsndfile decodes; what it refuses is tried with the decoders audioread finds (ffmpeg, Core Audio,
GStreamer), as librosa does.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterator
from math import gcd
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile
import soxr
from scipy import signal

from birdnb.files import BirdnbError

BLOCK = (
    2**18
)  # samples decoded at a time, all channels together (1 MB: stays in the processor's cache)
KEEP = (
    2**25
)  # mono samples kept in memory (134 MB: 12 minutes at 44.1 kHz); of longer recordings the windows are decoded again
# [s] decoded around a slice, so that the filters have settled: their response is below -100 dB by
# then
MARGIN = 0.05
RUN_UP = 0.5  # [s] decoded and thrown away after a jump: an MP3 frame builds on those before it
LOUDEST = 1e6  # a sample beyond this (full scale is 1) is broken, like NaN
MAX_BROKEN = (
    1e-3  # share of broken samples set to zero; more than that and the recording is refused
)
# from the lowest to the highest sample (full scale is 2): nothing louder than -66 dB of full scale
SILENT = 1e-3
SAMPLE_RATES = (4_000, 1_000_000)  # [Hz] outside, the header is wrong or there is no song to hear


class AudioError(BirdnbError):
    """A recording that cannot be used; the message is the reason, ``kind: details``, without the
    path.
    """


class DecodingBrokeOff(AudioError):
    """libsndfile opened the recording but could not read it to its end; another decoder may."""


class _Stream(soundfile.SoundFile):
    """soundfile seeks after every read to where it is already, which makes MP3 decoders lose a
    little; this one does not.
    """

    def seekable(self) -> bool:
        return False


class SoundFile:
    """A decoded recording, mono float32 at its own sample rate; use as a context manager.

    Isolated broken samples (NaN, infinite, beyond a million times full scale) are read as zero.
    ``fallback`` leaves libsndfile out. Raises AudioError.
    """

    def __init__(self, path: Path | str, fallback: bool = False) -> None:
        self.path = Path(path)
        self._temporary: IO[bytes] | None = None
        self._kept: np.ndarray | None = None
        if fallback:
            self._open_fallback("libsndfile breaks off")
        else:
            try:
                self._open(self.path)
            except soundfile.LibsndfileError as error:
                self._open_fallback(f"libsndfile says {error.error_string}")
        self.sample_rate, self.channels = self._file.samplerate, self._file.channels
        low, high = SAMPLE_RATES
        if not low <= self.sample_rate <= high:
            self.close()
            raise AudioError(f"sample rate: {self.sample_rate} Hz is not between {low} and {high}")

    def __enter__(self) -> SoundFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if self._temporary is not None:
            self._temporary.close()

    def blocks(self, multiple: int = 1) -> Iterator[np.ndarray]:
        """Yield the whole recording in blocks (samples,); all but the last are a multiple of
        ``multiple`` samples long.

        Afterwards ``frames`` (length in samples), ``broken`` (samples set to zero), ``lowest`` and
        ``highest`` are known. Raises DecodingBrokeOff.
        """
        try:
            yield from self._blocks(multiple)
        except soundfile.LibsndfileError as error:
            raise DecodingBrokeOff(
                f"cannot be decoded: breaks off after {self.frames / self.sample_rate:.1f} s "
                f"({error.error_string})"
            ) from error

    def read(self, start: int, stop: int) -> np.ndarray:
        """Samples ``start`` to ``stop``, fewer where the recording ends; from memory if ``blocks``
        has kept it.
        """
        if self._kept is not None:
            return self._kept[start:stop]
        try:
            first = max(0, start - int(RUN_UP * self.sample_rate))
            self._file.seek(min(first, self._file.frames))
            samples = self._file.read(stop - first, dtype="float32", always_2d=True) @ _mixing(
                self.channels
            )
            _mend(samples)
            return samples[start - first :]
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"cannot be decoded: not from {start / self.sample_rate:.1f} s on "
                f"({error.error_string})"
            ) from error

    def slice(self, start: int, stop: int, sample_rate: int, high_pass_hz: float) -> np.ndarray:
        """Samples ``start`` to ``stop`` (stop - start,) counted at ``sample_rate``; zeros before
        and after the recording.

        Equal to the same cut from the whole recording, resampled and filtered: it decodes a margin
        on both sides, and starts where a sample of the one rate falls on a sample of the other.
        """
        divisor = gcd(self.sample_rate, sample_rate)
        down, up = self.sample_rate // divisor, sample_rate // divisor
        margin = round(MARGIN * sample_rate)
        step = max(0, (start - margin) // up)
        samples = self.read(step * down, -(-(stop + margin) * down // up))
        if self.sample_rate != sample_rate and len(samples):
            samples = soxr.resample(samples, self.sample_rate, sample_rate, "HQ")
        samples = high_pass(samples, sample_rate, high_pass_hz)
        offset = start - step * up
        samples = samples[max(0, offset) : max(0, offset + stop - start)]
        before = min(stop, max(0, -start))
        after = max(0, stop - start - before - len(samples))
        return np.pad(samples, (before, after)) if before or after else samples

    def _open(self, file: Path | IO[bytes], **raw: Any) -> None:
        """Open by descriptor, so that the content decides and not the extension."""
        try:
            descriptor = (
                os.open(file, os.O_RDONLY) if isinstance(file, Path) else os.dup(file.fileno())
            )
        except OSError as error:
            raise AudioError(f"cannot be opened: {error.strerror}") from error
        try:
            if os.fstat(descriptor).st_size == 0:
                raise AudioError("empty: the file has no bytes")
            self._file = _Stream(descriptor, closefd=True, **raw)
        except BaseException:
            _close(descriptor)
            raise

    def _open_fallback(self, reason: str) -> None:
        """Decode with audioread into an unnamed temporary file of 16-bit samples, and go on with
        that.
        """
        import audioread
        from audioread.rawread import RawAudioFile

        # RawAudioFile reads nothing that libsndfile cannot, and fails where it should refuse
        backends = [
            backend for backend in audioread.available_backends() if backend is not RawAudioFile
        ]
        self._temporary = tempfile.TemporaryFile(prefix="birdnb-")  # noqa: SIM115
        try:
            with audioread.audio_open(str(self.path.resolve()), backends) as decoder:
                for data in decoder:
                    self._temporary.write(data)
                layout = {"samplerate": decoder.samplerate, "channels": decoder.channels}
            self._temporary.seek(0)
            self._open(self._temporary, format="RAW", subtype="PCM_16", endian="LITTLE", **layout)
        except (
            audioread.DecodeError,
            AudioError,
            soundfile.LibsndfileError,
            ValueError,
            EOFError,
        ) as error:
            self._temporary.close()
            raise AudioError(
                f"cannot be decoded: {reason.rstrip('.')}; no other decoder here can read it either"
            ) from error

    def _blocks(self, multiple: int) -> Iterator[np.ndarray]:
        self.frames = self.broken = 0
        self.lowest, self.highest = np.inf, -np.inf
        size = max(1, BLOCK // self.channels // multiple) * multiple
        kept = np.empty(self._file.frames, np.float32) if self._file.frames <= KEEP else None
        self._file.seek(0)
        while True:
            place = (
                np.empty(size, np.float32)
                if kept is None
                else kept[self.frames : self.frames + size]
            )
            samples = self._next(place)
            if not len(samples):
                break
            self.frames += len(samples)
            yield samples
        if kept is not None:
            self._kept = kept[: self.frames]

    def _next(self, place: np.ndarray) -> np.ndarray:
        """Decode the next samples into ``place`` and return as much of it as there were."""
        if self.channels == 1:
            samples = self._file.read(out=place)
        else:
            several = self._file.read(len(place), dtype="float32")
            samples = np.matmul(
                several, _mixing(self.channels), out=place[: len(several)]
            )  # (n, channels) -> (n,)
        if len(samples):
            lowest, highest = samples.min(), samples.max()
            if not -LOUDEST <= lowest <= highest <= LOUDEST:  # NaN is neither
                self.broken += _mend(samples)
                lowest, highest = samples.min(), samples.max()
            self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        return samples


def read_audio(
    path: Path | str,
    sample_rate: int = 22050,
    high_pass_hz: float = 500.0,
    start: float = 0.0,
    seconds: float | None = None,
) -> np.ndarray:
    """Read a recording, or ``seconds`` of it from ``start`` [s] on, as mono float32 (samples,) at
    ``sample_rate`` [Hz].

    Resampled by soxr (its HQ, librosa's default) and high-passed. Raises AudioError when there is
    nothing to read.
    """
    with SoundFile(path) as sound:
        for _ in sound.blocks():
            pass
        check_sound(sound)
        end = -(-sound.frames * sample_rate // sound.sample_rate)
        first = min(round(start * sample_rate), end)
        last = end if seconds is None else min(end, first + round(seconds * sample_rate))
        return sound.slice(first, last, sample_rate, high_pass_hz)


def check_sound(sound: SoundFile, shortest: float = 0.0) -> None:
    """Raise AudioError when a recording, read through once, is shorter than ``shortest`` [s],
    broken, silent or constant.
    """
    seconds = sound.frames / sound.sample_rate
    if not sound.frames:
        raise AudioError("no samples: there is a header, but no sound after it")
    if seconds < shortest:
        raise AudioError(f"too short: {seconds:.2f} s, at least {shortest:g} s are needed")
    if sound.broken > MAX_BROKEN * sound.frames:
        raise AudioError(
            f"broken samples: {sound.broken / sound.frames:.1%} are NaN, infinite or absurdly large"
        )
    if sound.highest - sound.lowest < SILENT:
        offset = abs(sound.highest + sound.lowest) / 2
        raise AudioError(
            "silent: nothing above -66 dB of full scale"
            if offset < SILENT
            else "constant: a level, but no sound"
        )


def high_pass(samples: np.ndarray, sample_rate: int, cutoff_hz: float) -> np.ndarray:
    """Butterworth high-pass of order 4 over ``samples`` (..., samples), forwards; float32."""
    return signal.sosfilt(_butterworth(sample_rate, cutoff_hz), samples).astype(np.float32)


@functools.cache
def _butterworth(sample_rate: int, cutoff_hz: float) -> np.ndarray:
    return signal.butter(4, cutoff_hz, "highpass", fs=sample_rate, output="sos")


def _mixing(channels: int) -> np.ndarray:
    return np.full(channels, 1 / channels, np.float32)


def _mend(samples: np.ndarray) -> int:
    """Set broken samples to zero, in place, and count them."""
    broken = ~(np.abs(samples) <= LOUDEST)
    samples[broken] = 0.0
    return int(broken.sum())


def _close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError as error:  # libsndfile has closed it already
        if error.errno != 9:
            raise
