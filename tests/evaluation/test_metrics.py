"""Metrics against scikit-learn and scipy, intervals against cases worked by hand.

Prediction is held against a plain loop.
"""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from birdnb.evaluation.calibration import (
    apply_temperature,
    calibration_curve,
    expected_calibration_error,
    fit_temperature,
    log_loss,
)
from birdnb.evaluation.metrics import (
    accuracy,
    confusion,
    f1_macro,
    loss_over,
    paired_bootstrap,
    rare_and_common,
    similarity_order,
    summarise,
    top_confusions,
)
from birdnb.evaluation.predictions import Predictions, concatenate, predict
from birdnb.features.lms import normalise
from birdnb.files import BirdnbError


def made_up(rng, n=60, classes=7, sharp=2.0, right=1.5):
    targets = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) * sharp
    logits[np.arange(n), targets] += right
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions([f"r{i}" for i in range(n)], probabilities.astype(np.float32), targets)


def _log_loss(p):
    q = p.probabilities.astype(float)
    return sk.log_loss(p.targets, q / q.sum(axis=1, keepdims=True), labels=range(q.shape[1]))


def names(n):
    return [f"species {i}" for i in range(n)]


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 50),
    classes=st.integers(2, 12),
    seed=st.integers(0, 10_000),
    right=st.floats(0, 4),
)
def test_metrics_equal_scikit_learn(n, classes, seed, right):
    p = made_up(np.random.default_rng(seed), n, classes, right=right)
    got = summarise(p, names(classes), None, bootstrap=0)
    present = np.unique(p.targets)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        precision, recall, f1, support = sk.precision_recall_fscore_support(
            p.targets, p.predicted, labels=present, zero_division=0
        )
        assert got["accuracy"] == pytest.approx(sk.accuracy_score(p.targets, p.predicted))
        assert got["balanced_accuracy"] == pytest.approx(
            sk.balanced_accuracy_score(p.targets, p.predicted)
        )
        top5 = (
            sk.top_k_accuracy_score(p.targets, p.probabilities, k=5, labels=range(classes))
            if classes > 2
            else 1.0
        )
    assert got["top5_accuracy"] == pytest.approx(top5)
    assert got["f1_macro"] == f1_macro(p) == pytest.approx(f1.mean())
    assert got["accuracy"] == accuracy(p)
    ap = [sk.average_precision_score(p.targets == c, p.probabilities[:, c]) for c in present]
    assert got["map_macro"] == pytest.approx(np.mean(ap))
    assert list(got["per_class"]) == [f"species {c}" for c in present]
    for i, c in enumerate(present):
        row = got["per_class"][f"species {c}"]
        assert row == pytest.approx(
            {"support": support[i], "precision": precision[i], "recall": recall[i], "f1": f1[i]}
        )
    assert got["log_loss"] == pytest.approx(_log_loss(p), rel=1e-4)
    if len(present) == classes and classes > 2:
        auroc = sk.roc_auc_score(
            p.targets, p.probabilities.astype(float), multi_class="ovr", average="macro"
        )
        assert got["auroc_macro"] == pytest.approx(auroc)
    if len(present) == 1:
        assert got["auroc_macro"] is None


def test_tied_scores_rank_as_in_scikit_learn():
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 4, (80, 4)).astype(float)  # many ties
    p = Predictions(
        names(80),
        (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32),
        rng.integers(0, 4, 80),
    )
    ap = np.mean(
        [sk.average_precision_score(p.targets == c, p.probabilities[:, c]) for c in range(4)]
    )
    assert summarise(p, names(4), None, bootstrap=0)["map_macro"] == pytest.approx(ap)


def test_intervals_equal_a_bootstrap_written_as_a_loop():
    rng = np.random.default_rng(5)
    p = made_up(rng, 40, 5)
    sessions = [f"s{i}" for i in rng.integers(0, 12, 40)]
    got = summarise(p, names(5), sessions, seed=11, bootstrap=100)
    order = list(dict.fromkeys(sessions))  # sessions as they come
    draws = np.random.default_rng(11).multinomial(
        len(order), np.full(len(order), 1 / len(order)), size=100
    )
    accuracy, f1, average_precision = [], [], []
    for draw in draws:
        again = np.concatenate(
            [
                np.flatnonzero(np.array(sessions) == s).repeat(k)
                for s, k in zip(order, draw, strict=True)
            ]
        )
        t, q = p.targets[again], p.probabilities[again]
        accuracy.append(sk.accuracy_score(t, q.argmax(axis=1)))
        f1.append(
            sk.f1_score(t, q.argmax(axis=1), labels=np.unique(t), average="macro", zero_division=0)
        )
        average_precision.append(
            np.mean([sk.average_precision_score(t == c, q[:, c]) for c in np.unique(t)])
        )
    average_precision = np.array(average_precision) - (
        np.mean(average_precision) - got["map_macro"]
    )
    for key, values in (("accuracy", accuracy), ("f1_macro", f1), ("map_macro", average_precision)):
        assert got[f"{key}_ci95"] == pytest.approx(list(np.percentile(values, [2.5, 97.5])))
    assert got["sessions"] == len(order)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    hits = 0
    # 40 sessions of 3 recordings that are right or wrong together: the truth is 0.6
    for seed in range(100):
        rng = np.random.default_rng(seed)
        right = np.repeat(rng.random(40) < 0.6, 3)
        q = np.where(right[:, None], [0.9, 0.1], [0.1, 0.9]).astype(np.float32)
        p = Predictions(names(120), q, np.zeros(120, int))
        low, high = summarise(p, names(2), np.repeat(names(40), 3), bootstrap=200)["accuracy_ci95"]
        hits += low <= 0.6 <= high
    assert 86 <= hits <= 99


def test_all_right_still_has_an_interval():
    p = Predictions(names(20), np.eye(2, dtype=np.float32)[np.arange(20) % 2], np.arange(20) % 2)
    low, high = summarise(p, names(2), None)["accuracy_ci95"]
    assert low == pytest.approx(0.8315, abs=1e-3) and high == 1.0  # Clopper-Pearson for 20 of 20
    wrong = Predictions(p.recording_ids, p.probabilities[:, ::-1], p.targets)
    assert summarise(wrong, names(2), None)["accuracy_ci95"] == pytest.approx(
        [0, 1 - 0.8315], abs=1e-3
    )


def test_sessions_with_the_same_share_are_no_reason_to_be_sure():
    # 3 of 5 right in each session
    q = np.where(np.arange(10)[:, None] % 5 < 3, [0.9, 0.1], [0.1, 0.9]).astype(np.float32)
    p = Predictions(names(10), q, np.zeros(10, int))
    low, high = summarise(p, names(2), np.repeat(names(2), 5))["accuracy_ci95"]
    # 1.2 of 2 sessions
    reference = (stats.beta.ppf(0.025, 1.2, 1.8), stats.beta.ppf(0.975, 2.2, 0.8))
    assert (low, high) == pytest.approx(reference) and low < 0.1 and high > 0.9
    one = summarise(p, names(2), ["a session"] * 10)["accuracy_ci95"]
    assert one[0] < 0.1 and one[1] > 0.95


def test_paired_bootstrap():
    rng = np.random.default_rng(8)
    good, bad = made_up(rng, 200, 5, right=5), made_up(rng, 200, 5, right=0)
    bad = Predictions(bad.recording_ids, bad.probabilities, good.targets)
    shuffled = bad.align(list(rng.permutation(bad.recording_ids)))
    got = paired_bootstrap(good, shuffled, None)
    right, wrong = good.predicted == good.targets, bad.predicted == bad.targets
    assert got["difference"] == pytest.approx(right.mean() - wrong.mean())
    assert (
        got["only_first_right"] == (right & ~wrong).sum()
        and got["only_second_right"] == (wrong & ~right).sum()
    )
    assert got["ci95"][0] > 0 and got["p"] < 0.01 and got["f1_ci95"][0] > 0
    error = np.std(right.astype(float) - wrong) / np.sqrt(200)  # normal approximation
    assert np.diff(got["ci95"])[0] == pytest.approx(2 * 1.96 * error, rel=0.1)
    same = paired_bootstrap(good, good, None)
    assert same["difference"] == 0 and same["p"] == 1 and same["ci95"] == [0, 0]
    back = paired_bootstrap(bad, good, None)
    assert back["difference"] == pytest.approx(-got["difference"]) and back["p"] == pytest.approx(
        got["p"], abs=0.01
    )


def test_log_loss_over_another_is_scikit_learns_with_the_interval_of_a_mean():
    rng = np.random.default_rng(9)
    one, other = made_up(rng, 200, 5, right=5), made_up(rng, 200, 5, right=0)
    other = Predictions(other.recording_ids, other.probabilities, one.targets)
    own, more = (
        sk.log_loss(one.targets, exact / exact.sum(axis=1, keepdims=True), labels=range(5))
        for exact in (one.probabilities.astype(float), other.probabilities.astype(float))
    )
    assert loss_over(one, None, None)[0] == pytest.approx(own, rel=1e-5)
    shuffled = other.align(list(rng.permutation(other.recording_ids)))
    difference, ends = loss_over(one, shuffled, None)
    assert difference == pytest.approx(own - more, rel=1e-4)
    rows = np.arange(200)
    each = np.log(other.probabilities[rows, one.targets] / one.probabilities[rows, one.targets])
    error = each.std() / np.sqrt(200)  # normal approximation
    assert np.diff(ends)[0] == pytest.approx(2 * 1.96 * error, rel=0.1)
    pairs = [str(row // 20) for row in rows]  # ten sessions
    assert np.diff(loss_over(one, other, pairs)[1])[0] > 0
    assert loss_over(one, one, pairs) == (0, [0, 0])
    # one session tells nothing of others
    assert loss_over(one, other, ["a"] * len(one))[1] == [-np.inf, np.inf]


def test_all_right_is_no_reason_to_be_sure_of_f1():
    targets = np.arange(20) % 2
    found = summarise(
        Predictions([f"r{i}" for i in range(20)], np.eye(2, dtype=np.float32)[targets], targets),
        ["a", "b"],
        None,
    )
    assert (
        found["f1_macro_ci95"]
        is found["map_macro_ci95"]
        is found["per_class"]["a"]["f1_ci95"]
        is None
    )
    assert found["accuracy_ci95"] == [0.025 ** (1 / 20), 1.0]


@pytest.mark.parametrize(("apart", "least"), [(2, 0.5), (3, 0.25), (5, 0.0625), (8, 0.0078125)])
def test_a_handful_of_sessions_settles_nothing(apart, least):
    """Right against wrong in every session that tells the two apart: an exact sign test.

    It gives 2 / 2^s, both tails.
    """
    targets = np.zeros(20, dtype=np.int64)
    names_ = [f"r{i}" for i in range(20)]
    right = np.tile(np.float32([0.9, 0.1]), (20, 1))
    wrong = right.copy()
    wrong[: 2 * apart] = [0.1, 0.9]
    step = paired_bootstrap(
        Predictions(names_, right, targets),
        Predictions(names_, wrong, targets),
        [i // 2 for i in range(20)],
    )
    assert stats.binomtest(apart, apart).pvalue == least <= step["p"]
    assert step["p"] < max(1.1 * least, 0.02)


def test_paired_bootstrap_refuses_other_recordings_and_other_labels():
    p = made_up(np.random.default_rng(1), 10, 3)
    with pytest.raises(BirdnbError, match="one run only"):
        paired_bootstrap(
            p, Predictions([*p.recording_ids[:-1], "other"], p.probabilities, p.targets), None
        )
    with pytest.raises(BirdnbError, match="different species"):
        paired_bootstrap(
            p, Predictions(p.recording_ids, p.probabilities, (p.targets + 1) % 3), None
        )
    with pytest.raises(BirdnbError, match="2 sessions for 10"):
        summarise(p, names(3), ["a", "b"])


def test_predictions_refuse_what_does_not_fit():
    q = np.full((2, 2), 0.5, np.float32)
    for ids, probabilities, targets, message in (
        (["a", "a"], q, [0, 1], "'a' is predicted twice"),
        (["a"], q, [0], "do not fit"),
        (["a", "b"], q, [0, 2], "outside 0..1"),
        (["a", "b"], q * np.nan, [0, 1], "diverged"),
    ):
        with pytest.raises(BirdnbError, match=message):
            Predictions(ids, probabilities, np.array(targets))


def test_save_and_load(tmp_path):
    p = made_up(np.random.default_rng(0), 5, 3)
    p = Predictions(["XC1", "a.b", "ü", "é_2", "1234"], p.probabilities, p.targets)
    q = Predictions.load(p.save(tmp_path / "deep" / "p.npz"))
    assert q.recording_ids == p.recording_ids and all(type(i) is str for i in q.recording_ids)
    np.testing.assert_array_equal(q.probabilities, p.probabilities)
    np.testing.assert_array_equal(q.targets, p.targets)
    assert [f.name for f in (tmp_path / "deep").iterdir()] == ["p.npz"]
    (tmp_path / "broken.npz").write_bytes((tmp_path / "deep" / "p.npz").read_bytes()[:100])
    for name in ("broken.npz", "missing.npz"):
        with pytest.raises(BirdnbError, match=name):
            Predictions.load(tmp_path / name)


def test_concatenate_folds():
    p = made_up(np.random.default_rng(0), 9, 3)
    parts = [
        Predictions(p.recording_ids[i::3], p.probabilities[i::3], p.targets[i::3]) for i in range(3)
    ]
    whole = concatenate(parts).align(p.recording_ids)
    np.testing.assert_array_equal(whole.probabilities, p.probabilities)
    with pytest.raises(BirdnbError, match="predicted twice"):
        concatenate([parts[0], parts[0]])
    with pytest.raises(BirdnbError, match="numbers of species"):
        concatenate([parts[0], made_up(np.random.default_rng(0), 4, 5)])


def test_confusions():
    targets, said = np.array([0, 0, 0, 1, 2, 2]), np.array([1, 1, 0, 1, 0, 2])
    p = Predictions(names(6), np.eye(4, dtype=np.float32)[said], targets)
    np.testing.assert_array_equal(
        confusion(p, 4), sk.confusion_matrix(targets, said, labels=range(4))
    )
    table = top_confusions(p, ["ant", "bee", "cat", "dog"])
    assert table.to_dict("records") == [
        {"species": "ant", "taken_for": "bee", "recordings": 2, "of": 3},
        {"species": "cat", "taken_for": "ant", "recordings": 1, "of": 2},
    ]
    assert len(top_confusions(p, ["ant", "bee", "cat", "dog"], limit=1)) == 1


def test_species_are_parted_by_their_training_recordings():
    training = {"ant": 9, "bee": 2, "cat": 5}
    assert rare_and_common(["cat", "ant", "bee", "dog"], training) == (
        ["dog", "bee"],
        ["cat", "ant"],
    )
    assert rare_and_common(["ant", "bee", "cat"], training) == (["bee"], ["cat", "ant"])
    assert rare_and_common(["ant", "dog"], {"ant": 3, "dog": 3}) is None
    assert rare_and_common(["ant"], training) is None


def test_similar_species_stand_side_by_side():
    matrix = np.eye(6, dtype=int) * 5
    for i, j in ((0, 3), (1, 4), (2, 5)):
        matrix[i, j] = matrix[j, i] = 4
    order = list(similarity_order(matrix))
    assert sorted(order) == list(range(6))
    assert all(abs(order.index(i) - order.index(i + 3)) == 1 for i in range(3))
    for small in (np.zeros((1, 1), int), np.eye(2, dtype=int), np.zeros((5, 5), int)):
        assert sorted(similarity_order(small)) == list(range(len(small)))


def test_calibration_by_hand():
    q = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.6, 0.4]], np.float32)
    p = Predictions(names(4), q, np.array([0, 1, 1, 1]))
    curve = calibration_curve(p, bins=10)
    assert curve["recordings"].tolist() == [2, 2] and curve["accuracy"].tolist() == [0.5, 0.5]
    assert curve["confidence"].tolist() == pytest.approx([0.6, 0.9])
    assert expected_calibration_error(p, bins=10) == pytest.approx(0.5 * 0.1 + 0.5 * 0.4)


def test_temperature_recovers_what_was_done_to_the_logits():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(4000, 5)) * 2
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = np.array([rng.choice(5, p=row) for row in honest])  # the probabilities are true
    p = Predictions(names(4000), honest.astype(np.float32), targets)
    assert fit_temperature(p) == pytest.approx(1.0, abs=0.07)
    for factor in (0.4, 3.0):
        distorted = apply_temperature(p, factor)
        assert fit_temperature(distorted) == pytest.approx(1 / factor, rel=0.07)
        mended = apply_temperature(distorted, fit_temperature(distorted))
        assert (mended.predicted == p.predicted).all()
        assert log_loss(mended) < log_loss(distorted)
        assert expected_calibration_error(mended) < expected_calibration_error(distorted)


def test_temperature_stays_sober_on_a_tiny_side_that_is_all_right():
    q = np.full((20, 5), 0.05, np.float32)
    q[np.arange(20), np.arange(20) % 5] = 0.8
    p = Predictions(names(20), q, np.arange(20) % 5)
    assert 0.2 < fit_temperature(p) < 0.8  # the least log loss alone would be at zero


class Half(torch.nn.Module):
    """Logits by where the energy lies in time, with dropout to prove evaluation mode."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, x):  # (B, 128, T) -> (B, 2)
        half = x.shape[-1] // 2
        return self.weight * self.drop(
            torch.stack([x[..., :half].mean(dim=(1, 2)), x[..., half:].mean(dim=(1, 2))], dim=1)
        )


def test_predict_equals_a_plain_loop():

    generator = torch.Generator().manual_seed(0)
    recording = torch.tensor([2, 0, 1, 0, 2, 2, 1])
    lms = (torch.randn(7, 128, 20, generator=generator) * 10 - 40).half()
    lms[..., 10:] += 15 * torch.rand(7, 1, 1, generator=generator).half()
    target = torch.tensor([1, 0, 1, 1])[recording]
    clips = SimpleNamespace(
        lms=lms, target=target, recording=recording, recording_ids=["a", "b", "c"]
    )
    model = Half().train()
    got = predict(model, clips, "standard", batch_size=3)
    assert model.training
    x = normalise(lms.float(), "standard")
    each = Half().eval()(x).softmax(dim=1)
    expected = torch.stack([each[recording == r].mean(dim=0) for r in range(3)])
    np.testing.assert_allclose(got.probabilities, expected.detach().numpy(), atol=1e-6)
    assert got.recording_ids == ["a", "b", "c"] and got.targets.tolist() == [1, 0, 1]
    seen = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    with torch.autocast("cpu", torch.bfloat16):  # the network in bf16, not what it is fed
        predict(model, clips, "noise_floor", batch_size=7)
    torch.testing.assert_close(seen[0], normalise(lms.float(), "noise_floor"), rtol=0, atol=0)
    clips.recording_ids = ["a", "b", "c", "d"]
    with pytest.raises(BirdnbError, match="'d' has no segments"):
        predict(model, clips, "standard")
