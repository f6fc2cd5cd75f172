"""Every command ends in one line and a status, in any terminal."""

from __future__ import annotations

import argparse
import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from birdnb.command import command, number
from birdnb.files import BirdnbError

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(path for path in (ROOT / "birdnb").rglob("__main__.py"))


@command("interrupted: go on")
def main(argv=None):
    if argv == ["wrong"]:
        raise BirdnbError("no such bird: look again")
    if argv == ["ctrl-c"]:
        raise KeyboardInterrupt
    return 1 if argv else 0


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 0, ""),
        (["some"], 1, ""),
        (["wrong"], 2, "error: no such bird: look again\n"),
        (["ctrl-c"], 130, "\ninterrupted: go on\n"),
    ],
)
def test_status_and_last_words(words, status, said, capsys):
    assert main(words) == status
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.parent.name)
def test_every_command_is_made_by_it(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    mains = [node for node in tree.body if getattr(node, "name", "") == "main"]
    assert len(mains) == 1
    assert [ast.unparse(made).split("(")[0] for made in mains[0].decorator_list] == ["command"]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_no_letter_ends_in_a_traceback(encoding):
    """Cyrillic, a quotation mark, and a byte of a file name that is no UTF-8."""
    code = (
        "import sys\nfrom birdnb.command import command\nfrom birdnb.files import BirdnbError\n"
        "@command('')\ndef main(argv):\n"
        "    print('\\u2018\\u0424\\u0438\\u0442\\u0438\\u0441\\u2019 \\udcff')\n"
        "    raise BirdnbError('\\u0424 \\udcff')\nsys.exit(main([]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONIOENCODING": encoding},
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: ") and done.stderr.count(b"\n") == 1
    assert b"\\udcff" in done.stdout
    assert ("\u0424".encode() if encoding == "utf-8" else b"\\u0424") in done.stdout


@pytest.mark.parametrize("words", [["--corpus", "Фитис"], ["--only", "Фитис"], ["--Фитис"]])
def test_the_study_says_what_is_wrong_in_ascii(words):
    done = subprocess.run(
        [sys.executable, "-m", "birdnb.study", *words], cwd=ROOT,
        env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "error: " in done.stderr and "\\u0424" in done.stderr.lower()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["--list", "--help"])
@pytest.mark.parametrize(
    ("where", "status", "said"),
    [
        ("| true", 141, ""),
        ("> /dev/full", 2, "error: cannot print: No space left on device\n"),
        (">&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
    ],
)
def test_a_reader_who_leaves_is_no_traceback(where, status, said, words, unbuffered):
    line = f"{{ sleep 0.3; {sys.executable} -m birdnb.study {words}; echo $? >&3; }} {where}"
    done = subprocess.run(
        ["bash", "-c", f"{{ {line}; }} 3>&1"], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    told = [(f"{status}\n", said)]
    if words == "--help" and unbuffered:
        told.append(("0\n", ""))  # the argparse of newer Pythons does not mind
    assert (done.stdout, done.stderr) in told


def test_an_error_of_another_pipe_is_not_hidden(capfd):
    @command("")
    def breaks():
        raise BrokenPipeError("a worker's")

    with pytest.raises(BrokenPipeError, match="a worker's"):
        breaks()


@pytest.mark.parametrize(
    ("kind", "least", "most", "good", "bad"),
    [
        (int, 1, float("inf"), ["1", "40"], ["0", "-3", "1.5", "many", ""]),
        (float, 0.1, 3600, ["0.1", "1e3", "3600"], ["0", "3601", "nan", "inf", "x"]),
    ],
)
def test_an_option_takes_the_numbers_in_its_range(kind, least, most, good, bad):
    read = number(kind, least, most, said="is no step")
    assert [read(text) for text in good] == [kind(text) for text in good]
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match=f"^'{re.escape(text)}' is no step$"):
            read(text)
