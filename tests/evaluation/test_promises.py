"""Thresholds for a promised precision: worked by hand, and against a plain search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta
from sklearn.metrics import precision_recall_curve

from birdnb.evaluation.promises import (
    Threshold,
    find_threshold,
    sessions_needed,
    succession_interval,
    verdict,
)


def test_a_threshold_worked_by_hand():
    """Sessions a, b, c right, d wrong: down to 0.7 Laplace expects 4/5, with 0.6 it is 4/6."""
    scores = np.array([0.9, 0.6, 0.8, 0.7, 0.1])
    right = np.array([True, False, True, True, True])
    found = find_threshold(scores, right, list("adbce"), precision=0.8)
    assert found.threshold == 0.7 and found.precision == 1.0 and found.recall == 0.75
    assert (found.clips, found.sessions, found.reason) == (3, 3, None)
    found = find_threshold(scores, right, list("adbce"), precision=0.7)
    assert found.threshold == 0.1 and found.precision == 0.8  # 5 sessions: (4 + 1) / (5 + 2)


def test_a_session_counts_once_however_many_clips_it_has():
    scores, right = np.linspace(0.9, 0.5, 40), np.ones(40, bool)
    found = find_threshold(scores, right, ["one"] * 40, precision=0.9)
    assert found.threshold is None
    assert found.reason == (
        "one session on the validation side: 90 % cannot be promised from fewer than 8"
    )
    assert find_threshold(scores, right, [str(i % 8) for i in range(40)], 0.9).threshold == 0.5


def test_enough_sessions_and_too_many_mistakes():
    right = np.array([True, False] * 10)
    found = find_threshold(np.linspace(1, 0, 20), right, [str(i) for i in range(20)], 0.9)
    assert found.threshold is None and found.sessions == 10
    assert found.reason == ("at no score are 90 % to be expected in another session (at best 67 %)")


@pytest.mark.parametrize(("precision", "sessions"), [(0.5, 1), (0.8, 3), (0.9, 8), (0.95, 18)])
def test_sessions_needed(precision, sessions):
    assert sessions_needed(precision) == sessions
    assert (sessions + 1) / (sessions + 2) >= precision - 1e-9
    assert sessions / (sessions + 1) < precision or sessions == 1


def test_the_interval_of_all_right_is_that_of_a_power():
    """Beta(s + 1, 1) has the distribution function x ** (s + 1), most of it next to 1."""
    low, high = succession_interval(8, 8)
    assert low == pytest.approx(0.05 ** (1 / 9)) and high == 1
    assert succession_interval(0, 8) == pytest.approx((0, 1 - low))


@given(st.integers(1, 40), st.floats(0, 1))
def test_the_interval_holds_the_share_and_95_percent(sessions, share):
    right = share * sessions
    low, high = succession_interval(right, sessions)
    assert 0 <= low <= right / sessions <= high <= 1
    held = beta(right + 1, sessions - right + 1)
    assert held.cdf(high) - held.cdf(low) == pytest.approx(0.95, abs=2e-3)
    assert high - low <= np.diff(held.ppf([0.025, 0.975]))[0] + 1e-9  # the equal tails' is longer


@pytest.mark.parametrize(
    ("interval", "promise", "said"),
    [
        ((0.91, 0.99), 0.9, "kept"),
        ((0.8, 0.95), 0.9, "not settled by the interval"),
        ((0.5, 0.7), 0.9, "not kept"),
        (None, 0.9, "nothing called"),
        ((0.9, 1.0), None, "nothing promised"),
    ],
)
def test_verdicts(interval, promise, said):
    assert verdict(Threshold(precision=0.5, interval=interval), promise) == said


clips = st.lists(
    st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5, 0.9]), st.booleans(), st.integers(0, 6)),
    min_size=1,
    max_size=40,
)


@given(clips, st.sampled_from([0.5, 0.6, 0.75, 0.8]))
def test_no_lower_score_keeps_the_promise(rows, precision):
    """Against a search through all scores that counts anew at each."""
    scores, right, session = map(np.array, zip(*rows, strict=True))
    kept = []
    for t in np.unique(scores[right]):  # below its own clips a species gains only mistakes
        above = scores >= t
        shares = [right[above & (session == one)].mean() for one in np.unique(session[above])]
        if (sum(shares) + 1) / (len(shares) + 2) >= precision - 1e-9:
            kept.append((t, sum(shares) / len(shares), right[above].sum() / right.sum()))
    found = find_threshold(scores, right, session, precision)
    assert (found.threshold is None) == (not kept)
    if kept:
        assert (found.threshold, found.precision, found.recall) == pytest.approx(min(kept))


def test_where_each_clip_is_a_session_precision_and_recall_are_those_of_scikit_learn():
    rng = np.random.default_rng(3)
    right = rng.random(200) < 0.5
    scores = np.round(rng.normal(right * 1.5, 1), 2)
    found = find_threshold(scores, right, [str(i) for i in range(200)], precision=0.85)
    precision, recall, thresholds = precision_recall_curve(right, scores)
    at = int(np.flatnonzero(thresholds == found.threshold)[0])
    assert (found.precision, found.recall) == pytest.approx((precision[at], recall[at]))
