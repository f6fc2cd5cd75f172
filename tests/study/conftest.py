"""Small notebooks in place of the seven."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

PARAMETERS = """corpus = 'demo'
profile = 'laptop'
seed = 7
folds = 0
epochs = None
pretrained = None
encoders = None
noise = True"""


def write_book(path: Path, code: str) -> None:
    """Write a notebook with a heading, the cell of parameters and one cell of code."""
    book = nbformat.v4.new_notebook()
    book.metadata["kernelspec"] = {
        "name": "python3", "display_name": "Python 3", "language": "python",
    }  # fmt: skip
    heading = nbformat.v4.new_markdown_cell(f"# {path.stem}\n\nA question?")
    parameters = nbformat.v4.new_code_cell(PARAMETERS)
    parameters.metadata["tags"] = ["parameters"]
    book.cells = [heading, parameters, nbformat.v4.new_code_cell(code)]
    path.parent.mkdir(exist_ok=True)
    nbformat.write(book, path)


@pytest.fixture
def place(request, tmp_path, monkeypatch):
    """A folder of any name with two notebooks: 01 prints and 02 fails on purpose.

    It holds reports and artifacts, too.
    """
    place = tmp_path / getattr(request, "param", "place")
    monkeypatch.setenv("BIRDNB_REPORTS", str(place / "reports"))
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(place / "artifacts"))
    monkeypatch.setenv("BIRDNB_NOTEBOOKS", str(place / "notebooks"))
    place.mkdir(exist_ok=True)
    write_book(place / "notebooks" / "01_works.ipynb", "print(epochs, noise, pretrained)")
    write_book(place / "notebooks" / "02_fails.ipynb",
               "def pair():\n    return {}['magpie']\npair()")  # fmt: skip
    return place


@pytest.fixture
def report(place):
    """The folder of the results of these notebooks."""
    return place / "reports" / "demo-laptop"
