"""Share groups of recordings out so that each part gets its share of every species.

A first deal, then single moves. The best of 50 shuffles of scikit-learn's StratifiedGroupKFold was
measured beside it for 70/15/15, on BirdCLEF's table of 145 recordings by 35 recordists and on
skewed tables of 145 to 5,000: as near in recordings (0.02 to 0.08), but 1.1 to 2.5 times as far in
recordings and groups together (BirdCLEF: 0.37 for 0.22), and it leaves up to two species out of a
side where this leaves out none.
"""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from birdnb.files import BirdnbError

# groups; the folds of scikit-learn take a second for so many, and the time grows with their number
MANY = 3000
TRIES = 150_000  # moves tried at most, some seconds
BETTER = 1e-9  # less is rounding

# empty parts; species not in part 0; species not in another part; distance from the shares
Badness = tuple[int, int, int, float]


def share_out(
    species: np.ndarray, group: np.ndarray, shares: Sequence[float], rng: np.random.Generator
) -> np.ndarray:
    """Give each recording a part: no group in two parts, its share of each species in each part.

    Several first deals are made (``_candidates``); the best two are improved by moving one group at
    a time while that helps. Better means, in this order: every species in part 0; every species in
    every part; proportions nearest to ``shares``, of a species' recordings and of its groups alike
    (a test side of 24 recordings by 2 recordists would say little).

    species, group : np.ndarray [shape=(n,)], labels
    shares : share of each part, adding up to 1
    returns : np.ndarray [shape=(n,)], int part numbers
    Raises BirdnbError when there are fewer groups than parts.
    """
    names, class_of = np.unique(species, return_inverse=True)
    group_names, group_of = np.unique(group, return_inverse=True)
    if len(group_names) < len(shares):
        raise BirdnbError(
            f"{len(group_names)} groups of recordings cannot be shared out to {len(shares)} parts: "
            "add recordings of other recordists, dates or places"
        )
    contents = _contents(class_of, group_of, len(names))
    found = [
        _Parts(part_of, contents, len(names), shares)
        for part_of in _candidates(class_of, group_of, shares, rng)
    ]
    found.sort(key=lambda parts: parts.badness)
    for parts in found[:2]:
        _improve(parts, rng)
    return np.array(min(found[:2], key=lambda parts: parts.badness).part_of)[group_of]


def _contents(
    class_of: np.ndarray, group_of: np.ndarray, n_species: int
) -> list[list[tuple[int, int]]]:
    """Return for each group its species (numbers) with the number of recordings."""
    contents: list[list[tuple[int, int]]] = [[] for _ in range(group_of.max() + 1)]
    pairs, counts = np.unique(group_of * n_species + class_of, return_counts=True)
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        contents[pair // n_species].append((pair % n_species, count))
    return contents


def _candidates(
    class_of: np.ndarray, group_of: np.ndarray, shares: Sequence[float], rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield first deals, arrays (groups,) of parts: of StratifiedGroupKFold's folds, or by card."""
    if group_of.max() >= MANY:
        yield from (_dealt(class_of, group_of, shares, rng) for _ in range(2))
        return
    folds_per_part = _fold_counts(shares)
    dealt = np.repeat(np.arange(len(shares)), folds_per_part)  # (folds,): the part of each fold
    for _ in range(5 if group_of.max() < 2000 else 2):
        fold_of = _folds(class_of, group_of, sum(folds_per_part), rng)
        yield from (rng.permutation(dealt)[fold_of] for _ in range(8))


def _folds(
    class_of: np.ndarray, group_of: np.ndarray, n_folds: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the fold of each group (groups,) in one shuffle of StratifiedGroupKFold."""
    # takes a second to import, and a split is made only once
    from sklearn.model_selection import StratifiedGroupKFold

    fold_of = np.zeros(group_of.max() + 1, dtype=np.int64)
    n_folds = min(n_folds, int(np.bincount(class_of).max()), len(fold_of))
    if n_folds >= 2:
        folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=int(rng.integers(2**31)))
        with warnings.catch_warnings():
            # rare species: the score sees to them
            warnings.filterwarnings("ignore", message="The least populated class")
            for number, (_, rows) in enumerate(folds.split(class_of, class_of, group_of)):
                fold_of[group_of[rows]] = number
    return fold_of


def _dealt(
    class_of: np.ndarray, group_of: np.ndarray, shares: Sequence[float], rng: np.random.Generator
) -> np.ndarray:
    """Deal groups like cards, those of their rarest species in turn, larger ones first."""
    # (species,): 0 for the rarest
    rarity = np.argsort(np.argsort(np.bincount(class_of), kind="stable"), kind="stable")
    size = np.bincount(group_of)
    rarest = np.full(len(size), len(rarity))
    np.minimum.at(rarest, group_of, rarity[class_of])
    order = np.lexsort((rng.random(len(size)), -size, rarest))
    ends = np.cumsum(shares)[:-1]
    # golden ratio: even over any stretch of groups
    places = (np.arange(len(size)) * 0.6180339887498949 + rng.random()) % 1.0
    part_of = np.empty(len(size), dtype=np.int64)
    part_of[order] = np.searchsorted(ends, places, side="right")
    return part_of


def _fold_counts(shares: Sequence[float]) -> list[int]:
    """Return the fewest equal folds that make up the shares to 0.02 (70/15/15: 5, 1, 1 of 7)."""
    wanted = np.asarray(shares)
    for n_folds in range(len(shares), 41):
        parts = np.maximum(np.round(wanted * n_folds).astype(int), 1)
        if parts.sum() == n_folds and np.abs(parts / n_folds - wanted).max() <= 0.02:
            break
    return parts.tolist()


class _Parts:
    """Groups shared out to parts, and how bad that is; a move costs the same in any corpus."""

    def __init__(
        self, part_of: np.ndarray, contents: list[list[tuple[int, int]]], n_species: int,
        shares: Sequence[float],
    ) -> None:  # fmt: skip
        self.part_of, self.contents, self.shares = [-1] * len(part_of), contents, shares
        # per part: recordings of each species, then groups that have it
        self.totals = [[0] * (2 * n_species) for _ in shares]
        self.sizes = [[0, 0] for _ in shares]  # per part: sums of both
        pairs = [pair for content in contents for pair in content]
        self.whole = [0] * (2 * n_species)
        for name, count in pairs:
            self.whole[name] += count
            self.whole[n_species + name] += 1
        self.sum = [sum(count for _, count in pairs), len(pairs)]
        self.n_species, self.missing = n_species, [n_species] * len(shares)
        self.apart = 2.0 * n_species * sum(shares)
        for group, part in enumerate(part_of.tolist()):
            self._add(group, part, 1)
        self.badness = self._badness()

    def move(self, group: int, part: int) -> None:
        """Put a group into another part."""
        self._add(group, self.part_of[group], -1)
        self._add(group, part, 1)
        self.badness = self._badness()

    def _add(self, group: int, part: int, sign: int) -> None:
        totals, whole, wanted, apart = self.totals[part], self.whole, self.shares[part], 0.0
        for name, count in self.contents[group]:
            for column, change in ((name, sign * count), (self.n_species + name, sign)):
                before, after = totals[column], totals[column] + change
                totals[column] = after
                apart += abs(after / whole[column] - wanted) - abs(before / whole[column] - wanted)
            self.missing[part] += (totals[name] == 0) - (totals[name] == sign * count)
            self.sizes[part][0] += sign * count
            self.sizes[part][1] += sign
        self.apart += apart
        self.part_of[group] = part

    def _badness(self) -> Badness:
        overall = sum(
            abs(size[i] / self.sum[i] - share)
            for size, share in zip(self.sizes, self.shares, strict=True)
            for i in (0, 1)
        )
        empty = sum(size[1] == 0 for size in self.sizes)
        apart = self.apart / (2 * self.n_species) + overall
        return empty, self.missing[0], sum(self.missing[1:]), apart


def _improve(parts: _Parts, rng: np.random.Generator) -> None:
    """Move single groups and exchange pairs as long as that helps, some seconds at most."""
    n_groups, n_parts, tries = len(parts.part_of), len(parts.shares), 0
    for _ in range(5):
        before = parts.badness
        for group in rng.permutation(n_groups).tolist():
            for part in range(n_parts):
                tries += _try(parts, [(group, part)])
            if tries > TRIES:
                return
        for one, other in rng.integers(n_groups, size=(min(n_groups, 200), 2)).tolist():
            _try(parts, [(one, parts.part_of[other]), (other, parts.part_of[one])])
        if parts.badness >= before:
            return
    while tries <= TRIES:  # the last exchanges may have made a single move worth while again
        before = parts.badness
        for group in range(n_groups):
            for part in range(n_parts):
                tries += _try(parts, [(group, part)])
        if parts.badness >= before:
            return


def _try(parts: _Parts, moves: list[tuple[int, int]]) -> bool:
    """Make these moves of groups, undone unless better; return whether there was one to make."""
    before, places = parts.badness, [parts.part_of[group] for group, _ in moves]
    if all(place == part for place, (_, part) in zip(places, moves, strict=True)):
        return False
    for group, part in moves:
        parts.move(group, part)
    if not (*parts.badness[:3], parts.badness[3] + BETTER) < before:
        for (group, _), place in zip(moves, places, strict=True):
            parts.move(group, place)
    return True
