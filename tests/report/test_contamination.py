"""What a report says of recordings that pretrained weights may have heard, against hand counts."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from test_report import SPECIES, made_up_study

from birdnb.cards import card_named
from birdnb.report.collect import collect
from birdnb.report.numbers import study_metrics
from birdnb.report.write import write_report

BASELINE, FULL = "phase3_ast_baseline", "phase3_ast_full"
EFFICIENTNET, ENSEMBLE = "phase3_efficientnet_full", "phase3_ensemble"


@pytest.fixture(scope="module", params=[0, 3], ids=["one split", "three folds"])
def study(request):
    """AST from the shipped weights, then from AudioSet's; BirdNET's in EfficientNet's place.

    Every other recording is of 2016, the others are of 2024; every fifth one has no date.
    """
    datasets, runs = made_up_study(request.param, synthetic=False)
    for data in datasets:
        number = np.arange(len(data.table))
        date = np.select([number % 5 == 0, number % 2 == 0], ["", "2016-05-03"], "2024-05-03")
        data.table = data.table.assign(date=date)
        data.table["recording_id"] = data.table["recording_id"].str.replace("XC", "robin ")
    for results in runs.values():
        for result in results:
            for side in ("val", "test", "equal_val", "equal_test"):
                if part := getattr(result, side, None):
                    part.recording_ids[:] = [i.replace("XC", "robin ") for i in part.recording_ids]
    for name, pretrained in ((BASELINE, "synthetic"), (FULL, True)):
        for result in runs[name]:
            result.metrics["pretrained"] = pretrained
            result.config["settings"]["model"]["name"] = "ast"
    for result in runs[EFFICIENTNET]:
        result.config["card"] = asdict(card_named("birdnet"))
    return datasets, runs


def test_accuracy_apart_is_that_of_the_recordings_counted_by_hand(study):
    datasets, runs = study
    metrics = study_metrics(collect(datasets, runs))
    table = datasets[0].table.set_index("recording_id")
    for name in (EFFICIENTNET, FULL):
        right, dates = [], []
        for result in runs[name]:
            right += (result.test.predicted == result.test.targets).tolist()
            dates += table.loc[result.test.recording_ids, "date"].tolist()
        right, dates = np.array(right), np.array(dates)
        kinds = (
            {"may": "2016-05-03", "cannot": "2024-05-03", "unknown": ""}
            if name == EFFICIENTNET
            else {"cannot": "2024-05-03", "unknown": ""}
        )
        found = metrics["runs"][name]["heard"]["test"]
        assert set(found) == set(kinds)
        for kind, day in kinds.items():
            mask = dates == day
            if name == FULL:  # of 2016: AudioSet came out in 2017
                mask = dates == day if kind == "cannot" else dates != "2024-05-03"
            assert found[kind]["recordings"] == mask.sum() > 0
            assert found[kind]["accuracy"] == pytest.approx(right[mask].mean())
            low, high = found[kind]["accuracy_ci95"]
            assert low <= found[kind]["accuracy"] <= high
    assert set(metrics["runs"][BASELINE]["heard"]["test"]) == {"cannot"}
    assert "heard" not in metrics["runs"]["classical_mfcc"]
    weights = metrics["runs"][ENSEMBLE]["heard"]["weights"]
    assert weights == ["AST trained on AudioSet", "BirdNET 2.4"]


def test_the_page_says_so(study, tmp_path):
    text = (write_report(collect(*study), {}, tmp_path) / "PHASE3_RESULTS.md").read_text()
    assert "AST baseline began with birdnb's own weights (invented song only)" in text
    row = next(line for line in text.splitlines() if line.startswith("| AST + augmentation | AST"))
    assert row.split("|")[3].strip() == "–" and row.count("of ") == 2
    assert "Xeno-Canto up to XC694204" in text and "never with the species" in text
    assert "though what it began with may have heard some" in text  # the ensemble, on page one
    assert "cannot tell.**" not in text  # for each of them there are recordings that are new to it


def test_where_all_may_have_been_heard_nothing_is_claimed(study, tmp_path):
    datasets, runs = made_up_study(synthetic=False)
    datasets[0].table["date"] = ""  # what is left are the numbers
    datasets[0].table["url"] = "https://xeno-canto.org/1"
    runs[EFFICIENTNET][0].config["card"] = asdict(card_named("birdnet"))
    text = (write_report(collect(datasets, runs), {}, tmp_path) / "PHASE3_RESULTS.md").read_text()
    assert "on recordings never heard, these test recordings cannot tell.**" in text


def test_without_pretrained_weights_and_on_invented_songs_nothing_changes(tmp_path):
    for synthetic in (True, False):
        datasets, runs = made_up_study(synthetic=synthetic, species=tuple(SPECIES[:3]))
        if synthetic:
            runs[BASELINE][0].metrics["pretrained"] = "synthetic"
        metrics = study_metrics(collect(datasets, runs))
        assert not any("heard" in run for run in metrics["runs"].values())
        text = (
            write_report(collect(datasets, runs), {}, tmp_path) / "PHASE3_RESULTS.md"
        ).read_text()
        assert "test recordings it has never heard" in text
        assert "heard before" not in text and "may have heard" not in text
