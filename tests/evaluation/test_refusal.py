"""Refusing what is none of the species: scores, their choice, and rates of false alarms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from scipy.stats import poisson
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from birdnb.evaluation.refusal import (
    BACKGROUND,
    ENERGY,
    LARGEST,
    Opinions,
    Refusal,
    alarms_per_hour,
    candidates,
    choose_refusal,
    fit_background,
    let_through,
    refusal_table,
    told_apart,
)


def said(n, strength, seed, classes=4):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (n, classes))
    logits[np.arange(n), rng.integers(classes, size=n)] += strength
    return Opinions(softmax(logits, axis=1), logsumexp(logits, axis=1))


def test_the_background_class_is_scikit_learns_logistic_regression():
    known, quiet = said(60, 4, 1), said(30, 1, 2)
    x = np.concatenate([known.features, quiet.features])
    y = np.repeat([1, 0], [60, 30])
    theirs = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced")).fit(x, y)
    ours = fit_background(known, quiet)
    new = said(9, 2, 3)
    np.testing.assert_allclose(ours.of(new), theirs.decision_function(new.features), atol=1e-3)


@pytest.mark.parametrize("score", [LARGEST, ENERGY])
def test_auroc_and_what_passes(score):
    known, quiet = said(200, 4, 1), said(100, 0.5, 2)
    values = {
        LARGEST: [part.probabilities.max(axis=1) for part in (known, quiet)],
        ENERGY: [known.energy, quiet.energy],
    }[score]
    y = np.repeat([1, 0], [200, 100])
    assert told_apart(Refusal(score), known, quiet) == pytest.approx(
        roc_auc_score(y, np.concatenate(values))
    )
    threshold = np.sort(values[0])[9:11].mean()  # 190 of 200 lie above
    assert let_through(Refusal(score), known, quiet) == pytest.approx(
        (values[1] >= threshold).mean(), abs=0.02
    )


def test_the_best_score_on_validation_is_chosen_and_keeps_95_percent():
    """Energy tells nothing apart here, as both kinds have the same."""
    known, quiet = said(400, 5, 1), said(200, 0.5, 2)
    flat = [Opinions(part.probabilities, np.zeros(len(part.energy))) for part in (known, quiet)]
    scores = [Refusal(ENERGY), Refusal(LARGEST)]
    found = choose_refusal(scores, flat[0], {"quiet": flat[1]})
    assert found.score == LARGEST and found.keeps(flat[0]).mean() == pytest.approx(0.95, abs=0.01)
    assert found.keeps(flat[1]).mean() < 0.5
    table = refusal_table(scores, {"validation": flat[0]}, {"validation": {"quiet": flat[1]}})
    assert table.set_index("score").loc[ENERGY, "auroc"] == 0.5 and list(table["clips"]) == [
        200,
        200,
    ]


def test_without_logits_or_quiet_there_are_fewer_scores():
    known, quiet = said(20, 4, 1), said(10, 1, 2)
    blind = Opinions(known.probabilities, np.full(20, np.nan))
    none = Opinions(quiet.probabilities[:0], quiet.energy[:0])
    assert [one.score for one in candidates(known, quiet)] == [LARGEST, ENERGY, BACKGROUND]
    assert [one.score for one in candidates(blind, none)] == [LARGEST]
    assert np.isnan(told_apart(Refusal(LARGEST), known, none))
    assert choose_refusal([Refusal(LARGEST)], known, {}).score == LARGEST


@pytest.mark.parametrize("alarms", [0, 3])
def test_the_interval_of_a_rate_is_poissons(alarms):
    rate, low, high = alarms_per_hour(alarms, hours=0.5)
    assert rate == alarms / 0.5 and low <= rate <= high
    assert poisson.cdf(alarms, 0.5 * high) == pytest.approx(0.025)
    assert alarms == 0 or poisson.sf(alarms - 1, 0.5 * low) == pytest.approx(0.025)
