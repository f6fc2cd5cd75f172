"""Hold what this study trains against frozen encoders, honestly: who is better, and by what.

An encoder may have heard test recordings before; where that can be told, both are scored on the
others, too.
"""

from collections.abc import Mapping
from typing import Any

from birdnb.evaluation.heard import heard_before, scores_apart
from birdnb.evaluation.metrics import paired_bootstrap
from birdnb.registry import ENSEMBLE, ENSEMBLE_WITH, is_yardstick
from birdnb.report.collect import ReportInput
from birdnb.report.heard import cards_of
from birdnb.report.words import percent, plain, points, title, verdict

EDGE = 1e-9  # accuracies that differ by less are equal
LOSS = {
    "better": "a gain",
    "worse": "a loss",
    "not settled": "not settled by this many recordings",
    "no difference": "no difference",
}


def yardsticks(
    report: ReportInput, runs: Mapping[str, Any], final: str | None
) -> list[dict[str, Any]]:
    """Compare the final model with each run of a frozen encoder, for metrics.json.

    ``run``, its accuracy and interval, ``difference`` and the rest of ``paired_bootstrap`` (final
    model minus encoder), ``beats_all`` (more accurate than every run that was trained here),
    ``licence``, and ``final_apart``: the final model on the recordings that the encoder may and
    cannot have heard, as ``heard`` of the run itself has them.
    """
    if final is None:
        return []
    trained = [name for name in runs if not is_yardstick(name) and name != ENSEMBLE_WITH]
    ours = max(runs[name]["test"]["accuracy"] for name in trained)
    test, found = report.test(final), []
    sessions = report.sessions(test)
    for name in filter(is_yardstick, runs):
        cards, accuracy = cards_of(report, name), runs[name]["test"]["accuracy"]
        row = {"run": name, "accuracy": accuracy, "licence": cards[0].licence if cards else ""}
        row["accuracy_ci95"] = runs[name]["test"]["accuracy_ci95"]
        row["beats_all"] = accuracy > ours + EDGE
        row |= paired_bootstrap(test, report.test(name), sessions, report.seed)
        if "heard" in runs[name]:
            kinds = heard_before(report.tables[0], cards)
            row["final_apart"] = scores_apart(test, kinds, sessions, report.seed)
        found.append(row)
    return found


def yardstick_steps(
    report: ReportInput, runs: Mapping[str, Any], final: str | None, rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the steps from frozen encoders to our best network, and to the ensemble of both."""
    keys = ("difference", "ci95", "p", "f1_difference", "f1_ci95", "f1_p", "recordings",
            "only_first_right", "only_second_right")  # fmt: skip
    steps: list[dict[str, Any]] = [
        {"what": f"Our best network ({title(final)}) instead of {title(row['run'])}", "run": final,
         "without": row["run"]} | {key: row[key] for key in keys}
        for row in rows
    ]  # fmt: skip
    if ENSEMBLE in runs and ENSEMBLE_WITH in runs:
        test = report.test(ENSEMBLE_WITH)
        gain = paired_bootstrap(test, report.test(ENSEMBLE), report.sessions(test), report.seed)
        what = "Frozen encoders in the ensemble, too"
        steps.append({"what": what, "run": ENSEMBLE_WITH, "without": ENSEMBLE} | gain)
        gain = runs[ENSEMBLE_WITH]["gain"]
        what = f"Ensemble with encoders instead of the best of all alone ({title(gain['over'])})"
        steps.append({"what": what, "run": ENSEMBLE_WITH, "without": gain["over"]} | gain)
    return steps


def yardstick_words(report: ReportInput, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page says: ``beaten``, ``unknown_species``, ``weights_licences``.

    These are the sentence of the decision box where frozen encoders are better than everything that
    was trained ("" where they are not), what their own answers do not know, and their licences.
    """
    rows = metrics.get("yardsticks", [])
    unknown = {
        title(row["run"]): metrics["runs"][row["run"]].get("species_unknown") for row in rows
    }
    cards = {card.title: card for row in rows for card in cards_of(report, row["run"])}
    return {
        "yardsticks": rows,
        "beaten": _beaten([row for row in rows if row["beats_all"]], metrics),
        "unknown_species": {name: species for name, species in unknown.items() if species},
        "weights_licences": list(cards.values()),
    }


def _beaten(rows: list[dict[str, Any]], metrics: Mapping[str, Any]) -> str:
    if not rows:
        return ""
    names = [
        f"{plain(title(r['run']))}, {percent(r['accuracy'], r['accuracy_ci95'])}" for r in rows
    ]
    against = [f"{points(row['difference'], row['ci95'])}, {LOSS[verdict(row)]}" for row in rows]
    said = [
        f"**Better than everything trained here: {'; '.join(names)}.** Against "
        f"{'it' if len(rows) == 1 else 'them'} the final model comes to {'; '.join(against)}."
    ]
    heard: dict[str, list[dict[str, Any]]] = {}  # by the weights
    for row in rows:
        if "final_apart" in row:
            heard.setdefault(metrics["runs"][row["run"]]["heard"]["weights"][0], []).append(row)
    return " ".join(said + [_heard(name, those, metrics) for name, those in heard.items()])


def _heard(weights: str, rows: list[dict[str, Any]], metrics: Mapping[str, Any]) -> str:
    """Say what an encoder may have heard, and how its runs and ours do on what is new to it."""
    encoders = {title(row["run"]): metrics["runs"][row["run"]]["heard"]["test"] for row in rows}
    kinds = next(iter(encoders.values()))
    if set(kinds) == {"cannot"}:
        return f"{plain(weights)} cannot have heard any of these recordings before."
    said = [
        text.format(kinds[kind]["recordings"])
        for kind, text in (
            ("may", "it may have heard {:,} of these recordings before"),
            ("unknown", "of {:,} nobody can tell whether it has heard them"),
        )
        if kind in kinds
    ]
    begin = f"But {plain(weights)}: {' and '.join(said)}"
    if "cannot" not in kinds:
        return f"{begin}; how good it is on recordings that are new to it, they cannot tell."
    scores = {**encoders, "the final model": rows[0]["final_apart"]}
    each = [
        f"{plain(name)} {percent(found['cannot']['accuracy'], found['cannot']['accuracy_ci95'])}"
        for name, found in scores.items()
    ]
    new = kinds["cannot"]["recordings"]
    return f"{begin}; on the {new:,} that it cannot have heard: {'; '.join(each)}."
