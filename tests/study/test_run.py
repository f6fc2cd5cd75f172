"""The results lane: what a notebook leaves behind that ran, failed or was stopped.

And when it is executed again.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from small_notebooks import write_book
from small_study import small_study
from sound_files import recording, write

from birdnb.config import load_profile
from birdnb.corpora import open_corpus
from birdnb.features.cache import build_cache
from birdnb.files import ROOT, BirdnbError
from birdnb.study import __main__ as study
from birdnb.study import books, run
from birdnb.study.execution import execute
from birdnb.study.kernel import FORKS, StudyKernel
from birdnb.training.train import train_run

ASKED = {"corpus": "demo", "profile": "laptop", "seed": 7, "folds": 0}
ODD = "my {birds} {0} {prefix} [x] #1 50% it's ö"


def output(path: Path) -> str:
    """What the last cell of an executed notebook printed."""
    return "".join(out["text"] for out in nbformat.read(path, 4).cells[-1].outputs)


def test_a_notebook_that_works_and_one_that_fails(place, report, capsys):
    stale = report / "notebooks" / "01_works.failed.ipynb"
    stale.parent.mkdir(parents=True)
    stale.write_text("{}")
    assert study.main([]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^01_works {15,}\d+\.\d min  A question\?$", out, re.M)
    assert "FAILED: cell 3: KeyError: 'magpie'" in out and "02_fails.failed.ipynb" in out
    names = {path.name for path in (report / "notebooks").iterdir()}
    assert names == {"01_works.ipynb", "02_fails.failed.ipynb"}
    log = (report / "logs" / "02_fails.log").read_text(encoding="utf-8")
    assert (
        log.endswith("KeyError: 'magpie'\n") and "return {}['magpie']" in log and "\x1b" not in log
    )
    assert study.main(["--only", "01"]) == 0
    out = capsys.readouterr().out
    assert "up to date" in out and f"the notebooks: {report / 'notebooks'}\n" in out


def test_spectrograms_are_computed_on_the_cluster_before_any_notebook(place, capsys):
    """Where none answers, or Dask is not installed, no notebook starts."""
    write(place / "corpus/finch/a.wav", recording(6.0, 1.0, 1.0))
    words = ["--corpus", str(place / "corpus"), "--only", "01", "--dask", "nonsense://x"]
    assert study.main(words) == 2
    assert "nonsense://x" in capsys.readouterr().err
    assert not list((place / "reports").rglob("*.ipynb"))
    audio = load_profile("laptop").audio
    build_cache(open_corpus(place / "corpus"), audio, jobs=1, progress=False)
    assert study.main(words) == 0, "a finished cache needs no cluster"


def test_no_notebook_runs_where_another_folder_of_that_name_has_results(place, capsys):
    for seed, site in enumerate(("site1", "site2", "copy")):
        write(place / site / "audio/finch/a.wav", recording(6.0, 1.0, 1.0, seed=seed % 2))
    data = small_study()
    data.corpus = replace(
        data.corpus, name="audio", synthetic=False, folder=place / "site1" / "audio"
    )
    data.profile, data.fold = replace(data.profile, name="laptop"), (1, 2)
    train_run(data, "classical_mfcc", progress=False)
    words = ["--only", "01", "--corpus"]
    assert study.main([*words, str(place / "site2/audio")]) == 2
    assert "has results of" in (said := capsys.readouterr().err) and "rename this folder" in said
    assert not list((place / "reports").rglob("*.ipynb"))
    assert study.main([*words, str(place / "site1/audio")]) == 0
    assert study.main([*words, str(place / "copy/audio")]) == 0


def test_a_notebook_is_out_of_date_when_what_it_reads_has_changed(place, report, monkeypatch):
    """What is run in the place of a notebook only counts: kernels would take a minute."""
    ran = []

    def quick(book, target, parameters, log):
        ran.append(parameters["profile"])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(book.read_bytes())

    def times(number, **extra):
        ran.clear()
        given = ASKED | {"profile": str(profile)}
        assert run.run(books.select([number]), given, extra, execute=quick) == 0
        return len(ran)

    monkeypatch.chdir(place)
    (place / "notebooks" / "02_fails.ipynb").rename(place / "notebooks" / "07_reports.ipynb")
    profile, weights = place / "mine.yaml", place / "my.safetensors"
    profile.write_text("base: laptop\n")
    weights.write_bytes(b"one")
    given = {"pretrained": "my.safetensors"}
    assert [times("01", **given), times("01", **given)] == [1, 0]
    assert (report.parent / "demo-mine" / "notebooks" / "01_works.ipynb").exists()
    weights.write_bytes(b"another")
    assert [times("01", **given), times("01", **given)] == [1, 0]
    profile.write_text("base: laptop\nruns: {phase3_ast_full: {train: {weight_decay: 0.1}}}\n")
    assert [times("01", **given), times("01", **given)] == [1, 0]
    (report.parent / "demo-mine" / "PHASE3_RESULTS.html").touch()
    assert [times("07"), times("07")] == [1, 0]
    assert times("01") == 1
    trained = place / "artifacts" / "runs" / "demo-mine" / "phase3_ast_full"
    trained.mkdir(parents=True)
    (trained / "config.json").write_text("{}")
    assert [times("07"), times("07"), times("01")] == [0, 0, 0]  # not finished
    (trained / "metrics.json").write_text("{}")
    assert [times("07"), times("07"), times("01")] == [1, 0, 0]
    page = report.parent / "demo-mine" / "PHASE3_RESULTS.html"
    curves = page.with_name("how_many_recordings.json")
    curves.write_text("{}")
    os.utime(curves, (page.stat().st_mtime + 1,) * 2)
    assert times("07") == 1  # the report will link them
    page.write_text("")
    os.utime(page, (curves.stat().st_mtime + 1,) * 2)
    assert times("07") == 0


def test_a_notebook_is_out_of_date_when_its_own_runs_are_gone_or_others(place):
    folder, ran = place / "artifacts" / "runs" / "demo-laptop" / "phase3_ast_full", []

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
        assert run.run(books.select(["05"]), ASKED, {}, execute=trains) == 0
        return len(ran)

    (place / "notebooks" / "01_works.ipynb").rename(place / "notebooks" / "05_trains.ipynb")
    assert [times(), times()] == [1, 0]
    # trained from the shell with other settings
    (folder / "config.json").write_text('{"epochs": 2}')
    assert [times(), times()] == [1, 0]
    shutil.rmtree(folder)
    assert [times(), times()] == [1, 0]


def test_the_notebook_in_progress_is_called_running(place, report, capsys):
    """The notebook itself presses Ctrl-C."""
    code = """import os, signal, time
os.kill(int(os.environ['JPY_PARENT_PID']), signal.SIGINT)
time.sleep(600)"""
    write_book(place / "notebooks" / "01_works.ipynb", code)
    assert study.main(["--only", "01"]) == 130
    assert [path.name for path in (report / "notebooks").iterdir()] == ["01_works.running.ipynb"]
    assert capsys.readouterr().out.endswith("\n01_works               ")
    write_book(place / "notebooks" / "01_works.ipynb", "print(1)")
    assert study.main(["--only", "01"]) == 0
    assert [path.name for path in (report / "notebooks").iterdir()] == ["01_works.ipynb"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "epohcs 3",
            r"has a parameter 'epohcs' \(did you mean epochs\?\); known are corpus, encoders",
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
def test_wrong_parameters_are_refused_before_anything_starts(words, message, place):
    with pytest.raises(BirdnbError, match=message):
        run.run(books.select(None), ASKED, study.papermill_parameters(["-p", *words.split()]))
    assert not (place / "reports").exists()


def test_weights_that_are_not_there_are_told_before_anything_starts(place, capsys):
    mine = place / "mine.yaml"
    mine.write_text(
        "base: laptop\nruns: {phase3_efficientnet_full: {model: {pretrained: b2.safetensors}}}"
    )
    write_book(place / "notebooks" / "06_ensemble.ipynb", "print(pretrained)")
    words = ["--profile", str(mine), "--only"]
    assert study.main([*words, "01", "06"]) == 2
    assert f"no weights at {place / 'b2.safetensors'}: give a path as" in capsys.readouterr().err
    assert not list((place / "reports").rglob("*.ipynb"))
    assert study.main([*words, "01"]) == 0, "which trains nothing"
    assert study.main([*words, "06", "--", "-p", "pretrained", "False"]) == 0


def test_profiles_in_other_scripts_have_folders_of_their_own():
    names = {run.study_folder("birds", f"{name}.yaml").name for name in ("мой", "твой")}
    assert len(names) == 2 and all(name.startswith("birds-unnamed-") for name in names)


def test_profiles_with_a_dot_have_a_folder_of_their_own():
    assert run.study_folder("demo", "some/laptop.mine.yaml").name == "demo-laptop.mine"
    assert run.study_folder("demo", "laptop.mine").name == "demo-laptop.mine"


@pytest.mark.parametrize("place", [ODD], indirect=True)
def test_parameters_reach_the_notebook_and_no_path_is_a_template(place, report, monkeypatch):
    monkeypatch.chdir(place)
    (place / "my {weights}.safetensors").touch()
    words = ["-p", "epochs", "3", "-p", "noise", "false", "-p", "pretrained"]
    for given, found in (
        ("owner/name", "owner/name"),
        ("my {weights}.safetensors", str(place / "my {weights}.safetensors")),
        ("null", "None"),
    ):
        assert study.main(["--only", "01", "--", *words, given]) == 0
        assert output(report / "notebooks" / "01_works.ipynb") == f"3 False {found}\n"


@pytest.mark.skipif(not FORKS, reason="forks are made on Linux")
def test_kernels_are_forked_with_their_imports_done_and_still_are_apart(place, report, monkeypatch):
    code = """import os, sys
print('birdnb.study.chapter' in sys.modules, globals().get('other'), os.environ['PLACE'])
other = os.environ['PLACE'] = '1'
import pandas as pd
from joblib import Parallel, delayed
print(pd.options.display.max_columns)
print(os.getsid(0) == os.getpid(), sum(Parallel(2)(delayed(abs)(-i) for i in range(3))))"""
    monkeypatch.setenv("PLACE", "0")
    for name in ("01_works", "02_fails"):
        write_book(place / "notebooks" / f"{name}.ipynb", code)
    assert study.main(["--only", "01", "02"]) == 0
    for name in ("01_works", "02_fails"):
        assert output(report / "notebooks" / f"{name}.ipynb") == "True None 0\n20\nTrue 3\n"


@pytest.mark.skipif(not FORKS, reason="forks are made on Linux")
def test_a_kernel_ends_with_a_study_that_is_killed(place):
    code = f"""import os, signal, time
open({str(place / "kernel")!r}, "w").write(str(os.getpid()))
os.kill(int(os.environ["JPY_PARENT_PID"]), signal.SIGKILL)
time.sleep(600)"""
    write_book(place / "notebooks" / "01_works.ipynb", code)
    command = [sys.executable, "-m", "birdnb.study", "--only", "01"]
    assert subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL
    state = Path("/proc") / (place / "kernel").read_text() / "stat"
    until = time.monotonic() + 60
    while state.exists() and ") Z " not in state.read_text():  # Z: ended, not yet buried
        assert time.monotonic() < until, "the kernel went on without its study"
        time.sleep(0.1)


def test_the_kernel_is_started_by_a_path_that_is_no_template():
    kernel = StudyKernel(connection_file="/x/{prefix}/{0}.json")
    command = kernel.format_kernel_cmd(["{connection_file}"])
    assert command[0] == sys.executable and command[-1] == "{connection_file}"
    assert command[command.index("-f") + 1] == "/x/{prefix}/{0}.json"


@pytest.mark.parametrize("python", ["/opt/old/envs/py38/bin/python", "/bin/false"])
def test_another_kernel_of_that_name_is_not_taken(python, place, report, monkeypatch):
    spec = {"argv": [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": "Python 3", "language": "python", "env": {"SPEC": "another"},
            "interrupt_mode": "message"}  # fmt: skip
    folder = place / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(place / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    code = "import os, sys; print(sys.executable, os.environ.get('SPEC'))"
    write_book(place / "notebooks" / "01_works.ipynb", code)
    assert study.main(["--only", "01"]) == 0
    assert output(report / "notebooks" / "01_works.ipynb") == f"{sys.executable} None\n"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("startup/00.py", "print('hello'); raise SystemExit('no')"),
        ("ipython_config.py", "raise SystemExit(3)"),
        ("ipython_kernel_config.py", "c.InteractiveShell.ast_node_interactivity = 'all'"),
    ],
)
def test_what_the_users_ipython_does_at_its_start_is_left_out(
    name, code, place, report, monkeypatch
):
    config = place / "ipython" / "profile_default" / name
    config.parent.mkdir(parents=True)
    config.write_text(code)
    monkeypatch.setenv("IPYTHONDIR", str(place / "ipython"))
    write_book(place / "notebooks" / "01_works.ipynb", "3\nprint(4)")
    assert study.main(["--only", "01"]) == 0
    outputs = nbformat.read(report / "notebooks" / "01_works.ipynb", 4).cells[-1].outputs
    assert [out.output_type for out in outputs] == ["stream"]


def test_a_kernel_that_does_not_start_is_told_in_one_line(place, monkeypatch, capsys):
    monkeypatch.setattr("birdnb.study.kernel.FORKS", False)  # as on a Mac
    (place / "ipykernel_launcher.py").write_text("raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", str(place))
    assert study.main(["--only", "01"]) == 1
    assert "FAILED: no kernel: Kernel died before" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["BIRDNB_REPORTS", "BIRDNB_ARTIFACTS"])
def test_a_place_whose_name_is_no_text_is_refused_at_once(name, place, monkeypatch, capsys):
    monkeypatch.setenv(name, str(place / "\udcff"))
    assert study.main(["--list"]) == 2
    assert f"error: {name} cannot be at b'{place}" in capsys.readouterr().err


def test_an_error_that_is_no_write_error_is_told_as_it_is(place, report, monkeypatch, capsys):
    """Linux starts no process with a variable that long."""
    monkeypatch.setattr("birdnb.study.kernel.FORKS", False)
    monkeypatch.setenv("LONG", "x" * 2**18)
    assert study.main(["--only", "01"]) == 1
    said = capsys.readouterr()
    assert "FAILED: OSError" in said.out and sys.executable in said.out
    assert "cannot write" not in said.out + said.err and "Traceback" not in said.out + said.err
    assert sys.executable in (report / "logs" / "01_works.log").read_text(encoding="utf-8")


def test_an_error_in_writing_is_told_as_one(place, report, capsys):
    report.parent.mkdir()
    report.write_text("a file where the folder has to be")
    assert study.main(["--only", "01"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: cannot write {report}/") and error.count("\n") == 1


def test_progress_bars_are_text_in_the_log_and_leave_no_widget(place, report):
    code = "from tqdm.auto import tqdm\nfor _ in tqdm(range(3), desc='three'):\n    pass\nprint(3)"
    write_book(place / "notebooks" / "01_works.ipynb", code)
    assert study.main(["--only", "01"]) == 0
    assert "three: 100%" in (report / "logs" / "01_works.log").read_text(encoding="utf-8")
    assert output(report / "notebooks" / "01_works.ipynb") == "3\n"


def test_what_a_notebook_and_its_libraries_say_is_in_its_log(place, capfd):
    code = """import os, sys, subprocess
print("from print", flush=True)
print("from stderr", file=sys.stderr, flush=True)
_ = subprocess.run([sys.executable, "-c", "import os; os.write(2, b'from a child')"])"""
    write_book(place / "notebooks" / "01_works.ipynb", code)
    book, log = place / "notebooks" / "01_works.ipynb", place / "log"
    assert execute(book, place / "done.ipynb", {}, log) is None
    text = log.read_text(encoding="utf-8")
    assert all(word in text for word in ("from print", "from stderr", "from a child"))
    assert capfd.readouterr() == ("", "")


def test_warnings_of_this_process_go_to_the_log_while_a_notebook_runs(place, capfd):
    """Of nbformat that cells have no id, by papermill's logger that there are no parameters."""
    path = place / "notebooks" / "01_works.ipynb"
    book = json.loads(path.read_text())
    book["cells"] = [{k: v for k, v in cell.items() if k != "id"} for cell in book["cells"][::2]]
    path.write_text(json.dumps(book))
    before = logging.getLogger().handlers[:]
    execute(path, place / "done.ipynb", {"seed": 8}, place / "log")
    text = (place / "log").read_text(encoding="utf-8")
    assert "MissingIDFieldWarning" in text and "tag 'parameters'" in text
    assert capfd.readouterr() == ("", "") and logging.getLogger().handlers == before
