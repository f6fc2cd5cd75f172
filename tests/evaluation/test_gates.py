"""Decisions at, just under and just over every threshold of the study.

Also missing runs, and intervals across a threshold.
"""

import json

import pytest

from birdnb.evaluation.gates import NOT_MEASURED, final_run, gates, in_unit, reported

BASE, FULL, B2, ENSEMBLE = (
    "phase3_ast_baseline",
    "phase3_ast_full",
    "phase3_efficientnet_full",
    "phase3_ensemble",
)


def run(accuracy=0.5, f1=0.3, mean_ap=0.3, val=0.5, train=0.6, **more):
    test = {"accuracy": accuracy, "f1_macro": f1, "map_macro": mean_ap} | more.pop("test", {})
    return {
        "test": test,
        "val": {"accuracy": val},
        "train": {"accuracy": train},
        "epochs": 10,
    } | more


@pytest.mark.parametrize(
    "gate, name, accuracy, decision",
    [
        ("gate_2", BASE, 0.5501, "GO"),
        ("gate_2", BASE, 0.55, "PROCEED WITH CAUTION"),
        ("gate_2", BASE, 11 / 20, "PROCEED WITH CAUTION"),
        ("gate_2", BASE, 0.50, "PROCEED WITH CAUTION"),
        ("gate_2", BASE, 0.4999, "STOP"),
        ("gate_3", FULL, 0.6501, "SUCCESS"),
        ("gate_3", FULL, 0.65, "ITERATE"),
        ("gate_3", FULL, 0.60, "ITERATE"),
        ("gate_3", FULL, 0.5999, "INVESTIGATE"),
        ("final", ENSEMBLE, 0.6501, "GO ON"),
        ("final", ENSEMBLE, 0.65, "ITERATE"),
        ("accuracy_level", ENSEMBLE, 0.75, "STRETCH"),
        ("accuracy_level", ENSEMBLE, 0.7499, "TARGET"),
        ("accuracy_level", ENSEMBLE, 0.65, "TARGET"),
        ("accuracy_level", ENSEMBLE, 0.55, "MVP"),
        ("accuracy_level", ENSEMBLE, 0.5499, "BELOW MVP"),
    ],
)
def test_accuracy_gates(gate, name, accuracy, decision):
    row = gates({name: run(accuracy)})[gate]
    assert (row["decision"], row["value"], row["run"]) == (decision, accuracy, name)


@pytest.mark.parametrize(
    "score, level, publication",
    [(0.60, "STRETCH", "MET"), (0.50, "TARGET", "MET"), (0.45, "MVP", "NOT MET")],
)
def test_map_gates(score, level, publication):
    got = gates({ENSEMBLE: run(mean_ap=score)})
    assert (got["map_level"]["decision"], got["map_publication"]["decision"]) == (
        level,
        publication,
    )


@pytest.mark.parametrize(
    "f1, level", [(0.55, "STRETCH"), (0.45, "TARGET"), (0.35, "MVP"), (0.349, "BELOW MVP")]
)
def test_f1_levels(f1, level):
    assert gates({ENSEMBLE: run(f1=f1)})["f1_level"]["decision"] == level


@pytest.mark.parametrize(
    "epochs, level", [(11, "STRETCH"), (12, "TARGET"), (15, "MVP"), (19, "MVP"), (20, "BELOW MVP")]
)
def test_epochs_levels(epochs, level):
    assert gates({FULL: run(epochs=epochs)})["epochs_level"]["decision"] == level


@pytest.mark.parametrize(
    "accuracy, f1, level",
    [
        (0.71, 0.51, "OUTSTANDING"),
        (0.70, 0.51, "TARGET"),
        (0.99, 0.50, "TARGET"),  # the lower of the two counts
        (0.66, 0.41, "MINIMAL"),
        (0.65, 0.46, "MINIMAL"),
        (0.60, 0.99, "BELOW MINIMAL"),
        (0.61, 0.40, "BELOW MINIMAL"),
    ],
)
def test_levels_of_success_need_accuracy_and_f1(accuracy, f1, level):
    assert gates({ENSEMBLE: run(accuracy, f1)})["success_level"]["decision"] == level


@pytest.mark.parametrize(
    "train, val", [(0.65, 0.5), (0.75, 0.6), (0.9, 0.75), (0.4, 0.25), (1.0, 0.85)]
)
def test_a_gap_of_exactly_fifteen_points_is_not_met_whatever_the_rounding(train, val):
    assert gates({FULL: run(train=train, val=val)})["train_validation_gap"]["decision"] == "NOT MET"
    assert (
        gates({FULL: run(train=train - 0.001, val=val)})["train_validation_gap"]["decision"]
        == "MET"
    )


def test_convergence_of_the_baseline():
    for epochs, decision in ((1, "MET"), (15, "MET"), (16, "NOT MET"), (None, "NOT MET")):
        row = gates({BASE: run(epochs_to_40=epochs)})["baseline_convergence"]
        assert (row["value"], row["decision"]) == (epochs, decision)
    assert gates({BASE: run()})["baseline_convergence"]["decision"] == NOT_MEASURED


@pytest.mark.parametrize(
    "gain, decision",
    [
        (0.0501, "ABOVE EXPECTATION"),
        (0.75 - 0.70, "AS EXPECTED"),
        (0.02, "AS EXPECTED"),
        (0.0199, "BELOW EXPECTATION"),
        (-0.1, "BELOW EXPECTATION"),
    ],
)
def test_ensemble_gain(gain, decision):
    row = gates({ENSEMBLE: run(gain={"difference": gain, "ci95": [gain - 1, gain + 1]})})[
        "ensemble_gain"
    ]
    assert row["decision"] == decision and row["certain"] is False


def test_certain_only_when_the_whole_interval_decides_alike():
    def certain(low, high):
        return gates({BASE: run(0.57, test={"accuracy_ci95": [low, high]})})["gate_2"]["certain"]

    assert certain(0.551, 0.6) is True
    assert certain(0.55, 0.6) is False
    assert certain(0.3, 0.8) is False
    assert gates({BASE: run(0.57)})["gate_2"]["certain"] is None
    for gain, sure in (([0.06, 0.09], True), ([0.0, 0.0], False)):
        for p in (0.01, 0.2):
            step = {"difference": gain[0], "ci95": gain, "p": p}
            assert gates({ENSEMBLE: run(gain=step)})["ensemble_gain"]["certain"] is (
                sure and p < 0.05
            )
    for sessions in (9, 10):
        few = {BASE: run(0.57, test={"accuracy_ci95": [0.56, 0.6], "sessions": sessions})}
        assert gates(few)["gate_2"]["certain"] is (sessions == 10)
    both = {"accuracy_ci95": [0.71, 0.9], "f1_macro_ci95": [0.47, 0.8]}
    assert gates({ENSEMBLE: run(0.8, 0.6, test=both)})["success_level"]["certain"] is False
    assert (
        gates({ENSEMBLE: run(0.8, 0.6, test=both | {"f1_macro_ci95": [0.51, 0.8]})})[
            "success_level"
        ]["certain"]
        is True
    )


def test_without_runs_nothing_is_measured():
    got = gates({})
    assert {row["decision"] for row in got.values()} == {NOT_MEASURED}
    assert all(row["value"] is None and row["target"] is not None for row in got.values())
    assert list(got)[-1] == "final"
    json.dumps(got, allow_nan=False)


def test_the_final_model_is_chosen_on_validation():
    runs = {BASE: run(0.9, val=0.5), FULL: run(0.6, val=0.7)}
    assert final_run(runs) == FULL and gates(runs)["final"]["value"] == 0.6
    assert final_run(runs | {ENSEMBLE: run(0.1)}) == ENSEMBLE
    assert final_run({}) is None


def test_rules_in_words():
    got = gates({})
    assert got["gate_2"]["rule"] == "GO > 55 %, PROCEED WITH CAUTION ≥ 50 %, else STOP"
    assert got["success_level"]["rule"].startswith(
        "OUTSTANDING > 70 % and F1 > 0.50, TARGET > 65 % and F1 > 0.45, MINIMAL > 60 %"
    )
    assert [
        in_unit(*v)
        for v in (
            (0.575, "share"),
            (-0.021, "points"),
            (0.4, "score"),
            (12, "epochs"),
            (1, "epochs"),
        )
    ] == ["57.5 %", "-2.1 points", "0.40", "12 epochs", "1 epoch"]


def test_reported_figures_are_labelled_and_fall_where_their_authors_say():
    table = reported()
    assert table["label"] == "reported, not reproduced here"
    accuracy = {row["run"].split(":")[0]: row["accuracy"] for row in table["runs"]}
    assert accuracy == {"Phase 2B": 0.4272, "Phase 3 baseline": 0.5451, "Phase 3 full": 0.5728}
    assert (
        gates({BASE: run(accuracy["Phase 3 baseline"])})["gate_2"]["decision"]
        == "PROCEED WITH CAUTION"
    )
    assert gates({FULL: run(accuracy["Phase 3 full"])})["gate_3"]["decision"] == "INVESTIGATE"
