"""The regression lane, and what a study leaves in the checkout: nothing that git would see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from small_notebooks import write_book

from birdnb.study import __main__ as study

ROOT = Path(__file__).resolve().parents[2]
WRITES = """
from dataclasses import replace
from matplotlib.figure import Figure
from small_study import small_study, settings
from birdnb.files import write_json, write_text
from birdnb.study.chapter import start
from birdnb.training.train import train_run
chapter, data = start("05"), small_study()
data.corpus, data.profile = replace(data.corpus, name="demo"), chapter.profile
train_run(data, "phase3_ast_full", settings(epochs=1))
chapter.save(Figure(), "progression")
write_json(chapter.report / "metrics.json", {})
for name in ("PHASE3_RESULTS.md", "logs/01.log", "notebooks/01_lms_pipeline.ipynb"):
    write_text(chapter.report / name, "")
print(chapter.report)
"""


@pytest.fixture
def pytest_told(place, monkeypatch):
    """Another pytest, found first: it only notes its words, and whether matplotlib may write."""
    noted = place / "noted"
    (place / "pytest.py").write_text(
        "import os, sys\n"
        "may = os.access(os.environ.get('MPLCONFIGDIR', ''), os.W_OK)\n"
        f"with open({str(noted)!r}, 'a') as file:\n"
        "    print(*sys.argv[1:], may, file=file)"
    )
    monkeypatch.setenv("PYTHONPATH", f"{place}{os.pathsep}{ROOT}")
    return noted


def test_some_notebooks_are_compared_without_the_unit_tests(place, pytest_told):
    write_book(place / "notebooks" / "A1_asks.ipynb", "print(1)")
    assert study.main(["--test", "--only", "01"]) == 0
    (notebooks,) = pytest_told.read_text().splitlines()
    assert "--nbval" in notebooks and "01_works.ipynb" in notebooks and "02" not in notebooks
    pytest_told.unlink()
    assert study.main(["--test"]) == 0
    units, notebooks = pytest_told.read_text().splitlines()
    assert units.startswith("tests ") and "--nbval" in notebooks
    assert all(name in notebooks for name in ("01_works", "02_fails", "A1_asks"))


def test_a_home_that_cannot_be_written_is_no_output_of_a_notebook(pytest_told):
    env = {key: v for key, v in os.environ.items() if key not in ("MPLCONFIGDIR", "XDG_CACHE_HOME")}
    env |= {"HOME": "/dev/null", "XDG_CONFIG_HOME": "/dev/null"}
    words = [sys.executable, "-m", "birdnb.study", "--test", "--only", "01"]
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert pytest_told.read_text().endswith(" True\n"), done.stderr


def test_blessing_rewrites_the_notebooks_and_the_committed_example(place):
    """What the notebooks write into the demo's report is copied, but for what is not committed."""
    write = """from pathlib import Path
import os
report = Path(os.environ["BIRDNB_REPORTS"]) / "demo-laptop"
for name in ("metrics.json", "PHASE3_RESULTS.html", "figures/a.png", "notebooks/b.ipynb"):
    (report / name).parent.mkdir(parents=True, exist_ok=True)
    _ = (report / name).write_text("new")
print("written")"""
    book = place / "notebooks" / "01_works.ipynb"
    cells = nbformat.read(book, 4)
    cells.cells[-1].source = write
    nbformat.write(cells, book)
    own = place / "reports" / "demo-laptop" / "metrics.json"
    own.parent.mkdir(parents=True)
    own.write_text("one's own")
    example = place / "reports" / "example"
    example.mkdir()
    (example / "old.png").touch()
    assert study.main(["--bless", "--only", "01"]) == 0
    assert files(example) == {"metrics.json", "figures/a.png", "old.png"}
    assert own.read_text() == "one's own"
    assert json.loads(book.read_text())["cells"][-1]["outputs"][0]["text"] == ["written\n"]
    (place / "notebooks" / "02_fails.ipynb").rename(
        appendix := place / "notebooks" / "A1_asks.ipynb"
    )
    write_book(appendix, "print('asked')")
    assert study.main(["--bless"]) == 0  # all of them: what none of them writes is gone
    assert files(example) == {"metrics.json", "figures/a.png"}
    assert "asked" in json.loads(appendix.read_text())["cells"][-1]["outputs"][0]["text"][0]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def git(*words: str, cwd: Path) -> str:
    done = subprocess.run(["git", *words], cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this copy is no checkout of git")
def test_a_study_leaves_the_checkout_clean(tmp_path):
    """A run and a report as the demo's, at their usual places, in a clone of the last commit."""
    clone = tmp_path / "clone"
    git("clone", "-q", "--shared", str(ROOT), str(clone), cwd=tmp_path)
    house = {key: v for key, v in os.environ.items() if not key.startswith("BIRDNB_")}
    env = house | {"PYTHONPATH": f"{clone}{os.pathsep}{ROOT / 'tests'}"}
    done = subprocess.run(
        [sys.executable, "-c", WRITES], cwd=clone, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    report = clone / "reports" / "demo-laptop"
    assert done.stdout.splitlines()[-1] == str(report)
    assert (report / "figures" / "progression.png").exists()
    assert (clone / "artifacts/runs/demo-laptop/phase3_ast_full/metrics.json").exists()
    assert git("status", "--porcelain", cwd=clone) == ""
    assert git("ls-files", "reports/example/metrics.json", cwd=clone)  # the example is committed
