"""The song of invented birds (``species``); ``soundscape`` records it in the field."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from birdnb.synthetic.species import Motif, Species, Syllable


@dataclass(frozen=True)
class Song:
    """A performance: ``waveform`` (samples,) in [-1, 1], ``syllables`` (n, 2) on and off [s]."""

    waveform: np.ndarray
    syllables: np.ndarray


def sing(bird: Species, rng: np.random.Generator, seconds: float, sample_rate: int) -> Song:
    """Let a bird (see ``individual``) sing: dry, close, no background, each time a little other."""
    waveform = np.zeros(round(seconds * sample_rate), np.float32)
    marks: list[tuple[float, float]] = []
    time = rng.uniform(0, min(bird.pause, 0.25 * seconds))
    for phrase in _performance(bird, rng):
        for motif in phrase:
            time = _sing_motif(bird, motif, time, waveform, marks, rng, sample_rate) + bird.gap
            if time >= seconds:
                peak = max(float(np.abs(waveform).max()), 1e-9)
                return Song(waveform / np.float32(peak), np.array(marks))
        time += bird.pause * 2 ** rng.normal(0, 0.3 * bird.variability)
    raise AssertionError("a performance never ends by itself")


def _performance(bird: Species, rng: np.random.Generator) -> Iterator[tuple[Motif, ...]]:
    """Give phrases without end, in the bird's own order."""
    start = int(rng.integers(len(bird.phrases)))
    while True:
        turn = {
            "cycle": start,
            "repeat": start // 3,
            "shuffle": int(rng.integers(len(bird.phrases))),
        }[bird.order]
        yield bird.phrases[turn % len(bird.phrases)]
        start += 1


def _sing_motif(
    bird: Species, motif: Motif, time: float, waveform: np.ndarray,
    marks: list[tuple[float, float]], rng: np.random.Generator, sample_rate: int,
) -> float:  # fmt: skip
    """Add a motif from ``time`` on, its syllables to ``marks``, and return when it ends [s]."""
    spread, syllable = bird.variability, bird.syllables[motif.syllable]
    n = max(
        1,
        motif.repeats
        + (round(rng.normal(0, 0.12 * spread * motif.repeats)) if motif.repeats > 2 else 0),
    )
    intervals = (
        motif.interval * np.geomspace(1, motif.accelerando, n) * 2 ** rng.normal(0, 0.1 * spread, n)
    )
    onsets = time + np.concatenate([[0.0], np.cumsum(intervals)[:-1]])
    end = float(onsets[-1] + syllable.seconds)
    onsets = onsets[onsets < len(waveform) / sample_rate]
    pitch = 2 ** (
        np.linspace(0, motif.drift, n)[: len(onsets)] + rng.normal(0, 0.03 * spread, len(onsets))
    )
    sounds = _render(syllable, pitch.astype(np.float32), rng, sample_rate)
    sounds *= _breath(rng, sounds.shape, spread)
    sounds *= 10 ** (rng.normal(0, 2.5 * spread, (len(onsets), 1)) / 20).astype(np.float32)
    for onset, sound in zip(onsets, sounds, strict=True):
        first = int(onset * sample_rate)
        room = waveform[first : first + len(sound)]
        room += sound[: len(room)]
        marks.append(
            (float(onset), min(float(onset + syllable.seconds), len(waveform) / sample_rate))
        )
    return end


def _breath(rng: np.random.Generator, shape: tuple[int, ...], spread: float) -> np.ndarray:
    """Return gains (repeats, n) that no two renditions share: swelling, and air beside the tone."""
    repeats, n = shape
    swelling = _between_knots(rng.normal(0, 3 * spread, (repeats, 5)), n, 4)  # [dB]
    knots = rng.normal(0, 0.35, (repeats, n // 40 + 2))  # 2 ms apart
    air = _between_knots(knots, n, knots.shape[1] - 1.001)
    return (10 ** (swelling / 20) * (1 + air)).astype(np.float32)


def _between_knots(knots: np.ndarray, n: int, last: float) -> np.ndarray:
    """Interpolate (repeats, K) between its columns at n places from 0 to ``last``."""
    place = np.linspace(0, last, n)
    left = np.minimum(place.astype(int), knots.shape[1] - 2)
    share = place - left
    return knots[:, left] * (1 - share) + knots[:, left + 1] * share


def _render(
    syllable: Syllable, pitch: np.ndarray, rng: np.random.Generator, sample_rate: int
) -> np.ndarray:
    """Return a syllable's waveforms (repeats, samples), one a factor in ``pitch`` (repeats,)."""
    n = max(int(syllable.seconds * sample_rate), 64)
    u = np.linspace(0, 1, n)
    v = 1 - u if syllable.backwards else u
    octaves = syllable.sweep * (v**syllable.curve - 0.5) + syllable.arch * (4 * v * (1 - v) - 2 / 3)
    octaves += syllable.wiggle[0] * np.sin(2 * np.pi * v) + syllable.wiggle[1] * np.sin(
        3 * np.pi * v
    )
    if syllable.vibrato_depth:
        octaves += syllable.vibrato_depth * np.sin(
            2 * np.pi * syllable.vibrato_rate * syllable.seconds * u
        )
    if syllable.roughness:
        wander = rng.normal(0, 1, n // 24 + 2)  # a new random pitch about every millisecond
        octaves += syllable.roughness * np.interp(
            u * (len(wander) - 1), np.arange(len(wander)), wander
        )
    hertz = syllable.hertz * np.exp2(octaves)
    # keeps float32 sines exact
    phase = np.mod(2 * np.pi * np.cumsum(hertz) / sample_rate, 1e4 * np.pi)
    phase = np.multiply.outer(pitch, phase.astype(np.float32))  # (repeats, samples)
    sound = np.zeros_like(phase)
    for k, amplitude in enumerate(syllable.harmonics, start=1):
        # nothing above half the sample rate
        audible = amplitude * np.clip((0.47 * sample_rate - k * hertz) / 500, 0, 1)
        if amplitude > 0.005 and audible.any():
            sound += audible.astype(np.float32) * np.sin(k * phase)
    return sound * _envelope(syllable, u).astype(np.float32)


def _envelope(syllable: Syllable, u: np.ndarray) -> np.ndarray:
    warped = np.where(
        u < syllable.attack,
        u / syllable.attack / 2,
        0.5 + (u - syllable.attack) / (1 - syllable.attack) / 2,
    )
    envelope = np.sin(np.pi * np.clip(warped, 0, 1)) ** 0.7 * 10 ** (syllable.level / 20)
    if syllable.buzz_rate:
        envelope = envelope * (
            0.55 + 0.45 * np.sin(2 * np.pi * syllable.buzz_rate * syllable.seconds * u)
        )
    return envelope
