"""Pool the trainings of a learning curve: scores at each size, intervals, the law, each species."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from birdnb.comparison.curve import (
    EIGHTHS,
    Training,
    row_of,
    session_counts,
    train_curve,
    write_rows,
)
from birdnb.comparison.law import ENOUGH, INTERVAL, Law, Need, fit_law, need
from birdnb.config import Profile
from birdnb.data import open_study
from birdnb.evaluation.metrics import redrawn, weighted_scores
from birdnb.evaluation.predictions import Predictions, concatenate
from birdnb.files import report_folder
from birdnb.registry import CLASSICAL, CURVES, FROZEN, MFCC, encoder_id, is_yardstick
from birdnb.report.collect import drawn_from
from birdnb.training.train import settings_of_run

DRAWS = 500
TARGETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
SCORES = ("accuracy", "f1_macro")


@dataclass(frozen=True)
class Curve:
    """What a run made of S growing parts of the training sessions, over T folds and seeds.

    All sizes were judged on the same R recordings; those that several seeds tested count for each.
    """

    run: str
    labels: list[str]
    counts: np.ndarray  # (S, C) training sessions of each species, mean over folds and seeds
    sizes: list[Predictions]  # S, of R recordings each
    sessions: list[str]  # R
    turns: np.ndarray  # (R,) int, the fold and seed that tested it
    recordings: np.ndarray  # (S,) training recordings, mean over folds and seeds
    minutes: float
    drawn_from: dict[str, Any]  # as ``report.collect`` tells it

    @property
    def sessions_a_species(self) -> np.ndarray:
        """Return the training sessions that a species has on average at each size: (S,)."""
        return self.counts.mean(axis=1)

    @cached_property
    def drawn(self) -> list[dict[str, np.ndarray]]:
        """Score each size as it is (row 0) and in DRAWS draws of sessions, and of folds and seeds.

        The same are drawn for all sizes: accuracy (B,), recall and F1 (B, C), ``f1_macro`` (B,).
        """
        weights = _draws(self.sessions, self.turns)
        scores = [weighted_scores(size, weights) for size in self.sizes]
        return [one | {"f1_macro": np.nanmean(one["f1"], axis=1)} for one in scores]

    @cached_property
    def laws(self) -> list[Law]:
        """Fit the laws of accuracy: to the recordings as they are, then one a draw, or []."""
        return self._fitted("accuracy")

    @cached_property
    def f1_laws(self) -> list[Law]:
        """Fit the laws of F1-macro, as ``laws``."""
        return self._fitted("f1_macro")

    def _fitted(self, score: str) -> list[Law]:
        sessions = self.sessions_a_species
        if len(np.unique(sessions)) < ENOUGH:
            return []
        scores = np.stack([one[score] for one in self.drawn], axis=1)  # (B, S)
        return [fit_law(sessions, row) for row in scores]

    def need(self, target: float | None = None) -> Need | None:
        """Say how many more sessions lead to an accuracy; None where no law can be fitted.

        ``target`` is the next of TARGETS above what the whole training side reaches, unless given.
        """
        if not self.laws:
            return None
        reached = self.drawn[-1]["accuracy"][0]
        target = target or next((t for t in TARGETS if t > reached), TARGETS[-1])
        first, *others = self.laws
        return need(first, others, target)

    def size_rows(self) -> list[dict[str, Any]]:
        """Return a row a size: share, sessions a species, recordings, scores, their intervals."""
        rows = []
        for i, one in enumerate(self.drawn):
            row = {
                "run": self.run,
                "share": EIGHTHS[i] / 8,
                "sessions_a_species": float(self.sessions_a_species[i]),
                "recordings": float(self.recordings[i]),
            }
            for name in SCORES:
                row |= _with_ends(name, one[name])
            rows.append(row)
        return rows

    def species_rows(self) -> list[dict[str, Any]]:
        """Return a row a species and size: sessions, recall, F1, and F1 gained since the last.

        With 95 % intervals. Species without test recordings have none.
        """
        tested = np.flatnonzero(self.drawn[0]["support"][0])
        rows = []
        for c in tested:
            for i, one in enumerate(self.drawn):
                row: dict[str, Any] = {"run": self.run, "species": self.labels[c]}
                row |= {"share": EIGHTHS[i] / 8, "sessions": float(self.counts[i, c])}
                row |= _with_ends("recall", one["recall"][:, c])
                row |= _with_ends("f1", one["f1"][:, c])
                if i:
                    row |= _with_ends("gain", (one["f1"] - self.drawn[i - 1]["f1"])[:, c])
                rows.append(row)
        return rows


def learning_curves(
    corpus: str, profile: Profile, runs: Sequence[str] | None = None, folds: int = 4,
    seeds: Sequence[int] = (7,), progress: bool = True,
) -> Iterator[Curve]:  # fmt: skip
    """Train run after run, the cheap ones first, and give the curve of each as it is finished.

    ``runs`` are the cheap ones unless given. ``how_many_recordings.csv`` in the study's report
    folder gets a row a training, as each is finished. Finished trainings are loaded. Raises
    BirdnbError for an unknown run, when folds cannot be made or a training diverges.
    """
    settings = {run: settings_of_run(profile, run) for run in runs or cheap_runs(profile)}
    turns = [(seed, (fold, folds)) for seed in seeds for fold in range(1, folds + 1)]
    studies = [open_study(corpus, profile, seed, fold, progress) for seed, fold in turns]
    path = report_folder(studies[0].corpus.name, profile.name) / f"{CURVES}.csv"
    rows: list[dict[str, Any]] = []
    for run in sorted(settings, key=_cost):
        trainings = []
        for training in train_curve(studies, run, settings[run], progress):
            trainings.append(training)
            rows.append(row_of(training))
            write_rows(path, rows)
        yield pool(trainings)


def cheap_runs(profile: Profile) -> list[str]:
    """Return the runs that take little: logistic regression, frozen encoders, the MFCC network."""
    frozen = [FROZEN + encoder_id(name) for name in profile.encoders]
    return [CLASSICAL, *frozen, *(run for run in (MFCC,) if run in profile.runs)]


def _cost(run: str) -> int:
    """Return the place of a run in the order of cost; networks come last, as they are listed."""
    return 0 if run == CLASSICAL else 1 if is_yardstick(run) else 2 if run == MFCC else 3


def pool(trainings: Sequence[Training]) -> Curve:
    """Pool the trainings of one run over folds and seeds."""
    whole = [t for t in trainings if t.eighths == EIGHTHS[-1]]
    by_size = [[t for t in trainings if t.eighths == eighths] for eighths in EIGHTHS]
    sizes = [concatenate([_named_apart(t) for t in those]) for those in by_size]
    turns = np.repeat(np.arange(len(whole)), [len(t.result.test) for t in whole])
    return Curve(
        whole[0].run,
        whole[0].data.labels,
        np.array([np.mean([session_counts(t.data) for t in those], axis=0) for those in by_size]),
        [size.align(sizes[0].recording_ids) for size in sizes],
        [s for t in whole for s in t.data.sessions(t.result.test.recording_ids)],
        turns,
        np.array([np.mean([len(t.data.side("train")) for t in those]) for those in by_size]),
        sum(t.result.metrics["seconds"] for t in trainings) / 60,
        drawn_from(whole[0].data.table, whole[0].data.labels),
    )


def _named_apart(training: Training) -> Predictions:
    """Return the test predictions with fold and seed in the names of the recordings."""
    found, data = training.result.test, training.data
    names = [f"{name} {data.fold} {data.seed}" for name in found.recording_ids]
    return replace(found, recording_ids=names)


def _draws(sessions: Sequence[str], turns: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return how often each draw holds each recording: (B, R), the first row all ones.

    Sessions are drawn again, and so are the trainings (fold and seed) that tested them; a
    recording counts as often as both were drawn. That errs to the wide side (Owen 2007, the
    pigeonhole bootstrap, doi:10.1214/07-AOAS122).
    """
    rng = np.random.default_rng(seed)
    weights = np.ones((DRAWS, len(turns)))
    for groups in (pd.factorize(np.asarray(sessions, dtype=object))[0], turns):
        weights *= redrawn(groups, rng, DRAWS)
    # of very few sessions a draw may hold none that was drawn by both
    kept = weights[weights.sum(axis=1) > 0]
    return np.concatenate([np.ones((1, len(turns))), kept])


def _with_ends(name: str, values: np.ndarray) -> dict[str, float]:
    """Return a score as it is (row 0) and the ends of its interval over the draws.

    Draws that never differ, as of recordings that are all right, are no reason to be sure: NaN.
    """
    drawn = values[1:]
    same = np.nanmin(drawn) == np.nanmax(drawn)
    low, high = (np.nan, np.nan) if same else np.nanpercentile(drawn, INTERVAL)
    return {name: float(values[0]), f"{name}_low": float(low), f"{name}_high": float(high)}
