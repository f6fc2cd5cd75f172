"""Sound files: decode by content and by blocks, downmix, resample, high-pass.

libsndfile decodes; what it refuses, or does not read to its end, goes to the decoders of last
resort.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import gcd
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile
import soxr

from birdnb.features import decoders, lengths
from birdnb.features.activity import coarse_frame
from birdnb.features.decoders import AudioError, Decoded, StopsEarlyError, Stream
from birdnb.features.downmix import Downmix
from birdnb.features.lms import high_pass

Result = TypeVar("Result")
# samples decoded at a time, all channels together (1 MB: stays in the processor's cache)
BLOCK = 2**18
# mono samples kept in memory (134 MB: 12 minutes at 44.1 kHz); of longer recordings the windows are
# decoded again
KEEP = 2**25
MARGIN = 0.05  # [s] decoded around a slice: the filters' response is below -100 dB by then
RUN_UP = 0.5  # [s] decoded and thrown away after a jump: an MP3 frame builds on those before it
LOUDEST = 1e6  # a sample beyond this (full scale is 1) is broken, like NaN
MAX_BROKEN = 1e-3  # share of samples set to zero; with more of them a recording is refused
SILENT, SILENT_FINE = 1e-3, 1e-5  # from lowest to highest sample (full scale is 2); of FINE ones
FINE = ("PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAC_24", "ALAC_32")  # recorded with much headroom
SAMPLE_RATES = (4_000, 1_000_000)  # [Hz] outside, the header is wrong or there is no song to hear


class Recording:
    """A decoded recording, mono float32 at its own sample rate; use as a context manager.

    The mean of its channels, or ``channel`` of them (from 0) where they cancel each other. Isolated
    broken samples (NaN, infinite, beyond a million times full scale) are read as zero. ``stopped``
    is how libsndfile failed before: other decoders are to read it. ``keep`` mono samples are kept
    in memory, ``block`` are decoded at a time. Raises AudioError.
    """

    def __init__(
        self, path: Path | str, stopped: StopsEarlyError | None = None, *, keep: int = KEEP,
        block: int = BLOCK,
    ) -> None:  # fmt: skip
        self.path, self._keep, self._block = Path(path), keep, block
        self.channel: int | None = None
        self.frames = self.broken = 0
        self._decoded: Decoded | None = None
        self._kept: np.ndarray | None = None
        if stopped is not None:
            self._use(decoders.recover(self.path, stopped.heard, str(stopped)))
        else:
            try:
                self._file = Stream(self.path)
            except soundfile.LibsndfileError as error:
                said = error.error_string.rstrip(". ")
                self._use(decoders.decode(self.path, f"cannot be decoded: libsndfile says {said}"))
        self.sample_rate, self.channels = self._file.samplerate, self._file.channels
        fine = self._decoded is None and self._file.subtype in FINE
        self.faintest = SILENT_FINE if fine else SILENT
        low, high = SAMPLE_RATES
        if not low <= self.sample_rate <= high:
            self.close()
            raise AudioError(f"sample rate: {self.sample_rate} Hz is not between {low} and {high}")

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if self._decoded is not None:
            self._decoded.file.close()

    @property
    def seconds(self) -> float:
        """Return the length [s] of what has been read."""
        return self.frames / self.sample_rate

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the whole recording in blocks (samples,), whole coarse hops long but for the last.

        Afterwards ``frames`` (length in samples), ``broken`` (samples set to zero), ``lowest`` and
        ``highest`` are known. Raises StopsEarlyError when sound is left that was not read.
        """
        self.frames = self.broken = 0
        self.lowest, self.highest = np.inf, -np.inf
        self._kept = None
        listens = self.channels > 1 and self.channel is None
        self._downmix = Downmix(self.channels, self.sample_rate) if listens else None
        self._start = 0
        try:
            self._seek(0)
            self._start = self._file.place()
            yield from self._blocks()
        except soundfile.LibsndfileError as error:
            said = error.error_string.rstrip(". ")
            raise StopsEarlyError(
                f"cannot be decoded: breaks off after {self.seconds:.1f} s ({said})", self._heard()
            ) from error
        if self._decoded is None:
            decoders.check_end(self.path, self._heard())

    def take_channel(self) -> bool:
        """After ``blocks``: take one channel where they cancel; True: it has to be read anew."""
        if self._downmix is None:
            return False
        self.channel = self._downmix.choice()
        return self.channel is not None

    def read(self, start: int, stop: int, spare: int = 0) -> np.ndarray:
        """Read samples ``start`` to ``stop``, fewer at the end; those ``blocks`` kept, at once.

        Where more than the last ``spare`` of them are not there, and it was not read through, it
        is, to know that this is its end. Raises StopsEarlyError when it is not.
        """
        samples = self._read(start, stop)
        if len(samples) >= stop - spare - start or self.frames or self._decoded is not None:
            return samples
        for _ in self.blocks():
            pass
        return self._read(start, stop)

    def _read(self, start: int, stop: int) -> np.ndarray:
        if self._kept is not None:
            return self._kept[start:stop]
        try:
            first = max(0, start - int(RUN_UP * self.sample_rate))
            self._seek(min(first, self.frames or self._file.frames))
            samples = self._mono(self._file.read(stop - first, dtype="float32", always_2d=True))
            _mend(samples)
            return samples[start - first :]
        except soundfile.LibsndfileError as error:
            if not self.frames and self._decoded is None:
                return np.empty(0, np.float32)  # read through, it tells how far it can be read
            raise AudioError(
                f"cannot be decoded: not from {start / self.sample_rate:.1f} s on "
                f"({error.error_string})"
            ) from error

    def slice(self, start: int, stop: int, sample_rate: int, high_pass_hz: float) -> np.ndarray:
        """Cut samples ``start`` to ``stop`` (stop - start,), counted at ``sample_rate``.

        Zeros before and after the recording. Equal to the same cut from the whole recording,
        resampled and filtered: it decodes a margin on both sides, and starts where a sample of the
        one rate falls on a sample of the other. ``high_pass_hz`` 0: not filtered.
        """
        divisor = gcd(self.sample_rate, sample_rate)
        down, up = self.sample_rate // divisor, sample_rate // divisor
        margin = round(MARGIN * sample_rate)
        step = max(0, (start - margin) // up)
        last = -(-(stop + margin) * down // up)
        samples = self.read(step * down, last, spare=last - -(-stop * down // up))
        if self.sample_rate != sample_rate and len(samples):
            samples = soxr.resample(samples, self.sample_rate, sample_rate, "HQ")
        if high_pass_hz and len(samples):
            samples = high_pass(samples, sample_rate, high_pass_hz)
        offset = start - step * up
        samples = samples[max(0, offset) : max(0, offset + stop - start)]
        before = min(stop, max(0, -start))
        after = max(0, stop - start - before - len(samples))
        return np.pad(samples, (before, after)) if before or after else samples

    def _use(self, decoded: Decoded) -> None:
        self._decoded = decoded
        self._file = Stream(decoded.file, **decoded.layout)

    def _seek(self, frame: int) -> None:
        if self._file.goes_back:
            self._file.seek(frame)
            return
        self._file.close()
        self._file = Stream(self.path)
        while frame > 0 and (passed := len(self._file.read(min(frame, self._block)))):
            frame -= passed

    def _blocks(self) -> Iterator[np.ndarray]:
        hop = coarse_frame(self.sample_rate)[1]
        size = max(1, self._block // self.channels // hop) * hop
        kept = np.empty(self._file.frames, np.float32) if self._file.frames <= self._keep else None
        while True:
            place = np.empty(size, np.float32) if kept is None else kept[self.frames :][:size]
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
            samples = self._mono(several, out=place[: len(several)])
            if self._downmix is not None and len(several):
                self._downmix.add(samples, several)
        if len(samples):
            lowest, highest = samples.min(), samples.max()
            if not -LOUDEST <= lowest <= highest <= LOUDEST:  # NaN is neither
                self.broken += _mend(samples)
                lowest, highest = samples.min(), samples.max()
            self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        return samples

    def _mono(self, several: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return the mean of (samples, channels), or the channel taken, as (samples,)."""
        if self.channel is None:
            mixing = np.full(self.channels, 1 / self.channels, np.float32)
            return np.matmul(several, mixing, out=out)
        out = np.empty(len(several), np.float32) if out is None else out
        out[:] = several[:, self.channel]
        return out

    def _heard(self) -> lengths.Heard:
        file = self._file
        return lengths.Heard(
            file.format, file.subtype, file.endian, file.samplerate, file.channels, self.frames,
            self._start, file.place(), file.frames / file.samplerate,
        )  # fmt: skip


def hear(path: Path | str, use: Callable[[Recording], Result], keep: int = KEEP) -> Result:
    """Call ``use`` with a recording, and again with other decoders when libsndfile stops early."""
    try:
        with Recording(path, keep=keep) as sound:
            return use(sound)
    except StopsEarlyError as stopped:
        with Recording(path, stopped, keep=keep) as sound:
            return use(sound)


def read_audio(
    path: Path | str, sample_rate: int = 22050, high_pass_hz: float = 500.0, start: float = 0.0,
    seconds: float | None = None,
) -> np.ndarray:  # fmt: skip
    """Read a recording, or ``seconds`` of it from ``start`` [s] on, as mono float32 (samples,).

    At ``sample_rate`` [Hz], resampled by soxr (its HQ, librosa's default) and high-passed. Raises
    AudioError when there is nothing to read.
    """

    def cut(sound: Recording) -> np.ndarray:
        """Take the asked part of a recording that is sound throughout."""
        read_through(sound)
        check_sound(sound)
        end = -(-sound.frames * sample_rate // sound.sample_rate)
        first = min(round(start * sample_rate), end)
        last = end if seconds is None else min(end, first + round(seconds * sample_rate))
        return sound.slice(first, last, sample_rate, high_pass_hz)

    return hear(path, cut)


def read_through(sound: Recording) -> None:
    """Read a recording once, so that its length and the channel to take are known."""
    for _ in sound.blocks():
        pass
    if sound.take_channel():
        read_through(sound)


def check_sound(sound: Recording, shortest: float = 0.0) -> None:
    """Raise AudioError for one read through that is under ``shortest`` [s], broken or silent."""
    seconds = sound.seconds
    if not sound.frames:
        raise AudioError("no samples: there is a header, but no sound after it")
    if seconds < shortest:
        raise AudioError(f"too short: {seconds:.2f} s, at least {shortest:g} s are needed")
    if sound.broken > MAX_BROKEN * sound.frames:
        raise AudioError(
            f"broken samples: {sound.broken / sound.frames:.1%} are NaN, infinite or absurdly large"
        )
    if sound.highest - sound.lowest < sound.faintest:
        offset = abs(sound.highest + sound.lowest) / 2
        raise AudioError(
            f"silent: nothing above {20 * np.log10(sound.faintest / 2):.0f} dB of full scale"
            if offset < sound.faintest
            else "constant: a level, but no sound"
        )


def _mend(samples: np.ndarray) -> int:
    """Set broken samples to zero, in place, and count them."""
    broken = ~(np.abs(samples) <= LOUDEST)
    samples[broken] = 0.0
    return int(broken.sum())
