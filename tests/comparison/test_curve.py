"""Learning curves: nested sessions, the law and what it promises, trainings that are resumed."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import curve_fit
from small_corpora import extracted

from birdnb.comparison.__main__ import main
from birdnb.comparison.curve import EIGHTHS, nested_sessions
from birdnb.comparison.curve_page import need_in_words, write_curves
from birdnb.comparison.growth import Curve, cheap_runs, learning_curves
from birdnb.comparison.law import (
    HORIZON,
    NOT_SETTLED,
    OTHER_MEANS,
    REACHED,
    SETTLED,
    Law,
    Need,
    fit_law,
    need,
)
from birdnb.config import load_profile, override
from birdnb.data import open_study
from birdnb.evaluation.predictions import Predictions
from birdnb.report.collect import drawn_from
from birdnb.synthetic.demo import make_demo

ROOT = Path(__file__).resolve().parents[2]
SIZES = np.array([2.0, 4.0, 8.0, 16.0])


@given(
    heard=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), min_size=1, max_size=120),
    seed=st.integers(0, 99),
)
def test_parts_of_the_sessions_are_nested_and_keep_every_species(heard, seed) -> None:
    table = pd.DataFrame(heard, columns=["session", "species"]).astype(str)
    parts = nested_sessions(table, EIGHTHS, np.random.default_rng(seed))
    assert all(small <= large for small, large in itertools.pairwise(parts))
    assert parts[-1] == set(table["session"])
    total = table.groupby("species")["session"].nunique()
    for eighths, part in zip(EIGHTHS, parts, strict=True):
        have = table[table["session"].isin(part)].groupby("species")["session"].nunique()
        quota = np.maximum(1, (total * eighths / 8).round())
        assert (have.reindex(total.index, fill_value=0) >= quota).all()
        if table.drop_duplicates()["session"].is_unique:  # a session has one species: no more
            assert (have == quota).all()
    again = nested_sessions(table, EIGHTHS, np.random.default_rng(seed))
    assert parts == again


def power(n, asymptote, gap, rate):
    return asymptote - gap * (np.asarray(n) / 16) ** -rate


@pytest.mark.parametrize("truth", [(0.9, 0.1, 0.8), (0.6, 0.05, 1.5), (0.75, 0.2, 0.4)])
def test_the_law_is_that_of_scipys_curve_fit(truth) -> None:
    noisy = power(SIZES, *truth) + np.array([0.004, -0.006, 0.005, -0.002])
    expected, _ = curve_fit(power, SIZES, noisy, p0=truth, bounds=([0, 0, 0.05], [1, 1, 3]))
    law = fit_law(SIZES, noisy)
    grid = np.linspace(2, 64, 50)
    np.testing.assert_allclose(law(grid), power(grid, *expected), atol=2e-3)
    exact = fit_law(SIZES, power(SIZES, *truth))
    np.testing.assert_allclose([exact.asymptote, exact.gap, exact.rate], truth, rtol=1e-3)


def test_what_a_score_takes_is_worked_by_hand() -> None:
    law = Law(asymptote=0.9, gap=0.1, rate=0.5, scale=16.0)  # 0.9 - 0.4 / sqrt(n)
    assert law(16) == pytest.approx(0.8) and law(64) == pytest.approx(0.85)
    assert law.needed(0.85) == pytest.approx(64) and law.needed(0.8) == pytest.approx(16)
    assert law.needed(0.9) == law.needed(0.95) == math.inf
    assert Law(0.9, 0.0, 0.5, 16.0).needed(0.8) == 0


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_any_scores_have_a_law_that_stays_a_score_and_never_falls(scores) -> None:
    law = fit_law(SIZES, np.array(scores))
    values = law(np.geomspace(16, 16 * HORIZON, 20))
    assert np.isfinite(values).all() and (np.diff(values) >= -1e-12).all() and values[-1] <= 1


def test_a_score_that_falls_has_a_flat_law() -> None:
    law = fit_law(SIZES, np.array([0.6, 0.6, 0.5, 0.5]))
    assert law(16) == pytest.approx(0.55, abs=0.01) and law.gap == pytest.approx(0, abs=1e-3)


def test_the_verdict_is_that_of_the_draws() -> None:
    law = Law(0.9, 0.1, 0.5, 16.0)
    near, far, never = law, Law(0.85, 0.05, 0.5, 16.0), Law(0.8, 0.05, 1.0, 16.0)
    settled = need(law, [near] * 50 + [Law(0.9, 0.1, 1.0, 16.0)] * 50, 0.84)
    assert settled.verdict == SETTLED
    assert settled.more == pytest.approx((0.4 / 0.06) ** 2 - 16)  # 0.9 - 0.4 / sqrt(n) = 0.84
    assert (settled.low, settled.high) == (pytest.approx(1.6 / 0.06 - 16), settled.more)
    assert need_in_words(settled) == "about 29 more sessions a species for 84 % (11 to 29)"
    open_end = need(law, [near] * 90 + [far] * 10, 0.84)  # far needs 16 * 25 sessions
    assert (open_end.verdict, open_end.high) == (NOT_SETTLED, math.inf)
    assert need_in_words(open_end).startswith("not settled: 84 % takes at least 29 more sessions")
    assert need(never, [never] * 100, 0.84).verdict == OTHER_MEANS
    assert "more of the same will not do it" in need_in_words(need(never, [never] * 100, 0.84))
    maybe_now = Need(0.8, 1, 0, math.inf, NOT_SETTLED)
    assert need_in_words(maybe_now).startswith("not settled: 80 % may be reached now, or may take")
    one = Need(0.8, 0.5, 0, 3, SETTLED)
    assert need_in_words(one) == "about 1 more session a species for 80 % (0 to 3)"
    assert need(law, [law] * 100, 0.79).verdict == REACHED
    assert need_in_words(Need(0.5, 0, 0, 0, REACHED)) == (
        "50 % is reached with the sessions there are"
    )
    assert need_in_words(None).startswith("not settled: a law needs 3")


def planted(asymptote: float, gap: float, rate: float, seed: int, sessions: int = 400) -> Curve:
    """A curve of a known law: sessions of two recordings, each as hard as it is at every size."""
    rng = np.random.default_rng(seed)
    n, labels = 2 * sessions, ["a", "b", "c", "d"]
    targets = rng.integers(0, 4, n)
    hard = 0.7 * np.repeat(rng.uniform(size=sessions), 2) + 0.3 * rng.uniform(size=n)
    hard = hard.argsort().argsort() / n  # even between 0 and 1: the share right is the law's
    sizes = []
    for score in power(SIZES, asymptote, gap, rate):
        right = hard < score
        said = np.where(right, targets, (targets + rng.integers(1, 4, n)) % 4)
        sizes.append(Predictions([f"r{i}" for i in range(n)], np.eye(4)[said], targets))
    names = [f"s{i // 2}" for i in range(n)]
    counts = np.repeat(SIZES[:, None], 4, axis=1)
    turns = np.repeat(rng.permutation(np.arange(sessions) % 4), 2)
    return Curve("run", labels, counts, sizes, names, turns, 2 * SIZES, 1.0, {})


@pytest.mark.parametrize("truth", [(0.95, 0.15, 0.7), (0.9, 0.1, 1.0)])
def test_a_planted_curve_is_recovered_within_its_interval(truth) -> None:
    curve = planted(*truth, seed=1)
    expected = Law(*truth, 16.0)
    for row, score in zip(curve.size_rows(), power(SIZES, *truth), strict=True):
        assert row["accuracy_low"] < score < row["accuracy_high"]
    target = truth[0] - 0.6 * truth[1]
    found = curve.need(target)
    assert found.low <= expected.needed(target) - 16 <= found.high
    asymptotes = [law.asymptote for law in curve.laws[1:]]
    low, high = np.percentile(asymptotes, [2.5, 97.5])
    assert low - 1e-6 <= truth[0] <= high + 1e-6


def test_a_planted_asymptote_below_the_target_is_told() -> None:
    curve = planted(0.6, 0.01, 2.0, seed=2)
    assert curve.need(0.8).verdict == OTHER_MEANS
    assert curve.need(0.5).verdict == REACHED
    assert curve.need().target == 0.6


def test_draws_that_never_differ_are_no_reason_to_be_sure() -> None:
    rows = planted(1.0, 0.0, 1.0, seed=5, sessions=40).size_rows()
    assert rows[-1]["accuracy"] == 1 and math.isnan(rows[-1]["accuracy_low"])


def test_one_size_has_no_law() -> None:
    curve = planted(0.9, 0.1, 1.0, seed=3, sessions=40)
    flat = Curve(**{**vars(curve), "counts": np.ones((4, 4))})
    assert flat.laws == [] and flat.need() is None


def test_gains_of_a_species_are_those_of_its_f1(tmp_path) -> None:
    from sklearn.metrics import f1_score, recall_score

    curve = planted(0.9, 0.2, 0.7, seed=4, sessions=40)
    rows = pd.DataFrame(curve.species_rows()).set_index(["species", "share"])
    for i, share in enumerate((0.125, 0.25, 0.5, 1.0)):
        said, true = curve.sizes[i].predicted, curve.sizes[i].targets
        f1 = f1_score(true, said, average=None)
        np.testing.assert_allclose(rows.xs(share, level="share")["f1"], f1)
        recall = recall_score(true, said, average=None)
        np.testing.assert_allclose(rows.xs(share, level="share")["recall"], recall)
    gain = rows.loc[("a", 1.0), "f1"] - rows.loc[("a", 0.5), "f1"]
    assert rows.loc[("a", 1.0), "gain"] == pytest.approx(gain)
    assert rows.loc[("a", 1.0), "gain_low"] <= gain <= rows.loc[("a", 1.0), "gain_high"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("curve") / "birds"
    make_demo(folder, species=3, recordings=12, jobs=1, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIRDNB_ARTIFACTS", str(folder.parent / "artifacts"))
        return extracted(folder)


def own_places(corpus: Path, folder: Path, monkeypatch) -> None:
    """Move artifacts and reports into a folder; the spectrograms of the corpus are there."""
    shutil.copytree(corpus.parent / "artifacts", folder / "artifacts")
    for name in ("artifacts", "reports"):
        monkeypatch.setenv(f"BIRDNB_{name.upper()}", str(folder / name))


def test_a_killed_curve_goes_on_and_ends_like_an_undisturbed_one(
    corpus, tmp_path, monkeypatch
) -> None:
    words = [str(corpus), "--learning-curve", "--folds", "2", "--runs", "classical_mfcc",
             "--seeds", "2"]  # fmt: skip
    own_places(corpus, tmp_path / "killed", monkeypatch)
    env = os.environ | {"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"}
    command = [sys.executable, "-m", "birdnb.comparison", *words]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    rows = tmp_path / "killed" / "reports" / "birds-laptop" / "how_many_recordings.csv"
    while not rows.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    runs = tmp_path / "killed" / "artifacts" / "runs"
    finished = {path: path.stat().st_mtime_ns for path in runs.rglob("metrics.json")}
    assert 1 <= len(finished) < 16
    assert main(words) == 0
    assert all(path.stat().st_mtime_ns == when for path, when in finished.items())
    own_places(corpus, tmp_path / "whole", monkeypatch)
    assert main(words) == 0
    ours, whole = rows.parent, tmp_path / "whole" / "reports" / "birds-laptop"
    tables = [pd.read_csv(folder / rows.name).drop(columns="seconds") for folder in (ours, whole)]
    pd.testing.assert_frame_equal(*tables)
    for name in ("how_many_recordings_by_size.csv", "how_many_recordings_by_species.csv"):
        assert (ours / name).read_bytes() == (whole / name).read_bytes()
    check_what_was_written(whole, tables[1])


def test_cheap_runs_come_first_and_every_kind_of_run_has_a_curve(
    corpus, tmp_path, monkeypatch
) -> None:
    own_places(corpus, tmp_path, monkeypatch)
    profile = replace(load_profile("laptop"), encoders=("ast",))
    quick = override(profile.runs["phase2_mfcc"], epochs=1)
    profile = replace(profile, runs={"phase2_mfcc": quick})
    assert cheap_runs(profile) == ["classical_mfcc", "frozen_ast", "phase2_mfcc"]
    asked = ["phase2_mfcc", "frozen_ast", "classical_mfcc"]
    curves = list(learning_curves(str(corpus), profile, asked, 2, progress=False))
    assert [curve.run for curve in curves] == cheap_runs(profile)
    data = open_study(corpus, profile, 7, (1, 2), False)
    usable = len(data.table)
    for curve in curves:
        assert curve.drawn_from == drawn_from(data.table, data.labels)
        ids = curve.sizes[0].recording_ids
        assert len(ids) == usable  # each is tested once
        assert all(size.recording_ids == ids for size in curve.sizes)
        np.testing.assert_array_equal(curve.counts, curves[0].counts)
        assert (np.diff(curve.counts, axis=0) >= 0).all()
    rows = pd.read_csv(tmp_path / "reports" / "birds-laptop" / "how_many_recordings.csv")
    assert rows.groupby("run", sort=False).size().to_dict() == dict.fromkeys(cheap_runs(profile), 8)
    page = write_curves(curves, "About.", tmp_path / "page", target=0.8)
    assert page.read_text().count("for 80 %") + page.read_text().count(": 80 %") >= 1


def check_what_was_written(folder: Path, rows: pd.DataFrame) -> None:
    """A row a training, what the page says, and the figures."""
    assert len(rows) == 16 and not rows.duplicated(["run", "seed", "fold", "share"]).any()
    assert sorted(rows["seed"].unique()) == [7, 8]
    for _, those in rows.groupby(["seed", "fold"]):
        assert those["recordings"].is_monotonic_increasing
        assert those["sessions_a_species"].iloc[0] >= 1
    page = (folder / "how_many_recordings.md").read_text()
    said = json.loads((folder / "how_many_recordings.json").read_text())
    assert said["classical_mfcc"]["sentence"] in page
    assert len(said["classical_mfcc"]["drawn_from"]["labels"]) == 3
    sizes = pd.read_csv(folder / "how_many_recordings_by_size.csv")
    tested = rows[rows["share"] == 1]  # each of the 36 recordings once a seed
    assert sizes["accuracy"].iloc[-1] == pytest.approx(tested["accuracy"].mean(), abs=0.02)
    assert "<img" in (folder / "how_many_recordings.html").read_text()
    for figure in ("how_many_recordings", "how_many_recordings_classical_mfcc"):
        assert (folder / "figures" / f"{figure}.png").stat().st_size > 3000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--learning-curve", "--variants", "ablation"], "takes no --variants"),
        (["--learning-curve", "--encoders", "gone.tflite"], "no model at 'gone.tflite'"),
        (["--learning-curve", "--runs", "phase9"], "has no run 'phase9'"),
        (["--learning-curve", "--scaling", "gone.safetensors"], "takes no --scaling"),
        (["--variants", "ablation", "--target", "80"], "give --learning-curve, too"),
    ],
)
def test_mistakes_are_told_before_anything_is_opened(options, message, capsys) -> None:
    assert main(["no/such/corpus", *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("target", ["0", "100", "many", "nan"])
def test_a_target_is_per_cent(target, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["demo", "--learning-curve", "--target", target])
    assert "give per cent" in capsys.readouterr().err
