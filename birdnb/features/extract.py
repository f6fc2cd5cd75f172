"""A recording to the LMS of its most active windows, without transforming the rest.

The whole recording is decoded once; a coarse spectrogram finds the windows; only those are
resampled, filtered and transformed. Their LMS equal the cuts from the LMS of the whole recording.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from birdnb.config import AudioSettings
from birdnb.features.activity import (
    SHORTEST_SECONDS,
    SILENCE_SECONDS,
    Coarse,
    coarse_activity,
    find_silence,
    find_windows,
)
from birdnb.features.audio import KEEP, Recording, check_sound, hear
from birdnb.features.decoders import AudioError
from birdnb.features.ledger import NO_MEMORY
from birdnb.features.lms import framed_log_mel, log_mel
from birdnb.files import BirdnbError


@dataclass(frozen=True)
class Extraction:
    """What is kept of a recording.

    ``lms`` (segments, n_mels, T) float32 [dB], best first; ``starts`` [s] of the windows; ``noise``
    (n_mels, T) of its quietest second, or None.
    """

    lms: np.ndarray
    noise: np.ndarray | None
    starts: list[float]
    seconds: float
    sample_rate: int
    channels: int
    channel: int | None  # taken (from 0), where the channels cancel; None: their mean


def extract(path: Path | str, audio: AudioSettings, keep: int = KEEP) -> Extraction:
    """Extract a recording. One shorter than a clip is repeated until it fills one.

    A recording of more than ``keep`` mono samples is not held in memory but decoded twice.
    Raises AudioError when it cannot be decoded, is shorter than half a second, silent, constant or
    broken.
    """
    with blaming_the_file():
        return hear(path, lambda sound: _extract(sound, audio), keep)


@contextlib.contextmanager
def blaming_the_file() -> Iterator[None]:
    """Raise AudioError where no library was ready for a file: the work on all others goes on."""
    try:
        yield
    except (BirdnbError, OSError):
        raise
    except MemoryError as error:  # of other programs, too: looked at again by the next run
        raise AudioError(f"{NO_MEMORY}: close other programs, or use fewer jobs") from error
    except Exception as error:
        raise AudioError(f"unexpected error: {type(error).__name__}: {error}") from error


def survey(sound: Recording) -> Coarse:
    """Read a recording once and return its activity; the channel to take is settled by then."""
    coarse = coarse_activity(sound.blocks(), sound.sample_rate)
    return survey(sound) if sound.take_channel() else coarse


def _extract(sound: Recording, audio: AudioSettings) -> Extraction:
    coarse = survey(sound)
    check_sound(sound, shortest=SHORTEST_SECONDS)
    seconds = min(sound.seconds, audio.first_seconds or math.inf)
    windows = find_windows(coarse, seconds, audio)
    silence = find_silence(coarse, seconds, audio)
    stretches = [(first, audio.n_frames) for first in windows]
    if silence is not None:
        stretches.append((silence, _silence_frames(audio)))
    lms = (
        [_repeated(sound, audio)] if seconds < audio.clip_seconds else _cut(sound, stretches, audio)
    )
    return Extraction(
        lms=np.stack(lms[: len(windows)]),
        noise=None if silence is None else back_and_forth(lms[-1], audio),
        starts=[first * audio.hop_length / audio.sample_rate for first in windows],
        seconds=sound.seconds,
        sample_rate=sound.sample_rate,
        channels=sound.channels,
        channel=sound.channel,
    )


def back_and_forth(lms: np.ndarray, audio: AudioSettings) -> np.ndarray:
    """Fill a clip (n_mels, n_frames) with the first SILENCE_SECONDS of an LMS, to and fro."""
    lms = lms[:, : _silence_frames(audio)]
    turn = np.concatenate([lms, lms[:, ::-1]], axis=1)
    return np.tile(turn, (1, math.ceil(audio.n_frames / turn.shape[1])))[:, : audio.n_frames]


def _silence_frames(audio: AudioSettings) -> int:
    return int(SILENCE_SECONDS * audio.sample_rate) // audio.hop_length


def _cut(sound: Recording, wanted: list[tuple[int, int]], audio: AudioSettings) -> list[np.ndarray]:
    """Return the LMS (n_mels, frames) of stretches (first frame, frames), overlaps done once."""
    joined: list[list[int]] = []
    for first, frames in sorted(wanted):
        if joined and first <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], first + frames)
        else:
            joined.append([first, first + frames])
    half, found = audio.n_fft // 2, {}
    for begin, end in joined:
        start, stop = begin * audio.hop_length - half, (end - 1) * audio.hop_length + half
        lms = framed_log_mel(sound.slice(start, stop, audio.sample_rate, audio.high_pass_hz), audio)
        for first, frames in wanted:
            if begin <= first < end:
                found[first, frames] = lms[:, first - begin : first - begin + frames]
    return [found[stretch] for stretch in wanted]


def _repeated(sound: Recording, audio: AudioSettings) -> np.ndarray:
    """Return the LMS of a recording shorter than a clip, repeated from its beginning."""
    length = math.ceil(sound.frames * audio.sample_rate / sound.sample_rate)
    return log_mel(
        np.resize(
            sound.slice(0, length, audio.sample_rate, audio.high_pass_hz), audio.clip_samples
        ),
        audio,
    )
