"""Whose recordings finished runs are of: another folder of the same name takes no one's place."""

import json
from pathlib import Path

from birdnb.files import BirdnbError, artifacts_dir


def check_runs(corpus: Path, name: str, profile: str) -> None:
    """Raise BirdnbError when a finished run of this name of a corpus is of another folder."""
    folder = artifacts_dir() / "runs" / f"{name}-{profile}"
    for pattern in ("*/metrics.json", "*/fold-*/metrics.json"):
        for metrics in sorted(folder.glob(pattern)):
            check_origin(metrics.parent, corpus)


def check_origin(folder: Path, corpus: Path, key: str | None = None) -> None:
    """Raise BirdnbError when a run is finished in ``folder`` on another corpus that is there.

    One whose folder is gone was moved; one of this ``key`` is of the same recordings.
    """
    if not (folder / "metrics.json").exists():
        return
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # who reads the run says so
        return
    origin = config.get("corpus", {})  # an ensemble has none
    other = Path(origin.get("folder") or corpus)
    if origin.get("synthetic") or not other.is_dir() or other.samefile(corpus):
        return
    if key is None or config.get("key") != key:
        raise BirdnbError(
            f"{folder} has results of {other}, and those of {corpus} would take their place: "
            f"rename this folder, or set BIRDNB_REPORTS and BIRDNB_ARTIFACTS to others for it"
        )
