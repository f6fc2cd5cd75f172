"""Share groups of recordings out so that each part gets its share of every species: scikit-learn's folds, then single moves."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from birdnb.files import BirdnbError


def share_out(species: np.ndarray, group: np.ndarray, shares: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Give each recording a part so that no group is in two parts and each part has its share of each species.

    Several shuffles of StratifiedGroupKFold are tried, their folds dealt out to the parts; the best one is then improved by
    moving one group at a time while that helps. Better means, in this order: every species in part 0; every species in every
    part; proportions nearest to ``shares``, of a species' recordings and of its groups alike (a test side of 24 recordings by
    2 recordists would say little).

    species, group : np.ndarray [shape=(n,)], labels
    shares : share of each part, adding up to 1
    returns : np.ndarray [shape=(n,)], int part numbers
    Raises BirdnbError when there are fewer groups than parts.
    """
    names, class_of = np.unique(species, return_inverse=True)
    group_names, group_of = np.unique(group, return_inverse=True)
    if len(group_names) < len(shares):
        raise BirdnbError(f"{len(group_names)} groups of recordings cannot be shared out to {len(shares)} parts: "
                          "add recordings of other recordists, dates or places")  # fmt: skip
    counts = np.zeros((len(group_names), len(names)), dtype=np.int64)  # (groups, species)
    np.add.at(counts, (group_of, class_of), 1)
    counts = np.hstack([counts, counts > 0])  # (groups, 2 species): recordings, then whether the group has the species at all
    rounds = 5 if len(group_names) < 2000 else 2  # a second or so for 5,000 groups of 90 species
    candidates = [c for _ in range(rounds) for c in _candidates(class_of, group_of, shares, rng)]
    candidates.sort(key=lambda part_of: _badness(_totals(counts, part_of, len(shares)), shares))
    improved = [_improve(part_of, counts, shares, rng) for part_of in candidates[:2]]
    return min(improved, key=lambda pair: pair[0])[1][group_of]


def _candidates(
    class_of: np.ndarray, group_of: np.ndarray, shares: Sequence[float], rng: np.random.Generator
) -> list[np.ndarray]:
    """A few ways to deal the folds of one shuffle out to the parts, each an array (groups,) of part numbers."""
    folds_per_part = _fold_counts(shares)
    n_folds = min(sum(folds_per_part), int(np.bincount(class_of).max()), int(group_of.max()) + 1)
    fold_of = np.zeros(group_of.max() + 1, dtype=np.int64)
    if n_folds >= 2:
        folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=int(rng.integers(2**31)))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The least populated class")  # rare species: the score sees to them
            for number, (_, rows) in enumerate(folds.split(class_of, class_of, group_of)):
                fold_of[group_of[rows]] = number
    dealt = np.repeat(np.arange(len(shares)), folds_per_part)  # (folds,): the part of each fold
    return [rng.permutation(dealt)[fold_of] for _ in range(8)]


def _fold_counts(shares: Sequence[float]) -> list[int]:
    """Smallest numbers of equal folds that make up the shares to within 0.02 (70/15/15: 5, 1 and 1 of 7)."""
    wanted = np.asarray(shares)
    for n_folds in range(len(shares), 41):
        parts = np.maximum(np.round(wanted * n_folds).astype(int), 1)
        if parts.sum() == n_folds and np.abs(parts / n_folds - wanted).max() <= 0.02:
            break
    return parts.tolist()


def _totals(counts: np.ndarray, part_of: np.ndarray, n_parts: int) -> np.ndarray:
    totals = np.zeros((n_parts, counts.shape[1]), dtype=np.int64)  # (parts, 2 species)
    np.add.at(totals, part_of, counts)
    return totals


def _badness(totals: np.ndarray, shares: Sequence[float]) -> float:
    """Lower is better; totals (parts, 2 species): recordings and groups of each species."""
    wanted = np.asarray(shares)[:, None]
    n_species = totals.shape[1] // 2
    missing = totals[:, :n_species] == 0
    by_species = np.abs(totals / totals.sum(axis=0) - wanted).sum() / totals.shape[1]  # at most 2
    sizes = totals.reshape(len(shares), 2, n_species).sum(axis=2)  # (parts, 2)
    overall = np.abs(sizes / sizes.sum(axis=0) - wanted).sum()  # at most 4
    empty = missing.all(axis=1).sum()
    return 1e9 * empty + 1e6 * missing[0].sum() + 1e3 * missing[1:].sum() + by_species + overall


def _improve(
    part_of: np.ndarray, counts: np.ndarray, shares: Sequence[float], rng: np.random.Generator
) -> tuple[float, np.ndarray]:
    """Move single groups to another part and exchange pairs as long as that helps; returns the badness and the parts."""
    part_of, totals = part_of.copy(), _totals(counts, part_of, len(shares))
    now, n_groups = _badness(totals, shares), len(part_of)
    for _ in range(5):
        before = now
        moves = [(group, part) for group in rng.permutation(n_groups) for part in range(len(shares))]
        for group, part in moves:
            if part != part_of[group]:
                moved = totals.copy()
                moved[part_of[group]] -= counts[group]
                moved[part] += counts[group]
                badness = _badness(moved, shares)
                if badness < now:
                    part_of[group], totals, now = part, moved, badness
        for one, other in rng.integers(n_groups, size=(min(n_groups, 200), 2)):
            if part_of[one] != part_of[other]:
                moved = totals.copy()
                moved[part_of[one]] += counts[other] - counts[one]
                moved[part_of[other]] += counts[one] - counts[other]
                badness = _badness(moved, shares)
                if badness < now:
                    part_of[[one, other]], totals, now = part_of[[other, one]], moved, badness
        if now >= before:
            break
    return now, part_of
