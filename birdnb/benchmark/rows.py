"""The rows of ``python -m birdnb.benchmark``: a figure of ours beside the plain way's."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

ROUNDS = 3  # each side in turn, the best of so many counts: others use the machine, too


@dataclass(frozen=True)
class Row:
    """A line of the table; the target is for the ratio or, where there is none, for our figure."""

    what: str
    unit: str
    birdnb: float
    other: float | None = None
    other_is: str = ""  # what ``other`` was measured on
    ratio: float | None = None
    target: str = ""  # "at least 2", "at most 1.5", or "" for none

    @property
    def met(self) -> bool | None:
        """Tell whether the target is reached; None without one."""
        if not self.target:
            return None
        value = self.birdnb if self.ratio is None else self.ratio
        limit = float(self.target.split()[-1])
        return value >= limit if self.target.startswith("at least") else value <= limit


def best_seconds(ways: Mapping[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, float]:
    """Do things in turn, several times over; the shortest time [s] that each took."""
    best = dict.fromkeys(ways, math.inf)
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            best[name] = min(best[name], time.perf_counter() - start)
    return best
