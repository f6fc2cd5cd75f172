"""Weights and temperature come from validation alone.

The combination is held against values worked by hand and by brute force.
"""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sk_log_loss

from birdnb.evaluation.ensemble import (
    best_single,
    build_ensemble,
    choose_weights,
    combine,
    simplex_grid,
)
from birdnb.evaluation.predictions import Predictions
from birdnb.files import BirdnbError
from birdnb.training.runs import load_run

LABELS = ["ant", "bee", "cat", "dog"]


def made_up(seed, ids, targets, right=2.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(ids), 4)) * 1.5
    logits[np.arange(len(ids)), targets] += right
    q = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(list(ids), q.astype(np.float32), targets)


def member(seed, right=2.0, n=60, **metrics):
    rng = np.random.default_rng(99)  # the same targets for every member
    val, test = ([f"{side}{i}" for i in range(n)] for side in ("v", "t"))
    targets = rng.integers(0, 4, (2, n))
    return SimpleNamespace(
        config={"key": f"key {seed}"},
        labels=list(LABELS),
        val=made_up(seed, val, targets[0], right),
        test=made_up(seed + 1, test, targets[1], right),
        metrics={"parameters": 10, "seconds": 1.5, "pretrained": False} | metrics,
    )


def shuffled(run, seed=0):
    order = np.random.default_rng(seed).permutation(len(run.test))
    run.test = run.test.align([run.test.recording_ids[i] for i in order])
    run.val = run.val.align([run.val.recording_ids[i] for i in order])
    return run


def test_combine_by_hand():
    a = Predictions(["x"], np.array([[0.8, 0.2]], np.float32), np.array([0]))
    b = Predictions(["x"], np.array([[0.4, 0.6]], np.float32), np.array([0]))
    np.testing.assert_allclose(combine([a, b], [3, 1]).probabilities, [[0.7, 0.3]], atol=1e-6)
    for weights in ([1], [0, 0], [2, -1]):
        with pytest.raises(BirdnbError, match="weights"):
            combine([a, b], weights)


@settings(max_examples=30, deadline=None)
@given(members=st.integers(2, 5), steps=st.integers(1, 10))
def test_simplex_grid_is_complete(members, steps):
    grid = simplex_grid(members, steps)
    everything = np.array(np.meshgrid(*[range(steps + 1)] * members)).reshape(members, -1).T
    expected = {tuple(row) for row in everything if row.sum() == steps}
    assert {tuple(row) for row in np.round(grid * steps).astype(int)} == expected and len(
        grid
    ) == len(expected)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), right=st.floats(0, 4), together=st.integers(1, 6))
def test_weights_follow_the_rule_of_one_standard_error_by_brute_force(seed, right, together):
    runs = [member(seed, 2.0).val, member(seed + 50, right).val]
    sessions = [f"s{i // together}" for i in range(60)]

    def losses(w):
        q = w * runs[0].probabilities.astype(float) + (1 - w) * runs[1].probabilities
        return -np.log(q[np.arange(60), runs[0].targets])

    least = min(
        (sk_log_loss(runs[0].targets, mix(runs, w / 20), labels=range(4)), w / 20)
        for w in range(21)
    )[1]

    def close_enough(w):
        worse = losses(w) - losses(least)
        sums = pd.Series(worse - worse.mean()).groupby(sessions).sum()
        return worse.mean() <= np.sqrt(len(sums) * sums.var(ddof=1)) / 60 + 1e-9

    expected = next(
        w for step in range(11) for w in (0.5 + step / 20, 0.5 - step / 20) if close_enough(w)
    )
    got = choose_weights(runs, sessions)
    assert got.sum() == pytest.approx(1) and abs(got[0] - 0.5) == pytest.approx(
        abs(expected - 0.5), abs=1e-6
    )


def mix(runs, w):
    q = w * runs[0].probabilities.astype(float) + (1 - w) * runs[1].probabilities
    return q / q.sum(axis=1, keepdims=True)


def test_many_recordings_settle_what_few_cannot():
    def better(n):
        ids, targets = [f"v{i}" for i in range(n)], np.zeros(n, int)
        sure, unsure = np.where(np.arange(n) % 2, 0.9, 0.55), np.where(np.arange(n) % 2, 0.5, 0.6)
        return [
            Predictions(ids, np.stack([p, 1 - p], axis=1).astype(np.float32), targets)
            for p in (sure, unsure)
        ]

    np.testing.assert_allclose(choose_weights(better(2)), [0.5, 0.5])
    assert choose_weights(better(200))[0] > 0.8
    in_two_sessions = choose_weights(better(200), ["a", "b"] * 100)
    np.testing.assert_allclose(in_two_sessions, [0.5, 0.5])
    np.testing.assert_allclose(choose_weights(better(200), ["a"] * 200), [0.5, 0.5])


@pytest.mark.parametrize("members", [2, 3, 4, 6])
def test_ties_go_to_equal_weights(members):
    same = member(1).val
    np.testing.assert_allclose(choose_weights([same] * members), np.full(members, 1 / members))


def test_a_worse_member_weighs_less():
    weights = choose_weights([member(1, 4.0).val, member(2, 0.0).val, member(3, 0.0).val])
    assert weights[0] > 0.7


def test_test_labels_do_not_reach_weights_temperature_or_choice():
    runs = {"ast": member(1, 2.5), "b2": member(7, 1.5)}
    honest = build_ensemble(runs)
    noise = np.random.default_rng(4).integers(0, 4, 60)
    for run in runs.values():
        run.test = Predictions(run.test.recording_ids, run.test.probabilities, noise)
    blind = build_ensemble(runs)
    assert blind.weights == honest.weights and blind.temperature == honest.temperature
    np.testing.assert_array_equal(blind.test.probabilities, honest.test.probabilities)
    assert (
        blind.metrics["val"] == honest.metrics["val"]
        and blind.metrics["test"] != honest.metrics["test"]
    )


def test_the_order_of_recordings_does_not_matter():
    sessions = pd.Series({f"{side}{i}": f"s{i // 3}" for side in "vt" for i in range(60)})
    straight = build_ensemble({"ast": member(1), "b2": member(7)}, sessions)
    mixed = build_ensemble({"ast": member(1), "b2": shuffled(member(7))}, sessions)
    assert mixed.metrics == straight.metrics and straight.metrics["test"]["sessions"] == 20


def test_best_single_by_accuracy_then_log_loss():
    q = np.array([[0.9, 0.1], [0.6, 0.4]], np.float32)
    surer = Predictions(["a", "b"], q, np.array([0, 0]))
    less = Predictions(
        ["a", "b"], np.full((2, 2), 0.5, np.float32) + np.float32([[0.01, -0.01]]), np.array([0, 0])
    )
    wrong = Predictions(["a", "b"], q[:, ::-1], np.array([0, 0]))
    assert best_single({"wrong": wrong, "less": less, "surer": surer}) == "surer"


def test_run_folder(tmp_path):
    got = build_ensemble(
        {"ast": member(1, parameters=5), "b2": member(7)}, folder=tmp_path / "phase3_ensemble"
    )
    names = {path.name for path in got.folder.iterdir()}
    assert names == {
        "config.json",
        "labels.json",
        "history.csv",
        "predictions_val.npz",
        "predictions_test.npz",
        "metrics.json",
    }
    loaded = load_run(got.folder)  # in the form of every run
    assert (
        loaded.name == "phase3_ensemble"
        and loaded.metrics == got.metrics
        and len(loaded.history) == 0
    )
    assert loaded.config["members"] == {"ast": "key 1", "b2": "key 7"}
    metrics = json.loads((got.folder / "metrics.json").read_text())
    assert metrics == got.metrics and metrics["parameters"] == 15 and metrics["seconds"] == 3.0
    assert (
        metrics["calibration"]["val"]["log_loss_after"]
        <= metrics["calibration"]["val"]["log_loss_before"]
    )
    np.testing.assert_array_equal(loaded.test.probabilities, got.test.probabilities)
    assert loaded.labels == LABELS


def test_runs_that_do_not_belong_together():
    with pytest.raises(BirdnbError, match="two or more"):
        build_ensemble({"ast": member(1)})
    other = member(7)
    other.labels = ["ant", "bee", "cat", "emu"]
    with pytest.raises(BirdnbError, match="ast and b2 know different species"):
        build_ensemble({"ast": member(1), "b2": other})
    other = member(7, n=59)
    with pytest.raises(
        BirdnbError, match=r"ast and b2 have different val sides: 1 recordings .*v59"
    ):
        build_ensemble({"ast": member(1), "b2": other})
    other = member(7)
    other.test = Predictions(
        other.test.recording_ids, other.test.probabilities, (other.test.targets + 1) % 4
    )
    with pytest.raises(BirdnbError, match="name different species"):
        build_ensemble({"ast": member(1), "b2": other})
    leaking = member(1)
    leaking.test = leaking.val
    with pytest.raises(BirdnbError, match="in validation and in test"):
        build_ensemble({"ast": leaking, "b2": leaking})
