"""Judging doubtful labels without a browser: what the buttons write, and where."""

from __future__ import annotations

import hashlib

import matplotlib

matplotlib.use("Agg")

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from small_corpora import extracted, whistlers

from birdnb.corpora.corrections import VARIABLE, read_corrections
from birdnb.data import open_study
from birdnb.evaluation.doubt import doubtful_labels
from birdnb.evaluation.predictions import Predictions
from birdnb.explore.correct import correct_labels, doubts_gallery, doubts_players

SPECIES = {"Parus major": 3000, "Turdus merula": 5500}  # [Hz]


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delenv("BIRDNB_HEADLESS", raising=False)
    yield open_study(extracted(whistlers(tmp_path / "birds", SPECIES, 4)), progress=False)
    plt.close("all")


@pytest.fixture
def doubts(data):
    """P2 is doubted most, then T1; the others are not."""
    ids = data.table["recording_id"].tolist()
    own = np.where(np.isin(ids, ["P2"]), 0.1, np.where(np.isin(ids, ["T1"]), 0.3, 0.9))
    targets = data.targets(ids)
    p = np.where(targets[:, None] == [0, 1], own[:, None], 1 - own[:, None])
    return doubtful_labels([Predictions(ids, p.astype(np.float32), targets)], data.labels)


def everything(box):
    return [box, *(w for child in getattr(box, "children", ()) for w in everything(child))]


def find(box, description):
    return next(w for w in everything(box) if getattr(w, "description", None) == description)


def test_decisions_are_written_at_once_beside_the_results(data, doubts, tmp_path):
    folder = tmp_path / "results"
    before = {p: hashlib.sha256(p.read_bytes()).digest() for p in data.corpus.root.rglob("*.*")}
    box = correct_labels(data, doubts, folder)
    recording, species = find(box, "recording"), find(box, "species")
    assert (recording.value, species.value) == ("P2", "Turdus merula")
    assert any("P2 is filed under <b>Parus major</b>" in w.value for w in everything(box)
               if isinstance(w, widgets.HTML))  # fmt: skip
    find(box, "by").value = " Ann "
    find(box, "it is the species chosen").click()
    assert (recording.value, species.value) == ("T1", "Parus major")
    find(box, "the label is right").click()
    find(box, "drop the recording").click()
    table = read_corrections(folder / "corrections.csv")
    third = doubts["recording_id"][2]
    assert table[["recording_id", "label", "decision", "species", "by"]].values.tolist() == [
        ["P2", "Parus major", "relabel", "Turdus merula", "Ann"],
        ["T1", "Turdus merula", "accept", "", "Ann"],
        [third, doubts["species"][2], "drop", "", "Ann"],
    ]
    assert table["when"].str.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00").all()
    recording.value = "T1"
    find(box, "take back").click()
    assert read_corrections(folder / "corrections.csv")["recording_id"].tolist() == ["P2", third]
    again = find(correct_labels(data, doubts, folder), "recording").options
    assert again[0] == ("1: P2 (Parus major) - Turdus merula", "P2")
    assert again[1] == ("2: T1 (Turdus merula)", "T1")
    after = {p: hashlib.sha256(p.read_bytes()).digest() for p in data.corpus.root.rglob("*.*")}
    assert after == before


def test_a_decision_that_cannot_be_written_is_said(data, doubts, tmp_path):
    box, path = correct_labels(data, doubts, tmp_path), tmp_path / "corrections.csv"
    find(box, "drop the recording").click()
    with path.open("a") as file:
        file.write("P2,Parus major,accept,,Ben,\n")  # by another editor
    before = path.read_bytes()
    find(box, "drop the recording").click()
    said = [w.value for w in everything(box) if isinstance(w, widgets.HTML)]
    assert any("<b>not written</b>" in text and "contradict each other" in text for text in said)
    assert path.read_bytes() == before and find(box, "recording").value == "T1"


def test_where_no_label_is_doubted_nothing_is_asked(data, doubts, tmp_path, monkeypatch):
    none = doubts.head(0)
    assert "No label" in doubts_gallery(data, none).texts[0].get_text()
    assert list(doubts_players(data, none)) == []
    assert "No label" in correct_labels(data, none, tmp_path / "results").children[0].value
    monkeypatch.setenv("BIRDNB_HEADLESS", "1")
    assert "No label" in correct_labels(data, none, tmp_path / "results").texts[0].get_text()
    assert not (tmp_path / "results").exists()


def test_a_study_with_corrections_adds_to_them(data, doubts, tmp_path, monkeypatch):
    find(correct_labels(data, doubts, tmp_path), "it is the species chosen").click()
    mine = tmp_path / "corrections.csv"
    monkeypatch.setenv(VARIABLE, str(mine))
    study = open_study(tmp_path / "birds", progress=False)
    corrected = doubts.assign(
        species=study.recordings["species"].loc[doubts["recording_id"]].to_numpy()
    )
    box = correct_labels(study, corrected, tmp_path / "elsewhere")
    find(box, "the label is right").click()
    assert not (tmp_path / "elsewhere").exists()
    row = ["P2", "Parus major", "relabel", "Turdus merula"]  # what is right is the corrected label
    columns = ["recording_id", "label", "decision", "species"]
    assert read_corrections(mine)[columns].values.tolist() == [row]
    find(box, "recording").value = "P2"
    find(box, "species").value = "Parus major"
    find(box, "it is the species chosen").click()
    assert read_corrections(mine)["decision"].tolist() == ["accept"]
    assert open_study(tmp_path / "birds", progress=False).table["label_before"].eq("").all()


def test_pictures_players_and_no_browser(data, doubts, tmp_path, monkeypatch):
    figure = doubts_gallery(data, doubts, 3)
    places = ("left", "center")  # where titles stand depends on the style in use
    titles = [t for ax in figure.axes for at in places if (t := ax.get_title(at))]
    assert titles[0] == "1: Parus major\nor Turdus merula?"
    assert [text for text, _ in doubts_players(data, doubts, 2)] == [
        "1: P2, filed under Parus major", "2: T1, filed under Turdus merula",
    ]  # fmt: skip
    sound = next(doubts_players(data, doubts, 1))[1]
    assert sound.mimetype == "audio/mpeg" and len(sound.data) > 5000
    monkeypatch.setenv("BIRDNB_HEADLESS", "1")
    assert isinstance(correct_labels(data, doubts, tmp_path / "none"), Figure)
    assert not (tmp_path / "none").exists()
