"""The training loop and its saved state, against plain torch and formulas worked by hand."""

from __future__ import annotations

import math
import resource
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch
from torch import nn

from birdnb.config import AugmentSettings, RunSettings, TrainSettings
from birdnb.data import Clips
from birdnb.evaluation.predictions import predict
from birdnb.features.lms import normalise
from birdnb.files import BirdnbError
from birdnb.models import weights
from birdnb.training import checkpoint
from birdnb.training.devices import autocast
from birdnb.training.fit import best_epoch, fit

pytestmark = pytest.mark.usefixtures("scratch")
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
    values = {
        "epochs": 3,
        "batch_size": 8,
        "lr_backbone": 2e-3,
        "lr_head": 1e-2,
        "patience": 99,
    } | train
    return RunSettings(train=TrainSettings(**values))


def run_fit(model, run, folder, train=None, val=None, seed=3):
    train, val = train or some_clips(20), val or some_clips(9, seed=1)
    return fit(model, train, val, run, folder, seed=seed, labels=LABELS, progress=False)


def test_fit_equals_a_plain_torch_loop(tmp_path):
    """The batches it drew, replayed by a loop of plain torch, give the same weights.

    The schedule is worked by hand.
    """
    run, clips = (
        plain_run(accumulation=2, clip_norm=0.05, warmup=0.25, weight_decay=0.1),
        some_clips(20),
    )
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
    # 40 clips / 8 = 5 batches = 3 steps an epoch, the last of one batch only; 0.25 * 9 = 2.25
    total, warm = (9, 2)
    assert len(batches) == 15
    for epoch in range(3):
        order = [
            number_of[row.numpy().tobytes()]
            for x in batches[5 * epoch : 5 * epoch + 5]
            for row in x
        ]
        assert sorted(order) == list(range(40)), "each clip once an epoch"
        for step, group in enumerate(([0, 1], [2, 3], [4])):
            for b in group:
                x = batches[5 * epoch + b]
                target = clips.target[[number_of[row.numpy().tobytes()] for row in x]]
                (nn.functional.cross_entropy(other(x), target) / len(group)).backward()
            done = 3 * epoch + step
            factor = (
                (done + 1) / warm
                if done < warm
                else (1 + math.cos(math.pi * (done - warm) / (total - warm))) / 2
            )
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
    assert (
        history["val_accuracy"].iloc[-1] > 0.8
        and history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    )
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "history.csv"), history)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_kept_weights_are_those_that_history_says(tmp_path, keep):
    run, val = (
        plain_run(epochs=6, lr_head=0.5, lr_backbone=0.5, keep=keep, warmup=0.0),
        some_clips(30, seed=5),
    )
    run = replace(run, augment=AugmentSettings(time_shift=True, mixup=True, mixup_prob=1.0))
    model = Plain()
    history = run_fit(model, run, tmp_path, val=val)
    row = history.iloc[best_epoch(history.to_dict("records")) if keep == "best" else -1]
    found = predict(model, val, "standard")
    log_p = torch.from_numpy(found.probabilities).log()
    assert (found.predicted == found.targets).mean() == row["val_accuracy"], (
        "validation is not augmented"
    )
    assert nn.functional.nll_loss(log_p, torch.from_numpy(found.targets)).item() == pytest.approx(
        row["val_loss"], rel=1e-5
    )
    for name, value in safetensors.torch.load_file(tmp_path / "best.safetensors").items():
        assert torch.equal(value, model.state_dict()[name])


def test_best_epoch_by_hand():
    rows = [(0.5, 1.0), (0.7, 0.9), (0.7, 0.8), (0.7, 0.8), (0.6, 0.1)]
    assert best_epoch([{"val_f1_macro": f1, "val_loss": loss} for f1, loss in rows]) == 2


def test_early_stopping_counts_epochs_without_a_better_score(tmp_path):
    history = run_fit(
        Plain(), plain_run(epochs=20, lr_head=0.0, lr_backbone=0.0, patience=4), tmp_path
    )
    assert len(history) == 5  # nothing changes: the first epoch stays the best
    last = plain_run(epochs=8, lr_head=0.0, lr_backbone=0.0, patience=4, keep="last")
    # the last weights are those of the whole schedule
    assert len(run_fit(Plain(), last, tmp_path / "last")) == 8


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_training_that_diverges_stops_and_says_what_to_change(tmp_path, loss):
    with pytest.raises(
        BirdnbError,
        match=r"diverged in epoch \d.*lower lr_backbone \(now 1e\+06\).*warmup.*clip_norm",
    ):
        run_fit(
            Plain(),
            plain_run(lr_head=1e6, lr_backbone=1e6, epochs=20, loss=loss),
            tmp_path,
            some_clips(60),
        )


@pytest.mark.parametrize("shares", [False, True])
def test_a_rare_species_that_weighs_much_is_no_divergence(tmp_path, shares):
    """Its one clip costs as much as 67 others, and some looks see no more than ten."""
    clips = some_clips(201, segments=1)
    clips.target = (torch.arange(201) % 2).index_fill(0, torch.tensor([200]), 2)
    clips.shares = torch.eye(3)[clips.target] if shares else None
    run = plain_run(class_balance=True, batch_size=2, epochs=20, lr_backbone=1e-5, lr_head=1e-5)
    history = run_fit(Plain(), run, tmp_path, clips)
    assert len(history) == 20 and history["train_loss"].iloc[-1] < 1.5


def test_spectrograms_that_are_not_finite_stop_the_training(tmp_path):
    clips = some_clips(20)
    clips.lms[7] = torch.nan
    with pytest.raises(BirdnbError, match="diverged in epoch 1 of 3, the loss is nan"):
        run_fit(Plain(), plain_run(), tmp_path, clips)


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


def test_bf16_where_the_processor_has_it():
    cpu, known = torch.device("cpu"), Path("/proc/cpuinfo")
    if not known.is_file():
        pytest.skip("the system does not list what the processor can do")
    flags = set(known.read_text().split())
    has_it = bool(flags & {"avx512_bf16", "amx_bf16", "bf16", "svebf16"})
    with autocast(cpu, "hardware"):
        assert torch.is_autocast_enabled("cpu") == has_it
    with autocast(cpu, "auto"):
        assert not torch.is_autocast_enabled("cpu")


def test_recordings_can_be_taken_out_in_any_order():
    clips = some_clips(5, segments=3)
    part = clips.of_recordings([4, 1])
    assert part.recording_ids == ["r4", "r1"]
    for k, original in enumerate([4, 1]):
        assert torch.equal(part.lms[part.recording == k], clips.lms[clips.recording == original])
        assert set(part.target[part.recording == k].tolist()) == {original % 3}


class Stopping(Plain):
    """It is interrupted in its third epoch of five batches."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(self.seen) == 11:
            raise KeyboardInterrupt
        return super().forward(x)


@pytest.fixture
def stopped(tmp_path):
    """A folder whose training was interrupted after two epochs."""
    with pytest.raises(KeyboardInterrupt):
        run_fit(Stopping(), plain_run(epochs=4), tmp_path / "stopped")
    return tmp_path / "stopped"


def test_a_stopped_training_ends_as_an_undisturbed_one(tmp_path, stopped):
    model = Plain()
    run_fit(model, plain_run(epochs=4), stopped)
    assert len(model.seen) < 4 * 5, "what was saved is not learned again"
    run_fit(Plain(), plain_run(epochs=4), tmp_path / "whole")
    ends = [folder / "best.safetensors" for folder in (stopped, tmp_path / "whole")]
    assert ends[0].read_bytes() == ends[1].read_bytes()
    drop = ["seconds", "clips_per_second", "peak_memory_mb"]
    one, two = (
        pd.read_csv(folder / "history.csv").drop(columns=drop)
        for folder in (stopped, tmp_path / "whole")
    )
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
        fit(
            Plain(),
            *clips,
            plain_run(epochs=4),
            stopped,
            seed=3,
            labels=["a", "b", "x"],
            progress=False,
        )


@pytest.mark.parametrize("how", ["flip", "cut", "text", "empty", "folder"])
def test_a_damaged_state_is_refused(stopped, how):
    path = stopped / "last.pt"
    content = bytearray(path.read_bytes())
    if how == "flip":
        at = content.index(
            torch.load(path, weights_only=True)["model"]["body.weight"].numpy().tobytes()[:16]
        )
        content[at + 5] ^= 1
    damaged = {"cut": content[: len(content) // 2], "text": b"not a state", "empty": b""}.get(
        how, content
    )
    path.write_bytes(damaged)
    if how == "folder":
        path.unlink()
        path.mkdir()
    with pytest.raises(BirdnbError, match=r"last\.pt is damaged.*--again"):
        run_fit(Plain(), plain_run(epochs=4), stopped)


@pytest.mark.parametrize("write", [checkpoint.save_state, weights.save_weights])
def test_a_full_disk_is_told_from_other_errors(tmp_path, write):
    """A limit on the size of files fails as a quota does."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, usual[1]))
    try:
        with pytest.raises(BirdnbError, match="no space left on the disk while writing"):
            write(tmp_path / "x", {"a": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert not list(tmp_path.iterdir())
