"""For the ear: clips and noise as waveforms, mixed as the spectrograms are, and players small
enough to be committed.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile
from IPython.display import Audio

from birdnb.config import AudioSettings
from birdnb.data import StudyData
from birdnb.features.activity import SILENCE_SECONDS, coarse_activity, coarse_frame, find_silence
from birdnb.features.audio import SoundFile, read_audio
from birdnb.features.lms import log_mel
from birdnb.files import BirdnbError


def clip_waveform(data: StudyData, recording_id: str, segment: int = 0) -> np.ndarray:
    """Waveform (clip_samples,) of a cached window, the most active first; a recording shorter than
    a clip is repeated.
    """
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
    """Waveform (samples,) of a recording as the pipeline hears it: mono, resampled, high-passed."""
    audio = data.profile.audio
    return read_audio(
        _path(data, recording_id), audio.sample_rate, audio.high_pass_hz, start, seconds
    )


def window_starts(data: StudyData, recording_id: str) -> list[float]:
    """Starts [s] of the windows chosen from a recording, best first."""
    starts = data.cache.index.set_index("recording_id")["starts"].loc[recording_id]
    return [float(start) for start in str(starts).split(";")]


def noise_waveform(data: StudyData, recording_id: str) -> np.ndarray:
    """Waveform (clip_samples,) of the quietest stretch of a recording, that of the noise bank.
    Raises BirdnbError if none.
    """
    audio = data.profile.audio
    with SoundFile(_path(data, recording_id)) as sound:
        coarse = coarse_activity(
            sound.blocks(multiple=coarse_frame(sound.sample_rate)[1]), sound.sample_rate
        )
        seconds = sound.frames / sound.sample_rate
    first = find_silence(coarse, seconds, audio)
    if first is None:
        raise BirdnbError(
            f"recording {recording_id!r} has no silent stretch: choose one that `cache.noise` has"
        )
    quiet = recording_waveform(
        data, recording_id, first * audio.hop_length / audio.sample_rate, SILENCE_SECONDS
    )
    return np.resize(
        np.concatenate([quiet, quiet[::-1]]), audio.clip_samples
    )  # by turns, as in the bank


def mix_waveforms(
    signal: np.ndarray, noise: np.ndarray, snr_db: float, audio: AudioSettings
) -> np.ndarray:
    """Add noise (samples,) to a signal (samples,) at the ratio ``augment.add_noise`` means: of
    their mean mel powers [dB].
    """
    power, noise_power = (np.mean(10 ** (log_mel(part, audio) / 10)) for part in (signal, noise))
    gain = np.sqrt(power / (noise_power * 10 ** (snr_db / 10)))
    return (signal + gain * noise).astype(np.float32)


def blend_waveforms(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """``share`` of the first waveform and the rest of the second, both made equally loud: MixUp for
    the ear.
    """
    loud = [part / max(float(np.sqrt(np.mean(part**2))), 1e-9) for part in (first, second)]
    return (share * loud[0] + (1 - share) * loud[1]).astype(np.float32)


def mp3_bytes(samples: np.ndarray, sample_rate: int) -> bytes:
    """A waveform as mono MP3, its peak brought to 0.9: 4 s take about 25 kB."""
    samples = np.asarray(samples, dtype=np.float32)
    samples = samples * (0.9 / max(float(np.abs(samples).max(initial=0.0)), 1e-9))
    target = io.BytesIO()
    with soundfile.SoundFile(
        target, "w", sample_rate, 1, format="MP3", subtype="MPEG_LAYER_III"
    ) as file:
        for start in range(0, len(samples), sample_rate):
            file.write(samples[start : start + sample_rate])
    return target.getvalue()


def player(samples: np.ndarray, sample_rate: int) -> Audio:
    """A player for a notebook, with the sound inside."""
    audio = Audio(data=mp3_bytes(samples, sample_rate))
    audio.mimetype = "audio/mpeg"
    return audio


def _path(data: StudyData, recording_id: str) -> Path:
    paths = data.corpus.manifest.set_index("recording_id")["path"]
    if recording_id not in paths.index:
        raise BirdnbError(
            f"no recording {recording_id!r} in corpus {data.corpus.name}: choose one of the "
            f"study's table"
        )
    return data.corpus.root / paths.loc[recording_id]
