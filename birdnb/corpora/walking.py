"""Which files a folder holds: those that people put there, not what systems leave behind."""

import os
from collections.abc import Iterator
from pathlib import Path

LITTER = frozenset(  # folders and files of operating systems, archivers and notebooks
    [
        "__macosx",
        ".appledouble",
        ".ds_store",
        ".fseventsd",
        ".git",
        ".ipynb_checkpoints",
        ".spotlight-v100",
        ".trashes",
        "$recycle.bin",
        "@eadir",
        "desktop.ini",
        "ehthumbs.db",
        "lost+found",
        "system volume information",
        "thumbs.db",
    ]
)
CLOSED = "a folder that may not be read: give yourself the right to"
APPLE_DOUBLE = b"\x00\x05\x16\x07"  # a Mac's notes on a file: ._robin.wav beside robin.wav


def walk(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each folder under ``root`` with the names of its folders and files, as ``os.walk``.

    Links to folders are named and not followed, folders that may not be read are empty, and what
    systems leave behind is not there.
    """
    for parent, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name.casefold() not in LITTER]
        yield parent, folders, [name for name in names if not is_litter(parent, name)]


def files_under(folder: Path, root: Path) -> list[str]:
    """List the files under ``folder``, any depth, as sorted paths relative to ``root``."""
    found = []
    for parent, _, names in walk(folder):
        inside = Path(parent).relative_to(root).as_posix()
        found += names if inside == "." else [f"{inside}/{name}" for name in names]
    return sorted(found)


def closed_folders(folder: Path, root: Path) -> list[str]:
    """List the folders under ``folder`` that may not be read, as paths relative to ``root``."""
    inside = [Path(parent) / name for parent, folders, _ in walk(folder) for name in folders]
    return sorted(path.relative_to(root).as_posix() for path in inside if is_closed(path))


def is_closed(folder: Path) -> bool:
    """Tell whether a folder may not be read."""
    return not os.access(folder, os.R_OK | os.X_OK)


def is_litter(parent: str, name: str) -> bool:
    """Tell whether a file is none of the user's: a system's, or a Mac's notes on another file."""
    if not name.startswith("._"):
        return name.casefold() in LITTER
    if os.path.exists(os.path.join(parent, name[2:])):
        return True
    try:
        with open(os.path.join(parent, name), "rb") as file:
            return file.read(4) == APPLE_DOUBLE
    except OSError:
        return False
