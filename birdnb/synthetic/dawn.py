"""A dawn of invented birds: one long recording with its truth, to try a trained run on.

The demo's species sing in bouts, and so do strangers that are none of its twelve. The first
minute has no bird in it; wind rises in the middle third, and it rains in the last.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy.fft
import soundfile

from birdnb.files import atomic_path, write_text
from birdnb.synthetic.demo import CHOSEN, NAMES, NAMESPACE, demo_species, sound_written
from birdnb.synthetic.song import sing
from birdnb.synthetic.soundscape import Site, Voice, background, from_afar, invent_site
from birdnb.synthetic.species import FAMILY, Species, individual, species_for

NAME = "DAWN_20230512_050000"  # as autonomous recorders call their files: site, day, time
STRANGERS = ("Mist Vennock", "Quarry Pellin", "Thorn Ossel")
SAMPLE_RATE = 32_000  # [Hz]
SNR = (6.0, 26.0)  # [dB] of a bout over what is heard at that time above 500 Hz
BOUT_SECONDS = (4.0, 14.0)
COLUMNS = ("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)",
           "High Freq (Hz)", "Begin File", "Species")  # fmt: skip


@dataclass(frozen=True)
class Bout:
    """A bird that sings for a while."""

    name: str
    bird: Species
    start: float  # [s]
    seconds: float
    snr: float  # [dB]
    distance: float  # [m]


def make_dawn(
    folder: Path, species: Sequence[str] = NAMES, minutes: float = 10.0, seed: int = 7
) -> tuple[Path, Path]:
    """Write ``DAWN_20230512_050000.wav`` and its truth, a Raven selection table beside it.

    ``species`` are names of the demo's birds. The same arguments give the same samples; a dawn that
    is there is left as it is. Returns the paths of the recording and of the table.
    """
    sound = Path(folder) / f"{NAME}.wav"
    truth = Path(folder) / f"{NAME}.truth.txt"
    if sound.exists() and truth.exists():
        return sound, truth
    rng = np.random.default_rng(np.random.SeedSequence([seed, 5]))
    seconds = 60.0 * minutes
    noise, site = _weather(rng, seconds)
    scene = noise.copy()
    marks = [(bout, *_sing(bout, scene, noise, site, rng)) for bout in _plan(rng, species, seconds)]
    scene *= 0.5 / np.abs(scene).max()
    with atomic_path(sound) as temporary, sound_written(sound):
        soundfile.write(temporary, scene, SAMPLE_RATE, subtype="PCM_16")
    write_text(truth, _table(marks, sound.name))  # last: with it the dawn is finished
    return sound, truth


def _plan(rng: np.random.Generator, species: Sequence[str], seconds: float) -> list[Bout]:
    """Share out some five bouts a minute, more and more of them, by time."""
    birds = {name: demo_species(NAMES.index(name)) for name in species}
    others = (number for number in range(0, 60, FAMILY) if number not in CHOSEN)
    birds |= {name: species_for(NAMESPACE, next(others)) for name in STRANGERS}
    count = round(5 * seconds / 60)
    names = [list(birds)[i % len(birds)] for i in range(count)]
    starts = seconds * (0.1 + 0.88 * rng.beta(1.6, 1.1, count))
    return sorted(
        (
            Bout(
                name, individual(birds[name], rng), float(start), rng.uniform(*BOUT_SECONDS),
                rng.uniform(*SNR), float(np.exp(rng.uniform(np.log(5), np.log(80)))),
            )
            for name, start in zip(rng.permutation(names), starts, strict=True)
        ),
        key=lambda bout: bout.start,
    )  # fmt: skip


def _weather(rng: np.random.Generator, seconds: float) -> tuple[np.ndarray, Site]:
    """Return the sound of the place (samples,): calm, then wind, then rain, each fading over."""
    site = replace(invent_site(rng), insects=(), rain=0.0, wind=-20.0)
    weathers = [site, replace(site, wind=6.0), replace(site, rain=800.0)]
    spans = ((0.0, 0.0, 0.3, 0.37), (0.3, 0.37, 0.63, 0.7), (0.63, 0.7, 1.0, 1.0))
    scene = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    for weather, span in zip(weathers, spans, strict=True):
        begin, full, fades, end = (round(share * len(scene)) for share in span)
        noise = background(weather, rng, (end - begin) / SAMPLE_RATE, SAMPLE_RATE)
        knots, gains = [begin - 1, full, fades, end + 1], [0.0, 1.0, 1.0, 0.0]
        scene[begin:end] += noise / noise.std() * np.interp(np.arange(begin, end), knots, gains)
    return scene, site


def _sing(
    bout: Bout, scene: np.ndarray, noise: np.ndarray, site: Site, rng: np.random.Generator
) -> tuple[float, float]:
    """Add a bout to the scene; return when its first note begins and its last one ends [s]."""
    song = sing(bout.bird, rng, bout.seconds, SAMPLE_RATE)
    voice = Voice(song.waveform, bout.snr, bout.distance)
    size = scipy.fft.next_fast_len(len(song.waveform) + SAMPLE_RATE // 2, real=True)
    arrived = scipy.fft.irfft(from_afar(voice, site, rng, size, SAMPLE_RATE), size)
    first = round(bout.start * SAMPLE_RATE)
    place = scene[first : first + len(arrived)]
    voiced = max(np.count_nonzero(song.waveform), 1)
    power = np.sum(_heard(arrived) ** 2) / voiced
    around = np.mean(_heard(noise[first : first + len(arrived)]) ** 2)
    gain = np.sqrt(around / power * 10 ** (bout.snr / 10))
    place += (arrived[: len(place)] * gain).astype(np.float32)
    end = min(bout.start + song.syllables[-1, 1], len(scene) / SAMPLE_RATE)
    return bout.start + song.syllables[0, 0], end


def _heard(samples: np.ndarray) -> np.ndarray:
    """Return what is above 500 Hz, which recordings are judged by."""
    from scipy import signal  # takes half a second to import: only a new dawn needs it

    return signal.sosfilt(
        signal.butter(4, 500.0, "highpass", fs=SAMPLE_RATE, output="sos"), samples
    )


def _table(marks: Sequence[tuple[Bout, float, float]], file: str) -> str:
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(COLUMNS)
    for number, (bout, start, end) in enumerate(marks, 1):
        table.writerow([number, "Spectrogram 1", 1, f"{start:.3f}", f"{end:.3f}", 500, 11000, file,
                        bout.name])  # fmt: skip
    return text.getvalue()
