"""Tell which recordings pretrained weights may have heard before, and score each kind apart.

A test recording that weights have learned from, with its species, says little about the next one.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from birdnb.cards import Card
from birdnb.corpora.table import COLUMNS
from birdnb.evaluation.metrics import accuracy_alone
from birdnb.evaluation.predictions import Predictions
from birdnb.split.dates import read_days
from birdnb.split.sources import archive_numbers

CANNOT, UNKNOWN, MAY = KINDS = ("cannot", "unknown", "may")  # from the best to the worst


def heard_before(recordings: pd.DataFrame, cards: Sequence[Card]) -> pd.Series:
    """Return for each recording whether one of several weights may have heard it.

    "cannot", "unknown" (nobody can tell) or "may", by recording_id. ``recordings`` has a manifest's
    columns. A number of Xeno-Canto or the Macaulay Library decides, as they are given in the order
    of uploading, and a day may be mistyped; without one the day of the recording does. What was
    recorded after a card's last day cannot have been heard.
    """
    table = recordings.reindex(columns=COLUMNS, fill_value="")
    days, numbers = read_days(table["date"])[0].tolist(), archive_numbers(table)
    worst = [
        max((_heard(card, *facts) for card in cards), key=KINDS.index)
        for facts in zip(numbers, days, strict=True)
    ]
    return pd.Series(worst, pd.Index(table["recording_id"]), name="heard", dtype=object)


def _heard(card: Card, numbers: dict[str, set[int]], day: str) -> str:
    """Judge one recording by its numbers in archives and its ISO day ("" where not known)."""
    newest = card.heard_until_date
    late = newest is not None and day > newest
    if card.heard in ("invented song", "photographs"):
        return CANNOT
    if card.heard != "recordings":
        return CANNOT if late else UNKNOWN
    last = {"xc": card.heard_until_xc, "ml": card.heard_until_ml}
    within = [
        number <= until
        for archive, until in last.items()
        if until is not None
        for number in numbers.get(archive, ())
    ]
    if within:
        return MAY if any(within) else CANNOT
    known = card.known_xc
    if known and any(number <= known for number in numbers.get("xc", ())):
        return MAY
    if late:
        return CANNOT
    return MAY if newest and day else UNKNOWN


def scores_apart(
    predictions: Predictions, heard: pd.Series, sessions: Sequence[str], seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Score the recordings of each kind apart, the kinds that there are.

    ``heard`` is what ``heard_before`` gave; kind -> recordings, sessions, accuracy, accuracy_ci95
    (over sessions, as in ``summarise``).
    """
    kinds = heard.loc[predictions.recording_ids].to_numpy()
    scores = {}
    for kind in reversed(KINDS):
        rows = np.flatnonzero(kinds == kind).tolist()
        if not len(rows):
            continue
        ids = [predictions.recording_ids[row] for row in rows]
        part = Predictions(ids, predictions.probabilities[rows], predictions.targets[rows])
        scores[kind] = accuracy_alone(part, [sessions[row] for row in rows], seed)
    return scores
