"""Run folders: their files, when a run is loaded, started over or refused, and damaged files."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_study import settings, small_study

from birdnb.config import ModelSettings, override
from birdnb.data import Clips, StudyData
from birdnb.evaluation.predictions import by_recording, predict
from birdnb.files import STALE_SECONDS, BirdnbError
from birdnb.models.weights import shipped
from birdnb.registry import AUGMENTATIONS, MODELS
from birdnb.training import runs
from birdnb.training.__main__ import main
from birdnb.training.origin import check_runs
from birdnb.training.train import begin_run, train_run

pytestmark = pytest.mark.usefixtures("scratch")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of the small study, to be copied by those who change it.

    Gives (data, artifacts folder).
    """
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("finished")
        patch.setenv("BIRDNB_ARTIFACTS", str(folder))
        data = small_study()
        train_run(data, "run", progress=False)
        return data, folder


@pytest.fixture
def done(finished, tmp_path, monkeypatch):
    """The finished run's data and a copy of its folder."""
    data, folder = finished
    subprocess.run(["cp", "-r", str(folder), str(tmp_path / "copy")], check=True)
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "copy"))
    return data, runs.run_folder(data, "run")


def test_a_run_folder_holds_everything(done):
    data, folder = done
    names = {"config.json", "labels.json", "history.csv", "best.safetensors", "metrics.json"}
    assert {p.name for p in folder.iterdir()} == names | {
        "predictions_val.npz",
        "predictions_test.npz",
    }
    result = runs.load_run(folder)
    assert result.labels == data.labels and result.name == "run" and len(result.history) == 3
    assert result.test.recording_ids == data.side("test") and result.val.recording_ids == data.side(
        "validation"
    )
    assert (
        result.config["settings"] == dataclasses.asdict(data.profile.runs["run"])
        and result.config["seed"] == 7
    )
    assert {
        "epochs",
        "best_epoch",
        "seconds",
        "parameters",
        "pretrained",
        "train",
        "val",
        "test",
    } <= set(result.metrics)
    assert result.metrics["val"]["accuracy"] == (result.val.predicted == result.val.targets).mean()
    assert result.metrics["seconds"] == pytest.approx(result.history["seconds"].sum())


def test_the_model_of_a_run_predicts_what_the_run_did(done):
    data, folder = done
    found = predict(runs.load_model(folder), data.clips("test"), "standard")
    np.testing.assert_allclose(
        found.probabilities, runs.load_run(folder).test.probabilities, atol=1e-6
    )


def test_the_model_of_a_run_that_began_with_a_checkpoint_of_another_size(tmp_path):
    from transformers import ASTConfig, ASTForAudioClassification

    size = {
        "hidden_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    ASTForAudioClassification(ASTConfig(**size, max_length=1024, num_labels=527)).save_pretrained(
        tmp_path / "checkpoint"
    )
    model = ModelSettings(name="ast", pretrained=str(tmp_path / "checkpoint"))
    data, run = small_study(), replace(settings(epochs=1), model=model)
    result = train_run(data, "run", run, progress=False)
    found = predict(runs.load_model(result.folder), data.clips("test"), "standard")
    np.testing.assert_allclose(found.probabilities, result.test.probabilities, atol=1e-6)


def test_a_finished_run_is_loaded_and_a_changed_one_is_trained_from_the_start(done, capsys):
    data, folder = done
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert train_run(data, "run").metrics == json.loads((folder / "metrics.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert capsys.readouterr().out == ""
    old = (folder / "best.safetensors").read_bytes()
    result = train_run(data, "run", settings(epochs=1), progress=False)
    assert result.metrics["epochs"] == 1
    said = capsys.readouterr().out
    assert (
        "run: train.epochs 3 is now 1: trained from the start; the finished run is kept in" in said
    )
    assert (folder / "replaced" / "best.safetensors").read_bytes() == old
    assert runs.load_run(folder / "replaced").metrics["epochs"] == 3
    again = train_run(data, "run", settings(epochs=1), progress=False, again=True)
    assert (
        again.config["key"] == result.config["key"]
        and runs.load_run(folder / "replaced").metrics["epochs"] == 1
    )


@pytest.mark.parametrize("again", [False, True])
def test_a_run_whose_network_cannot_be_built_leaves_the_earlier_one_where_it_is(done, again):
    data, folder = done
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    wrong = replace(settings(), model=ModelSettings(name="mfcc", pretrained="synthetic"))
    with pytest.raises(BirdnbError, match="pretrained"):
        train_run(data, "run", wrong, progress=False, again=again)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert train_run(data, "run", progress=False).metrics["epochs"] == 3


def test_an_unfinished_run_with_changed_settings_starts_over(done, capsys):
    data, folder = done
    (folder / "metrics.json").unlink()
    (folder / "last.pt").write_bytes(b"state of the old settings")
    for name, age in ((".tmp-killed.pt", STALE_SECONDS + 60), (".tmp-at-work.pt", 0)):
        (folder / name).write_bytes(b"half a state")
        os.utime(folder / name, (time.time() - age,) * 2)
    result = train_run(data, "run", settings(epochs=1, lr_head=1e-4), progress=False)
    assert result.metrics["epochs"] == 1 and not (folder / "replaced").exists()
    assert (
        "train.epochs 3 is now 1, train.lr_head 0.003 is now 0.0001: trained from the start"
        in capsys.readouterr().out
    )
    assert [path.name for path in folder.glob(".tmp-*")] == [".tmp-at-work.pt"]
    assert not (folder / "last.pt").exists()


class Interfered(StudyData):
    """A study during which something happens: when it asks for the clips of a side."""

    def when(self, side, happens):
        self.side_of_it, self.happens = side, happens
        return self

    def clips(self, name, segments=None):
        if name == self.side_of_it:
            self.happens()
        return super().clips(name, segments)


@pytest.mark.parametrize("side", ["train", "test"])
def test_a_study_whose_folder_another_one_took_stops_and_the_other_goes_on(side):
    ours, other = Interfered(**vars(small_study(7))), small_study(8)
    ours.when(side, lambda: begin_run(other, "run", settings(), 1))
    with pytest.raises(BirdnbError, match=r"another study works in .*small-tiny.*wait for it"):
        train_run(ours, "run", progress=False)
    folder = runs.run_folder(other, "run")
    assert (
        not (folder / "metrics.json").exists()
        and runs.read_json(folder / "config.json")["seed"] == 8
    )
    result = train_run(other, "run", progress=False)
    alone = train_run(other, "run", progress=False, again=True)
    np.testing.assert_array_equal(result.test.probabilities, alone.test.probabilities)


def test_logistic_regression_leaves_a_folder_that_another_study_finished():
    ours, other = Interfered(**vars(small_study(7))), small_study(8)
    ours.when("test", lambda: train_run(other, "classical_mfcc", progress=False))
    with pytest.raises(BirdnbError, match="another study works in"):
        train_run(ours, "classical_mfcc", progress=False)
    assert runs.load_run(runs.run_folder(other, "classical_mfcc")).config["seed"] == 8


def test_a_folder_of_the_same_name_does_not_take_the_place_of_another(tmp_path):
    """Unless the other one is gone, or both hold the same recordings."""
    one, two = tmp_path / "site1" / "audio", tmp_path / "site2" / "audio"
    for place in (one, two):
        place.mkdir(parents=True)
        (place / "a.wav").write_bytes(bytes(len(place.parts)))

    def study(place, seed=7):
        data = small_study(seed)
        data.corpus = replace(data.corpus, synthetic=False, folder=place)
        return data

    first = train_run(study(one), "classical_mfcc", progress=False)
    assert train_run(study(two), "classical_mfcc", progress=False).metrics == first.metrics
    check_runs(two, first.folder.parent.name.removesuffix("-tiny"), "tiny")  # a copy
    (two / "a.wav").write_bytes(b"another recording")
    for again in (False, True):
        with pytest.raises(
            BirdnbError, match=r"has results of .*site1/audio, and .*site2/audio.*rename this"
        ):
            train_run(study(two, 8), "classical_mfcc", progress=False, again=again)
    assert train_run(study(one, 9), "classical_mfcc", progress=False).config["seed"] == 9
    one.rename(tmp_path / "elsewhere")
    moved = train_run(study(two, 8), "classical_mfcc", progress=False)
    assert moved.config["seed"] == 8 and moved.config["corpus"]["folder"] == str(two)


def test_what_a_run_depends_on(finished):
    data, _ = finished

    def key(study=data, run=None):
        return runs.run_config(study, "run", run or settings(), torch.device("cpu"), 1)["key"]

    moved = data.table.assign(side=data.table["side"].to_list()[::-1])
    other_sound = small_study()
    other_sound.cache.index = other_sound.cache.index.assign(sha256="0")
    changed = [
        key(replace(data, seed=8)), key(replace(data, table=moved)),
        key(replace(data, labels=data.labels[::-1])),
        key(other_sound), key(run=settings(lr_head=1.0)),
    ]  # fmt: skip
    assert len({key(), *changed}) == 6 and key(small_study()) == key()


def weights_key(**model):
    """What the configuration of a run says of the weights that its network starts from."""
    run = replace(settings(), model=ModelSettings(**model))
    return runs.run_config(small_study(), "run", run, torch.device("cpu"), 1)["weights"]


OWN_NETWORK = """
from torch import nn

class Own(nn.Module):
    def __init__(self, n_classes, n_frames, pretrained=False, *, size="", drop_path=0.0):
        super().__init__()
        self.body, self.head = nn.Conv1d(128, 8, 5), nn.Linear(8, n_classes)

    def layers(self):
        return [self.body]

    def embed(self, x):
        return self.body(x).mean(dim=2)

    def forward(self, x):
        return self.head(self.embed(x))
"""


def register(module, monkeypatch, source, by_name=True):
    """Write the module, import it anew and register its network: the class, or its name."""
    module.write_text(source)
    monkeypatch.syspath_prepend(str(module.parent))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sys.modules.pop(module.stem, None)
    own = importlib.import_module(module.stem).Own
    monkeypatch.setitem(MODELS, "own", f"{module.stem}:Own" if by_name else own)


@pytest.mark.parametrize("by_name", [True, False])
def test_a_run_of_ones_own_network_is_trained_again_when_its_code_changes(
    tmp_path, monkeypatch, capsys, by_name
):
    data, module = small_study(), tmp_path / "own_network.py"
    register(module, monkeypatch, OWN_NETWORK, by_name)
    own = override(settings(epochs=1), name="own")
    first = train_run(data, "mine", own, progress=False)
    assert train_run(data, "mine", own, progress=False).metrics == first.metrics
    assert capsys.readouterr().out == ""
    wider = OWN_NETWORK.replace("128, 8, 5", "128, 8, 9")
    register(module, monkeypatch, wider, by_name)
    second = train_run(data, "mine", own, progress=False)
    assert second.metrics["parameters"] - first.metrics["parameters"] == 4 * 8 * 128
    assert "mine: the code of its own network or augmentation changed" in capsys.readouterr().out
    gain = "self.gain = nn.Parameter(nn.Linear(1, 1).weight.data)\n\n    def layers"
    register(module, monkeypatch, OWN_NETWORK.replace("\n    def layers", f"        {gain}"))
    with pytest.raises(BirdnbError, match=r"'gain' is in none of layers\(\)"):
        train_run(data, "other", own, progress=False)


def test_other_code_of_an_augmentation_is_another_run(monkeypatch):
    def key(extra=""):
        own = override(settings(), extra=extra)
        config = runs.run_config(small_study(), "run", own, torch.device("cpu"), 1)
        return config["key"], config["own_code"]

    def louder(x, generator):
        return x + 1

    monkeypatch.setitem(AUGMENTATIONS, "mine", louder)
    first, ours = key("mine"), key()
    monkeypatch.setitem(AUGMENTATIONS, "mine", lambda x, generator: x + 2)
    assert len({first, key("mine"), ours}) == 3 and ours[1] is None
    monkeypatch.setitem(AUGMENTATIONS, "mine", "no_such_module:louder")
    with pytest.raises(BirdnbError, match=r"'mine' is registered as .*cannot be imported"):
        key("mine")


def test_species_in_the_background_count_where_they_are_learned(finished):
    data, _ = finished
    behind = data.table.assign(background_species="")
    behind.loc[behind.index[0], "background_species"] = data.labels[1]
    other = replace(data, table=behind.assign(side="train"))
    plain = replace(data, table=behind.assign(side="train", background_species=""))

    def key(study, share):
        own = dataclasses.replace(
            settings(), train=dataclasses.replace(settings().train, background_labels=share)
        )
        return runs.run_config(study, "run", own, torch.device("cpu"), 1)["key"]

    assert key(other, 0.3) != key(plain, 0.3) and key(other, 0.0) == key(plain, 0.0)


def test_local_weights_are_part_of_the_configuration(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"1")
    before = weights_key(name="mfcc", pretrained=str(tmp_path / "w.safetensors"))
    (tmp_path / "w.safetensors").write_bytes(b"2")
    assert weights_key(name="mfcc", pretrained=str(tmp_path / "w.safetensors")) != before
    assert weights_key(name="mfcc") is None


def test_shipped_weights_count_for_their_own_model_only():
    for name in ("ast", "efficientnet_b2"):
        own = weights_key(name=name, pretrained=str(shipped(name)))
        assert weights_key(name=name, pretrained="synthetic") == own


def test_damaged_run_folders_are_refused_with_the_file(done):
    data, folder = done
    weights = bytearray((folder / "best.safetensors").read_bytes())
    weights[-3] ^= 1
    (folder / "best.safetensors").write_bytes(weights)
    with pytest.raises(BirdnbError, match=r"best\.safetensors is damaged or of another run"):
        runs.load_model(folder)
    for name, damage in (
        ("predictions_test.npz", b"PK"),
        ("history.csv", b""),
        ("metrics.json", b"{"),
        ("labels.json", b'["a"]'),
    ):
        good = (folder / name).read_bytes()
        (folder / name).write_bytes(damage)
        with pytest.raises(BirdnbError, match=f"{name}|{folder.name}"):
            train_run(data, "run")
        (folder / name).write_bytes(good)
    (folder / "config.json").write_bytes(b"{")
    with pytest.raises(BirdnbError, match=r"config\.json is missing or damaged.*--again"):
        train_run(data, "run")
    with pytest.raises(BirdnbError, match="holds no finished run"):
        runs.load_run(folder / "nothing")


def test_training_does_not_see_the_test_labels(done, tmp_path, monkeypatch):
    _, folder = done
    lied = small_study()
    test = lied.table["side"] == "test"
    lied.table.loc[test, "species"] = np.random.default_rng(0).permutation(
        lied.table.loc[test, "species"]
    )
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "lied"))
    result = train_run(lied, "run", progress=False)
    assert (result.folder / "best.safetensors").read_bytes() == (
        folder / "best.safetensors"
    ).read_bytes()
    assert result.metrics["test"]["accuracy"] < runs.load_run(folder).metrics["test"]["accuracy"]


def test_only_the_settings_say_what_is_logistic_regression():
    data = small_study()
    with pytest.raises(BirdnbError, match="no run 'my_classical_mfcc'"):
        train_run(data, "my_classical_mfcc")
    result = train_run(data, "my_classical_mfcc", settings(epochs=1), progress=False)
    assert result.config["settings"]["model"]["name"] == "mfcc"
    own = train_run(data, "other_name", runs.ClassicalSettings())
    assert own.config["settings"] == {"model": {"name": "classical_mfcc"}}


def test_the_classical_reference_is_a_run_like_any_other(tmp_path):
    data = small_study()
    result = train_run(data, "classical_mfcc")
    assert result.metrics["test"]["accuracy"] > 0.5 and result.metrics["epochs"] == 1
    assert (
        result.test.recording_ids == data.side("test")
        and (result.folder / "classical.safetensors").exists()
    )
    with pytest.raises(BirdnbError, match="holds no network"):
        runs.load_model(result.folder)


def test_recording_probabilities_are_the_mean_over_their_clips():
    owner = torch.tensor([0, 0, 1, 2, 2, 2])
    clips = Clips(torch.zeros(6, 1, 1), torch.tensor([2, 2, 0, 1, 1, 1]), owner, ["a", "b", "c"])
    p = np.random.default_rng(0).dirichlet(np.ones(3), 6)
    found = by_recording(clips, torch.from_numpy(p))
    expected = [(p[0] + p[1]) / 2, p[2], (p[3] + p[4] + p[5]) / 3]
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-6)
    assert found.targets.tolist() == [2, 0, 1]
    none = Clips(clips.lms, clips.target, owner, ["a", "b", "c", "d"])
    with pytest.raises(BirdnbError, match="'d' has no segments"):
        by_recording(none, torch.from_numpy(p))


def test_folds_have_folders_of_their_own():
    data = replace(small_study(), fold=(2, 4))
    assert runs.run_folder(data, "run").parts[-3:] == ("small-tiny", "run", "fold-2-of-4")


def test_logistic_regression_takes_no_settings(capsys):
    assert main(["--run", "classical_mfcc", "--epochs", "9"]) == 2
    assert "classical_mfcc takes no --epochs" in capsys.readouterr().err
    assert main(["--run", "classical_mfcc", "--tracker", "tensorboard"]) == 2
    assert "classical_mfcc takes no --tracker" in capsys.readouterr().err


def test_an_unknown_run_is_named():
    with pytest.raises(BirdnbError, match=r"no run 'nonsense': choose run, classical_mfcc"):
        train_run(small_study(), "nonsense")
    with pytest.raises(BirdnbError, match=r"'\.\./x' cannot be a folder"):
        runs.run_folder(small_study(), "../x")


def test_the_commit_carries_a_plus_only_when_code_was_changed(tmp_path):
    def git(*words):
        command = [
            "git",
            "-C",
            str(tmp_path),
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b.c",
            *words,
        ]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert runs.git_commit(tmp_path) is None
    names = ("birdnb/code.py", "pyproject.toml", "reports/table.md")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("before\n")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    commit = git("rev-parse", "HEAD")[:12]
    for name, plus in zip(names, ("+", "+", ""), strict=True):
        (tmp_path / name).write_text("after\n")
        assert runs.git_commit(tmp_path) == commit + plus, name
        git("checkout", "--quiet", "--", name)
    assert runs.git_commit(tmp_path) == commit
    (tmp_path / "birdnb" / "new.py").write_text("")
    assert runs.git_commit(tmp_path) == f"{commit}+"


def test_a_run_that_was_begun_goes_on_and_ends_like_one_in_a_piece(done):
    data, whole = done
    _, history = begin_run(data, "begun", settings(), 2)
    assert len(history) == 2 and not (runs.run_folder(data, "begun") / "metrics.json").exists()
    begun = train_run(data, "begun", settings(), progress=False)
    assert len(begun.history) == 3
    ours, theirs = ((folder / "best.safetensors").read_bytes() for folder in (begun.folder, whole))
    assert ours == theirs, "the weights are others than without the break"
    assert {p.name for p in begun.folder.iterdir()} == {p.name for p in whole.iterdir()}
    _, looked_at = begin_run(data, "begun", settings(), 2)  # finished: nothing is trained again
    assert looked_at.equals(begun.history)
