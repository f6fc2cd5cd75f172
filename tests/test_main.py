"""The command ``birdnb``: every command of the package under one name, and what hubs read of it."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import birdnb
from birdnb.__main__ import COMMANDS, main

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


ANSWERS = """
import contextlib, io, json, runpy, sys
from birdnb.__main__ import main

def answer(call, *arguments, **more):
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            call(*arguments, **more)
        except SystemExit as stop:
            status = stop.code
    return status, out.getvalue(), err.getvalue()

found = {line: answer(main, line.split()) for line in sys.argv[1:]}
sys.argv = ["training", "--help"]
found["old name"] = answer(runpy.run_module, "birdnb.training", run_name="__main__")
print(json.dumps(found))
"""


def birdnb_says(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "birdnb", *words], cwd=ROOT, capture_output=True, text=True
    )


def test_every_command_of_the_package_has_a_name():
    there = {path.parent.relative_to(ROOT / "birdnb").as_posix().replace("/", ".")
             for path in (ROOT / "birdnb").glob("*/**/__main__.py")}  # fmt: skip
    assert {package for package, _ in COMMANDS.values()} == there


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_it_lists_its_commands(words, capsys):
    try:
        status = main(words)
    except SystemExit as stop:  # argparse
        status = stop.code
    said = capsys.readouterr().out
    assert not status and all(f"    {name} " in said for name in COMMANDS)


@pytest.fixture(scope="module")
def answers():
    """Status, output and errors of each command's help and of two more calls, of one process."""
    calls = [*([name, "--help"] for name in COMMANDS), ["--print-completion", "bash"]]
    command = [sys.executable, "-c", ANSWERS, *map(" ".join, calls)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_answers_under_its_name(name, answers):
    status, out, err = answers[f"{name} --help"]
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: birdnb {name} ")


def test_an_unknown_option_is_told_under_the_name():
    wrong = birdnb_says("study", "--no-such-option")
    assert wrong.returncode == 2 and "birdnb study: error: " in wrong.stderr


def test_the_old_names_stay(answers):
    assert answers["old name"][1].startswith("usage: python -m birdnb.training ")


def test_an_unknown_name_is_an_error_and_what_exists_is_listed():
    done = birdnb_says("sing")
    assert done.returncode == 2 and "'sing'" in done.stderr and "xeno-canto" in done.stderr


def test_options_reach_the_command():
    listed = birdnb_says("study", "--list", "--only", "03")
    assert listed.returncode == 0 and listed.stdout.startswith("03  augmentation")


def test_the_version_stands_in_one_place(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"birdnb {birdnb.__version__}\n"
    assert "version" in PROJECT["dynamic"] and "version" not in PROJECT | CITATION


def test_completion_knows_names_and_options(tmp_path, answers):
    """Bash itself completes words with the script that is printed."""
    pytest.importorskip("shtab")
    script = tmp_path / "completion"
    script.write_text(answers["--print-completion bash"][1])

    def completed(*words: str) -> set[str]:
        line = f"COMP_WORDS=(birdnb {' '.join(words)}); COMP_CWORD={len(words)}"
        call = 'source "$0" && _shtab_birdnb && printf "%s\\n" "${COMPREPLY[@]}"'
        done = subprocess.run(
            ["bash", "-c", f"{line}; {call}", str(script)], capture_output=True, text=True
        )
        return {word.strip() for word in done.stdout.split()}

    assert completed("tr") == {"train"}
    assert "--lr-backbone" in completed("train", "--lr")
    assert completed("study", "--ble") == {"--bless"}


def test_the_citation_agrees_with_the_package():
    names = [author["name"] for author in CITATION["authors"]]
    assert names == [author["name"] for author in PROJECT["authors"]]
    assert CITATION["license"] == "MIT" and CITATION["keywords"] == PROJECT["keywords"]
