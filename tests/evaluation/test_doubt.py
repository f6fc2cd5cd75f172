"""Doubtful labels: planted ones are found; the formulas against values worked by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_corpora import extracted

from birdnb.config import load_profile
from birdnb.corpora import open_corpus
from birdnb.corpora.background import background_matrix
from birdnb.data import open_study
from birdnb.evaluation.background import background_scores
from birdnb.evaluation.doubt import doubtful_labels, frozen_features, held_out
from birdnb.evaluation.predictions import Predictions
from birdnb.report.recordings import NOBODY, doubts_of, doubts_table
from birdnb.synthetic.demo import make_demo
from birdnb.training.runs import RunResult


def said(ids, targets, probabilities):
    return Predictions(list(ids), np.array(probabilities, np.float32), np.array(targets))


def test_the_scores_worked_by_hand():
    part = said("abc", [0, 0, 1], [[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.3, 0.4, 0.3]])
    table = doubtful_labels([part], ["x", "y", "z"]).set_index("recording_id")
    assert table.index.tolist() == ["b", "c", "a"]
    assert table["doubt"].tolist() == [1.0, 0.5, 0.0]
    assert table["self_confidence"].to_numpy() == pytest.approx([0.2, 0.4, 0.9])
    assert table["margin"].to_numpy() == pytest.approx([-0.5, 0.1, 0.8])
    assert table["suggestion"].tolist() == ["y", "y", "x"]
    assert table["species"].tolist() == ["x", "y", "x"]


def test_models_are_averaged_the_better_ones_weighing_more():
    good = said("ab", [0, 1], [[0.8, 0.2], [0.4, 0.6]])  # right about both
    poor = said("abc", [0, 1, 0], [[0.1, 0.9], [0.3, 0.7], [0.4, 0.6]])  # right about one of three
    table = doubtful_labels([good, poor], ["x", "y"]).set_index("recording_id")
    assert table["models"].to_dict() == {"a": 2, "b": 2, "c": 1}
    assert table.at["a", "self_confidence"] == pytest.approx((0.8 + 0.1 / 3) / (4 / 3))
    assert table.at["b", "margin"] == pytest.approx((0.2 + 0.4 / 3) / (4 / 3))
    # ranks: good says b, a; poor says a, c, b
    assert table.at["a", "doubt"] == pytest.approx((0 + 1 / 3) / (4 / 3))
    assert table.at["b", "doubt"] == pytest.approx((1 + 0) / (4 / 3))
    assert table.at["c", "doubt"] == pytest.approx(0.5)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A small demo corpus, opened: 4 species of 15 recordings."""
    root = tmp_path_factory.mktemp("demo") / "birds"
    make_demo(root, species=4, recordings=15, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIRDNB_ARTIFACTS", str(tmp_path_factory.mktemp("artifacts")))
        yield open_study(extracted(root), load_profile("laptop"), progress=False)


def plant(data, rng):
    """Give 5 % of the recordings a wrong label; return the study and which they are."""
    bad = rng.choice(len(data.table), round(0.05 * len(data.table)), replace=False)
    species = data.table["species"].to_numpy().copy()
    for row in bad:
        species[row] = rng.choice([name for name in data.labels if name != species[row]])
    planted = set(data.table["recording_id"].iloc[bad])
    return replace(data, table=data.table.assign(species=species)), planted


def test_planted_wrong_labels_are_found(demo):
    features = frozen_features(demo, demo.table["recording_id"].tolist())
    found = []
    for seed in range(10):
        wrong, planted = plant(demo, np.random.default_rng(seed))
        table = doubtful_labels([held_out(wrong, features)], wrong.labels)
        first = set(table["recording_id"][: round(0.1 * len(table))])
        found.append(len(planted & first) / len(planted))
    assert np.mean(found) >= 0.8


def test_what_is_held_out_is_of_no_session_learned_from(demo):
    """Labels that say nothing but the session are named rightly by chance only.

    They can only be learned from the session.
    """
    codes = pd.factorize(demo.table["session"])[0]
    odd = replace(demo, table=demo.table.assign(species=[demo.labels[c % 4] for c in codes]))
    part = held_out(odd)
    assert part.recording_ids == odd.table["recording_id"].tolist()
    assert (part.predicted == part.targets).mean() < 0.5
    again = held_out(odd)
    np.testing.assert_array_equal(part.probabilities, again.probabilities)


def test_three_recordings_of_each_species_are_enough(demo):
    """What the smallest corpus has that a study takes: fewer than there are folds."""
    few = demo.table[demo.table["species"].isin(demo.labels[:3])]
    few = few.drop_duplicates(["species", "session"]).groupby("species").head(3)
    small = replace(demo, table=few, labels=demo.labels[:3])
    part = held_out(small)
    assert len(part) == 9 and part.recording_ids == few["recording_id"].tolist()
    np.testing.assert_allclose(part.probabilities.sum(axis=1), 1, atol=1e-6)


def test_a_species_of_one_session_is_doubted_by_nobody(demo):
    """Who never heard it in another session cannot say that a recording of it is something else."""
    rare = demo.labels[0]
    sessions = demo.table["session"].mask(demo.table["species"] == rare, "once")
    odd = replace(demo, table=demo.table.assign(session=sessions))
    part = held_out(odd)
    others = demo.table.loc[demo.table["species"] != rare, "recording_id"]
    assert part.recording_ids == others.tolist() and 0 not in part.targets
    assert rare not in set(doubtful_labels([part], demo.labels)["species"])


@pytest.mark.parametrize("kind", ["one session", "a session a species", "a recording a species"])
def test_where_nobody_can_judge_no_label_is_doubted(demo, kind):
    table = demo.table[demo.table["species"].isin(demo.labels[:2])]
    if kind == "a recording a species":
        table = table.drop_duplicates("species")
    else:
        table = table.assign(session=table["species"] if kind != "one session" else "once")
    part = held_out(replace(demo, table=table, labels=demo.labels[:2]))
    found = doubtful_labels([part], demo.labels[:2])
    assert len(part) == 0 and found.empty and "suggestion" in found
    assert doubts_table(found) == NOBODY


def test_an_encoders_own_answer_doubts_no_label_that_it_does_not_know(demo):
    def run(name, unknown=()):
        sides = {}
        for key, side in (("val", "validation"), ("test", "test")):
            ids = demo.side(side)
            p = np.full((len(ids), 4), 0.1)
            p[np.arange(len(ids)), demo.targets(ids)] = 0.7
            p[:, list(unknown)] = 0
            sides[key] = said(ids, demo.targets(ids), p / p.sum(axis=1, keepdims=True))
        return [RunResult(name, Path(), {}, demo.labels, pd.DataFrame(), {}, **sides)]

    runs = {"frozen_birdnet": run("frozen_birdnet")}
    without = doubts_of([demo], runs)
    assert without["models"].max() == 2  # the cheap one, and the regression on embeddings
    own = {"own_answer_birdnet": run("own_answer_birdnet", unknown=[3])}
    pd.testing.assert_frame_equal(doubts_of([demo], runs | own), without)


def test_the_background_by_any_name():
    table = pd.DataFrame({
        "species": ["Turdus merula", "Parus major", "Parus major", "Pica pica", "Pica pica"],
        "common_name": ["Common Blackbird", "Great Tit", "Great Tit", "", ""],
        "background_species": [
            "Parus major; Corvus corax", "turdus_merula|Parus major", "", "great tit, Strix aluco",
            "Turdus merula (Linnaeus, 1758)",
        ],
    })  # fmt: skip
    labels = ["Parus major", "Pica pica", "Turdus merula"]
    assert background_matrix(table, labels).astype(int).tolist() == [
        [1, 0, 0], [0, 0, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1],
    ]  # fmt: skip


def test_the_demo_has_birds_in_the_background(demo):
    manifest = open_corpus(demo.corpus.root, progress=False).manifest
    named = manifest["background_species"].str.count(";") + (manifest["background_species"] != "")
    assert background_matrix(manifest, demo.labels).sum() == named.sum() > 0


def test_mistakes_that_name_a_bird_in_the_background_worked_by_hand():
    part = said("abcd", [0, 0, 1, 2], [[0, 1, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]])
    behind = np.zeros((4, 3), bool)
    assert background_scores(part, behind) is None
    behind[0, 1] = behind[1, 1] = behind[2, 0] = True
    assert background_scores(part, behind) == {
        "recordings": 3, "mistakes": 3, "named": 1, "share": pytest.approx(1 / 3),
        "by_chance": pytest.approx((1 / 2 + 1 / 2 + 0) / 3), "accuracy": 0.25, "lenient": 0.5,
    }  # fmt: skip


def test_shares_of_a_label(demo):
    ids = demo.table["recording_id"].tolist()
    shares = demo.shares(ids, 0.3).numpy()
    behind = background_matrix(demo.table, demo.labels)
    assert shares.sum(axis=1) == pytest.approx(np.ones(len(ids)))
    own = shares[np.arange(len(ids)), demo.targets(ids)]
    assert own == pytest.approx(np.where(behind.any(axis=1), 0.7, 1.0))
    assert ((shares > 0).sum(axis=1) == 1 + behind.sum(axis=1)).all()
