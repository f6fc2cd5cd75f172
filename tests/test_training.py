"""The training loop, run folders and the command line, against plain torch, formulas worked by hand, and damaged files."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from sklearn.metrics import f1_score
from small_study import settings, small_study
from torch import nn

from birdnb import checkpoint, fitting, options, runs, training
from birdnb.config import AugmentSettings, ModelSettings, RunSettings, TrainSettings, load_profile
from birdnb.data import Clips
from birdnb.evaluation import Predictions, predict
from birdnb.features.lms import normalise
from birdnb.files import BirdnbError

ROOT = Path(__file__).resolve().parent.parent
LABELS = ["a", "b", "c"]


class Plain(nn.Module):
    """A linear model without any randomness that remembers what it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head, self.seen = nn.Linear(8, 6), nn.Linear(6, 3), []

    def layers(self) -> list[nn.Module]:
        return [self.body]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen.append(x.clone())
        return self.head(torch.tanh(self.body(x[:, :4, :2].flatten(1))))


@pytest.fixture(autouse=True)
def _scratch(tmp_path, monkeypatch):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def some_clips(recordings: int, segments: int = 2, seed: int = 0) -> Clips:
    """Random clips whose class shows in their loudest band."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(recordings) % 3
    lms = torch.randn(recordings * segments, 8, 12, generator=generator) * 5 - 60
    owner = torch.arange(recordings).repeat_interleave(segments)
    for i, c in enumerate(target[owner].tolist()):
        lms[i, c, :2] += 15
    return Clips(lms.half(), target[owner], owner, [f"r{i}" for i in range(recordings)])


def plain_run(**train: object) -> RunSettings:
    values = {"epochs": 3, "batch_size": 8, "lr_backbone": 2e-3, "lr_head": 1e-2, "patience": 99} | train
    return RunSettings(train=TrainSettings(**values))


def run_fit(model, run, folder, train=None, val=None, seed=3):
    train, val = train or some_clips(20), val or some_clips(9, seed=1)
    return fitting.fit(model, train, val, run, folder, seed=seed, labels=LABELS, progress=False)


# ---- the loop


def test_fit_equals_a_plain_torch_loop(tmp_path):
    """The batches it drew, replayed by a loop of plain torch with the schedule worked by hand, give the same weights."""
    run, clips = plain_run(accumulation=2, clip_norm=0.05, warmup=0.25, weight_decay=0.1), some_clips(20)
    model = Plain()
    history = run_fit(model, run, tmp_path, clips)
    batches, model.seen = model.seen, []
    x_of_clip = normalise(clips.lms.float(), "standard")
    number_of = {row.numpy().tobytes(): i for i, row in enumerate(x_of_clip)}

    other = Plain()
    decayed = {"weight_decay": 0.1}, {"weight_decay": 0.0}
    groups = [
        {"params": [getattr(part, name)], "lr": lr, **decay}
        for part, lr in ((other.body, 2e-3), (other.head, 1e-2))
        for name, decay in (("weight", decayed[0]), ("bias", decayed[1]))
    ]
    optimizer = torch.optim.AdamW(groups)
    full = [group["lr"] for group in groups]
    total, warm = 9, 2  # 40 clips / 8 = 5 batches = 3 steps an epoch, the last of one batch only; 0.25 * 9 = 2.25
    assert len(batches) == 15
    for epoch in range(3):
        order = [number_of[row.numpy().tobytes()] for x in batches[5 * epoch : 5 * epoch + 5] for row in x]
        assert sorted(order) == list(range(40)), "each clip once an epoch"
        for step, group in enumerate(([0, 1], [2, 3], [4])):
            for b in group:
                x = batches[5 * epoch + b]
                target = clips.target[[number_of[row.numpy().tobytes()] for row in x]]
                (nn.functional.cross_entropy(other(x), target) / len(group)).backward()
            done = 3 * epoch + step
            factor = (done + 1) / warm if done < warm else (1 + math.cos(math.pi * (done - warm) / (total - warm))) / 2
            for part, lr in zip(optimizer.param_groups, full, strict=True):
                part["lr"] = lr * factor
            nn.utils.clip_grad_norm_(other.parameters(), 0.05)
            optimizer.step()
            optimizer.zero_grad()
        assert history["lr_head"][epoch] == pytest.approx(1e-2 * factor)
        assert history["lr_backbone"][epoch] == pytest.approx(2e-3 * factor)
    for name, value in other.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_fit_learns_and_writes_its_history(tmp_path):
    val = some_clips(9, seed=1)
    history = run_fit(Plain(), plain_run(epochs=12), tmp_path, val=val)
    assert list(history) == [
        "epoch", "train_loss", "val_loss", "train_accuracy", "val_accuracy", "val_f1_macro",
        "lr_backbone", "lr_head", "seconds", "clips_per_second", "peak_memory_mb",
    ]  # fmt: skip
    assert history["val_accuracy"].iloc[-1] > 0.8 and history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "history.csv"), history)


@pytest.mark.parametrize(("keep", "ema"), [("best", 0.0), ("last", 0.0), ("best", 0.8), ("last", 0.8)])
def test_the_kept_weights_are_those_that_history_says(tmp_path, keep, ema):
    run, val = plain_run(epochs=6, lr_head=0.5, lr_backbone=0.5, keep=keep, ema_decay=ema, warmup=0.0), some_clips(30, seed=5)
    run = replace(run, augment=AugmentSettings(time_shift=True, mixup=True, mixup_prob=1.0))
    model = Plain()
    history = run_fit(model, run, tmp_path, val=val)
    row = history.iloc[fitting.best_epoch(history.to_dict("records")) if keep == "best" else -1]
    found = predict(model, val, "standard")
    log_p = torch.from_numpy(found.probabilities).log()
    assert (found.predicted == found.targets).mean() == row["val_accuracy"], "validation is not augmented"
    assert nn.functional.nll_loss(log_p, torch.from_numpy(found.targets)).item() == pytest.approx(row["val_loss"], rel=1e-5)
    for name, value in safetensors.torch.load_file(tmp_path / "best.safetensors").items():
        assert torch.equal(value, model.state_dict()[name])


def test_ema_is_the_recursion_by_hand():
    model = nn.Linear(2, 1)
    ema = checkpoint.Ema(model, 0.9)
    value = ema.model.weight.clone()
    for step in range(120):
        with torch.no_grad():
            model.weight += torch.randn_like(model.weight)
        ema.update(model, step)
        decay = min(0.9, (1 + step) / (10 + step))
        value = decay * value + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(ema.model.weight, value, rtol=1e-4, atol=1e-5)


def test_best_epoch_by_hand():
    rows = [(0.5, 1.0), (0.7, 0.9), (0.7, 0.8), (0.7, 0.8), (0.6, 0.1)]
    assert fitting.best_epoch([{"val_f1_macro": f1, "val_loss": loss} for f1, loss in rows]) == 2


def test_early_stopping_counts_epochs_without_a_better_score(tmp_path):
    history = run_fit(Plain(), plain_run(epochs=20, lr_head=0.0, lr_backbone=0.0, patience=4), tmp_path)
    assert len(history) == 5  # nothing changes: the first epoch stays the best


def test_f1_is_scikit_learns():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(5), 40).astype(np.float32)
    targets = rng.integers(0, 4, 40)  # the fifth species has no recording
    reference = f1_score(targets, p.argmax(1), labels=np.unique(targets), average="macro", zero_division=0)
    assert fitting.f1_macro(Predictions([str(i) for i in range(40)], p, targets)) == pytest.approx(reference)


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_training_that_diverges_stops_and_says_what_to_change(tmp_path, loss):
    with pytest.raises(BirdnbError, match=r"diverged in epoch \d.*lower lr_backbone \(now 1e\+06\).*warmup.*clip_norm"):
        run_fit(Plain(), plain_run(lr_head=1e6, lr_backbone=1e6, epochs=20, loss=loss), tmp_path, some_clips(60))


def test_spectrograms_that_are_not_finite_stop_the_training(tmp_path):
    clips = some_clips(20)
    clips.lms[7] = torch.nan
    with pytest.raises(BirdnbError, match="diverged in epoch 1, the loss is nan"):
        run_fit(Plain(), plain_run(), tmp_path, clips)


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"batch_size": 0}, {"ema_decay": 1.0}, {"warmup": -0.1}])
def test_settings_that_make_no_sense_are_refused(tmp_path, bad):
    with pytest.raises(BirdnbError, match=rf"{next(iter(bad))} (is )?{next(iter(bad.values()))}"):
        run_fit(Plain(), plain_run(**bad), tmp_path)


def test_bf16_on_request(tmp_path):
    kinds = set()

    class Watched(Plain):
        def forward(self, x):
            out = super().forward(x)
            kinds.add(out.dtype)
            return out

    run_fit(Watched(), plain_run(precision="bf16", epochs=1), tmp_path / "a")
    assert kinds == {torch.bfloat16}
    kinds.clear()
    run_fit(Watched(), plain_run(precision="auto", epochs=1), tmp_path / "b")
    assert kinds == {torch.float32} or torch.cuda.is_available()


def test_recordings_can_be_taken_out_in_any_order():
    clips = some_clips(5, segments=3)
    part = clips.of_recordings([4, 1])
    assert part.recording_ids == ["r4", "r1"]
    for k, original in enumerate([4, 1]):
        assert torch.equal(part.lms[part.recording == k], clips.lms[clips.recording == original])
        assert set(part.target[part.recording == k].tolist()) == {original % 3}


# ---- the state of a killed training


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A folder whose training was interrupted after two epochs."""
    real = fitting._Loop._epoch

    def epoch(loop, bar):
        if len(loop.history) == 2:
            raise KeyboardInterrupt
        real(loop, bar)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fitting._Loop, "_epoch", epoch)
        patch.setattr(fitting, "SAVE_SHARE", 1e9)  # save every epoch
        run_fit(Plain(), plain_run(epochs=4), tmp_path / "stopped")
    return tmp_path / "stopped"


def test_a_stopped_training_ends_as_an_undisturbed_one(tmp_path, stopped):
    model = Plain()
    run_fit(model, plain_run(epochs=4), stopped)
    assert len(model.seen) == 2 * 5, "two epochs of five batches are left"
    run_fit(Plain(), plain_run(epochs=4), tmp_path / "whole")
    assert (stopped / "best.safetensors").read_bytes() == (tmp_path / "whole" / "best.safetensors").read_bytes()
    drop = ["seconds", "clips_per_second", "peak_memory_mb"]
    one, two = (pd.read_csv(folder / "history.csv").drop(columns=drop) for folder in (stopped, tmp_path / "whole"))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_a_state_of_another_configuration_is_refused(stopped):
    with pytest.raises(BirdnbError, match="other settings, seed or clips"):
        run_fit(Plain(), plain_run(epochs=5), stopped)
    with pytest.raises(BirdnbError, match="other settings, seed or clips"):
        run_fit(Plain(), plain_run(epochs=4), stopped, seed=4)
    with pytest.raises(BirdnbError, match="other settings, seed or clips"):
        run_fit(Plain(), plain_run(epochs=4), stopped, some_clips(20, seed=9))
    with pytest.raises(BirdnbError, match=r"other labels \(3 species\)"):
        clips = some_clips(20), some_clips(9, seed=1)
        fitting.fit(Plain(), *clips, plain_run(epochs=4), stopped, seed=3, labels=["a", "b", "x"], progress=False)


@pytest.mark.parametrize("how", ["flip", "cut", "text", "empty"])
def test_a_damaged_state_is_refused(stopped, how):
    path = stopped / "last.pt"
    content = bytearray(path.read_bytes())
    if how == "flip":
        at = content.index(torch.load(path, weights_only=True)["model"]["body.weight"].numpy().tobytes()[:16])
        content[at + 5] ^= 1
    damaged = {"cut": content[: len(content) // 2], "text": b"not a state", "empty": b""}.get(how, content)
    path.write_bytes(damaged)
    with pytest.raises(BirdnbError, match=r"last\.pt is damaged.*--again"):
        run_fit(Plain(), plain_run(epochs=4), stopped)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux' always full disk")
@pytest.mark.parametrize("write", [checkpoint.save_state, checkpoint.save_weights])
def test_a_full_disk_is_told_from_other_errors(monkeypatch, write):
    monkeypatch.setattr(checkpoint, "atomic_path", lambda path: contextlib.nullcontext(Path("/dev/full")))
    with pytest.raises(OSError, match="No space left"):
        write(Path("x"), {"a": torch.zeros(100_000)})


# ---- runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of the small study, to be copied by those who change it: (data, artifacts folder)."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("finished")
        patch.setenv("BIRDNB_ARTIFACTS", str(folder))
        data = small_study()
        training.train_run(data, "run", progress=False)
        return data, folder


@pytest.fixture
def done(finished, tmp_path, monkeypatch):
    """The finished run's data and a copy of its folder."""
    data, folder = finished
    subprocess.run(["cp", "-r", str(folder), str(tmp_path / "copy")], check=True)
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "copy"))
    return data, training.run_folder(data, "run")


def test_a_run_folder_holds_everything(done):
    data, folder = done
    names = {"config.json", "labels.json", "history.csv", "best.safetensors", "metrics.json"}
    assert {p.name for p in folder.iterdir()} == names | {"predictions_val.npz", "predictions_test.npz"}
    result = training.load_run(folder)
    assert result.labels == data.labels and result.name == "run" and len(result.history) == 3
    assert result.test.recording_ids == data.side("test") and result.val.recording_ids == data.side("validation")
    assert result.config["settings"] == dataclasses.asdict(data.profile.runs["run"]) and result.config["seed"] == 7
    assert {"epochs", "best_epoch", "seconds", "parameters", "pretrained", "train", "val", "test"} <= set(result.metrics)
    assert result.metrics["val"]["accuracy"] == (result.val.predicted == result.val.targets).mean()
    assert result.metrics["seconds"] == pytest.approx(result.history["seconds"].sum())


def test_the_model_of_a_run_predicts_what_the_run_did(done):
    data, folder = done
    found = predict(training.load_model(folder), data.clips("test"), "standard")
    np.testing.assert_allclose(found.probabilities, training.load_run(folder).test.probabilities, atol=1e-6)


def test_the_model_of_a_run_that_began_with_a_checkpoint_of_another_size(tmp_path):
    from transformers import ASTConfig, ASTForAudioClassification

    size = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    ASTForAudioClassification(ASTConfig(**size, max_length=1024, num_labels=527)).save_pretrained(tmp_path / "checkpoint")
    model = ModelSettings(name="ast", pretrained=str(tmp_path / "checkpoint"))
    data, run = small_study(), replace(settings(epochs=1), model=model)
    result = training.train_run(data, "run", run, progress=False)
    found = predict(training.load_model(result.folder), data.clips("test"), "standard")
    np.testing.assert_allclose(found.probabilities, result.test.probabilities, atol=1e-6)


def test_a_finished_run_is_loaded_and_a_changed_one_is_trained_from_the_start(done, monkeypatch, capsys):
    data, folder = done
    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", None)
        assert training.train_run(data, "run").metrics == json.loads((folder / "metrics.json").read_text())
    assert capsys.readouterr().out == ""
    old = (folder / "best.safetensors").read_bytes()
    result = training.train_run(data, "run", settings(epochs=1), progress=False)
    assert result.metrics["epochs"] == 1
    said = capsys.readouterr().out
    assert "run: train.epochs 3 is now 1: trained from the start; the finished run is kept in" in said
    assert (folder / "replaced" / "best.safetensors").read_bytes() == old
    assert training.load_run(folder / "replaced").metrics["epochs"] == 3
    again = training.train_run(data, "run", settings(epochs=1), progress=False, again=True)
    assert again.config["key"] == result.config["key"] and training.load_run(folder / "replaced").metrics["epochs"] == 1


def test_an_unfinished_run_with_changed_settings_starts_over(done, capsys):
    data, folder = done
    (folder / "metrics.json").unlink()
    (folder / "last.pt").write_bytes(b"state of the old settings")
    (folder / ".tmp-killed.pt").write_bytes(b"half a state")
    result = training.train_run(data, "run", settings(epochs=1, lr_head=1e-4), progress=False)
    assert result.metrics["epochs"] == 1 and not (folder / "replaced").exists()
    assert "train.epochs 3 is now 1, train.lr_head 0.003 is now 0.0001: trained from the start" in capsys.readouterr().out
    assert not list(folder.glob(".tmp-*")) and not (folder / "last.pt").exists()


def test_what_a_run_depends_on(finished):
    data, _ = finished

    def key(study=data, run=None):
        return runs.run_config(study, "run", run or settings(), torch.device("cpu"), 1)["key"]

    moved = data.table.assign(side=data.table["side"].to_list()[::-1])
    other_sound = small_study()
    other_sound.cache.index = other_sound.cache.index.assign(sha256="0")
    changed = [
        key(replace(data, seed=8)), key(replace(data, table=moved)), key(replace(data, labels=data.labels[::-1])),
        key(other_sound), key(run=settings(lr_head=1.0)),
    ]  # fmt: skip
    assert len({key(), *changed}) == 6 and key(small_study()) == key()


def test_local_weights_are_part_of_the_configuration(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"1")
    model = replace(settings().model, pretrained=str(tmp_path / "w.safetensors"))
    before = runs._weights_key(model)
    (tmp_path / "w.safetensors").write_bytes(b"2")
    assert runs._weights_key(model) != before and runs._weights_key(settings().model) is None


def test_damaged_run_folders_are_refused_with_the_file(done):
    data, folder = done
    weights = bytearray((folder / "best.safetensors").read_bytes())
    weights[-3] ^= 1
    (folder / "best.safetensors").write_bytes(weights)
    with pytest.raises(BirdnbError, match=r"best\.safetensors is damaged or of another run"):
        training.load_model(folder)
    for name, damage in (
        ("predictions_test.npz", b"PK"),
        ("history.csv", b""),
        ("metrics.json", b"{"),
        ("labels.json", b'["a"]'),
    ):
        good = (folder / name).read_bytes()
        (folder / name).write_bytes(damage)
        with pytest.raises(BirdnbError, match=f"{name}|{folder.name}"):
            training.train_run(data, "run")
        (folder / name).write_bytes(good)
    (folder / "config.json").write_bytes(b"{")
    with pytest.raises(BirdnbError, match=r"config\.json is missing or damaged.*--again"):
        training.train_run(data, "run")
    with pytest.raises(BirdnbError, match="holds no finished run"):
        training.load_run(folder / "nothing")


def test_training_does_not_see_the_test_labels(done, tmp_path, monkeypatch):
    _, folder = done
    lied = small_study()
    test = lied.table["side"] == "test"
    lied.table.loc[test, "species"] = np.random.default_rng(0).permutation(lied.table.loc[test, "species"])
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "lied"))
    result = training.train_run(lied, "run", progress=False)
    assert (result.folder / "best.safetensors").read_bytes() == (folder / "best.safetensors").read_bytes()
    assert result.metrics["test"]["accuracy"] < training.load_run(folder).metrics["test"]["accuracy"]


def test_the_classical_reference_is_a_run_like_any_other(tmp_path):
    data = small_study()
    result = training.train_run(data, "classical_mfcc")
    assert result.metrics["test"]["accuracy"] > 0.5 and result.metrics["epochs"] == 1
    assert result.test.recording_ids == data.side("test") and (result.folder / "model.npz").exists()
    with pytest.raises(BirdnbError, match="holds no network"):
        training.load_model(result.folder)


def test_recording_probabilities_are_the_mean_over_their_clips():
    clips = some_clips(3)
    p = np.random.default_rng(0).dirichlet(np.ones(3), 6)
    found = training._by_recording(clips, p)
    np.testing.assert_allclose(found.probabilities, [(p[0] + p[1]) / 2, (p[2] + p[3]) / 2, (p[4] + p[5]) / 2], rtol=1e-6)


def test_folds_have_folders_of_their_own():
    data = replace(small_study(), fold=(2, 4))
    assert training.run_folder(data, "run").parts[-3:] == ("small-tiny", "run", "fold-2-of-4")


def test_an_unknown_run_is_named():
    with pytest.raises(BirdnbError, match=r"no run 'nonsense': choose run, classical_mfcc"):
        training.train_run(small_study(), "nonsense")
    with pytest.raises(BirdnbError, match=r"'\.\./x' cannot be a folder"):
        training.run_folder(small_study(), "../x")


# ---- several processes


def test_two_processes_train_and_predict_as_one(tmp_path):
    """``accelerate launch`` with two CPU processes: one run folder, and every recording predicted once, the same as by one."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--main_process_port=0"]
    env = os.environ | {"ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    env["BIRDNB_ARTIFACTS"] = str(tmp_path)
    done = subprocess.run([*command, str(ROOT / "tests" / "small_study.py"), "2"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shared = json.loads((tmp_path / "shared.json").read_text())
    result = training.load_run(next(tmp_path.glob("runs/*/run")))
    data = small_study()
    alone = predict(training.load_model(result.folder), data.clips("validation"), "standard")
    assert shared["processes"] == result.config["processes"] == 2
    assert shared["ids"] == alone.recording_ids == result.val.recording_ids == data.side("validation")
    np.testing.assert_allclose(shared["p"], alone.probabilities, atol=1e-6)
    np.testing.assert_allclose(result.val.probabilities, alone.probabilities, atol=1e-6)
    assert result.history["val_accuracy"].iloc[result.metrics["best_epoch"] - 1] == (alone.predicted == alone.targets).mean()
    assert len(result.history) == 2


# ---- the command line


def test_every_setting_has_an_option():
    for _, kind, texts in options.GROUPS:
        assert set(texts) == {f.name for f in dataclasses.fields(kind)} - {"name"}


def test_options_override_the_profile_and_nothing_else():
    profile = load_profile("gpu")
    args = vars(training._parser().parse_args(["--mixup-prob", "0.7", "--no-noise", "--pretrained", "False", "--epochs", "3"]))
    name, changed = options.settings_of(profile, "phase3_ast_full", None, args)
    base = profile.runs["phase3_ast_full"]
    assert name == "phase3_ast_full" and changed == replace(
        base,
        model=replace(base.model, pretrained=False),
        train=replace(base.train, epochs=3),
        augment=replace(base.augment, mixup_prob=0.7, noise=False),
    )
    none = vars(training._parser().parse_args([]))
    assert options.settings_of(profile, "mine", "efficientnet_b2", none) == ("mine", profile.runs["phase3_efficientnet_full"])
    assert options.settings_of(profile, None, "ast", none) == ("phase3_ast_baseline", profile.runs["phase3_ast_baseline"])
    for run, model, message in (
        ("nonsense", None, "no run 'nonsense'"),
        (None, None, "give --model"),
        ("x", "resnet", "resnet"),
    ):
        with pytest.raises(BirdnbError, match=message):
            options.settings_of(profile, run, model, none)


def test_the_command_trains_prints_and_complains_in_one_line(monkeypatch, capsys, tmp_path):
    asked = {}

    def open_study(corpus, profile, seed, fold, progress):
        asked.update(corpus=corpus, profile=profile.name, seed=seed, fold=fold)
        return small_study()

    monkeypatch.setattr(training, "open_study", open_study)
    command = ["--corpus", "x", "--seed", "9", "--fold", "2/4", "--run", "phase2_mfcc", "--epochs", "1"]
    assert training.main(command) == 0
    assert asked == {"corpus": "x", "profile": "laptop", "seed": 9, "fold": (2, 4)}
    out = capsys.readouterr().out
    assert "validation" in out and "F1 macro" in out and out.rstrip().endswith(str(Path("small-tiny") / "phase2_mfcc"))
    for bad in (["--run", "nonsense"], ["--profile", "nonsense", "--run", "x"], ["--model", "resnet", "--run", "x"],
                ["--run", "phase2_mfcc", "--loss", "hinge"], ["--run", "phase2_mfcc", "--epochs", "-1"]):  # fmt: skip
        assert training.main(bad) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
    for bad in (["--fold", "5/4"], ["--fold", "one"], ["--epochs", "many"], ["--nonsense"]):
        with pytest.raises(SystemExit) as caught:
            training.main(bad)
        assert caught.value.code == 2


def test_ctrl_c_says_that_the_run_goes_on(monkeypatch, capsys):
    monkeypatch.setattr(training, "open_study", lambda *args, **kwargs: small_study())
    monkeypatch.setattr(training, "train_run", lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
    assert training.main(["--run", "phase2_mfcc"]) == 130
    assert "goes on" in capsys.readouterr().err
