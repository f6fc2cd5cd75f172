"""``--truth``: what was heard held against annotations, from the shell, with a real run."""

import pandas as pd
import pytest
from sound_files import recording, write

from birdnb.field.__main__ import main

pytestmark = pytest.mark.usefixtures("listening")


@pytest.fixture
def sounds(tmp_path):
    folder = tmp_path / "sounds"
    write(folder / "a.wav", recording(20.0, 3.0, 9.0))
    write(folder / "b.wav", recording(12.0, 2.0, 5.0))
    write(folder / "c.wav", recording(8.0, 2.0, 5.0))
    return folder


def test_annotations_are_counted_and_what_has_none_is_named(sounds, tmp_path, capsys):
    truth = tmp_path / "truth.csv"
    truth.write_text(
        "file,start,end,species\na.wav,0,7,SPECIES 0\na.wav,12,18,species 1\nb.wav,3,4,stranger\n"
    )
    out = tmp_path / "out"
    words = ["one", str(sounds), "--out", str(out), "--jobs", "1", "--truth", str(truth)]
    assert main(words) == 0
    table = pd.read_csv(out / "truth.csv").set_index("species")
    assert table.loc["species 0", "segments"] == 2 and table.loc["species 1", "segments"] == 2
    assert table.loc["all", "segments"] == 4 and table["auroc"].between(0, 1).all()
    drop = pd.read_csv(out / "truth_drop.csv").set_index("measure")
    assert drop.loc["auroc", "drop"] == pytest.approx(
        drop.loc["auroc", "focal"] - drop.loc["auroc", "field"], abs=2e-4
    )
    said = capsys.readouterr().out
    assert "3 annotations of 2 recordings, 7 segments of 5 s" in said
    assert "unknown to the run, so that nothing may be called there: stranger (1)" in said
    assert "without annotations, left out: 1 (such as c.wav)" in said


def test_annotations_of_other_recordings_are_an_error(sounds, tmp_path, capsys):
    (tmp_path / "truth.csv").write_text("file,start,end,species\nd.wav,0,7,species 0\n")
    words = ["one", str(sounds), "--out", str(tmp_path / "out"), "--jobs", "1"]
    assert main([*words, "--truth", str(tmp_path / "truth.csv")]) == 2
    assert "no annotation belongs to the recordings at hand (a.wav, ...)" in capsys.readouterr().err


def test_names_written_in_another_way_are_told(sounds, tmp_path, capsys):
    (tmp_path / "codes.csv").write_text("file,start,end,species\na.wav,0,7,spec0\n")
    words = ["one", str(sounds), "--out", str(tmp_path / "out"), "--jobs", "1"]
    assert main([*words, "--truth", str(tmp_path / "codes.csv")]) == 0
    said = capsys.readouterr().out
    assert "not one annotation names a species of the run" in said and "'species 0'" in said
    assert "a precision of 0.9 was promised: " in said
