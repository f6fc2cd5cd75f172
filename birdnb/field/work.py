"""Listen to many recordings: over cores or a cluster, what was heard already not once more."""

import functools
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import joblib
import soundfile
import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from birdnb.config import key_of
from birdnb.features.ledger import NO_MEMORY
from birdnb.features.pools import Work, share_out
from birdnb.field.listen import How, Task, listen_and_save, listen_in_worker
from birdnb.field.listener import Listener
from birdnb.field.scores import Heard
from birdnb.files import safe_name, sweep, writing

VERSION = 2  # of what is heard; a change listens to everything again
SLOWEST = 1e4  # [bytes/s] of a recording; a worker that is slower is taken for hanging
DIED = "decoder died: it crashes, hangs or needs too much memory over this file"


def listen_all(
    sounds: list[Heard], listener: Listener, out: Path, step: float, jobs: int | None = None,
    dask: str | None = None, progress: bool = True,
) -> list[tuple[Heard, Path]]:  # fmt: skip
    """Listen to all recordings; returns them without windows, with the files that hold these.

    Results are written one by one, and read again when neither recording, run nor step changed.
    ``jobs`` worker processes (None: one a core; 1: in this process, as on a GPU), or the Dask
    cluster whose scheduler is at ``dask``.
    """
    with writing(out):
        (out / "scores").mkdir(parents=True, exist_ok=True)
    sweep(out, "scores", "raven", "audacity")
    tasks = {sound.recording: _task(sound, listener, out, step) for sound in sounds}
    heard = {sound.recording: _known(sound, tasks[sound.recording]) for sound in sounds}
    left = [tasks[name] for name, known in heard.items() if known is None]
    for one in _listen(left, listener, jobs, dask, progress):
        heard[one.recording] = one
    return [(one, out / tasks[name].target) for name, one in heard.items() if one is not None]


def _task(sound: Heard, listener: Listener, out: Path, step: float) -> Task:
    try:
        stat = os.stat(sound.source)
        seen = [stat.st_size, stat.st_mtime_ns]
    except OSError:
        seen = []
    key = key_of(sound.recording, seen, listener.weights, listener.labels, step, VERSION)
    target = f"scores/{safe_name(sound.recording)[:80]}-{key}.npz"
    return Task(sound.recording, sound.source, out, target, str(listener.folder), step)


def _known(sound: Heard, task: Task) -> Heard | None:
    """Return what is known already of a recording: that it cannot be read, or what was heard."""
    if sound.reason:
        return sound
    before = Heard.load(task.folder / task.target)
    if before is None or before.reason.startswith(("cannot be opened", NO_MEMORY)):
        return None
    return replace(before.without_windows(), source=sound.source)


def _listen(
    tasks: list[Task], listener: Listener, jobs: int | None, dask: str | None, progress: bool
) -> Iterator[Heard]:
    """Yield what was heard, as it comes."""
    minutes = {task.recording: _minutes(task.source) for task in tasks}
    quiet = {} if progress else {"disable": True}  # left out, TQDM_DISABLE decides
    form = (
        "{desc}: {percentage:3.0f}% of {total:.0f} min |{bar}| {elapsed}, {remaining} left{postfix}"
    )
    if not tasks:
        return
    with tqdm(total=sum(minutes.values()), desc="listening", bar_format=form, **quiet) as bar:
        done = 0.0
        if dask is None and _alone(tasks, jobs, listener.device):
            results = _in_this_process(tasks, listener, bar)
        else:
            work = Work(listen_in_worker, "birdnb.field.listen", SLOWEST)
            results = (one or _died(task) for task, one in share_out(tasks, work, jobs, dask))
        for one in results:
            done += minutes[one.recording]
            bar.update(max(0.0, done - bar.n))
            yield one


def _alone(tasks: list[Task], jobs: int | None, device: torch.device) -> bool:
    """Tell whether this process does the work: for one recording, and where a GPU does it."""
    return jobs == 1 or (jobs is None and (len(tasks) == 1 or device.type != "cpu"))


def _in_this_process(tasks: list[Task], listener: Listener, bar: tqdm) -> Iterator[Heard]:
    """Listen here: a GPU, or a thread a core, each of which scores a batch of its own."""
    on_cpu, before = listener.device.type == "cpu", torch.get_num_threads()
    torch.set_num_threads(1 if on_cpu else before)
    threads = joblib.cpu_count() if on_cpu else 1
    try:
        for task in tasks:
            watch = functools.partial(_show, bar, bar.n)
            # threads of BLAS would spend ten times as long waiting for each other
            with threadpool_limits(1, user_api="blas"):
                heard = listen_and_save(task, listener, How(threads, watch))
            yield heard
    finally:
        torch.set_num_threads(before)


def _show(bar: tqdm, before: float, seconds: float) -> None:
    bar.update(max(0.0, min(bar.total, before + seconds / 60) - bar.n))


def _died(task: Task) -> Heard:
    heard = Heard(task.recording, task.source, reason=DIED)
    heard.save(task.folder / task.target)
    return heard


def _minutes(source: str) -> float:
    """Estimate the length of a recording by its header, or by its size where it has none."""
    try:
        return soundfile.info(source).duration / 60
    except (soundfile.LibsndfileError, OSError):
        return os.path.getsize(source) / 1e6 if os.path.exists(source) else 0.0  # 1 MB a minute
