"""The manifest as a table: its columns, checking every row, and who is to be credited."""

import os
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath

import pandas as pd

from birdnb.corpora.labels import is_stated, label_fault, label_key, one_spelling
from birdnb.corpora.paths import CorpusFiles
from birdnb.corpora.sniff import is_audio
from birdnb.corpora.walking import CLOSED, files_under, folders_not_read
from birdnb.files import BirdnbError, name_fault, safe_name

REQUIRED = ["recording_id", "path", "species"]
COLUMNS = [
    *REQUIRED, "common_name", "recordist", "date", "time", "locality", "latitude", "longitude",
    "license", "url", "quality", "equipment", "background_species",
]  # fmt: skip
MEASURED = ["latitude", "longitude"]  # [degrees]; -9 is a number, and no way to say nothing
DECIMAL_COMMA = re.compile(r"^\s*([+-]?\d+),(\d+)\s*$")  # 47,1 of a German table
UNLISTED = "not in the table"
LEFT_OUT = ["recording_id", "path", "species", "reason"]
CC_ADDRESS = re.compile(r"creativecommons\.org/(?:licenses|publicdomain)/([a-z-]+)/(\d\.\d)", re.I)
CC_NAME = re.compile(r"Creative Commons[\s:,-]*([a-z\s-]+?)\s*(\d\.\d)?", re.I)
CC_WORDS = {"attribution": "BY", r"non\W?commercial": "NC", r"no\W?deriv": "ND",
            r"share\W?alike": "SA"}  # fmt: skip
UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]|^[.\s-]|[.\s]$')


def check_manifest(table: pd.DataFrame, root: Path | str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Sort a table's rows into a manifest that can be trusted and rows left out, with reasons.

    A row of the manifest has an id of its own that is safe as a file name, a label that names a
    species, and a file that exists inside ``root`` (symbolic links followed). Labels that differ by
    what cannot be seen or by capitals become one; paths are those of the files found. Unknown
    columns are dropped; optional ones that are missing or state nothing (``nan``, ``unknown``)
    become "". The second table has the columns recording_id, path, species, reason. Raises
    BirdnbError when a required column is missing.
    """
    missing = [name for name in REQUIRED if name not in table.columns]
    if missing:
        raise BirdnbError(
            f"the table of {root} has no column {missing[0]!r}: it needs {', '.join(REQUIRED)}"
        )
    table = _as_stated(table)
    known = {label_key(label) for label in table["species"].unique()}
    faults = {label: label_fault(label, known) for label in table["species"].unique()}
    found = list(map(CorpusFiles(root).find, table["path"]))
    table["path"] = [path for path, _, _ in found]
    reasons = [
        id_fault(recording_id) or faults[species] or fault
        for recording_id, species, (_, _, fault) in zip(
            table["recording_id"], table["species"], found, strict=True
        )
    ]
    reasons = _repeats(table, reasons, [real for _, real, _ in found])
    refused = pd.Series([bool(reason) for reason in reasons], dtype=bool)
    left_out = table.loc[refused, REQUIRED].assign(reason=[reason for reason in reasons if reason])
    return table[~refused].reset_index(drop=True), left_out[LEFT_OUT].reset_index(drop=True)


def _as_stated(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of a manifest as text; each species is spelt in one way."""
    table = table.reindex(columns=COLUMNS, fill_value="").fillna("").astype(str)
    for name in COLUMNS:
        if name != "path":
            table[name] = table[name].str.strip()
        if name in MEASURED:
            table[name] = table[name].str.replace(DECIMAL_COMMA, r"\1.\2", regex=True)
            table[name] = table[name].where(pd.to_numeric(table[name], "coerce").notna(), "")
        elif name not in REQUIRED:
            stated = {text for text in table[name].unique() if is_stated(text)}
            table[name] = table[name].where(table[name].isin(stated), "")
    table["species"] = one_spelling(table["species"])
    return table.reset_index(drop=True)


def make_ids(paths: Sequence[str]) -> list[str]:
    """Make a recording id of each file name: its stem, and digits of a hash where stems collide."""
    stems = [safe_name(PurePosixPath(path).stem) for path in paths]
    counts = pd.Series([stem.casefold() for stem in stems], dtype=object).value_counts()
    return [
        stem
        if counts[stem.casefold()] == 1 and stem != "unnamed"
        else f"{stem[:100]}-{sha256(path.encode()).hexdigest()[:8]}"
        for stem, path in zip(stems, paths, strict=True)
    ]


def audio_files(folder: Path, root: Path) -> list[str]:
    """List the audio files under ``folder``, any depth, as sorted paths relative to ``root``.

    Links to folders are not followed. Those whose name is not UTF-8 cannot stand in a table and are
    missing here; ``unlisted`` reports them.
    """
    return [path for path in _audio_files(folder, root) if not name_fault(path)]


def misnamed(path: str) -> tuple[str, str, str, str]:
    """Return the row of a file whose name is not UTF-8, with marks for bytes that are no text."""
    shown = os.fsencode(path).decode(errors="replace")
    return "", shown, "", name_fault(path)


def left_out_rows(rows: Iterable[tuple[str, str, str, str]]) -> pd.DataFrame:
    """Return the table of (recording_id, path, species, reason) rows."""
    return pd.DataFrame(list(rows), columns=LEFT_OUT, dtype=str)


def unlisted(table: pd.DataFrame, folder: Path, root: Path) -> pd.DataFrame:
    """Return rows for audio under ``folder`` that no row of ``table`` names, and closed folders."""
    listed = set(map(posixpath.normpath, table["path"])) if "path" in table.columns else set()
    files = [
        ("", path, "", UNLISTED) if not name_fault(path) else misnamed(path)
        for path in _audio_files(folder, root)
        if path not in listed
    ]
    return left_out_rows(
        files
        + [
            ("", path, "", CLOSED)
            for path, reason in folders_not_read(folder, root).items()
            if reason == CLOSED and not name_fault(path)
        ]
    )


def attribution(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return whom to credit: recording_id, species, recordist, license, url of every recording."""
    return manifest[["recording_id", "species", "recordist", "license", "url"]].reset_index(
        drop=True
    )


def credit(recordings: pd.DataFrame) -> str:
    """Write whom to credit for these recordings, by licence: ``A. Bird (XC1, XC2): CC BY 4.0``.

    ``recordings`` has recording_id as its index. Empty where neither recordist nor licence is
    known of any.
    """
    stated = recordings[["recordist", "license"]].fillna("").astype(str)
    if not stated.any(axis=None) or (stated == "").all(axis=None):
        return ""
    stated["license"] = stated["license"].map(short_license).replace("", "licence not stated")
    stated["recordist"] = stated["recordist"].replace("", "recordist not stated")
    parts = []
    for name, those in stated.groupby("license", sort=False):
        people = those.groupby("recordist", sort=False).groups.items()
        who = (f"{person} ({', '.join(dict.fromkeys(ids))})" for person, ids in people)
        parts.append(f"{', '.join(who)}: {name}")
    return "Recorded by " + "; ".join(parts)


def short_license(text: str) -> str:
    """Shorten a Creative Commons licence, named or linked, to ``CC BY-NC-SA 4.0``."""
    if found := CC_ADDRESS.search(text):
        kind = "CC0" if found[1] == "zero" else f"CC {found[1].upper()}"
        return f"{kind} {found[2]}"
    if found := CC_NAME.fullmatch(text.strip()):
        short = [code for word, code in CC_WORDS.items() if re.search(word, found[1], re.I)]
        return " ".join(filter(None, ["CC", "-".join(short), found[2]])) if short else text
    return text


def license_counts(manifest: pd.DataFrame) -> pd.DataFrame:
    """Count the licences: license, recordings, no_derivatives and non_commercial (bool)."""
    names = manifest["license"].str.strip().replace("", "not stated")
    counts = names.value_counts().rename_axis("license").reset_index(name="recordings")
    counts = counts.sort_values(
        ["recordings", "license"], ascending=[False, True], ignore_index=True
    )
    counts["no_derivatives"] = counts["license"].str.contains(
        r"no\W?deriv|(?:by|nc)\W+nd\b", case=False, regex=True
    )
    counts["non_commercial"] = counts["license"].str.contains(
        r"non\W?commercial|\bby\W+nc\b", case=False, regex=True
    )
    return counts


def _audio_files(folder: Path, root: Path) -> list[str]:
    return [path for path in files_under(folder, root) if is_audio(f"{root}/{path}")]


def id_fault(recording_id: str) -> str:
    """Say why a recording_id cannot be a file name; "" when it can."""
    if not recording_id:
        return "recording_id is empty"
    printable = recording_id.isprintable() and len(recording_id.encode()) <= 200
    if UNSAFE.search(recording_id) or not printable:
        return f"recording_id {recording_id[:60]!r} is not safe as a file name"
    return ""


def _repeats(table: pd.DataFrame, reasons: list[str], real: list[str]) -> list[str]:
    """Add reasons for ids (in any capitals) and files that come twice: the first may stay."""
    reasons = list(reasons)
    good = [row for row, reason in enumerate(reasons) if not reason]
    ids, species = table["recording_id"].tolist(), table["species"].tolist()
    labels: dict[str, set[str]] = {}
    for row in good:
        labels.setdefault(real[row], set()).add(species[row])
    seen_ids: dict[str, str] = {}
    seen_files: dict[str, str] = {}
    for row in good:
        recording_id, names = ids[row], sorted(labels[real[row]])
        key = unicodedata.normalize("NFKC", recording_id).casefold()
        if len(names) > 1:
            reasons[row] = f"label conflict: the same file is listed as {' and as '.join(names)}"
        elif key in seen_ids:
            reasons[row] = f"recording_id is used already (as {seen_ids[key]!r})"
        elif real[row] in seen_files:
            reasons[row] = f"the same file is listed already (as {seen_files[real[row]]!r})"
        else:
            seen_ids[key], seen_files[real[row]] = recording_id, recording_id
    return reasons
