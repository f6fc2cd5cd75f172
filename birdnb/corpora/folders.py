"""Folders that need no importer of their own: ``manifest.csv`` with audio, and species folders."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from birdnb.corpora.reading import read_table
from birdnb.corpora.sniff import is_audio
from birdnb.corpora.table import REQUIRED, audio_files, left_out_rows, make_ids, misnamed, unlisted
from birdnb.corpora.walking import walk, why_not_read
from birdnb.files import BirdnbError, name_fault

TABLES = ["manifest.csv", "train_metadata.csv", "train.csv"]  # a folder with one is a corpus
OURS = re.compile(rb"recording[-_ ]?id", re.IGNORECASE)
LABELS = {"label", "labels", "class", "bird", "taxon", "scientific_name", "common_name"}


@dataclass(frozen=True)
class Source:
    """A reader's find: the folder of the paths, a table not yet checked, and what it left out."""

    root: Path
    table: pd.DataFrame
    left_out: pd.DataFrame


def is_manifest(root: Path) -> bool:
    """Tell whether the folder has a manifest.csv; one of another tool, without labels, is none."""
    path = manifest_of(root)
    if path is None:
        return False
    try:
        with open(path, "rb") as file:
            if OURS.search(file.read(4096).replace(b"\0", b"")):
                return True
        return bool({*REQUIRED, *LABELS} & set(read_table(path).columns))
    except (OSError, BirdnbError):
        return True  # reading it will say how it is broken


def manifest_of(root: Path) -> Path | None:
    """Return the folder's manifest.csv, in whatever capitals; None when there is none."""
    _, _, names = next(walk(root), ("", [], []))
    found = sorted(name for name in names if name.casefold() == "manifest.csv")
    return root / found[-1] if found else None  # small letters come last


def read_manifest_folder(root: Path, progress: bool = True) -> Source:
    """Read a folder with a ``manifest.csv``, as the demo and downloads from Xeno-Canto are.

    ::

        my_birds/
          manifest.csv             recording_id,path,species,recordist,date,locality
                                   r1,audio/robin 1.wav,Erithacus rubecula,A. Bird,2019-04-01,Kew
          audio/robin 1.wav

    recording_id, path and species are needed; the others of ``table.COLUMNS`` (recordist, date,
    locality, license, background_species, ...) are used when there. Audio that no row names is
    reported.
    """
    table = read_table(manifest_of(root) or root / "manifest.csv", REQUIRED)
    return Source(root, table, unlisted(table, root, root))


def is_species_folders(root: Path) -> bool:
    """Tell whether a folder in this one holds audio files.

    Folders that are corpora of their own do not count; where they hold more audio than the others
    together, one of them is meant.
    """
    own, species = corpora_inside(root), species_folders(root)
    if not own or not species:
        return bool(species)
    inside = [len(audio_files(root / name, root)) for name in own]
    return sum(len(audio_files(root / name, root)) for name in species) >= sum(inside)


def species_folders(root: Path) -> list[str]:
    """Return the names of the folders in this one that hold audio and may be those of species."""
    own, found = corpora_inside(root), []
    _, folders, _ = next(walk(root), ("", [], []))
    for name in sorted(folders):
        _, _, files = next(walk(root / name), ("", [], []))
        if name[0] != "." and name not in own and any(is_audio(root / name / f) for f in files):
            found.append(name)
    return found


def corpora_inside(root: Path) -> list[str]:
    """Return the names of the folders in this one that are corpora of their own, by a table."""
    _, folders, _ = next(walk(root), ("", [], []))
    return [
        name for name in folders if any(os.path.isfile(root / name / table) for table in TABLES)
    ]


def read_species_folders(root: Path, progress: bool = True) -> Source:
    """Read one folder per species; the folder's name is the label, letter for letter.

    Folders whose names look the same are one species (``labels.one_spelling``).

    ::

        my_birds/
          Erithacus rubecula/robin 1.wav
          Erithacus rubecula/robin 2.mp3
          Turdus merula/XC1234.ogg

    The recording id is made of the file's name (with digits of its path's hash when two files share
    it). Audio beside the species folders or deeper than one folder, files that are no audio,
    folders that are links, corpora of their own or may not be read, and a manifest.csv without
    labels are reported.
    """
    own, kept, left = corpora_inside(root), [], []
    for parent, folders, names in walk(root):
        inside = "" if parent == str(root) else f"{Path(parent).relative_to(root).as_posix()}/"
        for name in folders:
            if fault := why_not_read(Path(parent) / name):
                left.append(("", inside + name, (inside + name).split("/")[0], fault))
        for name in names:
            path = inside + name
            reason = _file_fault(root, path, own)
            if reason is None or name.startswith(".tmp-"):
                continue
            if name_fault(path):
                left.append(misnamed(path))
            elif reason:
                left.append(("", path, path.split("/")[0] if inside else "", reason))
            else:
                kept.append(path)
    kept.sort(key=lambda path: path.split("/"))
    species = [path.split("/")[0] for path in kept]
    table = pd.DataFrame({"recording_id": make_ids(kept), "path": kept, "species": species})
    return Source(root, table, left_out_rows(sorted(left, key=lambda row: row[1].split("/"))))


def _file_fault(root: Path, path: str, own: list[str]) -> str | None:
    """Tell why a file is no recording of a species folder; "" when it is, None when nobody asks."""
    parts = path.split("/")
    hidden = any(part.startswith(".") for part in parts)
    if not is_audio(f"{root}/{path}"):
        if path == "manifest.csv":
            return "not read: it has no column recording_id, path, species or label"
        suffix = os.path.splitext(path)[1] or "no suffix"
        return f"not an audio file ({suffix})" if len(parts) > 1 and not hidden else None
    if parts[0] in own and len(parts) > 1:
        return f"lies in a corpus of its own: open the folder {parts[0]} by itself"
    if len(parts) == 1:
        return "lies beside the species folders: its species is not known"
    if len(parts) > 2:
        return "lies deeper than the species folder: move it up"
    return "hidden (its name begins with a dot)" if hidden else ""
