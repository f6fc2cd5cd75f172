"""The training command, and several processes that train and predict as one."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_study import settings, small_study, write_study

from birdnb.config import RunSettings, load_profile
from birdnb.evaluation.predictions import predict
from birdnb.files import BirdnbError, sha256_of
from birdnb.registry import MODELS
from birdnb.training import __main__ as command
from birdnb.training import options, runs
from birdnb.training.checkpoint import BEST
from birdnb.training.train import train_run

pytestmark = pytest.mark.usefixtures("scratch")
ROOT = Path(__file__).resolve().parents[2]


def test_two_processes_train_and_predict_as_one(tmp_path):
    """``accelerate launch`` with two CPU processes gives one run folder.

    Every recording is predicted once, the same as by one process.
    """
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes=2",
        "--main_process_port=0",
    ]
    env = os.environ | {
        "ACCELERATE_USE_CPU": "true",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    env["BIRDNB_ARTIFACTS"] = str(tmp_path)
    done = subprocess.run(
        [*command, str(ROOT / "tests" / "small_study.py"), "2"],
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    shared = json.loads((tmp_path / "shared.json").read_text())
    result = runs.load_run(next(tmp_path.glob("runs/*/run")))
    data = small_study()
    alone = predict(runs.load_model(result.folder), data.clips("validation"), "standard")
    assert shared["processes"] == result.config["processes"] == 2
    assert (
        shared["ids"] == alone.recording_ids == result.val.recording_ids == data.side("validation")
    )
    np.testing.assert_allclose(shared["p"], alone.probabilities, atol=1e-6)
    np.testing.assert_allclose(result.val.probabilities, alone.probabilities, atol=1e-6)
    assert (
        result.history["val_accuracy"].iloc[result.metrics["best_epoch"] - 1]
        == (alone.predicted == alone.targets).mean()
    )
    assert len(result.history) == 2


def setting_options():
    """A parser with an option for each setting."""
    parser = argparse.ArgumentParser()
    options.add_settings(parser)
    return parser


def test_every_setting_has_an_option():
    run = RunSettings()
    for part in (run.model, run.train, run.augment):
        for name in set(vars(part)) - {"name"}:
            assert vars(setting_options().parse_args([]))[name] is None
    text = " ".join(setting_options().format_help().split())
    assert "--epochs N epochs at most (1 or more, default 10)" in text
    assert "--loss cross_entropy|focal" in text and "--no-mixup" in text


def test_options_override_the_profile_and_nothing_else():
    profile = load_profile("gpu")
    args = vars(
        setting_options().parse_args(
            ["--mixup-prob", "0.7", "--no-noise", "--pretrained", "False", "--epochs", "3"]
        )
    )
    name, changed = options.settings_of(profile, "phase3_ast_full", None, args)
    base = profile.runs["phase3_ast_full"]
    assert name == "phase3_ast_full" and changed == replace(
        base,
        model=replace(base.model, pretrained=False),
        train=replace(base.train, epochs=3),
        augment=replace(base.augment, mixup_prob=0.7, noise=False),
    )
    none = vars(setting_options().parse_args([]))
    assert options.settings_of(profile, "mine", "efficientnet_b2", none) == (
        "mine",
        profile.runs["phase3_efficientnet_full"],
    )
    assert options.settings_of(profile, None, "ast", none) == (
        "phase3_ast_baseline",
        profile.runs["phase3_ast_baseline"],
    )
    for run, model, message in (
        ("nonsense", None, "no run 'nonsense'"),
        (None, None, "give --model"),
        ("x", "resnet", "resnet"),
    ):
        with pytest.raises(BirdnbError, match=message):
            options.settings_of(profile, run, model, none)


@pytest.fixture
def tiny(tmp_path):
    """The words that train on a small corpus with spectrograms that are there already."""
    (tmp_path / "tiny.yaml").write_text("""
audio: {clip_seconds: 3.0}
runs: {phase2_mfcc: {model: {name: mfcc, pretrained: false}}}
""")
    root = write_study(tmp_path / "small")
    return ["--corpus", str(root), "--profile", str(tmp_path / "tiny.yaml"), "--run", "phase2_mfcc"]


def test_the_command_trains_prints_and_complains_in_one_line(tiny, capsys):
    assert command.main([*tiny, "--seed", "9", "--fold", "2/4", "--epochs", "1"]) == 0
    out = capsys.readouterr().out
    folder = Path(out.splitlines()[-1])
    assert "validation" in out and "F1 macro" in out
    assert folder.parts[-3:] == ("small-tiny", "phase2_mfcc", "fold-2-of-4")
    config = json.loads((folder / "config.json").read_text())
    assert config["seed"] == 9 and config["fold"] == [2, 4]
    assert config["settings"]["train"]["epochs"] == 1
    for bad in ("--run nonsense", "--profile nonsense --run x", "--model resnet --run x",
                "--run phase2_mfcc --loss hinge", "--run phase2_mfcc --epochs -1"):  # fmt: skip
        assert command.main(bad.split()) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
    for bad in (["--fold", "5/4"], ["--fold", "one"], ["--epochs", "many"], ["--nonsense"]):
        with pytest.raises(SystemExit) as caught:
            command.main(bad)
        assert caught.value.code == 2


def test_ctrl_c_says_that_the_run_goes_on(tiny, monkeypatch, capsys):
    """The network presses it while it is built."""
    monkeypatch.setitem(MODELS, "mfcc", lambda *args, **kwargs: signal.raise_signal(signal.SIGINT))
    assert command.main(tiny) == 130
    assert "goes on" in capsys.readouterr().err


def test_a_tracker_follows_a_training_and_nothing_is_written_without_one(tmp_path, monkeypatch):
    """The curves are those of the history, and TensorBoard's own reader finds them."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    data = small_study()
    quiet = train_run(data, "quiet", settings(epochs=2), progress=False)
    assert not list(quiet.folder.glob("events*"))
    monkeypatch.setenv("BIRDNB_TRACKER", "tensorboard")
    result = train_run(data, "followed", settings(epochs=2), progress=False)
    assert sha256_of(result.folder / BEST) == sha256_of(quiet.folder / BEST)
    events = reader.EventAccumulator(str(result.folder))
    events.Reload()
    shown = [event.value for event in events.Scalars("epochs/val_accuracy")]
    np.testing.assert_allclose(shown, result.history["val_accuracy"], rtol=1e-6)
    assert all(np.isfinite(event.value) for event in events.Scalars("batches/loss"))
    command_of = ["--run", "other", "--model", "mfcc", "--tracker", "sketch"]
    with pytest.raises(SystemExit):
        command.main(command_of)
