"""The sides of a study as a table in ``artifacts/splits/<corpus>/``: made once, then read."""

import hashlib

import pandas as pd

from birdnb import __version__
from birdnb.config import SplitSettings, key_of
from birdnb.corpora import Corpus
from birdnb.files import BirdnbError, artifacts_dir, write_table
from birdnb.split.shuffling import shuffled_sides
from birdnb.split.sides import SIDES, make_folds, make_split


def sides_of(
    table: pd.DataFrame, rules: SplitSettings, seed: int, fold: tuple[int, int] | None,
    corpus: Corpus,
) -> pd.Series:  # fmt: skip
    """Return the side of each recording: as in the artifacts, or made now and written there."""
    columns = ["recording_id", "species", "recordist", "session"]
    shuffled = rules.shuffle_seed is not None and not fold
    manifest = (corpus.before or corpus).manifest  # corrections move no recording
    rows = pd.util.hash_pandas_object(table[columns], index=False).to_numpy().tobytes()
    what = [hashlib.sha256(rows).hexdigest(), rules, seed, fold[1] if fold else None, __version__]
    what += [manifest["recordist"].tolist()] if shuffled else []
    folder = artifacts_dir() / "splits" / corpus.name
    names = [f"fold-{k}-of-{fold[1]}" for k in range(1, fold[1] + 1)] if fold else ["split"]
    paths = [folder / f"seed{seed}-{key_of(*what)}" / f"{name}.csv" for name in names]
    path = paths[fold[0] - 1 if fold else 0]
    if not path.exists():
        if fold:
            splits = make_folds(table, rules, seed, fold[1])
        elif shuffled:
            splits = [shuffled_sides(table, rules, manifest)]
        else:
            splits = [make_split(table, rules, seed)]
        for target, side in zip(paths, splits, strict=True):
            rows = table[["recording_id", "species", "session"]].assign(
                side=table["recording_id"].map(side)
            )
            write_table(target, rows)
    written = pd.read_csv(path, dtype=str, keep_default_na=False)
    whole = {"recording_id", "side"} <= set(written) and written["side"].isin(SIDES).all()
    if not whole or list(written["recording_id"]) != list(table["recording_id"]):
        raise BirdnbError(f"{path} is damaged: delete it, the split is made again")
    return written.set_index("recording_id")["side"]
