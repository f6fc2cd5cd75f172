"""Listen to one recording from beginning to end, block by block."""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import torch

from birdnb.evaluation.refusal import Opinions, joined
from birdnb.features.activity import SHORTEST_SECONDS
from birdnb.features.audio import MAX_BROKEN, Recording, check_sound
from birdnb.features.decoders import AudioError, StopsEarlyError
from birdnb.features.extract import blaming_the_file
from birdnb.features.ffmpeg import LOST
from birdnb.features.lengths import seconds_cut_off
from birdnb.field.clock import read_clock
from birdnb.field.listener import Listener, open_listener
from birdnb.field.scores import Heard
from birdnb.field.windows import Batch, batches

# windows scored at a time: on a core small ones stay in its cache, a GPU wants many
BATCH, BATCH_ON_GPU = 8, 64
LONGEST = 1e8  # [s] three years: a header that tells more is wrong


@dataclass(frozen=True)
class How:
    """Who does the work: ``threads`` that score beside the one that reads, 0: one does both."""

    threads: int = 0
    watch: Callable[[float], None] = lambda seconds: None  # is told how much [s] was heard


HERE = How()


@dataclass(frozen=True)
class Task:
    """A recording to listen to, by which run, and where the result goes."""

    recording: str
    source: str
    folder: Path  # of the output
    target: str  # file in it
    run: str  # folder of the run
    step: float  # [s]


def listen_in_worker(task: Task) -> Heard:
    """Listen to a recording in a worker process of one thread; the run is opened once in each."""
    torch.set_num_threads(1)
    return listen_and_save(task, _opened(task.run))


@functools.lru_cache(maxsize=1)
def _opened(run: str) -> Listener:
    return open_listener(run)


def listen_and_save(task: Task, listener: Listener, how: How = HERE) -> Heard:
    """Listen to a recording and write what was heard, atomically; returned without windows."""
    heard = listen(Heard(task.recording, task.source), listener, task.step, how)
    heard.save(task.folder / task.target)
    return heard.without_windows()


def listen(heard: Heard, listener: Listener, step: float, how: How) -> Heard:
    """Return ``heard`` with the probabilities of all windows, or with the reason for none.

    What libsndfile does not read to its end goes to the decoders of last resort; where these fail
    what was read counts, and ``note`` says what is missing.
    """
    path = Path(heard.source)
    try:
        with blaming_the_file():
            begins, clock = read_clock(path)
        heard = replace(heard, begins=begins, clock=clock)
        with _opened_sound(path) as sound:
            found, stopped = _hear(heard, sound, listener, step, how)
        if stopped is None:
            return _whole(found, path)
        try:
            with _opened_sound(path, stopped) as sound:
                found, again = _hear(heard, sound, listener, step, how)
            return _whole(found, path) if again is None else replace(found, note=str(again))
        except AudioError as error:
            if not len(found.starts):
                raise
            return replace(found, note=str(error))
    except AudioError as error:
        return replace(heard, reason=str(error))
    except OSError as error:
        return replace(heard, reason=f"cannot be opened: {error.strerror or error}")


def _opened_sound(path: Path, stopped: StopsEarlyError | None = None) -> Recording:
    with blaming_the_file():
        return Recording(path, stopped, keep=0)


def _whole(found: Heard, path: Path) -> Heard:
    """Say in ``note`` how much is missing of a file that was cut short, by its header."""
    try:
        told = soundfile.info(path).duration + seconds_cut_off(path)
    except (soundfile.LibsndfileError, OSError):
        return found
    # of files joined to one libsndfile tells more than there can be
    if found.note or not found.seconds + LOST <= told < LONGEST:
        return found
    return replace(
        found, note=f"breaks off: its header tells {told:.1f} s, {found.seconds:.1f} s are there"
    )


def _hear(
    heard: Heard, sound: Recording, listener: Listener, step: float, how: How
) -> tuple[Heard, StopsEarlyError | None]:
    """Hear a recording as far as it can be read, and how it stopped before its end, if it did."""
    stops: list[StopsEarlyError] = []
    blocks = _until_it_stops(sound.blocks(), stops)
    starts: list[np.ndarray] = []
    scores: list[Opinions] = []
    silent = 0.0
    size = BATCH if listener.device.type == "cpu" else BATCH_ON_GPU
    windows = batches(blocks, sound.sample_rate, listener.audio, step, size, listener.waves)
    for batch, found in _scored(windows, listener, how.threads):
        starts.append(batch.starts)
        scores.append(found)
        silent += step * float((~batch.recorded).sum())
        how.watch(float(batch.starts[-1]))
    if sound.take_channel():  # its channels cancel each other, as is known at the end
        return _hear(heard, sound, listener, step, how)
    note = ""
    if sound.broken > MAX_BROKEN * sound.frames:
        note = f"broken samples: {sound.broken / sound.frames:.1%} were read as zero"
    elif not stops:
        check_sound(sound, SHORTEST_SECONDS)
    said = joined(scores or [Opinions(heard.probabilities, heard.energy)])
    whole = replace(
        heard, seconds=sound.seconds, sample_rate=sound.sample_rate,
        channel="mean" if sound.channel is None else str(sound.channel + 1), note=note,
        silent=min(silent, sound.seconds),
        starts=np.concatenate(starts) if starts else heard.starts,
        probabilities=said.probabilities, energy=said.energy,
    )  # fmt: skip
    return whole, stops[0] if stops else None


def _scores(batch: Batch, listener: Listener) -> Opinions:
    """Return probabilities (N, C) and energy (N,), zeros where nothing was recorded."""
    recorded = batch.recorded
    scores = np.zeros((len(batch.starts), len(listener.labels)), np.float32)
    energy = np.zeros(len(batch.starts), np.float32)
    if recorded.any():
        said = listener.hear(batch.only(recorded))
        scores[recorded], energy[recorded] = said.probabilities, said.energy
    return Opinions(scores, energy)


def _until_it_stops(
    blocks: Iterable[np.ndarray], stops: list[StopsEarlyError]
) -> Iterator[np.ndarray]:
    try:
        with blaming_the_file():
            yield from blocks
    except StopsEarlyError as error:
        stops.append(error)


def _scored(
    windows: Iterator[Batch], listener: Listener, threads: int
) -> Iterator[tuple[Batch, Opinions]]:
    """Yield batches with their scores, in order; threads score while this one makes the next."""
    if not threads:
        yield from ((batch, _scores(batch, listener)) for batch in windows)
        return
    with ThreadPoolExecutor(threads) as pool:
        coming: deque[tuple[Batch, Future[Opinions]]] = deque()
        for batch in windows:
            coming.append((batch, pool.submit(_scores, batch, listener)))
            if len(coming) > threads:
                first, score = coming.popleft()
                yield first, score.result()
        yield from ((batch, score.result()) for batch, score in coming)
