"""Compute everything a report says from finished runs and the split: metrics.json of its folder."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from birdnb.evaluation.ensemble import best_single, combine
from birdnb.evaluation.gates import CONVERGED, final_run, gates
from birdnb.evaluation.metrics import paired_bootstrap, rare_and_common, summarise
from birdnb.evaluation.predictions import Predictions, concatenate
from birdnb.registry import (
    BASELINE,
    CLASSICAL,
    EFFICIENTNET,
    ENSEMBLE,
    ENSEMBLE_WITH,
    FULL,
    MFCC,
    is_yardstick,
)
from birdnb.report.collect import ReportInput
from birdnb.report.heard import heard_of
from birdnb.report.recordings import recordings_metrics
from birdnb.report.words import title, without_folder
from birdnb.report.yardstick import yardstick_steps, yardsticks
from birdnb.split.facts import people
from birdnb.split.sides import SIDES

STEPS = (  # (what the step is, the run with it, the run without)
    ("A network instead of logistic regression (both MFCC)", MFCC, CLASSICAL),
    ("AST on spectrograms instead of the MFCC network", BASELINE, MFCC),
    ("Augmentation", FULL, BASELINE),
    ("EfficientNet-B2 instead of AST", EFFICIENTNET, FULL),
    ("Ensemble instead of the best single model", ENSEMBLE, ""),  # "": best on validation
    ("Ensemble instead of logistic regression", ENSEMBLE, CLASSICAL),
)
OVER_FOLDS: dict[str, Callable] = {
    "epochs": np.mean,
    "best_epoch": np.mean,
    "seconds": np.sum,
    "listening_seconds": np.max,  # all folds share what a frozen encoder heard
    "temperature": np.mean,
}
COUNTED = {  # what is counted on each side, by the column that names it
    "recordings": "recording_id",
    "sessions": "session",
    "recordists": "recordist",
    "species": "species",
}


def study_metrics(report: ReportInput) -> dict[str, Any]:
    """Compute the report's metrics.json.

    Keys: corpus, profile, seed, synthetic, folds, split, quarantine, chance, final_run, runs,
    steps, gates; with frozen encoders yardsticks; and of ``recordings_metrics`` what there is.
    """
    reasons = report.quarantine["reason"].value_counts().sort_index()
    runs = {name: _run_summary(report, name) for name in report.runs}
    final = final_run(runs)
    beside = yardsticks(report, runs, final)
    return (
        {
            "corpus": report.corpus,
            "profile": report.profile,
            "seed": report.seed,
            "synthetic": report.synthetic,
            "folds": report.folds,
            "split": _split_counts(report),
            "quarantine": {str(reason): int(count) for reason, count in reasons.items()},
            "chance": {
                "uniform": 1 / len(report.labels),
                "commonest_species": _always_the_commonest(report),
            },
            "final_run": final,
            "runs": runs,
            "steps": _steps(report, runs) + yardstick_steps(report, runs, final, beside),
            "gates": gates(runs),
        }
        | ({"yardsticks": beside} if beside else {})
        | recordings_metrics(report, final)
    )


def progression_rows(
    metrics: Mapping[str, Any], reported_runs: Sequence[Mapping[str, Any]]
) -> pd.DataFrame:
    """Lay out what ``progression`` draws: name, accuracy, low, high, reported."""
    rows = []
    for name, run in metrics["runs"].items():
        low, high = run["test"].get("accuracy_ci95", (np.nan, np.nan))
        rows.append((title(name), run["test"]["accuracy"], low, high, False))
    rows += [(run["run"], run["accuracy"], np.nan, np.nan, True) for run in reported_runs]
    return pd.DataFrame(rows, columns=["name", "accuracy", "low", "high", "reported"])


def step_rows(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Lay out what ``paired_differences`` draws: name, difference, low, high, p."""
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
    """Return the share that naming each fold's commonest training species would get right."""
    right = total = 0
    for table in report.tables:
        species = table.groupby("side")["species"]
        commonest = species.get_group("train").value_counts().index[0]
        right += int((species.get_group("test") == commonest).sum())
        total += len(species.get_group("test"))
    return right / total


def _run_summary(report: ReportInput, name: str) -> dict[str, Any]:
    results = report.runs[name]
    summary = dict(results[0].metrics) if len(results) == 1 else _over_folds(report, name)
    if "weights" in summary:
        summary |= _gains(report, name)
    if heard := heard_of(report, name):
        summary["heard"] = heard
    if all(len(result.history) for result in results):
        reached = [_epoch_of(result.history, CONVERGED) for result in results]
        epochs = [epoch for epoch in reached if epoch is not None]
        summary["epochs_to_40"] = max(epochs) if len(epochs) == len(results) else None
    return summary


def _epoch_of(history: pd.DataFrame, accuracy: float) -> int | None:
    """Find the first epoch whose validation accuracy reaches this; None: it never did."""
    epochs = history.loc[history["val_accuracy"] >= accuracy, "epoch"]
    return int(epochs.iloc[0]) if len(epochs) else None


def _over_folds(report: ReportInput, name: str) -> dict[str, Any]:
    """Sum up a run over its folds: the test recordings pooled, other figures averaged."""
    metrics = [result.metrics for result in report.runs[name]]
    test = _summarise(report, report.test(name))
    test["folds"] = {
        key: [m["test"][key] for m in metrics] for key in ("accuracy", "f1_macro", "map_macro")
    }
    summary: dict[str, Any] = {"test": test}
    for side in ("val", "train"):
        summary[side] = _mean_of_floats([m.get(side, {}) for m in metrics])
    for key, over in OVER_FOLDS.items():
        values = [m[key] for m in metrics if m.get(key) is not None]
        if len(values) == len(metrics):
            summary[key] = float(over(values))
    summary["parameters"] = metrics[0].get("parameters")
    summary["pretrained"] = without_folder(metrics[0].get("pretrained"))
    summary |= {key: metrics[0][key] for key in ("species_unknown",) if key in metrics[0]}
    if "weights" in metrics[0]:
        summary |= _ensemble_over_folds(report, name, test)
    return summary


def _mean_of_floats(sides: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Average over the folds what is a float in each of them."""
    shared = [key for key in sides[0] if all(isinstance(side.get(key), float) for side in sides)]
    return {key: float(np.mean([side[key] for side in sides])) for key in shared}


def _ensemble_over_folds(report: ReportInput, name: str, test: Mapping[str, Any]) -> dict[str, Any]:
    results = report.runs[name]
    members = results[0].metrics["weights"]
    weights = {m: [float(r.metrics["weights"][m]) for r in results] for m in members}
    before = summarise(_averaged(report, name, True), report.labels, None, bootstrap=0)
    calibration = {
        f"{key}_{when}": part[key]
        for key in ("ece", "log_loss")
        for when, part in (("before", before), ("after", test))
    }
    return {
        "weights_of_folds": weights,
        "weights": {member: float(np.mean(each)) for member, each in weights.items()},
        "equal": {"test": _summarise(report, _averaged(report, name, False))},
        "calibration": {"test": calibration},
    }


def _summarise(report: ReportInput, predictions: Predictions) -> dict[str, Any]:
    return summarise(predictions, report.labels, report.sessions(predictions), report.seed)


def _paired(report: ReportInput, a: Predictions, b: Predictions) -> dict[str, Any]:
    return paired_bootstrap(a, b, report.sessions(a), report.seed)


def _averaged(report: ReportInput, name: str, weighted: bool) -> Predictions:
    """Average an ensemble's members on the test recordings of all folds: by its weights or plainly.

    Scaled by no temperature: undoing that gives back nothing of what is next to 0.
    """
    parts = []
    for fold, ensemble in enumerate(report.runs[name]):
        weights = ensemble.metrics["weights"]
        members = [
            report.runs[member][fold].test.align(ensemble.test.recording_ids) for member in weights
        ]
        shares = list(weights.values()) if weighted else np.ones(len(members))
        parts.append(combine(members, shares))
    return concatenate(parts)


def _gains(report: ReportInput, name: str) -> dict[str, Any]:
    """Hold an ensemble against the single model, member or not, best on validation in each fold."""
    singles = {
        run: results
        for run, results in report.runs.items()
        if "weights" not in results[0].metrics and (name == ENSEMBLE_WITH or not is_yardstick(run))
    }
    best = [
        best_single({run: those[fold].val for run, those in singles.items()})
        for fold in range(len(report.runs[name]))
    ]
    single = concatenate([singles[run][fold].test for fold, run in enumerate(best)])
    over = {"over": best[0] if len(set(best)) == 1 else "best single model of each fold"}
    return {
        "gain": over | _paired(report, report.test(name), single),
        "gain_equal": over | _paired(report, _averaged(report, name, False), single),
    }


def _steps(report: ReportInput, runs: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for what, run, without in STEPS:
        if run not in runs or (without and without not in runs):
            continue
        if without:
            found = {"without": without} | _paired(report, report.test(run), report.test(without))
            what += _also_differ(report, run, without)
        else:
            found = {"without": runs[run]["gain"]["over"]} | runs[run]["gain"]
        rows.append({"what": what, "run": run} | found)
    return rows


def _also_differ(report: ReportInput, run: str, without: str) -> str:
    """Name what else two networks differ in, as " (11 epochs at most instead of 5)"."""
    if run not in (FULL, EFFICIENTNET):
        return ""
    words = {
        "epochs": "{} epochs at most instead of {}",
        "segments": "clips of a recording {} instead of {}",
    }
    these, those = (
        report.runs[name][0].config.get("settings", {}).get("train", {}) for name in (run, without)
    )
    differ = [
        text.format(these[key], those[key])
        for key, text in words.items()
        if None not in (these.get(key), those.get(key)) and these[key] != those[key]
    ]
    return f" ({', '.join(differ)})" if differ else ""


def _split_counts(report: ReportInput) -> dict[str, Any]:
    """Count what lies on each side (mean over the folds), and what lies on two sides."""
    counts: dict[str, Any] = {}
    for side in SIDES:
        parts = [table[table["side"] == side] for table in report.tables]
        parts = [part.assign(recordist=people(part["recordist"])) for part in parts]
        means = {
            name: float(np.mean([part[column].replace("", None).nunique() for part in parts]))
            for name, column in COUNTED.items()
        }
        counts[side] = {
            name: int(v) if v.is_integer() else round(v, 1) for name, v in means.items()
        }
    for name in ("recordings", "sessions"):
        column = COUNTED[name]
        counts[f"{name}_on_two_sides"] = int(
            sum((table.groupby(column)["side"].nunique() > 1).sum() for table in report.tables)
        )
    return counts
