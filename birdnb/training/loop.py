"""The one training loop: ``fit`` takes a model, clips and settings, and knows nothing about birds.

All randomness of an epoch derives from (seed, epoch, process), so a run that was killed goes on
from a whole epoch and, on a CPU, ends with the same weights bit for bit.
"""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Generator, Tensor, nn
from tqdm import tqdm

from birdnb.config import AugmentSettings, RunSettings
from birdnb.data import Clips
from birdnb.evaluation.metrics import accuracy, f1_macro
from birdnb.features.lms import normalise
from birdnb.files import BirdnbError, write_text
from birdnb.models import parameter_groups
from birdnb.training.augment import Augment, to_device
from birdnb.training.checkpoint import (
    BEST,
    LAST,
    fit_key,
    load_state,
    save_state,
    save_weights,
    weights_of,
)
from birdnb.training.devices import (
    autocast,
    convert_sync_batchnorm,
    enough_memory,
    forget_peak_memory,
    make_accelerator,
    on_device,
    peak_memory_mb,
    predict_shared,
)
from birdnb.training.losses import build_loss

LOOK_EVERY = 10  # batches between looks at the loss: each look waits for the GPU
EXPLODED = (
    5.0  # times the loss of guessing, or that of the first epoch if higher: training has diverged
)
SAVE_SHARE = 0.05  # of the time at most goes into saving the state


def fit(
    model: nn.Module,
    clips_train: Clips,
    clips_val: Clips,
    settings: RunSettings,
    folder: Path | str,
    *,
    seed: int,
    labels: list[str],
    noise_bank: Tensor | None = None,
    progress: bool = True,
    accelerator: Accelerator | None = None,
) -> pd.DataFrame:
    """Train ``model`` in place and return its history, a row an epoch; it ends with the weights
    that ``settings`` keeps.

    ``folder`` gets ``history.csv``, ``best.safetensors`` and ``last.pt``, the state from which a
    killed training goes on. ``batch_size`` counts the clips of all processes together.
    ``noise_bank`` is (M, 128, T) dB. ``val_loss`` is the loss function on the probabilities of
    whole recordings. Raises BirdnbError when the loss is not finite or explodes, when memory runs
    out, and when ``folder`` holds a state that is damaged or belongs to another configuration.
    """
    accelerator = accelerator or make_accelerator()
    forget_peak_memory(accelerator.device)
    with enough_memory(settings):
        loop = _Loop(
            model,
            clips_train,
            clips_val,
            settings,
            Path(folder),
            seed,
            labels,
            noise_bank,
            accelerator,
        )
        return loop.run(progress)


def best_epoch(history: list[dict[str, Any]]) -> int:
    """Index of the epoch with the highest validation macro F1; of equal ones the lowest validation
    loss, then the first.
    """
    return max(
        range(len(history)), key=lambda i: (history[i]["val_f1_macro"], -history[i]["val_loss"], -i)
    )


class _Loop:
    def __init__(
        self,
        model: nn.Module,
        train: Clips,
        val: Clips,
        settings: RunSettings,
        folder: Path,
        seed: int,
        labels: list[str],
        noise_bank: Tensor | None,
        accelerator: Accelerator,
    ) -> None:
        self.settings, self.folder, self.seed, self.labels, self.accelerator = (
            settings,
            folder,
            seed,
            labels,
            accelerator,
        )
        self.world, self.rank, self.device = (
            accelerator.num_processes,
            accelerator.process_index,
            accelerator.device,
        )
        self.key = fit_key(settings, seed, labels, train, val)
        self.batches = math.ceil(
            len(train) / settings.train.batch_size
        )  # per epoch, of nearly equal size
        if len(train) // self.batches < self.world:
            raise BirdnbError(
                f"{len(train)} clips in {self.batches} batches are too few for {self.world} "
                f"processes: use fewer"
            )
        self.steps = math.ceil(
            self.batches / settings.train.accumulation
        )  # optimiser steps per epoch
        self.history: list[dict[str, Any]] = []
        self.kept: dict[str, Tensor] = {}  # the weights to end with, as far as is known
        self.next_save = 0.0  # [s] on time.perf_counter's clock
        self._place(model, train, val, noise_bank)

    def _place(self, model: nn.Module, train: Clips, val: Clips, noise_bank: Tensor | None) -> None:
        t, a = self.settings.train, self.settings.augment
        self.train = replace(train, lms=on_device(train.lms, self.device))
        self.val = replace(val, lms=on_device(val.lms, self.device))
        if self.world > 1 and self.device.type == "cuda":
            model = convert_sync_batchnorm(model)
        groups = parameter_groups(
            model.to(self.device), t.lr_backbone, t.lr_head, t.weight_decay, t.layer_decay
        )
        self.rates = [group["lr"] for group in groups]
        self.model, self.optimizer = self.accelerator.prepare(
            model, torch.optim.AdamW(groups, fused=True)
        )
        self.plain = self.accelerator.unwrap_model(self.model)
        self.loss = build_loss(t, torch.bincount(train.target, minlength=len(self.labels))).to(
            self.device
        )
        bank = on_device(noise_bank, self.device) if a.noise and noise_bank is not None else None
        self.augment = (
            Augment(a, bank, len(self.labels), self.settings.model.normalisation)
            if _is_on(a)
            else None
        )

    def run(self, progress: bool) -> pd.DataFrame:
        """Train from the last saved epoch on; the history, a row an epoch."""
        self._resume()
        total, done = self.settings.train.epochs * self.batches, len(self.history) * self.batches
        quiet = (
            {} if progress and self.accelerator.is_main_process else {"disable": True}
        )  # left out, TQDM_DISABLE decides
        with tqdm(total=total, initial=done, unit="batch", **quiet) as bar:
            while not self._finished():
                self._epoch(bar)
        self.plain.load_state_dict(self.kept)
        if self.accelerator.is_main_process:
            save_weights(self.folder / BEST, self.kept)
        self.accelerator.wait_for_everyone()
        return pd.DataFrame(self.history)

    def _finished(self) -> bool:
        done, t = len(self.history), self.settings.train
        if (
            done == 0 or done >= t.epochs or t.keep == "last"
        ):  # the last weights are those of the whole schedule
            return done >= t.epochs
        return done - 1 - best_epoch(self.history) >= t.patience

    def _epoch(self, bar: tqdm) -> None:
        epoch, t, start = len(self.history), self.settings.train, time.perf_counter()
        bar.set_description(f"{self.folder.name}, epoch {epoch + 1} of {t.epochs}")
        loss, accuracy, seconds = self._pass(epoch, bar)
        val_loss, val_accuracy, val_f1 = self._validate(epoch)
        factor = self._factor((epoch + 1) * self.steps - 1)  # at the epoch's last step
        self.history.append({
            "epoch": epoch + 1, "train_loss": loss, "val_loss": val_loss,
            "train_accuracy": accuracy,
            "val_accuracy": val_accuracy, "val_f1_macro": val_f1,
            "lr_backbone": t.lr_backbone * factor, "lr_head": t.lr_head * factor,
            "seconds": time.perf_counter() - start,
            "clips_per_second": len(self.train) / seconds,
            "peak_memory_mb": peak_memory_mb(self.device),
        })  # fmt: skip
        if t.keep == "last" or best_epoch(self.history) == epoch:
            self.kept = weights_of(self.plain)
        if self.accelerator.is_main_process:
            self._save()

    def _pass(self, epoch: int, bar: tqdm) -> tuple[float, float, float]:
        """Train on every clip once: mean loss, accuracy, seconds."""
        t, start = self.settings.train, time.perf_counter()
        order = torch.randperm(
            len(self.train), generator=_generator(self.seed, epoch)
        ).tensor_split(self.batches)
        generator = _generator(self.seed, epoch, self.rank + 1)
        torch.manual_seed(
            int(torch.randint(2**62, (1,), generator=generator))
        )  # for dropout and stochastic depth
        self.model.train()
        totals, seen = torch.zeros(3, device=self.device), [0.0, 0.0, 0.0]  # loss, right, clips
        for number, batch in enumerate(order, 1):
            step, place = divmod(number - 1, t.accumulation)
            size = min(
                t.accumulation, self.batches - step * t.accumulation
            )  # batches of this optimiser step
            with (
                self.accelerator.no_sync(self.model)
                if place < size - 1
                else contextlib.nullcontext()
            ):
                totals += self._backward(batch, size, generator)
            if place == size - 1:
                self._step(epoch * self.steps + step)
            if number % LOOK_EVERY == 0 or number == self.batches:
                seen = self._look(totals, seen, epoch)
                speed = number / self.batches * len(self.train) / (time.perf_counter() - start)
                bar.set_postfix_str(_postfix(seen, speed, self.history), refresh=False)
            bar.update()
        loss, right, clips = self.accelerator.reduce(totals, "sum").tolist()
        return loss / clips, right / clips, time.perf_counter() - start

    def _backward(self, batch: Tensor, size: int, generator: Generator) -> Tensor:
        """Add the gradients of this process' part of a batch of clip numbers; gives (loss, right,
        clips).
        """
        mine = batch.tensor_split(self.world)[self.rank]
        target = to_device(self.train.target[mine], self.device)  # (B,)
        lms = to_device(
            self.train.lms[to_device(mine, self.train.lms.device)], self.device
        )  # (B, 128, T) dB
        if self.augment:
            x, target = self.augment(lms, target, generator)  # (B, 128, T), (B, C)
        else:
            x = normalise(lms.float(), self.settings.model.normalisation)
        with autocast(self.device, self.settings.train.precision):
            logits = self.model(x).float()  # (B, C)
        loss = self.loss(logits, target)
        # processes are averaged: weigh each by its clips
        self.accelerator.backward(loss * (len(mine) * self.world / len(batch) / size))
        hard = target if target.ndim == 1 else target.argmax(dim=1)
        right = (logits.detach().argmax(dim=1) == hard).sum()
        return torch.stack([loss.detach() * len(mine), right, torch.full_like(right, len(mine))])

    def _step(self, step: int) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self._factor(step)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.train.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _factor(self, step: int) -> float:
        """Share of the full learning rate at an optimiser step: a linear warm-up, then a cosine
        towards 0.
        """
        total = self.settings.train.epochs * self.steps
        warm = round(self.settings.train.warmup * total)
        return (
            (step + 1) / warm
            if step < warm
            else 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm)))
        )

    def _look(self, totals: Tensor, seen: list[float], epoch: int) -> list[float]:
        """Read the totals. Raises BirdnbError when the loss since the last look says that training
        has diverged.
        """
        now = totals.tolist()
        loss = (now[0] - seen[0]) / (now[2] - seen[2])
        usual = max(
            math.log(len(self.labels)), self.history[0]["train_loss"] if self.history else 0.0
        )
        first = epoch == 0 and seen[2] == 0  # new weights may start anywhere
        if not math.isfinite(loss) or (loss > EXPLODED * usual and not first):
            raise self._diverged(f"the loss is {loss:.4g}", epoch)
        return now

    def _diverged(self, what: str, epoch: int) -> BirdnbError:
        t = self.settings.train
        return BirdnbError(
            f"training diverged in epoch {epoch + 1}, {what}: lower lr_backbone (now "
            f"{t.lr_backbone:g}) or lr_head "
            f"({t.lr_head:g}), lengthen warmup ({t.warmup:g} of all steps), or lower clip_norm "
            f"({t.clip_norm:g})"
        )

    def _validate(self, epoch: int) -> tuple[float, float, float]:
        """Return loss, accuracy and macro F1 over the validation recordings."""
        if not torch.stack([p.detach().sum() for p in self.plain.parameters()]).isfinite().all():
            raise self._diverged("the weights are not finite", epoch)
        if self.world > 1:
            for buffer in self.plain.buffers():
                broadcast(
                    buffer
                )  # in place: on CPUs each process has its own statistics of batch normalisation
        found = predict_shared(self.plain, self.val, self.settings, self.accelerator)
        log_p = (
            torch.from_numpy(found.probabilities).clamp_min(1e-12).log().to(self.device)
        )  # (R, C)
        loss = self.loss(log_p, torch.from_numpy(found.targets).to(self.device)).item()
        return loss, accuracy(found), f1_macro(found)

    def _save(self) -> None:
        write_text(
            self.folder / "history.csv",
            pd.DataFrame(self.history).to_csv(index=False, lineterminator="\n"),
        )
        start = time.perf_counter()
        if start < self.next_save:
            return
        save_state(self.folder / LAST, {
            "key": self.key, "labels": self.labels, "threads": torch.get_num_threads(),
            "history": self.history,
            "model": self.plain.state_dict(), "optimizer": self.optimizer.state_dict(),
            "kept": self.kept,
        })  # fmt: skip
        now = time.perf_counter()
        self.next_save = now + (now - start) / SAVE_SHARE

    def _resume(self) -> None:
        if not (self.folder / LAST).exists():
            return
        state = load_state(self.folder / LAST, self.key, self.labels)
        if self.device.type == "cpu":
            torch.set_num_threads(state["threads"])  # sums of floats depend on it
        self.history, self.kept = state["history"], state["kept"]
        self.plain.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


def _generator(*seeds: int) -> Generator:
    return Generator().manual_seed(
        int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0] >> 1)
    )


def _is_on(a: AugmentSettings) -> bool:
    return a.specaugment or a.mixup or a.noise or a.time_shift or bool(a.extra)


def _postfix(seen: list[float], speed: float, history: list[dict[str, Any]]) -> str:
    before = f", validation {history[-1]['val_accuracy']:.1%}" if history else ""
    return f"loss {seen[0] / seen[2]:.3f}, accuracy {seen[1] / seen[2]:.1%}{before}, {speed:.0f} clips/s"
