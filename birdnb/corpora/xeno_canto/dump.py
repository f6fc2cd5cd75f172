"""Xeno-Canto's records: what the fields of API version 2 and 3 mean, and JSON pages beside audio
files as a corpus.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from birdnb.corpora.folders import Source
from birdnb.corpora.table import COLUMNS, audio_files, left_out_rows, unlisted

NUMBERED = re.compile(
    r"(?:xc)?(\d+)(?!\d)", re.IGNORECASE
)  # XC123.mp3, 123.mp3, "XC123 - Common Chaffinch.mp3"


def is_dump(root: Path) -> bool:
    """Tell whether the folder (or one in it) has a JSON page of the API, and audio."""
    return any(_records(path) is not None for path in _json_files(root)) and bool(
        audio_files(root, root)
    )


def read_dump(root: Path, progress: bool = True) -> Source:
    """Read pages of the Xeno-Canto API, saved as they came, beside audio named after the
    recording's number.

    ::

        my_birds/
          page1.json, page2.json     {"numRecordings": "2", "page": 1, "numPages": 2, "recordings":
          [{"id": "123", ...}]} audio/XC123.mp3, 124.mp3   (any folder)

    A recording in several pages counts once. Recordings without audio here, and audio that no page
    lists, are reported.
    """
    files = {_number(path): path for path in reversed(audio_files(root, root)) if _number(path)}
    pages = {path.relative_to(root).as_posix(): _records(path) for path in _json_files(root)}
    rows = {
        row["recording_id"]: row for page in pages.values() for row in map(manifest_row, page or [])
    }
    left = [
        ("", path, "", "not a page of the Xeno-Canto API")
        for path, page in pages.items()
        if page is None
    ]
    left += [
        (rid, "", row["species"], "no audio of this number here")
        for rid, row in rows.items()
        if rid[2:] not in files
    ]
    there = [{**row, "path": files[rid[2:]]} for rid, row in rows.items() if rid[2:] in files]
    table = pd.DataFrame(there, columns=COLUMNS, dtype=str)
    return Source(
        root,
        table,
        pd.concat([left_out_rows(left), unlisted(table, root, root)], ignore_index=True),
    )


def manifest_row(record: dict[str, Any]) -> dict[str, str]:
    """Manifest columns of one record (path left empty); missing and null fields become "", numbers
    text.

    ``species`` is genus and epithet, ``locality`` the named one or else the coordinates,
    ``background_species`` is joined by semicolons.
    """
    latitude, longitude = text_of(record, "lat"), text_of(record, "lon", "lng")
    also = record.get("also")
    return {
        "recording_id": f"XC{text_of(record, 'id', 'nr')}",
        "path": "",
        "species": f"{text_of(record, 'gen')} {text_of(record, 'sp')}".strip(),
        "common_name": text_of(record, "en"),
        "recordist": text_of(record, "rec"),
        "date": text_of(record, "date"),
        "locality": text_of(record, "loc")
        or (f"{latitude}, {longitude}" if latitude and longitude else ""),
        "license": with_scheme(text_of(record, "lic")),
        "url": with_scheme(text_of(record, "url")),
        "quality": text_of(record, "q"),
        "background_species": "; ".join(
            str(name).strip() for name in also if name and str(name).strip()
        )
        if isinstance(also, list)
        else text_of(record, "also"),
    }


def text_of(record: dict[str, Any], *names: str) -> str:
    """First field of these names that holds text or a number, as text; "" when none does."""
    for name in names:
        value = record.get(name)
        if (
            isinstance(value, str | int | float)
            and not isinstance(value, bool)
            and str(value).strip()
        ):
            return re.sub(r"\s+", " ", str(value)).strip()
    return ""


def seconds_of(length: str) -> float | None:
    """Length in seconds of "1:02:03", "0:45" or "45"; None when it is not known."""
    if not re.fullmatch(r"\d+(:\d+){0,2}(\.\d+)?", length):
        return None
    total = 0.0
    for part in length.split(":"):
        total = total * 60 + float(part)
    return total


def with_scheme(address: str) -> str:
    """Web address with https in front where it began with ``//``."""
    return "https:" + address if address.startswith("//") else address


def _json_files(root: Path) -> Iterable[Path]:
    return sorted([*root.glob("*.json"), *root.glob("*/*.json")])


def _records(path: Path) -> list[dict[str, Any]] | None:
    """The recordings of a page that have a number; None when the file is something else."""
    try:
        page = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):  # a folder or a dead link, no text, no JSON
        return None
    if not isinstance(page, dict) or not isinstance(page.get("recordings"), list):
        return None
    numbered = [
        r for r in page["recordings"] if isinstance(r, dict) and text_of(r, "id", "nr").isdigit()
    ]
    return numbered if numbered or "numRecordings" in page else None


def _number(path: str) -> str:
    match = NUMBERED.match(PurePosixPath(path).stem)
    return match[1] if match else ""
