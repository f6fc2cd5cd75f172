"""Decide the gates of the study: each with its value, its target and what follows.

A decision is certain when both ends of the value's 95 % interval lead to it, and the interval comes
from FEW_SESSIONS or more; without an interval nobody can say (None).
"""

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from birdnb.registry import BASELINE, ENSEMBLE, FULL, is_yardstick

NOT_MEASURED = "not measured"
RELATIONS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
FEW_SESSIONS = 10  # on the test side: intervals from fewer are too narrow to call anything certain
CONVERGED = 0.40  # the validation accuracy the baseline should reach within 15 epochs

# (relation, bound, decision): the first that holds decides
Steps = tuple[tuple[str, float, str], ...]


@dataclass(frozen=True)
class Rule:
    """A question, its unit, and the steps that lead from a value to a decision."""

    question: str
    unit: str  # share (of recordings), points (difference of shares), score, or epochs
    target: float  # the bound that counts as success
    steps: Steps
    otherwise: str

    def decide(self, value: float) -> str:
        """Return the decision for a value, rounded to nine digits."""
        value = round(value, 9)
        for relation, bound, decision in self.steps:
            if RELATIONS[relation](value, bound):
                return decision
        return self.otherwise

    def text(self) -> str:
        """Write the rule in words, e.g. ``GO > 55 %, else STOP``."""
        signs = {">": ">", ">=": "\u2265", "<": "<", "<=": "\u2264"}
        steps = [
            f"{decision} {signs[relation]} {in_unit(bound, self.unit)}"
            for relation, bound, decision in self.steps
        ]
        return ", ".join([*steps, f"else {self.otherwise}"])


def _levels(
    question: str, unit: str, mvp: float, target: float, stretch: float, relation: str = ">="
) -> Rule:
    steps = ((relation, stretch, "STRETCH"), (relation, target, "TARGET"), (relation, mvp, "MVP"))
    return Rule(question, unit, target, steps, "BELOW MVP")


def _success(unit: str, minimal: float, target: float, outstanding: float) -> Rule:
    steps = ((">", outstanding, "OUTSTANDING"), (">", target, "TARGET"), (">", minimal, "MINIMAL"))
    return Rule("Level of success", unit, target, steps, "BELOW MINIMAL")


RULES = {
    "gate_2": Rule(
        "Gate 2: accuracy of the baseline", "share", 0.55,
        ((">", 0.55, "GO"), (">=", 0.50, "PROCEED WITH CAUTION")), "STOP",
    ),
    "gate_3": Rule(
        "Gate 3: accuracy of the full training", "share", 0.65,
        ((">", 0.65, "SUCCESS"), (">=", 0.60, "ITERATE")), "INVESTIGATE",
    ),
    "train_validation_gap": Rule("Train-validation gap, full training", "points", 0.15,
    (("<", 0.15, "MET"),), "NOT MET"),
    "baseline_convergence": Rule(
        f"Epochs until the baseline reaches {100 * CONVERGED:g} % validation accuracy", "epochs",
        15,
        (("<=", 15, "MET"),), "NOT MET",
    ),
    "ensemble_gain": Rule(
        "Ensemble over the best single model", "points", 0.02,
        ((">", 0.05, "ABOVE EXPECTATION"), (">=", 0.02, "AS EXPECTED")), "BELOW EXPECTATION",
    ),
    "accuracy_level": _levels("Accuracy of the final model", "share", 0.55, 0.65, 0.75),
    "f1_level": _levels("F1-macro of the final model", "score", 0.35, 0.45, 0.55),
    "map_level": _levels("mAP of the final model", "score", 0.40, 0.50, 0.60),
    "epochs_level": _levels("Epochs of the full training", "epochs", 20, 15, 12, "<"),
    "map_publication": Rule("mAP of the final model for publication", "score", 0.45,
    ((">", 0.45, "MET"),), "NOT MET"),
    "final": Rule("Final: go on to Phase 4 (multimodal fusion)?", "share", 0.65,
    ((">", 0.65, "GO ON"),), "ITERATE"),
}  # fmt: skip
# accuracy, F1-macro
SUCCESS = (_success("share", 0.60, 0.65, 0.70), _success("score", 0.40, 0.45, 0.50))


def gates(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict]:
    """Decide every gate: question, run, value, target, unit, rule, decision, certain, ci95.

    ``runs`` maps run names to what their metrics.json holds (``val``, ``test``, ``train``,
    ``epochs``; ``gain`` for the ensemble) and ``epochs_to_40``, the first epoch with 40 %
    validation accuracy (None: never). What a missing run would have answered is "not measured". The
    final model is the ensemble, or else the run best on validation, never on test.
    """
    last = final_run(runs)
    test = {name: run.get("test", {}) for name, run in runs.items()}
    tested = test.get(last) if last else None
    full, gain = runs.get(FULL, {}), runs.get(ENSEMBLE, {}).get("gain", {})
    measured = {
        "gate_2": (BASELINE, *_value(test.get(BASELINE), "accuracy")),
        "gate_3": (FULL, *_value(test.get(FULL), "accuracy")),
        "train_validation_gap": (FULL, _gap(full), None),
        "baseline_convergence": (BASELINE, _convergence(runs.get(BASELINE, {})), None),
        "ensemble_gain": (ENSEMBLE, gain.get("difference"), gain.get("ci95")),
        "accuracy_level": (last, *_value(tested, "accuracy")),
        "f1_level": (last, *_value(tested, "f1_macro")),
        "map_level": (last, *_value(tested, "map_macro")),
        "epochs_level": (FULL, full.get("epochs"), None),
        "map_publication": (last, *_value(tested, "map_macro")),
        "final": (last, *_value(tested, "accuracy")),
    }
    table = {name: _answer(RULES[name], *values) for name, values in measured.items()}
    final = table.pop("final")
    table |= {"success_level": _success_level(last, tested), "final": final}
    row = table["ensemble_gain"]
    if row["certain"] and (
        row["ci95"] == [0, 0]
        or (row["decision"] != RULES["ensemble_gain"].otherwise and gain["p"] > 0.05)
    ):
        row["certain"] = False  # too few sessions in which the two differ
    for row in table.values():
        if row["certain"] and test.get(row["run"], {}).get("sessions", FEW_SESSIONS) < FEW_SESSIONS:
            row["certain"] = False
    return table


def final_run(runs: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Name the model the study ends with: the ensemble, or the best trained one on validation."""
    if ENSEMBLE in runs:
        return ENSEMBLE
    trained = [name for name in runs if not is_yardstick(name)]
    return max(
        trained, key=lambda name: runs[name].get("val", {}).get("accuracy", -1.0), default=None
    )


def in_unit(value: float, unit: str) -> str:
    """Write a value as people read it: ``55 %``, ``2 points``, ``0.45``, ``15 epochs``."""
    if unit in ("share", "points"):
        return f"{round(100 * value, 1):g} {'%' if unit == 'share' else 'points'}"
    return f"{value:.2f}" if unit == "score" else f"{value:.3g} epoch{'s' if value != 1 else ''}"


def reported() -> dict:
    """Read reported figures: label, corpus and runs of the study repeated; benchmarks by layout."""
    return yaml.safe_load((Path(__file__).parent / "reported.yaml").read_text(encoding="utf-8"))


def _answer(rule: Rule, run: str | None, value: float | None, interval: list[float] | None) -> dict:
    row = {
        "question": rule.question, "run": run, "value": value, "target": rule.target,
        "unit": rule.unit, "rule": rule.text(),
    }  # fmt: skip
    if value is None:
        return row | {"decision": NOT_MEASURED, "certain": None, "ci95": None}
    certain = rule.decide(interval[0]) == rule.decide(interval[1]) if interval else None
    row["value"] = None if value == float("inf") else value  # never reached
    return row | {"decision": rule.decide(value), "certain": certain, "ci95": interval}


def _success_level(run: str | None, test: Mapping[str, Any] | None) -> dict:
    parts = [
        _answer(rule, run, *_value(test, key))
        for rule, key in zip(SUCCESS, ("accuracy", "f1_macro"), strict=True)
    ]
    order = [SUCCESS[0].otherwise, *[decision for *_, decision in reversed(SUCCESS[0].steps)]]
    steps = zip(SUCCESS[0].steps, SUCCESS[1].steps, strict=True)
    text = [
        f"{a[2]} > {in_unit(a[1], 'share')} and F1 > {in_unit(b[1], 'score')}" for a, b in steps
    ]
    row = parts[0] | {
        "f1_macro": parts[1]["value"],
        "rule": ", ".join([*text, f"else {SUCCESS[0].otherwise}"]),
    }
    if NOT_MEASURED in (parts[0]["decision"], parts[1]["decision"]):
        return row | {"decision": NOT_MEASURED, "certain": None}

    def level(values: Iterable[float]) -> str:
        """Return the lower of two levels, accuracy's and F1's: both are needed."""
        each = (rule.decide(value) for rule, value in zip(SUCCESS, values, strict=True))
        return min(each, key=order.index)

    ends = [part["ci95"] for part in parts]
    levels = {level(end) for end in zip(*ends, strict=True)} if all(ends) else set()
    return row | {
        "decision": level(part["value"] for part in parts),
        "certain": len(levels) == 1 if levels else None,
    }


def _value(metrics: Mapping[str, Any] | None, key: str) -> tuple[float | None, list[float] | None]:
    return (metrics.get(key), metrics.get(f"{key}_ci95")) if metrics else (None, None)


def _gap(run: Mapping[str, Any]) -> float | None:
    train, val = run.get("train", {}).get("accuracy"), run.get("val", {}).get("accuracy")
    return None if train is None or val is None else train - val


def _convergence(run: Mapping[str, Any]) -> float | None:
    if "epochs_to_40" not in run:
        return None
    return float("inf") if run["epochs_to_40"] is None else run["epochs_to_40"]
