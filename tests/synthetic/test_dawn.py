"""The synthesised dawn: its truth fits its sound."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest
import soundfile
from scipy import signal

from birdnb.synthetic import dawn
from birdnb.synthetic.demo import NAMES


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dawn")
    return dawn.make_dawn(folder, NAMES[:4], minutes=1.5)


def test_the_truth_is_a_raven_table_of_the_birds_and_the_strangers(made):
    sound, truth = made
    table = pd.read_csv(truth, sep="\t")
    assert sound.name == "DAWN_20230512_050000.wav" and set(table["Begin File"]) == {sound.name}
    assert set(table["Species"]) <= {*NAMES[:4], *dawn.STRANGERS} and len(table) == 8
    assert set(table["Species"]) & set(dawn.STRANGERS)
    begin, end = table["Begin Time (s)"], table["End Time (s)"]
    assert begin.is_monotonic_increasing or (begin.diff().min() > -dawn.BOUT_SECONDS[1])
    assert (begin >= 9).all() and (end > begin).all() and (end <= 90).all()


def test_where_the_truth_names_a_bird_the_sound_stands_out(made):
    sound, truth = made
    samples, rate = soundfile.read(sound)
    assert (rate, len(samples)) == (dawn.SAMPLE_RATE, 90 * dawn.SAMPLE_RATE)
    hertz, times, power = signal.spectrogram(samples, rate, nperseg=1024)
    peak = 10 * np.log10(power[hertz > 500].max(axis=0))  # the loudest band, as song stands out
    table = pd.read_csv(truth, sep="\t")
    sings = np.zeros(len(times), bool)
    for row in table.itertuples():
        sings |= (times >= row[4]) & (times <= row[5])
    assert np.percentile(peak[sings], 90) > np.percentile(peak[~sings], 90) + 3


def test_the_same_seed_gives_the_same_samples_and_a_finished_dawn_is_kept(made, tmp_path):
    def digest(path):
        return hashlib.sha256(path.read_bytes()).hexdigest()

    again = dawn.make_dawn(tmp_path, NAMES[:4], minutes=1.5)
    assert list(map(digest, again)) == list(map(digest, made))
    again[0].write_bytes(b"mine")
    assert dawn.make_dawn(tmp_path, NAMES[:4], minutes=1.5) == again
    assert again[0].read_bytes() == b"mine"
