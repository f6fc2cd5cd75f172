"""Fit a law to a learning curve, and say how many more recording sessions a score will take."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

HORIZON = 8  # times as many sessions as there are: as far ahead as the smallest eighth is behind
ENOUGH = 3  # sizes that a law of three parameters can be fitted to
INTERVAL = (2.5, 97.5)  # percentiles of the draws

REACHED = "reached"
SETTLED = "settled"
NOT_SETTLED = "not settled"
OTHER_MEANS = "more of the same will not do it"


@dataclass(frozen=True)
class Law:
    """A power law with an asymptote: score = asymptote - gap * (sessions / scale) ** -rate."""

    asymptote: float  # 0 to 1, where more of the same leads to in the end
    gap: float  # 0 to 1, what is missing from the asymptote at ``scale`` sessions
    rate: float
    scale: float  # the largest number of sessions measured

    def __call__(self, sessions: np.ndarray | float) -> np.ndarray:
        """Return the score (0 to 1) at these numbers of sessions a species."""
        return self.asymptote - self.gap * (np.asarray(sessions) / self.scale) ** -self.rate

    def needed(self, score: float) -> float:
        """Return the sessions a species that the score takes; infinite from the asymptote on."""
        if score >= self.asymptote:
            return math.inf
        with np.errstate(over="ignore"):
            return float(
                self.scale * np.float64(self.gap / (self.asymptote - score)) ** (1 / self.rate)
            )


@dataclass(frozen=True)
class Need:
    """How many more sessions a species a score takes, with 95 % ends; infinite beyond HORIZON."""

    target: float  # the score, 0 to 1
    more: float
    low: float
    high: float
    verdict: str


def fit_law(sessions: np.ndarray, scores: np.ndarray) -> Law:
    """Fit the law to scores (S,), 0 to 1, at S numbers of sessions a species, by least squares.

    A score that falls with more sessions gives a flat law. The rate stays between 0.05 (almost the
    logarithm) and 3.
    """
    x, y = np.asarray(sessions) / np.max(sessions), np.asarray(scores)

    def residuals(p: np.ndarray) -> np.ndarray:
        return p[0] - p[1] * x ** -p[2] - y

    def slopes(p: np.ndarray) -> np.ndarray:
        power = x ** -p[2]
        return np.stack([np.ones_like(x), -power, p[1] * np.log(x) * power], axis=1)

    start = np.clip([y.max() + 0.02, 0.1, 0.5], [0.001, 0.001, 0.06], [0.999, 0.999, 2.9])
    bounds = ([0.0, 0.0, 0.05], [1.0, 1.0, 3.0])
    asymptote, gap, rate = least_squares(residuals, start, slopes, bounds).x.tolist()
    return Law(asymptote, gap, rate, float(np.max(sessions)))


def need(law: Law, drawn: list[Law], target: float) -> Need:
    """Say how many more sessions a species lead to ``target`` by the law, and by those of draws."""
    here, far = law.scale, HORIZON * law.scale

    def more(one: Law) -> float:
        needed = one.needed(target)
        return max(0.0, needed - here) if needed <= far else math.inf

    low, high = np.percentile([more(one) for one in drawn], INTERVAL, method="nearest")
    if math.isinf(low):
        verdict = OTHER_MEANS
    elif high == 0:
        verdict = REACHED
    else:
        verdict = NOT_SETTLED if math.isinf(high) or math.isinf(more(law)) else SETTLED
    return Need(target, more(law), float(low), float(high), verdict)
