"""Frozen encoders in the report: what is better, by what, and whether it had heard it before."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from test_report import made_up_study

from birdnb.cards import card_named
from birdnb.evaluation.ensemble import build_ensemble, choose_weights, fit_temperature
from birdnb.evaluation.metrics import paired_bootstrap, summarise
from birdnb.evaluation.predictions import concatenate
from birdnb.files import BirdnbError
from birdnb.report.collect import collect
from birdnb.report.numbers import study_metrics
from birdnb.report.write import write_report

FROZEN, OWN = "frozen_birdnet", "own_answer_birdnet"
ENSEMBLE, WITH = "phase3_ensemble", "ensemble_with_encoders"
MEMBERS = ("phase3_ast_full", "phase3_efficientnet_full")


def with_encoders(folds=0, share=1.0, synthetic=False, with_ensemble=True):
    """A study in which BirdNET is right about this share of the recordings.

    Its own answer is so about all but one species, which it does not know. The recordings of two
    species are newer than its training.
    """
    datasets, runs = made_up_study(folds, synthetic=synthetic)
    for data in datasets:
        old = np.arange(len(data.table)) % 5 < 3  # of three of the five species
        data.table["date"] = np.where(old, "2019-05-03", "2024-05-03")
    rng = np.random.default_rng(1)
    for name in (FROZEN, OWN):
        runs[name] = [_like(run, name, share, rng, datasets) for run in runs[MEMBERS[0]]]
    if with_ensemble:
        sessions = datasets[0].table.set_index("recording_id")["session"]
        runs[WITH] = [
            build_ensemble(
                {m: runs[m][k] for m in (*MEMBERS, FROZEN, OWN)}, sessions, seed=7, name=WITH
            )
            for k in range(len(datasets))
        ]
    return datasets, runs


def _like(run, name, share, rng, datasets):
    run = copy.deepcopy(run)
    card = asdict(card_named("birdnet"))
    settings = {"model": {"name": name, "encoder": "birdnet"}}
    run.name, run.config = name, {"run": name, "key": name, "settings": settings, "card": card}
    session = datasets[0].table.set_index("recording_id")["session"]
    for side in ("val", "test"):
        part = getattr(run, side)
        n, c = part.probabilities.shape
        said = np.where(rng.random(n) < share, part.targets, (part.targets + 1) % c)
        p = 0.02 + 0.9 * np.eye(c)[said]
        if name == OWN:
            p[:, 0] = 0
        p = (p / p.sum(axis=1, keepdims=True)).astype(np.float32)
        setattr(run, side, replace(part, probabilities=p))
        of = session.loc[part.recording_ids].tolist()
        run.metrics[side] = summarise(getattr(run, side), run.labels, of, bootstrap=50)
    run.metrics |= {"pretrained": "BirdNET 2.4", "seconds": 2.0, "listening_seconds": 75.0}
    if name == OWN:
        run.metrics["seconds"] = 0.0
        run.metrics["species_unknown"] = [run.labels[0]]
        run.history = pd.DataFrame(columns=["epoch"])
    return run


@pytest.fixture(scope="module", params=[0, 3], ids=["one split", "three folds"])
def better(request, tmp_path_factory):
    datasets, runs = with_encoders(request.param)
    report = collect(datasets, runs)
    folder = write_report(report, {}, tmp_path_factory.mktemp("better"))
    return datasets, runs, study_metrics(report), folder


def pooled(runs, name):
    return concatenate([result.test for result in runs[name]])


def test_the_step_from_the_encoder_to_our_best_network_is_paired(better):
    datasets, runs, metrics, _ = better
    session = datasets[0].table.set_index("recording_id")["session"]
    ours, other = pooled(runs, ENSEMBLE), pooled(runs, FROZEN)
    expected = paired_bootstrap(ours, other, session.loc[ours.recording_ids].tolist(), seed=7)
    step = next(s for s in metrics["steps"] if s["without"] == FROZEN and s["run"] == ENSEMBLE)
    assert {key: step[key] for key in expected} == expected
    assert step["what"].startswith("Our best network (Ensemble) instead of Frozen BirdNET")
    assert step["difference"] == pytest.approx(
        (ours.predicted == ours.targets).mean() - (other.predicted == other.targets).mean()
    )
    assert [row["run"] for row in metrics["yardsticks"]] == [FROZEN, OWN]


def test_the_decision_box_says_it_in_its_second_sentence(better):
    _, runs, metrics, folder = better
    text = (folder / "PHASE3_RESULTS.md").read_text()
    box = [line for line in text.splitlines() if line.startswith("> ")]
    accuracy = metrics["runs"][FROZEN]["test"]["accuracy"]
    assert box[1].startswith("> **Better than everything trained here: Frozen BirdNET")
    step = metrics["yardsticks"][0]
    assert f"{100 * accuracy:.1f} %" in box[1]
    assert f"{100 * -step['difference']:.1f} points (" in box[1] and step["difference"] < 0
    new = metrics["runs"][FROZEN]["heard"]["test"]["cannot"]
    ours = metrics["yardsticks"][0]["final_apart"]["cannot"]["accuracy"]
    assert f"on the {new['recordings']} that it cannot have heard: Frozen BirdNET" in box[1]
    assert f"the final model {100 * ours:.1f} % (" in box[1]
    assert metrics["final_run"] == ENSEMBLE
    assert f"does not know {runs[OWN][0].labels[0]}".replace("<", r"\<").split(" \\")[0] in text


def test_both_are_scored_on_what_is_new_to_the_encoder(better):
    datasets, runs, metrics, folder = better
    date = datasets[0].table.set_index("recording_id")["date"]
    row = metrics["yardsticks"][0]
    for kind, day in (("may", "2019-05-03"), ("cannot", "2024-05-03")):
        for name, found in ((ENSEMBLE, row["final_apart"]),
                            (FROZEN, metrics["runs"][FROZEN]["heard"]["test"])):  # fmt: skip
            part = pooled(runs, name)
            mask = (date.loc[part.recording_ids] == day).to_numpy()
            assert found[kind]["recordings"] == mask.sum()
            right = (part.predicted == part.targets)[mask].mean()
            assert found[kind]["accuracy"] == pytest.approx(right)
    assert "| Ensemble, on the same recordings |" in (folder / "PHASE3_RESULTS.md").read_text()


def test_the_ensemble_stays_as_it_is_and_decides(better):
    datasets, runs, metrics, _ = better
    without = {name: those for name, those in runs.items() if name not in (FROZEN, OWN, WITH)}
    plain = study_metrics(collect(datasets, without))
    assert metrics["gates"] == plain["gates"]
    assert metrics["runs"][ENSEMBLE] == plain["runs"][ENSEMBLE]
    assert metrics["steps"][: len(plain["steps"])] == plain["steps"]


def test_what_encoders_bring_to_the_ensemble_is_paired_and_weighed_on_validation(better):
    datasets, runs, metrics, folder = better
    session = datasets[0].table.set_index("recording_id")["session"]
    step = next(s for s in metrics["steps"] if s["run"] == WITH and s["without"] == ENSEMBLE)
    a, b = pooled(runs, WITH), pooled(runs, ENSEMBLE)
    expected = paired_bootstrap(a, b, session.loc[a.recording_ids].tolist(), seed=7)
    assert {key: step[key] for key in expected} == expected
    for k, ensemble in enumerate(runs[WITH]):
        val = [runs[m][k].val for m in ensemble.config["members"]]
        weights = choose_weights(val, session.loc[val[0].recording_ids].tolist())
        assert list(ensemble.weights.values()) == pytest.approx(weights)
        mixed = sum(w * p.probabilities for w, p in zip(weights, val, strict=True))
        again = fit_temperature(replace(val[0], probabilities=mixed.astype(np.float32)))
        assert ensemble.temperature == pytest.approx(again, rel=1e-3)
        assert sum(ensemble.weights[m] for m in (FROZEN, OWN)) > 0.4  # they are far better
    text = (folder / "PHASE3_RESULTS.md").read_text()
    assert "With the frozen encoders weighed in" in text and "decided without it" in text
    assert metrics["runs"][WITH]["gain"]["over"] in (FROZEN, "best single model of each fold")


def test_the_table_of_costs_tells_what_the_embeddings_took(better):
    datasets, *_, folder = better
    lines = (folder / "PHASE3_RESULTS.md").read_text().splitlines()
    frozen, own = (line for line in lines if " of listening |" in line)
    fitting = 2 * len(datasets)  # once a fold; the embeddings are made once for all
    assert f"| {fitting} s after 1 min 15 s of listening |" in frozen
    assert frozen.startswith("| Frozen BirdNET + logistic regression |")
    assert own.startswith("| BirdNET, its own answer |") and "| 1 min 15 s of listening |" in own


def test_the_licence_stands_in_report_and_attribution(better):
    *_, folder = better
    text = (folder / "PHASE3_RESULTS.md").read_text()
    assert "BirdNET 2.4: licence CC BY-NC-SA 4.0, not for commercial use" in text
    credit = pd.read_csv(folder / "attribution.csv")
    assert credit.iloc[-1]["license"] == "CC BY-NC-SA 4.0"
    assert credit.iloc[-1]["recordist"].startswith("BirdNET 2.4")
    assert " --encoders birdnet" in text  # of the command that repeats the study


def test_an_encoder_that_is_no_better_is_not_called_so(tmp_path):
    datasets, runs = with_encoders(share=0.3)
    report = collect(datasets, runs)
    text = (write_report(report, {}, tmp_path) / "PHASE3_RESULTS.md").read_text()
    assert not any(row["beats_all"] for row in study_metrics(report)["yardsticks"])
    assert "Better than everything" not in text
    assert "**Our best network (Ensemble) instead of Frozen BirdNET" in text


def test_one_as_good_as_our_best_is_not_better():
    datasets, runs = with_encoders(with_ensemble=False)
    ours = max(
        (n for n in runs if n not in (FROZEN, OWN)),
        key=lambda n: (runs[n][0].test.predicted == runs[n][0].test.targets).mean(),
    )
    runs[FROZEN][0].test = runs[ours][0].test
    runs[FROZEN][0].metrics["test"] = runs[ours][0].metrics["test"]
    row = study_metrics(collect(datasets, runs))["yardsticks"][0]
    assert row["accuracy"] == runs[ours][0].metrics["test"]["accuracy"] and not row["beats_all"]


def test_on_invented_songs_nobody_asks_what_was_heard(tmp_path):
    datasets, runs = with_encoders(synthetic=True)
    text = (write_report(collect(datasets, runs), {}, tmp_path) / "PHASE3_RESULTS.md").read_text()
    assert "Better than everything trained here" in text and "may have" not in text


def test_an_ensemble_of_encoders_since_run_anew_is_refused():
    datasets, runs = with_encoders()
    runs[FROZEN][0].config["key"] = "another"
    with pytest.raises(BirdnbError, match="made from another frozen_birdnet"):
        collect(datasets, runs)
