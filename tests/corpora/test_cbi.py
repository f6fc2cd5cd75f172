"""BEANS' CBI on a small made-up copy: recognised, split as its authors do, its first 10 s heard."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sound_files import recording, write

from birdnb.config import SplitSettings, load_profile
from birdnb.corpora import open_corpus
from birdnb.corpora.table import COLUMNS
from birdnb.data import open_study
from birdnb.files import BirdnbError
from birdnb.split.shuffling import shuffled_sides

BIRDS = {
    "aldfly": ("Empidonax alnorum", "Alder Flycatcher"),
    "amecro": ("Corvus brachyrhynchos", "American Crow"),
    "comrav": ("Corvus corax", "Common Raven"),
}


def as_beans_does(recordists: list[str]) -> list[str]:
    """The side of each row as scripts/cbi.py of BEANS has it, for the recordists of train.csv."""
    random.seed(42)
    everybody = pd.Series(recordists, dtype=object).unique()
    random.shuffle(everybody)
    n = len(everybody)
    train, valid = set(everybody[: int(0.6 * n)]), set(everybody[int(0.6 * n) : int(0.8 * n)])
    return [
        "train" if name in train else "validation" if name in valid else "test"
        for name in recordists
    ]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Twenty recordists, three recordings each; the first of all is damaged.

    In every recording a bird sings at 15 s, faintly at 3 s, too.
    """
    root = tmp_path_factory.mktemp("cbi") / "birdsong-recognition"
    rows = []
    for i in range(60):
        code = list(BIRDS)[i % 3]
        sound = recording(18, 15, 2, seed=i) + 0.3 * recording(18, 3, 1, seed=i)
        file = f"XC{100_000 + i}.mp3"
        write(root / "train_audio" / code / file, sound, format="WAV")
        scientific, common = BIRDS[code]
        person = f"Person {chr(65 + i // 3)}"
        rows.append({
            "ebird_code": code, "date": f"2015-05-{1 + i % 28:02}", "filename": file,
            "species": common, "secondary_labels": "[]",
            "sci_name": scientific, "latitude": f"{40 + i}.5", "background": "[]",
            "url": f"https://www.xeno-canto.org/{100_000 + i}", "author": person,
            "primary_label": f"{scientific}_{common}", "longitude": "-75.1", "recordist": person,
            "license": "CC BY-NC-SA 4.0", "rating": "3.5",
        })  # fmt: skip
    rows[4]["secondary_labels"] = "['Corvus corax_Common Raven']"
    (root / "train_audio" / "aldfly" / "XC100000.mp3").write_bytes(b"no sound at all")
    pd.DataFrame(rows).to_csv(root / "train.csv", index=False)
    return root


def test_the_table_is_read(copy):
    corpus = open_corpus(copy)
    assert corpus.layout == "BEANS CBI" and corpus.left_out.empty
    assert sorted(corpus.manifest["species"].unique()) == sorted(s for s, _ in BIRDS.values())
    row = corpus.manifest.loc[4].to_dict()
    assert (row["path"], row["common_name"]) == ("train_audio/amecro/XC100004.mp3", "American Crow")
    assert (row["recordist"], row["background_species"]) == ("Person B", "Corvus corax")
    assert (row["date"], row["locality"]) == ("2015-05-05", "44.5, -75.1")


def test_it_is_split_as_its_authors_do_and_heard_for_ten_seconds(copy, tmp_path, monkeypatch):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path))
    data = open_study(copy, "cbi", seed=1, progress=False)
    beans = pd.read_csv(copy / "train.csv")
    beans["side"] = as_beans_does(beans["recordist"].tolist())
    expected = beans.set_index(beans["filename"].str[:-4])["side"]
    assert data.cache.quarantine["recording_id"].tolist() == ["XC100000"]
    assert len(data.table) == 59 and len(data.labels) == 3
    assert data.table["side"].tolist() == expected.loc[data.table["recording_id"]].tolist()
    again = open_study(copy, "cbi", seed=2, progress=False)  # their seed, not the study's
    assert again.table["side"].tolist() == data.table["side"].tolist()
    for starts in data.cache.index["starts"]:
        clips = [float(start) for start in starts.split(";")]
        assert clips and all(0 <= start <= 5.01 for start in clips)
        assert any(start < 3.5 and start + 5 > 3.5 for start in clips)  # the fainter song at 3 s
    laptop = open_study(copy, "laptop", seed=1, progress=False)
    assert all(float(s.split(";")[0]) > 10 for s in laptop.cache.index["starts"])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 40), min_size=30, max_size=120))
def test_the_shuffle_is_theirs_for_any_table(people):
    whole = pd.DataFrame("", index=range(len(people)), columns=COLUMNS)
    whole["recording_id"] = whole["path"] = [f"r{i}" for i in range(len(people))]
    whole["recordist"] = [f"Person {number}" for number in people]
    rules = load_profile("cbi").split
    expected = as_beans_does(whole["recordist"].tolist())
    if set(expected) != {"train", "validation", "test"}:
        with pytest.raises(BirdnbError, match="side empty"):
            shuffled_sides(whole, rules, whole)
        return
    assert shuffled_sides(whole, rules, whole).tolist() == expected
    part = whole.iloc[len(whole) // 4 :]  # without recordings that cannot be used
    if set(expected[len(whole) // 4 :]) == set(expected):
        assert shuffled_sides(part, rules, whole).tolist() == expected[len(whole) // 4 :]


def test_a_recordist_in_two_spellings_stays_on_one_side():
    names = ["Ann Smith", *[f"Person {i}" for i in range(30)], "Smith, Ann"]
    whole = pd.DataFrame("", index=range(len(names)), columns=COLUMNS)
    whole["recording_id"] = whole["path"] = [f"r{i}" for i in range(len(names))]
    whole["recordist"] = names
    side = shuffled_sides(whole, load_profile("cbi").split, whole)
    assert side.iloc[0] == side.iloc[-1] == as_beans_does(names)[0]
    assert side.iloc[1:-1].tolist() == as_beans_does(names)[1:-1]


def test_sessions_can_be_shuffled_too():
    rng = np.random.default_rng(0)
    whole = pd.DataFrame("", index=range(80), columns=COLUMNS)
    whole["recording_id"] = whole["path"] = [f"r{i}" for i in range(80)]
    whole["recordist"] = [f"Person {i}" for i in rng.integers(4, size=80)]
    whole["date"] = [f"2020-05-{1 + i:02}" for i in rng.integers(20, size=80)]
    whole["locality"] = "here"
    side = shuffled_sides(whole, SplitSettings(shuffle_seed=3), whole)
    session = whole["recordist"] + whole["date"]
    assert (pd.Series(side.to_numpy()).groupby(session).nunique() == 1).all()
    sides_of_sessions = pd.Series(side.to_numpy()).groupby(session).first().value_counts()
    n = session.nunique()  # 70/15/15 of the sessions, rounded down from the front
    assert sides_of_sessions["train"] == int(0.7 * n)
