"""Lay numbers out as Markdown tables; nothing is computed here but layout."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from birdnb.evaluation.gates import NOT_MEASURED
from birdnb.registry import CLASSICAL, is_yardstick
from birdnb.report.words import (
    NONE,
    amount,
    duration,
    gate_value,
    percent,
    plain,
    points,
    score,
    title,
    verdict,
    without_folder,
)
from birdnb.training.runs import flat


def pipe_table(frame: pd.DataFrame, left: int = 1) -> str:
    """Lay out a Markdown table of Markdown cells, its first ``left`` columns left-aligned."""
    head = ["| " + " | ".join(map(str, frame.columns)) + " |"]
    rule = ["| " + " | ".join([":---"] * left + ["---:"] * (len(frame.columns) - left)) + " |"]
    body = [
        "| " + " | ".join(str(cell) for cell in row) + " |" for row in frame.itertuples(index=False)
    ]
    return "\n".join(head + rule + body)


def measured_table(metrics: Mapping[str, Any]) -> str:
    """List every run with its test scores and intervals, with folds the spread over them, too."""
    rows = []
    for name, run in metrics["runs"].items():
        test, mark = run["test"], "**" if name == metrics["final_run"] else ""
        row = {
            "model": f"{mark}{plain(title(name))}{mark}",
            "accuracy": percent(test["accuracy"], test.get("accuracy_ci95")),
        }
        if metrics["folds"]:
            each = pd.Series(test["folds"]["accuracy"])
            row["mean over folds"] = f"{percent(each.mean())} ± {100 * each.std():.1f}"
        row |= {
            key: score(test[k], test.get(f"{k}_ci95"))
            for key, k in (("F1-macro", "f1_macro"), ("mAP", "map_macro"))
        }
        row |= {"balanced accuracy": percent(test["balanced_accuracy"])}
        if test["species"] > 5:  # five guesses at five are always right
            row["top-5"] = percent(test["top5_accuracy"])
        rows.append(row | {"AUROC": score(test["auroc_macro"])})
    return pipe_table(pd.DataFrame(rows))


def cost_table(metrics: Mapping[str, Any], configs: Mapping[str, Mapping[str, Any]]) -> str:
    """List what every run took; ``configs`` say which epoch's weights were kept."""
    rows = []
    for name, run in metrics["runs"].items():
        train, val = run.get("train", {}).get("accuracy"), run["val"]["accuracy"]
        epochs = NONE
        if run.get("epochs") and name != CLASSICAL and not is_yardstick(name):
            epochs = f"{run['epochs']:.3g} (best {run['best_epoch']:.3g})"
        kept = configs[name].get("settings", {}).get("train", {}).get("keep")
        epochs += f", {kept} kept" if kept else ""
        weights = run.get("pretrained") or False
        rows.append({
            "model": plain(title(name)),
            "epochs": epochs,
            "training time": _took(run),
            "parameters": amount(run.get("parameters")),
            "pretrained weights": plain({True: "yes", False: "no"}.get(weights, weights)),
            "validation accuracy": percent(val, run["val"].get("accuracy_ci95")),
            "train − validation": NONE if train is None else points(train - val),
        })  # fmt: skip
    return pipe_table(pd.DataFrame(rows))


def _took(run: Mapping[str, Any]) -> str:
    """Return the time of training; of a frozen encoder what its embeddings took as well."""
    fitting, listening = run.get("seconds"), run.get("listening_seconds")
    if not listening:
        return duration(fitting)
    heard = f"{duration(listening)} of listening"
    return f"{duration(fitting)} after {heard}" if fitting else heard


def reported_table(reported: Mapping[str, Any]) -> str:
    """List the figures of the study that is repeated."""
    rows = []
    for run in reported["runs"]:
        best = f" (best {run['best_epoch']})" if run["best_epoch"] else ""
        scores = {
            "accuracy": f"{100 * run['accuracy']:.2f} %",
            "F1-macro": f"{run['f1_macro']:.4f}",
        }
        mean_ap = NONE if run["map_macro"] is None else f"{run['map_macro']:.4f}"
        rows.append(
            {"model": plain(run["run"])}
            | scores
            | {"mAP": mean_ap, "epochs": f"{run['epochs']}{best}"}
        )
    return pipe_table(pd.DataFrame(rows))


def benchmark_table(benchmark: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """List what others report for a public benchmark, with the final model of this study."""
    rows = [(plain(run["run"]), percent(run["accuracy"])) for run in benchmark["runs"]]
    final = metrics["final_run"]
    if final is not None:
        test = metrics["runs"][final]["test"]
        here = percent(test["accuracy"], test.get("accuracy_ci95"))
        rows.append((f"**{plain(title(final))}**, measured here", here))
    return pipe_table(pd.DataFrame(rows, columns=["model", "accuracy"]))


def steps_table(metrics: Mapping[str, Any]) -> str:
    """List what each step brought, on the same recordings."""
    rows = [{
        "step": plain(step["what"]),
        "accuracy": points(step["difference"], step["ci95"]),
        "p": "< 0.001" if step["p"] < 0.001 else f"{step['p']:.3f}",
        "F1-macro": f"{step['f1_difference']:+.2f}".replace("-", "−"),
        "newly right": step["only_first_right"],
        "newly wrong": step["only_second_right"],
        "verdict": verdict(step),
    } for step in metrics["steps"]]  # fmt: skip
    return pipe_table(pd.DataFrame(rows))


def gates_table(gates: Mapping[str, Mapping[str, Any]]) -> str:
    """List every gate: question, value, decision, whether that is certain, and the rule."""
    rows = [{
        "gate": plain(gate["question"]),
        "value": gate_value(gate),
        "decision": f"**{gate['decision']}**" if gate["decision"] != NOT_MEASURED else NOT_MEASURED,
        "certain": _certain(gate),
        "rule": plain(gate["rule"]),
    } for gate in gates.values()]  # fmt: skip
    return pipe_table(pd.DataFrame(rows), left=5)


def _certain(gate: Mapping[str, Any]) -> str:
    if gate["unit"] == "points" and gate["ci95"] == [0, 0]:
        return "no: the two never differ"
    return {True: "yes", False: "no: within uncertainty", None: NONE}[gate["certain"]]


def species_table(per_class: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> str:
    """List F1, precision, recall and support of some species."""
    rows = [{
        "species": plain(name),
        "F1": score(per_class[name]["f1"], per_class[name].get("f1_ci95")),
        "precision": percent(per_class[name]["precision"]),
        "recall": percent(per_class[name]["recall"]),
        "test recordings": per_class[name]["support"],
    } for name in names]  # fmt: skip
    return pipe_table(pd.DataFrame(rows))


def calibration_table(metrics: Mapping[str, Any]) -> str:
    """List every run's calibration error on test; the ensemble's before and after scaling."""
    rows = []
    for name, run in metrics["runs"].items():
        model, change = plain(title(name)), run.get("calibration", {}).get("test")
        if change is None:
            rows.append((model, score(run["test"]["ece"]), score(run["test"]["log_loss"])))
            continue
        for when in ("before", "after"):
            errors = score(change[f"ece_{when}"]), score(change[f"log_loss_{when}"])
            rows.append((f"{model}, {when} temperature scaling", *errors))
    return pipe_table(pd.DataFrame(rows, columns=["model", "calibration error", "log loss"]))


def ensemble_table(run: Mapping[str, Any]) -> str:
    """Compare weights found on validation with equal ones, and both with the best single model."""
    rows = []
    for name, test, gain in (
        ("found on validation", run["test"], run["gain"]),
        ("equal", run["equal"]["test"], run["gain_equal"]),
    ):
        scores = {
            "accuracy": percent(test["accuracy"], test.get("accuracy_ci95")),
            "F1-macro": score(test["f1_macro"]),
        }
        more = {
            "over the best single model": points(gain["difference"], gain["ci95"]),
            "verdict": verdict(gain),
        }
        rows.append({"weights": name} | scores | {"mAP": score(test["map_macro"])} | more)
    return pipe_table(pd.DataFrame(rows))


def split_table(split: Mapping[str, Any]) -> str:
    """List recordings, sessions, recordists and species of each side."""
    rows = [
        {"side": side, **counts} for side, counts in split.items() if isinstance(counts, Mapping)
    ]
    return pipe_table(pd.DataFrame(rows))


def settings_table(configs: Mapping[str, Mapping[str, Any]]) -> str:
    """List the settings in which the networks differ, a column a run."""
    flat = _of_networks(configs)
    keys = list(dict.fromkeys(key for settings in flat.values() for key in settings))
    differing = [
        key for key in keys if len({str(settings.get(key)) for settings in flat.values()}) > 1
    ]
    rows = [
        {"setting": f"`{key}`"}
        | {plain(title(n)): plain(s.get(key, NONE)) for n, s in flat.items()}
        for key in differing
    ]
    return pipe_table(pd.DataFrame(rows)) if rows else ""


def shared_settings(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings that all networks have in common, by dotted name."""
    flat = list(_of_networks(configs).values())
    first = flat[0] if flat else {}
    return {k: value for k, value in first.items() if all(s.get(k) == value for s in flat)}


def _of_networks(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Flatten the settings of the networks among the runs: run -> dotted name -> value."""
    return {
        name: {key: without_folder(value) for key, value in flat(config["settings"]).items()}
        for name, config in configs.items()
        if "train" in config.get("settings", {})
    }
