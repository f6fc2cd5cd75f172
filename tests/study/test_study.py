"""The command line of the study: what it refuses before anything starts."""

from __future__ import annotations

import os

import pytest
from small_encoder import write_encoder
from small_notebooks import write_book

from birdnb.study import __main__ as study
from birdnb.study.books import select


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bless", "--corpus", "birds"], "--bless takes no --corpus"),
        (["--test", "--", "-p", "epochs", "3"], "--test takes no notebook parameters"),
        (["--lab", "--only", "04"], "--lab takes no --only"),
        (["--setup", "--bless"], "--setup and --bless are two things"),
        (["--test", "--lab"], "--lab and --test are two things"),
        (["--", "-p", "folds", "2"], "-p folds: give --folds instead"),
        (["--", "-p", "encoders", "birdnet"], "-p encoders: give --encoders instead"),
        (["--seed", "-1"], "'-1' is no seed: give 0 or more"),
    ],
)
def test_what_would_be_ignored_is_refused(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        study.main(words)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_relative_folders_are_those_of_the_caller(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIRDNB_REPORTS", "mine")
    assert study.main(["--list"]) == 0
    assert os.environ["BIRDNB_REPORTS"] == str(tmp_path / "mine")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--folds", "1"], "'1' is no number of folds: give 0 for one split, or 2 or more"),
        (["--folds", "-4"], "'-4' is no number of folds"),
        (["--only", "04", "-p", "epochs", "3"], "-p epochs 3; notebook parameters come after --"),
        (["--nonsense"], "unrecognized arguments: --nonsense\n"),
    ],
)
def test_a_wrong_command_line(words, message, capsys):
    with pytest.raises(SystemExit) as caught:
        study.main(words)
    assert caught.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "numbers"), [(None, ["01", "02"]), (["A1"], ["A1"]), (["a1_asks", "2"], ["02", "A1"])]
)
def test_an_appendix_is_run_when_asked_for(words, numbers, place):
    write_book(place / "notebooks" / "A1_asks.ipynb", "print(1)")
    assert [book.stem[:2] for book in select(words)] == numbers


def test_all_notebooks_are_listed(place, capsys):
    write_book(place / "notebooks" / "A1_asks.ipynb", "print(1)")
    assert study.main(["--list"]) == 0
    assert [line[:2] for line in capsys.readouterr().out.splitlines()] == ["01", "02", "A1"]


@pytest.mark.parametrize(
    ("encoders", "message"),
    [
        (["birdnest"], "error: no encoder is called 'birdnest': choose one of birdnet, onnx"),
        (["onnx"], "error: the encoder 'onnx' names no file"),
        (["ast:gone.safetensors"], "no weights at"),
        (["efficientnet_b2", "efficientnet_b2"], "would both be called efficientnet_b2"),
    ],
)
def test_an_encoder_that_cannot_be_had_stops_the_study_before_any_notebook(
    encoders, message, place, capsys
):
    assert study.main(["--only", "01", "--encoders", *encoders]) == 2
    said = capsys.readouterr()
    assert message in said.err and "01_works" not in said.out
    assert not list(place.rglob("reports/**/*.ipynb"))


@pytest.mark.parametrize("asked", ["on the command line", "in the profile"])
def test_notebooks_are_told_of_encoders_by_their_absolute_path(asked, place, monkeypatch, capfd):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(place)
    path = write_encoder(place / "small.onnx")
    (place / "mine.yaml").write_text("base: laptop\nencoders: [small.onnx, 'ast:synthetic']\n")
    words = (
        ["--encoders", "small.onnx", "ast:synthetic"]
        if asked == "on the command line"
        else ["--profile", "mine.yaml"]
    )
    write_book(place / "notebooks" / "01_works.ipynb", "print(encoders)")
    assert study.main(["--only", "01", *words]) == 0, capfd.readouterr()
    (book,) = place.glob("reports/*/notebooks/01_works.ipynb")
    assert f"['onnx:{path}', 'ast:synthetic']" in book.read_text()


def test_encoders_for_notebooks_that_take_none_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BIRDNB_REPORTS", str(tmp_path))
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path))
    assert study.main(["--only", "05", "--encoders", "ast:synthetic"]) == 2
    assert "no notebook that was asked for has a parameter 'encoders'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
