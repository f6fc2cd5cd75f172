"""Folders that need no importer of their own: ``manifest.csv`` with audio, and one folder per
species.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from birdnb.corpora.reading import read_table
from birdnb.corpora.sniff import is_audio
from birdnb.corpora.table import REQUIRED, is_utf8, left_out_rows, make_ids, misnamed, unlisted


@dataclass(frozen=True)
class Source:
    """What a reader found: the folder that paths are relative to, a table not yet checked, and what
    it left out itself.
    """

    root: Path
    table: pd.DataFrame
    left_out: pd.DataFrame


def is_manifest(root: Path) -> bool:
    """Tell whether the folder has a manifest.csv."""
    return (root / "manifest.csv").is_file()


def read_manifest_folder(root: Path, progress: bool = True) -> Source:
    """Read a folder with a ``manifest.csv``; a Xeno-Canto download and the demo corpus are such
    folders.

    ::

        my_birds/
          manifest.csv            recording_id,path,species,recordist,date,locality
          audio/2019/robin 1.wav  r1,audio/2019/robin 1.wav,Erithacus rubecula,A.
          Bird,2019-04-01,Kew

    recording_id, path and species are needed; common_name, recordist, date, locality, license, url,
    quality and background_species are used when there. Audio that no row names is reported.
    """
    table = read_table(root / "manifest.csv", REQUIRED)
    return Source(root, table, unlisted(table, root, root))


def is_species_folders(root: Path) -> bool:
    """Tell whether a folder in this one holds audio files."""
    readable = [folder for folder in _visible_folders(root) if os.access(folder, os.R_OK | os.X_OK)]
    return any(is_audio(file) for folder in readable for file in folder.iterdir())


def read_species_folders(root: Path, progress: bool = True) -> Source:
    """Read one folder per species; the folder's name is the label, letter for letter.

    ::

        my_birds/
          Erithacus rubecula/robin 1.wav
          Erithacus rubecula/robin 2.mp3
          Turdus merula/XC1234.ogg

    The recording id is made of the file's name (with digits of its path's hash when two files share
    it). Audio beside the species folders or deeper than one folder, files that are no audio, and
    folders that are links or may not be read are reported.
    """
    kept, left = [], []
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root).as_posix()
        parts = PurePosixPath(relative).parts
        if path.is_symlink() and path.is_dir():
            left.append(("", relative, "", "a link to a folder: put the folder itself here"))
        if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
            left.append(
                (
                    "",
                    relative,
                    parts[0],
                    "a folder that may not be read: give yourself the right to",
                )
            )
        if path.is_dir() or path.name.startswith(".tmp-"):
            continue
        if not is_utf8(relative):
            left.append(misnamed(relative))
            continue
        if not is_audio(path):
            if len(parts) > 1 and not any(part.startswith(".") for part in parts):
                left.append(
                    ("", relative, parts[0], f"not an audio file ({path.suffix or 'no suffix'})")
                )
        elif len(parts) == 1:
            left.append(
                ("", relative, "", "lies beside the species folders: its species is not known")
            )
        elif len(parts) > 2:
            left.append(("", relative, parts[0], "lies deeper than the species folder: move it up"))
        elif any(part.startswith(".") for part in parts):
            left.append(("", relative, parts[0], "hidden (its name begins with a dot)"))
        else:
            kept.append(relative)
    table = pd.DataFrame(
        {
            "recording_id": make_ids(kept),
            "path": kept,
            "species": [PurePosixPath(p).parts[0] for p in kept],
        }
    )
    return Source(root, table, left_out_rows(left))


def _visible_folders(root: Path) -> list[Path]:
    return sorted(
        path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
