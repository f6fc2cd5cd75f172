"""Give the ear clips and noise, mixed as the spectrograms are, in small players."""

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import soxr
from IPython.display import Audio

from birdnb.config import AudioSettings
from birdnb.data import StudyData
from birdnb.features.activity import SILENCE_SECONDS, find_silence
from birdnb.features.audio import Recording, hear, read_audio
from birdnb.features.extract import survey
from birdnb.features.lms import log_mel
from birdnb.files import BirdnbError

# [Hz] of MPEG-1, 2 and 2.5
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


@dataclass(frozen=True)
class Source:
    """Where the sound of a recording is, and which of its channels was heard."""

    path: Path
    channel: int | None = None  # from 0; None: their mean
    seconds: float = math.inf  # its length; a cut beyond it has to look whether more is there


def stretch(source: Source, audio: AudioSettings, start: float, seconds: float) -> np.ndarray:
    """Read a stretch of a recording (samples,) as a run hears it.

    Without reading the rest; beyond its end that is read, to know that no sound is left out.
    """
    first, last = round(start * audio.sample_rate), round((start + seconds) * audio.sample_rate)

    def cut(sound: Recording) -> np.ndarray:
        sound.channel = source.channel
        return sound.slice(first, last, audio.sample_rate, audio.high_pass_hz)

    return hear(source.path, cut)


def clip_waveform(data: StudyData, recording_id: str, segment: int = 0) -> np.ndarray:
    """Read the waveform (clip_samples,) of a cached window, the most active first."""
    starts = window_starts(data, recording_id)
    if segment >= len(starts):
        raise BirdnbError(
            f"recording {recording_id!r} has {len(starts)} windows: there is no segment {segment}"
        )
    audio = data.profile.audio
    return np.resize(
        recording_waveform(data, recording_id, starts[segment], audio.clip_seconds),
        audio.clip_samples,
    )


def recording_waveform(
    data: StudyData, recording_id: str, start: float = 0.0, seconds: float | None = None
) -> np.ndarray:
    """Read a recording (samples,) as the pipeline hears it: mono, resampled, high-passed."""
    audio = data.profile.audio
    path = path_of(data, recording_id)
    return read_audio(path, audio.sample_rate, audio.high_pass_hz, start, seconds)


def window_starts(data: StudyData, recording_id: str) -> list[float]:
    """Return the starts [s] of the windows chosen from a recording, best first."""
    return [float(start) for start in str(_row(data, recording_id)["starts"]).split(";")]


def noise_waveform(data: StudyData, recording_id: str) -> np.ndarray:
    """Read the quietest stretch (clip_samples,) of a recording, or raise BirdnbError: none."""
    audio = data.profile.audio
    first = hear(
        path_of(data, recording_id),
        lambda sound: find_silence(
            survey(sound), min(sound.seconds, audio.first_seconds or math.inf), audio
        ),
    )
    if first is None:
        raise BirdnbError(
            f"recording {recording_id!r} has no silent stretch: choose one that `cache.noise` has"
        )
    quiet = recording_waveform(
        data, recording_id, first * audio.hop_length / audio.sample_rate, SILENCE_SECONDS
    )
    # by turns, as in the bank
    return np.resize(np.concatenate([quiet, quiet[::-1]]), audio.clip_samples)


def mix_waveforms(
    signal: np.ndarray, noise: np.ndarray, snr_db: float, audio: AudioSettings
) -> np.ndarray:
    """Add noise to a signal (samples,) at a ratio of mean mel powers [dB], as ``add_noise``."""
    power, noise_power = (np.mean(10 ** (log_mel(part, audio) / 10)) for part in (signal, noise))
    gain = np.sqrt(power / (noise_power * 10 ** (snr_db / 10)))
    return (signal + gain * noise).astype(np.float32)


def blend_waveforms(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Blend ``share`` of one waveform with another, made equally loud: MixUp for the ear."""
    loud = [part / max(float(np.sqrt(np.mean(part**2))), 1e-9) for part in (first, second)]
    return (share * loud[0] + (1 - share) * loud[1]).astype(np.float32)


def mp3_bytes(samples: np.ndarray, sample_rate: int) -> bytes:
    """Write a waveform as mono MP3, its peak brought to 0.9: 4 s take about 25 kB.

    A sample rate that MP3 does not have becomes the next one that it has, at most 48 kHz.
    """
    samples = np.asarray(samples, dtype=np.float32)
    rate = next((known for known in MP3_RATES if known >= sample_rate), MP3_RATES[-1])
    if rate != sample_rate and len(samples):
        samples = soxr.resample(samples, sample_rate, rate, "HQ")
    samples = samples * (0.9 / max(float(np.abs(samples).max(initial=0.0)), 1e-9))
    target = io.BytesIO()
    with soundfile.SoundFile(target, "w", rate, 1, format="MP3", subtype="MPEG_LAYER_III") as file:
        for start in range(0, len(samples), rate):
            file.write(samples[start : start + rate])
    return target.getvalue()


def player(samples: np.ndarray, sample_rate: int) -> Audio:
    """Make a player for a notebook, with the sound inside."""
    audio = Audio(data=mp3_bytes(samples, sample_rate))
    audio.mimetype = "audio/mpeg"
    return audio


def path_of(data: StudyData, recording_id: str) -> Path:
    """Return the audio file of a recording of the study. Raises BirdnbError when it is not."""
    return data.corpus.root / _row(data, recording_id)["path"]


def _row(data: StudyData, recording_id: str) -> pd.Series:
    recordings = data.recordings
    if recording_id not in recordings.index:
        raise BirdnbError(
            f"no recording {recording_id!r} in corpus {data.corpus.name}: choose one of the "
            f"study's table"
        )
    return recordings.loc[recording_id]
