"""Numbers into words and tables: what the report's template puts on the page. Nothing is computed
here but layout.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from birdnb.evaluation.gates import NOT_MEASURED, in_unit
from birdnb.report.collect import CLASSICAL, TITLES

NONE = "–"
SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~!&])")


def plain(text: Any) -> str:
    """Text that Markdown shows as it is: special characters escaped, line breaks as spaces."""
    return SPECIAL.sub(r"\\\1", re.sub(r"\s+", " ", str(text)).strip())


def percent(value: float | None, interval: Sequence[float] | None = None) -> str:
    """``54.5 % (48.1–60.2)``; a dash when there is no value."""
    if value is None:
        return NONE
    return f"{100 * value:.1f} %" + (
        f" ({100 * interval[0]:.1f}–{100 * interval[1]:.1f})" if interval else ""
    )


def score(value: float | None, interval: Sequence[float] | None = None) -> str:
    """``0.36 (0.31–0.42)``; a dash when there is no value."""
    if value is None:
        return NONE
    return f"{value:.2f}" + (f" ({interval[0]:.2f}–{interval[1]:.2f})" if interval else "")


def points(value: float | None, interval: Sequence[float] | None = None) -> str:
    """``+2.8 points (−1.0 to +6.4)``; a dash when there is no value."""
    if value is None:
        return NONE
    text = f"{100 * value:+.1f} points" + (
        f" ({100 * interval[0]:+.1f} to {100 * interval[1]:+.1f})" if interval else ""
    )
    return text.replace("-", "−")


def duration(seconds: float | None) -> str:
    """``45 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    if seconds is None:
        return NONE
    whole = round(seconds)
    if whole < 60:
        return f"{max(whole, 1)} s"
    return (
        f"{whole // 60} min {whole % 60:02d} s"
        if whole < 3600
        else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    )


def amount(number: float | None) -> str:
    """``7.9 M``, ``310 k`` or ``90``."""
    if number is None:
        return NONE
    return (
        f"{number / 1e6:.1f} M"
        if number >= 1e6
        else f"{number / 1e3:.0f} k"
        if number >= 1e4
        else f"{number:,.0f}"
    )


def title(run: str | None) -> str:
    """A run's name for people."""
    return TITLES.get(run or "", run or NONE)


def pipe_table(frame: pd.DataFrame, left: int = 1) -> str:
    """A Markdown table; the first ``left`` columns are aligned to the left, the rest to the right.
    Cells are Markdown.
    """
    head = ["| " + " | ".join(map(str, frame.columns)) + " |"]
    rule = ["| " + " | ".join([":---"] * left + ["---:"] * (len(frame.columns) - left)) + " |"]
    body = [
        "| " + " | ".join(str(cell) for cell in row) + " |" for row in frame.itertuples(index=False)
    ]
    return "\n".join(head + rule + body)


def measured_table(metrics: Mapping[str, Any]) -> str:
    """Every run with its test scores and intervals; with folds the spread of accuracy over them."""
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
        row |= (
            {"top-5": percent(test["top5_accuracy"])} if test["species"] > 5 else {}
        )  # five guesses at five: always right
        rows.append(row | {"AUROC": score(test["auroc_macro"])})
    return pipe_table(pd.DataFrame(rows))


def cost_table(metrics: Mapping[str, Any], kept: Mapping[str, str]) -> str:
    """What every run took: epochs and which was ``kept``, time, parameters, weights it started
    from, train-validation gap.
    """
    rows = []
    for name, run in metrics["runs"].items():
        train, val = run.get("train", {}).get("accuracy"), run["val"]["accuracy"]
        epochs = (
            f"{run['epochs']:.3g} (best {run['best_epoch']:.3g})"
            if run.get("epochs") and name != CLASSICAL
            else NONE
        )
        epochs += f", {kept[name]} kept" if name in kept else ""
        weights = run.get("pretrained")
        rows.append({
            "model": plain(title(name)),
            "epochs": epochs,
            "training time": duration(run.get("seconds")),
            "parameters": amount(run.get("parameters")),
            "pretrained weights": plain(weights) if isinstance(weights,
            str) else "yes" if weights else "no",
            "validation accuracy": percent(val, run["val"].get("accuracy_ci95")),
            "train − validation": NONE if train is None else points(train - val),
        })  # fmt: skip
    return pipe_table(pd.DataFrame(rows))


def reported_table(reported: Mapping[str, Any]) -> str:
    """The figures of the study that is repeated."""
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


def steps_table(metrics: Mapping[str, Any]) -> str:
    """What each step brought, on the same recordings."""
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


def verdict(step: Mapping[str, Any]) -> str:
    """``better``, ``worse``, ``not settled`` when the interval holds zero or p is above 0.05 (too
    few sessions in which the two differ), or ``no difference`` when the interval holds nothing but
    zero.
    """
    low, high = step["ci95"]
    if low == high == 0:
        return "no difference"
    if step["p"] > 0.05:
        return "not settled"
    return "better" if low > 0 else "worse" if high < 0 else "not settled"


def gates_table(gates: Mapping[str, Mapping[str, Any]]) -> str:
    """Every gate: question, value, rule, decision, and whether the interval leaves room for another
    decision.
    """
    sure = {True: "yes", False: "no: within uncertainty", None: NONE}

    def certain(gate: Mapping[str, Any]) -> str:
        return (
            "no: the two never differ"
            if gate["unit"] == "points" and gate["ci95"] == [0, 0]
            else sure[gate["certain"]]
        )

    rows = [{
        "gate": plain(gate["question"]),
        "value": gate_value(gate),
        "decision": f"**{gate['decision']}**" if gate["decision"] != NOT_MEASURED else NOT_MEASURED,
        "certain": certain(gate),
        "rule": plain(gate["rule"]),
    } for gate in gates.values()]  # fmt: skip
    return pipe_table(pd.DataFrame(rows), left=5)


def gate_value(gate: Mapping[str, Any]) -> str:
    """A gate's value with its unit; ``never`` for a mark that was not reached."""
    if gate["decision"] == NOT_MEASURED:
        return NONE
    if gate["value"] is None:
        return "never"
    also = f", F1 {gate['f1_macro']:.2f}" if "f1_macro" in gate else ""
    return in_unit(gate["value"], gate["unit"]).replace("-", "−") + also


def species_table(per_class: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> str:
    """F1, precision, recall and support of some species."""
    rows = [{
        "species": plain(name),
        "F1": score(per_class[name]["f1"], per_class[name].get("f1_ci95")),
        "precision": percent(per_class[name]["precision"]),
        "recall": percent(per_class[name]["recall"]),
        "test recordings": per_class[name]["support"],
    } for name in names]  # fmt: skip
    return pipe_table(pd.DataFrame(rows))


def calibration_table(metrics: Mapping[str, Any]) -> str:
    """Expected calibration error of every run on test; the ensemble before and after temperature
    scaling.
    """
    rows = []
    for name, run in metrics["runs"].items():
        if "calibration" in run:
            change = run["calibration"]["test"]
            rows += [(f"{plain(title(name))}, {when} temperature scaling",
                      score(change[f"ece_{when}"]),
                      score(change[f"log_loss_{when}"])) for when in ("before", "after")]  # fmt: skip
        else:
            rows.append(
                (plain(title(name)), score(run["test"]["ece"]), score(run["test"]["log_loss"]))
            )
    return pipe_table(pd.DataFrame(rows, columns=["model", "calibration error", "log loss"]))


def ensemble_table(run: Mapping[str, Any]) -> str:
    """Weights found on validation against equal weights, and what each gains over the best single
    model.
    """
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
    """Recordings, sessions, recordists and species of each side."""
    rows = [
        {"side": side, **counts} for side, counts in split.items() if isinstance(counts, Mapping)
    ]
    return pipe_table(pd.DataFrame(rows))


def settings_table(configs: Mapping[str, Mapping[str, Any]]) -> str:
    """The settings in which the runs differ, a column a run; the rest is in each run's config.json."""
    flat = {
        name: _flat(config["settings"])
        for name, config in configs.items()
        if "train" in config.get("settings", {})
    }
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
    """The settings that all networks have in common, by dotted name."""
    flat = [
        _flat(config["settings"])
        for config in configs.values()
        if "train" in config.get("settings", {})
    ]
    return {
        key: value
        for key, value in (flat[0] if flat else {}).items()
        if all(s.get(key) == value for s in flat)
    }


def _flat(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        f"{part}.{key}": value for part, values in settings.items() for key, value in values.items()
    }
