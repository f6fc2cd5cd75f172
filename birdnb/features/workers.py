"""Extraction over the cores, each recording on its own: one that kills its worker is refused, all
others go on.

With the environment variable BIRDNB_DASK, the address of a scheduler, it goes over a Dask cluster
instead (``cluster.py``).
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import joblib
from joblib.externals import loky
from tqdm.auto import tqdm

from birdnb.config import AudioSettings
from birdnb.features import cluster, packing
from birdnb.features.ledger import Record, has_ffmpeg
from birdnb.files import BirdnbError

PATIENCE = 60.0  # [s] a worker may take for a recording before it is taken for hanging, and ...
# workers end when they have nothing to do for so long, also when the process they work for was
# killed
IDLE_SECONDS = 10
SLOWEST = 1e5  # [bytes/s] ... more for a large file: 15 hours of MP3 get more than an hour


@dataclass(frozen=True)
class Task:
    """A recording to extract: its source file, and the cache folder that its spectrograms go to."""

    recording_id: str
    path: str  # as in the manifest
    source: str
    folder: Path
    audio: AudioSettings
    known: Record | None = None  # from an earlier build


def extract_all(tasks: list[Task], jobs: int | None, progress: bool = True) -> Iterator[Record]:
    """Extract recordings and yield their records as they come, in any order.

    ``jobs`` worker processes, None for the cluster at BIRDNB_DASK or else one a core; 1 works in
    this process, where nothing protects from a decoder that crashes.
    """
    quiet = {} if progress else {"disable": True}
    records = _records(tasks, jobs, os.environ.get("BIRDNB_DASK"))
    yield from tqdm(records, total=len(tasks), desc="spectrograms", unit="recording", **quiet)


def _records(tasks: list[Task], jobs: int | None, address: str | None) -> Iterator[Record]:
    if jobs is None and address:
        return _on_cluster(tasks, address)
    jobs = max(2, joblib.cpu_count()) if jobs is None else jobs
    return map(extract_one, tasks) if jobs == 1 else _in_processes(tasks, jobs)


def extract_one(task: Task) -> Record:
    """Extract one recording into the cache and return its record; an unusable one gets a reason.

    Raises BirdnbError when the cache cannot be written.
    """
    from birdnb.features.audio import AudioError

    record = Record(task.recording_id, task.path)
    try:
        record = _look_at(record, task.source)
        known = _unchanged(task, record)
        if known is not None:
            return dataclasses.replace(
                known, path=record.path, size=record.size, modified=record.modified
            )
        return _extract(task, record)
    except OSError as error:
        return dataclasses.replace(record, reason=f"cannot be opened: {error.strerror or error}")
    except AudioError as error:
        undecoded = str(error).startswith("cannot be decoded")
        return dataclasses.replace(
            record, reason=str(error), without_ffmpeg=undecoded and not has_ffmpeg()
        )


def _look_at(record: Record, source: str) -> Record:
    """The record with the source's size, time of change and hash."""
    with open(source, "rb") as file:
        stat = Path(source).stat()
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return dataclasses.replace(record, size=stat.st_size, modified=stat.st_mtime_ns, sha256=digest)


def _unchanged(task: Task, record: Record) -> Record | None:
    """What became of the same bytes before, when it is still there."""
    known = task.known
    if known is None or known.sha256 != record.sha256:
        return None
    if known.worth_another_try:
        return None
    if known.reason or all(
        map(packing.is_intact, packing.files_of(task.folder, task.audio, known))
    ):
        return known
    return None


def _extract(task: Task, record: Record) -> Record:
    from birdnb.features.extract import extract

    found = extract(task.source, task.audio)
    record = dataclasses.replace(
        record,
        starts=tuple(round(start, 6) for start in found.starts),
        seconds=round(found.seconds, 6),
        sample_rate=found.sample_rate,
        channels=found.channels,
        noise_checksum=None if found.noise is None else 0,
    )
    checksums, arrays = [], [found.lms] if found.noise is None else [found.lms, found.noise]
    for file, lms in zip(packing.files_of(task.folder, task.audio, record), arrays, strict=True):
        checksums.append(packing.write_array(file.path, lms.astype("float16")))
    return dataclasses.replace(
        record, checksum=checksums[0], noise_checksum=checksums[1] if len(checksums) > 1 else None
    )


def _on_cluster(tasks: list[Task], address: str) -> Iterator[Record]:
    """Over a Dask cluster. A recording that kills its workers is tried once more here, in a process
    of its own.
    """
    tasks = [
        dataclasses.replace(t, source=str(Path(t.source).absolute()), folder=t.folder.absolute())
        for t in tasks
    ]
    needed = [Path(tasks[0].source).parent, tasks[0].folder]
    for task, record in cluster.run_on_cluster(address, _on_worker, tasks, needed):
        yield _alone(task) if record is None else record


def _on_worker(task: Task) -> Record:
    return (
        extract_one(task) if cluster.is_shared_worker() else _within_time(task)
    )  # the limit ends the whole process


def _in_processes(tasks: list[Task], jobs: int) -> Iterator[Record]:
    """Over worker processes. When one dies, the recordings that were being worked on are tried
    again, each on its own.
    """
    remaining = dict(enumerate(tasks))
    with tempfile.TemporaryDirectory(prefix="birdnb-") as busy:
        while remaining:
            before = len(remaining)
            try:
                for number, record in _pool(list(remaining.items()), jobs, busy):
                    del remaining[number]
                    yield record
            except loky.process_executor.TerminatedWorkerError as error:
                suspects = [int(marker.name) for marker in Path(busy).iterdir()]
                for number in sorted(set(suspects) & set(remaining)):
                    yield _alone(remaining.pop(number))
                for number in suspects:
                    (Path(busy) / str(number)).unlink()
                if len(remaining) == before:
                    raise BirdnbError(
                        "worker processes die before they do anything: out of memory? try fewer "
                        "jobs"
                    ) from error


def _pool(tasks: list[tuple[int, Task]], jobs: int, busy: str) -> Iterator[tuple[int, Record]]:
    with joblib.parallel_config(
        backend="loky", inner_max_num_threads=1, idle_worker_timeout=IDLE_SECONDS
    ):
        run = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
        yield from run(joblib.delayed(_marked)(number, task, busy) for number, task in tasks)


def _marked(number: int, task: Task, busy: str) -> tuple[int, Record]:
    """Extract, with a marker file that stays when this process dies over it."""
    marker = Path(busy) / str(number)
    marker.touch()
    try:
        return number, _within_time(task)
    finally:
        marker.unlink()


def _alone(task: Task) -> Record:
    """Extract in a process of its own; the record of a recording that kills it says so."""
    with loky.ProcessPoolExecutor(max_workers=1) as pool:
        try:
            return pool.submit(_within_time, task).result()
        except loky.process_executor.TerminatedWorkerError:
            reason = "decoder died: it crashes, hangs or needs too much memory over this file"
    try:
        record = _look_at(Record(task.recording_id, task.path), task.source)
    except OSError:
        record = Record(task.recording_id, task.path)
    return dataclasses.replace(record, reason=reason)


def _within_time(task: Task) -> Record:
    """Extract; the system ends this process when that takes absurdly long (a decoder that hangs
    cannot be interrupted).
    """
    if not hasattr(signal, "alarm"):  # Windows
        return extract_one(task)
    try:
        size = Path(task.source).stat().st_size
    except OSError:
        size = 0  # extract_one tells the reason
    signal.alarm(int(PATIENCE + size / SLOWEST))
    try:
        return extract_one(task)
    finally:
        signal.alarm(0)
