"""Invented birds: the same from the same seed, within bounds, sounding as their numbers say."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.signal
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from birdnb.pretraining import song_statistics
from birdnb.synthetic.song import sing
from birdnb.synthetic.soundscape import (
    Recorder,
    Site,
    Voice,
    background,
    invent_clip,
    invent_site,
    record,
)
from birdnb.synthetic.species import (
    Motif,
    Species,
    Syllable,
    individual,
    invent_species,
    sibling,
    species_for,
)

RATE = 22050
TONE = Syllable(
    0.2, 2000.0, 0.0, 1.0, 0.0, (0.0, 0.0), False, 10.0, 0.0, (1.0,), 0.0, 0.0, 0.3, 0.0
)
QUIET_SITE = Site(
    slope=0.0, wind=-80.0, leaves_hertz=3000.0, leaves=-80.0, rain=0.0, insects=(), echo_seconds=0.2
)
PLAIN_RECORDER = Recorder(
    tilt=0.0,
    peak_hertz=3000.0,
    peak_level=0.0,
    low_cut=20.0,
    high_cut=20000.0,
    hiss=-60.0,
    clips=0.0,
)


def bird_of(syllable: Syllable, repeats: int = 1) -> Species:
    motif = Motif(0, repeats, interval=0.3, accelerando=1.0, drift=0.0)
    return Species(
        "test/0", "whistler", (syllable,), ((motif,),), "cycle", gap=0.3, pause=1.0, variability=0.0
    )


def first_syllable(bird: Species, rate: int = RATE) -> np.ndarray:
    song = sing(bird, np.random.default_rng(0), 3.0, rate)
    start, end = (song.syllables[0] * rate).astype(int)
    return song.waveform[start:end]


def loudest_hertz(waveform: np.ndarray, rate: int = RATE) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)), 8 * rate))
    return float(np.argmax(spectrum)) / 8


def tone(hertz: float, seconds: float) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.floats(0.5, 4.0),
    st.sampled_from([16000, 22050, 32000, 48000]),
)
def test_every_clip_is_finite_and_within_bounds(
    index: int, seed: int, seconds: float, rate: int
) -> None:
    rng = np.random.default_rng(seed)
    clip = invent_clip(
        species_for("test", index), rng, seconds, rate, others=[species_for("test", index + 1)]
    )
    assert clip.waveform.dtype == np.float32
    assert clip.waveform.shape == (round(seconds * rate),)
    assert np.isfinite(clip.waveform).all()
    assert 0.01 < np.abs(clip.waveform).max() <= 1.0
    onsets, offsets = clip.syllables.T
    assert len(onsets) >= 1
    assert (
        (onsets >= 0).all() and (onsets < offsets).all() and (offsets <= seconds + 1 / rate).all()
    )


def test_same_seed_same_samples_and_other_seeds_differ() -> None:
    clips = [
        invent_clip(species_for("test", 5), np.random.default_rng(seed), 2.0, RATE)
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(clips[0].waveform, clips[1].waveform)
    np.testing.assert_array_equal(clips[0].syllables, clips[1].syllables)
    assert np.abs(clips[0].waveform - clips[2].waveform).max() > 0.01


def test_species_are_stable_distinct_and_namespaces_disjoint() -> None:
    demo = [species_for("demo", i) for i in range(60)]
    pretraining = [species_for("pretraining", i) for i in range(600)]
    assert demo == [species_for("demo", i) for i in range(60)]
    assert not {bird.identity for bird in demo} & {bird.identity for bird in pretraining}
    nameless = [replace(bird, identity="") for bird in demo + pretraining]
    assert len(set(nameless)) == 660
    notes = {syllable for bird in demo for syllable in bird.syllables}
    assert not notes & {syllable for bird in pretraining for syllable in bird.syllables}


def test_species_of_a_family_differ_in_time_not_in_timbre() -> None:
    for index in (0, 2):
        founder, relative = species_for("test", index), species_for("test", index + 1)
        assert [s.harmonics for s in founder.syllables] == [s.harmonics for s in relative.syllables]
        shift = np.log2(relative.syllables[0].hertz / founder.syllables[0].hertz)
        assert 0.1 < abs(shift) < 0.31
    assert species_for("test", 1).syllables[0].seconds < species_for("test", 0).syllables[0].seconds
    assert species_for("test", 3).syllables[0].backwards


def test_marks_tell_where_the_dry_song_is() -> None:
    for index in range(20):
        rng = np.random.default_rng(index)
        song = sing(individual(species_for("test", index), rng), rng, 4.0, RATE)
        inside = np.zeros(len(song.waveform), bool)
        for onset, offset in song.syllables:
            sung = song.waveform[int(onset * RATE) : int(offset * RATE)]
            inside[int(onset * RATE) : int(offset * RATE) + 65] = True
            assert len(sung) < 100 or np.abs(sung).max() > 1e-4
        assert not song.waveform[~inside].any()


def test_a_flat_syllable_has_its_pitch_and_a_sweep_rises_by_its_octaves() -> None:
    assert loudest_hertz(first_syllable(bird_of(TONE))) == pytest.approx(2000, abs=10)
    rising = first_syllable(bird_of(replace(TONE, sweep=1.0)))
    tenth = len(rising) // 10
    start, end = (
        loudest_hertz(rising[tenth : 2 * tenth]),
        loudest_hertz(rising[-2 * tenth : -tenth]),
    )
    assert np.log2(end / start) == pytest.approx(0.7, abs=0.06)  # from 15 % to 85 % of an octave
    falling = first_syllable(bird_of(replace(TONE, sweep=1.0, backwards=True)))
    assert loudest_hertz(falling[tenth : 2 * tenth]) == pytest.approx(end, rel=0.03)


def test_harmonics_beyond_half_the_sample_rate_are_left_out() -> None:
    alone = replace(TONE, hertz=7000.0, harmonics=(1.0,))
    stack = replace(alone, harmonics=(1.0, 1.0, 1.0))  # 14 and 21 kHz, where 11 is the last
    np.testing.assert_array_equal(first_syllable(bird_of(stack)), first_syllable(bird_of(alone)))


def swelling(variability: float) -> float:
    """Two renditions of a syllable: how much [dB] the envelope of one wanders from the other's."""
    bird = replace(bird_of(replace(TONE, seconds=0.3), repeats=2), variability=variability)
    song = sing(bird, np.random.default_rng(1), 3.0, RATE)
    one, other = (
        song.waveform[int(on * RATE) :][: int(0.25 * RATE)] for on, _ in song.syllables[:2]
    )
    kernel = np.ones(RATE // 50) / (RATE // 50)  # 20 ms: swelling stays, air goes
    power = [np.convolve(part**2, kernel, "same")[500:] for part in (one, other)]
    return float((10 * np.log10(power[0] / power[1])).std())


def test_no_two_renditions_swell_alike_but_of_a_bird_that_never_varies() -> None:
    assert swelling(0.0) < 1 < 1.5 < swelling(1.0)


def test_voices_reach_from_ravens_to_goldcrests() -> None:
    birds = [invent_species(np.random.default_rng(seed)) for seed in range(300)]
    loudest = [
        syllable.hertz * (1 + int(np.argmax(syllable.harmonics)))
        for bird in birds
        for syllable in bird.syllables
    ]
    low, middle, high = np.quantile(loudest, [0.05, 0.5, 0.95])
    assert low < 1000 and 1800 < middle < 3000 and high > 5000  # [Hz]


def test_some_backgrounds_click_and_others_do_not() -> None:
    noises = [background(QUIET_SITE, np.random.default_rng(seed), 4.0, RATE) for seed in range(60)]
    crest = np.array([np.abs(noise).max() / noise.std() for noise in noises])
    # three in ten are handled, some of them softly; noise alone seldom passes 5
    assert 0.1 < (crest > 9).mean() < 0.35


def test_a_mirrored_relative_sings_its_phrases_from_the_end() -> None:
    bird = invent_species(np.random.default_rng(3))
    mirrored = sibling(bird, "mirror", np.random.default_rng(0))
    for there, back in zip(bird.phrases, mirrored.phrases, strict=True):
        assert [m.syllable for m in there] == [m.syllable for m in reversed(back)]


@pytest.mark.parametrize("snr", [0.0, 10.0, 25.0])
def test_a_voice_is_recorded_at_its_signal_to_noise_ratio(snr: float) -> None:
    voice = np.concatenate([tone(3000, 4.0), np.zeros(4 * RATE, np.float32)])
    noise = background(QUIET_SITE, np.random.default_rng(0), 8.0, RATE)
    heard = record(
        [Voice(voice, snr, 5.0)], noise, QUIET_SITE, PLAIN_RECORDER, np.random.default_rng(1), RATE
    )
    sos = scipy.signal.butter(8, 500, "highpass", fs=RATE, output="sos")
    heard = scipy.signal.sosfilt(sos, heard)
    both, alone = np.var(heard[RATE : 3 * RATE]), np.var(heard[-3 * RATE :])
    assert 10 * np.log10((both - alone) / alone) == pytest.approx(snr, abs=0.7)


def test_distance_takes_the_high_frequencies() -> None:
    voice = np.random.default_rng(2).normal(0, 0.1, 2 * RATE).astype(np.float32)
    noise = background(QUIET_SITE, np.random.default_rng(0), 2.0, RATE)

    def lost(distance: float) -> float:
        rng = np.random.default_rng(1)
        heard = record([Voice(voice, 60.0, distance)], noise, QUIET_SITE, PLAIN_RECORDER, rng, RATE)
        power = np.abs(np.fft.rfft(heard)) ** 2  # half a hertz a bin
        return float(
            10 * np.log10(power[2 * 1000 : 2 * 2000].sum() / power[2 * 7500 : 2 * 8500].sum())
        )

    # 0.02 dB per metre and kHz
    assert lost(80.0) - lost(5.0) == pytest.approx(0.02 * 75 * 6.5, abs=1.5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.3, 5.0), st.sampled_from([16000, 44100]))
def test_backgrounds_are_finite_and_never_silent(seed: int, seconds: float, rate: int) -> None:
    rng = np.random.default_rng(seed)
    noise = background(invent_site(rng), rng, seconds, rate)
    assert noise.shape == (round(seconds * rate),) and noise.dtype == np.float32
    assert np.isfinite(noise).all() and noise.std() > 0


def test_statistics_of_beeps_worked_by_hand() -> None:
    rng = np.random.default_rng(0)
    waveform = rng.normal(0, 0.02, 4 * RATE)
    beep = tone(3000, 0.1) * np.sqrt(2)  # unit power
    for start in np.arange(10) * 0.4 + 0.1:
        waveform[int(start * RATE) : int(start * RATE) + len(beep)] += beep
    found = song_statistics.song_statistics(waveform)
    assert found["rate"] == pytest.approx(10 / 4)
    assert found["length"] == pytest.approx(100, abs=40)  # a frame is 46 ms long
    assert found["centroid"] == pytest.approx(3000, abs=60)
    assert found["active"] == pytest.approx(25, abs=10)
    assert found["snr"] == pytest.approx(10 * np.log10(1 / 0.02**2), abs=2.5)
    assert found["noise_slope"] == pytest.approx(0, abs=2.5)


def test_statistics_of_silence_are_missing() -> None:
    found = song_statistics.song_statistics(np.zeros(4 * RATE, np.float32))
    assert all(np.isnan(value) for value in found.values())


def test_what_differs_most_comes_first() -> None:
    same = pd.DataFrame({name: np.arange(10.0) for name in song_statistics.MEASURES})
    table = song_statistics.compare(same, same.assign(length=same["length"] + 5, rate=100.0))
    order = list(dict.fromkeys(measure for measure, _ in table.index))
    assert order[:2] == ["rate", "length"] and len(order) == len(song_statistics.MEASURES)
    apart = table["apart"].groupby(level=0).first()
    assert (apart["rate"], apart["length"], apart["snr"]) == (1, 0.5, 0)
    assert table.loc[("length", "synthesised"), "50%"] == 9.5


@pytest.fixture
def birds(tmp_path) -> Path:
    for name in "ab":
        (tmp_path / "birds" / name).mkdir(parents=True)
        soundfile.write(
            tmp_path / "birds" / name / f"{name}.wav",
            invent_clip(species_for("test", 1), np.random.default_rng(0), 4.0, RATE).waveform,
            RATE,
        )
    return tmp_path / "birds"


def test_eyes_are_asked_and_the_answers_stand_beside(birds, tmp_path, capsys) -> None:
    path = song_statistics.blind_test(birds, tmp_path / "which.png", seed=1, pairs=2)
    answers = pd.read_csv(path.with_suffix(".csv"))
    assert list(answers["number"]) == [1, 2, 3, 4]
    invented = answers["what"].str.startswith("invented species ")
    assert set(answers["what"][~invented]) == {"a.wav", "b.wav"} and invented.sum() == 2
    assert path.read_bytes().startswith(b"\x89PNG")
    again = song_statistics.blind_test(birds, tmp_path / "again.png", seed=1, pairs=2)
    assert pd.read_csv(again.with_suffix(".csv")).equals(answers)
    assert song_statistics.main([str(birds), "--blind", str(tmp_path / "no.png")]) == 2
    assert "has 2 recordings of 4 s or more: 12 are needed" in capsys.readouterr().err
    assert not (tmp_path / "no.png").exists() and not (tmp_path / "no.csv").exists()


def test_the_command_compares_and_refuses_in_a_line(birds, tmp_path, capsys) -> None:
    assert song_statistics.main([str(birds), "--clips", "2"]) == 0
    printed = capsys.readouterr().out
    assert "recorded" in printed and "synthesised" in printed and "syllables per second" in printed
    called = [sys.executable, "-m", song_statistics.__name__, str(tmp_path / "nothing")]
    refused = subprocess.run(called, capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and refused.stderr.startswith("error: ")
