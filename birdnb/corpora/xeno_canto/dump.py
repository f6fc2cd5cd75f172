"""Recordings of Xeno-Canto beside their records in JSON or CSV, as tools leave them."""

import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from birdnb.corpora.folders import Source, corpora_inside
from birdnb.corpora.table import COLUMNS, audio_files, left_out_rows, unlisted
from birdnb.corpora.walking import files_under
from birdnb.corpora.xeno_canto.pages import SUFFIXES, numbers_of, records_of
from birdnb.corpora.xeno_canto.record import manifest_row, text_of


def is_dump(root: Path) -> bool:
    """Tell whether records here explain the audio better than its folders would.

    That is half of it; or less, if no more of it lies in folders that may be those of species, and
    no folder is a corpus of its own.
    """
    audio = audio_files(root, root)
    files, matched = _by_number_and_name(audio), set[str]()
    for path in _record_files(root) if audio else ():
        for record in records_of(path) or ():
            matched.update(files.get(record["id"], ()), files.get(_name(record), ()))
        if 2 * len(matched) >= len(audio):
            return True
    in_folders = sum(path.count("/") == 1 and path not in matched for path in audio)
    return 0 < len(matched) >= in_folders and not corpora_inside(root)


def read_dump(root: Path, progress: bool = True) -> Source:
    """Read records of Xeno-Canto, saved as they came, beside audio named after their numbers.

    ::

        my_birds/                        dataset/        left by the package xeno-canto
          page1.json, page2.json           metadata/<query>/page1.json
          audio/XC123.mp3, 124.mp3         audio/BlackTit/123.mp3

    ``records_of`` says what else is read. A recording in several pages counts once. Recordings
    without audio here, and audio that no record names, are reported.
    """
    audio = audio_files(root, root)
    pages = {os.path.relpath(path, root): records_of(path) for path in _record_files(root)}
    records = {record["id"]: record for page in pages.values() for record in page or []}
    files = _files_of(records, audio)
    left = [
        ("", path, "", "not a page of the Xeno-Canto API")
        for path, page in pages.items()
        if page is None and not path.lower().endswith((".csv", ".tsv"))
    ]
    there, named = [], []
    for number, record in records.items():
        row, (file, *others) = manifest_row(record), files.get(number) or [""]
        if file:
            there.append({**row, "path": file})
        else:
            left.append((f"XC{number}", "", row["species"], "no audio of this number here"))
        named += [file, *others]
        reason = f"another file of the recording that is here as {file}"
        left += [(f"XC{number}", other, row["species"], reason) for other in others]
    rest = unlisted(pd.DataFrame({"path": named}, dtype=str), root, root)
    table = pd.DataFrame(there, columns=COLUMNS, dtype=str)
    return Source(root, table, pd.concat([left_out_rows(left), rest], ignore_index=True))


def _by_number_and_name(audio: list[str]) -> dict[str, list[str]]:
    """Audio files by each number their name may say, and by their name in small letters."""
    files: dict[str, list[str]] = {}
    for path in audio:
        for key in {*numbers_of(path), posixpath.basename(path).casefold()}:
            files.setdefault(key, []).append(path)
    return files


def _files_of(records: dict[str, dict[str, Any]], audio: list[str]) -> dict[str, list[str]]:
    """Return each record's audio files by its number; a file belongs to one record."""
    by_name = {_name(record): number for number, record in records.items() if _name(record)}
    files: dict[str, list[str]] = {}
    for path in audio:
        number = next((number for number in numbers_of(path) if number in records), None)
        number = number or by_name.get(posixpath.basename(path).casefold())
        if number:
            files.setdefault(number, []).append(path)
    return files


def _name(record: dict[str, Any]) -> str:
    """Return what the record's file was called when it was uploaded, in small letters."""
    return text_of(record, "file-name").casefold()


def _record_files(root: Path) -> Iterator[Path]:
    """List files that may hold records; the package xeno-canto puts them beside ``audio``."""
    folders = [root]
    beside = root.resolve().parent / "metadata"
    if root.resolve().name == "audio" and beside.is_dir():
        folders.append(beside)
    for folder in folders:
        for path in files_under(folder, folder):
            if path.lower().endswith(SUFFIXES):
                yield folder / path
