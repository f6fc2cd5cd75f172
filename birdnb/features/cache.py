"""The LMS cache: extracted once, kept as float16 decibels, read by every run.

``artifacts/audio_lms_cache/<corpus>/<key>/`` holds

- ``<recording_id>.npy``: (segments, n_mels, T), the most active windows, best first;
  ``noise/<recording_id>.npy``: (n_mels, T),
- ``index.csv`` and ``quarantine.csv``: what is in it, and what was left out and why,
- ``packed/``: all of it in one array to be memory-mapped,
- ``state.jsonl``: a line for each recording that was looked at, so that no work is done twice
  (``ledger.py``).

Everything is written atomically and depends on nothing but the sources and the settings, so that a
killed build goes on and two at once do no harm. No audio library is imported here, only where
recordings are extracted (``workers.py``).
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from tqdm.auto import tqdm

from birdnb.config import AudioSettings, key_of
from birdnb.features import packing
from birdnb.features.ledger import Ledger, Record, read_ledger, write_ledger
from birdnb.features.store import LmsCache
from birdnb.features.workers import Task, extract_all
from birdnb.files import BirdnbError, artifacts_dir, sweep, write_text

if TYPE_CHECKING:
    from birdnb.corpora import Corpus

VERSION = 3  # of the extraction: a change makes new caches
INDEX = [
    "recording_id",
    "path",
    "segments",
    "seconds",
    "sample_rate",
    "channels",
    "sha256",
    "starts",
    "noise",
]
QUARANTINE = ["recording_id", "path", "species", "reason"]
ATTEMPTS = 3  # at a file that is damaged again as soon as it is written


def build_cache(
    corpus: Corpus, audio: AudioSettings, jobs: int | None = None, progress: bool = True
) -> LmsCache:
    """Extract what is not yet in the cache and open it. Resumable; two builds at once do no harm.

    ``jobs`` worker processes (None: one a core; 1: in this process). Changed sources are extracted
    again. Raises BirdnbError when no recording survives, or when the folder cannot be written.
    """
    folder = artifacts_dir() / "audio_lms_cache" / corpus.name / key_of(audio, VERSION)
    sweep(folder)
    safe = corpus.manifest["recording_id"].map(_is_safe)
    manifest = corpus.manifest[safe]
    records = read_ledger(folder / "state.jsonl")
    tasks = _outdated(_tasks(folder, audio, corpus.root, manifest), records, _packed_at(folder))
    for _ in range(ATTEMPTS):
        _extract(folder, tasks, records, jobs, progress)
        kept, refused = _judge(manifest, records)
        damaged = _pack(folder, audio, kept, progress)
        if not damaged:
            break
        tasks = [
            task
            for task in _tasks(folder, audio, corpus.root, manifest)
            if task.recording_id in damaged
        ]
    else:
        raise BirdnbError(
            f"the spectrograms of {min(damaged)} in {folder} are damaged as soon as written: check "
            f"the disk"
        )
    unsafe = corpus.manifest[~safe].assign(reason="unsafe recording_id: it cannot be a file name")
    quarantine = pd.concat(
        [corpus.left_out[QUARANTINE], unsafe[QUARANTINE], refused], ignore_index=True
    )
    index = _index(kept)
    _write_csv(folder / "index.csv", index)
    _write_csv(folder / "quarantine.csv", quarantine)
    write_ledger(
        folder / "state.jsonl", [records[name] for name in manifest["recording_id"].tolist()]
    )
    if not kept:
        raise BirdnbError(
            f"no recording of corpus {corpus.name!r} can be used: {_summary(quarantine)}"
        )
    return LmsCache(
        folder, audio, index, quarantine, {record.recording_id: record for record in kept}
    )


def _tasks(
    folder: Path, audio: AudioSettings, root: Path, manifest: pd.DataFrame
) -> Iterator[Task]:
    for recording_id, path in zip(
        manifest["recording_id"].tolist(), manifest["path"].tolist(), strict=True
    ):
        yield Task(recording_id, path, f"{root}/{path}", folder, audio)


def _packed_at(folder: Path) -> float:
    """When the spectrograms were last read and packed [ns]; infinite when they will be, in any
    case.
    """
    return max(
        (path.stat().st_mtime_ns for path in (folder / "packed").glob("[!.]*.npy")),
        default=math.inf,
    )


def _outdated(tasks: Iterator[Task], records: dict[str, Record], packed_at: float) -> list[Task]:
    """Recordings that were never looked at, have changed since, are worth another try, or whose
    spectrograms are not intact.
    """
    outdated = []
    for task in tasks:
        record = records.get(task.recording_id)
        if record is None or not _is_current(task, record, packed_at):
            outdated.append(dataclasses.replace(task, known=record))
    return outdated


def _is_current(task: Task, record: Record, packed_at: float) -> bool:
    try:
        source = os.stat(task.source)
        if (record.path, record.size, record.modified) != (
            task.path,
            source.st_size,
            source.st_mtime_ns,
        ):
            return False
        if record.reason:
            return not record.worth_another_try
        files = packing.files_of(task.folder, task.audio, record)
        return all(_is_as_packed(file, packed_at) for file in files)
    except OSError:
        return False  # the worker finds out why, and says so


def _is_as_packed(file: packing.SpectrogramFile, packed_at: float) -> bool:
    """Whether a file has the right size and, if somebody has written to it since it was packed, the
    right content.
    """
    stat = os.stat(file.path)
    if stat.st_size != packing.file_bytes(file):
        return False
    if stat.st_mtime_ns <= packed_at:
        return True
    intact = packing.is_intact(file)
    if intact and os.access(file.path, os.W_OK):
        os.utime(file.path, ns=(int(packed_at), int(packed_at)))  # not to be read again next time
    return intact


def _extract(
    folder: Path, tasks: list[Task], records: dict[str, Record], jobs: int | None, progress: bool
) -> None:
    if not tasks:
        return
    with Ledger(folder / "state.jsonl") as ledger:
        for record in extract_all(tasks, jobs, progress):
            ledger.add(record)
            records[record.recording_id] = record


def _judge(manifest: pd.DataFrame, records: dict[str, Record]) -> tuple[list[Record], pd.DataFrame]:
    """Records to keep, in the manifest's order, and a quarantine row for each of the others.

    Of recordings with the same bytes the first is kept; where their species differ, none can be
    trusted.
    """
    species = dict(
        zip(manifest["recording_id"].tolist(), manifest["species"].tolist(), strict=True)
    )
    same: dict[str, list[str]] = {}
    for name in species:
        if not records[name].reason:
            same.setdefault(records[name].sha256, []).append(name)
    kept, refused = [], []
    for name in species:
        record = records[name]
        if reason := record.reason or _double(name, same[record.sha256], species):
            refused.append((name, record.path, species[name], reason))
        else:
            kept.append(record)
    return kept, pd.DataFrame(refused, columns=QUARANTINE)


def _double(name: str, same: list[str], species: dict[str, str]) -> str:
    if len({species[other] for other in same}) > 1:
        others = ", ".join(f"{other} ({species[other]})" for other in same if other != name)
        return f"label conflict: the same bytes as {others}"
    return f"duplicate: the same bytes as {same[0]}" if name != same[0] else ""


def _pack(folder: Path, audio: AudioSettings, kept: list[Record], progress: bool) -> set[str]:
    """Write the packed files unless they are there; returns the recordings whose spectrograms turn
    out to be damaged.
    """
    quiet = {} if progress else {"disable": True}
    packs = [packing.lms_pack(folder, audio, kept), packing.noise_pack(folder, audio, kept)]
    try:
        for pack in packs:
            if not packing.is_packed(pack):
                packing.write_pack(
                    pack, tqdm(pack.files, desc="packing", unit="recording", **quiet)
                )
    except packing.DamagedError:
        return {
            r.recording_id
            for r in kept
            if not all(map(packing.is_intact, packing.files_of(folder, audio, r)))
        }
    for path in (folder / "packed").glob("[!.]*.npy"):
        if path not in [pack.path for pack in packs]:
            path.unlink(missing_ok=True)  # a process that still maps it keeps it until it is done
    return set()


def _index(kept: list[Record]) -> pd.DataFrame:
    rows = [
        (r.recording_id, r.path, len(r.starts), r.seconds, r.sample_rate, r.channels, r.sha256,
        _joined(r.starts),
         r.noise_checksum is not None)
        for r in kept
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=INDEX)


def _joined(starts: tuple[float, ...]) -> str:
    return ";".join(f"{start:.3f}" for start in starts)


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    text = table.to_csv(index=False, lineterminator="\n")
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _summary(quarantine: pd.DataFrame) -> str:
    """Kinds of reasons with their counts, and the first of each in full."""
    kinds = quarantine["reason"].str.split(":").str[0]
    return "; ".join(f"{count} x {kind}" for kind, count in kinds.value_counts().items())


def _is_safe(recording_id: str) -> bool:
    """Whether a recording_id is a plain file name: no folders, not hidden, nothing unprintable."""
    plain = recording_id.isprintable() and not set(recording_id) & set("/\\:")
    return (
        plain
        and bool(recording_id.strip(" ."))
        and not recording_id.startswith(".")
        and len(recording_id.encode()) <= 200
    )
