"""Where files live and how they are written: project folders, atomic writes, safe names."""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import json
import os
import re
import sys
import tempfile
import time
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
NO_SUCH_NAME = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP,
                errno.EINVAL}  # fmt: skip
# what reading a damaged .npz or .pt file raises; one flipped byte may give any of them
DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
STALE_SECONDS = 3600  # a temporary file as old as this belongs to no running process


class BirdnbError(Exception):
    """An error for the person at the keyboard: it names the file or value, and the remedy."""


def artifacts_dir() -> Path:
    """Return the folder for what can be made again; the variable ``BIRDNB_ARTIFACTS`` moves it."""
    return whole_path(os.environ.get("BIRDNB_ARTIFACTS") or ROOT / "artifacts")


def reports_dir() -> Path:
    """Return the folder for results worth keeping; the variable ``BIRDNB_REPORTS`` moves it."""
    return whole_path(os.environ.get("BIRDNB_REPORTS") or ROOT / "reports")


def report_folder(corpus: str, profile: str) -> Path:
    """Return the folder of a study's results, ``reports/<corpus>-<profile>``, by the two names."""
    return reports_dir() / f"{safe_name(corpus)}-{distinct_name(profile)}"


def user_path(text: str | Path) -> Path:
    """Return a path with the home folder for ``~``, which stays where there is none."""
    return Path(os.path.expanduser(text))


def whole_path(text: str | Path) -> Path:
    """Return the absolute path of what a person named, links followed."""
    return Path(os.path.realpath(user_path(text)))


def name_fault(path: str) -> str:
    """Tell why the name of a file is no text, or return "": Linux allows any bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        pass
    else:
        return ""
    with contextlib.suppress(UnicodeDecodeError):
        os.fsencode(path).decode()  # it is UTF-8, read as something else
        encoding = sys.getfilesystemencoding()
        return f"its name is UTF-8, and names are read as {encoding} here: set PYTHONUTF8=1"
    return "its name is not UTF-8: rename it"


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path that takes the name ``path`` when the block ends without an error.

    The temporary name starts with ``.tmp-`` and keeps the suffix, so that a killed process leaves
    nothing that could be taken for a finished file. Raises BirdnbError on a full disk or a folder
    that may not be written.
    """
    path = Path(path)
    temporary = None
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".tmp-", suffix=path.suffix, dir=path.parent)
            os.close(handle)
            temporary = Path(name)
            yield temporary
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise BirdnbError in place of an OSError which says that ``path`` cannot be written."""
    try:
        yield
    except OSError as error:
        if wrong := write_error(error, path):
            raise wrong from error
        raise


def write_error(error: OSError, path: Path) -> BirdnbError | None:
    """Return what to tell a person when ``error`` says that ``path`` cannot be written, else None.

    An error that names another file (one that was read, a program that is not there) is none.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return BirdnbError(
            f"no space left on the disk while writing {path} ({error.strerror}): free some space "
            f"and run again"
        )
    named = error.filename if isinstance(error.filename, str | bytes | os.PathLike) else path
    place = Path(os.fsdecode(named)).absolute()
    beside = place.parent == path.absolute().parent and place.name.startswith(".tmp-")
    if not beside and not path.absolute().is_relative_to(place):
        return None
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return BirdnbError(
            f"may not write {path}: make the folder writable, or set BIRDNB_ARTIFACTS or "
            f"BIRDNB_REPORTS to another one"
        )
    no_folder = error.errno == errno.ENOENT and place in path.absolute().parents  # as below /proc
    if no_folder or error.errno in NO_SUCH_NAME:
        return BirdnbError(
            f"cannot write {path} ({error.strerror}): move away what is there, or choose another "
            f"name"
        )
    return None


@contextlib.contextmanager
def temporary_room() -> Iterator[None]:
    """Raise BirdnbError, which blames no recording, when the temporary folder is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise BirdnbError(
            f"no room in {tempfile.gettempdir()}, where recordings are decoded ({error.strerror}): "
            f"free some, or set TMPDIR to another folder"
        ) from error


def sweep(folder: Path | str, *inside: str) -> None:
    """Delete what killed processes left half written; a running one's is younger.

    That is in the folder itself and in those of its folders that ``inside`` names, as patterns of
    ``Path.glob``: what else lies there may be somebody else's.
    """
    root = Path(folder)
    for path in [path for name in (".", *inside) for path in root.glob(f"{name}/.tmp-*")]:
        with contextlib.suppress(OSError):  # another process was quicker, or it may not be written
            if path.is_file() and time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()


def write_text(path: Path | str, text: str) -> Path:
    """Write UTF-8 text atomically and return the path."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_table(path: Path | str, table: pd.DataFrame, head: str = "", **how: Any) -> Path:
    """Write a table as CSV without its index; ``how`` are further arguments of ``to_csv``.

    Text is quoted where a row would begin like a comment, with #; ``head`` goes before the table.
    """
    if len(table) and table.iloc[:, 0].astype(str).str.lstrip().str.startswith("#").any():
        how = {"quoting": csv.QUOTE_NONNUMERIC} | how
    return write_text(path, head + table.to_csv(index=False, lineterminator="\n", **how))


def write_json(path: Path | str, value: Any) -> Path:
    """Write a JSON file atomically, keys in the order given, NaN refused."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, or what kind it is."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].strip()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def safe_name(text: str) -> str:
    """Turn text into a file name of at most 120 letters, digits, ``._-``, never hidden."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", plain).strip("._-")
    return name[:120] or "unnamed"


def distinct_name(text: str) -> str:
    """Make a file name as ``safe_name`` does, with digits of a hash where letters are lost.

    Letters of the Latin alphabet say enough without their marks.
    """
    text, name = unicodedata.normalize("NFC", text), safe_name(text)
    foreign = [c for c in text if c.isalnum() and not c.isascii()]
    lost = any(not unicodedata.name(c, "").startswith("LATIN") for c in foreign)
    lost = lost or any("\ud800" <= c <= "\udfff" for c in text)  # bytes that are no text
    if name != "unnamed" and not lost:
        return name
    return f"{name[:100]}-{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:8]}"
