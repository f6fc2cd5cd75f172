"""What the notebooks say: sentences from results, one for each way that they can come out."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest

from birdnb.evaluation.gates import gates
from birdnb.report.words import template

BETTER, UNSETTLED = {"ci95": [0.01, 0.1], "p": 0.01}, {"ci95": [-0.1, 0.1], "p": 0.6}
SAME = {"ci95": [0, 0], "p": 1.0}


def told(name, **results):
    return " ".join(getattr(template("chapters.md.j2").module, name)(**results).split())


def test_the_demo_is_called_invented_and_a_corpus_of_ones_own_by_its_name():
    demo, own = (SimpleNamespace(synthetic=s, name="my_birds") for s in (True, False))
    assert told("corpus", birds=demo).startswith("The demo corpus is invented: its birds do not")
    assert "the corpus `my_birds`: what is said below" in told("corpus", birds=own)


def test_rhythms_are_listed_and_none_is_said():
    songs = [SimpleNamespace(species="A *b*", lag=0.25), SimpleNamespace(species="C", lag=0.1)]
    beats = "note: A \\*b\\* 0.25 s (4.0 notes a second); C 0.10 s (10.0 notes a second). A flat"
    assert beats in told("rhythm", songs=songs)
    assert told("rhythm", songs=[]) == "None of these songs has a beat that comes back."


@pytest.mark.parametrize(
    ("counts", "meaning"),
    [
        ((5, 2, 1, 0), "Each knows birds that the other misses"),
        ((5, 2, 0, 1), "*A* knows all that the other one knows, and more."),
        ((5, 0, 3, 1), "*B* knows all that the other one knows, and more."),
        ((5, 0, 0, 4), "They are right and wrong about the very same recordings"),
    ],
)
def test_a_second_opinion_is_worth_something_where_one_knows_more(counts, meaning):
    said = told("second_opinion", counts=pd.Series(counts), titles=["A", "B"])
    assert f"Of {sum(counts)} test recordings both are right about 5" in said and meaning in said


def test_weights_name_who_decides_and_who_has_no_say():
    ast, net = "phase3_ast_full", "phase3_efficientnet_full"
    assert told("weights", weights={ast: 0.55, net: 0.45}) == (
        "The weights found on validation are *AST + augmentation* 0.55, "
        "*EfficientNet-B2 + augmentation* 0.45."
    )
    alone = told("weights", weights={ast: 1.0, net: 0.0})
    assert "So here the ensemble is *AST + augmentation* alone." in alone
    assert "No say in it has *EfficientNet-B2 + augmentation*: on validation it added" in alone
    assert "is almost *AST + augmentation* alone" in told("weights", weights={ast: 0.95, net: 0.05})


def test_the_transformer_beats_both_or_does_not():
    scores = {"phase3_ast_baseline": 0.9, "classical_mfcc": 0.5, "phase2_mfcc": 0.75}
    metrics = {"runs": {run: {"test": {"accuracy": value}} for run, value in scores.items()}}
    step = BETTER | {"difference": 0.4}
    both = told(
        "transformer", metrics=metrics, against={"classical_mfcc": step, "phase2_mfcc": step}
    )
    assert both.startswith(
        "The transformer names **90.0 %** of the test recordings rightly; against"
    )
    assert "(50.0 %) that is **+40.0 points (+1.0 to +10.0)**, better; against" in both
    assert "better. It beats both, so" in both
    unsure = {"classical_mfcc": step, "phase2_mfcc": UNSETTLED | {"difference": 0.1}}
    said = told("transformer", metrics=metrics, against=unsure)
    assert "not settled. So it does not clearly beat both" in said


@pytest.mark.parametrize(
    ("step", "answer"),
    [(BETTER, "altered songs pays."), (UNSETTLED, "too few to tell"), (SAME, "changes nothing")],
)
def test_augmentation_is_judged(step, answer):
    step = step | {"difference": 0.02, "only_first_right": 3, "only_second_right": 1}
    said = told("altered_songs", step=step)
    assert "accuracy changed by **+2.0 points" in said and answer in said
    assert "became right: 3; that became wrong: 1." in said


@pytest.mark.parametrize(
    ("gain", "answer"),
    [(BETTER, "use the ensemble."), ({"ci95": [-0.2, -0.1], "p": 0.01}, "Use the single model"),
     (UNSETTLED, "Nothing here proves")],
)  # fmt: skip
def test_the_ensembles_gain_says_what_to_use(gain, answer):
    gain = gain | {"difference": 0.02, "over": "phase3_ast_full"}
    said = told("gain", gain=gain, gate={"decision": "AS EXPECTED", "rule": "the rule"})
    assert (
        "(*AST + augmentation*)" in said and "**AS EXPECTED** (the rule)" in said and answer in said
    )


def test_steps_are_grouped_by_how_they_came_out():
    steps = [
        BETTER | {"what": "First", "difference": 0.1},
        SAME | {"what": "Second", "difference": 0.0},
        BETTER | {"what": "Third", "difference": 0.2},
    ]
    assert told("steps", steps=steps) == (
        "These steps made it better: First, +10.0 points (+1.0 to +10.0); "
        "Third, +20.0 points (+1.0 to +10.0). "
        "These changed nothing: Second, +0.0 points (+0.0 to +0.0)."
    )


@pytest.mark.parametrize("synthetic", [True, False])
@pytest.mark.parametrize("few", [True, False])
def test_the_decision_says_how_sure_it_is_and_what_comes_next(synthetic, few):
    test = {"accuracy": 0.9, "accuracy_ci95": [0.8, 0.95], "f1_macro": 0.8}
    run = {"test": test | {"f1_macro_ci95": [0.7, 0.9], "sessions": 30}, "val": {"accuracy": 0.9}}
    metrics = {"gates": gates({"phase3_ast_full": run}), "synthetic": synthetic}
    said = told("decision", metrics=metrics, few=few)
    assert "Gate 2 decided **not measured** and Gate 3 **SUCCESS**" in said
    assert ("**GO ON**, though few sessions" in said) == few
    assert ("nothing about real birds" in said) == synthetic


def test_promises_are_kept_or_not_or_nobody_can_tell():
    species = {"A": SimpleNamespace(threshold=0.7), "B": SimpleNamespace(threshold=None)}
    given = SimpleNamespace(precision=0.8, species=species, sessions=24)

    def said(precision, high, clips=9):
        row = {"clips": clips, "precision": precision, "low": 0.3, "high": high}
        return told("promises", promises=given, kept=pd.DataFrame([row]), needed=3)

    assert said(0.9, 1.0).startswith("For **1 of 2** species a precision of 80 % can be promised")
    assert "right in **90 %** of the cases" in said(0.9, 1.0) and "was kept. A" in said(0.9, 1.0)
    assert "the promise was not kept" in said(0.5, 0.7)
    assert "so few sessions cannot tell that from chance" in said(0.7, 0.9)
    assert "none of them was called. A species needs 3 sessions" in said(None, None, clips=0)
    none = SimpleNamespace(precision=0.9, species={"B": species["B"]}, sessions=4)
    said_none = told("promises", promises=none, kept=pd.DataFrame(), needed=8)
    assert said_none.startswith("For no species a precision of 90 % can be promised: 4 validation")


def test_the_field_says_whether_the_promise_was_kept_and_what_it_cost():
    species = {"A": SimpleNamespace(threshold=0.7), "B": SimpleNamespace(threshold=None)}
    promises = SimpleNamespace(precision=0.8, species=species)
    row = {"called": 9, "precision": 0.77, "precision_low": 0.5, "precision_high": 0.92,
           "recall": 0.4, "verdict": "not settled by the interval"}  # fmt: skip
    drop = pd.DataFrame({"measure": ["auroc"], "focal": [0.998], "field": [0.9]})
    found = SimpleNamespace(table=pd.DataFrame([row]), drop=drop)
    said = told("field", promises=promises, found=found)
    assert said.startswith("A precision of 80 % was promised for 1 of 2 species. In the field **77")
    assert "the promise: not settled by the interval. At these thresholds 40 % of what" in said
    assert "right (50 to 92 %" in said and "0.900 here" in said
    assert "nobody knows: they have no annotations" in told("field", promises=promises, found=None)
    silent = SimpleNamespace(table=pd.DataFrame([row | {"called": 0}]), drop=drop)
    assert "nothing was called" in told("field", promises=promises, found=silent)
