"""Everything a report says, as numbers: what metrics.json of the report folder holds, from finished
runs and the split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from birdnb.evaluation.calibration import apply_temperature
from birdnb.evaluation.ensemble import best_single, combine
from birdnb.evaluation.gates import BASELINE, CONVERGED, ENSEMBLE, FULL, final_run, gates
from birdnb.evaluation.metrics import paired_bootstrap, rare_and_common, summarise
from birdnb.evaluation.predictions import Predictions, concatenate
from birdnb.files import BirdnbError
from birdnb.split.sides import session_caveat

if TYPE_CHECKING:
    from birdnb.data import StudyData
    from birdnb.training.runs import RunResult

SIDES = ("train", "validation", "test")
CLASSICAL, MFCC, EFFICIENTNET = "classical_mfcc", "phase2_mfcc", "phase3_efficientnet_full"
TITLES = {
    CLASSICAL: "MFCC statistics + logistic regression",
    MFCC: "Phase 2 reference: MFCC network",
    BASELINE: "AST baseline",
    FULL: "AST + augmentation",
    EFFICIENTNET: "EfficientNet-B2 + augmentation",
    ENSEMBLE: "Ensemble",
}
STEPS = (  # (what the step is, the run with it, the run without)
    ("A network instead of logistic regression (both MFCC)", MFCC, CLASSICAL),
    ("AST on spectrograms instead of the MFCC network", BASELINE, MFCC),
    ("Augmentation", FULL, BASELINE),
    ("EfficientNet-B2 instead of AST", EFFICIENTNET, FULL),
    ("Ensemble instead of the best single model", ENSEMBLE, ""),  # "": best on validation
    ("Ensemble instead of logistic regression", ENSEMBLE, CLASSICAL),
)


@dataclass
class ReportInput:
    """What a report is made from; with folds the lists hold one item a fold, else one."""

    corpus: str
    profile: str
    seed: int
    synthetic: bool
    layout: str  # kind of folder the corpus was read from
    labels: list[str]
    tables: list[
        pd.DataFrame
    ]  # recording_id, species, session, recordist, license, url, side; a row a recording
    quarantine: pd.DataFrame  # recording_id, path, species, reason
    dropped: pd.DataFrame  # the same of usable recordings whose species cannot be split
    species_left_out: pd.DataFrame  # species, recordings, groups, decision, reason
    runs: dict[str, list[RunResult]]
    caveat: str = ""  # what is not known about recording sessions
    changed: dict[str, Any] = field(
        default_factory=dict
    )  # settings given in place of the profile's

    @property
    def folds(self) -> int:
        """Number of folds, 0 for the single split."""
        return len(self.tables) if len(self.tables) > 1 else 0

    def sessions(self, predictions: Predictions) -> list[str]:
        """The session of each recording of a prediction."""
        table = self.tables[0].set_index("recording_id")["session"]
        return table.loc[predictions.recording_ids].tolist()


def collect(datasets: Sequence[StudyData], runs: Mapping[str, list[RunResult]]) -> ReportInput:
    """Bring the study's data (one, or one a fold) and its finished runs together; runs come in the
    order of the study.

    Raises BirdnbError when a run lacks a fold, knows other species or was trained on another split,
    or the ensemble was made from runs since trained anew.
    """
    first, splits = datasets[0], [data.fingerprint() for data in datasets]
    for name, results in runs.items():
        if len(results) != len(datasets):
            raise BirdnbError(
                f"{name} has {len(results)} of {len(datasets)} folds: finish its training first"
            )
        if any(result.labels != first.labels for result in results):
            raise BirdnbError(
                f"{name} was trained on other species than the corpus has now: train it again"
            )
        if any(
            result.config.get("split", split) != split
            for result, split in zip(results, splits, strict=True)
        ):
            raise BirdnbError(
                f"{name} was trained on another split or other recordings than the study has now "
                f"(it has seed "
                f"{results[0].config.get('seed')}, the study {first.seed}): run its notebook "
                f"again, or ask for what it has"
            )
    _check_ensemble(runs)
    report = first.species_report
    order = [name for name in TITLES if name in runs] + sorted(set(runs) - set(TITLES))
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
        runs={name: list(runs[name]) for name in order},
        caveat=session_caveat(first.table),
        changed=_changed(first.profile.runs, runs),
    )


def _dropped(data: StudyData) -> pd.DataFrame:
    reasons = data.species_report.loc[data.species_report["decision"] == "drop"].set_index(
        "species"
    )["reason"]
    manifest = data.corpus.manifest
    those = manifest["species"].isin(reasons.index) & manifest["recording_id"].isin(
        set(data.cache.index["recording_id"])
    )
    rows = manifest.loc[those, ["recording_id", "path", "species"]]
    return rows.assign(
        reason="species too rare to split: " + rows["species"].map(reasons).astype(str)
    )


def study_metrics(report: ReportInput) -> dict[str, Any]:
    """The report's metrics.json: corpus, profile, seed, synthetic, folds, split, quarantine,
    chance, runs, steps, gates.
    """
    runs = {name: _run_summary(report, name) for name in report.runs}
    return {
        "corpus": report.corpus,
        "profile": report.profile,
        "seed": report.seed,
        "synthetic": report.synthetic,
        "folds": report.folds,
        "split": _split_counts(report),
        "quarantine": {
            str(k): int(v)
            for k, v in report.quarantine["reason"].value_counts().sort_index().items()
        },
        "chance": {
            "uniform": 1 / len(report.labels),
            "commonest_species": _always_the_commonest(report),
        },
        "final_run": final_run(runs),
        "runs": runs,
        "steps": _steps(report, runs),
        "gates": gates(runs),
    }


def pooled_test(report: ReportInput, run: str) -> Predictions:
    """The test predictions of a run; with folds those of all folds together, each recording once."""
    parts = [result.test for result in report.runs[run]]
    return concatenate(parts) if len(parts) > 1 else parts[0]


def progression_rows(
    metrics: Mapping[str, Any], reported_runs: Sequence[Mapping[str, Any]]
) -> pd.DataFrame:
    """What ``plots_results.progression`` draws: name, accuracy, low, high, reported."""
    rows = []
    for name, run in metrics["runs"].items():
        low, high = run["test"].get("accuracy_ci95", (np.nan, np.nan))
        rows.append((TITLES.get(name, name), run["test"]["accuracy"], low, high, False))
    rows += [(run["run"], run["accuracy"], np.nan, np.nan, True) for run in reported_runs]
    return pd.DataFrame(rows, columns=["name", "accuracy", "low", "high", "reported"])


def step_rows(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """What ``plots_results.paired_differences`` draws: name, difference, low, high, p."""
    rows = [
        (step["what"], step["difference"], *step["ci95"], step["p"]) for step in metrics["steps"]
    ]
    return pd.DataFrame(rows, columns=["name", "difference", "low", "high", "p"])


def f1_of_rare_and_common(
    report: ReportInput, metrics: Mapping[str, Any]
) -> dict[str, float] | None:
    """Average the final model's F1 over the rarer and the commoner half of the species.

    ``rare``, ``common``, and ``border``: the training recordings with which a species is common.
    """
    if metrics["final_run"] is None:
        return None
    per_class = metrics["runs"][metrics["final_run"]]["test"]["per_class"]
    learned = pd.concat([table[table["side"] == "train"] for table in report.tables])
    training = learned["species"].value_counts().to_dict()
    halves = rare_and_common(per_class, training)
    if halves is None:
        return None
    rare, common = (float(np.mean([per_class[s]["f1"] for s in half])) for half in halves)
    border = round(training.get(halves[1][0], 0) / len(report.tables))
    return {"rare": rare, "common": common, "border": border}


def _always_the_commonest(report: ReportInput) -> float:
    """Share of the test recordings that are of the species with most training recordings (of each
    fold its own).
    """
    right = total = 0
    for table in report.tables:
        species = table.groupby("side")["species"]
        commonest = species.get_group("train").value_counts().index[0]
        right += int((species.get_group("test") == commonest).sum())
        total += len(species.get_group("test"))
    return right / total


def _changed(usual: Mapping[str, Any], runs: Mapping[str, list[RunResult]]) -> dict[str, Any]:
    """Settings that runs of the study were trained with in place of their profile's, by bare name."""
    changed: dict[str, Any] = {}
    for name, results in runs.items():
        mine = results[0].config.get("settings", {})
        for part, values in (asdict(usual[name]) if name in usual else {}).items():
            changed |= {
                key: mine[part][key]
                for key, value in values.items()
                if mine.get(part, {}).get(key, value) != value
            }
    return changed


def _check_ensemble(runs: Mapping[str, list[RunResult]]) -> None:
    for k, ensemble in enumerate(runs.get(ENSEMBLE, [])):
        for member, key in ensemble.config["members"].items():
            if member not in runs or runs[member][k].config.get("key") != key:
                raise BirdnbError(
                    f"the ensemble was made from another {member} than there is now: run notebook "
                    f"06 again"
                )


def _run_summary(report: ReportInput, name: str) -> dict[str, Any]:
    results = report.runs[name]
    summary = dict(results[0].metrics) if len(results) == 1 else _over_folds(report, name)
    histories = [result.history for result in results]
    if "weights" in summary:
        summary |= _gains(report, name)
    if all(len(history) for history in histories):
        reached = [
            history.loc[history["val_accuracy"] >= CONVERGED, "epoch"] for history in histories
        ]
        summary["epochs_to_40"] = (
            max(int(r.iloc[0]) for r in reached) if all(len(r) for r in reached) else None
        )
    return summary


def _over_folds(report: ReportInput, name: str) -> dict[str, Any]:
    results = report.runs[name]
    pooled = pooled_test(report, name)
    test = summarise(pooled, report.labels, report.sessions(pooled), report.seed)
    test["folds"] = {
        key: [r.metrics["test"][key] for r in results]
        for key in ("accuracy", "f1_macro", "map_macro")
    }
    summary: dict[str, Any] = {"test": test}
    for side in ("val", "train"):
        sides = [result.metrics.get(side, {}) for result in results]
        keys = [
            k
            for k, v in sides[0].items()
            if isinstance(v, float) and all(isinstance(s.get(k), float) for s in sides)
        ]
        summary[side] = {key: float(np.mean([s[key] for s in sides])) for key in keys}
    for key, how in (
        ("epochs", np.mean),
        ("best_epoch", np.mean),
        ("seconds", np.sum),
        ("temperature", np.mean),
    ):
        values = [result.metrics[key] for result in results if result.metrics.get(key) is not None]
        if len(values) == len(results):
            summary[key] = float(how(values))
    summary |= {key: results[0].metrics.get(key) for key in ("parameters", "pretrained")}
    if "weights" in results[0].metrics:
        members = results[0].metrics["weights"]
        summary["weights_of_folds"] = {
            m: [float(r.metrics["weights"][m]) for r in results] for m in members
        }
        summary["weights"] = {
            m: float(np.mean(each)) for m, each in summary["weights_of_folds"].items()
        }
        equal = _equal(report, name)
        summary["equal"] = {
            "test": summarise(equal, report.labels, report.sessions(equal), report.seed)
        }
        before = concatenate(
            [apply_temperature(r.test, 1 / r.metrics["temperature"]) for r in results]
        )
        unscaled = summarise(before, report.labels, None, bootstrap=0)
        parts = {"before": unscaled, "after": test}
        summary["calibration"] = {
            "test": {
                f"{k}_{when}": part[k] for k in ("ece", "log_loss") for when, part in parts.items()
            }
        }
    return summary


def _equal(report: ReportInput, name: str) -> Predictions:
    # the plain average of an ensemble's members, of all folds
    parts = []
    for fold, ensemble in enumerate(report.runs[name]):
        members = [
            report.runs[member][fold].test.align(ensemble.test.recording_ids)
            for member in ensemble.config["members"]
        ]
        parts.append(combine(members, np.ones(len(members))))
    return concatenate(parts)


def _gains(report: ReportInput, name: str) -> dict[str, Any]:
    # an ensemble against the single model, member or not, that was best on validation, fold by fold
    singles = {
        run: results for run, results in report.runs.items() if "weights" not in results[0].metrics
    }
    best = [
        best_single({run: those[fold].val for run, those in singles.items()})
        for fold in range(len(report.runs[name]))
    ]
    single = concatenate([singles[run][fold].test for fold, run in enumerate(best)])
    over = best[0] if len(set(best)) == 1 else "best single model of each fold"
    parts = {"gain": pooled_test(report, name), "gain_equal": _equal(report, name)}
    return {
        key: {"over": over} | paired_bootstrap(part, single, report.sessions(part), report.seed)
        for key, part in parts.items()
    }


def _steps(report: ReportInput, runs: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for what, run, without in STEPS:
        if run not in runs or (without and without not in runs):
            continue
        if not without:
            rows.append(
                {
                    "what": what,
                    "run": run,
                    "without": runs[run]["gain"]["over"],
                    **runs[run]["gain"],
                }
            )
            continue
        if run in (FULL, EFFICIENTNET):
            what += _also_differ(
                *(
                    report.runs[name][0].config.get("settings", {}).get("train", {})
                    for name in (run, without)
                )
            )
        pooled = pooled_test(report, run)
        difference = paired_bootstrap(
            pooled, pooled_test(report, without), report.sessions(pooled), report.seed
        )
        rows.append({"what": what, "run": run, "without": without, **difference})
    return rows


def _also_differ(train: Mapping[str, Any], without: Mapping[str, Any]) -> str:
    # " (11 epochs at most instead of 5)", for people who would think that nothing differs but what
    # the step is called after
    words = {
        "epochs": "{} epochs at most instead of {}",
        "segments": "clips of a recording {} instead of {}",
    }
    both = {key: (train.get(key), without.get(key)) for key in words}
    differ = [
        words[key].format(*pair)
        for key, pair in both.items()
        if None not in pair and pair[0] != pair[1]
    ]
    return f" ({', '.join(differ)})" if differ else ""


def _split_counts(report: ReportInput) -> dict[str, Any]:
    # recordings, sessions, recordists and species of each side (mean over the folds), and what lies
    # on two sides
    counts: dict[str, Any] = {}
    for side in SIDES:
        parts = [table[table["side"] == side] for table in report.tables]
        known = {
            "recordings": "recording_id",
            "sessions": "session",
            "recordists": "recordist",
            "species": "species",
        }
        means = {
            name: np.mean([_distinct(part[column]) for part in parts])
            for name, column in known.items()
        }
        counts[side] = {
            name: int(v) if v == int(v) else round(float(v), 1) for name, v in means.items()
        }
    for name, column in (("recordings", "recording_id"), ("sessions", "session")):
        counts[f"{name}_on_two_sides"] = int(
            sum((table.groupby(column)["side"].nunique() > 1).sum() for table in report.tables)
        )
    return counts


def _distinct(column: pd.Series) -> int:
    return int(column[column != ""].nunique())
