"""Whose recordings finished runs are of: another folder of the same name takes no one's place."""

import json
import os
from pathlib import Path

from birdnb.corpora.walking import files_under
from birdnb.files import BirdnbError, artifacts_dir


def check_runs(corpus: Path, name: str, profile: str) -> None:
    """Raise BirdnbError when a finished run of this name of a corpus is of another folder."""
    folder = artifacts_dir() / "runs" / f"{name}-{profile}"
    for pattern in ("*/metrics.json", "*/fold-*/metrics.json"):
        for metrics in sorted(folder.glob(pattern)):
            check_origin(metrics.parent, corpus)


def check_origin(folder: Path, corpus: Path, key: str | None = None) -> None:
    """Raise BirdnbError when a run is finished in ``folder`` on another corpus that is there.

    One whose folder is gone, or may not be looked into, was moved; one of this ``key``, or whose
    files are called alike and as large, is of the same recordings.
    """
    if not (folder / "metrics.json").exists():
        return
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # who reads the run says so
        return
    origin = config.get("corpus", {})  # an ensemble has none
    other = Path(origin.get("folder") or corpus)
    if origin.get("synthetic") or (key is not None and config.get("key") == key):
        return
    if os.path.isdir(other) and not _same(other, corpus):
        raise BirdnbError(
            f"{folder} has results of {other}, and those of {corpus} would take their place: "
            f"rename this folder, or set BIRDNB_REPORTS and BIRDNB_ARTIFACTS to others for it"
        )


def _same(one: Path, other: Path) -> bool:
    """Tell whether two folders are one, hold files alike, or cannot be compared."""
    try:
        sizes = [{n: os.stat(p / n).st_size for n in files_under(p, p)} for p in (one, other)]
    except OSError:
        return True
    return os.path.samefile(one, other) or sizes[0] == sizes[1]
