"""The runner: what it refuses before anything starts, and what a notebook leaves behind that ran,
failed or was stopped.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import nbformat
import pytest

from birdnb.files import BirdnbError
from birdnb.study import __main__ as study
from birdnb.study import execution

ROOT = Path(__file__).resolve().parents[2]
PARAMETERS = "corpus = 'demo'\nprofile = 'laptop'\nseed = 7\nfolds = 0\nepochs = None\npretrained = None\nnoise = True"


@pytest.fixture
def books(tmp_path, monkeypatch):
    """Two small notebooks in place of the seven: 01 prints, 02 fails on purpose."""
    monkeypatch.setenv("BIRDNB_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setattr(study, "NOTEBOOKS", tmp_path / "notebooks")
    (tmp_path / "notebooks").mkdir()
    for name, code in (
        ("01_works", "print(epochs)"),
        ("02_fails", "def pair():\n    return {}['magpie']\npair()"),
    ):
        book = nbformat.v4.new_notebook()
        book.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        cells = [
            nbformat.v4.new_markdown_cell(f"# {name}\n\nA question?"),
            nbformat.v4.new_code_cell(PARAMETERS),
        ]
        cells[1].metadata["tags"] = ["parameters"]
        book.cells = [*cells, nbformat.v4.new_code_cell(code)]
        nbformat.write(book, tmp_path / "notebooks" / f"{name}.ipynb")
    return tmp_path / "reports" / "demo-laptop"


def test_a_notebook_that_works_and_one_that_fails(books, capsys):
    stale = books / "notebooks" / "01_works.failed.ipynb"
    stale.parent.mkdir(parents=True)
    stale.write_text("{}")
    assert study.main([]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^01_works {15,}\d+\.\d min  A question\?$", out, re.M)
    assert "FAILED: cell 3: KeyError: 'magpie'" in out and "02_fails.failed.ipynb" in out
    names = {path.name for path in (books / "notebooks").iterdir()}
    assert names == {"01_works.ipynb", "02_fails.failed.ipynb"}
    log = (books / "logs" / "02_fails.log").read_text(encoding="utf-8")
    assert (
        log.endswith("KeyError: 'magpie'\n") and "return {}['magpie']" in log and "\x1b" not in log
    )
    assert study.main(["--only", "01"]) == 0
    out = capsys.readouterr().out
    assert "up to date" in out and f"the notebooks: {books / 'notebooks'}\n" in out


def test_a_notebook_is_out_of_date_when_what_it_reads_has_changed(books, monkeypatch, tmp_path):
    ran = []

    def quick(book, target, parameters, log):
        ran.append(parameters["profile"])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(book.read_bytes())

    def times(*words):
        ran.clear()
        assert study.main(["--profile", "mine.yaml", "--only", *words]) == 0
        return len(ran)

    monkeypatch.setattr(study, "execute", quick)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notebooks" / "02_fails.ipynb").rename(tmp_path / "notebooks" / "07_reports.ipynb")
    profile, weights = tmp_path / "mine.yaml", tmp_path / "my.safetensors"
    profile.write_text("base: laptop\n")
    weights.write_bytes(b"one")
    given = ["01", "--", "-p", "pretrained", "my.safetensors"]
    assert [times(*given), times(*given)] == [1, 0]
    assert (books.parent / "demo-mine" / "notebooks" / "01_works.ipynb").exists()
    weights.write_bytes(b"another")
    assert [times(*given), times(*given)] == [1, 0]
    profile.write_text("base: laptop\nruns: {phase3_ast_full: {train: {weight_decay: 0.1}}}\n")
    assert [times(*given), times(*given)] == [1, 0]
    (books.parent / "demo-mine" / "PHASE3_RESULTS.html").touch()
    assert [times("07"), times("07")] == [1, 0]
    assert (
        ran == [] and times("01") == 1 and ran == [str(profile)]
    )  # an absolute path: notebooks run in their own folder
    run = tmp_path / "artifacts" / "runs" / "demo-mine" / "phase3_ast_full"
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    assert [times("07"), times("07"), times("01")] == [0, 0, 0]  # not finished
    (run / "metrics.json").write_text("{}")
    assert [times("07"), times("07"), times("01")] == [1, 0, 0]


def test_a_notebook_is_out_of_date_when_its_own_runs_are_gone_or_others(
    books, monkeypatch, tmp_path
):
    folder, ran = tmp_path / "artifacts" / "runs" / "demo-laptop" / "phase3_ast_full", []

    def trains(book, target, parameters, log):
        ran.append(book.stem)
        for path, text in (
            (target, book.read_text()),
            (folder / "config.json", "{}"),
            (folder / "metrics.json", "{}"),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def times():
        ran.clear()
        assert study.main(["--only", "05"]) == 0
        return len(ran)

    monkeypatch.setattr(study, "execute", trains)
    (tmp_path / "notebooks" / "01_works.ipynb").rename(tmp_path / "notebooks" / "05_trains.ipynb")
    assert [times(), times()] == [1, 0]
    (folder / "config.json").write_text(
        '{"epochs": 2}'
    )  # trained from the shell with other settings
    assert [times(), times()] == [1, 0]
    shutil.rmtree(folder)
    assert [times(), times()] == [1, 0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bless", "--corpus", "birds"], "--bless takes no --corpus"),
        (["--test", "--", "-p", "epochs", "3"], "--test takes no notebook parameters"),
        (["--", "-p", "folds", "2"], "-p folds: give --folds instead"),
        (["--seed", "-1"], "-1 is no seed: give 0 or more"),
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


def test_profiles_with_a_dot_have_a_folder_of_their_own():
    assert study.report_folder("demo", "some/laptop.mine.yaml").name == "demo-laptop.mine"
    assert study.report_folder("demo", "laptop.mine").name == "demo-laptop.mine"


def test_the_notebook_in_progress_is_called_running(books, monkeypatch, capsys):
    seen = {}

    def stopped(book, target, parameters, log):
        seen.update(target=target.name, said=capsys.readouterr().out)
        target.parent.mkdir(parents=True)
        target.write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "execute", stopped)
    assert study.main(["--only", "01"]) == 130
    assert seen["target"] == "01_works.running.ipynb" and seen["said"].endswith(
        "\n01_works               "
    )
    monkeypatch.setattr(study, "execute", execution.execute)
    assert study.main(["--only", "01"]) == 0
    assert [path.name for path in (books / "notebooks").iterdir()] == ["01_works.ipynb"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "epohcs 3",
            r"has a parameter 'epohcs' \(did you mean epochs\?\); known are corpus, epochs",
        ),
        ("epochs abc", "epochs is 'abc': give an integer"),
        ("noise 3", "noise is 3: give true or false"),
        (
            "pretrained my.safetensors",
            r"no weights at my\.safetensors: give a file or a local folder",
        ),
        (
            "pretrained falsch",
            "'falsch'.*give false, synthetic, true, a hub id such as owner/name, or the path of a "
            "file or",
        ),
    ],
)
def test_wrong_parameters_are_refused_before_anything_starts(words, message, books, monkeypatch):
    monkeypatch.setattr(study, "execute", lambda *args: pytest.fail("it started"))
    parameters = {"corpus": "demo", "profile": "laptop", "seed": 7, "folds": 0}
    with pytest.raises(BirdnbError, match=message):
        study.run(
            study.select(None), parameters, study.papermill_parameters(["-p", *words.split()])
        )


def test_good_parameters_reach_the_notebook(books, monkeypatch, tmp_path):
    given = {}
    monkeypatch.setattr(
        study, "_execute", lambda book, parameters, *_: given.update(parameters) or True
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.safetensors").touch()
    for source, found in (
        ("owner/name", "owner/name"),
        ("my.safetensors", str(tmp_path / "my.safetensors")),
        ("none", None),
    ):
        words = [
            "--only",
            "01",
            "--",
            "-p",
            "epochs",
            "3",
            "-p",
            "noise",
            "false",
            "-p",
            "pretrained",
        ]
        assert study.main([*words, source.replace("none", "null")]) == 0
        assert given == {"corpus": "demo", "profile": "laptop", "seed": 7, "folds": 0, "epochs": 3,
                         "noise": False,
                         "pretrained": found}  # fmt: skip


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
    ("words", "units"), [(["--test"], True), (["--test", "--only", "01"], False)]
)
def test_some_notebooks_are_compared_without_the_unit_tests(words, units, monkeypatch):
    calls = []
    monkeypatch.setattr(study.subprocess, "call", lambda command, **_: calls.append(command) or 0)
    assert study.main(words) == 0
    assert len(calls) == 1 + units and ("tests" in calls[0]) == units and "--nbval" in calls[-1]


@pytest.mark.parametrize(
    ("number", "first"), [("06", "notebooks 04 and 05"), ("07", "notebooks 04 to 06")]
)
@pytest.mark.parametrize("folds", [0, 2])
def test_the_last_notebooks_say_what_has_to_run_first(number, first, folds, tmp_path, monkeypatch):
    from birdnb.study.chapter import start

    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path))
    with pytest.raises(BirdnbError, match=f"phase3_ast_full is not finished.*: run {first} first"):
        start(number, folds=folds).require("phase3_ast_full")
    run = tmp_path / "runs" / "demo-laptop" / "phase3_ast_full"
    for folder in [run / f"fold-{k}-of-{folds}" for k in range(1, folds + 1)] or [run]:
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text("{}")
    start(number, folds=folds).require("phase3_ast_full")


def test_results_of_nothing(monkeypatch, tmp_path):
    from small_study import small_study

    from birdnb.study.chapter import start

    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path))
    chapter = start("05")
    chapter.datasets = [small_study()]
    assert chapter.results("phase2_mfcc") == {}
    with pytest.raises(
        BirdnbError,
        match="no run of this corpus and profile is finished: run notebooks 04 to 06 first",
    ):
        chapter.results()
