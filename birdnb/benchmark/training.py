"""Training: the data path, a step of AST and, on a GPU, the whole loop."""

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from birdnb.benchmark.plain import FRAMES, PlainDataset, plain_ast, plain_loader
from birdnb.benchmark.rows import ROUNDS, Row, best_seconds
from birdnb.config import AudioSettings, load_profile
from birdnb.data import Clips
from birdnb.features.lms import normalise
from birdnb.models import build_model
from birdnb.registry import FULL
from birdnb.training.devices import autocast, make_accelerator
from birdnb.training.fit import fit

AUDIO = AudioSettings()
SPECIES = 90
BATCHES = {"cuda": [16, 32, 64]}  # clips; a CPU gets SMALL
SMALL = [2]
CLIPS = 8192  # for an epoch of the whole loop on a GPU


def rows() -> list[Row]:
    """Measure clips per second and, on a GPU, the memory taken."""
    device = make_accelerator().device
    found = [data_row(device, 2048)]
    for batch in BATCHES.get(device.type, SMALL):
        step = step_row(device, "base", batch)
        found.append(step)
        if device.type == "cuda":
            found += loop_rows("base", batch, CLIPS, step.other or 0.0, step.birdnb)
    return found


def data_row(device: torch.device, n: int, rounds: int = ROUNDS) -> Row:
    """Bring an epoch of batches of 32 to the device: tensors held there, or by a DataLoader."""
    clips = random_clips(n)
    held = clips.lms.to(device)

    def ours() -> None:
        for batch in torch.randperm(n).split(32):
            normalise(held[batch.to(device)], "standard")
        _wait(device)

    with tempfile.TemporaryDirectory(prefix="birdnb-") as folder:
        paths = [Path(folder) / f"{i}.npy" for i in range(n)]
        for path, lms in zip(paths, clips.lms.numpy(), strict=True):
            np.save(path, lms)
        loader = plain_loader(
            PlainDataset(paths, clips.target.tolist()), 32, min(8, joblib.cpu_count())
        )

        def plain() -> None:
            for x, _ in loader:
                x.to(device)
            _wait(device)

        plain()  # the workers start
        took = best_seconds({"birdnb": ours, "plain": plain}, rounds)
    speed = {name: n / seconds for name, seconds in took.items()}
    ratio = speed["birdnb"] / speed["plain"]
    return Row(
        "data alone, batches of 32", "clips/s", speed["birdnb"], speed["plain"],
        "DataLoader, a file each", ratio,
    )  # fmt: skip


def step_row(
    device: torch.device, size: str, batch: int, rounds: int = ROUNDS,
    plain: nn.Module | None = None,
) -> Row:  # fmt: skip
    """Measure a step of AST at T = 173, bf16 if it can, beside one of 1,024 frames in fp32."""
    torch.manual_seed(0)
    ours = build_model("ast", SPECIES, AUDIO.n_frames, size=size)
    ways = {"birdnb": _step(ours, torch.randn(batch, AUDIO.n_mels, AUDIO.n_frames), device, "auto")}
    # the plain way takes 15 GB and more: then it is left out of the table
    with contextlib.suppress(torch.OutOfMemoryError):
        ways["plain"] = _step(
            plain or plain_ast(SPECIES), torch.randn(batch, FRAMES, AUDIO.n_mels), device, "fp32"
        )
    took = best_seconds(ways, rounds if device.type == "cpu" else 10 * rounds)
    speed = {name: batch / seconds for name, seconds in took.items()}
    what = f"AST {size}, training step, {device.type}, batch {batch}"
    if "plain" not in speed:
        return Row(f"{what} (no memory for the plain way)", "clips/s", speed["birdnb"])
    target = "at least 4" if device.type == "cpu" else "at least 10"
    ratio = speed["birdnb"] / speed["plain"]
    return Row(
        what, "clips/s", speed["birdnb"], speed["plain"], f"padded to {FRAMES}, fp32", ratio, target
    )


def _step(model: nn.Module, x: Tensor, device: torch.device, precision: str) -> Callable[[], None]:
    """Return a function that trains on a batch once."""
    model, x = model.to(device).train(), x.to(device)
    target = (torch.arange(len(x)) % SPECIES).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def run() -> None:
        """Take one step and wait for it."""
        with autocast(device, precision):
            logits: Any = model(x)
        logits = getattr(logits, "logits", logits).float()
        functional.cross_entropy(logits, target).backward()
        optimizer.step()
        optimizer.zero_grad()
        _wait(device)

    run()  # memory is allocated, kernels are chosen
    return run


def loop_rows(size: str, batch: int, n: int, plain: float, step: float) -> list[Row]:
    """Measure the training loop on ``n`` clips with all augmentation.

    Its second epoch stands beside ``plain`` and beside our own ``step`` alone [clips/s], on the
    same batch over and over: where data held it up, it would be slower by that.
    """
    settings = load_profile("gpu").runs[FULL]
    settings = replace(settings, train=replace(settings.train, batch_size=batch, epochs=2))
    model = build_model("ast", SPECIES, AUDIO.n_frames, size=size)
    few, accelerator = random_clips(2 * SPECIES), make_accelerator()
    if accelerator.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory(prefix="birdnb-") as folder:
        history = fit(model, random_clips(n), few, settings, folder, seed=0,
                      labels=[str(i) for i in range(SPECIES)],
                      noise_bank=few.lms, progress=False, accelerator=accelerator)  # fmt: skip
    last = history.iloc[-1]
    speed, memory = float(last["clips_per_second"]), float(last["peak_memory_mb"]) / 1e3
    what = f"AST {size}, whole loop with augmentation, batch {batch}"
    return [
        *(
            [Row(what, "clips/s", speed, plain, "the plain step", speed / plain, "at least 10")]
            if plain
            else []
        ),
        Row(what, "clips/s", speed, target="at least 2000"),
        Row(
            "... beside its step alone", "clips/s", speed, step, "one batch over and over",
            speed / step, "at least 0.9",
        ),
        Row(
            f"... its peak memory, batch {batch}", "GB", memory,
            target="at most 6" if batch <= 16 else "",
        ),
    ]  # fmt: skip


def random_clips(n: int) -> Clips:
    """Noise in the place of song, one clip a recording."""
    generator = torch.Generator().manual_seed(0)
    lms = (torch.randn(n, AUDIO.n_mels, AUDIO.n_frames, generator=generator) * 10 - 60).half()
    number = torch.arange(n)
    return Clips(lms, number % SPECIES, number, [str(i) for i in range(n)])


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
