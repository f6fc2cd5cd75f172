"""The map of the house in CONTRIBUTING.md is true: every module stands in it, and imports run only downward."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "birdnb"


def the_list(text: str) -> dict[str, str]:
    """Module -> its job, in the order of the fenced list under "The map of the house"."""
    block = text.split("## The map of the house")[1].split("```")[1]
    rows = [line for line in block.splitlines() if line and not line.startswith("#")]
    found = [re.fullmatch(r"(\S+\.py) +(\S.*)", row) for row in rows]
    assert all(found), f"not a module and its job: {rows[found.index(None)]!r}"
    pairs = [(row[1], row[2]) for row in found if row]
    assert len({module for module, _ in pairs}) == len(pairs), "a module stands in the list twice"
    return dict(pairs)


def imported(source: str, module: str, known: set[str]) -> set[str]:
    """Modules of birdnb (as paths) that a module imports anywhere, but for its block under ``__main__``."""
    tree = ast.parse(source)
    script = [node for node in tree.body if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)]
    tree.body = [node for node in tree.body if node not in script]
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    paths = {path for name in names if (path := as_path(name, known))}
    return paths - {module}


def as_path(name: str, known: set[str]) -> str | None:
    """``birdnb.models.build_model`` -> ``models/__init__.py``; None for what is not ours."""
    parts = name.split(".")
    if parts[0] != "birdnb":
        return None
    for end in range(len(parts), 0, -1):
        path = "/".join(parts[1:end])
        for candidate in (f"{path}.py", f"{path}/__init__.py".lstrip("/")):
            if candidate in known:
                return candidate
    return None


def upward(order: list[str], imports: dict[str, set[str]]) -> list[str]:
    """The imports that run upward in the list, in words."""
    place = {module: number for number, module in enumerate(order)}
    return [
        f"{module} imports {other}, which stands above it"
        for module in order
        for other in sorted(imports[module])
        if place[other] < place[module]
    ]


@pytest.fixture(scope="module")
def house() -> dict[str, str]:
    return the_list((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))


def test_every_module_stands_in_the_list(house):
    modules = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    assert modules - set(house) == set(), "give these a line in CONTRIBUTING.md"
    assert set(house) - modules == set(), "these are gone: take their lines out of CONTRIBUTING.md"


def test_imports_run_only_downward(house):
    imports = {module: imported((PACKAGE / module).read_text(encoding="utf-8"), module, set(house)) for module in house}
    assert sum(map(len, imports.values())) > 100  # the reading of imports works at all
    assert upward(list(house), imports) == []


def test_a_wrong_import_would_be_found():
    known = {"a.py", "b/__init__.py", "b/c.py"}
    source = "from birdnb.b import build\ndef f():\n    from birdnb.b import c\nimport numpy\n"
    assert imported(source, "a.py", known) == {"b/__init__.py", "b/c.py"}
    assert imported('if __name__ == "__main__":\n    from birdnb import a\n', "b/c.py", known) == set()
    circle = {"a.py": {"b/c.py"}, "b/c.py": {"a.py"}}
    assert upward(["a.py", "b/c.py"], circle) == ["b/c.py imports a.py, which stands above it"]


@pytest.mark.parametrize(("given", "seen"), [(None, "10000"), ("77", "77")])
def test_threads_that_wait_give_the_core_up_unless_the_user_says_otherwise(given, seen):
    house = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    ask = "import birdnb, os; print(os.environ['GOMP_SPINCOUNT'])"
    env = house | ({"GOMP_SPINCOUNT": given} if given else {})
    answer = subprocess.run([sys.executable, "-c", ask], env=env, cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == seen
