"""Recordist, day and place of each recording, in one way of writing, and the sessions they make."""

import re
import unicodedata
from collections.abc import Callable

import pandas as pd

from birdnb.corpora.labels import is_stated, label_key
from birdnb.split.dates import read_days

COORDINATES = re.compile(r"([-+]?\d+(?:\.\d+)?)°? ?[,;/ ] ?([-+]?\d+(?:\.\d+)?)°?")


def known_sessions(manifest: pd.DataFrame) -> tuple[pd.Series, pd.DataFrame]:
    """Return each row's session as a label, and recordist, day and place; "" for unknown ones."""
    recordist = people(manifest["recordist"])
    named = manifest["locality"].map(is_stated)
    place = _one_writing(_plain_texts(_places(manifest), _plain_place))
    day = read_days(manifest["date"])[0]
    facts = pd.DataFrame({"recordist": recordist, "day": day, "place": place})
    someone = recordist != ""
    somewhere = recordist.where(someone, "place " + place)  # who, or else where
    undated = (day == "").groupby(somewhere).transform("any") & (someone | (place != ""))
    own = [recordist, day]
    mixed = named.groupby(own).transform("any") & (~named).groupby(own).transform("any")
    unplaced = someone & ((place == "").groupby(own).transform("any") | mixed)
    day, place = day.mask(undated, ""), place.mask(someone & (undated | unplaced), "")
    label = (recordist + " | " + day + " | " + place).str.replace(r"( \| )+$", "", regex=True)
    return label, facts


def _places(manifest: pd.DataFrame) -> pd.Series:
    """Return each row's locality, or where it names none its coordinates as text, if known."""
    locality = manifest["locality"]
    if not {"latitude", "longitude"} <= set(manifest):
        return locality
    where = coordinates(manifest)
    text = where["latitude"].map("{:.10g}".format) + ", " + where["longitude"].map("{:.10g}".format)
    return locality.where(locality.map(is_stated) | where["latitude"].isna(), text)


def unknown_sessions(manifest: pd.DataFrame) -> int:
    """Count the recordings of whose session nothing is known: who, when and where are missing."""
    return int((known_sessions(manifest)[0] == "").sum())


def people(column: pd.Series) -> pd.Series:
    """Return names in one way of writing: J. Smith is J Smith and Smith, J.; "" for nobody."""
    return _one_writing(_plain_texts(column, label_key))


def coordinates(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return latitude and longitude [degrees] of each row, both NaN where they are not known.

    Of their own columns, or of a locality that is two numbers. 0, 0 was never set.
    """
    found = manifest["locality"].str.strip().str.extract(rf"^{COORDINATES.pattern}$")
    found.columns = pd.Index(["latitude", "longitude"])
    for name in found:
        own = pd.to_numeric(manifest[name], "coerce")
        found[name] = own.fillna(pd.to_numeric(found[name], "coerce"))
    there = (found["latitude"].abs() <= 90) & (found["longitude"].abs() <= 180)
    return found.where(there & (found != 0).any(axis=1))


def _plain_texts(column: pd.Series, plain: Callable[[str], str]) -> pd.Series:
    """Return texts without differences that mean nothing; "" for what states nothing."""
    texts = {text: plain(text).replace("|", "/") for text in column.unique() if is_stated(text)}
    return column.map(texts).fillna("").astype(object)


def _plain_place(text: str) -> str:
    """Return a place in one way of writing; coordinates to 0.0001 degree, some 10 m."""
    key = label_key(text)
    if not (match := COORDINATES.fullmatch(key)):
        return key
    numbers = [f"{round(float(part), 4):.10g}" for part in match.groups()]
    return "" if set(numbers) <= {"0", "-0"} else ", ".join(numbers)  # 0, 0 was never set


def _one_writing(texts: pd.Series) -> pd.Series:
    """Give texts of the same words, in any order, with any marks and accents, the first of them."""
    first: dict[str, str] = {}
    for text in sorted(texts.unique()):
        first.setdefault(_words(text), text)
    return texts.map({text: first[_words(text)] for text in texts.unique()})


def _words(text: str) -> str:
    if any(letter.isdigit() for letter in text):
        return text  # marks between numbers mean something
    bare = unicodedata.normalize("NFKD", text)
    bare = "".join(letter for letter in bare if not unicodedata.combining(letter))
    return " ".join(sorted(re.findall(r"\w+", bare))) or text
