"""Detections against annotations: worked by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, precision_score, recall_score, roc_auc_score

from birdnb.evaluation.predictions import Predictions
from birdnb.evaluation.promises import Threshold
from birdnb.field.evaluate import Segments, cut_segments, evaluate, focal_drop
from birdnb.field.promise import Promises
from birdnb.field.scores import Heard

LABELS = ["robin", "wren"]


def heard(p, name="a.wav", step=2.0, seconds=None):
    p = np.array(p, np.float32)
    starts = step * np.arange(len(p))
    seconds = seconds or float(starts[-1] + 4)
    return Heard(name, name, seconds=seconds, starts=starts, probabilities=p)


def promised(robin, wren, precision=0.9):
    of = {"robin": Threshold(robin), "wren": Threshold(wren)}
    return Promises(precision, species=of)


def test_segments_worked_by_hand():
    """Windows of 4 s every 2 s of a recording of 12 s: their middles lie at 2, 4 | 6, 8 | 10."""
    p = [[0.1, 0.9], [0.7, 0.3], [0.2, 0.8], [0.4, 0.6], [0.5, 0.5]]
    truth = pd.DataFrame(
        [("a.wav", 3.0, 6.0, "robin"), ("a.wav", 5.0, 10.0, "wren"), ("b.wav", 0, 9, "wren"),
         ("a.wav", 0.0, 12.0, "a stranger")],
        columns=["recording", "start", "end", "species"],
    )  # fmt: skip
    found = cut_segments([heard(p)], LABELS, 4.0, truth)
    assert found.start.tolist() == [0, 5, 10] and set(found.recording) == {"a.wav"}
    np.testing.assert_allclose(found.scores, [[0.7, 0.9], [0.4, 0.8], [0.5, 0.5]])
    assert found.truth.tolist() == [[True, False], [True, True], [False, False]]


def test_a_segment_in_which_no_window_has_its_middle_takes_the_nearest():
    p = [[0.1, 0.9], [0.7, 0.3]]
    found = cut_segments([heard(p, step=8.0, seconds=14.0)], LABELS, 4.0, _no_truth())
    np.testing.assert_allclose(found.scores, [p[0], p[1], p[1]])


def _no_truth():
    return pd.DataFrame(columns=["recording", "start", "end", "species"])


def _random(n_recordings, seed=1, per=40):
    rng = np.random.default_rng(seed)
    truth = rng.random((n_recordings * per, 2)) < 0.3
    scores = np.clip(0.35 + 0.3 * truth + rng.normal(0, 0.2, truth.shape), 0, 1)
    names = np.repeat([f"{i}.wav" for i in range(n_recordings)], per).astype(object)
    return Segments(names, np.tile(5.0 * np.arange(per), n_recordings), scores, truth)


def test_figures_are_those_of_scikit_learn():
    segments = _random(1)
    table = evaluate(segments, LABELS, promised(0.5, 0.6)).set_index("species")
    for c, (label, threshold) in enumerate(zip(LABELS, (0.5, 0.6), strict=True)):
        truth, scores = segments.truth[:, c], segments.scores[:, c]
        row = table.loc[label]
        assert row["precision"] == pytest.approx(precision_score(truth, scores >= threshold))
        assert row["recall"] == pytest.approx(recall_score(truth, scores >= threshold))
        assert row["average_precision"] == pytest.approx(average_precision_score(truth, scores))
        assert row["auroc"] == pytest.approx(roc_auc_score(truth, scores))
        assert row["called"] == (scores >= threshold).sum() and row["segments"] == truth.sum()
    whole = table.loc["all"]
    assert whole["average_precision"] == pytest.approx(
        average_precision_score(segments.truth, segments.scores, average="macro")
    )
    assert whole["auroc"] == pytest.approx(roc_auc_score(segments.truth, segments.scores))
    called = segments.scores >= [0.5, 0.6]
    assert whole["precision"] == pytest.approx(
        precision_score(segments.truth.ravel(), called.ravel())
    )
    assert whole["recall"] == pytest.approx(recall_score(segments.truth.ravel(), called.ravel()))
    assert table["auroc_low"].isna().all()  # one recording tells nothing about others


def test_intervals_are_over_recordings():
    """As a bootstrap by hand has them, which draws whole recordings and pools their segments."""
    segments = _random(8)
    table = evaluate(segments, LABELS, promised(0.5, None)).set_index("species")
    rng = np.random.default_rng(5)
    truth, scores = segments.truth[:, 0].reshape(8, -1), segments.scores[:, 0].reshape(8, -1)
    draws = rng.integers(8, size=(1000, 8))
    by_hand = [roc_auc_score(truth[d].ravel(), scores[d].ravel()) for d in draws]
    found = table.loc["robin", ["auroc_low", "auroc_high"]].astype(float).tolist()
    assert found == pytest.approx(np.percentile(by_hand, [2.5, 97.5]), abs=0.02)
    assert table.loc["robin", "precision_low"] < table.loc["robin", "precision"]
    assert pd.isna(table.loc["wren", "precision"]) and table.loc["wren", "auroc"] > 0.5


def test_the_drop_from_focal_recordings_to_the_field():
    """Focal recordings are all told apart; in the field every second segment is a coin's throw."""
    targets = np.array([0, 1] * 4)
    p = np.where(np.eye(2)[targets] > 0, 0.9, 0.1).astype(np.float32)
    test = Predictions([str(i) for i in range(8)], p, targets)
    table = evaluate(_random(2), LABELS, promised(0.5, 0.5))
    drop = focal_drop(table, test, LABELS, promised(0.5, 0.5)).set_index("measure")
    assert (drop["focal"] == 1).all()
    field = table.set_index("species").loc[LABELS]
    assert drop.loc["auroc", "field"] == pytest.approx(field["auroc"].mean())
    assert drop.loc["auroc", "drop"] == pytest.approx(1 - field["auroc"].mean())
    assert drop.loc["precision", "field"] == pytest.approx(field["precision"].astype(float).mean())
