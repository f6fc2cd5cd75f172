"""Is an executed notebook up to date? Keys that change with everything that it was made from."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from birdnb.files import ROOT, artifacts_dir, user_path


def key(*parts: str | bytes) -> str:
    """Return sixteen hexadecimal digits that stand for these texts in this order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part if isinstance(part, bytes) else part.encode()).digest())
    return digest.hexdigest()[:16]


def stamp_of(book: Path) -> dict[str, str] | None:
    """Return what was noted in an executed notebook; None when it is not there."""
    if not book.exists():
        return None
    return json.loads(book.read_text(encoding="utf-8"))["metadata"].get("birdnb")


def code_key() -> str:
    """Return a key that changes with the code, the profiles, the templates and the weights."""
    suffixes = {".py", ".yaml", ".safetensors", ".j2", ".css"}
    files = sorted(path for path in (ROOT / "birdnb").rglob("*") if path.suffix in suffixes)
    return key(*(path.read_bytes() for path in files))


def files_key(name: str) -> str:
    """Return a key of the files of a corpus or of weights; no path (demo) stands for itself."""
    root = user_path(name)
    files = [root] if root.is_file() else root.rglob("*")
    stats = {str(path): path.stat() for path in files if path.is_file()}
    found = sorted((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats.items())
    return key(name, json.dumps(found))


def runs_key(runs: Iterable[str], parameters: dict[str, Any], profile: str) -> str:
    """Return a key that changes with the settings of these runs and with which are finished."""
    from birdnb.corpora import corpus_name

    folder = artifacts_dir() / "runs" / f"{corpus_name(parameters['corpus'])}-{profile}"
    part = "fold-*" if parameters["folds"] else "."
    parts: list[str] = []
    for run in runs:
        for metrics in sorted((folder / run).glob(f"{part}/metrics.json")):
            config = (metrics.parent / "config.json").read_text(encoding="utf-8")
            parts += [str(metrics.parent.relative_to(folder)), config]
    return key(*parts)
