"""The report from made-up runs: what its files hold.

Names survive any spelling, and no figure is lost.
"""

import copy
import functools
import itertools
import json
import re
import shutil
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import mistune
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from birdnb.config import AugmentSettings, ModelSettings, RunSettings, TrainSettings
from birdnb.corpora import Corpus
from birdnb.evaluation.calibration import expected_calibration_error, log_loss
from birdnb.evaluation.ensemble import best_single, build_ensemble
from birdnb.evaluation.gates import gates, reported
from birdnb.evaluation.metrics import paired_bootstrap, summarise
from birdnb.evaluation.predictions import Predictions, concatenate
from birdnb.files import BirdnbError
from birdnb.models.weights import shipped
from birdnb.registry import CLASSICAL, ENSEMBLE_WITH, MEMBERS
from birdnb.report import tables, words
from birdnb.report.collect import TITLES, collect, drawn_from
from birdnb.report.numbers import f1_of_rare_and_common, progression_rows, step_rows, study_metrics
from birdnb.report.page import page
from birdnb.report.write import render, write_report

SPECIES = ["Turdus <merula>", "Parus | major", "Pica *pica*", "1234", "Strix_$aluco_x$"]
MARKDOWN = mistune.create_markdown(escape=True, plugins=["table"])
SKILL = {
    "classical_mfcc": 1.0,
    "phase2_mfcc": 1.2,
    "phase3_ast_baseline": 1.8,
    "phase3_ast_full": 2.4,
    "phase3_efficientnet_full": 2.6,
}


def made_up_study(folds=0, synthetic=True, species=tuple(SPECIES), per_species=24, sharp=1.3):
    """A copy of its own of the study below."""
    return copy.deepcopy(_made_up_study(folds, synthetic, tuple(species), per_species, sharp))


@functools.cache
def _made_up_study(folds, synthetic, species, per_species, sharp):
    """StudyData and runs like those of a finished study, one fold after another.

    Sessions have two recordings.
    """
    rng = np.random.default_rng(0)
    n = len(species) * per_species
    label = np.arange(n) % len(species)
    session = np.arange(n) // (2 * len(species)) * len(species) + label
    table = pd.DataFrame({
        "recording_id": [f"bird{i}" for i in range(n)],  # no number of an archive
        "path": "",
        "species": [species[c] for c in label],
        "session": [f"session {s}" for s in session],
        "recordist": [f"recordist {s % 7}" for s in session],
        "date": [f"2024-05-{1 + s % 28:02}" for s in session],
        "locality": "here",
        "license": np.where(np.arange(n) % 5 == 0, "CC BY-NC-ND 4.0", "CC BY-NC-SA 4.0"),
        "url": "https://example.org",
    })  # fmt: skip
    parts = folds or 6
    part = session // len(species) % parts
    datasets = []
    for k in range(max(folds, 1)):
        side = np.select([part == k, part == (k + 1) % parts], ["test", "validation"], "train")
        datasets.append(_data(table.assign(side=side), synthetic, species))
    runs = {}
    for name, right in SKILL.items():
        logits = rng.normal(size=(n, len(species))) * sharp
        logits[np.arange(n), label] += right
        q = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
        runs[name] = [_run(name, data, q, label) for data in datasets]
    members = [
        {m: runs[m][k] for m in ("phase3_ast_full", "phase3_efficientnet_full")}
        for k in range(len(datasets))
    ]
    sessions = table.set_index("recording_id")["session"]
    runs["phase3_ensemble"] = [build_ensemble(these, sessions) for these in members]
    return datasets, runs


def _data(table, synthetic, species):
    refused = pd.DataFrame({
        "recording_id": ["a", "b", "c"], "path": "", "species": "",
        "reason": ["shorter than 1 s", "shorter than 1 s", "not audio: <html>|x"],
    })  # fmt: skip
    alone = {"recording_id": ["lonely", "broken"], "path": "", "species": "Rara avis"}
    manifest = pd.concat([table, pd.DataFrame(alone)], ignore_index=True)
    root = Path("my_birds")
    corpus = Corpus("my_birds", root, manifest, refused[:1], "manifest.csv", synthetic)
    rare = {
        "species": "Rara avis",
        "recordings": 1,
        "groups": 1,
        "decision": "drop",
        "reason": "1 recording, 3 are needed",
    }
    report = pd.DataFrame(
        [rare]
        + [
            {"species": s, "recordings": 9, "groups": 9, "decision": "keep", "reason": ""}
            for s in species
        ]
    )
    index = manifest.loc[manifest["recording_id"] != "broken", ["recording_id"]]
    cache = SimpleNamespace(quarantine=refused, index=index)
    profile = SimpleNamespace(name="laptop", runs={})
    return SimpleNamespace(
        corpus=corpus, cache=cache, profile=profile, seed=7, table=table, labels=list(species),
        species_report=report, corrections=None,
        fingerprint=lambda: "the split",
    )  # fmt: skip


def _run(name, data, q, label):
    sides = {}
    for key, side in (("val", "validation"), ("test", "test")):
        rows = np.flatnonzero(data.table["side"] == side)
        sides[key] = Predictions(
            data.table["recording_id"].iloc[rows].tolist(), q[rows], label[rows]
        )
    session = data.table.set_index("recording_id")["session"]
    metrics = {
        k: summarise(p, data.labels, session.loc[p.recording_ids].tolist(), bootstrap=50)
        for k, p in sides.items()
    }
    epochs = np.arange(1, 11)
    history = pd.DataFrame(
        {"epoch": epochs, "train_loss": 2 / epochs, "val_loss": 2.2 / epochs**0.5}
    )
    history["train_accuracy"] = 0.2 + 0.07 * epochs
    history["val_accuracy"] = history["val_f1_macro"] = 0.15 + 0.05 * epochs
    history["lr_backbone"] = history["lr_head"] = 1e-3
    metrics |= {
        "train": {"accuracy": 0.9},
        "epochs": 10,
        "best_epoch": 8,
        "seconds": 75.4,
        "parameters": 5_300_000,
        "pretrained": False,
    }
    if name != CLASSICAL:
        metrics["weights_sha256"] = "0" * 64
    config = {
        "run": name, "key": f"key of {name}", "git_commit": "abc123", "device": "cpu",
        "versions": {"torch": "2.11"},
        "settings": {"model": {"name": name, "size": "tiny"}, "train": {"epochs": 10},
        "augment": {"mixup": "full" in name}},
    }  # fmt: skip
    return SimpleNamespace(
        name=name, config=config, labels=data.labels, history=history, metrics=metrics, **sides
    )


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = plt.figure(figsize=(1, 1))
    figure.savefig(path)
    plt.close(figure)
    return path


@pytest.fixture(scope="module", params=[0, 3], ids=["one split", "three folds"])
def written(request, tmp_path_factory):
    datasets, runs = made_up_study(request.param)
    report = collect(datasets, runs)
    tmp = tmp_path_factory.mktemp("report")
    figures = {
        "progression": picture(tmp / "out" / "figures" / "progression.png"),
        "my extra": picture(tmp / "elsewhere.png"),
    }
    folder = write_report(report, figures, tmp / "out")
    return SimpleNamespace(
        report=report,
        runs=runs,
        folder=folder,
        metrics=json.loads((folder / "metrics.json").read_text()),
    )


def test_files(written):
    names = {
        str(path.relative_to(written.folder))
        for path in written.folder.rglob("*")
        if path.is_file()
    }
    tables_ = {
        "confusion.csv",
        "per_species.csv",
        "attribution.csv",
        "quarantine.csv",
        "metrics.json",
    }
    assert names == tables_ | {
        "PHASE3_RESULTS.md",
        "PHASE3_RESULTS.html",
        "figures/progression.png",
        "figures/elsewhere.png",
        "figures/corpus_times.png",
        "corpus_card.md",
    }
    assert len(pd.read_csv(written.folder / "attribution.csv")) == len(written.report.tables[0])
    matrix = pd.read_csv(
        written.folder / "confusion.csv", index_col="species", dtype={"species": str}
    )
    assert matrix.index.tolist() == matrix.columns.tolist() == SPECIES
    assert (
        matrix.to_numpy().sum() == written.metrics["runs"]["phase3_ensemble"]["test"]["recordings"]
    )


def test_metrics_json_has_the_structure_of_the_design(written):
    m = written.metrics
    assert (
        m["corpus"] == "my_birds"
        and m["profile"] == "laptop"
        and m["seed"] == 7
        and m["synthetic"] is True
    )
    assert m["quarantine"] == {"not audio: <html>|x": 1, "shorter than 1 s": 2}
    assert list(m["runs"]) == [run for run in TITLES if run != ENSEMBLE_WITH]
    for run in m["runs"].values():
        for side in ("val", "test"):
            assert 0 <= run[side]["accuracy"] <= 1
        low, high = run["test"]["accuracy_ci95"]
        assert low <= run["test"]["accuracy"] <= high
    assert all({"value", "target", "decision"} <= set(gate) for gate in m["gates"].values())
    assert m["split"]["recordings_on_two_sides"] == m["split"]["sessions_on_two_sides"] == 0
    counted = sum(m["split"][side]["recordings"] for side in ("train", "validation", "test"))
    assert counted == len(written.report.tables[0])
    assert m["runs"]["phase3_ast_full"]["epochs_to_40"] == 5


def test_steps_are_paired_on_the_same_recordings(written):
    step = next(s for s in written.metrics["steps"] if s["what"] == "Augmentation")
    report = written.report
    sessions = report.tables[0].set_index("recording_id")["session"]
    parts = {
        n: [r.test for r in written.runs[n]] for n in ("phase3_ast_full", "phase3_ast_baseline")
    }
    ids = [i for part in parts["phase3_ast_full"] for i in part.recording_ids]
    a, b = (
        Predictions(
            ids,
            np.concatenate([p.probabilities for p in ps]),
            np.concatenate([p.targets for p in ps]),
        )
        for ps in parts.values()
    )
    expected = paired_bootstrap(a, b, sessions.loc[ids].tolist(), seed=7)
    assert {k: step[k] for k in expected} == expected
    assert len(written.metrics["steps"]) == 6 and len(step_rows(written.metrics)) == 6
    rows = progression_rows(written.metrics, reported()["runs"])
    assert rows["reported"].tolist() == [False] * 6 + [True] * 3


@pytest.mark.parametrize("like_theirs", [True, False])
def test_a_benchmark_shows_what_others_report_for_it_and_for_no_other(like_theirs, tmp_path):
    birds = tuple(f"bird {i}" for i in range(264 if like_theirs else 5))
    datasets, runs = made_up_study(synthetic=False, species=birds, per_species=6)
    if not like_theirs:  # quick: a report on 264 species takes seconds
        page = write_report(collect(datasets, runs), {}, tmp_path) / "PHASE3_RESULTS.md"
        assert "Perch 2.0" not in page.read_text() and "35.7 %" not in page.read_text()
    datasets[0].corpus = replace(datasets[0].corpus, layout="BEANS CBI")
    datasets[0].profile.name = "cbi"
    text = (write_report(collect(datasets, runs), {}, tmp_path) / "PHASE3_RESULTS.md").read_text()
    for line in ("AST, fine-tuned | 35.7 %", "BEATs | 67.1 %", "BirdSet | 78.4 %", "2.0 | 80.3 %"):
        assert line in text
    assert ("may stand in their table" in text) == like_theirs
    assert ("**not to be compared.**" in text) != like_theirs
    accuracy = study_metrics(collect(datasets, runs))["runs"]["phase3_ensemble"]["test"]["accuracy"]
    assert f"**Ensemble**, measured here | {100 * accuracy:.1f} %" in text


@pytest.mark.parametrize(
    ("interval", "word"),
    [
        ((0.01, 0.1), "better"),
        ((-0.1, -0.01), "worse"),
        ((-0.1, 0.1), "not settled"),
        ((0.0, 0.1), "not settled"),
        ((0.0, 0.0), "no difference"),
    ],
)
def test_an_interval_is_put_into_a_word(interval, word):
    assert words.verdict({"ci95": interval, "p": 0.01}) == word
    assert words.verdict({"ci95": interval, "p": 0.06}) == (
        "no difference" if word == "no difference" else "not settled"
    )


def test_folds_are_pooled(written):
    test = written.metrics["runs"]["phase3_ast_full"]["test"]
    if not written.report.folds:
        assert "folds" not in test
        return
    results = written.runs["phase3_ast_full"]
    right = sum(int((r.test.predicted == r.test.targets).sum()) for r in results)
    assert test["recordings"] == len(written.report.tables[0]) == sum(len(r.test) for r in results)
    assert test["accuracy"] == pytest.approx(right / test["recordings"])
    assert test["folds"]["accuracy"] == [r.metrics["test"]["accuracy"] for r in results]
    assert written.metrics["runs"]["phase3_ast_full"]["seconds"] == pytest.approx(3 * 75.4)
    ensemble = written.metrics["runs"]["phase3_ensemble"]
    equal = [r.equal_test for r in written.runs["phase3_ensemble"]]
    right = sum(int((p.predicted == p.targets).sum()) for p in equal)
    assert ensemble["equal"]["test"]["accuracy"] == pytest.approx(right / test["recordings"])
    singles = {name: those for name, those in written.runs.items() if name != "phase3_ensemble"}
    choices = [
        best_single({name: those[k].val for name, those in singles.items()})
        for k in range(len(results))
    ]
    best = [singles[name][k].test for k, name in enumerate(choices)]
    right = sum(int((p.predicted == p.targets).sum()) for p in best)
    assert ensemble["test"]["accuracy"] - ensemble["gain"]["difference"] == pytest.approx(
        right / test["recordings"]
    )
    text = (written.folder / "PHASE3_RESULTS.md").read_text()
    assert "mean over folds" in text and "--folds 3" in text


def test_pages_say_the_songs_are_synthesised_and_what_was_decided(written):
    gate = written.metrics["gates"]["final"]
    for name in ("PHASE3_RESULTS.md", "PHASE3_RESULTS.html"):
        text = (written.folder / name).read_text().replace("&nbsp;", " ")
        assert "synthesised" in text and "say nothing about real birds" in text
        assert gate["decision"] in text and f"{100 * gate['value']:.1f} %" in text
        assert "reported, not reproduced here" in text and "54.51 %" in text
        assert "Rara avis" in text and "Gate 2" in text and "abc123" in text
        assert not re.search(
            r"\b(nan|None|Undefined)\b",
            re.sub(r"<style.*</style>|base64,\S+", "", text, flags=re.S),
        )


def test_html_stands_alone_and_is_well_formed(written):
    text = (written.folder / "PHASE3_RESULTS.html").read_text()
    assert text.count('src="data:image/png;base64,') == text.count("<img") == 2
    assert (
        not re.search(r'(src|href)="(?!data:|#)', text)
        and "@import" not in text
        and "url(" not in text
    )
    assert '<meta name="viewport"' in text and "@media print" in text
    seen = Seen()
    seen.feed(text)
    assert seen.open == [] and seen.ids >= seen.links
    assert all(name in seen.words for name in SPECIES)
    assert "not audio: <html>|x" in seen.words


def test_weights_from_the_same_synthesiser_are_named_as_kin(tmp_path):
    mine = tmp_path / "mine.safetensors"
    shutil.copy(shipped("ast"), mine)
    shutil.copy(shipped("ast").with_suffix(".md"), mine.with_suffix(".md"))
    for synthetic, weights in itertools.product((True, False), ("synthetic", str(mine))):
        datasets, runs = made_up_study(synthetic=synthetic)
        for result in runs["phase3_ast_full"]:
            result.metrics["pretrained"] = weights
        text = rendered(datasets, runs)
        assert str(tmp_path) not in text
        assert (
            "AST + augmentation began with weights that learned from the same synthesiser" in text
        ) == synthetic
        assert "EfficientNet-B2 + augmentation began" not in text


def test_real_recordings_get_no_banner_and_a_path_to_fill_in():
    datasets, runs = made_up_study(synthetic=False)
    report = collect(datasets, runs)
    text = render(report, study_metrics(report), {})
    assert (
        "synthesised" not in text
        and "./run_all.sh --corpus path/to/my_birds --profile laptop --seed 7" in text
    )


def rendered(datasets, runs):
    report = collect(datasets, runs)
    return render(report, study_metrics(report), {})


def test_species_trained_on_only_are_not_told_as_left_out():
    datasets, runs = made_up_study(synthetic=False)
    assert "and 1 species too rare to split, each" in rendered(datasets, runs)
    datasets[0].species_report.loc[0, "decision"] = "train_only"
    text = rendered(datasets, runs)
    assert "and 0 species too rare to split, each" in text
    assert "1 species, too rare to split, is trained on but not tested." in text
    assert "| Rara avis | 1 | 1 | train\\_only |" in text


def test_unknown_sessions_are_no_guarantee():
    datasets, runs = made_up_study(synthetic=False)
    text = rendered(datasets, runs)
    assert "As far as is known" not in text and "no model is tested on a session" in text
    datasets[0].table.loc[:3, ["recordist", "date", "locality"]] = ""
    text = rendered(datasets, runs)
    assert (
        f"4 of {len(datasets[0].table)} recordings name neither recordist nor date nor locality"
        in text
    )
    assert "As far as is known" in text and "0 known sessions on two sides" in text
    assert "not every session is known" in text
    assert not re.search(r"no model is tested on a session|0 sessions", text)


def test_labels_that_became_one_are_named():
    datasets, runs = made_up_study(synthetic=False)
    assert "About the labels" not in rendered(datasets, runs)
    notes = ("'Parus_niger' and 'Parus nigra' differ by one letter",)
    datasets[0].corpus = replace(datasets[0].corpus, notes=notes)
    text = rendered(datasets, runs)
    assert "what was filled in:\n\n- 'Parus\\_niger' and 'Parus nigra' differ" in text


def test_a_few_test_sessions_decide_nothing():
    datasets, runs = made_up_study(synthetic=False)
    report = collect(datasets, runs)
    metrics = study_metrics(report)
    test = metrics["runs"]["phase3_ensemble"]["test"]
    for sessions, early in ((9, True), (10, False)):
        test["sessions"] = sessions
        test["accuracy_ci95"] = [0.9, 1.0]
        metrics["gates"] = gates(metrics["runs"])
        text = render(report, metrics, {})
        assert ("TOO EARLY TO SAY" in text) == ("too few to decide anything" in text) == early


def test_settings_given_by_hand_are_in_the_command():
    datasets, runs = made_up_study(synthetic=False)
    usual = RunSettings(
        ModelSettings("ast", size="tiny"), TrainSettings(epochs=10), AugmentSettings(mixup=True)
    )
    names = ("phase3_ast_baseline", "phase3_ast_full", "phase3_efficientnet_full")
    datasets[0].profile.runs = dict.fromkeys(names, usual)

    def commands(*settings, members=MEMBERS):
        """The commands of a report whose networks were trained with these, model and train."""
        for name, (pretrained, epochs) in zip(names, settings, strict=True):
            own = asdict(usual)
            own["model"]["pretrained"], own["train"]["epochs"] = pretrained, epochs
            runs[name][0].config["settings"] = own
        runs["phase3_ensemble"][0].config["members"] = {
            name: runs[name][0].config["key"] for name in members
        }
        text = rendered(datasets, runs)
        assert "/home" not in text
        start = "./run_all.sh --corpus path/to/my_birds --profile laptop --seed 7"
        lines = [line for line in text.splitlines() if line.startswith("./run_all.sh")]
        return [line.removeprefix(start) for line in lines]

    own = usual.model.pretrained
    assert commands((own, 10), (own, 10), (own, 10)) == [""]
    assert commands((own, 3), (own, 3), (own, 3)) == [" -- -p epochs 3"]
    ast, b2 = "/home/ann/ckpt/ast", "/home/ann/b2.safetensors"
    assert commands((ast, 10), (ast, 10), (b2, 10)) == [
        " --only 01 02 03 04 05 -- -p pretrained path/to/ast",
        " --only 06 07 -- -p pretrained path/to/b2.safetensors",
    ]
    assert commands((own, 30), (own, 10), (own, 10)) == [
        " --only 01 02 03 04 -- -p epochs 30", " --only 05 06 07",
    ]  # fmt: skip
    others = ["classical_mfcc", "phase2_mfcc"]
    assert commands((own, 10), (own, 10), (own, 10), members=others) == [
        " --only 01 02 03 04 05", f" --only 06 07 -- -p members '{json.dumps(others)}'",
    ]  # fmt: skip


def test_the_usual_members_are_those_of_notebook_06():
    book = json.loads(next(NOTEBOOKS.glob("06_*.ipynb")).read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in book["cells"]]
    assert any(f"members = {json.dumps(list(MEMBERS))} " in cell for cell in cells)


def test_runs_of_several_commits_and_versions_are_all_told():
    datasets, runs = made_up_study(folds=4)
    assert "commit abc123, torch 2.11.\n" in rendered(datasets, runs)
    runs["phase3_ast_full"][1].config |= {"git_commit": "def456+", "versions": {"torch": "2.12"}}
    assert "commit abc123 and def456+, torch 2.11 and 2.12.\n" in rendered(datasets, runs)


def test_always_naming_the_commonest_is_right_on_this_share_of_the_test_side():
    datasets, runs = made_up_study(species=("a", "b"), synthetic=False)
    table = datasets[0].table
    table["side"] = ["train"] * (len(table) - 4) + ["test"] * 4
    table["species"] = ["a"] * (len(table) - 4) + ["a", "b", "b", "b"]
    assert study_metrics(collect(datasets, runs))["chance"]["commonest_species"] == 0.25


def test_unfinished_study_says_what_is_missing(tmp_path):
    datasets, runs = made_up_study()
    folder = write_report(collect(datasets, {}), {}, tmp_path / "none")
    assert "No run is finished yet" in (folder / "PHASE3_RESULTS.md").read_text()
    assert (
        json.loads((folder / "metrics.json").read_text())["gates"]["final"]["decision"]
        == "not measured"
    )
    folder = write_report(
        collect(datasets, {n: runs[n] for n in ("phase3_ast_full", "classical_mfcc")}),
        {},
        tmp_path / "two",
    )
    text = (folder / "PHASE3_RESULTS.md").read_text()
    assert "not measured" in text and TITLES["phase3_ast_full"].split(" + ")[0] in text


def test_the_report_links_learning_curves_when_they_are_there(tmp_path):
    datasets, runs = made_up_study()
    study = collect(datasets, {"classical_mfcc": runs["classical_mfcc"]})
    write_report(study, {}, tmp_path)
    assert "how_many_recordings" not in (tmp_path / "PHASE3_RESULTS.md").read_text()
    said = {"classical_mfcc": {"sentence": "about 12 more sessions a species for 80 % (8 to 30)"}}
    said["frozen_birdnet"] = {"sentence": "80 % is reached with the sessions there are"}
    for found in said.values():
        found["drawn_from"] = drawn_from(study.tables[0], study.labels)
    curves = tmp_path / "how_many_recordings.json"
    curves.write_text(json.dumps(said))
    write_report(study, {}, tmp_path)
    text = (tmp_path / "PHASE3_RESULTS.md").read_text()
    assert f"logistic regression: {said['classical_mfcc']['sentence']}; Frozen BirdNET" in text
    assert f"{said['frozen_birdnet']['sentence']} ([learning curves]" in text
    html = (tmp_path / "PHASE3_RESULTS.html").read_text()
    assert '<a href="how_many_recordings.html">learning curves</a>' in html
    for damaged in ("{", "[]", '{"classical_mfcc": {}}'):
        curves.write_text(damaged)
        with pytest.raises(BirdnbError, match=r"how_many_recordings.json is damaged"):
            write_report(study, {}, tmp_path)


@pytest.mark.parametrize(
    ("then", "told"),
    [
        (None, "(of which recordings is not known)"),
        ({"recordings": 60}, "(drawn when there were 60 recordings of 60 sessions)"),
        ({"sessions": 12}, "(drawn when there were 120 recordings of 12 sessions)"),
        ({"labels": ["Pica pica"]}, "(drawn for other species than now)"),
    ],
)
def test_a_learning_curve_of_other_recordings_is_told_as_such(tmp_path, then, told):
    study = collect(*made_up_study(synthetic=False))
    curve = {"sentence": "about 12 more sessions a species for 80 % (8 to 30)"}
    if then is not None:
        curve["drawn_from"] = drawn_from(study.tables[0], study.labels) | then
    (tmp_path / "how_many_recordings.json").write_text(json.dumps({"classical_mfcc": curve}))
    text = (write_report(study, {}, tmp_path) / "PHASE3_RESULTS.md").read_text()
    assert f"{curve['sentence']} {told} ([learning curves]" in text


def test_what_does_not_belong_together_is_refused(tmp_path):
    datasets, runs = made_up_study(3)
    with pytest.raises(BirdnbError, match="phase2_mfcc has 2 of 3 folds"):
        collect(datasets, runs | {"phase2_mfcc": runs["phase2_mfcc"][:2]})
    runs["phase3_ast_full"][1].config["key"] = "trained anew"
    with pytest.raises(BirdnbError, match=r"another phase3_ast_full .* notebook 06"):
        collect(datasets, runs)
    runs["phase2_mfcc"][0].config |= {"split": "the split of seed 8", "seed": 8}
    with pytest.raises(
        BirdnbError,
        match=r"phase2_mfcc was trained on another split .* \(it has seed 8, the study 7\)",
    ):
        collect(datasets, {"phase2_mfcc": runs["phase2_mfcc"]})
    runs["phase2_mfcc"][0].labels = ["other"]
    with pytest.raises(BirdnbError, match="other species"):
        collect(datasets, {"phase2_mfcc": runs["phase2_mfcc"]})
    with pytest.raises(BirdnbError, match=r"missing\.png"):
        write_report(collect(datasets, {}), {"progression": tmp_path / "missing.png"}, tmp_path)


def test_the_ensemble_is_held_against_the_best_of_all_single_models():
    datasets, runs = made_up_study()
    # no member of the ensemble, and right about everything
    for result in runs["phase3_ast_baseline"]:
        for part in (result.val, result.test):
            part.probabilities[:] = np.eye(len(SPECIES), dtype=np.float32)[part.targets]
    metrics = study_metrics(collect(datasets, runs))
    gain = metrics["runs"]["phase3_ensemble"]["gain"]
    assert gain["over"] == "phase3_ast_baseline" and gain["only_first_right"] == 0
    assert gain["difference"] == pytest.approx(
        metrics["runs"]["phase3_ensemble"]["test"]["accuracy"] - 1
    )
    assert metrics["gates"]["ensemble_gain"]["decision"] == "BELOW EXPECTATION"


def test_a_folder_without_metadata_promises_no_credit_and_drops_nothing_in_silence(tmp_path):
    datasets, runs = made_up_study(synthetic=False)
    datasets[0].table[["recordist", "license"]] = ""
    write_report(collect(datasets, runs), {}, tmp_path)
    text = (tmp_path / "PHASE3_RESULTS.md").read_text(encoding="utf-8")
    n = len(datasets[0].table)
    assert (
        f"{n} recordings; `attribution.csv` names recordist" in text
        and f"known: {n} lack a recordist" in text
    )
    listed = pd.read_csv(tmp_path / "quarantine.csv").set_index("recording_id")["reason"]
    assert listed["lonely"] == "species too rare to split: 1 recording, 3 are needed"
    assert "broken" not in listed and set("abc") <= set(listed.index)


def test_weights_of_folds_are_not_hidden_in_their_mean():
    datasets, runs = made_up_study(folds=3)
    metrics = study_metrics(collect(datasets, runs))
    run = metrics["runs"]["phase3_ensemble"]
    each = run["weights_of_folds"]["phase3_ast_full"]
    assert len(each) == 3 and run["weights"]["phase3_ast_full"] == pytest.approx(np.mean(each))
    text = render(collect(datasets, runs), metrics, {})
    assert f"AST + augmentation {np.mean(each):.2f} ({min(each):.2f}–{max(each):.2f})" in text


def test_calibration_before_scaling_is_that_of_the_weighted_members():
    """Of modest ones, too: what scaling makes next to nothing it cannot give back."""
    datasets, runs = made_up_study(folds=3)
    names = {"phase3_ast_full": 0.8, "phase3_efficientnet_full": 0.7}
    for run, right in [(run, right) for name, right in names.items() for run in runs[name]]:
        for side in ("val", "test"):
            part = getattr(run, side)
            p = np.full(part.probabilities.shape, 1e-4, np.float32)
            p[np.arange(len(p)), part.targets] = right
            p[np.arange(len(p)), (part.targets + 1) % 5] = 1 - right - 3e-4
            setattr(run, side, replace(part, probabilities=p))
    runs["phase3_ensemble"] = [build_ensemble({n: runs[n][k] for n in names}) for k in range(3)]
    metrics = study_metrics(collect(datasets, runs))["runs"]["phase3_ensemble"]
    parts = []
    for k, ensemble in enumerate(runs["phase3_ensemble"]):
        said = [w * runs[n][k].test.probabilities for n, w in ensemble.weights.items()]
        parts.append(replace(ensemble.test, probabilities=np.sum(said, axis=0)))
        np.testing.assert_allclose(
            ensemble.weighted_test.probabilities, parts[-1].probabilities, rtol=1e-5
        )
    whole, told = concatenate(parts), metrics["calibration"]["test"]
    assert told["ece_before"] == pytest.approx(expected_calibration_error(whole), rel=1e-5)
    assert told["log_loss_before"] == pytest.approx(log_loss(whole), rel=1e-5)


def test_longer_training_is_named_beside_augmentation():
    datasets, runs = made_up_study()
    assert any(
        step["what"] == "Augmentation" for step in study_metrics(collect(datasets, runs))["steps"]
    )
    runs["phase3_ast_full"][0].config["settings"]["train"]["epochs"] = 30
    steps = study_metrics(
        collect(datasets, {k: v for k, v in runs.items() if k != "phase3_ensemble"})
    )["steps"]
    assert any(step["what"] == "Augmentation (30 epochs at most instead of 10)" for step in steps)


def test_no_rarer_half_where_both_sides_of_the_border_have_as_many():
    per_class = {name: {"f1": 0.5} for name in "abcd"}
    report = SimpleNamespace(tables=[pd.DataFrame({"species": list("abbccddd"), "side": "train"})])
    assert (
        f1_of_rare_and_common(
            report, {"final_run": "x", "runs": {"x": {"test": {"per_class": per_class}}}}
        )
        is None
    )


def test_rare_and_common_by_hand():
    per_class = {name: {"f1": f1} for name, f1 in zip("abcd", (0.1, 0.3, 0.5, 0.9), strict=True)}
    table = pd.DataFrame({"species": list("abbcccdddd"), "side": "train"})
    report = SimpleNamespace(tables=[table])
    metrics = {"final_run": "x", "runs": {"x": {"test": {"per_class": per_class}}}}
    assert f1_of_rare_and_common(report, metrics) == pytest.approx(
        {"rare": 0.2, "common": 0.7, "border": 3}
    )


@settings(max_examples=150, deadline=None)
@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30)
)
def test_any_name_survives_markdown(text):
    shown = " ".join(text.split())
    table = tables.pipe_table(pd.DataFrame({"species": [words.plain(text)], "n": [1]}))
    seen = Seen()
    seen.feed(str(MARKDOWN(table)))
    assert seen.cells == [shown, "1"] if shown else seen.cells[-1] == "1"


def test_numbers_in_words():
    assert words.percent(0.5451, [0.481, 0.602]) == "54.5 % (48.1–60.2)"
    assert words.points(-0.021, [-0.05, 0.011]) == "−2.1 points (−5.0 to +1.1)"
    assert [words.duration(s) for s in (None, 0.2, 59.6, 200, 7500)] == [
        "–",
        "1 s",
        "1 min 00 s",
        "3 min 20 s",
        "2 h 05 min",
    ]
    assert [words.amount(n) for n in (90, 12_300, 5_288_548)] == ["90", "12 k", "5.3 M"]


def test_page_shows_a_heading_as_title(tmp_path):
    assert "<title>A &amp; B</title>" in page("# A \\& B\n\n## C\n", Path(tmp_path))


class Seen(HTMLParser):
    """What a browser would show: open tags left over, words, table cells, anchors."""

    def __init__(self):
        super().__init__()
        self.open, self.cells, self.words, self.ids, self.links, self.cell = (
            [],
            [],
            "",
            set(),
            set(),
            None,
        )

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.add(attrs.get("id"))
        if attrs.get("href", "").startswith("#"):
            self.links.add(attrs["href"][1:])
        if tag not in ("meta", "img", "br", "hr"):
            self.open.append(tag)
        if tag == "td":
            self.cell = ""

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "td":
            self.cells.append(" ".join(self.cell.split()))
            self.cell = None

    def handle_data(self, data):
        self.words += data
        if self.cell is not None:
            self.cell += data


NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
COMMITTED = Path(__file__).resolve().parents[2] / "reports" / "example"
# their keys are species, reasons, runs, licences
NAMED_BY_DATA = {"per_class", "quarantine", "weights", "licenses"}


def structure(value, name=""):
    """Paths of all keys, those that the data names left out."""
    if not isinstance(value, dict) or name in NAMED_BY_DATA:
        return {name}
    return {name} | {
        f"{name}/{path}" for key, part in value.items() for path in structure(part, key)
    }


def test_the_committed_demo_report_has_the_structure_of_todays_code():
    """When this fails, ./run_all.sh --bless writes the demo's report anew."""
    # as the demo has it: more than five species, strangers in the background, and doubts
    datasets, runs = made_up_study(0, species=(*SPECIES, "Regulus regulus"))
    datasets[0].table["background_species"] = "; ".join(SPECIES)
    report = replace(collect(datasets, runs), doubts=doubts_of_nothing())
    metrics = study_metrics(report)
    pictures = {path.stem: f"figures/{path.name}" for path in (COMMITTED / "figures").glob("*.png")}
    committed = (COMMITTED / "PHASE3_RESULTS.md").read_text(encoding="utf-8")
    headings = re.compile(r"^##+ .*|^\| (?:run|model|gate|step)\b.*", re.M)
    assert headings.findall(committed) == headings.findall(render(report, metrics, pictures))
    assert structure(
        json.loads((COMMITTED / "metrics.json").read_text(encoding="utf-8"))
    ) == structure(metrics)
    shown = set(re.findall(r"\]\((figures/[^)]+)\)", committed))
    assert "figures/progression.png" in shown <= set(pictures.values())


def with_corrections(datasets):
    """The study with one test recording of another species, one dropped, one label confirmed."""
    table = datasets[0].table
    ids = table.loc[table["side"] == "test", "recording_id"].tolist()
    species = table.set_index("recording_id")["species"]
    other = next(name for name in datasets[0].labels if name != species[ids[0]])
    before = table["species"].where(table["recording_id"] == ids[0], "")
    table = table.assign(label_before=before)
    table.loc[table["recording_id"] == ids[0], "species"] = other
    datasets[0].table = table[table["recording_id"] != ids[1]].reset_index(drop=True)
    train = table.loc[table["side"] == "train", "recording_id"].iloc[0]
    datasets[0].corrections = pd.DataFrame({
        "recording_id": [ids[0], ids[1], train], "label": species[[ids[0], ids[1], train]].tolist(),
        "decision": ["relabel", "drop", "accept"], "species": [other, "", ""],
        "by": ["Ann", "Ann", "Bo"], "when": ["2026-05-01T09:00", "2026-05-03T09:00", ""],
        "side": ["test", "test", "train"],
    })  # fmt: skip
    datasets[0].corpus = replace(
        datasets[0].corpus, before=datasets[0].corpus, name="my_birds-corrected"
    )
    return ids, other


def without(predictions, name):
    keep = [i for i, one in enumerate(predictions.recording_ids) if one != name]
    return Predictions(
        [predictions.recording_ids[i] for i in keep],
        predictions.probabilities[keep],
        predictions.targets[keep],
    )


@pytest.mark.parametrize("ran_before", [True, False])
@pytest.mark.parametrize(
    "changed",
    [
        {}, {"seed": 8}, {"settings": {"train": {"epochs": 2}}}, {"weights": "others"},
        {"recordings": {"train": 81}}, {"fewer": "val"}, {"fewer": "test"},
    ],
)  # fmt: skip
def test_corrections_are_told_and_those_of_the_test_side_apart(
    tmp_path, monkeypatch, ran_before, changed
):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path))
    datasets, runs = made_up_study(synthetic=False)
    (first, dropped), other = (found := with_corrections(datasets))[0][:2], found[1]
    before = runs["phase3_ast_full"][0]
    runs = {"phase3_ast_full": [copy.deepcopy(before)]}
    run = runs["phase3_ast_full"][0]
    run.test = without(run.test, dropped)
    run.test.targets[run.test.recording_ids.index(first)] = datasets[0].labels.index(other)
    if ran_before:
        folder = tmp_path / "runs" / "my_birds-laptop" / "phase3_ast_full"
        folder.mkdir(parents=True)
        before.history.to_csv(folder / "history.csv", index=False)
        (folder / "labels.json").write_text(json.dumps(datasets[0].labels))
        run.config["corpus"] = {"split": {"strangers": ()}}  # a list in the file
        run.config["recordings"] = {"train": 80}
        (folder / "config.json").write_text(json.dumps(run.config | changed))
        for side in ("val", "test"):
            last = getattr(before, side).recording_ids[-1] if changed.get("fewer") == side else ""
            saved = without(getattr(before, side), last)  # made before that recording was there
            saved.save(folder / f"predictions_{side}.npz")
        (folder / "metrics.json").write_text("{}")
    report = collect(datasets, runs)
    metrics = study_metrics(report)
    told, test = metrics["corrections"], before.test
    right = pd.Series(test.predicted == test.targets, test.recording_ids)
    assert (told["accept"], told["relabel"], told["drop"]) == (1, 1, 1)
    assert (told["by"], told["first"], told["last"]) == (
        ["Ann", "Bo"], "2026-05-01T09:00", "2026-05-03T09:00",
    )  # fmt: skip
    now = datasets[0].labels[test.predicted[test.recording_ids.index(first)]] == other
    assert told["test"] == {"relabel": 1, "drop": 1, "right": int(now)}
    text = render(report, metrics, {})
    assert "3 corrections are applied (by Ann, Bo, 2026-05-01 to 2026-05-03)" in text
    assert "The test side was corrected, too" in text
    assert "--corrections path/to/corrections.csv" in text and "path/to/my_birds " in text
    if not ran_before or changed:
        assert told["same"] is None and "run the study without" in text
        return
    same = right.drop([first, dropped])
    assert told["before"] == pytest.approx(right.mean())
    assert told["same"] == {
        "recordings": len(same), "before": pytest.approx(same.mean()),
        "after": pytest.approx(same.mean()),
    }  # fmt: skip


def test_doubtful_labels_and_the_background_are_told(tmp_path):
    datasets, runs = made_up_study(synthetic=False)
    text = rendered(datasets, runs)
    assert "The recordings themselves" not in text
    names = datasets[0].labels
    datasets[0].table["background_species"] = "; ".join(names)
    report = replace(collect(datasets, runs), doubts=doubts_of_nothing())
    metrics = study_metrics(report)
    background = metrics["background"]
    assert background["named"] == background["mistakes"] > 0
    assert background["lenient"] == 1.0 and background["by_chance"] == pytest.approx(1.0)
    folder = write_report(report, {}, tmp_path)
    page = (folder / "PHASE3_RESULTS.md").read_text()
    unjudged = len(report.tables[0]) - 2
    assert f"but for {unjudged} that no model can judge" in page
    assert "Birds in the background" in page and "Doubtful labels" in page
    assert "| Turdus \\<merula\\> | Pica \\*pica\\* | 10.0 % | −80 points | 3 |" in page
    written = pd.read_csv(folder / "doubtful_labels.csv")
    assert written["recording_id"].tolist() == ["bird0", "bird1"]


def doubts_of_nothing():
    return pd.DataFrame({
        "recording_id": ["bird0", "bird1"], "species": ["Turdus <merula>", "Parus | major"],
        "suggestion": ["Pica *pica*", "Parus | major"], "doubt": [1.0, 0.0],
        "self_confidence": [0.1, 0.9], "margin": [-0.8, 0.8], "models": [3, 3],
    })  # fmt: skip
