"""Corrected labels: applied when named, without a recording changing sides.

Nothing is written into the user's folder.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_corpora import extracted, whistlers

from birdnb.config import load_profile
from birdnb.corpora import corpus_name, open_corpus
from birdnb.corpora.corrections import (
    COLUMNS,
    VARIABLE,
    add_correction,
    corrected,
    read_corrections,
    use_corrections,
    with_corrections,
)
from birdnb.data import open_study, reopen_study
from birdnb.features.cache import build_cache
from birdnb.files import BirdnbError
from birdnb.report.collect import collect
from birdnb.study.__main__ import main as study

SPECIES = {"Parus major": 3000, "Turdus merula": 5500}  # [Hz]
WHEN = "2026-05-01T09:30:00+00:00"


@pytest.fixture
def birds(tmp_path, monkeypatch):
    """Two species of six recordings of 4 s, each a session."""
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setenv(VARIABLE, "")
    return extracted(whistlers(tmp_path / "birds", SPECIES, 6))


def decide(path: Path, recording: str, label: str, decision: str, species: str = "") -> None:
    add_correction(
        path, recording_id=recording, label=label, decision=decision, species=species, by="Ann",
        when=WHEN,
    )  # fmt: skip


@pytest.fixture
def three(birds, tmp_path):
    """A table of corrections: one accepted, one of another species, one to drop."""
    path = tmp_path / "results" / "corrections.csv"
    decide(path, "P0", "Parus major", "accept")
    decide(path, "P1", "Parus major", "relabel", "Turdus merula")
    decide(path, "P2", "Parus major", "drop")
    return path


@pytest.mark.parametrize(
    ("by", "when", "told"),
    [("", "", ""), ("Ann", "", " (Ann)"), ("", "2026-05-01", " (2026-05-01)")],
)
def test_a_dropped_recording_tells_who_and_when_only_if_known(birds, tmp_path, by, when, told):
    path = tmp_path / "mine.csv"
    row = f"P2,Parus major,drop,,{by},{when}"
    path.write_text(f"recording_id,label,decision,species,by,when\n{row}\n")
    with with_corrections(str(path)):
        left_out = open_corpus(birds, progress=False).left_out
    assert left_out[["recording_id", "reason"]].values.tolist() == [
        ["P2", f"dropped by a correction{told}"]
    ]


def test_corrections_are_applied_when_they_are_named(birds, three):
    before = open_corpus(birds, progress=False)
    assert (before.corrections, before.name) == (None, "birds")
    use_corrections(str(three))
    corpus = open_corpus(birds, progress=False)
    assert corpus_name(birds) == corpus.name == "birds-corrected"
    species = corpus.manifest.set_index("recording_id")["species"]
    assert species["P0"] == "Parus major" and species["P1"] == "Turdus merula"
    assert "P2" not in species.index
    assert corpus.left_out[["recording_id", "reason"]].values.tolist() == [
        ["P2", f"dropped by a correction (Ann, {WHEN})"]
    ]
    assert corpus.corrections["decision"].tolist() == ["accept", "relabel", "drop"]
    pd.testing.assert_frame_equal(corpus.before.manifest, before.manifest)


def test_the_folder_is_not_written_to(birds, three):
    def state() -> dict[str, str]:
        files = [path for path in birds.rglob("*") if path.is_file()]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    before = state()
    use_corrections(str(three))
    open_study(birds, progress=False)
    assert state() == before


def test_no_recording_changes_sides_and_spectrograms_are_those_there(birds, three):
    plain = open_study(birds, progress=False)
    use_corrections(str(three))
    data = open_study(birds, progress=False)
    assert data.cache.folder == plain.cache.folder
    sides = plain.table.set_index("recording_id")["side"]
    now = data.table.set_index("recording_id")
    assert now["side"].to_dict() == sides.drop("P2").to_dict()
    assert now["label_before"].to_dict() == {
        name: "Parus major" if name == "P1" else "" for name in now.index
    }
    assert data.labels == plain.labels
    assert data.fingerprint() != plain.fingerprint()
    quarantine = data.cache.quarantine
    assert quarantine["recording_id"].tolist() == ["P2"]
    corpus = data.corpus
    assert len(corpus.manifest) + len(corpus.left_out) == len(data.cache.index) + len(quarantine)


def test_a_dropped_recording_that_no_one_can_read_is_told_once(birds, three):
    (birds / "Parus major" / "P2.wav").write_bytes(b"")
    use_corrections(str(three))
    corpus = open_corpus(birds, progress=False)
    cache = build_cache(corpus, load_profile("laptop").audio, progress=False)
    assert cache.quarantine["recording_id"].tolist() == ["P2"]
    assert "dropped" not in cache.quarantine["reason"][0]
    assert "P2" not in set(open_study(birds, progress=False).table["recording_id"])


def test_rows_that_do_not_apply_are_told(birds, three):
    decide(three, "gone", "Parus major", "drop")
    decide(three, "T0", "Parus major", "drop")  # is Turdus merula here
    use_corrections(str(three))
    corpus = open_corpus(birds, progress=False)
    assert "2 corrections do not apply" in corpus.notes[-1]
    assert "gone, T0" in corpus.notes[-1]
    assert "T0" in set(corpus.manifest["recording_id"]) and len(corpus.corrections) == 3


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("P0,Parus major,keep,", "is none of accept, relabel, drop"),
        ("P0,Parus major,relabel,", "the species is empty"),
        ("P0,Parus major,relabel,Pica pica", "which the corpus does not have"),
        ("P0,Pica pica,drop,", "none of the 1 corrections is of this corpus"),
        ("P0,Parus major,drop,\nP0,Parus major,accept,", "rows on 'P0' contradict each other"),
        ("P0,Parus major,drop,\nP0,Pica pica,drop,", "rows on 'P0' contradict each other"),
    ],
)
def test_what_is_wrong_is_said(birds, tmp_path, rows, said):
    path = tmp_path / "c.csv"
    path.write_text(f"recording_id,label,decision,species\n{rows}\n")
    with pytest.raises(BirdnbError, match=said):
        use_corrections(str(path))
        open_corpus(birds, progress=False)


def test_the_command_names_what_is_wrong(birds, tmp_path, capsys):
    assert study(["--corpus", str(birds), "--corrections", str(tmp_path / "no.csv")]) == 2
    assert "no.csv is missing" in capsys.readouterr().err


def test_rows_that_say_the_same_are_one_and_the_own_label_accepts(tmp_path):
    path = tmp_path / "c.csv"
    rows = "P0,Parus major,drop,,Ann\nP1,Parus major,relabel,Parus major,Ann\n"
    path.write_text(f"recording_id,label,decision,species,by\n{rows}P0,Parus major,drop,,Bob\n")
    table = read_corrections(path)
    assert table[["recording_id", "decision", "species", "by"]].values.tolist() == [
        ["P1", "accept", "", "Ann"], ["P0", "drop", "", "Bob"],
    ]  # fmt: skip


def test_a_species_that_loses_all_training_recordings_is_refused(birds, tmp_path):
    table = open_study(birds, progress=False).table
    path = tmp_path / "c.csv"
    for row in table[(table["side"] == "train") & (table["species"] == "Parus major")].itertuples():
        decide(path, row.recording_id, "Parus major", "drop")
    use_corrections(str(path))
    with pytest.raises(BirdnbError, match="no training recording of 'Parus major'"):
        open_study(birds, progress=False)


def test_studies_are_opened_again_with_the_corrections_they_had(birds, three):
    """Whatever this process applies, and nothing of it stays."""

    def config(data):
        audio = asdict(data.profile.audio)
        return {"run": "r", "profile": "laptop", "audio": audio, "seed": 7, "fold": None,
                "corpus": data.origin(), "split": data.fingerprint()}  # fmt: skip

    plain = open_study(birds, progress=False)
    use_corrections(str(three))
    data = open_study(birds, progress=False)
    again = reopen_study(config(plain), progress=False)
    assert again.corpus.name == "birds" and again.corrections is None
    assert corpus_name(birds) == "birds-corrected"
    os.environ[VARIABLE] = ""
    again = reopen_study(config(data), progress=False)
    pd.testing.assert_frame_equal(again.table, data.table)
    assert again.origin() == data.origin() and corpus_name(birds) == "birds"
    decide(three, "P3", "Parus major", "drop")
    with pytest.raises(BirdnbError, match="their labels or the split"):
        reopen_study(config(data), progress=False)


def test_recordings_that_a_correction_leaves_on_no_side_are_told(birds, tmp_path):
    """One of a species too rare to split, which is another: it has no side to be on."""
    (birds / "Pica pica").mkdir()
    (birds / "Parus major" / "P0.wav").rename(birds / "Pica pica" / "P0.wav")
    path = tmp_path / "c.csv"
    decide(path, "P0", "Pica pica", "relabel", "Parus major")
    decide(path, "T0", "Turdus merula", "relabel", "Pica pica")
    use_corrections(str(path))
    data = open_study(birds, progress=False)
    dropped = collect([data], {}).dropped.set_index("recording_id")["reason"]
    assert dropped["P0"] == "corrected, but its species before is too rare to split"
    assert dropped["T0"].startswith("species too rare to split")
    assert len(data.table) + len(dropped) == len(data.corpus.manifest)


def test_the_last_decision_counts_and_can_be_taken_back(tmp_path):
    path = tmp_path / "c.csv"
    decide(path, "a", "x", "drop")
    decide(path, "b", "x", "accept")
    decide(path, "a", "x", "relabel", "y")
    table = read_corrections(path)
    assert table["decision"].tolist() == ["accept", "relabel"]
    assert table.columns.tolist() == COLUMNS
    assert add_correction(path, recording_id="a")["recording_id"].tolist() == ["b"]
    assert read_corrections(path)["recording_id"].tolist() == ["b"]


def test_what_people_wrote_beside_their_decisions_stays(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text(
        "# checked with Ann's field book\nrecording_id,label,decision,species,by,when,note\n"
        'a1,x,drop,,Ann,2026-05-01,"two birds, singing"\n  # of June\n"#2",x,accept,,,,\n'
    )
    decide(path, "b", "x", "accept")
    add_correction(path, recording_id="#2")
    assert path.read_text().splitlines()[:2] == ["# checked with Ann's field book", "  # of June"]
    table = read_corrections(path)
    assert table["recording_id"].tolist() == ["a1", "b"] and list(table)[:6] == COLUMNS
    assert table["note"].tolist() == ["two birds, singing", ""]


@given(st.lists(st.sampled_from(["accept", "relabel", "drop"]), min_size=1, max_size=12))
def test_nothing_is_lost(decisions):
    n = 2 * len(decisions)
    manifest = pd.DataFrame({
        "recording_id": [f"r{i}" for i in range(n)], "path": "p",
        "species": ["a", "b"] * len(decisions),
    })  # fmt: skip
    corrections = pd.DataFrame({
        "recording_id": [f"r{2 * i}" for i in range(len(decisions))], "label": "a",
        "decision": decisions, "species": "b", "by": "", "when": "",
    })  # fmt: skip
    kept, gone, notes = corrected(manifest, corrections)
    assert len(kept) + len(gone) == n and len(gone) == decisions.count("drop") and notes == []
    assert (kept["species"] == "b").sum() == len(decisions) + decisions.count("relabel")
