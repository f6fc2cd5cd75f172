"""The whole study on a synthesised corpus, stage by stage: what it takes here, and in full size."""

import contextlib
import dataclasses
import gc
import math
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
import yaml

from birdnb.benchmark.machine import card_watched, forget_process_peak
from birdnb.config import load_profile
from birdnb.corpora import open_corpus
from birdnb.data import open_study
from birdnb.features.cache import build_cache
from birdnb.files import BirdnbError, artifacts_dir, write_text
from birdnb.registry import CLASSICAL, EFFICIENTNET, FULL
from birdnb.report.words import title
from birdnb.study import books
from birdnb.study.chapter import Chapter
from birdnb.study.execution import execute
from birdnb.synthetic.demo import make_demo
from birdnb.training.devices import forget_peak_memory, make_accelerator, peak_memory_mb
from birdnb.training.runs import RunResult

T = TypeVar("T")
WHOLE = 11_070  # recordings of the study that this one repeats
SEED = 7
PROBE = 2  # epochs that tell how long one takes; the first is slower than the others
SHARE = 0.5  # of the minutes left go into training, the other half into all that comes after it
MADE, CACHED = "synthesis of the corpus", "spectrograms of all recordings"
PROBED = "probe: "  # begins the name of a stage that the training itself replaces in the sums


@dataclass(frozen=True)
class Size:
    """How large the corpus is, and how long all may take."""

    profile: str = "laptop"
    species: int = 90
    recordings: int = 123  # of each species
    minutes: float | None = None  # None: all epochs, however long they take

    @property
    def scale(self) -> float:
        """Return how many times as large the study in full size is."""
        return max(1.0, WHOLE / (self.species * self.recordings))


@dataclass(frozen=True)
class Stage:
    """A line of the table: what a stage took here, and what it would take in full size."""

    what: str
    seconds: float | None = None  # None: it was not run
    whole: float | None = None  # [s] with all recordings and epochs; None: no part of the study
    epochs: str = ""  # "3 of 50"
    clips_per_second: float | None = None  # of training, without validation
    process_gb: float | None = None  # most memory of this process
    card_gb: float | None = None  # ... and of tensors on the card
    busy: float | None = None  # [%] of the time that the card computed, median
    note: str = ""  # what went wrong, or why it was not run

    @property
    def line(self) -> str:
        """Return it as a line of text, for those who watch."""
        return " ".join(
            [
                f"{self.what:<44}",
                "     –   " if self.seconds is None else f"{self.seconds:7.1f} s",
                "" if self.clips_per_second is None else f"{self.clips_per_second:7.0f} clips/s",
                self.epochs and f"epochs {self.epochs}",
                self.note,
            ]
        ).rstrip()


def stages(size: Size) -> Iterator[Stage]:
    """Run the study and give each stage as it ends. Raises BirdnbError when none can be opened.

    A training, a notebook or the report that fails is a stage with a note, and the next follows;
    what the minutes leave no time for is a stage without seconds.
    """
    deadline = time.monotonic() + 60 * (math.inf if size.minutes is None else size.minutes)
    with _scratch() as folder:
        root = folder / f"invented-{size.species}x{size.recordings}"
        make = partial(make_demo, root, SEED, species=size.species, recordings=size.recordings)
        yield _measured(MADE, make)[0]
        profile = load_profile(size.profile)
        first: dict[str, Callable[[], object]] = {
            CACHED: lambda: build_cache(open_corpus(root), profile.audio),
            "opening the study": lambda: open_study(root, profile, SEED),
        }
        for what, work in first.items():
            stage = _measured(what, work)[0]
            yield _in_full(stage, size)
            if stage.note:
                raise BirdnbError(f"{what} {stage.note}")
        epochs: dict[str, int] = {}
        if size.minutes is not None:
            took = {}
            for stage, run, seconds in _probes(folder, root, size):
                yield stage
                took[run] = seconds
            epochs = affordable(took, size, SHARE * (deadline - time.monotonic()))
        path = _own_profile(folder, size, size.profile, epochs)
        chapter = _opened(root, path)
        yield from _trainings(chapter, size, deadline)
        yield from _notebooks(chapter, path, folder, size, deadline)


def affordable(took: dict[str, float], size: Size, seconds: float) -> dict[str, int]:
    """Return how many epochs of each run fit, by what one takes [s]: a like share, two at least."""
    runs = load_profile(size.profile).runs
    all_of_them = sum(took[run] * runs[run].train.epochs for run in took)
    share = max(0.0, seconds / all_of_them) if all_of_them else 0.0
    return {
        run: min(max(PROBE, int(share * runs[run].train.epochs)), runs[run].train.epochs)
        for run in took
    }


def _probes(folder: Path, root: Path, size: Size) -> Iterator[tuple[Stage, str, float]]:
    """Train each network for two epochs; give the stage, the run and what an epoch took [s]."""
    runs = load_profile(size.profile).runs
    path = _own_profile(folder, size, "probe", dict.fromkeys(runs, PROBE))
    chapter = _opened(root, path)
    for run in runs:
        stage, result = _trained(chapter, run, size, PROBED + title(run))
        yield stage, run, _epoch_seconds(result) if result else 0.0


def _trainings(chapter: Chapter, size: Size, deadline: float) -> Iterator[Stage]:
    for run in (CLASSICAL, *chapter.profile.runs):
        late = time.monotonic() > deadline
        yield _late(title(run)) if late else _trained(chapter, run, size, title(run))[0]
    rest: dict[str, Callable[[], object]] = {
        "ensemble": lambda: chapter.ensemble([FULL, EFFICIENTNET]),
        "report": lambda: chapter.write_report(chapter.results()),
    }
    for what, work in rest.items():
        late = time.monotonic() > deadline
        yield _late(what) if late else _in_full(_measured(what, work)[0], size)


def _notebooks(
    chapter: Chapter, profile: Path, folder: Path, size: Size, deadline: float
) -> Iterator[Stage]:
    """Execute the seven notebooks on the finished runs: what they add to the trainings."""
    given = {"corpus": chapter.corpus, "profile": str(profile), "seed": SEED, "folds": 0}
    for book in books.select(None):
        what = f"notebook {book.stem}, runs finished"
        if time.monotonic() > deadline:
            yield _late(what)
            continue
        known = books.known_parameters(book)
        parameters = {name: value for name, value in given.items() if name in known}
        target, log = folder / book.name, folder / f"{book.stem}.log"
        stage, error = _measured(what, partial(execute, book, target, parameters, log))
        note = f"failed: {error}" if error else stage.note
        if error:
            print(log.read_text(encoding="utf-8")[-3000:], file=sys.stderr)
        # the kernel's memory is not this process' own
        stage = dataclasses.replace(stage, process_gb=None, card_gb=None, note=note)
        yield _in_full(stage, size)


def _trained(chapter: Chapter, run: str, size: Size, what: str) -> tuple[Stage, RunResult | None]:
    """Train a run of the chapter's profile and measure it; the result is None when it failed."""
    stage, results = _measured(what, lambda: chapter.train(run))
    if not results:
        return stage, None
    history, seconds = results[0].history, stage.seconds or 0.0
    usual = load_profile(size.profile).runs
    epochs = usual[run].train.epochs if run in usual else 1
    besides = seconds - float(history["seconds"].sum())
    measured = dataclasses.replace(
        stage,
        whole=(besides + epochs * _epoch_seconds(results[0])) * size.scale,
        epochs=f"{len(history)} of {epochs}",
        clips_per_second=float(history["clips_per_second"].iloc[-1]),
    )
    return measured, results[0]


def _epoch_seconds(result: RunResult) -> float:
    """Return what an epoch takes [s], validation included: the mean of all but the first."""
    seconds = result.history["seconds"]
    return float((seconds[1:] if len(seconds) > 1 else seconds).mean())


def _measured(what: str, work: Callable[[], T]) -> tuple[Stage, T | None]:
    """Do some work and measure it; what fails is noted, its traceback goes to stderr."""
    device, result, note = make_accelerator().device, None, ""
    gc.collect()
    forget_process_peak()
    forget_peak_memory(device)
    start = time.perf_counter()
    with card_watched() as card:
        try:
            result = work()
        except Exception as error:  # a stage that fails must not hide the figures of the others
            traceback.print_exc()
            note = f"failed: {type(error).__name__}: {' '.join(str(error).split())}"
    on_card = device.type == "cuda"
    return Stage(
        what, time.perf_counter() - start, note=note,
        process_gb=peak_memory_mb(torch.device("cpu")) / 1e3,
        card_gb=peak_memory_mb(device) / 1e3 if on_card else None,
        busy=card.get("busy") if on_card else None,
    ), result  # fmt: skip


def _in_full(stage: Stage, size: Size) -> Stage:
    """Add what a stage would take in full size: its seconds grow with the recordings at most."""
    if stage.note or stage.seconds is None:
        return stage
    return dataclasses.replace(stage, whole=stage.seconds * size.scale)


def _late(what: str) -> Stage:
    return Stage(what, note="not run: the minutes were over")


def _opened(root: Path, profile: Path) -> Chapter:
    chapter = Chapter("07", str(root), load_profile(profile), SEED, 0)
    assert chapter.data  # opened here, so that no training's time has it
    return chapter


def _own_profile(folder: Path, size: Size, name: str, epochs: dict[str, int]) -> Path:
    """Write the profile with these epochs, and new weights where a hub has those it wants."""
    runs = {}
    for run, settings in load_profile(size.profile).runs.items():
        kept = settings.model.pretrained in (False, "synthetic")
        pretrained = settings.model.pretrained if kept else False
        train = {"epochs": epochs.get(run, settings.train.epochs)}
        runs[run] = {"model": {"pretrained": pretrained}, "train": train}
    text = yaml.safe_dump({"base": size.profile, "runs": runs})
    return write_text(folder / "profiles" / f"{name}.yaml", text)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """Give an empty folder in which, meanwhile, all artifacts are; nothing is left of it."""
    folder, before = artifacts_dir() / "benchmark", os.environ.get("BIRDNB_ARTIFACTS")
    shutil.rmtree(folder, ignore_errors=True)  # of a call that was killed
    os.environ["BIRDNB_ARTIFACTS"] = str(folder)
    try:
        yield folder
    finally:
        if before is None:
            del os.environ["BIRDNB_ARTIFACTS"]
        else:
            os.environ["BIRDNB_ARTIFACTS"] = before
        shutil.rmtree(folder, ignore_errors=True)
