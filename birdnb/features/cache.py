"""The LMS cache: extracted once, kept as float16 decibels, read by every run.

``artifacts/audio_lms_cache/<corpus>/<key>/`` holds

- ``<recording_id>.npy``: (segments, n_mels, T), the most active windows, best first;
  ``noise/<recording_id>.npy``: (n_mels, T),
- ``index.csv`` and ``quarantine.csv``: what is in it, and what was left out and why; ``channel``
  is the number of the one taken where channels cancel each other, else "mean",
- ``state.jsonl``: a line for each recording that was looked at, so that no work is done twice.

Everything is written atomically and depends on nothing but the sources and the settings, so that a
killed build goes on and two at once do no harm. No audio library is imported here, only where
recordings are extracted.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from birdnb.config import AudioSettings, key_of
from birdnb.corpora.table import id_fault
from birdnb.features.ledger import NAMES, Record, append_record, read_ledger, write_ledger
from birdnb.features.store import LmsCache, verified
from birdnb.features.workers import Task, extract_all
from birdnb.files import BirdnbError, artifacts_dir, sweep, write_text, writing

if TYPE_CHECKING:
    from birdnb.corpora import Corpus

VERSION = 4  # of the extraction: a change makes new caches
INDEX = ["recording_id", "path", "segments", "seconds", "sample_rate", "channels", "sha256"]
INDEX += ["starts", "noise", "channel"]
QUARANTINE = ["recording_id", "path", "species", "reason"]


def build_cache(
    corpus: Corpus, audio: AudioSettings, jobs: int | None = None, progress: bool = True,
    dask: str | None = None,
) -> LmsCache:  # fmt: skip
    """Extract what is not yet in the cache and open it. Resumable; two builds at once do no harm.

    ``jobs`` worker processes (None: one a core; 1: in this process), or the Dask cluster whose
    scheduler is at ``dask``. Changed sources are extracted again. Raises BirdnbError when no
    recording survives, or when the folder cannot be written. A corpus with corrections has the
    cache of the corpus before: its sound is the same.
    """
    if corpus.before is not None:
        return _without(corpus, build_cache(corpus.before, audio, jobs, progress, dask))
    folder = artifacts_dir() / "audio_lms_cache" / corpus.name / key_of(audio, VERSION)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    sweep(folder, "noise")
    safe = corpus.manifest["recording_id"].map(id_fault) == ""
    manifest = corpus.manifest[safe]
    ledger = folder / "state.jsonl"
    before = read_ledger(ledger)
    records = dict(before)
    tasks = [
        Task(name, path, f"{corpus.root}/{path}", folder, audio, records.get(name))
        for name, path in zip(manifest["recording_id"], manifest["path"], strict=True)
    ]
    if tasks := _outdated(tasks, records):
        for record in extract_all(tasks, jobs, progress, dask):
            append_record(ledger, record)
            records[record.recording_id] = record
    kept, refused = _judge(manifest, records)
    unsafe = corpus.manifest[~safe].assign(reason="unsafe recording_id: it cannot be a file name")
    quarantine = pd.concat(
        [corpus.left_out[QUARANTINE], unsafe[QUARANTINE], refused], ignore_index=True
    )
    index = _index(kept)
    _write_csv(folder / "index.csv", index)
    _write_csv(folder / "quarantine.csv", quarantine)
    after = [records[name] for name in manifest["recording_id"]]
    if after != list(before.values()):
        write_ledger(ledger, after)
    if not kept:
        raise BirdnbError(
            f"no recording of corpus {corpus.name!r} can be used: {_summary(quarantine)}"
        )
    return LmsCache(
        folder, audio, index, quarantine, {record.recording_id: record for record in kept}
    )


def _without(corpus: Corpus, cache: LmsCache) -> LmsCache:
    """Leave out of a cache what corrections dropped, and say so in the quarantine."""
    gone = ~cache.index["recording_id"].isin(set(corpus.manifest["recording_id"]))
    dropped = corpus.left_out["recording_id"].isin(set(cache.index["recording_id"][gone]))
    quarantine = pd.concat([cache.quarantine, corpus.left_out[dropped]], ignore_index=True)
    return replace(
        cache, index=cache.index[~gone].reset_index(drop=True), quarantine=quarantine[QUARANTINE]
    )


def _outdated(tasks: list[Task], records: dict[str, Record]) -> list[Task]:
    """Return the recordings to look at: new, changed, worth another try, or with damaged files.

    Where files were written again with the same content, ``records`` gets their new times.
    """
    outdated = []
    for task in tasks:
        record = _current(task)
        if record is None:
            outdated.append(task)
        else:
            records[task.recording_id] = record
    return outdated


def _current(task: Task) -> Record | None:
    """Return the task's known record if it still holds, else None."""
    record = task.known
    try:
        source = os.stat(task.source)
    except OSError:
        return None  # the worker finds out why, and says so
    seen = (task.path, source.st_size, source.st_mtime_ns)
    if record is None or (record.path, record.size, record.modified) != seen:
        return None
    if record.reason:
        return None if record.worth_another_try else record
    return verified(task.folder, task.audio, record)


def _judge(manifest: pd.DataFrame, records: dict[str, Record]) -> tuple[list[Record], pd.DataFrame]:
    """Return the records to keep, in the manifest's order, and a quarantine row for each other one.

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


def _index(kept: list[Record]) -> pd.DataFrame:
    table = pd.DataFrame([vars(record) for record in kept], columns=NAMES)
    return table.assign(
        segments=table["starts"].map(len).astype(int),
        starts=table["starts"].map(lambda starts: ";".join(f"{start:.3f}" for start in starts)),
        noise=table["checksums"].map(len) > 1,
    )[INDEX]


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    text = table.to_csv(index=False, lineterminator="\n")
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)


def _summary(quarantine: pd.DataFrame) -> str:
    """Return the kinds of reasons with their counts."""
    kinds = quarantine["reason"].str.split(":").str[0]
    return "; ".join(f"{count} x {kind}" for kind, count in kinds.value_counts().items())
