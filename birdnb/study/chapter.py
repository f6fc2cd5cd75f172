"""Open a notebook's chapter: ``chapter = start("04", corpus=corpus, profile=profile, ...)``."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from birdnb.config import Profile, RunSettings, load_profile, override
from birdnb.corpora import corpus_name
from birdnb.corpora.table import credit
from birdnb.data import StudyData, open_study
from birdnb.evaluation.ensemble import EnsembleResult, build_ensemble
from birdnb.evaluation.metrics import confusion, paired_bootstrap, similarity_order
from birdnb.evaluation.predictions import Predictions, concatenate
from birdnb.files import BirdnbError
from birdnb.plots.learning import learning_curves
from birdnb.plots.models import confusion_figure
from birdnb.plots.style import add_credit, save, style
from birdnb.registry import CLASSICAL, ENSEMBLE, ENSEMBLE_WITH, FULL, check_encoders
from birdnb.report.collect import TITLES, changed_member, collect
from birdnb.report.numbers import study_metrics
from birdnb.report.words import gate_value, points, template, title, verdict
from birdnb.report.write import write_report
from birdnb.study.facts import fact_table
from birdnb.study.outdoors import Outdoors
from birdnb.study.run import study_folder
from birdnb.training.checks import check_settings
from birdnb.training.runs import METRICS, RunResult, folder_of, load_run, run_folder
from birdnb.training.train import begin_run, train_run
from birdnb.training.yardstick import finished_encoders, settings_of_encoder

FIRST = {"06": "notebooks 04 and 05", "07": "notebooks 04 to 06"}  # what has to run before


@dataclass
class Chapter(Outdoors):
    """Hold a notebook's settings, and do what all seven do: open data, train, show, say."""

    number: str
    corpus: str
    profile: Profile
    seed: int
    folds: int
    figures: dict[str, Path] = field(default_factory=dict)  # what was saved so far

    @cached_property
    def datasets(self) -> list[StudyData]:
        """Open the study's data: one for the single split, or one a fold."""
        return [
            open_study(self.corpus, self.profile, seed=self.seed, fold=fold) for fold in self._folds
        ]

    @property
    def _folds(self) -> list[tuple[int, int] | None]:
        return [(k, self.folds) for k in range(1, self.folds + 1)] or [None]

    @property
    def data(self) -> StudyData:
        """Return the study's data; with folds, those of the first fold."""
        return self.datasets[0]

    @property
    def which_fold(self) -> str:
        """Return what to add to the name of something shown of the first fold only."""
        return f" (fold 1 of {self.folds})" if self.folds else ""

    def require(self, run: str) -> None:
        """Raise BirdnbError for a run not finished, naming its notebook; computes nothing."""
        corpus = corpus_name(self.corpus)
        folders = [folder_of(corpus, self.profile.name, run, fold) for fold in self._folds]
        if not all((folder / METRICS).exists() for folder in folders):
            what = f"corpus {corpus}, profile {self.profile.name}, " + (
                f"{self.folds} folds" if self.folds else "one split"
            )
            raise BirdnbError(
                f"{run} is not finished ({what}): run {FIRST.get(self.number, 'its notebook')} "
                f"first, with the same options"
            )

    def settings(self, run: str, **changes: Any) -> RunSettings:
        """Return the profile's settings of a run, with the parameters that are not None put in.

        Raises BirdnbError for a run that the profile lacks and for values that do not go together.
        """
        if run not in self.profile.runs:
            raise BirdnbError(
                f"profile {self.profile.name} has no run {run!r}: its YAML file lists "
                f"{', '.join(self.profile.runs)}"
            )
        settings = override(self.profile.runs[run], **changes)
        check_settings(settings, self.profile.audio)
        return settings

    def train(self, run: str, **changes: Any) -> list[RunResult]:
        """Train a run on the split or on each fold; what is finished and unchanged is loaded."""
        settings = None if run == CLASSICAL else self.settings(run, **changes)
        return [train_run(data, run, settings) for data in self.datasets]

    def begin(
        self, run: str, settings: RunSettings, epochs: int
    ) -> tuple[torch.nn.Module, pd.DataFrame]:
        """Train a run's first epochs, from which ``train`` goes on; of folds, the first.

        Returns the network and its history.
        """
        return begin_run(self.data, run, settings, epochs)

    def frozen(self, encoders: Sequence[str] | None = None) -> dict[str, list[RunResult]]:
        """Run encoders (None: the profile's), and their own answers if they know two species."""
        names = check_encoders(self.profile.encoders if encoders is None else encoders)
        runs = [settings for name in names for settings in settings_of_encoder(self.data, name)]
        return {
            run.model["name"]: [train_run(data, run.model["name"], run) for data in self.datasets]
            for run in runs
        }

    def ensemble(self, members: list[str]) -> list[EnsembleResult]:
        """Weigh finished runs by validation and write the run ``phase3_ensemble``, fold by fold.

        Where frozen encoders are finished, ``ensemble_with_encoders`` is written beside it.
        """
        if encoders := finished_encoders(self.datasets):
            self._ensemble([*members, *encoders], ENSEMBLE_WITH)
        return self._ensemble(members, ENSEMBLE)

    def _ensemble(self, members: list[str], name: str) -> list[EnsembleResult]:
        ensembles = []
        for data in self.datasets:
            runs = {member: load_run(run_folder(data, member)) for member in members}
            sessions = data.recordings["session"]
            folder = run_folder(data, name)
            ensembles.append(build_ensemble(runs, sessions, folder, seed=self.seed, name=name))
        return ensembles

    def results(self, *runs: str) -> dict[str, list[RunResult]]:
        """Load finished runs by name, a list over the folds each; all of the study unless named.

        Those of frozen encoders are part of it. What is not there is left out. Raises BirdnbError
        when all of the study is asked for and nothing is finished.
        """
        wanted = runs or (*TITLES, *finished_encoders(self.datasets))
        folders = {run: [run_folder(data, run) for data in self.datasets] for run in wanted}
        found = {
            run: [load_run(folder) for folder in those]
            for run, those in folders.items()
            if all((folder / METRICS).exists() for folder in those)
        }
        if not runs and (gone := changed_member(found.get(ENSEMBLE_WITH, []), found)):
            print(f"{ENSEMBLE_WITH} was made from another {gone} than there is now; left out")
            del found[ENSEMBLE_WITH]
        if not found and not runs:
            raise BirdnbError(
                "no run of this corpus and profile is finished: run notebooks 04 to 06 first"
            )
        return found

    def metrics(self, results: dict[str, list[RunResult]]) -> dict[str, Any]:
        """Compute what the report's metrics.json holds of these runs."""
        return study_metrics(collect(self.datasets, results))

    @staticmethod
    def test(results: list[RunResult]) -> Predictions:
        """Return a run's test predictions; with folds those of all, each recording once."""
        return concatenate([result.test for result in results])

    def compare(self, results: list[RunResult], others: list[RunResult]) -> dict[str, Any]:
        """Compare two runs on the same test recordings, as ``paired_bootstrap`` does."""
        test = self.test(results)
        sessions = self.data.sessions(test.recording_ids)
        return paired_bootstrap(test, self.test(others), sessions, self.seed)

    def write_report(
        self, results: dict[str, list[RunResult]], doubts: pd.DataFrame | None = None
    ) -> Path:
        """Write the report with this notebook's figures and ``doubts``; return its folder."""
        report = replace(collect(self.datasets, results), doubts=doubts)
        return write_report(report, self.figures, self.report)

    @property
    def report(self) -> Path:
        """Return the folder of the study's results, ``reports/<corpus>-<profile>``."""
        return study_folder(self.corpus, self.profile.name)

    def save(self, figure: Figure, name: str, recordings: Sequence[str] = ()) -> Figure:
        """Save a figure as ``figures/<name>.png``, credit for ``recordings`` below; return it."""
        if len(recordings):
            add_credit(figure, credit(self.data.recordings.loc[list(recordings)]))
        self.figures[name] = save(figure, self.report / "figures" / f"{name}.png")
        return figure

    def learning_curves(
        self, results: dict[str, list[RunResult]], name: str = "learning_curves"
    ) -> Figure:
        """Draw and save how the networks among these runs learned; of folds, the first."""
        histories = {
            title(run) + self.which_fold: those[0].history for run, those in results.items()
        }
        of_networks = {run: table for run, table in histories.items() if "lr_head" in table}
        return self.save(learning_curves(of_networks), name)

    def confusion(self, results: list[RunResult], name: str = "confusion") -> Figure:
        """Draw and save which test recordings a run took for another species."""
        labels = self.data.labels
        matrix = confusion(self.test(results), len(labels))
        return self.save(confusion_figure(matrix, labels, similarity_order(matrix)), name)

    @staticmethod
    def say(text: str) -> None:
        """Show text that was rendered from results as Markdown."""
        # JupyterLab drops the backslash and then takes the bare $ for the begin of a formula
        display(Markdown(text.replace(r"\$", "<span>$</span>")))

    def tell(self, what: str, **results: Any) -> None:
        """Say what ``chapters.md.j2`` makes of results under this name."""
        text = getattr(template("chapters.md.j2").module, what)(**results)
        self.say(" ".join(text.split()))

    def findings(self, metrics: dict[str, Any], run: str, *gates: str) -> None:
        """Say what the step to ``run`` brought and how the gates decided."""
        lines = [
            f"- {step['what']}: **{points(step['difference'], step['ci95'])}** of accuracy, "
            f"{verdict(step)}."
            for step in metrics["steps"]
            if step["run"] == run
        ]
        for gate in (metrics["gates"][name] for name in gates):
            unsure = ", within uncertainty" if gate["certain"] is False else ""
            lines.append(
                f"- {gate['question']}: {gate_value(gate)}, "
                f"**{gate['decision']}**{unsure} ({gate['rule']})."
            )
        self.say("\n".join(lines))

    def facts(self, values: dict[str, float], within: float = 0.1) -> None:
        """Print facts that ``--test`` compares: whole numbers exactly, others ``within``."""
        print(fact_table(self.number, values, within))

    @staticmethod
    def configs(results: dict[str, list[RunResult]]) -> dict[str, dict]:
        """Return the configuration of each run; of folds, the first."""
        return {run: those[0].config for run, those in results.items()}

    @staticmethod
    def accuracies(metrics: dict[str, Any]) -> dict[str, float]:
        """Return the test accuracy of each run by its title, as a fact."""
        return {
            f"accuracy of {title(run)}": m["test"]["accuracy"] for run, m in metrics["runs"].items()
        }


def start(
    number: str, *, corpus: str = "demo", profile: str = "laptop", seed: int = 7, folds: int = 0
) -> Chapter:
    """Seed everything, set the figures' style, resolve the settings and print them in one line.

    Raises BirdnbError for an unknown profile, for one fold (two or more are needed, 0 means one
    split), and in notebook 07 when there is nothing to report.
    """
    if folds == 1 or folds < 0:
        raise BirdnbError(
            f"folds is {folds}: give 0 for one split, or 2 and more for grouped cross-validation"
        )
    np.random.seed(seed)
    torch.manual_seed(seed)
    warnings.filterwarnings("ignore", category=FutureWarning)
    style()
    pd.options.display.html.use_mathjax = False  # a species may be called $x_1$
    chapter = Chapter(number, corpus, load_profile(profile, demo=corpus == "demo"), seed, folds)
    how = f"{folds} grouped folds" if folds else "one grouped split"
    print(
        f"notebook {number}: corpus {Path(corpus).name}, profile {chapter.profile.name}, seed "
        f"{seed}, {how}"
    )
    if number == "07":
        chapter.require(FULL)
    return chapter
