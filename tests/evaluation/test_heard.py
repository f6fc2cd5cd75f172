"""Which recordings weights may have heard: by hand, and their scores apart against scikit-learn."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

from birdnb.cards import Card, card_named, card_of_weights, make_card
from birdnb.evaluation.heard import heard_before, scores_apart
from birdnb.evaluation.metrics import summarise
from birdnb.evaluation.predictions import Predictions
from birdnb.files import BirdnbError
from birdnb.models.weights import shipped


def table(**columns: list[str]) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    usual = {"recording_id": [f"r{i}" for i in range(n)], "path": [f"r{i}.ogg" for i in range(n)]}
    return pd.DataFrame(usual | columns)


@pytest.mark.parametrize(
    ("facts", "birdnet", "perch"),
    [
        ({"recording_id": "XC694204"}, "may", "may"),  # the last number, by the id
        ({"path": "bird/XC694205.mp3"}, "cannot", "unknown"),  # the first after it, by the path
        ({"url": "https://www.xeno-canto.org/128013"}, "may", "may"),
        ({"url": "https://xeno-canto.org/902000", "date": "2011-05-01"}, "cannot", "may"),
        ({"path": "ML399952111.wav"}, "may", "unknown"),
        ({"path": "ML399952112.wav"}, "cannot", "unknown"),
        ({"recording_id": "XC600000", "path": "XC700000.mp3"}, "may", "may"),  # one of the two
        ({"recording_id": "XC1234", "date": "2031-05-01"}, "may", "may"),  # it was there before
        ({"date": "2023-06-30"}, "may", "may"),
        ({"date": "2023-07-01"}, "cannot", "may"),
        ({"date": "2025-05-01"}, "cannot", "cannot"),
        ({"date": "13/05/2025"}, "cannot", "cannot"),
        ({"path": "CSA36385.ogg"}, "unknown", "unknown"),
        ({"date": "last spring"}, "unknown", "unknown"),
        ({}, "unknown", "unknown"),
    ],
)
def test_a_number_or_a_day_tells(facts, birdnet, perch):
    row = table(**({"recording_id": ["a"], "path": ["a.wav"]} | {k: [v] for k, v in facts.items()}))
    assert heard_before(row, [card_named("birdnet")]).tolist() == [birdnet]
    assert heard_before(row, [card_named("perch_2")]).tolist() == [perch]


def test_weights_without_birds_have_heard_none_and_unknown_ones_tell_nothing():
    recordings = table(recording_id=["XC1", "XC2", "x"], date=["2001-01-01", "2024-01-01", ""])
    for name in ("synthetic", "imagenet"):
        assert set(heard_before(recordings, [card_named(name)])) == {"cannot"}
    audioset = heard_before(recordings, [card_named("audioset")])
    assert audioset.to_dict() == {"XC1": "unknown", "XC2": "cannot", "x": "unknown"}
    assert set(heard_before(recordings, [Card(title="mine")])) == {"unknown"}


def test_of_several_weights_the_worst_counts():
    recordings = table(recording_id=["XC1", "XC999999"])
    synthetic, birdnet, mine = card_named("synthetic"), card_named("birdnet"), Card(title="mine")
    assert heard_before(recordings, [synthetic, birdnet]).tolist() == ["may", "cannot"]
    assert heard_before(recordings, [mine, birdnet]).tolist() == ["may", "unknown"]


def test_which_card_a_network_has():
    assert card_of_weights("ast", False) is None
    assert card_of_weights("ast", "synthetic") == card_named("synthetic")
    assert card_of_weights("ast", True) == card_named("audioset")
    assert card_of_weights("efficientnet_b2", True) == card_named("imagenet")
    hub = "MIT/ast-finetuned-audioset-10-10-0.4593"
    assert card_of_weights("ast", hub) == card_named("audioset")
    for source in ("somebody/ast", "./my_weights"):
        card = card_of_weights("ast", source)
        assert (card.title, card.heard) == (source, "unknown")


def test_weights_whose_own_card_tells_have_heard_invented_song_only(tmp_path):
    mine = Path(shutil.copy(shipped("efficientnet_b2"), tmp_path / "my_b2.safetensors"))
    unknown = card_of_weights("efficientnet_b2", str(mine))
    assert (unknown.title, unknown.heard) == ("my_b2.safetensors", "unknown")
    shutil.copy(shipped("efficientnet_b2").with_suffix(".md"), mine.with_suffix(".md"))
    told = card_of_weights("efficientnet_b2", str(mine))
    assert (told.title, told.heard) == ("my_b2.safetensors", "invented song")
    assert told.trained_on == "invented song only" and told.source == "its card, my_b2.md"
    mine.write_bytes(shipped("ast").read_bytes())  # the card is of other weights
    assert card_of_weights("efficientnet_b2", str(mine)).heard == "unknown"


def test_a_card_of_ones_own():
    card = make_card(
        {"title": "x", "heard": "recordings", "heard_until_date": datetime.date(2024, 1, 2)}, "c"
    )
    assert card.heard_until_date == "2024-01-02"  # as YAML reads a day that is not quoted
    for wrong in (
        {"heard": "all"},
        {"heard_until_date": "2024"},
        {"heart": "unknown"},
        {"heard_until_xc": 0},
    ):
        with pytest.raises(BirdnbError, match=r"^mine: "):
            make_card({"title": "x"} | wrong, "mine")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(["may", "cannot", "unknown"]), min_size=2, max_size=40), st.data())
def test_each_kind_is_scored_apart(kinds, data):
    n = len(kinds)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    p = rng.dirichlet(np.ones(3), n).astype(np.float32)
    ids, targets = [f"r{i}" for i in range(n)], rng.integers(3, size=n)
    sessions = [f"s{i // 2}" for i in range(n)]
    order = pd.Series(kinds, ids).sample(frac=1, random_state=1)  # its order does not matter
    found = scores_apart(Predictions(ids, p, targets), order, sessions, seed=3)
    assert set(found) == set(kinds)
    for kind, scores in found.items():
        mask = np.array(kinds) == kind
        assert scores["recordings"] == mask.sum()
        assert scores["accuracy"] == pytest.approx(accuracy_score(targets[mask], p[mask].argmax(1)))
        assert scores["sessions"] == len({s for s, m in zip(sessions, mask, strict=True) if m})
        low, high = scores["accuracy_ci95"]
        assert low <= scores["accuracy"] <= high
    if len(set(kinds)) == 1:
        whole = summarise(Predictions(ids, p, targets), ["a", "b", "c"], sessions, seed=3)
        assert found[kinds[0]]["accuracy_ci95"] == whole["accuracy_ci95"]
