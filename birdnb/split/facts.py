"""Recordist, day and place of each recording, in one way of writing, and the sessions they make."""

from __future__ import annotations

import re
from collections.abc import Callable

import pandas as pd

from birdnb.corpora.labels import is_stated, label_key
from birdnb.split.dates import read_days

COORDINATES = re.compile(r"([-+]?\d+(?:\.\d+)?)°? ?[,;/ ] ?([-+]?\d+(?:\.\d+)?)°?")


def known_sessions(manifest: pd.DataFrame) -> tuple[pd.Series, pd.DataFrame]:
    """Return what is known of each row's session as a label ("" for nothing), and the facts.

    The facts are recordist, day and place of each row, "" where not stated.
    """
    recordist = plain_texts(manifest["recordist"])
    place = plain_texts(manifest["locality"], _plain_place)
    day = read_days(manifest["date"])[0]
    facts = pd.DataFrame({"recordist": recordist, "day": day, "place": place})
    someone = recordist != ""
    somewhere = recordist.where(someone, "place " + place)  # who, or else where
    undated = (day == "").groupby(somewhere).transform("any") & (someone | (place != ""))
    unplaced = someone & (place == "").groupby([recordist, day]).transform("any")
    day, place = day.mask(undated, ""), place.mask(someone & (undated | unplaced), "")
    label = (recordist + " | " + day + " | " + place).str.replace(r"( \| )+$", "", regex=True)
    return label, facts


def plain_texts(column: pd.Series, plain: Callable[[str], str] = label_key) -> pd.Series:
    """Return texts without differences that mean nothing; "" for what states nothing."""
    texts = {text: plain(text).replace("|", "/") for text in column.unique() if is_stated(text)}
    return column.map(texts).fillna("").astype(object)


def _plain_place(text: str) -> str:
    """Return a place in one way of writing; coordinates to 0.0001 degree, some 10 m."""
    key = label_key(text)
    if not (match := COORDINATES.fullmatch(key)):
        return key
    return ", ".join(f"{round(float(part), 4):.10g}" for part in match.groups())
