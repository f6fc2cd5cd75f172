"""Promise a precision: the score from which on a species' name may be believed.

A promise is about the next session, not about the clips at hand. By Laplace's rule of succession
the expected share of right clips in another session, after s sessions whose shares sum to k, is
(k + 1) / (s + 2): eight sessions without a mistake are needed before 90 % may be promised.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Threshold:
    """The lowest score of a species that keeps the promise, or None and the reason."""

    threshold: float | None = None
    precision: float | None = None  # share of right clips there, each session counting alike
    interval: tuple[float, float] | None = None  # of it, over sessions, 95 %
    recall: float | None = None  # share of the species' own clips at the threshold or above
    clips: int = 0  # at the threshold or above
    sessions: int = 0  # that these come from; without a promise those of the species
    reason: str | None = None


def find_threshold(
    scores: np.ndarray, right: np.ndarray, sessions: Sequence[str] | np.ndarray, precision: float
) -> Threshold:
    """Find the lowest score at which the next session is expected to keep the precision.

    ``scores`` (N,) are those of one species for N validation clips of all species, ``right`` (N,)
    tells which are its own, ``sessions`` whence each comes. The interval is Bayes' with a uniform
    prior, Beta(k + 1, s - k + 1), the shortest.
    """
    order = np.argsort(-scores, kind="stable")
    table = pd.DataFrame(
        {"score": scores[order], "right": right[order], "session": np.asarray(sessions)[order]}
    )
    by_session = table.groupby("session")["right"]
    called, rights = by_session.cumcount() + 1, by_session.cumsum()
    share = rights / called  # of a session, its clips down to this one
    before = ((rights - table["right"]) / (called - 1).clip(lower=1)).to_numpy()
    k = (share - before).cumsum().to_numpy()
    s = (called == 1).cumsum().to_numpy()
    expected = (k + 1) / (s + 2)
    # a candidate is the score of one of the species' own clips: below it only mistakes are gained
    last_of_ties = np.append(np.diff(table["score"]) != 0, True)
    own_scores = last_of_ties & table.groupby("score")["right"].transform("any").to_numpy()
    good = np.flatnonzero(own_scores & (expected >= precision - 1e-9))
    if not len(good):
        own = int(table.loc[table["right"], "session"].nunique())
        best = float(expected[own_scores].max(initial=0.0))
        return Threshold(sessions=own, reason=_why_none(own, precision, best))
    at = int(good[-1])
    return Threshold(
        threshold=float(table["score"].iloc[at]), precision=float(k[at] / s[at]),
        interval=succession_interval(float(k[at]), int(s[at])),
        recall=float(right[order][: at + 1].sum() / right.sum()), clips=at + 1, sessions=int(s[at]),
    )  # fmt: skip


def measure(
    called: np.ndarray, right: np.ndarray, sessions: Sequence[str] | np.ndarray
) -> Threshold:
    """Measure precision, with its interval over sessions, and recall of calls (N,) bool.

    Each session counts alike; without a call there is no precision.
    """
    table = pd.DataFrame({"right": right[called], "session": np.asarray(sessions)[called]})
    shares = table.groupby("session")["right"].mean()
    k, s = float(shares.sum()), len(shares)
    return Threshold(
        precision=k / s if s else None,
        interval=succession_interval(k, s) if s else None,
        recall=float(right[called].sum() / right.sum()) if right.any() else None,
        clips=len(table), sessions=s,
    )  # fmt: skip


def sessions_needed(precision: float) -> int:
    """Return how many sessions without a mistake it takes to promise a precision."""
    return max(1, math.ceil((2 * precision - 1) / (1 - precision) - 1e-9))


def succession_interval(right: float, sessions: int) -> tuple[float, float]:
    """Return the 95 % interval of a share after ``right`` of ``sessions`` (shares may be parts).

    The shortest there is, which holds the share itself even when all or none were right.
    """
    from scipy.special import betaincinv  # not scipy.stats, which takes half a second to import

    below = np.linspace(0, 0.05, 501)
    a, b, share = right + 1, sessions - right + 1, right / sessions
    low, high = betaincinv(a, b, below), betaincinv(a, b, below + 0.95)
    best = int(np.argmin(high - low))
    return min(float(low[best]), share), max(float(high[best]), share)


def verdict(found: Threshold, promised: float | None) -> str:
    """Say whether a promised precision was kept, as far as the interval tells."""
    if promised is None or found.interval is None:
        return "nothing promised" if promised is None else "nothing called"
    low, high = found.interval
    if low >= promised:
        return "kept"
    return "not kept" if high < promised else "not settled by the interval"


def _why_none(own: int, precision: float, best: float) -> str:
    needed, goal = sessions_needed(precision), f"{100 * precision:g} %"
    if own < needed:
        there = "one session" if own == 1 else f"{own} sessions"
        return f"{there} on the validation side: {goal} cannot be promised from fewer than {needed}"
    most = f"{100 * best:.0f} %"
    return f"at no score are {goal} to be expected in another session (at best {most})"
