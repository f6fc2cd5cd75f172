"""Extraction over cores or a Dask cluster; a recording that kills its worker is refused alone."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from birdnb.config import AudioSettings
from birdnb.features.ledger import Record
from birdnb.features.pools import Work, share_out
from birdnb.features.store import paths_of, stamped, verified, write_lms

# [bytes/s] of a recording; a worker that is slower is taken for hanging: 15 hours of MP3 get more
# than an hour
SLOWEST = 1e5


@dataclass(frozen=True)
class Task:
    """A recording to extract: its source file, and the cache folder its spectrograms go to."""

    recording_id: str
    path: str  # as in the manifest
    source: str
    folder: Path
    audio: AudioSettings
    known: Record | None = None  # from an earlier build


def extract_all(
    tasks: list[Task], jobs: int | None = None, progress: bool = True, dask: str | None = None
) -> Iterator[Record]:
    """Extract recordings and yield their records as they come; see ``share_out``."""
    work = Work(extract_one, "birdnb.features.extract", SLOWEST)
    records = (
        _killer(task) if record is None else record
        for task, record in share_out(tasks, work, jobs, dask)
    )
    quiet = {} if progress else {"disable": True}  # left out, TQDM_DISABLE decides
    yield from tqdm(records, total=len(tasks), desc="spectrograms", unit="recording", **quiet)


def extract_one(task: Task) -> Record:
    """Extract one recording into the cache and return its record; an unusable one gets a reason.

    Raises BirdnbError when the cache cannot be written.
    """
    from birdnb.features.decoders import AudioError

    record = Record(task.recording_id, task.path)
    try:
        record = _look_at(record, task.source)
        return _known(task, record) or _extract(task, record)
    except OSError as error:
        return replace(record, reason=f"cannot be opened: {error.strerror or error}")
    except AudioError as error:
        return replace(record, reason=str(error))


def _look_at(record: Record, source: str) -> Record:
    """Return the record with the source's size, time of change and hash."""
    with open(source, "rb") as file:
        stat = os.stat(source)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return replace(record, size=stat.st_size, modified=stat.st_mtime_ns, sha256=digest)


def _known(task: Task, record: Record) -> Record | None:
    """Return what became of the same bytes in an earlier build, if it is still there."""
    known = task.known
    if known is None or known.sha256 != record.sha256 or known.worth_another_try:
        return None
    if not known.reason:
        known = verified(task.folder, task.audio, known)
    return known and replace(known, path=record.path, size=record.size, modified=record.modified)


def _extract(task: Task, record: Record) -> Record:
    from birdnb.features.extract import extract

    found = extract(task.source, task.audio)
    arrays = [found.lms] if found.noise is None else [found.lms, found.noise]
    paths = paths_of(task.folder, task.recording_id)
    record = replace(
        record, starts=tuple(round(start, 6) for start in found.starts),
        seconds=round(found.seconds, 6), sample_rate=found.sample_rate, channels=found.channels,
        channel="mean" if found.channel is None else str(found.channel + 1),
        checksums=tuple(write_lms(path, lms) for path, lms in zip(paths, arrays, strict=False)),
    )  # fmt: skip
    return stamped(task.folder, task.audio, record)


def _killer(task: Task) -> Record:
    record = Record(task.recording_id, task.path)
    with contextlib.suppress(OSError):
        record = _look_at(record, task.source)
    reason = "decoder died: it crashes, hangs or needs too much memory over this file"
    return replace(record, reason=reason)
