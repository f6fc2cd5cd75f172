"""None of these: quiet and strangers of a real small corpus, and refusing while listening."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from small_corpora import extracted
from small_study import settings

from birdnb.config import SplitSettings, key_of, load_profile
from birdnb.data import open_study
from birdnb.evaluation.promises import Threshold
from birdnb.evaluation.refusal import LARGEST, Opinions, Refusal, alarms_per_hour
from birdnb.field.__main__ import main
from birdnb.field.listener import open_listener
from birdnb.field.outing import go_out
from birdnb.field.promise import Promises, read_promises
from birdnb.field.strangers import Wolves, alarm_table, listen_to_nothing, stranger_sides
from birdnb.field.thresholds import promises_of
from birdnb.files import BirdnbError
from birdnb.synthetic.demo import make_demo
from birdnb.training.runs import run_folder
from birdnb.training.train import train_run


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two species to learn, and four of two recordings each, too rare to train on."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("study")
        patch.setenv("BIRDNB_ARTIFACTS", str(folder / "artifacts"))
        birds = folder / "birds"
        make_demo(birds, species=2, recordings=14, progress=False, jobs=1)
        with open(birds / "manifest.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for number, row in enumerate(rows[:8]):
            row["species"] = f"stranger {number // 2}"
        with open(birds / "manifest.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
        data = open_study(extracted(birds), load_profile("laptop"), progress=False)
        train_run(data, "net", settings(epochs=6), progress=False)
        yield data


@pytest.fixture(autouse=True)
def _scratch(study, monkeypatch):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(study.cache.folder.parents[2]))
    monkeypatch.setenv("TQDM_DISABLE", "1")


def test_strangers_are_species_too_rare_to_train_on_each_on_one_side(study):
    sides = stranger_sides(study)
    species = study.corpus.manifest.set_index("recording_id")["species"]
    of = {side: set(species[names]) for side, names in sides.items()}
    assert of == {"validation": {"stranger 1", "stranger 3"}, "test": {"stranger 0", "stranger 2"}}
    assert not {*sides["validation"], *sides["test"]} & set(study.table["recording_id"])


def test_species_can_be_held_out_on_purpose(study):
    """Even where their recordings were enough to train on, and whatever becomes of rare ones."""
    split = replace(study.profile.split, min_recordings=1, min_groups=1, rare_species="train_only")
    strangers = ("stranger 0", "stranger 2")
    profile = replace(study.profile, split=replace(split, strangers=strangers))
    data = open_study(study.corpus.folder, profile, progress=False)
    assert data.labels == sorted({*study.labels, "stranger 1", "stranger 3"})
    report = data.species_report.set_index("species").loc[list(strangers)]
    assert set(report["decision"]) == {"drop"} and (report["recordings"] == 2).all()
    assert report["reason"].str.contains("held out on purpose").all()
    species = data.corpus.manifest.set_index("recording_id")["species"]
    of = {side: set(species[names]) for side, names in stranger_sides(data).items()}
    assert of == {"validation": {"stranger 2"}, "test": {"stranger 0"}}
    config = json.loads(json.dumps(data.origin()))["split"]
    assert SplitSettings(**config) == profile.split  # as a run's config.json gives it back
    unknown = replace(profile, split=replace(split, strangers=("Turdus merla",)))
    with pytest.raises(BirdnbError, match=r"split\.strangers: .* no species 'Turdus merla', only"):
        open_study(study.corpus.folder, unknown, progress=False)


def test_a_split_without_strangers_has_the_key_it_had():
    older = asdict(SplitSettings())
    del older["strangers"], older["shuffle_seed"]
    assert key_of(SplitSettings()) == key_of(older) == "c318c7e582e7"


def test_what_a_run_says_of_quiet_and_strangers_is_asked_by_side(study):
    wolves = listen_to_nothing([(study, open_listener("net"))])
    for side in ("train", "validation", "test"):
        quiet = study.cache.noise_bank(study.side(side))
        assert len(wolves.quiet[side].energy) == len(quiet)
    assert len(wolves.known["test"].energy) == len(study.clips("test"))
    strangers = stranger_sides(study)["test"]
    assert len(wolves.strangers["test"].energy) == len(study.cache.load_many(strangers)[0])


def test_refusing_is_chosen_on_validation_and_kept_beside_the_run(study):
    found = promises_of("net", 0.5)
    assert read_promises(run_folder(study, "net")) == found and found.refusal is not None
    table = pd.DataFrame(found.refusals)
    assert set(table["others"]) == {"quiet", "strangers"} and set(table["side"]) == {
        "validation", "test",
    }  # fmt: skip
    means = table[table["side"] == "validation"].groupby("score")["auroc"].mean()
    assert means[found.refusal.score] == pytest.approx(means.max())
    # the test side's strangers and quiet have no say
    blind = replace(study, table=study.table.assign(
        side=study.table["side"].mask(study.table["side"] == "test", "validation")))  # fmt: skip
    assert set(stranger_sides(blind)["test"]) == set(stranger_sides(study)["test"])


def test_false_alarms_counted_by_hand(study):
    """Four clips of 4 s; a threshold passes two of them, refusing takes one of these away."""
    p = np.array([[0.9, 0.1], [0.75, 0.25], [0.4, 0.6], [0.5, 0.5]], np.float32)
    clips, none = Opinions(p, np.zeros(4)), Opinions(p[:0], np.zeros(0))
    empty = {"validation": none, "test": none}
    wolves = Wolves(empty, {"validation": clips, "test": none}, empty, clip_seconds=4.0)
    promises = Promises(0.9, 1.0, {"A": Threshold(0.7), "B": Threshold(None)})
    table = alarm_table(promises, Refusal(LARGEST, 0.8), wolves)
    assert table["alarms"].tolist() == [2, 1] and table["refusing"].tolist() == [False, True]
    hours = 16 / 3600
    assert table.loc[0, ["per_hour", "low", "high"]].tolist() == list(alarms_per_hour(2, hours))


def test_windows_that_are_refused_are_no_detections(study, tmp_path):
    sound = study.corpus.root / study.recordings.loc[study.side("test")[0], "path"]
    folder = run_folder(study, "net")
    outing = go_out(folder, [sound], tmp_path, 0.5, jobs=1)
    raw = [one.probabilities for one in outing.windows(refusing=False)]
    kept = [one.probabilities for one in outing.windows()]
    assert (np.concatenate(raw).max(axis=1) > 0).all()
    refused = np.concatenate(kept).max(axis=1) == 0
    np.testing.assert_array_equal(np.concatenate(kept)[~refused], np.concatenate(raw)[~refused])
    strict = replace(outing.promises, refusal=Refusal(LARGEST, 2.0))
    assert all((one.probabilities == 0).all() for one in replace(outing, promises=strict).windows())


def test_the_page_says_what_refuses_and_how_often_the_run_cried_wolf(study, tmp_path):
    sound = study.corpus.root / study.recordings.loc[study.side("test")[0], "path"]
    folder = run_folder(study, "net")
    words = [str(folder), str(sound), "--out", str(tmp_path), "--precision", "0.5", "--jobs", "1"]
    assert main(words) == 0
    page = " ".join((tmp_path / "FIELD.html").read_text(encoding="utf-8").split())
    promises = read_promises(folder)
    assert f"as far as the {promises.refusal.score} tells, are refused" in page
    rows = [row for row in promises.alarms if row["refusing"]]
    for row in rows:
        assert f"{row['per_hour']:.0f} false alarms an hour of {row['others']} on the" in page
