"""What limits a study in the recordings themselves: labels that are doubted, corrections made,
birds in the background; figures for metrics.json and words for the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from birdnb.corpora.background import background_matrix
from birdnb.evaluation.background import background_scores
from birdnb.evaluation.predictions import concatenate
from birdnb.registry import ENSEMBLE, ENSEMBLE_WITH, OWN_ANSWER
from birdnb.report.collect import ReportInput
from birdnb.report.corrected import corrections_of
from birdnb.report.tables import pipe_table
from birdnb.report.words import percent, plain

if TYPE_CHECKING:
    from birdnb.data import StudyData
    from birdnb.training.runs import RunResult

DOZEN = 12
DOUBTS = "doubtful_labels.csv"
NOBODY = (
    "No label can be doubted: no model heard a species in one session and judges it in another."
)


def recordings_metrics(report: ReportInput, run: str | None) -> dict[str, Any]:
    """Return the keys of metrics.json on the recordings, of the final run; none for nothing."""
    found = {"corrections": corrections_of(report, run), "background": _background(report, run)}
    return {name: value for name, value in found.items() if value is not None}


def _background(report: ReportInput, run: str | None) -> dict[str, Any] | None:
    if run is None:
        return None
    test, table = report.test(run), report.tables[0].set_index("recording_id")
    behind = background_matrix(table.loc[test.recording_ids], report.labels)
    return background_scores(test, behind)


def recordings_words(report: ReportInput, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page says of the recordings: ``doubts``, ``corrections``, ``background``."""
    return {
        "doubts": "" if report.doubts is None else doubts_table(report.doubts),
        "doubts_file": DOUBTS,
        "unjudged": 0 if report.doubts is None else len(report.tables[0]) - len(report.doubts),
        "corrections": metrics.get("corrections"),
        "background": metrics.get("background"),
    }


def doubts_of(datasets: Sequence[StudyData], runs: Mapping[str, list[RunResult]]) -> pd.DataFrame:
    """Rank the recordings of a study by how much its models doubt their label, and add the side.

    The models: a cheap one that heard every recording but those of its session; and on recordings
    they did not learn from (validation and test, with folds all) the runs but ensembles and
    encoders' own answers, where the split keeps sessions together.
    """
    from birdnb.evaluation.doubt import doubtful_labels, held_out  # scikit-learn: a second

    first = datasets[0]
    parts = [held_out(first)]
    if first.profile.split.group_by != "recording":
        both = (ENSEMBLE, ENSEMBLE_WITH)  # made of the others
        # an encoder's own answer gives species that it does not know nothing at all
        alone = [
            results
            for run, results in runs.items()
            if run not in both and not run.startswith(OWN_ANSWER)
        ]
        parts += [concatenate([result.test for result in results]) for results in alone]
        parts += [] if len(datasets) > 1 else [results[0].val for results in alone]
    side = first.recordings["side"]
    table = doubtful_labels(parts, first.labels)
    return table.assign(side=table["recording_id"].map(side))


def doubts_table(doubts: pd.DataFrame, limit: int = DOZEN) -> str:
    """Lay out the most doubtful labels as a Markdown table."""
    if doubts.empty:
        return NOBODY
    rows = [{
        "recording": plain(row.recording_id),
        "label": plain(row.species),
        "the models rather say": plain(row.suggestion) if row.suggestion != row.species else "–",
        "probability of the label": percent(row.self_confidence),
        "margin": f"{100 * row.margin:+.0f} points".replace("-", "−"),
        "models": row.models,
    } for row in doubts.head(limit).itertuples()]  # fmt: skip
    return pipe_table(pd.DataFrame(rows), left=3)
