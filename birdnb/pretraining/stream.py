"""Learn from an endless stream of invented clips, for a number of clips or minutes."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from tqdm import tqdm

from birdnb.config import N_MELS, AudioSettings, ModelSettings, RunSettings, key_of
from birdnb.features.lms import normalise
from birdnb.files import BirdnbError, artifacts_dir
from birdnb.models import build_model
from birdnb.pretraining.clips import InventedClips, batches, hold
from birdnb.training.devices import autocast, make_accelerator, seed_of
from birdnb.training.loop import Batch, Learned, Loop

WARM_UP = 100  # batches
SAVE_SECONDS = 120.0  # between saved states
ROWS = 10  # of the learning curve, each with a look at held-out clips
ENDLESS = 2**60  # clips, when only minutes are given
TEACHER_WEIGHT = 8.0  # of the distance from a teacher, beside the cross-entropy


@dataclass(frozen=True)
class Pretraining:
    """Everything that decides what is learned from a number of clips."""

    run: RunSettings
    audio: AudioSettings
    species: int = 2000
    seed: int = 7
    clip_seconds: float = 4.0  # [s] 1 to 10
    teacher: ModelSettings | None = None  # a network whose embeddings are learned, too

    @property
    def n_frames(self) -> int:
        """Return the frames T of a clip."""
        return 1 + round(self.clip_seconds * self.audio.sample_rate) // self.audio.hop_length

    @property
    def key(self) -> str:
        """Return the name of the state that a killed pretraining goes on from."""
        facts = dataclasses.asdict(self)
        return key_of({name: value for name, value in facts.items() if value is not None})


@dataclass(frozen=True)
class Budget:
    """When pretraining ends: after so many clips, so many seconds, or whichever comes first."""

    clips: int | None = 300_000
    seconds: float | None = None

    def share(self, clips: int, seconds: float) -> float:
        """Return how much of the budget is used, 1 at its end and never more."""
        of_time = seconds / self.seconds if self.seconds else 0.0
        return min(1.0, max(clips / (self.clips or ENDLESS), of_time))


class Pretrainer(Loop):
    """A new network that learns from the stream; a round is a tenth of the budget.

    There is a row before the first clip, too, and one at each number of clips of ``keep``, where
    ``on_keep`` is called with that number. ``name`` is for the progress bar and the state. With a
    teacher, the head says its embedding beside the species (after Gong et al., CMKD: CNN/
    Transformer-Based Cross-Model Knowledge Distillation, https://arxiv.org/abs/2203.06760). Raises
    BirdnbError when the loss is not finite, the state is damaged, the teacher wants another
    normalisation, or batches are too small for one.
    """

    save_anywhere = True

    def __init__(
        self, what: Pretraining, budget: Budget, name: str, *, workers: int, held_out: int,
        save_seconds: float = SAVE_SECONDS, keep: Sequence[int] = (),
        on_keep: Callable[[int], object] = lambda clips: None,
    ) -> None:  # fmt: skip
        self.what, self.budget, self.workers, self.n_held_out = what, budget, workers, held_out
        self.keep, self.on_keep = sorted(keep), on_keep
        m, device = what.run.model, make_accelerator().device
        self.teacher = _teacher(what, device)
        width = self.teacher[1] if self.teacher else 0
        torch.manual_seed(what.seed)  # for new weights
        model = build_model(
            m.name, what.species + width, what.n_frames, m.pretrained, size=m.size,
            drop_path=m.drop_path,
        )  # fmt: skip
        super().__init__(
            model, what.run, torch.ones(what.species), None, make_accelerator(), name=name,
            path=artifacts_dir() / "pretraining" / f"{name}-{what.key}.pt", key=what.key, labels=[],
            save_seconds=save_seconds,
        )  # fmt: skip
        self.guessing += TEACHER_WEIGHT if self.teacher else 0.0
        self.validation_seconds = 0.0
        self.tenth = -1  # of the budget at the last row
        self.passed = 0  # numbers of ``keep`` by then

    def batches(self) -> Iterator[Batch]:
        """Give new clips until the budget is used."""
        numbers = range(self.clips_done, self.budget.clips or ENDLESS)
        size = self.settings.train.batch_size
        for lms, species in batches(self._clips("train"), numbers, size, self.workers):
            generator = Generator().manual_seed(seed_of(self.what.seed, self.clips_done))
            torch.manual_seed(seed_of(self.what.seed, self.clips_done, 1))  # for dropout
            parts = lms.to(self.device), species.to(self.device)
            yield Batch(*parts, generator, len(lms))

    def rate(self) -> float:
        """Return the share of the full rate: a linear warm-up, and a cosine to 0 at the end."""
        rise = min(1.0, (self.batches_done + 1) / WARM_UP)
        return rise * 0.5 * (1 + math.cos(math.pi * self.share()))

    def share(self) -> float:
        """Return how much of the budget is used, the last look at held-out clips included."""
        return self.budget.share(self.clips_done, self.seconds + self.validation_seconds)

    def done(self) -> bool:
        """Tell whether the budget is used."""
        return self.share() >= 1

    def round_ends(self) -> bool:
        """Tell whether another tenth of the budget is used, or weights are to be kept."""
        return int(self.share() * ROWS) > self.tenth or self._passed() > self.passed

    def end_round(self, learned: Learned) -> None:
        """Add a row with the loss and accuracy on held-out clips."""
        held_out, start = self._held_out, time.perf_counter()  # making them is no part of a look
        val_loss, val_accuracy = self._validate(*held_out)
        self.history.append({
            "clips": self.clips_done, "minutes": self.seconds / 60,
            "train_loss": learned.loss, "train_accuracy": learned.accuracy,
            "val_loss": val_loss, "val_accuracy": val_accuracy,
        })  # fmt: skip
        self.tenth = int(self.share() * ROWS)
        self.validation_seconds = time.perf_counter() - start
        due, self.passed = self.keep[self.passed : self._passed()], self._passed()
        for clips in due:
            self.on_keep(clips)

    def where(self) -> str:
        """Name the clip."""
        return f"clip {self.clips_done:,}"

    def remedy(self) -> str:
        """Return what to change when training diverges."""
        return f"lower --lr (now {self.settings.train.lr_backbone:g})"

    def resume(self, state: dict[str, Any]) -> None:
        """Take up a saved state, and say so."""
        super().resume(state)
        self.tenth, self.passed = int(self.share() * ROWS), self._passed()
        tqdm.write(
            f"{self.name}: goes on after {self.clips_done:,} clips and "
            f"{self.earlier / 60:.0f} minutes"
        )

    def cost(self, x: Tensor, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits (B, C) among the outputs, and the loss () with that of the teacher."""
        logits = outputs[:, : self.what.species]
        loss = self.loss(logits, target)
        if self.teacher is None or len(x) == 1:  # a last clip alone has no spread to measure by
            return logits, loss
        with torch.no_grad(), autocast(self.device, self.settings.train.precision):
            taught = self.teacher[0].embed(x).float()  # type: ignore[operator]
        # (B, D), each with mean 0 and variance 1 over the batch
        taught = nn.functional.batch_norm(taught, None, None, training=True)
        apart = nn.functional.mse_loss(outputs[:, self.what.species :], taught)
        return logits, loss + TEACHER_WEIGHT * apart

    def forget(self) -> None:
        """Delete the saved state: nothing is left to go on from."""
        self.path.unlink(missing_ok=True)

    def _passed(self) -> int:
        return sum(clips <= self.clips_done for clips in self.keep)

    def _clips(self, side: str) -> InventedClips:
        what = self.what
        return InventedClips(what.audio, what.species, what.seed, side, what.clip_seconds)

    @functools.cached_property
    def _held_out(self) -> tuple[Tensor, Tensor]:
        size = self.settings.train.batch_size
        return hold(self._clips("validation"), self.n_held_out, size, self.workers)

    @torch.no_grad()
    def _validate(self, held_out: Tensor, target: Tensor) -> tuple[float, float]:
        """Cross-entropy and accuracy on held-out clips (N, n_mels, T) dB of species (N,)."""
        self.plain.eval()
        loss, right, size = 0.0, 0, 2 * self.settings.train.batch_size
        for lms, species in zip(held_out.split(size), target.split(size), strict=True):
            x = normalise(lms.to(self.device).float(), self.settings.model.normalisation)
            with autocast(self.device, self.settings.train.precision):
                logits = self.plain(x)[:, : self.what.species].float().cpu()  # (B, C)
            loss += nn.functional.cross_entropy(logits, species, reduction="sum").item()
            right += int((logits.argmax(dim=1) == species).sum())
        self.plain.train()
        return loss / self.n_held_out, right / self.n_held_out


def _teacher(what: Pretraining, device: torch.device) -> tuple[nn.Module, int] | None:
    """Return the frozen teacher, if there is one, and the width of its embeddings."""
    m, own = what.teacher, what.run.model.normalisation
    if m is None:
        return None
    if what.run.train.batch_size == 1:
        raise BirdnbError("a teacher needs batches of 2 clips or more: give a larger --batch-size")
    if m.normalisation != own:
        raise BirdnbError(
            f"the teacher {m.name} hears {m.normalisation}, {what.run.model.name} {own}: give a "
            f"--profile that normalises both alike"
        )
    teacher = build_model(m.name, 1, what.n_frames, m.pretrained, size=m.size)
    teacher = teacher.requires_grad_(False).eval().to(device)
    with torch.no_grad():
        width = teacher.embed(torch.zeros(1, N_MELS, what.n_frames, device=device)).shape[1]  # type: ignore[operator]
    return teacher, width
