"""run_all.sh: the set-up with stand-ins for Python and pip, and what needs no set-up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place(tmp_path):
    """A folder with run_all.sh and what it reads, but no environment."""
    for name in ("run_all.sh", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def script(path: Path, lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{lines}\n")
    path.chmod(0o755)


def set_up(place: Path, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    """``./run_all.sh --setup`` with the folder ``bin`` before the others on the PATH."""
    command, env = [str(place / "run_all.sh"), "--setup"], {"PATH": f"{place / 'bin'}:{path}"}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("status", [0, 3])
def test_the_installation_shows_that_it_lives_and_keeps_its_status(status, place):
    """A stand-in for pip that takes two seconds, and a sleep that is short."""
    pip = f"[ $3 = --version ] && exit; /bin/sleep 2; echo went wrong; exit {status}"
    pip = f"[ $1 = -c ] && echo 3.12 && exit; {pip}"
    script(place / ".venv/bin/python", pip)
    script(place / "bin/sleep", "exec /bin/sleep 0.3")
    done = set_up(place)
    lines = done.stdout.splitlines()
    assert "about 3 GB to download, 6 GB on disk" in lines[0]
    assert len(lines[1]) < 9 and set(lines[1]) == {"."}
    if status:
        assert done.returncode == 2
        assert "went wrong" in done.stderr and "the installation failed" in done.stderr
        assert not (place / ".venv" / "installed").exists()
    else:
        assert done.returncode == 0 and done.stderr == "" and lines[-1] == "The environment stands."


def test_it_installs_the_tested_versions_and_again_when_they_change(place):
    pip = '[ $1 = -c ] && echo 3.12 && exit; [ $3 = --version ] || echo "$PWD: $*" >>"$0.calls"'
    script(place / ".venv/bin/python", pip)
    for _ in range(2):
        assert set_up(place).returncode == 0
    calls = (place / ".venv/bin/python.calls").read_text().splitlines()
    assert len(calls) == 1 and calls[0].startswith(f"{place}: -m pip install ")
    assert calls[0].endswith("--constraint constraints.txt --editable .")
    for name in ("constraints.txt", "pyproject.toml"):
        with open(place / name, "a") as file:
            file.write("# changed\n")
        assert set_up(place).stdout and not set_up(place).stdout
    assert len((place / ".venv/bin/python.calls").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        ({"python3": "3.15", "python3.13": "3.13"}, "python3.13"),
        ({"python3": "3.9", "python3.11": "3.11"}, "python3.11"),
        ({"python3": "3.14", "python3.11": "3.11"}, "python3"),
        ({"python3": "4.0", "python": "3.12"}, "python"),
    ],
)
def test_it_takes_a_python_that_torch_has_wheels_for(there, chosen, place):
    tools(place)
    for name, version in there.items():
        python = f'[ $1 = -c ] && echo {version} && exit; echo "{name} $*"; exit 1'
        script(place / "bin" / name, python)
    done = set_up(place, path="")
    assert f"{chosen} -m venv --clear {place / '.venv'}" in done.stdout
    assert done.returncode == 2 and "could not make .venv" in done.stderr


@pytest.mark.parametrize("version", ["3.10", "3.15", ""])
def test_an_environment_of_a_python_that_does_not_fit_is_made_anew(version, place):
    tools(place)
    script(place / ".venv/bin/python", f'[ $1 = -c ] && echo {version}; [ -n "{version}" ]')
    script(place / "bin/python3", '[ $1 = -c ] && echo 3.12 && exit; echo "python3 $*"; exit 1')
    assert f"python3 -m venv --clear {place / '.venv'}" in set_up(place, path="").stdout


def test_it_finds_its_folder_from_anywhere(place, tmp_path_factory):
    """Through links, from another folder, by sh, with a CDPATH that leads elsewhere."""
    script(place / ".venv/bin/python", "[ $1 = -c ] && echo 3.12 && exit; [ $3 = --version ]")
    set_up(place)
    there = tmp_path_factory.mktemp("there")
    (there / "absolute").symlink_to(place / "run_all.sh")
    (there / "relative").symlink_to(os.path.relpath(place / "run_all.sh", there))
    (there / "link of a link").symlink_to("relative")
    (there / "-a folder").symlink_to(place)
    (there / "elsewhere" / "-a folder").mkdir(parents=True)
    script(place / ".venv/bin/python", 'echo "$PYTHONPATH"; exit')
    stamp = subprocess.run(["cksum"], input=b"".join((place / name).read_bytes() for name in (
        "pyproject.toml", "constraints.txt")), capture_output=True, check=True)  # fmt: skip
    (place / ".venv/installed").write_bytes(stamp.stdout)
    env = {"PATH": os.environ["PATH"], "CDPATH": str(there / "elsewhere")}
    inside = "./-a folder/run_all.sh"
    for words in (["./absolute"], ["./relative"], ["./link of a link"],
                  ["bash", inside], ["sh", inside]):  # fmt: skip
        done = subprocess.run(words, cwd=there, env=env, capture_output=True, text=True)
        assert done.stdout.splitlines()[-1:] == [str(place)], done.stderr


@pytest.mark.parametrize(("there", "found"), [(["3.15"], "3.15"), (["3.10", "4.0"], "3.10 4.0"),
                                              ([], "none")])  # fmt: skip
def test_a_python_that_will_not_do_gets_one_line(there, found, place):
    tools(place)
    for name, version in zip(("python3", "python"), there, strict=False):
        script(place / "bin" / name, f"echo {version}")
    done = set_up(place, path="")
    assert done.returncode == 2
    assert (
        f"needs Python 3.11 to 3.14 (torch has no wheels for others) and found {found}: install"
        in (done.stderr)
    )
    assert done.stderr.count("\n") == 1


def tools(place: Path) -> None:
    """The commands that run_all.sh calls, so that nothing else of this machine is on its PATH."""
    (place / "bin").mkdir()
    for name in ("bash", "cat", "cksum", "dirname", "sleep", "tail"):
        os.symlink(str(shutil.which(name)), place / "bin" / name)


def test_the_range_of_pythons_is_stated_alike():
    assert 'requires-python = ">=3.11,<3.15"' in (ROOT / "pyproject.toml").read_text()
    assert "3.1[1-4])" in (ROOT / "run_all.sh").read_text()


def test_help_needs_nothing_but_python():
    command = [sys.executable, "-S", "-m", "birdnb.study", "--help"]  # -S: no installed packages
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "with --only just those" in " ".join(done.stdout.split())
