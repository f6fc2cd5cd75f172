"""The way from an invented bird to a file: noise, distance, echoes and equipment."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft

from birdnb.synthetic.song import Song, sing
from birdnb.synthetic.species import Species, individual

SNR = (2.0, 38.0)  # [dB] as measured on Xeno-Canto recordings at their best moments


@dataclass(frozen=True)
class Insect:
    """A cricket or cicada: a narrow band switched on and off."""

    hertz: float
    pulse_rate: float  # [Hz] 0 for a steady buzz
    width: float  # [Hz]
    level: float  # [dB] relative to the rest of the background


@dataclass(frozen=True)
class Site:
    """A place on a day: its noise and its echoes."""

    slope: float  # [dB per octave] fall of the noise spectrum from 350 Hz on
    wind: float  # [dB] rumble below about 1 kHz, in gusts, relative to the rest
    leaves_hertz: float  # middle of the band that rustles with the gusts
    leaves: float  # [dB]
    rain: float  # [drops per second]
    insects: tuple[Insect, ...]
    echo_seconds: float  # reverberation time, 60 dB


@dataclass(frozen=True)
class Recorder:
    """A recordist's microphone, recorder and file format, as they colour every recording."""

    tilt: float  # [dB per octave] around 3 kHz
    peak_hertz: float
    peak_level: float  # [dB]
    low_cut: float  # [Hz]
    high_cut: float  # [Hz] microphone or codec
    hiss: float  # [dB] self-noise relative to the background
    clips: float  # probability that the loudest parts are clipped


@dataclass(frozen=True)
class Voice:
    """A waveform (samples,) with its place in the scene."""

    waveform: np.ndarray
    snr: float  # [dB] while it sounds, over the background, above 500 Hz
    distance: float  # [m]


def invent_site(rng: np.random.Generator) -> Site:
    """Draw a recording site."""
    insects = tuple(
        Insect(
            rng.uniform(2500, 9000),
            rng.choice([0.0, rng.uniform(3, 40)]),
            rng.uniform(60, 500),
            rng.uniform(-12, 3),
        )
        for _ in range(rng.choice([0, 0, 0, 1, 2]))
    )
    return Site(
        slope=rng.uniform(4, 12), wind=rng.uniform(-25, 8),
        leaves_hertz=float(np.exp(rng.uniform(np.log(700), np.log(7000)))),
        leaves=rng.uniform(-30, -6), rain=rng.uniform(100, 2000) if rng.random() < 0.1 else 0.0,
        insects=insects, echo_seconds=rng.uniform(0.1, 0.8),
    )  # fmt: skip


def invent_recorder(rng: np.random.Generator) -> Recorder:
    """Draw a recordist's equipment."""
    return Recorder(
        tilt=rng.normal(0, 1.6), peak_hertz=rng.uniform(1500, 8000), peak_level=rng.normal(0, 4),
        low_cut=rng.choice([20.0, 100.0, 300.0, 600.0, 1000.0]),
        high_cut=rng.choice([8000.0, 11000.0, 16000.0, 20000.0], p=[0.1, 0.15, 0.5, 0.25]),
        hiss=rng.uniform(-40, -8), clips=rng.choice([0.0, 0.1]),
    )  # fmt: skip


def invent_clip(
    species: Species, rng: np.random.Generator, seconds: float, sample_rate: int,
    others: Sequence[Species] = (),
) -> Song:  # fmt: skip
    """Record a clip of a species; individual, site, recorder, distance, SNR are drawn anew."""
    birds = [individual(bird, rng) for bird in (species, *others)]
    return perform(
        birds, invent_site(rng), invent_recorder(rng), rng, seconds, sample_rate,
        snr=rng.uniform(*SNR),
    )  # fmt: skip


def perform(
    birds: Sequence[Species], site: Site, recorder: Recorder, rng: np.random.Generator,
    seconds: float, sample_rate: int, snr: float,
) -> Song:  # fmt: skip
    """Let birds sing at a site and record them, all within 80 m.

    The first is at ``snr`` [dB], the others 6-35 dB fainter.
    Returns the waveform (samples,) float32 in [-1, 1], and the first bird's syllables (n, 2) [s].
    """
    songs = [sing(bird, rng, seconds, sample_rate) for bird in birds]
    faintness = [0.0, *rng.uniform(6, 35, len(birds) - 1)]
    distances = np.exp(rng.uniform(np.log(5), np.log(80), len(birds)))
    voices = [
        Voice(song.waveform, snr - f, float(d))
        for song, f, d in zip(songs, faintness, distances, strict=True)
    ]
    noise = background(site, rng, seconds, sample_rate)
    return Song(record(voices, noise, site, recorder, rng, sample_rate), songs[0].syllables)


def background(
    site: Site, rng: np.random.Generator, seconds: float, sample_rate: int
) -> np.ndarray:
    """Sound of a site without birds: (samples,) float32 at an arbitrary level."""
    n = round(seconds * sample_rate)
    size = scipy.fft.next_fast_len(n, real=True)
    hertz, octaves = _axis(size, sample_rate)
    uneven = np.interp(octaves, np.linspace(-2, 4, 9), rng.normal(0, 4, 9))  # [dB]
    slope = -site.slope * np.maximum(octaves, -1.5)
    spectrum = _white(rng, len(hertz)) * _gain(slope + uneven)
    if site.rain:
        spectrum += (
            scipy.fft.rfft(_drops(site.rain, rng, size, sample_rate))
            * _gain(-3 * np.abs(octaves - 1.5))
            * 2
        )
    steady = scipy.fft.irfft(spectrum, size)[:n]
    level = float(steady.std())
    rumble = _band(rng, hertz, 0.0, 400.0) * np.float32(10 ** (site.wind / 20))
    leaves = _band(rng, hertz, site.leaves_hertz, 0.4 * site.leaves_hertz) * np.float32(
        10 ** (site.leaves / 20)
    )
    noise = steady + scipy.fft.irfft(rumble + leaves, size)[:n] * (_gusts(rng, n, seconds) * level)
    for _ in range(rng.poisson(rng.choice([0, 1, 4]) * seconds / 4)):
        first, rustle = _rustle(rng, n, sample_rate)
        noise[first : first + len(rustle)] += rustle * np.float32(level)
    if rng.random() < 0.3:
        noise += _clicks(rng, n, sample_rate) * np.float32(level)
    for insect in site.insects:
        chirr = scipy.fft.irfft(
            _band(rng, hertz, min(insect.hertz, 0.45 * sample_rate), insect.width), size
        )[:n]
        noise += (
            chirr
            * _pulses(insect, rng, n, sample_rate)
            * np.float32(level * 10 ** (insect.level / 20))
        )
    return noise


def record(
    voices: Sequence[Voice], noise: np.ndarray, site: Site, recorder: Recorder,
    rng: np.random.Generator, sample_rate: int,
) -> np.ndarray:  # fmt: skip
    """Put voices into a background and record them: (samples,) float32 in [-1, 1].

    Every voice loses high frequencies with distance and gains echoes; the first one sets the level
    of the recording.
    """
    n = len(noise)
    size = scipy.fft.next_fast_len(n + sample_rate // 2, real=True)
    hertz, _ = _axis(size, sample_rate)
    heard = slice(int(np.searchsorted(hertz, 500.0)), None)
    scene = scipy.fft.rfft(noise, size)
    noise_power = float(np.sum(np.abs(scene[heard]) ** 2)) / n
    hiss = noise_power * n / len(scene[heard]) * 10 ** (recorder.hiss / 10)  # power of a bin
    scene += _white(rng, len(hertz)) * np.float32(np.sqrt(hiss / 2))
    for voice in voices:
        voiced = max(int(np.count_nonzero(voice.waveform)), 1)
        spectrum = from_afar(voice, site, rng, size, sample_rate)
        power = float(np.sum(np.abs(spectrum[heard]) ** 2)) / voiced
        scene += spectrum * np.float32(
            np.sqrt(noise_power / max(power, 1e-12) * 10 ** (voice.snr / 10))
        )
    waveform = scipy.fft.irfft(scene * _response(recorder, hertz), size)[:n]
    waveform /= np.abs(waveform).max() + 1e-12
    level = (
        rng.uniform(1.2, 3.0) if rng.random() < recorder.clips else 10 ** rng.uniform(-1.0, -0.05)
    )
    return np.clip(waveform * np.float32(level), -1, 1).astype(np.float32)


def from_afar(
    voice: Voice, site: Site, rng: np.random.Generator, size: int, sample_rate: int
) -> np.ndarray:
    """Return the spectrum (bins,) of a voice as it arrives: fewer high frequencies, and echoes."""
    hertz, _ = _axis(size, sample_rate)
    spectrum = scipy.fft.rfft(voice.waveform, size) * _gain(-0.02 * voice.distance * hertz / 1000)
    spectrum *= scipy.fft.rfft(_echoes(site.echo_seconds, voice.distance, rng, sample_rate), size)
    return spectrum


def _white(rng: np.random.Generator, bins: int) -> np.ndarray:
    """Spectrum of white noise, unit variance a part, complex64 (bins,)."""
    return rng.standard_normal(2 * bins, dtype=np.float32).view(np.complex64)


def _gain(decibels: np.ndarray) -> np.ndarray:
    return np.exp(np.asarray(decibels, np.float32) * np.float32(np.log(10) / 20))


def _drops(rate: float, rng: np.random.Generator, n: int, sample_rate: int) -> np.ndarray:
    drops = np.zeros(n, np.float32)
    where = rng.integers(n, size=rng.poisson(rate * n / sample_rate))
    drops[where] = rng.standard_cauchy(len(where)).clip(-8, 8)
    return drops * np.float32(np.sqrt(sample_rate / rate) / 4)


def _rustle(rng: np.random.Generator, n: int, sample_rate: int) -> tuple[int, np.ndarray]:
    """Return where in n samples steps, leaves or an animal begin, and their band of noise."""
    length = min(n, int(sample_rate * np.exp(rng.uniform(np.log(0.05), np.log(1.5)))))
    first = int(rng.integers(n - length + 1))
    size = scipy.fft.next_fast_len(length, real=True)
    hertz, _ = _axis(size, sample_rate)
    centre = float(np.exp(rng.uniform(np.log(600), np.log(8000))))
    band = scipy.fft.irfft(_band(rng, hertz, centre, centre * rng.uniform(0.1, 0.5)), size)[:length]
    swell = np.sin(np.pi * np.linspace(0, 1, length)) ** rng.uniform(0.5, 3)
    return first, (band * swell * 10 ** (rng.uniform(-15, 5) / 20)).astype(np.float32)


def _clicks(rng: np.random.Generator, n: int, sample_rate: int) -> np.ndarray:
    """Return (n,) with short sounds of all frequencies: hands and drops on the microphone."""
    clicks = np.zeros(n, np.float32)
    for _ in range(rng.poisson(rng.uniform(1, 8) * n / sample_rate / 4)):
        length = int(sample_rate * rng.uniform(0.001, 0.012)) + 2
        first = int(rng.integers(max(1, n - length)))
        dying = np.exp(-5 * np.linspace(0, 1, length))
        burst = rng.standard_normal(length, dtype=np.float32) * dying
        room = clicks[first : first + length]
        room += (burst * 10 ** (rng.uniform(5, 25) / 20))[: len(room)]
    return clicks


def _gusts(rng: np.random.Generator, n: int, seconds: float) -> np.ndarray:
    """Return a smooth positive envelope (n,) with three knots a second."""
    knots = np.exp(rng.normal(-0.5, 0.8, int(seconds * 3) + 3))
    return np.interp(np.linspace(0, len(knots) - 1, n), np.arange(len(knots)), knots).astype(
        np.float32
    )


def _pulses(insect: Insect, rng: np.random.Generator, n: int, sample_rate: int) -> np.ndarray:
    if not insect.pulse_rate:
        return np.ones(n, np.float32)
    turns = np.arange(n, dtype=np.float32) * np.float32(2 * np.pi * insect.pulse_rate / sample_rate)
    return np.clip(3 * np.sin(turns + np.float32(rng.uniform(0, 6))), 0, 1)


def _band(rng: np.random.Generator, hertz: np.ndarray, centre: float, width: float) -> np.ndarray:
    """Return the spectrum (bins,) of noise of unit variance around a frequency, ``width`` [Hz]."""
    first, last = np.searchsorted(hertz, [centre - 3 * width, centre + 3 * width])
    near = np.exp(-0.5 * ((hertz[first:last] - centre) / width) ** 2)
    spectrum = np.zeros(len(hertz), np.complex64)
    size = 2 * (len(hertz) - 1)
    spectrum[first:last] = _white(rng, last - first) * (near * (size / 2 / np.linalg.norm(near)))
    return spectrum


@functools.lru_cache(maxsize=16)
def _axis(size: int, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a real FFT's frequencies (bins,) [Hz], at least 20, and in octaves above 1 kHz."""
    hertz = np.maximum(scipy.fft.rfftfreq(size, 1 / sample_rate), 20.0).astype(np.float32)
    return hertz, np.log2(hertz / 1000)


def _echoes(
    seconds: float, distance: float, rng: np.random.Generator, sample_rate: int
) -> np.ndarray:
    """Return an impulse response: direct sound, then noise that dies away, more from afar."""
    n = min(int(seconds * sample_rate * 0.7), sample_rate // 2)
    tail = rng.standard_normal(n, dtype=np.float32) * np.exp(
        -6.9 / (seconds * sample_rate) * np.arange(n, dtype=np.float32)
    )
    tail *= np.float32(np.sqrt(distance / 150) / np.linalg.norm(tail))
    tail[0] = 1.0
    return tail


def _response(recorder: Recorder, hertz: np.ndarray) -> np.ndarray:
    octaves = np.log2(hertz / 3000)
    peak = recorder.peak_level * np.exp(-4 * np.log2(hertz / recorder.peak_hertz) ** 2)
    low = -10 * np.log10(1 + (recorder.low_cut / hertz) ** 4)
    high = -10 * np.log10(1 + (hertz / recorder.high_cut) ** 24)
    return _gain(recorder.tilt * octaves + peak + low + np.maximum(high, -60))
