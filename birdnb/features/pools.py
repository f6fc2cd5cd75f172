"""Work on many sound files over cores or a Dask cluster; one that kills its worker is spared."""

import contextlib
import faulthandler
import functools
import importlib
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import joblib
from joblib.externals import loky
from threadpoolctl import threadpool_limits

from birdnb.features.cluster import cluster
from birdnb.files import BirdnbError, writing

PATIENCE = 60.0  # [s] a worker may take for a recording before it is taken for hanging, and ...
IDLE_SECONDS = 10  # workers end after so long without work, also when their master was killed
ONE_THREAD = dict.fromkeys(
    ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"], "1"
)
ON_CLUSTER = 1000  # recordings handed to a cluster at a time
SEEN_ON_CLUSTER = 10  # recordings that its workers are asked for beforehand
WorkerDied = loky.process_executor.TerminatedWorkerError


class Job(Protocol):
    """A dataclass that names the sound file to work on, and the folder that results go to."""

    @property
    def source(self) -> str:
        """Return the path of the sound file."""

    @property
    def folder(self) -> Path:
        """Return the folder that results go to."""


T = TypeVar("T", bound=Job)
R = TypeVar("R")


@dataclass(frozen=True)
class Work(Generic[T, R]):
    """What is to be done with each task: a function that worker processes can import."""

    function: Callable[[T], R]
    early: str  # module that workers import first, so that no recording is blamed for it
    slowest: float  # [bytes/s]; a worker slower than that, and PATIENCE, is taken for hanging


def share_out(
    tasks: list[T], work: Work[T, R], jobs: int | None = None, dask: str | None = None
) -> Iterator[tuple[T, R | None]]:
    """Yield tasks with their results as they come, in any order.

    ``jobs`` worker processes, None for one a core; 1 works in this process, where nothing protects
    from a decoder that crashes. ``dask``: the address of a scheduler, whose workers do it instead.
    The result is None for a task whose worker died, once more when it was tried alone. Raises
    BirdnbError for fewer jobs than 1.
    """
    if jobs is not None and jobs < 1:
        raise BirdnbError(f"jobs {jobs}: give 1 or more, or None for one a core")
    results: Iterator[tuple[T, Any]]
    if dask is not None:
        results = _over_cluster(tasks, work, dask)
    elif jobs == 1:
        for task in tasks:
            with threadpool_limits(1, "blas"):  # as in the workers: more add up in another order
                result = work.function(task)
            yield task, result
        return
    else:
        jobs = jobs or max(2, joblib.cpu_count())
        results = _over_pools(tasks, work, jobs, ahead=2 * jobs)
    suspects: list[T] = []
    for task, result in results:
        if result is None:
            suspects.append(task)
        else:
            yield task, result
    yield from _over_pools(suspects, work, jobs=1, ahead=1)


def _over_pools(
    tasks: list[T], work: Work[T, Any], jobs: int, ahead: int
) -> Iterator[tuple[T, Any]]:
    """Yield tasks with their results, None for those at work when a worker dies."""
    left = deque(tasks)
    while left:
        with _pool(jobs, work.early) as pool:
            function = functools.partial(_within_time, work)
            yield from _harvest(pool, function, left, ahead, WorkerDied)


@contextlib.contextmanager
def _pool(jobs: int, early: str) -> Iterator[Executor]:
    pool = loky.ProcessPoolExecutor(
        jobs, timeout=IDLE_SECONDS, initializer=importlib.import_module, initargs=(early,),
        env=ONE_THREAD,
    )  # fmt: skip
    try:
        pool.submit(os.getpid).result()
        yield pool
    except loky.BrokenProcessPool as error:
        raise BirdnbError(
            "worker processes die before they do anything: out of memory? try fewer jobs"
        ) from error
    finally:
        pool.shutdown(kill_workers=True)


def _harvest(
    pool: Executor, work: Callable[[T], R], left: deque[T], ahead: int, death: type[Exception]
) -> Iterator[tuple[T, R | None]]:
    """Do ``work`` on tasks ``left``, ``ahead`` at once, as they come; None: a worker died."""
    at_work: dict[Future[R], T] = {}
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


def _over_cluster(tasks: list[T], work: Work[T, Any], address: str) -> Iterator[tuple[T, Any]]:
    """Yield tasks with their results, None for those that kill the workers of a Dask cluster."""
    tasks = [_whole(task) for task in tasks]
    folder = tasks[0].folder
    sources = [Path(task.source) for task in tasks[:SEEN_ON_CLUSTER]]
    with (
        writing(folder / "state.jsonl"),
        tempfile.NamedTemporaryFile(dir=folder, prefix=".tmp-") as probe,
        cluster(address, needed=[*sources, Path(probe.name)]) as pool,
    ):
        from distributed import KilledWorker

        function = functools.partial(_on_worker, work)
        yield from _harvest(pool, function, deque(tasks), ON_CLUSTER, KilledWorker)


def _whole(task: Any) -> Any:
    """Return a task with absolute paths, which mean the same on all machines."""
    return replace(task, source=os.path.abspath(task.source), folder=task.folder.absolute())


def _on_worker(work: Work[T, R], task: T) -> R:
    import distributed

    shared = distributed.get_worker().state.nthreads > 1
    # the limit ends the whole process
    return work.function(task) if shared else _within_time(work, task)


def _within_time(work: Work[T, R], task: T) -> R:
    """Do the work, and end this process when it takes absurdly long: no decoder can be stopped."""
    with contextlib.suppress(OSError):  # the work finds it too
        limit = PATIENCE + os.path.getsize(task.source) / work.slowest
        faulthandler.dump_traceback_later(limit, exit=True)
    try:
        return work.function(task)
    finally:
        faulthandler.cancel_dump_traceback_later()
