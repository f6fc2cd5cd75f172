"""Facts of the demo study: a model that gets worse is noticed, another machine is not."""

from __future__ import annotations

import json

import pytest

from birdnb.study.facts import fact_table
from birdnb.study.regression import LANE

FACTS = {"test recordings": 54, "accuracy of the baseline": 0.944}


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A file of facts as blessing leaves it, in the lane that compares."""
    path = tmp_path / "facts.json"
    monkeypatch.setenv(LANE, "record")
    fact_table("07", {"another notebook's": 1}, recorded=path)
    fact_table("04", FACTS, recorded=path)
    monkeypatch.setenv(LANE, "compare")
    return path


def test_blessing_records_a_notebooks_facts_and_keeps_those_of_the_others(recorded, monkeypatch):
    monkeypatch.setenv(LANE, "record")
    fact_table("04", FACTS | {"test recordings": 60}, recorded=recorded)
    facts = json.loads(recorded.read_text())
    assert facts["04"] == FACTS | {"test recordings": 60}
    assert facts["07"] == {"another notebook's": 1} and list(facts) == ["04", "07"]


@pytest.mark.parametrize("accuracy", [0.944, 0.86, 1.0])
def test_another_machine_sees_the_recorded_text(recorded, accuracy):
    shown = fact_table("04", FACTS | {"accuracy of the baseline": accuracy}, recorded=recorded)
    assert shown == fact_table("04", FACTS, recorded=recorded)
    assert "0.944" in shown and "± 0.1" in shown and "exactly" in shown


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"accuracy of the baseline": 0.62}, "accuracy of the baseline: 0.62 now, 0.944 recorded"),
        ({"accuracy of the baseline": float("nan")}, "nan now"),
        ({"test recordings": 53}, "test recordings: 53 now, 54 recorded"),
        ({"a new fact": 1}, "a new fact: 1 now, nothing recorded"),
    ],
)
def test_a_worse_model_and_other_recordings_are_named(recorded, change, named):
    with pytest.raises(AssertionError, match=named):
        fact_table("04", FACTS | change, recorded=recorded)


def test_a_fact_that_is_gone_is_named(recorded):
    with pytest.raises(AssertionError, match="test recordings: missing now, 54 recorded"):
        fact_table("04", {"accuracy of the baseline": 0.944}, recorded=recorded)


def test_the_tolerance_is_the_notebooks(recorded):
    worse = FACTS | {"accuracy of the baseline": 0.92}
    with pytest.raises(AssertionError, match=r"may differ by 0\.02"):
        fact_table("04", worse, within=0.02, recorded=recorded)


def test_a_study_of_ones_own_shows_what_it_measured(recorded, monkeypatch):
    monkeypatch.delenv(LANE)
    before = recorded.read_bytes()
    assert "0.620" in fact_table("04", {"accuracy of the baseline": 0.62}, recorded=recorded)
    assert recorded.read_bytes() == before
