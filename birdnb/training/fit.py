"""Train on clips in memory, epoch after epoch: ``fit``.

All randomness of an epoch derives from (seed, epoch, process), so a run that was killed goes on
from a whole epoch.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import Accelerator
from torch import Generator, Tensor, nn

from birdnb.config import RunSettings
from birdnb.data import Clips
from birdnb.evaluation.metrics import accuracy, f1_macro
from birdnb.files import BirdnbError, write_table
from birdnb.models.weights import save_weights, weights_of
from birdnb.training.augment import to_device
from birdnb.training.checkpoint import BEST, LAST, fit_key
from birdnb.training.devices import (
    enough_memory,
    forget_peak_memory,
    make_accelerator,
    on_device,
    peak_memory_mb,
    predict_shared,
    seed_of,
)
from birdnb.training.loop import Batch, Learned, Loop
from birdnb.training.runs import HISTORY


def fit(
    model: nn.Module, clips_train: Clips, clips_val: Clips, settings: RunSettings,
    folder: Path | str, *, seed: int, labels: list[str], noise_bank: Tensor | None = None,
    progress: bool = True, accelerator: Accelerator | None = None, first: int | None = None,
    check: Callable[[], None] = lambda: None,
) -> pd.DataFrame:  # fmt: skip
    """Train ``model`` in place and return its history, a row an epoch.

    It ends with the weights that ``settings`` keeps. ``folder`` gets ``history.csv``,
    ``best.safetensors`` and ``last.pt``, the state from which a killed training goes on.
    ``batch_size`` counts the clips of all processes together. ``noise_bank`` is (M, 128, T) dB.
    ``val_loss`` is the loss function on the probabilities of whole recordings. With ``first``, only
    so many epochs are trained for now, and another call goes on from there. ``check`` is called
    before files are read or written, and raises where ``folder`` is another's. Raises BirdnbError
    when the loss is not finite or explodes, when memory runs out, and when ``folder`` holds a state
    that is damaged or belongs to another configuration.
    """
    accelerator = accelerator or make_accelerator()
    forget_peak_memory(accelerator.device)
    check()
    with enough_memory(settings):
        sides = (clips_train, clips_val)
        epochs = Epochs(
            model, *sides, settings, Path(folder), seed, labels, noise_bank, accelerator
        )
        epochs.first, epochs.check = first, check
        history = epochs.run(progress)
    if first:
        epochs.save()
    epochs.plain.load_state_dict(epochs.kept)
    if accelerator.is_main_process:
        check()
        save_weights(epochs.folder / BEST, epochs.kept)
    accelerator.wait_for_everyone()
    return pd.DataFrame(history)


def best_epoch(history: list[dict[str, Any]]) -> int:
    """Return the index of the epoch of best validation macro F1, then least loss, then first."""
    return max(
        range(len(history)), key=lambda i: (history[i]["val_f1_macro"], -history[i]["val_loss"], -i)
    )


class Epochs(Loop):
    """Every training clip once an epoch; a round is an epoch, the budget a number of them."""

    first: int | None = None  # epochs after which to stop for now
    check: Callable[[], None]  # raises where the folder is another study's

    def __init__(
        self, model: nn.Module, train: Clips, val: Clips, settings: RunSettings, folder: Path,
        seed: int, labels: list[str], noise_bank: Tensor | None, accelerator: Accelerator,
    ) -> None:  # fmt: skip
        t, world, device = settings.train, accelerator.num_processes, accelerator.device
        self.per_epoch = math.ceil(len(train) / t.batch_size)  # batches, of nearly equal size
        if len(train) // self.per_epoch < world:
            raise BirdnbError(
                f"{len(train)} clips in {self.per_epoch} batches are too few for {world} "
                f"processes: use fewer"
            )
        self.total_steps = t.epochs * math.ceil(self.per_epoch / t.accumulation)
        self.folder, self.seed = folder, seed
        key = fit_key(settings, seed, labels, train, val)
        self.train = replace(train, lms=on_device(train.lms, device))
        self.val = replace(val, lms=on_device(val.lms, device))
        if noise_bank is not None:
            noise_bank = on_device(noise_bank, device) if settings.augment.noise else None
        counts = torch.bincount(train.target, minlength=len(labels))
        super().__init__(
            model, settings, counts, noise_bank, accelerator, name=folder.name, path=folder / LAST,
            key=key, labels=labels,
        )  # fmt: skip

    def batches(self) -> Iterator[Batch]:
        """Give the clips of each epoch in another order."""
        size = self.settings.train.accumulation
        while True:
            epoch = len(self.history)
            shuffled = Generator().manual_seed(seed_of(self.seed, epoch))
            order = torch.randperm(len(self.train), generator=shuffled).tensor_split(self.per_epoch)
            generator = Generator().manual_seed(seed_of(self.seed, epoch, self.rank + 1))
            # for dropout and stochastic depth
            torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
            for number, numbers in enumerate(order):
                place = number % size
                of = min(size, self.per_epoch - number + place)  # batches of this step
                yield self._batch(numbers, generator, of, place == of - 1)

    def _batch(self, numbers: Tensor, generator: Generator, of: int, ends: bool) -> Batch:
        mine = numbers.tensor_split(self.world)[self.rank]
        target = to_device(self.train.labels(mine), self.device)  # (B,), or shares (B, C)
        lms = self.train.lms[to_device(mine, self.train.lms.device)]  # (B, 128, T) dB
        return Batch(to_device(lms, self.device), target, generator, len(numbers), of, ends)

    def rate(self) -> float:
        """Return the share of the full rates: a linear warm-up, then a cosine towards 0."""
        step, total = self.steps_done, self.total_steps
        warm = round(self.settings.train.warmup * total)
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm)))

    def share(self) -> float:
        """Return the share of all epochs that is done."""
        return self.batches_done / (self.settings.train.epochs * self.per_epoch)

    def done(self) -> bool:
        """Tell whether all epochs are done, or none was better for as long as patience lasts."""
        done, t = len(self.history), self.settings.train
        if self.first and done >= self.first:
            return True
        # the last weights are those of the whole schedule
        if done == 0 or done >= t.epochs or t.keep == "last":
            return done >= t.epochs
        return done - 1 - best_epoch(self.history) >= t.patience

    def round_ends(self) -> bool:
        """Tell whether an epoch is over that has no row yet."""
        return self.batches_done // self.per_epoch > len(self.history)

    def end_round(self, learned: Learned) -> None:
        """Validate, add a row, keep the weights if they are wanted, write ``history.csv``."""
        epoch, t = len(self.history), self.settings.train
        found = predict_shared(self.plain, self.val, self.settings, self.accelerator)
        # (R, C)
        log_p = torch.from_numpy(found.probabilities).clamp_min(1e-12).log().to(self.device)
        loss = self.loss(log_p, torch.from_numpy(found.targets).to(self.device)).item()
        self.history.append({
            "epoch": epoch + 1, "train_loss": learned.loss, "val_loss": loss,
            "train_accuracy": learned.accuracy, "val_accuracy": accuracy(found),
            "val_f1_macro": f1_macro(found),
            "lr_backbone": t.lr_backbone * self.factor, "lr_head": t.lr_head * self.factor,
            "seconds": time.perf_counter() - self.round_began,
            "clips_per_second": len(self.train) / learned.seconds,
            "peak_memory_mb": peak_memory_mb(self.device),
        })  # fmt: skip
        row = {f"epochs/{name}": value for name, value in self.history[-1].items()}
        self.accelerator.log(row, self.steps_done)
        if t.keep == "last" or best_epoch(self.history) == epoch:
            self.kept = weights_of(self.plain)
        if self.accelerator.is_main_process:
            self.check()
            write_table(self.folder / HISTORY, pd.DataFrame(self.history))

    def save(self) -> None:
        """Write the state into a folder that is still this training's."""
        self.check()
        super().save()

    def where(self) -> str:
        """Name the epoch."""
        epochs = self.settings.train.epochs
        return f"epoch {min(len(self.history) + 1, epochs)} of {epochs}"

    def remedy(self) -> str:
        """Return what to change when training diverges."""
        t = self.settings.train
        return (
            f"lower lr_backbone (now {t.lr_backbone:g}) or lr_head ({t.lr_head:g}), lengthen "
            f"warmup ({t.warmup:g} of all steps), or lower clip_norm ({t.clip_norm:g})"
        )
