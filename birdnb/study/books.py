"""The notebooks of the study: which there are, what they ask, which parameters they take."""

import difflib
import json
import os
from pathlib import Path
from typing import Any

from birdnb.files import ROOT, BirdnbError, whole_path


def notebooks_dir() -> Path:
    """Return the folder of the notebooks; the variable ``BIRDNB_NOTEBOOKS`` moves it."""
    return whole_path(os.environ.get("BIRDNB_NOTEBOOKS") or ROOT / "notebooks")


def select(only: list[str] | None, appendices: bool = False) -> list[Path]:
    """Return the notebooks of the study in order, or those whose number is asked for.

    The appendices (A1 and on) are no part of the study: they are returned when asked for, by
    number or all together. Raises BirdnbError for a number that is not there.
    """
    books = sorted(notebooks_dir().glob("[0-9A][0-9]_*.ipynb"))
    if not only:
        return [book for book in books if appendices or book.stem[0] != "A"]
    wanted = {_number(name) for name in only}
    known = {book.stem[:2] for book in books}
    if wanted - known:
        raise BirdnbError(
            f"no notebook {sorted(wanted - known)[0]}: choose from {', '.join(sorted(known))}"
        )
    return [book for book in books if book.stem[:2] in wanted]


def _number(name: str) -> str:
    """Return the number of a notebook as it was typed: 4, 04, 04_baseline_training, a1."""
    return name[:2].upper().zfill(2) if name[1:2].isdigit() else name.zfill(2)


def title(book: Path) -> str:
    """Return the question a notebook answers: the first line of text under its heading."""
    cell = "".join(json.loads(book.read_text(encoding="utf-8"))["cells"][0]["source"])
    lines = [line.strip(" *_") for line in cell.splitlines() if not line.startswith("#")]
    return next(filter(None, lines), "")


def known_parameters(book: Path) -> set[str]:
    """Return the names in the cell tagged ``parameters``."""
    import papermill

    from birdnb.study.execution import as_template

    return set(papermill.inspect_notebook(as_template(book)))


def check_parameters(given: dict[str, Any], known: list[str]) -> None:
    """Raise BirdnbError for a name that no notebook knows, and for a value that is wrong for it."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise BirdnbError(
                f"no notebook that was asked for has a parameter {name!r}{hint}; known are "
                f"{', '.join(known)}"
            )
    if given:
        from birdnb.training.options import check_values

        check_values(given)
