"""Find the file that a table means, inside the corpus folder and nowhere else."""

import difflib
import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

from birdnb.corpora.labels import label_key
from birdnb.corpora.walking import files_under

MISSING = "the file is missing"
NEAR = 4  # letters a name needs before another is like it
LOOKED_FOR = 50  # missing files for which names alike are looked for: that takes a while


class CorpusFiles:
    """The files of a corpus folder, found by paths as tables write them."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).resolve()
        self._folders: dict[str, str] = {}  # real paths: each folder is followed once
        self._compared = 0

    def find(self, path: str) -> tuple[str, str, str]:
        """Return the file's path in the folder, its real path, and the reason why there is none.

        A path that names no file is taken for one that differs from it in capitals, in blanks, in
        slashes or in the way of writing letters only, if there is exactly one such file.
        """
        if real := self._ordinary(path):
            return path, real, ""
        fault = path_fault(path, self.root)
        if fault != MISSING:
            return path, "" if fault else str((self.root / path).resolve()), fault
        found = self._by_key.get(_key(path)) or self._by_key.get(_key(unquote(path)), [])
        if len(found) == 1 and not path_fault(found[0], self.root):
            return found[0], str((self.root / found[0]).resolve()), ""
        return path, "", fault + self._hint(path, found)

    def _ordinary(self, path: str) -> str:
        """Return the real path of an ordinary file; "" for what ``path_fault`` has to look at."""
        folder, name = posixpath.split(path)
        if name in ("", ".", "..") or ":" in path or "\\" in path:
            return ""
        try:
            if folder not in self._folders:
                real = (self.root / folder).resolve()
                outside = folder.startswith("/") or ".." in folder.split("/")
                inside = real.is_relative_to(self.root) and not outside
                self._folders[folder] = str(real) if inside else ""
            file = f"{self._folders[folder]}/{name}"
            return file if self._folders[folder] and stat.S_ISREG(os.lstat(file).st_mode) else ""
        except (OSError, ValueError, RuntimeError):
            return ""

    def _hint(self, path: str, alike: list[str]) -> str:
        """Name the files that may be meant; "" where none is near."""
        if alike:
            return f"; it may be {' or '.join(alike[:3])}: write which"
        name, stem = _name(path), _stem(path)
        near = self._by_name.get(name) or self._by_stem.get(stem, [])
        if not near and len(stem) >= NEAR and self._compared < LOOKED_FOR:
            self._compared += 1
            # XC1.ogg is not near XC2.ogg: other numbers are other recordings
            numbered = [other for other in self._by_stem if _digits(other) == _digits(stem)]
            close = difflib.get_close_matches(stem, numbered, n=1, cutoff=0.8)
            near = self._by_stem[close[0]] if close else []
        return f"; near it is {' and '.join(near[:3])}" if near else ""

    @cached_property
    def _files(self) -> list[str]:
        return files_under(self.root, self.root)

    @cached_property
    def _by_key(self) -> dict[str, list[str]]:
        return _grouped(self._files, _key)

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        return _grouped(self._files, _name)

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        return _grouped(self._files, _stem)


def path_fault(path: str, real_root: Path) -> str:
    """Say why a path is no file inside the corpus folder (already resolved); "" when it is one."""
    if not path.strip():
        return "the path is empty"
    if PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive:
        return "the path is absolute: it must be relative to the corpus folder"
    if ".." in path.replace("\\", "/").split("/"):
        return "the path leads out of the corpus folder (..)"
    try:
        real = (real_root / path).resolve()
        if (real_root / path).is_symlink() and not real.exists():
            annexed = "annex" in real.parts
            return f"a link to a file that is not there{': run git annex get' if annexed else ''}"
        if not real.is_relative_to(real_root):
            return "a symbolic link that leads out of the corpus folder"
        if real.is_file():
            return ""
        if real.is_dir():
            return "the path is a folder, not a file"
        return "a pipe or a device, not a file" if real.exists() else MISSING
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, a circle of links
        return f"the path cannot be followed: {error}"


def _key(path: str) -> str:
    """Return a path without what systems write otherwise: slashes, capitals, blanks, ``./``."""
    parts = path.replace("\\", "/").split("/")
    return "/".join(key for part in parts if (key := label_key(part)) not in ("", "."))


def _name(path: str) -> str:
    return _key(path).rpartition("/")[2]


def _stem(path: str) -> str:
    return posixpath.splitext(_name(path))[0]


def _digits(name: str) -> list[str]:
    return re.findall(r"\d+", name)


def _grouped(paths: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(key(path), []).append(path)
    return groups
