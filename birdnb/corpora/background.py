"""Birds that a recordist heard in the background, as far as the study knows their species."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from birdnb.corpora.labels import label_key


def background_matrix(table: pd.DataFrame, labels: Sequence[str]) -> np.ndarray:
    """Tell which of the species are in the background of each recording: (R, C) bool.

    ``table`` has species and background_species, names between semicolons; they are matched with
    the labels and their common names, however they are spelt. The recording's own species is not
    in its background.
    """
    place = {label: number for number, label in enumerate(labels)}
    keys = _keys(table, place)
    behind = np.zeros((len(table), len(labels)), dtype=bool)
    for row, text in enumerate(table.get("background_species", pd.Series("", table.index))):
        behind[row, [keys[name] for name in _names(text, keys)]] = True
    own = table["species"].map(place)
    known = own.notna().to_numpy()
    behind[np.flatnonzero(known), own[known].astype(int)] = False
    return behind


def _keys(table: pd.DataFrame, place: dict[str, int]) -> dict[str, int]:
    """Return the number of a species by each of its names."""
    keys: dict[str, int] = {}
    if "common_name" in table:
        pairs = table[["common_name", "species"]].drop_duplicates()
        for common, species in pairs.itertuples(index=False):
            if common and species in place:
                keys.setdefault(label_key(common), place[species])
    return keys | {label_key(label): number for label, number in place.items()}


def _names(text: str, keys: dict[str, int]) -> list[str]:
    """Return the known names in a list: between semicolons, or else between commas or bars."""
    found = []
    for part in text.split(";"):
        whole = [part, re.sub(r"\(.*?\)", "", part)]
        known = [key for key in map(label_key, whole) if key in keys]
        found += known[:1] or [label_key(name) for name in re.split(r"[,|]", part)]
    return [name for name in found if name in keys]
