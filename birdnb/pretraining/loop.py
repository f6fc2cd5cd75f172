"""The loop of pretraining: an endless stream of invented clips, a budget of clips or minutes, a
state to go on from.
"""

from __future__ import annotations

import dataclasses
import math
import signal
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from birdnb.config import AudioSettings, RunSettings, key_of
from birdnb.features.lms import normalise
from birdnb.files import BirdnbError, artifacts_dir
from birdnb.models import build_model, parameter_groups
from birdnb.pretraining.clips import InventedClips, batches, hold
from birdnb.training.augment import Augment
from birdnb.training.checkpoint import load_state, save_state
from birdnb.training.devices import autocast, make_accelerator
from birdnb.training.losses import build_loss

WARM_UP = 100  # batches
SAVE_SECONDS = 120.0  # between saved states
ROWS = 10  # of the learning curve, each with a look at held-out clips
ENDLESS = 2**60  # clips, when only minutes are given
BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


@dataclass(frozen=True)
class Pretraining:
    """Everything that decides what is learned from a number of clips."""

    run: RunSettings
    audio: AudioSettings
    species: int = 2000
    seed: int = 7
    clip_seconds: float = 4.0  # [s] 1 to 10

    @property
    def n_frames(self) -> int:
        """Frames T of a clip."""
        return 1 + round(self.clip_seconds * self.audio.sample_rate) // self.audio.hop_length

    @property
    def key(self) -> str:
        """Names the state that a killed pretraining goes on from."""
        return key_of(dataclasses.asdict(self))


@dataclass(frozen=True)
class Budget:
    """When pretraining ends: after so many clips, so many seconds, or whichever comes first.
    Learning rates follow it.
    """

    clips: int | None = 300_000
    seconds: float | None = None

    def share(self, clips: int, seconds: float) -> float:
        """How much of the budget is used, 1 at its end."""
        return max(clips / (self.clips or ENDLESS), seconds / self.seconds if self.seconds else 0.0)


class Pretrainer:
    """A network that learns from the stream until the budget is used; ``run`` gives the learning
    curve.

    The curve has a row for every tenth of the budget and one before the first clip. ``name`` is for
    the progress bar and the state. Raises BirdnbError when the loss is not finite or the state is
    damaged.
    """

    def __init__(
        self, what: Pretraining, budget: Budget, name: str, *, workers: int, held_out: int
    ) -> None:
        self.what, self.budget, self.name, self.workers, self.held_out = (
            what,
            budget,
            name,
            workers,
            held_out,
        )
        self.train, self.device = what.run.train, make_accelerator().device
        torch.manual_seed(what.seed)  # for new weights
        m = what.run.model
        self.model = build_model(
            m.name, what.species, what.n_frames, m.pretrained, size=m.size, drop_path=m.drop_path
        ).to(self.device)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(
                self.model, self.train.lr_backbone, self.train.lr_head, self.train.weight_decay
            ),
            fused=True,
        )
        self.loss = build_loss(self.train, torch.ones(what.species)).to(self.device)
        self.augment = Augment(what.run.augment, None, what.species, m.normalisation)
        self.state = artifacts_dir() / "pretraining" / f"{name}-{what.key}.pt"
        self.clips, self.earlier = 0, 0.0  # [s] spent by killed calls
        self.rows: list[dict[str, Any]] = []
        self.totals = np.zeros(3)  # loss, right, clips since the last row
        self.validation_seconds, self.saved, self.began = (
            0.0,
            time.perf_counter(),
            time.perf_counter(),
        )

    @property
    def seconds(self) -> float:
        """All the time spent so far, that of killed calls included."""
        return self.earlier + time.perf_counter() - self.began

    @property
    def share(self) -> float:
        """How much of the budget is used, the last look at held-out clips included."""
        return min(1.0, self.budget.share(self.clips, self.seconds + self.validation_seconds))

    def forget(self) -> None:
        """Delete the saved state: nothing is left to go on from."""
        self.state.unlink(missing_ok=True)

    def run(self, progress: bool = True) -> list[dict[str, Any]]:
        """Learn, from the saved state on if there is one. A first Ctrl-C saves the state, then
        KeyboardInterrupt is raised.
        """
        self._resume()
        clips = InventedClips(
            self.what.audio, self.what.species, self.what.seed, seconds=self.what.clip_seconds
        )
        held_out = dataclasses.replace(clips, side="validation")
        self.validation = hold(held_out, self.held_out, self.train.batch_size, self.workers)
        self.row = int(self.share * ROWS)
        if not self.rows:
            self._add_row()
        numbers = range(self.clips, self.budget.clips or ENDLESS)
        shown = {"initial": 100 * self.share, "desc": self.name, "bar_format": BAR} | (
            {} if progress else {"disable": True}
        )
        with tqdm(total=100, **shown) as bar, _Interrupt() as interrupt:
            for lms, species in batches(clips, numbers, self.train.batch_size, self.workers):
                self._step(lms, species)
                self._show(bar, numbers.start)
                if self.share >= 1:
                    break
                self._now_and_then()
                if interrupt.noted:
                    self._save()
                    raise KeyboardInterrupt
        self._add_row()
        return self.rows

    def _step(self, lms: Tensor, species: Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.train.lr_backbone * self._factor()
        generator = torch.Generator().manual_seed(_seed(self.what.seed, self.clips))
        torch.manual_seed(_seed(self.what.seed, self.clips, 1))  # for dropout
        self.model.train()
        x, target = self.augment(
            lms.to(self.device), species.to(self.device), generator
        )  # (B, 128, T), (B, C)
        with autocast(self.device, self.train.precision):
            logits = self.model(x).float()  # (B, C)
        loss = self.loss(logits, target)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.train.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        right = (logits.argmax(dim=1) == target.argmax(dim=1)).sum()
        self.totals += [loss.item() * len(lms), right.item(), len(lms)]
        if not math.isfinite(self.totals[0]):
            raise BirdnbError(
                f"the loss is not finite after {self.clips} clips: lower --lr (now "
                f"{self.train.lr_backbone:g})"
            )
        self.clips += len(lms)

    def _factor(self) -> float:
        """Share of the full learning rate: a linear warm-up, and a cosine to 0 at the end of the
        budget.
        """
        rise = min(1.0, (self.clips // self.train.batch_size + 1) / WARM_UP)
        return rise * 0.5 * (1 + math.cos(math.pi * self.share))

    def _now_and_then(self) -> None:
        if int(self.share * ROWS) > self.row:
            self._add_row()
        if time.perf_counter() - self.saved > SAVE_SECONDS:
            self._save()

    def _add_row(self) -> None:
        start = time.perf_counter()
        loss, right, n = self.totals.tolist()
        validation_loss, validation_accuracy = self._validate()
        self.rows.append({
            "clips": self.clips, "minutes": self.seconds / 60,
            "loss": loss / n if n else None, "accuracy": right / n if n else None,
            "validation_loss": validation_loss, "validation_accuracy": validation_accuracy,
        })  # fmt: skip
        self.totals[:], self.row = 0, int(self.share * ROWS)
        self.validation_seconds = time.perf_counter() - start

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        """Cross-entropy and accuracy on the held-out clips."""
        self.model.eval()
        loss, right = 0.0, 0
        for lms, species in zip(
            *(part.split(2 * self.train.batch_size) for part in self.validation), strict=True
        ):
            x = normalise(lms.to(self.device).float(), self.what.run.model.normalisation)
            with autocast(self.device, self.train.precision):
                logits = self.model(x).float().cpu()  # (B, C)
            loss += nn.functional.cross_entropy(logits, species, reduction="sum").item()
            right += int((logits.argmax(dim=1) == species).sum())
        return loss / len(self.validation[1]), right / len(self.validation[1])

    def _show(self, bar: tqdm, first: int) -> None:
        loss, right, n = self.totals
        speed = (self.clips - first) / max(bar.format_dict["elapsed"], 1e-9)
        held_out = self.rows[-1]["validation_accuracy"]
        text = f"{self.clips:,} clips, {speed:.0f} clips/s, loss {loss / n:.3f}, accuracy {right / n:.1%}"
        text += f", held out {held_out:.1%}"
        bar.set_postfix_str(text, refresh=False)
        bar.update(100 * self.share - bar.n)

    def _save(self) -> None:
        save_state(self.state, {
            "key": self.what.key, "labels": [], "clips": self.clips, "seconds": self.seconds,
            "rows": self.rows,
            "totals": self.totals.tolist(), "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        })  # fmt: skip
        self.saved = time.perf_counter()

    def _resume(self) -> None:
        if not self.state.exists():
            return
        state = load_state(self.state, self.what.key, [])
        self.clips, self.earlier, self.rows = state["clips"], state["seconds"], state["rows"]
        self.totals = np.array(state["totals"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        tqdm.write(
            f"{self.name}: goes on after {self.clips:,} clips and {self.earlier / 60:.0f} minutes"
        )


class _Interrupt:
    """Within it the first Ctrl-C is only noted, so that a batch is finished; the second one
    interrupts.
    """

    noted = False

    def __enter__(self) -> _Interrupt:
        self.before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGINT, self.before)

    def _note(self, *_: object) -> None:
        self.noted = True
        signal.signal(signal.SIGINT, self.before)


def _seed(*seeds: int) -> int:
    return int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0] >> 1)
