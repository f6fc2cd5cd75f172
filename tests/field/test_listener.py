"""Opening a run to listen with: a network, logistic regression, folds, an ensemble; bad folders."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_study import settings, small_study

from birdnb.data import Clips
from birdnb.evaluation.ensemble import build_ensemble
from birdnb.evaluation.predictions import predict
from birdnb.field.listener import find_run, fold_folders, open_listener
from birdnb.field.windows import Batch
from birdnb.files import BirdnbError
from birdnb.registry import CLASSICAL
from birdnb.training.runs import load_model, run_folder
from birdnb.training.train import train_run


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """Two networks, logistic regression, their ensemble, and a run of two folds."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("artifacts")
        patch.setenv("BIRDNB_ARTIFACTS", str(folder))
        data = small_study()
        runs = {
            "one": train_run(data, "one", settings(epochs=1), progress=False),
            CLASSICAL: train_run(data, CLASSICAL, progress=False),
        }
        build_ensemble(runs, folder=run_folder(data, "both"))
        for fold in (1, 2):
            train_run(
                replace(data, fold=(fold, 2), seed=fold), "folded", settings(epochs=1),
                progress=False,
            )  # fmt: skip
        yield folder


@pytest.fixture(autouse=True)
def _scratch(artifacts, monkeypatch):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(artifacts))


def windows(n=6):
    """The LMS of validation recordings, two windows each, as batches and as training has them."""
    clips = small_study().clips("validation")
    one = Clips(clips.lms[:n], clips.target[:n], torch.arange(n), [str(i) for i in range(n)])
    return Batch(np.arange(n) * 2.0, clips.lms[:n].float().numpy()), one


def test_a_network_says_what_it_says_in_training():
    batch, clips = windows()
    folder = run_folder(small_study(), "one")
    listener = open_listener("one")
    expected = predict(load_model(folder), clips, "standard").probabilities
    np.testing.assert_allclose(listener.score(batch), expected, atol=1e-6)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert listener.weights == metrics["weights_sha256"] and listener.audio.clip_seconds == 3.0
    assert listener.labels == small_study().labels and open_listener(folder).name == "one"


def test_folds_are_averaged():
    batch, _ = windows()
    assert find_run("folded").name == "folds-of-2"
    folds = [open_listener(find_run("folded").parent / f"fold-{k}-of-2") for k in (1, 2)]
    mean = np.mean([fold.score(batch) for fold in folds], axis=0)
    both = open_listener("folded")
    np.testing.assert_allclose(both.score(batch), mean, atol=1e-6)
    assert len({both.weights, *(fold.weights for fold in folds)}) == 3 and both.name == "folded"
    assert open_listener(both.folder).weights == both.weights  # as worker processes open it


def test_folds_of_several_studies_are_told_apart(artifacts, tmp_path):
    folder = tmp_path / "folded"
    shutil.copytree(artifacts / "runs/small-tiny/folded", folder)
    for k in (10, 1, 2):
        shutil.copytree(folder / "fold-1-of-2", folder / f"fold-{k}-of-10")
    with pytest.raises(BirdnbError, match=r"folds of several studies: give .*/folds-of-2 or .*-10"):
        open_listener(folder)
    named = open_listener("small-tiny/folded/folds-of-2")
    assert open_listener(folder / "folds-of-2").weights == named.weights
    assert open_listener("folded/folds-of-2").weights == named.weights
    numbers = [fold.name for fold in fold_folders(folder / "folds-of-10")]
    assert numbers == ["fold-1-of-10", "fold-2-of-10", "fold-10-of-10"]
    with pytest.raises(BirdnbError, match="is no finished run"):
        open_listener(folder / "folds-of-5")


def test_an_ensemble_says_what_it_said_on_validation():
    """One window a recording: the ensemble of clips is then that of recordings."""
    folder = find_run("both")
    metrics = json.loads((folder / "metrics.json").read_text())
    batch, _ = windows()
    members = [open_listener(name).score(batch) for name in metrics["weights"]]
    mean = np.tensordot(list(metrics["weights"].values()), members, axes=1)
    powered = mean ** (1 / metrics["temperature"])
    found = open_listener("both").score(batch)
    np.testing.assert_allclose(found, powered / powered.sum(axis=1, keepdims=True), atol=1e-5)


def test_names_that_mean_nothing_or_too_much(artifacts, tmp_path):
    with pytest.raises(BirdnbError, match=r"'three' is no finished run.*small-tiny/one"):
        open_listener("three")
    with pytest.raises(BirdnbError, match="is no finished run"):
        open_listener("../small-tiny/one")
    shutil.copytree(artifacts / "runs/small-tiny/one", artifacts / "runs/other-tiny/one")
    try:
        with pytest.raises(BirdnbError, match=r"several runs are called 'one'.*other-tiny/one"):
            open_listener("one")
        assert open_listener("other-tiny/one").folder.parent.name == "other-tiny"
    finally:
        shutil.rmtree(artifacts / "runs/other-tiny")


def test_a_run_whose_labels_are_unknown_or_whose_member_changed(artifacts, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(artifacts / "runs/small-tiny", runs)
    (runs / "one/labels.json").unlink()
    with pytest.raises(BirdnbError, match=r"labels\.json is missing or damaged"):
        open_listener(runs / "one")
    (runs / "one/labels.json").write_text("[]")
    with pytest.raises(BirdnbError, match="names no species"):
        open_listener(runs / "one")
    shutil.rmtree(runs / "one")
    with pytest.raises(BirdnbError, match="its member one is not there as it was"):
        open_listener(runs / "both")
