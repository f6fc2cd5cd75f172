"""Say which test recordings a run's pretrained weights may have heard before, and what follows."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from birdnb.cards import Card, card_of_weights, make_card
from birdnb.evaluation.heard import heard_before, scores_apart
from birdnb.report.collect import ReportInput
from birdnb.report.tables import pipe_table
from birdnb.report.words import NONE, percent, plain, title

COLUMNS = {
    "may": "may have been heard",
    "cannot": "cannot have been heard",
    "unknown": "nobody can tell",
}


def cards_of(report: ReportInput, run: str) -> list[Card]:
    """Return the cards of the pretrained weights behind a run, of an ensemble those with a say."""
    result = report.runs[run][0]
    if "members" in result.config:
        weights = [fold.metrics["weights"] for fold in report.runs[run]]
        heavy = [m for m in result.config["members"] if any(of.get(m) for of in weights)]
        return list({c.title: c for m in heavy for c in cards_of(report, m)}.values())
    if "card" in result.config:
        return [make_card(result.config["card"], run)]
    model = result.config.get("settings", {}).get("model", {}).get("name", "")
    card = card_of_weights(model, result.metrics.get("pretrained") or False)
    return [] if card is None else [card]


def heard_of(report: ReportInput, run: str) -> dict[str, Any] | None:
    """Return what a run's weights may have heard, for metrics.json; None: it began from nothing.

    ``weights``: their titles; ``test``: kind of recording -> recordings, sessions, accuracy and its
    interval. Also None on invented songs, which nobody has heard.
    """
    cards = [] if report.synthetic else cards_of(report, run)
    if not cards:
        return None
    test = report.test(run)
    kinds = heard_before(report.tables[0], cards)
    apart = scores_apart(test, kinds, report.sessions(test), report.seed)
    return {"weights": [card.title for card in cards], "test": apart}


def heard_words(report: ReportInput, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page says of it: ``heard_clean``, ``heard_table``, ``heard_cards``.

    The runs whose weights cannot have heard a test recording, by what they learned from; a table of
    the others; and the cards of those.
    """
    runs = {name: run["heard"] for name, run in metrics["runs"].items() if "heard" in run}
    clean: dict[str, list[str]] = {}
    for name, heard in runs.items():
        if set(heard["test"]) == {"cannot"}:
            said = " and ".join(f"{c.title} ({c.trained_on})" for c in cards_of(report, name))
            clean.setdefault(said, []).append(title(name))
    others = {name: heard for name, heard in runs.items() if set(heard["test"]) != {"cannot"}}
    cards = {card.title: card for name in others for card in cards_of(report, name)}
    beside = {row["run"]: row["final_apart"] for row in metrics.get("yardsticks", [])
              if "final_apart" in row}  # fmt: skip
    rows = []
    for name, heard in others.items():
        rows.append(_row(plain(title(name)), plain(", ".join(heard["weights"])), heard["test"]))
        if name in beside:
            final = f"{plain(title(metrics['final_run']))}, on the same recordings"
            rows.append(_row(final, NONE, beside[name]))
    return {
        "heard_clean": clean,
        "heard_table": pipe_table(pd.DataFrame(rows), left=2) if rows else "",
        "heard_cards": [_card_words(card) for card in cards.values()],
        "heard_blind": [title(name) for name, h in others.items() if "cannot" not in h["test"]],
    }


def _row(model: str, weights: str, scores: Mapping[str, Any]) -> dict[str, str]:
    cells = {column: _cell(scores.get(kind)) for kind, column in COLUMNS.items()}
    return {"model": model, "learned before from": weights} | cells


def _cell(scores: Mapping[str, Any] | None) -> str:
    if scores is None:
        return NONE
    return f"{percent(scores['accuracy'], scores['accuracy_ci95'])} of {scores['recordings']:,}"


def _card_words(card: Card) -> str:
    """Write a card as one sentence: what it learned from, until when, and who says so."""
    if card.heard == "unknown":
        return f"What {plain(card.title)} learned from is not known here."
    limits = [
        f"{archive} up to {number}"
        for archive, number in (
            ("Xeno-Canto", card.heard_until_xc and f"XC{card.heard_until_xc}"),
            ("Macaulay Library", card.heard_until_ml and f"ML{card.heard_until_ml}"),
        )
        if number
    ]
    limits += [f"nothing newer than {card.heard_until_date}"] if card.heard_until_date else []
    until = f": {', '.join(limits)}" if limits else ""
    source = f" (source: {plain(card.source)})" if card.source else ""
    return f"{plain(card.title)} learned from {plain(card.trained_on)}{until}{source}."
