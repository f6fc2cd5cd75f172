"""Invented bird species: draw them, find them again by number, and let individuals differ.

A species is a handful of numbers: syllables (pitch contour, timbre, length), motifs (a syllable
repeated), phrases (motifs in order) and pauses. Individuals vary these numbers a little, renditions
a little more. The shapes follow Catchpole and Slater, Bird Song (2008), chapter 1: notes,
syllables, phrases, songs, repertoire.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

FAMILY = (
    2  # species_for: this many neighbouring indices are close relatives, alike in pitch and timbre
)


@dataclass(frozen=True)
class Syllable:
    """The smallest sound: a pitch contour with harmonics and an envelope."""

    seconds: float
    hertz: float  # [Hz] fundamental, at the middle of the contour
    sweep: float  # [octaves] end minus start
    curve: float  # exponent of the sweep: below 1 fast first, above 1 fast last
    arch: float  # [octaves] middle above (or below) the ends
    wiggle: tuple[float, float]  # [octaves] of a full and of one and a half waves
    backwards: bool  # the contour is sung from its end to its start
    vibrato_rate: float  # [Hz]
    vibrato_depth: float  # [octaves]
    harmonics: tuple[float, ...]  # amplitude of the fundamental and its multiples
    buzz_rate: float  # [Hz] amplitude modulation; 0 for none
    roughness: float  # [octaves] random wandering of the pitch: 0 pure, 0.1 hoarse
    attack: float  # share of the length before the loudest point
    level: float  # [dB]


@dataclass(frozen=True)
class Motif:
    """A syllable said once or repeated."""

    syllable: int
    repeats: int
    interval: float  # [s] onset to onset
    accelerando: float  # last interval relative to the first
    drift: float  # [octaves] last repeat minus first


@dataclass(frozen=True)
class Species:
    """Everything one invented species can sing."""

    identity: str  # "namespace/index"; two species are the same bird only if this is the same
    style: str
    syllables: tuple[Syllable, ...]
    phrases: tuple[tuple[Motif, ...], ...]
    order: str  # of phrases: cycle, shuffle, or repeat (a few times each)
    gap: float  # [s] between motifs
    pause: float  # [s] between phrases
    variability: float  # spread of renditions: 0.5 stereotyped, 2 free


@dataclass(frozen=True)
class _Style:
    """Ranges that species of one way of singing are drawn from."""

    share: float
    syllables: tuple[int, int]
    seconds: tuple[float, float]
    rest: tuple[float, float]  # silence between repeats, relative to the syllable
    repeats: tuple[int, int]
    motifs: tuple[int, int]
    pause: tuple[float, float]
    # [octaves] how far the fundamental lies below the loudest harmonic
    overtones: tuple[float, float]
    roughness: float


STYLES = {
    "whistler": _Style(
        0.22, (2, 5), (0.08, 0.40), (0.1, 0.6), (1, 2), (2, 5), (0.8, 3.0), (0.0, 0.0), 0.002
    ),
    "triller": _Style(
        0.18, (1, 3), (0.02, 0.09), (0.2, 0.9), (6, 25), (1, 3), (0.6, 2.5), (0.0, 0.6), 0.004
    ),
    "warbler": _Style(
        0.25, (5, 10), (0.03, 0.16), (0.1, 0.5), (1, 4), (4, 9), (0.4, 2.0), (0.0, 1.0), 0.006
    ),
    "caller": _Style(
        0.18, (1, 2), (0.04, 0.25), (0.8, 3.0), (1, 4), (1, 2), (0.4, 2.0), (0.0, 1.6), 0.010
    ),
    "rasper": _Style(
        0.17, (1, 4), (0.08, 0.45), (0.3, 1.5), (1, 5), (1, 3), (0.5, 2.0), (0.8, 2.6), 0.080
    ),
}


def invent_species(rng: np.random.Generator, identity: str = "unnamed") -> Species:
    """Draw a species: a way of singing, a frequency range, a repertoire and a rhythm."""
    names = list(STYLES)
    style = STYLES[name := names[rng.choice(len(names), p=[STYLES[n].share for n in names])]]
    # from hoarse and deep (ravens, barbets) to above 8 kHz, as recorded birds are
    centre = float(np.clip(2600 * 2 ** rng.normal(0, 0.75), 600, 9000)) * (
        0.6 if name == "rasper" else 1.0
    )
    span = rng.uniform(0.2, 1.1)
    overtones = style.overtones[0] + (style.overtones[1] - style.overtones[0]) * rng.beta(1, 2)
    syllables = tuple(
        _invent_syllable(rng, style, centre, span, overtones)
        for _ in range(rng.integers(*style.syllables) + 1)
    )
    gap = rng.uniform(0.03, 0.2)
    phrases = tuple(_invent_phrase(rng, style, syllables) for _ in range(rng.integers(1, 4)))
    order = str(rng.choice(["cycle", "shuffle", "repeat"]))
    return Species(
        identity, name, syllables, phrases, order, gap, rng.uniform(*style.pause),
        rng.uniform(0.5, 1.5),
    )  # fmt: skip


def _invent_syllable(
    rng: np.random.Generator, style: _Style, centre: float, span: float, overtones: float
) -> Syllable:
    loudest = centre * 2 ** (span * rng.uniform(-0.5, 0.5))
    fundamental = loudest / 2**overtones
    multiples = fundamental * np.arange(1, 13)
    width = 0.2 + 0.3 * rng.random() + 0.15 * overtones
    harmonics = np.exp(-0.5 * (np.log2(multiples / loudest) / width) ** 2)
    kind = rng.choice(["flat", "sweep", "arch", "vibrato", "bent"], p=[0.15, 0.35, 0.2, 0.12, 0.18])
    sweep = (
        rng.choice([-1, 1]) * rng.uniform(0.15, 1.0)
        if kind in ("sweep", "bent")
        else rng.normal(0, 0.04)
    )
    arch = (
        rng.choice([-1, 1, 1]) * rng.uniform(0.1, 0.6)
        if kind in ("arch", "bent")
        else rng.normal(0, 0.03)
    )
    return Syllable(
        seconds=_between(rng, *style.seconds), hertz=fundamental, sweep=float(sweep),
        curve=_between(rng, 0.4, 2.5), arch=float(arch),
        wiggle=(float(rng.normal(0, 0.08)), float(rng.normal(0, 0.05))), backwards=False,
        vibrato_rate=_between(rng, 8, 60),
        vibrato_depth=_between(rng, 0.03, 0.2) if kind == "vibrato" else 0.0,
        harmonics=tuple(np.round(harmonics / harmonics.max(), 3)[: _last_audible(harmonics)]),
        buzz_rate=_between(rng, 40, 250) if rng.random() < 0.15 else 0.0,
        roughness=style.roughness * _between(rng, 0.3, 3), attack=rng.uniform(0.1, 0.7),
        level=rng.uniform(-8, 0),
    )  # fmt: skip


def _last_audible(harmonics: np.ndarray) -> int:
    return int(np.flatnonzero(harmonics > 0.01 * harmonics.max())[-1]) + 1


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Log-uniform: lengths and rates vary by factors."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _invent_phrase(
    rng: np.random.Generator, style: _Style, syllables: Sequence[Syllable]
) -> tuple[Motif, ...]:
    rest = rng.uniform(*style.rest)
    motifs = []
    for _ in range(rng.integers(style.motifs[0], style.motifs[1] + 1)):
        syllable = int(rng.integers(len(syllables)))
        motifs.append(
            Motif(
                syllable=syllable,
                repeats=int(rng.integers(style.repeats[0], style.repeats[1] + 1)),
                interval=syllables[syllable].seconds * (1 + rest),
                accelerando=float(np.clip(rng.normal(1, 0.15), 0.6, 1.5)),
                drift=float(rng.normal(0, 0.08)),
            )
        )
    return tuple(motifs)


def sibling(
    species: Species, kind: str, rng: np.random.Generator, identity: str = "unnamed"
) -> Species:
    """Invent a close relative that differs in its temporal pattern.

    Its timbre is the same, its pitch nearly.

    kind : ``mirror`` sings syllables and phrases backwards (rises become falls); ``tempo`` sings
    shorter syllables, more often.
    """
    pitch = 2 ** (rng.choice([-1, 1]) * rng.uniform(0.12, 0.3))
    syllables = tuple(replace(s, hertz=s.hertz * pitch) for s in species.syllables)
    if kind == "mirror":
        syllables = tuple(replace(s, backwards=not s.backwards) for s in syllables)
        phrases = tuple(
            tuple(replace(m, drift=-m.drift) for m in reversed(phrase))
            for phrase in species.phrases
        )
    else:
        syllables = tuple(replace(s, seconds=s.seconds * 0.55) for s in syllables)
        phrases = tuple(tuple(_hurried(m) for m in phrase) for phrase in species.phrases)
    return replace(species, identity=identity, syllables=syllables, phrases=phrases)


def _hurried(motif: Motif) -> Motif:
    return replace(
        motif, interval=motif.interval * 0.55, repeats=max(2, round(motif.repeats * 1.8))
    )


def species_for(namespace: str, index: int) -> Species:
    """Return the species of that number, always the same one.

    It is never one of another namespace ("demo", "pretraining").

    Every odd one is the ``sibling`` of the one before it, by turns hasty and mirrored in time.
    Telling them apart takes the order of events, not only the average spectrum.
    """
    entropy = int.from_bytes(hashlib.sha256(namespace.encode()).digest()[:16], "big")
    family, place = divmod(index, FAMILY)
    rng = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(family,)))
    identity = f"{namespace}/{index}"
    founder = invent_species(rng, identity)
    return (
        founder if place == 0 else sibling(founder, ("tempo", "mirror")[family % 2], rng, identity)
    )


def individual(species: Species, rng: np.random.Generator) -> Species:
    """Draw one bird of the species: its own pitch, tempo, contours and share of the repertoire."""
    pitch, tempo = 2 ** rng.normal(0, 0.08), 2 ** rng.normal(0, 0.12)
    syllables = tuple(
        replace(
            s, seconds=s.seconds * tempo, hertz=s.hertz * pitch * 2 ** rng.normal(0, 0.04),
            sweep=s.sweep * rng.uniform(0.8, 1.2), arch=s.arch * rng.uniform(0.8, 1.2),
        )
        for s in species.syllables
    )  # fmt: skip
    known = [p for p in species.phrases if rng.random() < 0.75] or [species.phrases[0]]
    phrases = tuple(
        tuple(replace(m, interval=m.interval * tempo) for m in phrase) for phrase in known
    )
    return replace(
        species, syllables=syllables, phrases=phrases, gap=species.gap * tempo,
        pause=species.pause * tempo,
    )  # fmt: skip
