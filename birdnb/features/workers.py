"""Extraction over cores or a Dask cluster; a recording that kills its worker is refused alone."""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
from joblib.externals import loky
from tqdm import tqdm

from birdnb.config import AudioSettings
from birdnb.features.cluster import cluster
from birdnb.features.ledger import Record
from birdnb.features.store import paths_of, stamped, verified, write_lms
from birdnb.files import BirdnbError, writing

PATIENCE = 60.0  # [s] a worker may take for a recording before it is taken for hanging, and ...
SLOWEST = 1e5  # [bytes/s] ... more for a large file: 15 hours of MP3 get more than an hour
IDLE_SECONDS = 10  # workers end after so long without work, also when their master was killed
ONE_THREAD = dict.fromkeys(
    ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"], "1"
)
ON_CLUSTER = 1000  # recordings handed to a cluster at a time
SEEN_ON_CLUSTER = 10  # recordings that its workers are asked for beforehand
WorkerDied = loky.process_executor.TerminatedWorkerError


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
    """Extract recordings and yield their records as they come, in any order.

    ``jobs`` worker processes, None for one a core; 1 works in this process, where nothing protects
    from a decoder that crashes. ``dask``: the address of a scheduler, whose workers do it instead.
    """
    if dask is not None:
        records = _spared(_over_cluster(tasks, dask))
    elif jobs == 1:
        records = map(extract_one, tasks)
    else:
        jobs = jobs or max(2, joblib.cpu_count())
        records = _spared(_over_pools(tasks, jobs, ahead=2 * jobs))
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
        record,
        starts=tuple(round(start, 6) for start in found.starts),
        seconds=round(found.seconds, 6),
        sample_rate=found.sample_rate,
        channels=found.channels,
        channel="mean" if found.channel is None else str(found.channel + 1),
        checksums=tuple(write_lms(path, lms) for path, lms in zip(paths, arrays, strict=False)),
    )
    return stamped(task.folder, task.audio, record)


def _spared(results: Iterator[tuple[Task, Record | None]]) -> Iterator[Record]:
    """Yield the records; then those of the recordings whose worker died, tried again one by one."""
    suspects = []
    for task, record in results:
        if record is None:
            suspects.append(task)
        else:
            yield record
    for task, record in _over_pools(suspects, jobs=1, ahead=1):
        yield _killer(task) if record is None else record


def _killer(task: Task) -> Record:
    record = Record(task.recording_id, task.path)
    with contextlib.suppress(OSError):
        record = _look_at(record, task.source)
    reason = "decoder died: it crashes, hangs or needs too much memory over this file"
    return replace(record, reason=reason)


def _over_pools(tasks: list[Task], jobs: int, ahead: int) -> Iterator[tuple[Task, Record | None]]:
    """Yield tasks with their records, None for those at work when a worker dies."""
    left = deque(tasks)
    while left:
        with _pool(jobs) as pool:
            yield from _harvest(pool, _within_time, left, ahead, WorkerDied)


@contextlib.contextmanager
def _pool(jobs: int) -> Iterator[Executor]:
    pool = loky.ProcessPoolExecutor(
        jobs, timeout=IDLE_SECONDS, initializer=_import_early, env=ONE_THREAD
    )
    try:
        pool.submit(os.getpid).result()
        yield pool
    except loky.BrokenProcessPool as error:
        raise BirdnbError(
            "worker processes die before they do anything: out of memory? try fewer jobs"
        ) from error
    finally:
        pool.shutdown(kill_workers=True)


def _import_early() -> None:
    """Import what extraction needs, so that no recording is blamed for what dies of it."""
    import birdnb.features.extract  # noqa: F401


def _harvest(
    pool: Executor,
    work: Callable[[Task], Record],
    left: deque[Task],
    ahead: int,
    death: type[Exception],
) -> Iterator[tuple[Task, Record | None]]:
    """Do ``work`` on the tasks that are ``left``, at most ``ahead`` at a time, as they come.

    The record is None where a worker died. Ends when none is left, or the pool takes no more.
    """
    at_work: dict[Future[Record], Task] = {}
    while True:
        with contextlib.suppress(WorkerDied):
            while left and len(at_work) < ahead:
                future = pool.submit(work, left[0])
                at_work[future] = left.popleft()
        if not at_work:
            return
        for future in wait(at_work, return_when=FIRST_COMPLETED).done:
            task = at_work.pop(future)
            yield task, None if isinstance(future.exception(), death) else future.result()


def _over_cluster(tasks: list[Task], address: str) -> Iterator[tuple[Task, Record | None]]:
    """Yield tasks with their records, None for those that kill the workers of a Dask cluster."""
    tasks = [
        replace(task, source=os.path.abspath(task.source), folder=task.folder.absolute())
        for task in tasks
    ]
    folder = tasks[0].folder
    sources = [Path(task.source) for task in tasks[:SEEN_ON_CLUSTER]]
    with (
        writing(folder / "state.jsonl"),
        tempfile.NamedTemporaryFile(dir=folder, prefix=".tmp-") as probe,
        cluster(address, needed=[*sources, Path(probe.name)]) as pool,
    ):
        from distributed import KilledWorker

        yield from _harvest(pool, _on_worker, deque(tasks), ON_CLUSTER, KilledWorker)


def _on_worker(task: Task) -> Record:
    import distributed

    shared = distributed.get_worker().state.nthreads > 1
    return extract_one(task) if shared else _within_time(task)  # the limit ends the whole process


def _within_time(task: Task) -> Record:
    """Extract, and end this process when that takes absurdly long: a decoder cannot be stopped."""
    with contextlib.suppress(OSError):  # extract_one finds it too
        limit = PATIENCE + os.path.getsize(task.source) / SLOWEST
        faulthandler.dump_traceback_later(limit, exit=True)
    try:
        return extract_one(task)
    finally:
        faulthandler.cancel_dump_traceback_later()
