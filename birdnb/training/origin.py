"""Whose recordings finished runs are of: another folder of the same name takes no one's place."""

import json
import os
from pathlib import Path

from birdnb.files import BirdnbError, artifacts_dir


def check_runs(corpus: Path, name: str, profile: str) -> None:
    """Raise BirdnbError when a finished run of this name of a corpus is of another folder."""
    folder = artifacts_dir() / "runs" / f"{name}-{profile}"
    others: dict[Path | None, Path] = {}
    for pattern in ("*/metrics.json", "*/fold-*/metrics.json"):
        for metrics in sorted(folder.glob(pattern)):
            others.setdefault(_origin(metrics.parent), metrics.parent)
    for other, run in others.items():
        _check(run, other, corpus)


def check_origin(folder: Path, corpus: Path, key: str | None = None) -> None:
    """Raise BirdnbError when a run is finished in ``folder`` on another corpus that is there.

    One whose folder is gone, or may not be looked into, was moved; one of this ``key``, or whose
    files are alike, is of the same recordings.
    """
    if (folder / "metrics.json").exists():
        _check(folder, _origin(folder, key), corpus)


def _origin(folder: Path, key: str | None = None) -> Path | None:
    """Return the corpus of a run; None where it is not told, invented, or the run has this key."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # who reads the run says so
        return None
    origin = config.get("corpus", {})  # an ensemble has none
    known = origin.get("synthetic") or (key is not None and config.get("key") == key)
    return Path(origin["folder"]) if origin.get("folder") and not known else None


def _check(run: Path, other: Path | None, corpus: Path) -> None:
    if other is not None and os.path.isdir(other) and not _same(other, corpus):
        raise BirdnbError(
            f"{run} has results of {other}, and those of {corpus} would take their place: "
            f"rename this folder, or set BIRDNB_REPORTS and BIRDNB_ARTIFACTS to others for it"
        )


def _same(one: Path, other: Path) -> bool:
    """Tell whether two folders are one, hold files alike, or cannot be compared."""
    try:
        return os.path.samefile(one, other) or _files(one) == _files(other)
    except OSError:
        return True


def _files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return the size of each file and what stands in its middle.

    Recorders on one schedule call their files alike, and fill them to the byte.
    """
    from birdnb.corpora.walking import files_under  # its package needs pandas, --help does not

    found = {}
    for name in files_under(folder, folder):
        with open(folder / name, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(size // 2)
            found[name] = (size, file.read(4096))
    return found
