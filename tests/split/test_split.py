"""The split: nothing leaks, every species has its share, folds partition the recordings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from birdnb.config import SplitSettings
from birdnb.corpora.table import COLUMNS
from birdnb.files import BirdnbError
from birdnb.split.sides import audit_split, check_species, groups, make_folds, make_split, sessions


def random_manifest(
    n: int, n_species: int, n_recordists: int, seed: int = 0, dated: float = 1.0, even: float = 1.0
) -> pd.DataFrame:
    """Recordings by busy and less busy recordists over a few days and places."""
    rng = np.random.default_rng(seed)
    busy = rng.dirichlet(np.full(n_recordists, even))
    table = pd.DataFrame(
        {
            "recording_id": [f"XC{1000 + i}" for i in range(n)],
            "path": [f"audio/XC{1000 + i}.mp3" for i in range(n)],
            "species": [f"species {i}" for i in rng.integers(n_species, size=n)],
            "recordist": [f"recordist {i}" for i in rng.choice(n_recordists, size=n, p=busy)],
            "date": np.where(
                rng.random(n) < dated, [f"2020-05-{i:02d}" for i in rng.integers(1, 9, n)], ""
            ),
            "locality": [f"place {i}" for i in rng.integers(3, size=n)],
        }
    )
    return table.reindex(columns=COLUMNS, fill_value="")


def assert_no_group_on_two_sides(manifest: pd.DataFrame, side: pd.Series, group_by: str) -> None:
    sides = manifest["recording_id"].map(side).groupby(groups(manifest, group_by)).nunique()
    assert sides.max() == 1


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(12, 80),
    n_species=st.integers(1, 8),
    n_recordists=st.integers(3, 30),
    seed=st.integers(0, 10_000),
    dated=st.sampled_from([0.0, 0.7, 1.0]),
    group_by=st.sampled_from(["session", "recordist"]),
)
def test_no_group_is_ever_on_two_sides(n, n_species, n_recordists, seed, dated, group_by):
    manifest = random_manifest(n, n_species, n_recordists, seed, dated)
    split = SplitSettings(group_by=group_by)
    if groups(manifest, group_by).nunique() < 3:
        with pytest.raises(BirdnbError, match="cannot be shared out"):
            make_split(manifest, split, seed)
        return
    side = make_split(manifest, split, seed)
    assert side.index.tolist() == manifest["recording_id"].tolist()
    assert set(side) == {"train", "validation", "test"}
    assert_no_group_on_two_sides(manifest, side, group_by)
    assert audit_split(manifest, side)["recordings"].sum() == n
    training = manifest["species"][manifest["recording_id"].map(side) == "train"]
    numbers = groups(manifest, group_by).groupby(manifest["species"]).nunique()
    assert set(numbers.index[numbers >= 3]) <= set(training), (
        "what can be split has training recordings"
    )


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), data=st.data())
def test_an_injected_leak_is_caught(seed, data):
    manifest = random_manifest(80, 4, 6, seed)
    side = make_split(manifest, SplitSettings(), seed)
    session = sessions(manifest)
    shared = session[session.duplicated(keep=False)]
    row = data.draw(st.sampled_from(shared.index.tolist()))
    recording = manifest["recording_id"][row]
    side[recording] = {"train": "test", "validation": "train", "test": "validation"}[
        side[recording]
    ]
    with pytest.raises(BirdnbError, match="leakage"):
        audit_split(manifest, side)


def test_the_audit_catches_what_is_no_split():
    manifest = random_manifest(40, 3, 12)
    side = make_split(manifest, SplitSettings(), 1)
    assert audit_split(manifest, side)["side"].tolist() == ["train", "validation", "test"]
    with pytest.raises(BirdnbError, match="same recordings"):
        audit_split(manifest, side.iloc[1:])
    with pytest.raises(BirdnbError, match="same recordings"):
        audit_split(manifest, pd.concat([side, side.iloc[:1]]))
    with pytest.raises(BirdnbError, match="unknown side 'exam'"):
        audit_split(manifest, side.replace("test", "exam"))
    train, test = side.index[side == "train"][0], side.index[side == "test"][0]
    rows = manifest.set_index("recording_id")
    rows.loc[train, "path"] = rows.loc[test, "path"]  # one file under two ids
    with pytest.raises(BirdnbError, match="leakage: the file"):
        audit_split(rows.reset_index()[manifest.columns], side)


def test_a_split_by_recording_leaks_sessions_and_says_so():
    manifest = random_manifest(120, 4, 5)
    side = make_split(manifest, SplitSettings(group_by="recording"), 3)
    with pytest.raises(BirdnbError, match="leakage: the session"):
        audit_split(manifest, side)
    counts = audit_split(manifest, side, group_by="recording")
    assert counts["sessions"].sum() > sessions(manifest).nunique()


def test_audit_counts():
    manifest = random_manifest(60, 4, 10, seed=5)
    side = make_split(manifest, SplitSettings(), 5)
    counts = audit_split(manifest, side).set_index("side")
    rows = manifest[manifest["recording_id"].map(side) == "test"]
    expected = [
        len(rows),
        sessions(manifest)[rows.index].nunique(),
        rows["recordist"].nunique(),
        rows["species"].nunique(),
    ]
    assert (
        counts.loc["test", ["recordings", "sessions", "recordists", "species"]].tolist() == expected
    )


@pytest.mark.parametrize(
    ("n", "n_species", "n_recordists", "group_by"),
    [
        (145, 6, 35, "recordist"),
        (30, 3, 12, "recordist"),
        (30, 3, 30, "session"),
        (360, 12, 24, "session"),
    ],
)
def test_shares_and_species_of_small_corpora(n, n_species, n_recordists, group_by):
    for seed in range(3):
        manifest = random_manifest(n, n_species, n_recordists, seed, even=5.0)
        split = SplitSettings(group_by=group_by)
        manifest, _ = check_species(manifest, split)
        side = make_split(manifest, split, seed)
        counts = audit_split(manifest, side, group_by).set_index("side")
        assert (counts["species"] == manifest["species"].nunique()).all(), counts
        share = counts["recordings"] / len(manifest)
        # a dozen recordists of 30 recordings, and every species everywhere
        slack = 0.15 if n == 30 else 0.07
        assert share["train"] == pytest.approx(0.7, abs=slack)
        assert share["test"] == pytest.approx(0.15, abs=slack)
        assert share["validation"] == pytest.approx(0.15, abs=slack)


def test_species_keep_their_proportions_where_groups_are_fine():
    manifest = random_manifest(900, 5, 60, seed=2)
    side = make_split(manifest, SplitSettings(), 2)
    shares = pd.crosstab(manifest["species"], manifest["recording_id"].map(side), normalize="index")
    assert (shares["test"] - 0.15).abs().max() < 0.03
    assert (shares["validation"] - 0.15).abs().max() < 0.03


def test_other_shares():
    manifest = random_manifest(600, 4, 60)
    side = make_split(manifest, SplitSettings(validation_share=0.1, test_share=0.4), 0)
    assert side.value_counts(normalize=True).to_dict() == pytest.approx(
        {"train": 0.5, "test": 0.4, "validation": 0.1}, abs=0.03
    )
    with pytest.raises(BirdnbError, match="together below 1"):
        make_split(manifest, SplitSettings(validation_share=0.6, test_share=0.4), 0)


def test_same_seed_same_split_in_any_order():
    manifest = random_manifest(100, 5, 20)
    side = make_split(manifest, SplitSettings(), 11)
    shuffled = manifest.sample(frac=1, random_state=1).reset_index(drop=True)
    pd.testing.assert_series_equal(
        make_split(shuffled, SplitSettings(), 11).sort_index(), side.sort_index()
    )
    assert not side.equals(make_split(manifest, SplitSettings(), 12))


@pytest.mark.parametrize("k", [2, 4, 5])
def test_folds_partition_the_recordings(k):
    manifest = random_manifest(145, 6, 35, seed=1)
    split = SplitSettings(group_by="recordist", min_groups=k, min_recordings=k)
    manifest, _ = check_species(manifest, split)
    folds = make_folds(manifest, split, 7, k)
    assert len(folds) == k
    tested = pd.concat([side[side == "test"] for side in folds]).index
    assert sorted(tested) == sorted(manifest["recording_id"])
    for side in folds:
        counts = audit_split(manifest, side, "recordist").set_index("side")
        assert_no_group_on_two_sides(manifest, side, "recordist")
        assert counts.loc["test", "species"] == manifest["species"].nunique()
        assert counts.loc["train", "species"] == manifest["species"].nunique()
        assert counts.loc["test", "recordings"] == pytest.approx(
            len(manifest) / k, abs=0.1 * len(manifest)
        )
        assert counts.loc["validation", "recordings"] == pytest.approx(
            0.15 * len(manifest), abs=0.08 * len(manifest)
        )
    again = make_folds(manifest, split, 7, k)
    assert all(a.equals(b) for a, b in zip(folds, again, strict=True))


def test_too_many_folds():
    manifest = random_manifest(60, 3, 10)
    with pytest.raises(
        BirdnbError, match=r"50 folds are too many: species \d has recordings of \d+ sessions only"
    ):
        make_folds(manifest, SplitSettings(), 0, 50)
    with pytest.raises(BirdnbError, match="needs 2 at least"):
        make_folds(manifest, SplitSettings(), 0, 1)
    with pytest.raises(BirdnbError, match="leave nothing to train on"):
        make_folds(manifest, SplitSettings(validation_share=0.5), 0, 2)


def with_rare_species(manifest: pd.DataFrame) -> pd.DataFrame:
    """Two recordings of ``rare``; four of ``lonely`` by one recordist on one day."""
    extra = random_manifest(6, 1, 1, seed=9).assign(
        recording_id=[f"X{i}" for i in range(6)],
        path=[f"x{i}.wav" for i in range(6)],
        species=["rare", "rare", "lonely", "lonely", "lonely", "lonely"],
        recordist=["recordist 0", "new", "hermit", "hermit", "hermit", "hermit"],
        date="2020-05-01",
        locality="place 0",
    )
    return pd.concat([manifest, extra], ignore_index=True)


def test_rare_species_are_named_and_dropped():
    manifest = with_rare_species(random_manifest(80, 3, 10))
    kept, report = check_species(manifest, SplitSettings())
    report = report.set_index("species")
    assert report.loc["rare", ["recordings", "groups", "decision"]].tolist() == [2, 2, "drop"]
    assert report.loc["rare", "reason"] == "2 recordings, the split needs 3"
    assert report.loc["lonely", ["recordings", "groups", "decision"]].tolist() == [4, 1, "drop"]
    assert report.loc["lonely", "reason"] == "recordings of 1 sessions only, the split needs 3"
    assert report.loc["species 0", ["decision", "reason"]].tolist() == ["keep", ""]
    assert len(kept) == 80
    assert kept.index.tolist() == list(range(80))


def test_rare_species_are_kept_in_training():
    split = SplitSettings(rare_species="train_only")
    manifest = with_rare_species(random_manifest(120, 3, 10))
    kept, report = check_species(manifest, split)
    assert len(kept) == len(manifest)
    assert (
        report.set_index("species").loc[["rare", "lonely"], "decision"].tolist()
        == ["train_only"] * 2
    )
    side = make_split(kept, split, 4)
    audit_split(kept, side)
    rare = kept["recording_id"][kept["species"].isin(["rare", "lonely"])]
    assert set(side[rare]) == {"train"}
    for fold in make_folds(kept, split, 4, 3):
        audit_split(kept, fold)
        assert set(fold[rare]) == {"train"}


def test_nothing_to_tell_apart():
    with pytest.raises(BirdnbError, match="fewer than two species"):
        check_species(random_manifest(30, 1, 10), SplitSettings())
    with pytest.raises(BirdnbError, match="species 0: 2 recordings, the split needs 3"):
        check_species(random_manifest(4, 3, 10), SplitSettings())
