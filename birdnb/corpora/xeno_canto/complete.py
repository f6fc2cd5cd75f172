"""Ask Xeno-Canto about recordings that are here under its numbers, and write down what it says."""

from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from birdnb.corpora.reading import read_table
from birdnb.corpora.table import audio_files
from birdnb.corpora.xeno_canto.api import XenoCantoApi
from birdnb.corpora.xeno_canto.download import SAVE_EVERY, merge, metadata_row
from birdnb.corpora.xeno_canto.facts import UNKNOWN, facts_file, number_in
from birdnb.corpora.xeno_canto.record import text_of
from birdnb.files import BirdnbError

PER_PAGE = 50  # the least that the API takes


def complete(api: XenoCantoApi, folder: Path) -> pd.DataFrame:
    """Ask for every number in the names of a folder's audio files; return all that is known now.

    The table beside the folder (``facts_file``) is written every few answers and at the end,
    whatever ends it; numbers that are in it are not asked for again. A number that Xeno-Canto does
    not know stands there with a note: delete its row to ask once more. Raises BirdnbError when no
    name holds a number, and when the API refuses or does not answer.
    """
    path, numbers = facts_file(folder), numbers_under(folder)
    if not numbers:
        raise BirdnbError(
            f"no audio file under {folder} is named after a number of Xeno-Canto, such as XC123.mp3"
        )
    known = _known(path)
    rows: list[dict[str, str]] = []
    try:
        for number in tqdm([n for n in numbers if f"XC{n}" not in known], "numbers", disable=None):
            rows.append(_row(api, number))
            if len(rows) >= SAVE_EVERY:
                merge(path, rows)
                rows = []
    finally:
        table = merge(path, rows) if rows or path.is_file() else pd.DataFrame()
    return table[table["recording_id"].isin({f"XC{number}" for number in numbers})]


def numbers_under(folder: Path) -> list[str]:
    """Return the numbers in the names of a folder's audio files, each once, the lowest first."""
    found = {number_in(path)[0] for path in audio_files(folder, folder)} - {""}
    return sorted(found, key=int)


def _known(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    table = read_table(path)
    if "recording_id" not in table:
        raise BirdnbError(f"{path} was not written by this command: move it away")
    return set(table["recording_id"])


def _row(api: XenoCantoApi, number: str) -> dict[str, str]:
    """Return what the API says of a number, or that it knows none such."""
    records = api.page(f"nr:{number}", 1, PER_PAGE).get("recordings") or []
    record: dict[str, Any] = next(
        (r for r in records if isinstance(r, dict) and text_of(r, "id", "nr") == number), {}
    )
    row = metadata_row({**record, "id": number}) | {"note": "" if record else UNKNOWN}
    return {name: api.redact(text) for name, text in row.items()}
