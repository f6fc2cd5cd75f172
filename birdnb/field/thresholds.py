"""Find what a run may promise, on its validation side, and keep it beside the run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from birdnb.data import StudyData, reopen_study
from birdnb.evaluation.calibration import apply_temperature, fit_temperature
from birdnb.evaluation.predictions import Predictions
from birdnb.evaluation.promises import Threshold, find_threshold, measure
from birdnb.field.clip_sound import clip_batches
from birdnb.field.listener import Listener, find_run, fold_folders, member_folder, open_listener
from birdnb.field.promise import Promises, read_promises, write_promises
from birdnb.field.strangers import find_refusal, listen_to_nothing
from birdnb.files import BirdnbError
from birdnb.training.devices import make_accelerator
from birdnb.training.runs import CONFIG, read_json


@dataclass(frozen=True)
class ClipScores:
    """What a run says of N clips of one side, of folds of all of them."""

    probabilities: np.ndarray  # (N, C)
    target: np.ndarray  # (N,) int
    session: np.ndarray  # (N,) text

    def scaled(self, temperature: float) -> np.ndarray:
        """Return the probabilities after calibration, (N, C)."""
        return apply_temperature(self._as_predictions(), temperature).probabilities

    def temperature(self) -> float:
        """Fit the temperature on these clips."""
        return fit_temperature(self._as_predictions())

    def _as_predictions(self) -> Predictions:
        names = [str(number) for number in range(len(self.target))]
        return Predictions(names, self.probabilities.astype(np.float32), self.target)


def promises_of(
    run: str | Path, precision: float = 0.9, datasets: Sequence[StudyData] | None = None
) -> Promises:
    """Return the promises of a run for a precision: those kept beside it, or found now and kept.

    ``datasets`` is the study's data, one a fold; None opens what the run was trained on. Raises
    BirdnbError when that is not there any more, or for a precision that nobody can promise.
    """
    if not 0 < precision < 1:
        raise BirdnbError(f"precision is {precision}: give a number between 0 and 1, such as 0.9")
    folder = find_run(run)
    listener, kept = open_listener(folder), read_promises(folder)
    asked_before = (kept.weights, kept.precision) == (listener.weights, precision)
    if asked_before and kept.refusal:  # files of earlier versions may know of none
        return kept
    scores = clip_scores(folder, "validation", datasets)
    found = find_promises(scores, listener.labels, precision, listener.weights)
    asked = [
        (data, open_listener(part, make_accelerator().device))
        for part, data in _parts(folder, datasets)
    ]
    found = find_refusal(found, listen_to_nothing(asked, found.temperature))
    write_promises(folder, found)
    return found


def find_promises(
    scores: ClipScores, labels: Sequence[str], precision: float, weights: str = ""
) -> Promises:
    """Find the threshold of each species from the clips of the validation side."""
    temperature = scores.temperature()
    calibrated = scores.scaled(temperature)
    species = {
        label: find_threshold(
            calibrated[:, number], scores.target == number, scores.session, precision
        )
        for number, label in enumerate(labels)
    }
    sessions = len(set(scores.session))
    return Promises(precision, temperature, species, weights, len(scores.target), sessions)


def clip_scores(
    run: str | Path, side: str, datasets: Sequence[StudyData] | None = None
) -> ClipScores:
    """Let a run score the clips of "validation" or "test"; with folds each fold its own side."""
    parts = [
        _scores_of(open_listener(part, make_accelerator().device), data, side)
        for part, data in _parts(find_run(run), datasets)
    ]
    return ClipScores(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0]))
    )


def _parts(folder: Path, datasets: Sequence[StudyData] | None) -> list[tuple[Path, StudyData]]:
    """Pair the folders of a run's folds with their data, opened unless given."""
    folders = fold_folders(folder)
    datasets = datasets or [reopen_study(_trained_on(part)) for part in folders]
    if len(datasets) != len(folders):
        raise BirdnbError(
            f"{folder} has {len(folders)} parts, the study {len(datasets)}: give --folds as it was"
        )
    return list(zip(folders, datasets, strict=True))


def kept_promises(promises: Promises, scores: ClipScores) -> pd.DataFrame:
    """Hold the promises against clips that had no say in them, such as the test side's.

    A row a species with a threshold: promised, precision, low, high, recall, clips, sessions; the
    last row, "all", is of all their calls together.
    """
    calibrated = scores.scaled(promises.temperature)
    rows, called, right = [], [], []
    for number, (label, promise) in enumerate(promises.species.items()):
        if promise.threshold is None:
            continue
        own, above = scores.target == number, calibrated[:, number] >= promise.threshold
        called.append(above)
        right.append(own)
        found = measure(above, own, scores.session)
        rows.append(_row(label, found))
    if rows:
        sessions = np.tile(scores.session, len(called))
        together = measure(np.concatenate(called), np.concatenate(right), sessions)
        rows.append(_row("all", together))
    table = pd.DataFrame(rows, columns=["species", "precision", "low", "high", "recall", "clips",
                                        "sessions"])  # fmt: skip
    table.insert(1, "promised", promises.precision)
    return table


def _row(label: str, found: Threshold) -> tuple:
    low, high = found.interval or (None, None)
    return (label, found.precision, low, high, found.recall, found.clips, found.sessions)


def _scores_of(listener: Listener, data: StudyData, side: str) -> ClipScores:
    clips = data.clips(side)
    if listener.labels != data.labels:
        raise BirdnbError(
            f"{listener.folder} knows other species than the corpus has now: train it again"
        )
    owners = clips.recording.numpy()
    batches = clip_batches(data, clips.lms.numpy(), owners, clips.recording_ids, listener)
    parts = [listener.score(batch) for batch in batches]
    sessions = np.array(data.sessions(clips.recording_ids), dtype=object)[owners]
    return ClipScores(np.concatenate(parts), clips.target.numpy(), sessions)


def _trained_on(folder: Path) -> dict:
    """Return the configuration of a run, of an ensemble that of its first member."""
    config = read_json(folder / CONFIG)
    if "members" not in config:
        return config
    return read_json(member_folder(folder, next(iter(config["members"]))) / CONFIG)
