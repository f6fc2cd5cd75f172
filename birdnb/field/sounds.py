"""Which recordings files and folders hold, and what each is called in tables."""

import os
from collections.abc import Sequence
from pathlib import Path

from birdnb.corpora.sniff import is_audio
from birdnb.corpora.walking import files_under, folders_not_read
from birdnb.field.scores import Heard
from birdnb.files import BirdnbError, name_fault, user_path


def find_sounds(given: Sequence[str | Path]) -> list[Heard]:
    """List the recordings in files and folders, by name; what may not be read has a reason.

    A recording is called by its path in the folder that was given, or in the one that all that was
    given has in common. Raises BirdnbError for a path that is not there, a folder without sound.
    """
    paths = [Path(os.path.abspath(user_path(path))) for path in given]
    for path in paths:
        if not path.exists():
            raise BirdnbError(f"{path} is not there: give sound files, or folders of them")
    root = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in paths]))
    found: dict[str, Heard] = {}
    for path in paths:
        before = len(found)
        for file, reason in _in_folder(path) if path.is_dir() else [(path, "")]:
            name = file.relative_to(root).as_posix()
            reason = reason or name_fault(name)
            found[name] = Heard(name.encode(errors="replace").decode(), str(file), reason=reason)
        if len(found) == before and not _is_under(path, paths):
            raise BirdnbError(f"{path} holds no sound: give a folder of recordings, or files")
    return [found[name] for name in sorted(found)]


def _in_folder(folder: Path) -> list[tuple[Path, str]]:
    files = [folder / name for name in files_under(folder, folder)]
    unread = [(folder / name, reason) for name, reason in folders_not_read(folder, folder).items()]
    there = {file.resolve() for file in files if not file.is_symlink()}
    # a link to another one of them is listened to once; git annex links to what is not listed
    once = [file for file in files if not (file.is_symlink() and file.resolve() in there)]
    return [(file, "") for file in once if is_audio(file)] + unread


def _is_under(path: Path, others: Sequence[Path]) -> bool:
    """Tell whether a path was given twice, or lies in a folder that was given, too."""
    return others.count(path) > 1 or any(path.is_relative_to(o) for o in others if o != path)
