"""Records of Xeno-Canto in files, however a tool has saved them.

Pages as the API sends them, lists or maps of records or of pages, a record a file, a record a line,
or a CSV table with the API's names of columns, those of R's warbleR and suwo, or plain ones.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from birdnb.corpora.reading import read_table, read_text
from birdnb.corpora.xeno_canto.record import text_of
from birdnb.files import BirdnbError

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")
PEEK = 2**16  # [bytes] in which a file of records names their fields
SIGNS = re.compile(rb'"gen"|"numRecordings"')
TABLE_SIGNS = re.compile(  # a number and a name among the columns, in any order
    rb"(?=[^\0]*\b(?:id|nr|key|\w+[_ -](?:id|number))\b)"
    rb"(?=[^\0]*\b(?:gen|genus|species|sci(?:entific)?[_ -]name)\b)",
    re.IGNORECASE,
)
DEPTH = 4  # of lists and maps around a record
XC_NUMBER = re.compile(r"(?:xc[-_ ]?)?(\d+)(?:\.0)?", re.IGNORECASE)  # a table may say 123.0
IN_NAMES = [  # where the name of a file has the number, the surest first
    re.compile(r"(?<![a-z])xc[-_ ]?(\d+)", re.IGNORECASE),  # XC123.mp3, "Turdus merula XC123 - A"
    re.compile(r"(\d+)"),  # 123.mp3, "123 Common Blackbird.mp3"
    re.compile(r".*\D(\d+)$"),  # Turdus-merula-123.mp3
]
XC_COLUMNS = ["xc_id", "xc_number", "catalogue_number"]  # nobody else calls theirs so
WHOLE_NAMES = ["scientific_name", "sci_name", "species"]
COLUMNS = {  # field of the API -> names of the column in tables, as read_table spells them
    "id": [*XC_COLUMNS, "id", "nr", "recording_id", "key"],
    "gen": ["gen", "genus"],
    "sp": ["sp", "specific_epithet", "epithet", "species"],
    "en": ["en", "english_name", "common_name"],
    "rec": ["rec", "recordist", "author", "user_name"],
    "date": ["date"],
    "time": ["time"],
    "loc": ["loc", "locality", "location"],
    "lat": ["lat", "latitude"],
    "lng": ["lng", "lon", "longitude"],
    "lic": ["lic", "license", "licence"],
    "url": ["url"],
    "q": ["q", "quality"],
    "dvc": ["dvc", "device"],
    "mic": ["mic", "microphone"],
    "also": ["also", "other_species", "background_species"],
    "file-name": ["file_name", "filename"],
}


def records_of(path: Path) -> list[dict[str, Any]] | None:
    """Return the records in a file that have a number, under ``id``; None when it holds no such.

    A page of the API that found nothing gives an empty list. Never raises for what a file holds.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(PEEK).replace(b"\0", b"")
        if path.suffix.lower() in (".csv", ".tsv"):
            return (_of_table(path) or None) if TABLE_SIGNS.match(head[:4096]) else None
        if not SIGNS.search(head):
            return None
        value = _parsed(read_text(path))
    except (OSError, ValueError, RecursionError, MemoryError, BirdnbError):
        return None
    page = isinstance(value, dict) and "numRecordings" in value
    if isinstance(value, dict) and not page and not text_of(value, "id", "nr"):
        value = {**value, "id": next(iter(numbers_of(path.name)), "")}  # a record beside its audio
    found = [numbered for record in _inside(value, DEPTH) if (numbered := _numbered(record))]
    return found if found or page else None


def numbers_of(path: str) -> list[str]:
    """Return the numbers that the name of an audio file may say, the likeliest first."""
    stem = os.path.splitext(os.path.basename(path))[0]
    found = [IN_NAMES[0].search(stem), *(pattern.match(stem) for pattern in IN_NAMES[1:])]
    return [match[1] for match in found if match]


def _parsed(text: str) -> Any:
    """Return the value of a JSON text, or those of its lines."""
    try:
        return json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.split("\n") if line.strip()]


def _inside(value: Any, depth: int) -> Iterator[dict[str, Any]]:
    """Return the records in a value: whatever has a genus, and all that a page lists."""
    if isinstance(value, dict) and text_of(value, "gen"):
        yield value
    elif isinstance(value, dict) and isinstance(value.get("recordings"), list):
        yield from (record for record in value["recordings"] if isinstance(record, dict))
    elif isinstance(value, list) and depth:
        for part in value:
            yield from _inside(part, depth - 1)
    elif isinstance(value, dict) and depth:  # numbers as keys, or something around the records
        for key, part in value.items():
            for record in _inside(part, depth - 1):
                yield record if text_of(record, "id", "nr") else {**record, "id": key}


def _numbered(record: dict[str, Any]) -> dict[str, Any] | None:
    """Return the record with its bare number as ``id``."""
    number = XC_NUMBER.fullmatch(text_of(record, "id", "nr"))
    return {**record, "id": number[1]} if number else None


def _of_table(path: Path) -> list[dict[str, Any]]:
    """Return the records of a table; empty when it lacks numbers or names."""
    table = read_table(path)
    names = {
        field: next((name for name in those if name in table.columns), None)
        for field, those in COLUMNS.items()
    }
    whole = next((name for name in WHOLE_NAMES if name in table.columns), None)
    if "repository" in table.columns:  # suwo of R lists several archives
        table = table[table["repository"].str.contains("xeno", case=False)]
    if not names["id"] or "path" in table.columns:
        return []
    sure = names["id"] in XC_COLUMNS or "repository" in table.columns
    sure = sure or table[names["id"]].str.match("(?i)xc").all()
    if not (names["gen"] and names["sp"]) and not (whole and sure):
        return []
    taken = {field: table[name].tolist() for field, name in names.items() if name}
    if not (names["gen"] and names["sp"]):
        halves = [text.partition(" ")[::2] for text in table[str(whole)]]
        taken |= {"gen": [genus for genus, _ in halves], "sp": [rest for _, rest in halves]}
    rows = (dict(zip(taken, values, strict=True)) for values in zip(*taken.values(), strict=True))
    found = [(record, XC_NUMBER.fullmatch(record["id"])) for record in rows]
    return [{**record, "id": number[1]} for record, number in found if number]
