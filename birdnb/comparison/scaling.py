"""Judge checkpoints of pretraining against the clips they heard: frozen, and fine-tuned.

Clips, species and accuracy in pretraining come from the card beside each file of weights.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from birdnb.cards import card_rows
from birdnb.comparison.compare import compare, settings_of
from birdnb.comparison.page import Comparison, Pooled
from birdnb.config import Profile
from birdnb.evaluation.metrics import loss_over, paired_bootstrap, summarise
from birdnb.files import BirdnbError, artifacts_dir, user_path, whole_path
from birdnb.models import build_model
from birdnb.models.weights import FILES, save_weights, shipped, weights_of
from birdnb.registry import CLASSICAL, FROZEN, check_encoders, encoder_id

NEW = "new"  # weights that heard nothing


@dataclass(frozen=True)
class Checkpoint:
    """Weights of a network, and what their card says of how they were learned."""

    model: str
    path: Path
    clips: int | None  # heard in all; 0: new weights; None: no card says
    species: int | None = None  # told apart in the last pretraining
    held_out: float | None = None  # accuracy there on held-out clips, 0 to 1

    @property
    def name(self) -> str:
        """Return the name of the file without its ending."""
        return self.path.stem


@dataclass(frozen=True)
class Judged:
    """What came of a network's checkpoints over the folds, with the fewest clips first."""

    model: str
    run: str  # that was fine-tuned from each; "" of logistic regression on frozen embeddings
    points: list[tuple[Checkpoint | None, Pooled]]  # None: no network (MFCC statistics)
    over: str = NEW  # name of the checkpoint that the others are compared with


def read_checkpoint(given: str) -> Checkpoint:
    """Read "ast" (the shipped weights), "ast:PATH", or the PATH of weights with a card.

    Raises BirdnbError when the file is missing or nothing says which network it is of.
    """
    model, colon, path = given.partition(":")
    if model not in FILES:
        model, path = "", given
    elif not colon:
        path = str(shipped(model))
    file = user_path(path)
    if not file.is_file():
        raise BirdnbError(f"no weights at {file}: give the file that pretraining wrote")
    rows, card = card_rows(file), file.with_suffix(".md")
    text = card.read_text(encoding="utf-8") if rows else ""
    found = re.search(r"of birdnb's `(\w+)`", text)
    model = model or (found[1] if found else "")
    if model not in FILES:
        raise BirdnbError(
            f"{given} has no card that says which network it is of: write "
            f"{' or '.join(f'{name}:{given}' for name in FILES)}"
        )
    counts = [_whole(n) for n in re.findall(r"[\d,]*\d", rows.get("clips", ""))]
    if len(counts) != 2:
        return Checkpoint(model, file, None)  # no card, or notes of one's own
    own, species = counts
    begun = rows.get("begun from", "")
    earlier = [_whole(n) for n in re.findall(r"after ([\d,]+) clips", begun)]
    clips = own + sum(earlier) if len(earlier) == begun.count("SHA-256") else None
    right = re.search(r"names \*\*([\d.]+) %\*\* right", text)
    return Checkpoint(model, file, clips, species, float(right[1]) / 100 if right else None)


def scaling(
    checkpoints: Sequence[Checkpoint], corpus: str, profile: Profile, comparison: Comparison,
    folds: int, seeds: Sequence[int] = (7,), progress: bool = True, over: Sequence[Checkpoint] = (),
) -> Iterator[Judged]:  # fmt: skip
    """Judge checkpoints, and new weights of each network, giving each network as it is finished.

    All are frozen first; then each of the comparison's runs is fine-tuned from those of its
    network. ``over`` are judged, too, and the others of their network compared with them instead of
    with new weights. Finished trainings are loaded. Raises BirdnbError as ``compare`` does, for
    two of ``over`` of the same network, two files of the same name, and a run that trains a network
    of which no checkpoint is given.
    """
    checkpoints = list({whole_path(c.path): c for c in [*checkpoints, *over]}.values())
    reference = {one.model: one.name for one in over}
    if len(reference) < len(over):
        raise BirdnbError("--over takes one checkpoint a network: the others are compared with it")
    of_models = {
        model: [_new(model, profile), *sorted(
            (c for c in checkpoints if c.model == model),
            key=lambda c: (c.clips is None, c.clips or 0),
        )]
        for model in dict.fromkeys(c.model for c in checkpoints)
    }  # fmt: skip
    _check(of_models, comparison, profile)
    for model, those in of_models.items():
        names = [f"{model}:{one.path}" for one in those]
        frozen = replace(comparison, runs=(), variants={})
        with_encoders = replace(profile, encoders=tuple(names))
        pooled = {p.run: p for p in compare(frozen, corpus, with_encoders, folds, seeds, progress)}
        found = [pooled[FROZEN + encoder_id(name)] for name in names]
        yield Judged(
            model, "", [(None, pooled[CLASSICAL]), *zip(those, found, strict=True)],
            reference.get(model, NEW),
        )  # fmt: skip
    for run in comparison.runs:
        model = profile.runs[run].model.name
        those = of_models[model]
        variants = {c.name: {"pretrained": c.clips != 0 and str(c.path)} for c in those}
        tuned = replace(comparison, runs=(run,), variants=variants)
        pooled = {
            p.variant: p
            for p in compare(tuned, corpus, replace(profile, encoders=()), folds, seeds, progress)
        }
        yield Judged(
            model, run, [(one, pooled[one.name]) for one in those], reference.get(model, NEW)
        )


def _check(
    of_models: dict[str, list[Checkpoint]], comparison: Comparison, profile: Profile
) -> None:
    """Raise BirdnbError before anything is judged that could not be told apart or fine-tuned."""
    for model, those in of_models.items():
        check_encoders([f"{model}:{one.path}" for one in those])  # results are found by name
    settings_of(comparison, profile)
    for run in comparison.runs:
        if (model := profile.runs[run].model.name) not in of_models:
            raise BirdnbError(
                f"{run} trains {model}, and no checkpoint given is of it: leave it out"
            )


def scores_of(judged: Judged) -> pd.DataFrame:
    """Score each checkpoint, and compare it with the one named ``over``: a row each.

    ``accuracy``, ``f1_macro`` and ``log_loss`` with their intervals (``..._ci95``), and the
    differences ``gain``, ``gain_ci95``, ``p``, ``loss_gain`` and ``loss_gain_ci95``.
    """
    first = next(p for one, p in judged.points if one and one.name == judged.over)
    rows = []
    for one, pooled in judged.points:
        scores = summarise(pooled.predictions, pooled.labels, pooled.sessions)
        loss, ends = loss_over(pooled.predictions, None, pooled.sessions)
        row: dict[str, Any] = {
            "weights": one.name if one else pooled.run, "clips": one and one.clips,
            "species": one and one.species, "held_out": one and one.held_out, "log_loss": loss,
            "log_loss_ci95": ends,
        }  # fmt: skip
        names = ("accuracy", "accuracy_ci95", "f1_macro", "f1_macro_ci95")
        row |= {name: scores[name] for name in names}
        rows.append(row | ({} if pooled is first else gains(pooled, first)))
    return pd.DataFrame(rows).astype(object).where(lambda t: t.notna(), None)


def gains(one: Pooled, over: Pooled) -> dict[str, Any]:
    """Compare two on the same recordings: accuracy and log loss, with intervals over sessions."""
    paired = paired_bootstrap(one.predictions, over.predictions, one.sessions)
    loss, ends = loss_over(one.predictions, over.predictions, one.sessions)
    return {
        "gain": paired["difference"], "gain_ci95": paired["ci95"], "p": paired["p"],
        "loss_gain": loss, "loss_gain_ci95": ends,
    }  # fmt: skip


def _new(model: str, profile: Profile) -> Checkpoint:
    """Write new weights of a network, the same each time."""
    size = next((r.model.size for r in profile.runs.values() if r.model.name == model), "tiny")
    path = artifacts_dir() / "scaling" / model / f"{NEW}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = build_model(model, 1, profile.audio.n_frames, False, size=size)
    save_weights(path, weights_of(network))
    return Checkpoint(model, path, 0)


def _whole(text: str) -> int:
    return int(text.replace(",", ""))
