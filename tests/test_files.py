"""Which errors are errors in writing: the path that is written, a full disk; damaged files."""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from birdnb.evaluation.predictions import Predictions
from birdnb.field.scores import Heard
from birdnb.files import (
    STALE_SECONDS,
    BirdnbError,
    atomic_path,
    sweep,
    user_path,
    whole_path,
    write_error,
    write_text,
)
from birdnb.models.embeddings import Embeddings


def test_a_file_that_is_read_meanwhile_is_not_blamed_on_the_written_one(tmp_path):
    (tmp_path / "folder").mkdir()
    for source in (tmp_path / "gone", tmp_path / "folder"):  # FileNotFoundError, IsADirectoryError
        with pytest.raises(OSError) as caught, atomic_path(tmp_path / "out" / "a.txt") as temporary:
            temporary.write_bytes(source.read_bytes())
        assert caught.value.filename == str(source)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "a.txt", tmp_path / "file" / "b" / "a.txt",
                 tmp_path / "folder", tmp_path / ("n" * 300)):  # fmt: skip
        with pytest.raises(BirdnbError, match=f"cannot write .*{path.name[:9]}.*: move away"):
            write_text(path, "text")


@pytest.mark.parametrize(
    ("number", "named", "said"),
    [
        (errno.ENOSPC, None, "no space left on the disk while writing"),
        (errno.EDQUOT, "/elsewhere", "no space left on the disk while writing"),
        (errno.EACCES, None, "may not write"),
        (errno.EACCES, "here", "may not write"),
        (errno.EROFS, "here/.tmp-1.txt", "may not write"),
        (errno.EACCES, "here/another.txt", None),
        (errno.EACCES, "/usr/bin/python", None),
        (errno.EACCES, 3, None),
        (errno.ENOENT, "here/a.txt", None),
        (errno.ENOENT, "here", "cannot write"),
        (errno.ELOOP, "here/a.txt", "cannot write"),
        (errno.EMFILE, None, None),
    ],
)
def test_what_is_said_of_an_error(number, named, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = OSError(number, os.strerror(number), named)
    if named == 3:
        error.filename = 3  # a file descriptor: it is not known whose
        said = "may not write"
    told = write_error(error, tmp_path / "here" / "a.txt")
    assert told is None if said is None else str(told).startswith(f"{said} {tmp_path}")


def test_a_tilde_that_is_nobodys_home_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert user_path("~/a") == tmp_path / "a"
    assert whole_path("~nobody-of-this-name/a") == tmp_path / "~nobody-of-this-name" / "a"
    (tmp_path / "loop").symlink_to("loop")
    assert whole_path("loop/a") == tmp_path / "loop" / "a"


def test_a_name_in_utf8_is_not_blamed_where_names_are_read_as_ascii():
    code = "import os; from birdnb.files import name_fault as f; print(f(os.fsdecode(bytes({}))))"
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    for name, said in ((b"\xc3\xbc", "set PYTHONUTF8=1"), (b"\xff", "rename it"), (b"a", "")):
        command = [sys.executable, "-c", code.format(list(name))]
        done = subprocess.run(command, env=plain, capture_output=True, text=True, check=True)
        assert done.stdout.strip().endswith(said) and bool(done.stdout.strip()) == bool(said)


def test_sweep_takes_what_is_old_and_where_it_was_asked_to(tmp_path):
    names = [".tmp-a.npz", "scores/.tmp-b.npz", "pages/1/.tmp-c.json", "thesis/.tmp-draft.docx",
             "scores/more/.tmp-d.npz", "scores/kept.npz"]  # fmt: skip
    for name in (*names, ".tmp-young.npz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
        age = 0 if "young" in name else STALE_SECONDS + 60
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    sweep(tmp_path, "scores", "pages/*")
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*names[3:], ".tmp-young.npz"}


def predictions_in(folder):
    targets = np.arange(3)
    return Predictions(["a", "b", "c"], np.eye(3, dtype=np.float32), targets).save(folder / "r.npz")


def windows_in(folder):
    values = {"embeddings": np.ones((2, 3)), "activity": np.ones(2), "answer": np.zeros(0)}
    np.savez(folder / "r.npz", **values, seconds=1.0)
    return folder / "r.npz"


def heard_in(folder):
    Heard("r.wav", "/r.wav", starts=np.arange(2.0)).save(folder / "r.npz")
    return folder / "r.npz"


@pytest.mark.parametrize(
    ("made", "read"),
    [
        (predictions_in, Predictions.load),
        (windows_in, lambda path: Embeddings(path.parent, None).load(path.stem)),
        (heard_in, Heard.load),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_one_wrong_byte_is_a_damaged_file_wherever_it_is(made, read, tmp_path):
    path = made(tmp_path)
    content = path.read_bytes()
    read(path)
    refused = 0
    for place, flip in itertools.product(range(0, len(content), 3), (1, 255)):
        damaged = bytearray(content)
        damaged[place] ^= flip
        path.write_bytes(damaged)
        try:
            refused += read(path) is None
        except BirdnbError:
            refused += 1
    assert refused > len(content) / 3
