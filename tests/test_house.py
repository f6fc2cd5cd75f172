"""The map of the house in CONTRIBUTING.md: every folder is on it, imports run only downward."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "birdnb"


def rooms() -> list[str]:
    """The folders and single files of the package, in the order of the map in CONTRIBUTING.md."""
    block = (
        (ROOT / "CONTRIBUTING.md")
        .read_text(encoding="utf-8")
        .split("## The map of the house")[1]
        .split("```")[1]
    )
    return [
        line.split()[0].removesuffix("/").removesuffix(".py") for line in block.splitlines() if line
    ]


def imported(source: str) -> set[str]:
    """The rooms that a module imports: at its top, inside functions, under ``__main__``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("birdnb.")} & set(rooms())


def upward(order: list[str], imports: dict[str, set[str]]) -> list[str]:
    """The imports that run upward in the list, in words."""
    place = {room: number for number, room in enumerate(order)}
    return [
        f"{module} imports {room}/, which stands above it"
        for module, found in sorted(imports.items())
        for room in sorted(found)
        if place[room] < place[module.split("/")[0].removesuffix(".py")]
    ]


def test_the_map_names_every_folder():
    there = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or list(path.glob("*.py"))
    } - {"__init__"}
    assert set(rooms()) == there and len(rooms()) == len(there)


def test_imports_run_only_downward():
    modules = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]
    imports = {
        path.relative_to(PACKAGE).as_posix(): imported(path.read_text(encoding="utf-8"))
        for path in modules
    }
    assert sum(map(len, imports.values())) > 100  # the reading of imports works at all
    assert upward(rooms(), imports) == []


def test_a_wrong_import_would_be_found():
    source = "from birdnb.models import build_model\ndef f():\n    from birdnb import study\n"
    assert imported(source) == {"models", "study"}
    assert imported('if __name__ == "__main__":\n    from birdnb.data import open_study\n') == {
        "data"
    }
    assert upward(["a", "b"], {"a/c.py": {"b"}, "b.py": {"a"}}) == [
        "b.py imports a/, which stands above it"
    ]


def test_test_files_have_names_of_their_own():
    """Of two with one name in two folders pytest reads neither."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert {name for name in names if names.count(name) > 1} == set()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no checkout")
def test_nothing_lies_about_at_the_top():
    """What a trial leaves in the folder is committed easily."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    top = {name.split("/")[0] for name in listed.stdout.splitlines() if not name.startswith(".")}
    assert top <= {
        "notebooks", "birdnb", "reports", "artifacts", "environment.yml", "run_all.sh", "README.md",
        "pyproject.toml", "constraints.txt", "tests", "docs", "LICENSE", "CITATION.cff",
        "CONTRIBUTING.md", "CHANGELOG.md",
    }  # fmt: skip


@pytest.mark.parametrize(("given", "seen"), [(None, "10000"), ("77", "77")])
def test_threads_that_wait_give_the_core_up_unless_the_user_says_otherwise(given, seen):
    house = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    ask = "import birdnb, os; print(os.environ['GOMP_SPINCOUNT'])"
    env = house | ({"GOMP_SPINCOUNT": given} if given else {})
    answer = subprocess.run(
        [sys.executable, "-c", ask], env=env, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == seen
