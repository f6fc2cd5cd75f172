"""Sound files for the tests: songs in noise, written in any format, and corpora of them."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pandas as pd
import soundfile

from birdnb.corpora import Corpus
from birdnb.corpora.table import COLUMNS


def noise(
    seconds: float, sample_rate: int = 22050, seed: int = 0, level: float = 0.01
) -> np.ndarray:
    """White noise (samples,) float32."""
    return (
        level * np.random.default_rng(seed).standard_normal(round(seconds * sample_rate))
    ).astype(np.float32)


def song(
    seconds: float, sample_rate: int = 22050, low_hz: float = 2000.0, high_hz: float = 3500.0
) -> np.ndarray:
    """Syllables of 80 ms that sweep up, every 200 ms, full scale (samples,) float32."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    within = time % 0.2
    pitch = low_hz * within + (high_hz - low_hz) * within**2 / 0.16
    envelope = np.sin(np.pi * within / 0.08) * (within < 0.08)
    return (envelope * np.sin(2 * np.pi * pitch)).astype(np.float32)


def recording(
    seconds: float,
    onset: float,
    length: float,
    sample_rate: int = 22050,
    seed: int = 0,
    level: float = 0.2,
) -> np.ndarray:
    """Noise with a song of ``length`` seconds from ``onset`` on."""
    sound = noise(seconds, sample_rate, seed)
    first = round(onset * sample_rate)
    sung = level * song(length, sample_rate)[: len(sound) - first]
    sound[first : first + len(sung)] += sung
    return sound


def write(path: Path, sound: np.ndarray, sample_rate: int = 22050, **kind: str) -> Path:
    """Write a sound file, a second at a time.

    libsndfile crashes when a long OGG or MP3 is written in a single call.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = 1 if sound.ndim == 1 else sound.shape[1]
    with soundfile.SoundFile(path, "w", sample_rate, channels, **kind) as file:
        for first in range(0, len(sound), sample_rate):
            file.write(sound[first : first + sample_rate])
    return path


def encode(
    path: Path, sound: np.ndarray, sample_rate: int, container: str, codec: str, **options: str
) -> Path:
    """Write a sound file by ffmpeg's libraries: the formats that libsndfile does not write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.atleast_2d(sound.T).astype(np.float32)  # (channels, samples)
    layout = "mono" if len(samples) == 1 else f"{len(samples)}c" if len(samples) > 2 else "stereo"
    with av.open(str(path), "w", format=container, options=options) as out:
        rate = 48_000 if codec == "libopus" else sample_rate
        stream = out.add_stream(codec, rate=rate, layout=layout)
        if codec in ("aac", "libmp3lame", "wmav2", "libopus", "libvorbis", "mp2"):
            stream.bit_rate = 96_000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout)
        frame.sample_rate = sample_rate
        resampler = av.AudioResampler(stream.format.name, layout, rate)
        for ready in [*resampler.resample(frame), *resampler.resample(None), None]:
            out.mux(stream.encode(ready))
    return path


def corpus_of(
    root: Path, files: dict[str, str], species: dict[str, str] | None = None, name: str = "small"
) -> Corpus:
    """A corpus of files {recording_id: path below root}; species are "a" unless given."""
    manifest = pd.DataFrame("", index=range(len(files)), columns=COLUMNS, dtype=str)
    manifest["recording_id"], manifest["path"] = list(files), list(files.values())
    manifest["species"] = [(species or {}).get(recording_id, "a") for recording_id in files]
    return Corpus(
        name,
        root,
        manifest,
        pd.DataFrame(columns=["recording_id", "path", "species", "reason"]),
        "test",
    )


def reasons(quarantine: pd.DataFrame) -> dict[str, str]:
    """Kind of reason by recording_id."""
    return dict(
        zip(quarantine["recording_id"], quarantine["reason"].str.split(":").str[0], strict=True)
    )
