"""The regression lane: compare the committed notebooks with what they give now, or rewrite them."""

import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from birdnb.files import ROOT
from birdnb.study.books import notebooks_dir, select
from birdnb.study.execution import execute
from birdnb.study.run import study_folder, write_book

LANE = "BIRDNB_FACTS"  # what birdnb.study.facts does with facts: record, compare, or only show
OWN = shutil.ignore_patterns("notebooks", "logs", "*.html")  # what of a report is not committed


def test(books: list[Path], units: bool = True) -> int:
    """Run the unit tests if wanted, then nbval in full mode from nothing; 0: all is as it was."""
    from birdnb.study.kernel import forking

    status = 0
    if units:
        command = [sys.executable, "-m", "pytest", "tests", "--numprocesses", "auto",
                   "--dist", "loadfile"]  # fmt: skip
        environment = os.environ | {"OMP_NUM_THREADS": "1"}  # a core for each process
        status = subprocess.call(command, cwd=ROOT, env=environment)
    # matplotlib makes its caches here: a notebook that has to would say so among its outputs
    importlib.import_module("matplotlib.font_manager")
    with tempfile.TemporaryDirectory(prefix="birdnb-") as scratch:
        environment = os.environ | _places(scratch)
        environment |= {"BIRDNB_HEADLESS": "1", "TQDM_DISABLE": "1", LANE: "compare"} | forking()
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--nbval",
                   "--nbval-current-env", "--nbval-cell-timeout", "1200",
                   *(os.path.relpath(book, ROOT) for book in books)]  # fmt: skip
        return subprocess.call(command, cwd=ROOT, env=environment) or status


def bless(books: list[Path]) -> int:
    """Execute the committed notebooks with their defaults and rewrite them, outputs and all.

    They start from nothing, in scratch folders, as in ``test``. The report that they write becomes
    the committed example. Returns 1 at the first that fails.
    """
    with tempfile.TemporaryDirectory(prefix="birdnb-") as scratch:
        environment = {"TQDM_DISABLE": "1", LANE: "record"} | _places(scratch)
        for book in books:
            target = Path(scratch) / book.name
            error = execute(book, target, {}, Path(scratch) / "log", environment)
            if error:
                print(f"{book.stem}: {error}", file=sys.stderr)
                return 1
            write_book(book, json.loads(target.read_text(encoding="utf-8")))
            print(f"{book.stem} blessed")
        # the demo's report, committed beside the notebooks
        example = notebooks_dir().parent / "reports" / "example"
        report = Path(scratch) / "reports" / study_folder("demo", "laptop").name
        if set(books) >= set(select(None)):
            shutil.rmtree(example, ignore_errors=True)  # figures that none of them draws any more
        if report.exists():
            shutil.copytree(report, example, ignore=OWN, dirs_exist_ok=True)
    return 0


def _places(scratch: str) -> dict[str, str]:
    """Return the variables that move artifacts, reports and IPython into a scratch folder."""
    return {"BIRDNB_ARTIFACTS": f"{scratch}/artifacts", "BIRDNB_REPORTS": f"{scratch}/reports",
            "IPYTHONDIR": f"{scratch}/ipython"}  # fmt: skip
