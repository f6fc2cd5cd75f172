"""Sharing groups out: the score kept up move by move, many groups, and what an import costs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from birdnb.split import sharing

SHARES = [0.7, 0.15, 0.15]


def counted(
    species: np.ndarray, group: np.ndarray, part: np.ndarray, shares: list[float]
) -> sharing.Badness:
    """The badness from its definition, by pandas."""
    rows = pd.DataFrame({"species": species, "group": group, "part": part})
    tables = [pd.crosstab(t["part"], t["species"]).reindex(range(len(shares)), fill_value=0)
              for t in (rows, rows.drop_duplicates())]  # fmt: skip
    missing = (tables[0] == 0).sum(axis=1)
    wanted = pd.Series(shares)
    by_species = np.mean([(t / t.sum()).sub(wanted, axis=0).abs().sum().mean() for t in tables])
    overall = sum((t.sum(axis=1) / t.to_numpy().sum() - wanted).abs().sum() for t in tables)
    return (
        int((missing == rows["species"].nunique()).sum()),
        int(missing[0]),
        int(missing[1:].sum()),
        by_species + overall,
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([SHARES, [0.25] * 4, [0.5, 0.5]]))
def test_the_score_after_many_moves_is_the_score_counted_anew(seed, shares):
    rng = np.random.default_rng(seed)
    species, group = (
        rng.integers(5, size=40),
        np.concatenate([np.arange(12), rng.integers(12, size=28)]),
    )
    species = np.unique(species, return_inverse=True)[1]
    contents = sharing._contents(species, group, species.max() + 1)
    start = rng.integers(len(shares), size=12)
    parts = sharing._Parts(start, contents, species.max() + 1, shares)
    assert parts.badness == pytest.approx(counted(species, group, start[group], shares), abs=1e-9)
    for _ in range(30):
        parts.move(int(rng.integers(12)), int(rng.integers(len(shares))))
    assert parts.badness == pytest.approx(
        counted(species, group, np.array(parts.part_of)[group], shares), abs=1e-9
    )


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
    code = "import sys, birdnb.split.sides; sys.exit(any(name.startswith('sklearn') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
