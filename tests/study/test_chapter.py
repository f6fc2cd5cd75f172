"""What the notebooks call: which runs it asks for, and what it says when there are none."""

from __future__ import annotations

import math

import nbformat
import pandas as pd
import pytest
import torch
from PIL import Image
from small_corpora import extracted
from small_study import settings, small_study

from birdnb.evaluation.metrics import paired_bootstrap
from birdnb.files import ROOT, BirdnbError
from birdnb.models import build_model
from birdnb.study.chapter import start
from birdnb.synthetic.demo import make_demo
from birdnb.training.train import train_run


@pytest.mark.parametrize(
    ("number", "first"), [("06", "notebooks 04 and 05"), ("07", "notebooks 04 to 06")]
)
@pytest.mark.parametrize("folds", [0, 2])
def test_the_last_notebooks_say_what_has_to_run_first(number, first, folds, tmp_path, monkeypatch):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path))
    with pytest.raises(BirdnbError, match=f"phase3_ast_full is not finished.*: run {first} first"):
        start(number, folds=folds).require("phase3_ast_full")
    run = tmp_path / "runs" / "demo-laptop" / "phase3_ast_full"
    for folder in [run / f"fold-{k}-of-{folds}" for k in range(1, folds + 1)] or [run]:
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text("{}")
    start(number, folds=folds).require("phase3_ast_full")


def test_results_of_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path))
    chapter = start("05")
    chapter.datasets = [small_study()]
    assert chapter.results("phase2_mfcc") == {}
    with pytest.raises(
        BirdnbError,
        match="no run of this corpus and profile is finished: run notebooks 04 to 06 first",
    ):
        chapter.results()


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """A chapter of a small study with two trained runs, logistic regression and a network."""
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setenv("BIRDNB_REPORTS", str(tmp_path / "reports"))
    chapter = start("05")
    chapter.datasets = [small_study()]
    train_run(chapter.data, "classical_mfcc", progress=False)
    train_run(chapter.data, "phase2_mfcc", settings(epochs=2), progress=False)
    return chapter


def test_one_call_shows_how_networks_learned_and_what_a_run_confused(chapter):
    results = chapter.results("classical_mfcc", "phase2_mfcc")
    curves = chapter.learning_curves(results, "learned")
    key = [text.get_text() for text in curves.axes[-1].get_legend().get_texts()]
    assert key[0] == "Phase 2 reference: MFCC network"  # logistic regression has no epochs to show
    confused = chapter.confusion(results["phase2_mfcc"])
    assert [tick.get_text() for tick in confused.axes[0].get_yticklabels()] != []
    assert set(chapter.figures) == {"learned", "confusion"}
    for path in chapter.figures.values():
        Image.open(path).verify()


def test_two_runs_are_compared_on_the_same_recordings(chapter):
    results = chapter.results("classical_mfcc", "phase2_mfcc")
    a, b = (those[0].test for those in results.values())
    found = chapter.compare(*results.values())
    assert found == paired_bootstrap(a, b, chapter.data.sessions(a.recording_ids), seed=7)
    metrics = {"runs": {"phase2_mfcc": {"test": {"accuracy": 0.5}}}}
    assert chapter.accuracies(metrics) == {"accuracy of Phase 2 reference: MFCC network": 0.5}


@pytest.mark.parametrize(("epochs", "said"), [(1, "only 2 steps: too few to tell"), (30, "True")])
def test_few_steps_are_no_verdict_in_notebook_02(epochs, said, capsys):
    """Its checks, on a network that has learned nothing so far; after sixty steps they say so."""
    book = nbformat.read(ROOT / "notebooks" / "02_ast_model.ipynb", 4)
    (checks,) = [cell.source for cell in book.cells if "sixty steps taught" in cell.source]
    data, network = small_study(), build_model("mfcc", 3, 130)
    history = pd.DataFrame({"train_loss": [1.2] * epochs})
    names = {
        "math": math, "torch": torch, "history": history, "few": 30, "guessing": math.log(3),
        "settings": settings(batch_size=21), "clips": data.clips("train"), "labels": data.labels,
        "smoke": history.iloc[-1], "model": network, "frames": 130, "x": torch.zeros(2, 128, 130),
        "logits": torch.zeros(2, 3),
    }  # fmt: skip
    if epochs == 30:
        with pytest.raises(AssertionError, match="sixty steps taught the model nothing"):
            exec(checks, dict(names))
        names["smoke"] = pd.Series({"train_loss": 1.0})
    exec(checks, names)
    assert said in capsys.readouterr().out


def test_what_is_told_is_shown_as_markdown(capsys):
    start("01").tell("rhythm", songs=[])
    assert "IPython.core.display.Markdown" in capsys.readouterr().out


def test_frozen_encoders_join_a_second_ensemble_and_leave_the_first_as_it_is(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setenv("BIRDNB_REPORTS", str(tmp_path / "reports"))
    make_demo(tmp_path / "birds", species=2, recordings=8, progress=False)
    chapter = start("06", corpus=str(extracted(tmp_path / "birds")))
    chapter.train("classical_mfcc")
    chapter.train("phase2_mfcc", epochs=1)
    members = ["classical_mfcc", "phase2_mfcc"]
    (alone,) = chapter.ensemble(members)
    assert "ensemble_with_encoders" not in chapter.results()
    chapter.frozen(["ast:synthetic"])
    (beside,) = chapter.ensemble(members)
    assert beside.weights == alone.weights and beside.metrics == alone.metrics
    results = chapter.results()
    mixed = results["ensemble_with_encoders"][0]
    assert list(mixed.config["members"]) == [*members, "frozen_ast_synthetic"]
    page = (chapter.write_report(results) / "PHASE3_RESULTS.md").read_text()
    assert "Ensemble with encoders" in page and r"instead of Frozen ast\_synthetic" in page
    chapter.train("phase2_mfcc", epochs=2)
    del results["ensemble_with_encoders"]
    assert "ensemble_with_encoders" not in chapter.results()
    assert "made from another phase2_mfcc than there is now; left out" in capsys.readouterr().out
