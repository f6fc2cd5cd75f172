"""Small notebooks in place of the seven."""

from __future__ import annotations

from pathlib import Path

import nbformat

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
