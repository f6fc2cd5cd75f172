"""An outing: a run listens to recordings, and what it heard becomes detections and tables."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from birdnb.data import StudyData
from birdnb.evaluation.refusal import Opinions
from birdnb.explore.listen import Source
from birdnb.field.clock import check_clocks
from birdnb.field.detect import RANKED, calibrated, detections
from birdnb.field.listener import Listener, find_run, open_listener
from birdnb.field.promise import Promises
from birdnb.field.scores import Heard
from birdnb.field.sounds import find_sounds
from birdnb.field.tables import write_tables
from birdnb.field.thresholds import promises_of
from birdnb.field.work import listen_all
from birdnb.files import BirdnbError
from birdnb.training.devices import make_accelerator


@dataclass(frozen=True)
class Outing:
    """What a run heard, and what it may say of it."""

    listener: Listener
    promises: Promises
    step: float  # [s] between windows
    heard: list[Heard]  # without their windows
    files: list[Path]  # that hold these
    detections: pd.DataFrame

    @property
    def sources(self) -> dict[str, Source]:
        """Return where the sound of each recording is."""
        return {
            one.recording: Source(
                Path(one.source),
                None if one.channel == "mean" else int(one.channel) - 1,
                one.seconds,
            )
            for one in self.heard
            if not one.reason
        }

    def windows(self, refusing: bool = True) -> Iterator[Heard]:
        """Yield recordings that could be read with windows; those refused have probability 0."""
        return _with_windows(self.heard, self.files, self.promises if refusing else Promises())


def go_out(
    run: str | Path, sounds: Sequence[str | Path], out: Path, precision: float = 0.9,
    step: float | None = None, *, jobs: int | None = None, dask: str | None = None,
    ranked: int = RANKED, datasets: Sequence[StudyData] | None = None,
) -> Outing:  # fmt: skip
    """Let a run listen to files and folders, and write tables of its detections into ``out``.

    ``step`` [s] between windows, half a clip unless given; ``datasets`` as in ``promises_of``.
    Recordings that were heard before are not heard again. Raises BirdnbError for a run or a path
    that is not there.
    """
    folder, given = find_run(run), find_sounds(sounds)
    listener = open_listener(folder, make_accelerator().device)
    step = step or listener.audio.clip_seconds / 2
    promises = _promises(folder, precision, datasets)
    found = listen_all(given, listener, out, step, jobs, dask)
    heard, files = check_clocks([one for one, _ in found]), [path for _, path in found]
    windows = _with_windows(heard, files, promises)
    table = detections(windows, listener.labels, promises, listener.audio.clip_seconds, ranked)
    for told in write_tables(heard, table, listener, out):
        print(told, file=sys.stderr)
    return Outing(listener, promises, step, heard, files, table)


def _promises(folder: Path, precision: float, datasets: Sequence[StudyData] | None) -> Promises:
    """Return the promises of a run; where they cannot be found, one line says why."""
    try:
        return promises_of(folder, precision, datasets)
    except BirdnbError as error:
        print(f"no promises, detections are by rank only: {error}", file=sys.stderr)
        return Promises()


def _with_windows(
    heard: Sequence[Heard], files: Sequence[Path], promises: Promises
) -> Iterator[Heard]:
    """Yield recordings with their windows, without the probabilities of those refused."""
    for one, path in zip(heard, files, strict=True):
        whole = None if one.reason else Heard.load(path)
        if whole is not None:
            kept = np.where(_known(whole, promises)[:, None], whole.probabilities, 0.0)
            yield replace(one, starts=whole.starts, probabilities=kept.astype(np.float32))


def _known(heard: Heard, promises: Promises) -> np.ndarray:
    """Tell which windows hold one of the species, as far as the run can tell: (W,) bool."""
    if promises.refusal is None or not len(heard.starts):
        return np.ones(len(heard.starts), bool)
    p = calibrated(heard.probabilities, promises.temperature)[0]
    return promises.refusal.keeps(Opinions(p, heard.energy))
