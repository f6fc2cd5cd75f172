"""Bring the study's data and its finished runs together, refusing what does not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from birdnb.evaluation.predictions import Predictions, concatenate
from birdnb.files import BirdnbError
from birdnb.registry import (
    BASELINE,
    CLASSICAL,
    CURVES,
    EFFICIENTNET,
    ENSEMBLE,
    ENSEMBLE_WITH,
    FULL,
    MEMBERS,
    MFCC,
    is_yardstick,
)
from birdnb.split.facts import unknown_sessions
from birdnb.split.sides import HELD_OUT, session_caveat

if TYPE_CHECKING:
    from birdnb.data import StudyData
    from birdnb.training.runs import RunResult

TITLES = {
    CLASSICAL: "MFCC statistics + logistic regression", MFCC: "Phase 2 reference: MFCC network",
    BASELINE: "AST baseline", FULL: "AST + augmentation",
    EFFICIENTNET: "EfficientNet-B2 + augmentation", ENSEMBLE: "Ensemble",
    ENSEMBLE_WITH: "Ensemble with encoders",
}  # fmt: skip


@dataclass
class ReportInput:
    """Data and finished runs of a report; with folds the lists hold one item a fold, else one."""

    corpus: str
    profile: str
    seed: int
    synthetic: bool
    layout: str  # kind of folder the corpus was read from
    labels: list[str]
    # a row a recording: recording_id, species, session, recordist, license, url, side
    tables: list[pd.DataFrame]
    quarantine: pd.DataFrame  # recording_id, path, species, reason
    dropped: pd.DataFrame  # the same of usable recordings whose species cannot be split
    species_left_out: pd.DataFrame  # species, recordings, groups, decision, reason
    runs: dict[str, list[RunResult]]
    caveat: str = ""  # what is not known about recording sessions
    unknown_sessions: int = 0  # recordings of whose session nothing is known
    notes: Sequence[str] = ()  # sentences on labels that became one, or may be one
    # run -> its settings other than the profile's, by bare name; of the ensemble its members
    changed: dict[str, dict[str, Any]] = field(default_factory=dict)
    corrections: pd.DataFrame | None = None  # applied: corrections.COLUMNS and side, of all folds
    before: str = ""  # what the corpus is called without them
    sound: pd.DataFrame = field(default_factory=pd.DataFrame)  # index of the cache: seconds, rate
    doubts: pd.DataFrame | None = None  # every recording, the most doubtful label first

    @property
    def folds(self) -> int:
        """Return the number of folds, 0 for the single split."""
        return len(self.tables) if len(self.tables) > 1 else 0

    @property
    def configs(self) -> dict[str, dict]:
        """Return the configuration of each run; with folds that of the first."""
        return {name: results[0].config for name, results in self.runs.items()}

    @cached_property
    def _session_of(self) -> pd.Series:
        return self.tables[0].set_index("recording_id")["session"]

    @property
    def encoders(self) -> list[str]:
        """Return the frozen encoders among the runs, as they were asked for."""
        configs = [config for run, config in self.configs.items() if is_yardstick(run)]
        return list(dict.fromkeys(c["settings"]["model"]["encoder"] for c in configs))

    def sessions(self, predictions: Predictions) -> list[str]:
        """Return the session of each recording of a prediction."""
        return self._session_of.loc[predictions.recording_ids].tolist()

    def test(self, run: str) -> Predictions:
        """Return a run's test predictions; with folds those of all, each recording once."""
        return concatenate([result.test for result in self.runs[run]])


def collect(datasets: Sequence[StudyData], runs: Mapping[str, list[RunResult]]) -> ReportInput:
    """Bring the study's data (one, or one a fold) and its finished runs together, in study order.

    Raises BirdnbError when a run lacks a fold, knows other species or was trained on another split,
    or the ensemble was made from runs since trained anew.
    """
    first, splits = datasets[0], [data.fingerprint() for data in datasets]
    for name, results in runs.items():
        _check_run(name, results, first, splits)
    _check_ensemble(runs)
    report = first.species_report
    order = [CLASSICAL, *filter(is_yardstick, sorted(runs)), *TITLES, *sorted(runs)]
    return ReportInput(
        corpus=first.corpus.name,
        profile=first.profile.name,
        seed=first.seed,
        synthetic=first.corpus.synthetic,
        layout=first.corpus.layout,
        labels=first.labels,
        tables=[data.table for data in datasets],
        quarantine=first.cache.quarantine,  # holds what was left out of the table, too
        dropped=_dropped(first),
        species_left_out=report[report["decision"] != "keep"].reset_index(drop=True),
        runs={name: list(runs[name]) for name in dict.fromkeys(order) if name in runs},
        caveat=session_caveat(first.table),
        unknown_sessions=unknown_sessions(first.table),
        notes=first.corpus.notes,
        changed=_changed(first.profile.runs, runs),
        corrections=_corrections(datasets),
        sound=first.cache.index,
        before=first.corpus.before.name if first.corpus.before else "",
    )


def _check_run(
    name: str, results: Sequence[RunResult], data: StudyData, splits: Sequence[str]
) -> None:
    if len(results) != len(splits):
        raise BirdnbError(
            f"{name} has {len(results)} of {len(splits)} folds: finish its training first"
        )
    if any(result.labels != data.labels for result in results):
        raise BirdnbError(
            f"{name} was trained on other species than the corpus has now: train it again"
        )
    trained_on = [
        result.config.get("split", split) for result, split in zip(results, splits, strict=True)
    ]
    if trained_on != list(splits):
        raise BirdnbError(
            f"{name} was trained on another split or other recordings than the study has now "
            f"(it has seed {results[0].config.get('seed')}, the study {data.seed}): run its "
            f"notebook again, or ask for what it has"
        )


def _dropped(data: StudyData) -> pd.DataFrame:
    """List usable recordings on no side: of species too rare to be split, now or in the folder."""
    report, manifest = data.species_report, data.corpus.manifest
    reasons = report[report["decision"] == "drop"].set_index("species")["reason"]
    rare = "species too rare to split: " + reasons.astype("string")
    reasons = rare.mask(reasons == HELD_OUT, f"species is {HELD_OUT}")
    usable = manifest["recording_id"].isin(set(data.cache.index["recording_id"]))
    rows = manifest.loc[usable & ~manifest["recording_id"].isin(data.table["recording_id"])]
    rows = rows[["recording_id", "path", "species"]]
    reason = rows["species"].map(reasons).astype("string")
    return rows.assign(
        reason=reason.fillna("corrected, but its species before is too rare to split")
    )


def _corrections(datasets: Sequence[StudyData]) -> pd.DataFrame | None:
    """Return the corrections that were applied; with folds the side is test, where it ever is."""
    parts = [data.corrections for data in datasets if data.corrections is not None]
    if not parts:
        return None
    table = pd.concat(parts)
    table = table.assign(rest=table["side"] != "test").sort_values("rest", kind="stable")
    return table.drop_duplicates("recording_id").drop(columns="rest").sort_index()


def _changed(
    usual: Mapping[str, Any], runs: Mapping[str, list[RunResult]]
) -> dict[str, dict[str, Any]]:
    """Find what runs were made with in place of what is usual: run -> setting -> value."""
    changed: dict[str, dict[str, Any]] = {}
    for name, results in runs.items():
        mine = results[0].config.get("settings", {})
        changed[name] = {
            key: mine[part][key]
            for part, values in (asdict(usual[name]) if name in usual else {}).items()
            for key, value in values.items()
            if mine.get(part, {}).get(key, value) != value
        }
    if ENSEMBLE in runs and (own := list(runs[ENSEMBLE][0].config["members"])) != list(MEMBERS):
        changed[ENSEMBLE] = {"members": own}
    return {name: settings for name, settings in changed.items() if settings}


def _check_ensemble(runs: Mapping[str, list[RunResult]]) -> None:
    for name in (ENSEMBLE, ENSEMBLE_WITH):
        if changed := changed_member(runs.get(name, []), runs):
            raise BirdnbError(
                f"the ensemble was made from another {changed} than there is now: run notebook 06 "
                f"again"
            )


def changed_member(ensembles: Sequence[RunResult], runs: Mapping[str, list[RunResult]]) -> str:
    """Return a member that was trained anew since, or is gone; "" when all are as they were."""
    for k, ensemble in enumerate(ensembles):
        for member, key in ensemble.config["members"].items():
            if member not in runs or runs[member][k].config.get("key") != key:
                return member
    return ""


def drawn_from(table: pd.DataFrame, labels: Sequence[str]) -> dict[str, Any]:
    """Tell what a learning curve is drawn from: ``recordings``, ``sessions`` and ``labels``."""
    sessions = int(table["session"].nunique())
    return {"recordings": len(table), "sessions": sessions, "labels": list(labels)}


def more_recordings(folder: Path, report: ReportInput) -> dict[str, str]:
    """Return what the learning curves beside the report say: run -> sentence; {} without any.

    Curves that were drawn from other recordings than the report's are told as such.
    """
    path = folder / f"{CURVES}.json"
    if not path.exists():
        return {}
    try:
        curves = json.loads(path.read_text(encoding="utf-8"))
        now = drawn_from(report.tables[0], report.labels)
        return {
            run: found["sentence"] + _drawn_else(found.get("drawn_from"), now)
            for run, found in curves.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BirdnbError(
            f"{path} is damaged ({error}): delete it, or draw the learning curves again"
        ) from error


def _drawn_else(then: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    """Say how a learning curve's recordings differ from those of now; "" where they do not."""
    if then is None:
        return " (of which recordings is not known)"
    if then["labels"] != now["labels"]:
        return " (drawn for other species than now)"
    counts = f"{then['recordings']:,} recordings of {then['sessions']:,} sessions"
    return "" if then == now else f" (drawn when there were {counts})"
