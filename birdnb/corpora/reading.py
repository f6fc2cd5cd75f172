"""Tables and texts from outside, as spreadsheets, R and old machines write them, read as text.

What cannot be read with certainty is refused: the error names the file, the line and the remedy.
"""

import codecs
import csv
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

import pandas as pd

from birdnb.corpora.sniff import AUDIO_SUFFIXES
from birdnb.files import BirdnbError

SEPARATORS = ",;\t|"
SEP_LINE = re.compile(r'"?sep=(.)"?[,;\t| ]*', re.IGNORECASE)  # Excel's note to itself
TITLE = 10  # lines above the header in which a sheet may have its title
SAVE = "save it as CSV UTF-8 (comma delimited)"
FOREIGN = {  # how a file begins -> what it is and what to do
    b"PK\x03\x04": f"is a workbook of Excel or another archive, not CSV: open it and {SAVE}",
    b"\xd0\xcf\x11\xe0": f"is a workbook of Excel, not CSV: open it and {SAVE}",
    b"\x1f\x8b": "is compressed: unpack it first",
    b"PAR1": "is a parquet file, not CSV: give it the suffix .parquet",
    b"SQLite format 3": "is a database, not CSV: export the table",
    b"%PDF": "is a PDF, not CSV: export the table",
    b"version https://git-lfs": "is a pointer of Git LFS, not the table: run `git lfs pull`",
}
MARKS = {  # byte order marks, the longer first: that of UTF-32 begins like that of UTF-16
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_table(path: Path | str, needs: Sequence[str] = ()) -> pd.DataFrame:
    """Read a CSV table as text: ``NA`` and ``007`` stay what they are, missing = "".

    UTF-8 or UTF-16; separated by commas, semicolons, tabs or pipes (``sep=;`` decides); lines
    that begin with # are comments, empty rows and columns without a name do not count. Names of
    columns are lower case, words joined by ``_``; blanks around a field and line breaks in it are
    no part of it. Raises BirdnbError when the file is no such table or lacks a column of ``needs``.
    """
    lines = read_text(path).split("\n")
    begin, separator = _preamble(lines, needs)
    if begin == len(lines):
        raise BirdnbError(
            f"{path} is empty: it needs a header line"
            + (f" with at least {', '.join(needs)}" if needs else "")
        )
    if (first := lines[begin].lstrip()[:1]) and first in "<{[":
        kind = "a web page or XML" if first == "<" else "JSON"
        raise BirdnbError(f"{path} is not a CSV table but {kind}: download the table itself")
    if not separator or separator not in lines[begin]:
        separator = _separator(lines[begin], needs)
    rows = _rows(path, lines, begin, separator)
    number, header = next(rows)
    names = _header(path, number, header, needs)
    found = _fitted(path, list(rows), len(names))
    table = pd.DataFrame(found, columns=range(len(names)), dtype=str)
    named = [place for place, name in enumerate(names) if name]
    return table[named].set_axis([names[place] for place in named], axis=1)


def read_text(path: Path | str) -> str:
    r"""Read a text in UTF-8 or UTF-16, marked or not, every kind of line end as ``\n``.

    Raises BirdnbError when the file is missing, no text, or in another encoding.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError as error:
        raise BirdnbError(f"{path} is missing") from error
    except OSError as error:
        raise BirdnbError(f"{path} cannot be read: {error.strerror}") from error
    for mark, what in FOREIGN.items():
        if data.startswith(mark):
            raise BirdnbError(f"{path} {what}")
    text = _decoded(path, data).replace("\r\n", "\n").replace("\r", "\n").rstrip("\x1a")
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise BirdnbError(f"{path}, line {line} holds a NUL byte: delete it, or {SAVE}")
    return text


def _decoded(path: Path | str, data: bytes) -> str:
    encoding = next((MARKS[mark] for mark in MARKS if data.startswith(mark)), "utf-8")
    half = len(data[:4096]) // 2
    for first, unmarked in ((1, "utf-16-le"), (0, "utf-16-be")):
        if encoding == "utf-8" and half and data[:4096][first::2].count(0) > 0.6 * half:
            encoding = unmarked
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if not encoding.startswith("utf-8"):
            raise BirdnbError(f"{path} is damaged UTF-16: {SAVE}") from error
        before = re.split(rb"\r\n?|\n", data[: error.start])
        rest = re.split(rb"[\r\n]", data[error.start : error.start + 20])[0]
        near = (before[-1][-20:] + rest).decode("cp1252", errors="replace")
        raise BirdnbError(
            f"{path}, line {len(before)} is not UTF-8: save it as CSV UTF-8; or, if {near!r} is "
            f"what it says, convert it from Windows-1252 with `iconv -f CP1252 -t UTF-8`"
        ) from error


def _preamble(lines: list[str], needs: Sequence[str]) -> tuple[int, str]:
    """Find the header line, past blank lines, comments and ``sep=``; return what that said, too."""
    separator = ""
    for place, line in enumerate(lines):
        marked = SEP_LINE.fullmatch(line.strip("\ufeff\r"))
        if marked:
            separator = marked[1]
        elif line.strip(f" \ufeff\"'{SEPARATORS}") and not _is_comment(line, needs):
            near = range(place, min(place + TITLE, len(lines)))
            whole = [n for n in near if needs and set(needs) <= _words(lines[n])]
            return (whole[0] if whole else place), separator
    return len(lines), separator


def _is_comment(line: str, needs: Sequence[str] = ()) -> bool:
    """Tell whether a line begins with #, and is not the header itself marked so."""
    return line.lstrip().startswith("#") and not _words(line) & set(needs)


def _words(line: str) -> set[str]:
    """Return the names that a header line may hold, whatever separates them."""
    return {_plain(word) for word in re.split(f"[{SEPARATORS}]", line)}


def _separator(header: str, needs: Sequence[str]) -> str:
    """Choose the separator that parts the header line into most names, those needed first."""
    bare = re.sub(r'"[^"]*"', "x", header)

    def names(separator: str) -> tuple[int, int]:
        """Count how many names it makes: needed ones, all."""
        parts = [_plain(part) for part in header.split(separator)]
        return len(set(parts) & set(needs)), bare.count(separator)

    return max(SEPARATORS, key=names)


def _rows(
    path: Path | str, lines: list[str], begin: int, separator: str
) -> Iterator[tuple[int, list[str]]]:
    """Give the rows from the header on that are not empty, each with its first line's number."""
    first = last = begin  # of the row that is being read, in lines
    fresh = True  # the next line begins a row

    def feed() -> Iterator[str]:
        """Give the lines one by one, and note where each row begins."""
        nonlocal first, last, fresh
        for last in range(begin, len(lines)):
            if fresh and last > begin and not hashed and lines[last].lstrip().startswith("#"):
                continue
            if fresh:
                first, fresh = last, False
            yield lines[last] + "\n"

    below = [line for line in lines[begin + 1 :] if line.strip()]
    one = separator not in lines[begin]  # column
    # ids, no comments
    hashed = all(line.lstrip()[0] == "#" and (one or separator in line) for line in below)
    reader = csv.reader(feed(), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        for row in reader:
            broken = [field for field in row if "\n" in field] if last > first else []
            parts = [part for field in broken for part in re.split(r"[\n,;\t|]", field)]
            if any(map(_names_audio, parts)):
                raise csv.Error("whole rows inside a field")
            fields = [" ".join(f.split()) if f in broken else f.strip() for f in row]
            if any(fields):
                yield first + 1, fields
            fresh = True
    except csv.Error as error:
        raise BirdnbError(
            f"{path}, line {first + 1} is not CSV: a quote is opened and not closed, or text "
            f'follows it; delete the quote, or write "" for a quote inside a field'
        ) from error


def _header(path: Path | str, number: int, header: list[str], needs: Sequence[str]) -> list[str]:
    """Return the names of the columns; raise BirdnbError for one that is missing or there twice."""
    if any(map(_names_audio, header)):
        raise BirdnbError(
            f"{path} has no header line: line {number} is a row already; put the names of the "
            f"columns above it" + (f", at least {', '.join(needs)}" if needs else "")
        )
    names = [_plain(name) for name in header]
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise BirdnbError(f"{path}, line {number} has two columns called {twice[0]!r}: delete one")
    missing = [name for name in needs if name not in names]
    if missing:
        there = ", ".join(filter(None, names)) or "none"
        raise BirdnbError(
            f"{path} has no column {missing[0]!r}: it needs {', '.join(needs)}, and line "
            f"{number} names {there[:200]}; rename the column, or the file if it is not yours"
        )
    return names


def _plain(name: str) -> str:
    """Name of a column in lower case, its words joined by ``_``: "Recording ID", "recording-id"."""
    text = unicodedata.normalize("NFKC", name).replace("\ufeff", "").strip(" \t\"'#")
    return re.sub(r"[\s.-]+", "_", text).casefold()


def _names_audio(text: str) -> bool:
    return PurePath(text).suffix.lower() in AUDIO_SUFFIXES


def _fitted(path: Path | str, rows: list[tuple[int, list[str]]], width: int) -> list[list[str]]:
    """Fit rows to the header's width: short ones filled, empty fields beyond it cut off."""
    long = [(number, row) for number, row in rows if any(row[width:])]
    numbers = [row[0] for _, row in rows]
    if len(long) == len(rows) and numbers == [str(n) for n in range(1, len(rows) + 1)]:
        rows = [(number, row[1:]) for number, row in rows]
        long = [(number, row) for number, row in rows if any(row[width:])]
    if long:
        number, row = long[0]
        raise BirdnbError(
            f"{path}, line {number} is not CSV: it has {len(row)} fields, the header {width}; put "
            f"quotes around a field that holds a separator"
        )
    return [(row + [""] * width)[:width] for _, row in rows]
