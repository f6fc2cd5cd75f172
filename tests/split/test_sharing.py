"""Sharing groups out: no move makes it better, many groups, and what an import costs."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from birdnb.split import sharing

SHARES = [0.7, 0.15, 0.15]


def badness(
    species: np.ndarray, group: np.ndarray, part: np.ndarray, shares: list[float]
) -> tuple[int, int, int, float]:
    """How far a deal is from what ``share_out`` promises, from the definition, by pandas."""
    rows = pd.DataFrame({"species": species, "group": group, "part": part})
    tables = [
        pd.crosstab(t["part"], t["species"]).reindex(range(len(shares)), fill_value=0)
        for t in (rows, rows.drop_duplicates())
    ]
    missing = (tables[0] == 0).sum(axis=1)
    wanted = pd.Series(shares)
    by_species = np.mean([(t / t.sum()).sub(wanted, axis=0).abs().sum().mean() for t in tables])
    overall = sum((t.sum(axis=1) / t.to_numpy().sum() - wanted).abs().sum() for t in tables)
    empty = int((missing == rows["species"].nunique()).sum())
    # rounded: what differs by less is equal
    return empty, int(missing[0]), int(missing[1:].sum()), round(by_species + overall, 6)


def skewed(rng: np.random.Generator, n: int, n_species: int, n_groups: int):
    """Species and group of n recordings; some are far more frequent than others."""
    species = rng.choice(n_species, size=n, p=rng.dirichlet(np.full(n_species, 2.0)))
    busy = rng.choice(n_groups, size=n - n_groups, p=rng.dirichlet(np.full(n_groups, 0.5)))
    return species.astype(str), np.concatenate([np.arange(n_groups), busy]).astype(str)


@settings(max_examples=15, deadline=None)
@example(1299, [0.25] * 4)
@given(st.integers(0, 10_000), st.sampled_from([SHARES, [0.25] * 4, [0.5, 0.5]]))
def test_no_single_move_makes_a_deal_better(seed, shares):
    species, group = skewed(np.random.default_rng(seed), 40, 5, 12)
    part = sharing.share_out(species, group, shares, np.random.default_rng(seed))
    found = badness(species, group, part, shares)
    for name in np.unique(group):
        for other in range(len(shares)):
            moved = np.where(group == name, other, part)
            assert badness(species, group, moved, shares) >= found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_groups", [22, 60])
def test_a_deal_is_better_than_the_best_of_many_shuffles_of_scikit_learn(seed, n_groups):
    species, group = skewed(np.random.default_rng(seed), 150, 6, n_groups)
    part = sharing.share_out(species, group, SHARES, np.random.default_rng(seed))
    side_of_fold = np.array([0, 0, 0, 0, 0, 1, 2])  # of 7: 71, 14 and 14 %
    best = min(
        badness(species, group, side_of_fold[folds_of(species, group, shuffle)], SHARES)
        for shuffle in range(10)
    )
    assert badness(species, group, part, SHARES) <= best


def folds_of(species: np.ndarray, group: np.ndarray, seed: int) -> np.ndarray:
    fold = np.zeros(len(species), dtype=int)
    folds = StratifiedGroupKFold(7, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for number, (_, rows) in enumerate(folds.split(species, species, group)):
            fold[rows] = number
    return fold


def test_thousands_of_groups_are_dealt_out_as_evenly_as_a_few():
    rng = np.random.default_rng(3)
    n, n_groups = 12_000, 6_000
    assert n_groups > sharing.MANY
    species = rng.choice(60, size=n, p=rng.dirichlet(np.full(60, 1.0))).astype(str)
    group = np.concatenate([np.arange(n_groups), rng.integers(n_groups, size=n - n_groups)]).astype(
        str
    )
    part = sharing.share_out(species, group, SHARES, np.random.default_rng(1))
    assert pd.Series(part).groupby(group).nunique().max() == 1
    table = pd.crosstab(species, part)
    often = table.sum(axis=1) >= 10
    assert (table[often] > 0).all(axis=None), "every species is in every part"
    share = table.div(table.sum(axis=1), axis=0)
    frequent = table.sum(axis=1) >= 100
    assert (share[frequent] - SHARES).abs().max(axis=None) < 0.02
    again = sharing.share_out(species, group, SHARES, np.random.default_rng(1))
    assert (again == part).all()


def test_a_start_does_not_pay_for_making_splits():
    code = (
        "import sys, birdnb.split.sides; "
        "sys.exit(any(name.startswith('sklearn') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
