"""Small notebooks in place of the seven."""

from __future__ import annotations

import pytest
from small_notebooks import write_book


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
