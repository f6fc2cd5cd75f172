"""The manifest as a table: its columns, checking every row, and who is to be credited."""

from __future__ import annotations

import os
import posixpath
import re
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath, PureWindowsPath

import pandas as pd

from birdnb.corpora.sniff import is_audio
from birdnb.corpora.walking import files_under
from birdnb.files import BirdnbError, safe_name

REQUIRED = ["recording_id", "path", "species"]
COLUMNS = [
    *REQUIRED,
    "common_name",
    "recordist",
    "date",
    "locality",
    "license",
    "url",
    "quality",
    "background_species",
]
LEFT_OUT = ["recording_id", "path", "species", "reason"]
NO_SPECIES = frozenset(
    ["mystery", "mystery mystery", "identity unknown", "unknown", "unidentified", "sonus naturalis"]
)
UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]|^[.\s-]|[.\s]$')


def check_manifest(table: pd.DataFrame, root: Path | str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Sort the rows of a table into a manifest that can be trusted and the rows left out, each with
    its reason.

    A row of the manifest has an id of its own that is safe as a file name, a label that names a
    species, and a file that exists inside ``root`` (symbolic links followed). Unknown columns are
    dropped, missing optional ones become "". The second table has the columns recording_id, path,
    species, reason. Raises BirdnbError when a required column is missing.
    """
    missing = [name for name in REQUIRED if name not in table.columns]
    if missing:
        raise BirdnbError(
            f"the table of {root} has no column {missing[0]!r}: it needs {', '.join(REQUIRED)}"
        )
    table = (
        table.reindex(columns=COLUMNS, fill_value="").fillna("").astype(str).reset_index(drop=True)
    )
    for name in COLUMNS:
        if name != "path":
            table[name] = table[name].str.strip()
    real_root = Path(root).resolve()
    real, reasons = [], []
    folders: dict[str, str] = {}
    for recording_id, path, species in zip(
        *(table[name].tolist() for name in REQUIRED), strict=True
    ):
        file = _ordinary_file(path, real_root, folders)
        reason = (
            _id_fault(recording_id)
            or _label_fault(species)
            or ("" if file else path_fault(path, real_root))
        )
        real.append(file or ("" if reason else str((real_root / path).resolve())))
        reasons.append(reason)
    reasons = _repeats(table, reasons, real)
    refused = pd.Series([bool(reason) for reason in reasons], dtype=bool)
    left_out = table.loc[refused, REQUIRED].assign(reason=[reason for reason in reasons if reason])
    return table[~refused].reset_index(drop=True), left_out[LEFT_OUT].reset_index(drop=True)


def path_fault(path: str, real_root: Path) -> str:
    """Say why ``path`` is no file inside the corpus folder ``real_root`` (already resolved); ""
    when it is one.
    """
    if not path.strip():
        return "the path is empty"
    if PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive:
        return "the path is absolute: it must be relative to the corpus folder"
    if ".." in PurePosixPath(path).parts:
        return "the path leads out of the corpus folder (..)"
    try:
        real = (real_root / path).resolve()
        if not real.is_relative_to(real_root):
            return "a symbolic link that leads out of the corpus folder"
        if real.is_file():
            return ""
        return "the path is a folder, not a file" if real.is_dir() else "the file is missing"
    except (
        OSError,
        ValueError,
        RuntimeError,
    ) as error:  # a name too long, a NUL, a circle of links
        return f"the path cannot be followed: {error}"


def make_ids(paths: Sequence[str]) -> list[str]:
    """Make a recording id of each file name: its stem, plus eight digits of the path's hash where
    stems would collide.
    """
    stems = [safe_name(PurePosixPath(path).stem) for path in paths]
    counts = pd.Series([stem.casefold() for stem in stems], dtype=object).value_counts()
    return [
        stem
        if counts[stem.casefold()] == 1 and stem != "unnamed"
        else f"{stem[:100]}-{sha256(path.encode()).hexdigest()[:8]}"
        for stem, path in zip(stems, paths, strict=True)
    ]


def audio_files(folder: Path, root: Path) -> list[str]:
    """List the audio files under ``folder`` (any depth, links to folders not followed) as sorted
    paths relative to ``root``.

    Those whose name is not UTF-8 cannot stand in a table and are missing here; ``unlisted`` reports
    them.
    """
    return [path for path in _audio_files(folder, root) if is_utf8(path)]


def is_utf8(path: str) -> bool:
    """Tell whether a path from the file system is text; Linux allows any bytes, and old archives
    bring Latin-1.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def misnamed(path: str, species: str = "") -> tuple[str, str, str, str]:
    """Row of a file left out because its name is not UTF-8; the path is shown with a mark for each
    byte that is no text.
    """
    return (
        "",
        os.fsencode(path).decode(errors="replace"),
        species,
        "its name is not UTF-8: rename it",
    )


def left_out_rows(rows: Iterable[tuple[str, str, str, str]]) -> pd.DataFrame:
    """Table of (recording_id, path, species, reason) rows."""
    return pd.DataFrame(list(rows), columns=LEFT_OUT, dtype=str)


def unlisted(table: pd.DataFrame, folder: Path, root: Path) -> pd.DataFrame:
    """Rows for the audio files under ``folder`` that no row of ``table`` names: nothing is passed
    over in silence.
    """
    listed = set(map(posixpath.normpath, table["path"])) if "path" in table.columns else set()
    return left_out_rows(
        ("", path, "", "not in the table") if is_utf8(path) else misnamed(path)
        for path in _audio_files(folder, root)
        if path not in listed
    )


def attribution(manifest: pd.DataFrame) -> pd.DataFrame:
    """Whom to credit: recording_id, species, recordist, license, url of every recording."""
    return manifest[["recording_id", "species", "recordist", "license", "url"]].reset_index(
        drop=True
    )


def license_counts(manifest: pd.DataFrame) -> pd.DataFrame:
    """Count the licences: columns license ("not stated" when empty), recordings, no_derivatives,
    non_commercial (bools).
    """
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


def _id_fault(recording_id: str) -> str:
    if not recording_id:
        return "recording_id is empty"
    if UNSAFE.search(recording_id) or len(recording_id.encode()) > 200:
        return f"recording_id {recording_id[:60]!r} is not safe as a file name"
    return ""


def _label_fault(species: str) -> str:
    if not species:
        return "the species is empty"
    return f"the label {species!r} names no species" if species.casefold() in NO_SPECIES else ""


def _ordinary_file(path: str, real_root: Path, folders: dict[str, str]) -> str:
    """Real path of an ordinary file in the corpus; "" where ``path_fault`` has to look closer:
    links, odd paths, no such file.

    ``folders`` remembers the real paths of folders: each is followed once, not once a file.
    """
    folder, name = posixpath.split(path)
    if name in ("", ".", "..") or ":" in path or "\\" in path:
        return ""
    try:
        if folder not in folders:
            real = (real_root / folder).resolve()
            inside = (
                real.is_relative_to(real_root)
                and not folder.startswith("/")
                and ".." not in folder.split("/")
            )
            folders[folder] = str(real) if inside else ""
        file = f"{folders[folder]}/{name}"
        return file if folders[folder] and stat.S_ISREG(os.lstat(file).st_mode) else ""
    except (OSError, ValueError, RuntimeError):
        return ""


def _repeats(table: pd.DataFrame, reasons: list[str], real: list[str]) -> list[str]:
    """Add reasons for ids used twice (also in other capitals) and files listed twice; the first
    stays if labels agree.
    """
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
