"""The one training loop: batches from a source, until a budget is used.

``Loop`` knows nothing about birds. What it learns from and for how long its subclasses say:
``birdnb.training.fit`` (clips in memory, epoch after epoch) and ``birdnb.pretraining.stream``
(a stream of invented clips, for a number of clips or minutes). A killed training goes on from its
saved state and, on a CPU, ends with the same weights bit for bit.
"""

import contextlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Generator, Tensor, nn
from tqdm import tqdm

from birdnb.config import RunSettings
from birdnb.features.lms import normalise
from birdnb.files import BirdnbError
from birdnb.models import parameter_groups
from birdnb.training.augment import Augment
from birdnb.training.checkpoint import load_state, save_state
from birdnb.training.devices import Interrupt, autocast, convert_sync_batchnorm
from birdnb.training.losses import build_loss

LOOK_EVERY = 10  # batches between looks at the loss: each look waits for the GPU
EXPLODED = 5.0  # times the loss of guessing, or that of the first round if higher: it has diverged
SAVE_SHARE = 0.05  # of the time at most goes into saving the state
BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


@dataclass(frozen=True)
class Batch:
    """This process' part of a batch, and what the optimiser has to know about the whole."""

    lms: Tensor  # (B, 128, T) dB
    target: Tensor  # (B,) class numbers, or (B, C) label shares
    generator: Generator  # of its augmentation
    clips: int  # in the parts of all processes
    of: int = 1  # batches that make a step of the optimiser
    ends: bool = True  # the step


@dataclass(frozen=True)
class Learned:
    """What a round of training said: means over its clips, None when there were none."""

    loss: float | None
    accuracy: float | None
    seconds: float


class Loop(ABC):
    """A network that learns until a budget is used; ``run`` gives the history, a row a round.

    ``path`` is the state to go on from, ``key`` and ``labels`` what it must belong to, ``name`` is
    for the progress bar. ``batch_size`` counts the clips of all processes together.
    ``save_seconds`` go by at least between two saved states. Where ``save_anywhere``, what follows
    a batch depends on how many came before and on nothing else: states are saved within rounds,
    too, and a first Ctrl-C saves one before KeyboardInterrupt is raised. Raises BirdnbError when
    the loss is not finite or explodes, and for a state that is damaged or of another training.
    """

    save_anywhere = False

    def __init__(
        self, model: nn.Module, settings: RunSettings, class_counts: Tensor,
        noise_bank: Tensor | None, accelerator: Accelerator, *, name: str, path: Path, key: str,
        labels: list[str], save_seconds: float = 0.0,
    ) -> None:  # fmt: skip
        self.settings, self.accelerator, self.device = settings, accelerator, accelerator.device
        self.name, self.path, self.key, self.labels = name, path, key, labels
        self.save_seconds, self.next_save = save_seconds, time.perf_counter() + save_seconds
        self.world, self.rank = accelerator.num_processes, accelerator.process_index
        if self.world > 1 and self.device.type == "cuda":
            model = convert_sync_batchnorm(model)
        t, m = settings.train, settings.model
        groups = parameter_groups(
            model.to(self.device), t.lr_backbone, t.lr_head, t.weight_decay, t.layer_decay
        )
        self.rates = [group["lr"] for group in groups]
        self.model, self.optimizer = accelerator.prepare(
            model, torch.optim.AdamW(groups, fused=True)
        )
        self.plain = accelerator.unwrap_model(self.model)
        self.n_classes = len(class_counts)
        self.guessing = math.log(self.n_classes)  # loss of who knows nothing
        self.loss = build_loss(t, class_counts).to(self.device)
        a = settings.augment
        is_on = a.specaugment or a.mixup or a.noise or a.time_shift or a.extra
        augment = Augment(a, noise_bank, self.n_classes, m.normalisation)
        self.augment = augment if is_on else None
        self.history: list[dict[str, Any]] = []
        self.kept: dict[str, Tensor] = {}  # the weights to end with, where it is not the last ones
        self.batches_done, self.steps_done, self.clips_done = 0, 0, 0
        self.factor = 0.0  # of the full learning rates, at the last step
        # loss, right, clips, their weights in this round; and at the last look
        self.totals, self.seen = torch.zeros(4, device=self.device), [0.0] * 4
        self.began = self.round_began = time.perf_counter()
        self.earlier = 0.0  # [s] spent by killed calls
        self.first_look, self.said = True, ""  # for the progress bar

    @abstractmethod
    def batches(self) -> Iterator[Batch]:
        """Give the batches that are left, one by one, torch seeded for the dropout of each."""

    @abstractmethod
    def rate(self) -> float:
        """Return the share of the full learning rates for the next step of the optimiser."""

    @abstractmethod
    def share(self) -> float:
        """Return how much of the budget is used, 1 at its end."""

    @abstractmethod
    def done(self) -> bool:
        """Tell whether nothing is left to learn."""

    @abstractmethod
    def round_ends(self) -> bool:
        """Tell whether a row of the history is due."""

    @abstractmethod
    def end_round(self, learned: Learned) -> None:
        """Validate, and add a row to the history with ``train_loss`` and ``val_accuracy``."""

    @abstractmethod
    def where(self) -> str:
        """Name the place that training has reached, such as "epoch 3 of 10"."""

    @abstractmethod
    def remedy(self) -> str:
        """Return what to change when training diverges."""

    def cost(self, x: Tensor, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is logits (B, C) of the outputs for x (B, 128, T), and the loss ()."""
        return outputs, self.loss(outputs, target)

    @property
    def seconds(self) -> float:
        """Return all the time spent so far, that of killed calls included."""
        return self.earlier + time.perf_counter() - self.began

    def run(self, progress: bool = True) -> list[dict[str, Any]]:
        """Learn, from the saved state on if there is one, and return the history."""
        if self.path.exists():
            self.resume(load_state(self.path, self.key, self.labels))
        self.model.train()
        # left out, TQDM_DISABLE decides
        quiet = {} if progress and self.accelerator.is_main_process else {"disable": True}
        bar = tqdm(total=100, initial=100 * self.share(), bar_format=BAR, **quiet)
        with bar, Interrupt(self.save_anywhere) as interrupt:
            self.round_began, first = time.perf_counter(), self.clips_done
            if self.round_ends():  # a row ahead of the first batch
                self._end_round()
            for batch in () if self.done() else self.batches():
                self._learn(batch)
                self._after_batch()
                self._show(bar, self.clips_done - first)
                if self.done():
                    break
                if interrupt.noted:
                    self.save()
                    raise KeyboardInterrupt
        if self.totals[2] > 0:  # the budget has become smaller since the state was saved
            self._end_round()
        return self.history

    def resume(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        if self.device.type == "cpu":
            torch.set_num_threads(state["threads"])  # sums of floats depend on it
        self.history, self.kept, self.earlier = state["history"], state["kept"], state["seconds"]
        self.batches_done, self.steps_done, self.clips_done = state["done"]
        totals = [*state["totals"], state["totals"][2]][:4]  # older states have no weights
        self.totals = torch.tensor(totals, device=self.device)
        self.seen, self.first_look = totals, False
        self.plain.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _learn(self, batch: Batch) -> None:
        # Accelerator.accumulate divides every loss by one number, but the last step of an epoch
        # may have fewer batches than the others
        alone = contextlib.nullcontext() if batch.ends else self.accelerator.no_sync(self.model)
        with alone:
            self.totals += self._backward(batch)
        if batch.ends:
            self._step()
        self.batches_done += 1
        self.clips_done += batch.clips

    def _backward(self, batch: Batch) -> Tensor:
        """Add the gradients of a batch; return its (loss, right, clips, weight) in this process."""
        n, target = len(batch.lms), batch.target
        if self.augment:  # (B, 128, T) and label shares (B, C)
            x, target = self.augment(batch.lms, target, batch.generator)
        else:
            x = normalise(batch.lms.float(), self.settings.model.normalisation)
        with autocast(self.device, self.settings.train.precision):
            outputs = self.model(x).float()
        logits, loss = self.cost(x, outputs, target)
        # processes are averaged: weigh each by its clips
        self.accelerator.backward(loss * (n * self.world / batch.clips / batch.of))
        hard = target if target.ndim == 1 else target.argmax(dim=1)
        right = (logits.detach().argmax(dim=1) == hard).sum()
        weight = self.loss.weight(target)
        return torch.stack([loss.detach() * n, right, torch.full_like(right, n), weight])

    def _step(self) -> None:
        # no scheduler of torch or transformers: their warm-up begins with a step at rate 0, and a
        # budget of minutes does not know its number of steps
        self.factor = self.rate()
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.factor
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.train.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.steps_done += 1

    def _after_batch(self) -> None:
        ends = self.round_ends()
        saves = (ends or self.save_anywhere) and time.perf_counter() >= self.next_save
        if ends or saves or self.batches_done % LOOK_EVERY == 0:
            self._look()
        if ends:
            self._end_round()
        if saves:
            self.save()
        if ends:
            self.round_began = time.perf_counter()

    def _look(self) -> None:
        """Read the totals. Raises BirdnbError when the loss since the last look has exploded.

        A few clips of a rare species weigh more than their number: their weight tells the mean.
        """
        now = self.totals.tolist()
        loss = (now[0] - self.seen[0]) / (now[3] - self.seen[3])
        before = self.history[0]["train_loss"] if self.history else None
        usual = max(self.guessing, before or 0.0)
        # new weights may start anywhere
        if not math.isfinite(loss) or (loss > EXPLODED * usual and not self.first_look):
            raise self._diverged(f"the loss is {loss:.4g}")
        self.seen, self.first_look = now, False
        self.accelerator.log({"batches/loss": loss}, self.steps_done)
        self.said = f"loss {now[0] / now[2]:.3f}, accuracy {now[1] / now[2]:.1%}"

    def _end_round(self) -> None:
        loss, right, clips, _ = self.accelerator.reduce(self.totals, "sum").tolist()
        seconds = time.perf_counter() - self.round_began
        none = Learned(None, None, seconds)
        learned = Learned(loss / clips, right / clips, seconds) if clips else none
        if not torch.stack([p.detach().sum() for p in self.plain.parameters()]).isfinite().all():
            raise self._diverged("the weights are not finite")
        if self.world > 1:
            for buffer in self.plain.buffers():
                # in place: on CPUs each process has its own statistics of batch normalisation
                broadcast(buffer)
        self.end_round(learned)
        self.totals.zero_()
        self.seen = [0.0] * 4

    def _diverged(self, what: str) -> BirdnbError:
        return BirdnbError(f"training diverged in {self.where()}, {what}: {self.remedy()}")

    def _show(self, bar: tqdm, clips: int) -> None:
        bar.update(100 * self.share() - bar.n)
        if self.said:
            speed = clips / max(bar.format_dict["elapsed"], 1e-9)
            before = f", validation {self.history[-1]['val_accuracy']:.1%}" if self.history else ""
            bar.set_description(f"{self.name}, {self.where()}", refresh=False)
            bar.set_postfix_str(f"{self.said}{before}, {speed:.0f} clips/s", refresh=False)

    def save(self) -> None:
        """Write the state from which another call goes on."""
        if not self.accelerator.is_main_process:
            return
        start = time.perf_counter()
        save_state(self.path, {
            "key": self.key, "labels": self.labels, "threads": torch.get_num_threads(),
            "history": self.history, "kept": self.kept, "seconds": self.seconds,
            "done": [self.batches_done, self.steps_done, self.clips_done],
            "totals": self.totals.tolist(), "model": self.plain.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        })  # fmt: skip
        now = time.perf_counter()
        self.next_save = now + max(self.save_seconds, (now - start) / SAVE_SHARE)
