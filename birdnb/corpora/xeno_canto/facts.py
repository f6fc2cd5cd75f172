"""What Xeno-Canto knows of recordings that are here under its numbers, in a table beside them.

``python -m birdnb.corpora.xeno_canto --complete my_birds`` writes ``my_birds.xeno-canto.csv``;
``open_corpus("my_birds")`` fills in from it what the corpus does not say itself.
"""

import posixpath
import re
from pathlib import Path

import pandas as pd

from birdnb.corpora.labels import is_stated, label_key
from birdnb.corpora.reading import read_table
from birdnb.corpora.table import COLUMNS, REQUIRED
from birdnb.files import whole_path

SURE = re.compile(r"(?<![a-z])xc[-_ ]?(\d{1,9})(?!\d)", re.IGNORECASE)
# 123456.mp3 and Turdus-merula-123456.mp3 may be numbers of another archive: the species decides
LIKELY = re.compile(r"(?:.*[^\d.,])?([1-9]\d{3,6})")
FILLED = [name for name in COLUMNS if name not in REQUIRED]
UNKNOWN = "Xeno-Canto knows no such number"


def facts_file(folder: Path | str) -> Path:
    """Return where the facts about a folder's recordings are: beside it, never in it."""
    root = whole_path(folder)
    return root.with_name(f"{root.name}.xeno-canto.csv")


def number_in(path: str) -> tuple[str, bool]:
    """Return the number that a file's name may say ("" for none), and whether it is surely one."""
    stem = posixpath.splitext(posixpath.basename(path))[0]
    if found := SURE.search(stem):
        return str(int(found[1])), True
    likely = LIKELY.fullmatch(stem)
    return (likely[1], False) if likely else ("", False)


def with_facts(table: pd.DataFrame, root: Path) -> tuple[pd.DataFrame, list[str]]:
    """Fill in what a table does not state from the facts beside the folder, if there are any.

    Labels stay as they are; sentences say how many rows got something, and where Xeno-Canto names
    another species of the corpus. A number without XC in front counts where the species agree.
    """
    path = facts_file(root)
    if not path.is_file() or "path" not in table:
        return table, []
    facts = read_table(path, ["recording_id", "species"])
    rows = facts.drop_duplicates("recording_id", keep="last").set_index("recording_id")
    keys = [
        _key(name, label, rows) for name, label in zip(table["path"], table["species"], strict=True)
    ]
    found = rows.reindex(keys, fill_value="").set_axis(table.index)
    table, filled = table.copy(), pd.Series(False, index=table.index)
    for name in [name for name in FILLED if name in found]:
        own = table[name].fillna("").astype(str) if name in table else pd.Series("", table.index)
        empty = ~own.map(is_stated) & (found[name] != "")
        table[name] = own.mask(empty, found[name])
        filled |= empty
    said = f"{int(filled.sum()):,} of {len(table):,} recordings were completed from {path.name}."
    return table, [said, *_disagreements(table, found["species"])]


def _key(path: str, label: str, rows: pd.DataFrame) -> str:
    """Return the recording_id of the facts about a file; "" when there are none."""
    number, sure = number_in(path)
    key = f"XC{number}"
    if key not in rows.index:
        return ""
    names = [rows.at[key, name] for name in ("species", "common_name") if name in rows]
    return key if sure or label_key(label) in map(label_key, names) else ""


def _disagreements(table: pd.DataFrame, said: pd.Series) -> list[str]:
    """Name recordings that Xeno-Canto files under another species of the corpus."""
    theirs, ours = said.map(label_key), table["species"].map(label_key)
    other = table[(theirs != ours) & theirs.isin(set(ours))]
    if other.empty:
        return []
    first = other.index[0]
    return [
        f"Xeno-Canto names another species for {len(other):,} recordings: {said[first]!r} for "
        f"{table.at[first, 'path']!r}, which is here as {table.at[first, 'species']!r}, say. Is "
        "the label right?"
    ]
