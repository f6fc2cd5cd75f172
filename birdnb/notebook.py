"""What every notebook calls after its parameters: ``run = start("04", corpus=corpus, profile=profile, seed=seed, folds=folds)``."""

from __future__ import annotations

import os

import tqdm.auto
import tqdm.std

if os.environ.get("BIRDNB_HEADLESS"):  # no widget bars in headless runs; set before any module of ours imports tqdm.auto
    tqdm.auto.tqdm = tqdm.std.tqdm

import warnings
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from birdnb import evaluation, plots, training
from birdnb.config import Profile, RunSettings, load_profile, override
from birdnb.data import StudyData, open_study
from birdnb.files import BirdnbError, atomic_path
from birdnb.study import report_folder


@dataclass
class Chapter:
    """The resolved settings of a notebook, and the few things all seven do: open the data, train, save a figure, say a text."""

    number: str
    corpus: str
    profile: Profile
    seed: int
    folds: int
    _datasets: dict[int, StudyData] = field(default_factory=dict)

    @cached_property
    def data(self) -> StudyData:
        """The study's data; with folds, those of the first fold."""
        return self.datasets()[0]

    def datasets(self) -> list[StudyData]:
        """One StudyData for the single split, or one a fold."""
        if not self.folds:
            return [self._dataset(0, None)]
        return [self._dataset(k, (k, self.folds)) for k in range(1, self.folds + 1)]

    def settings(self, run: str, **changes: Any) -> RunSettings:
        """The profile's settings of a run, with the parameters that are not None put in."""
        if run not in self.profile.runs:
            raise BirdnbError(f"profile {self.profile.name} has no run {run!r}: add it to the YAML file, or use one of {', '.join(self.profile.runs)}")
        return override(self.profile.runs[run], **changes)

    def train(self, run: str, **changes: Any) -> list[training.RunResult]:
        """Train a run on every data set (one split, or each fold); finished and unchanged ones are loaded."""
        settings = None if run == "classical_mfcc" else self.settings(run, **changes)
        return [training.train_run(data, run, settings) for data in self.datasets()]

    def results(self, *runs: str) -> dict[str, list[training.RunResult]]:
        """Finished runs by name, a list over the folds each; runs that are not there are left out."""
        folders = {run: [training.run_folder(data, run) for data in self.datasets()] for run in runs}
        return {
            run: [training.load_run(folder) for folder in those]
            for run, those in folders.items()
            if all((folder / "metrics.json").exists() for folder in those)
        }

    def sessions(self, predictions: evaluation.Predictions) -> list[str]:
        """The recording session of each recording of a prediction, in its order."""
        table = self.data.table.set_index("recording_id")["session"]
        return list(table.loc[predictions.recording_ids])

    @property
    def report(self) -> Path:
        """The folder of the study's results, ``reports/<corpus>-<profile>``."""
        return report_folder(self.corpus, self.profile.name)

    def save(self, figure: Figure, name: str) -> Figure:
        """Save a figure as ``figures/<name>.png`` of the report and give it back to be shown once."""
        with atomic_path(self.report / "figures" / f"{name}.png") as temporary:
            figure.savefig(temporary, dpi=110, bbox_inches="tight")
        plots.plt.close(figure)
        return figure

    @staticmethod
    def say(text: str) -> None:
        """Show text that was rendered from results as Markdown."""
        display(Markdown(text))

    def _dataset(self, index: int, fold: tuple[int, int] | None) -> StudyData:
        if index not in self._datasets:
            self._datasets[index] = open_study(self.corpus, self.profile, seed=self.seed, fold=fold)
        return self._datasets[index]


def start(number: str, *, corpus: str = "demo", profile: str = "laptop", seed: int = 7, folds: int = 0) -> Chapter:
    """Seed everything, set the figures' style, resolve the settings and say in one line what they are.

    Raises BirdnbError for an unknown profile, or for one fold (two or more are needed, 0 means one split).
    """
    if folds == 1 or folds < 0:
        raise BirdnbError(f"folds is {folds}: give 0 for one split, or 2 and more for grouped cross-validation")
    np.random.seed(seed)  # noqa: NPY002 - scikit-learn and timm may draw from the global state
    torch.manual_seed(seed)
    warnings.filterwarnings("ignore", category=FutureWarning)
    plots.style()
    chapter = Chapter(number, corpus, load_profile(profile), seed, folds)
    how = f"{folds} grouped folds" if folds else "one grouped split"
    print(f"notebook {number}: corpus {Path(corpus).name}, profile {chapter.profile.name}, seed {seed}, {how}")
    return chapter
