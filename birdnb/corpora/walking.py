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
LINKED = "a link to a folder: put the folder itself here"
APPLE_DOUBLE = b"\x00\x05\x16\x07"  # a Mac's notes on a file: ._robin.wav beside robin.wav


def walk(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each folder under ``root`` with the names of its folders and files, as ``os.walk``.

    Links to folders are named and not followed, folders that may not be read are empty, and what
    systems leave behind is not there.
    """
    for parent, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not _is_systems(name)]
        yield parent, folders, [name for name in names if not is_litter(parent, name)]


def files_under(folder: Path, root: Path) -> list[str]:
    """List the files under ``folder``, any depth, as sorted paths relative to ``root``."""
    found = []
    for parent, _, names in walk(folder):
        inside = Path(parent).relative_to(root).as_posix()
        found += names if inside == "." else [f"{inside}/{name}" for name in names]
    return sorted(found)


def folders_not_read(folder: Path, root: Path) -> dict[str, str]:
    """Return why folders under ``folder`` are not looked into, by path relative to ``root``."""
    inside = [Path(parent) / name for parent, folders, _ in walk(folder) for name in folders]
    reasons = {path.relative_to(root).as_posix(): why_not_read(path) for path in sorted(inside)}
    return {path: reason for path, reason in reasons.items() if reason}


def why_not_read(folder: Path) -> str:
    """Say why a folder is not looked into, "" where it is."""
    if folder.is_symlink():
        return LINKED
    return "" if os.access(folder, os.R_OK | os.X_OK) else CLOSED


def is_litter(parent: str, name: str) -> bool:
    """Tell whether a file is none of the user's: a system's, or a Mac's notes on another file."""
    if not name.startswith("._"):
        return _is_systems(name)
    if os.path.exists(os.path.join(parent, name[2:])):
        return True
    try:
        with open(os.path.join(parent, name), "rb") as file:
            return file.read(4) == APPLE_DOUBLE
    except OSError:
        return False


def _is_systems(name: str) -> bool:
    """Tell whether a name is a system's; what was deleted lies in .Trash-1000 or .trashed-..."""
    return name.casefold() in LITTER or name.casefold().startswith(".trash")
