"""A checkpoint learned from invented song, with its model card: ``pretrain``.

The network learns to tell invented species apart (``clips``), clip after clip, none heard twice.
Supervised pretraining on synthesised data: Kataoka et al., Pre-training without Natural Images,
https://arxiv.org/abs/2101.08515.
"""

import re
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from birdnb.config import (
    AudioSettings,
    AugmentSettings,
    ModelSettings,
    RunSettings,
    TrainSettings,
    load_profile,
)
from birdnb.files import BirdnbError, sha256_of, user_path, write_text
from birdnb.models.weights import FILES, SHIPPED, save_weights, weights_of
from birdnb.pretraining.card import model_card
from birdnb.pretraining.stream import Budget, Pretrainer, Pretraining


def settings_for(
    model: str,
    profile: str = "laptop",
    *,
    pretrained: bool | str = False,
    mixup: bool = False,
    lr: float = 1e-3,
    **train: Any,
) -> tuple[RunSettings, AudioSettings]:
    """Return the run's and the audio settings of pretraining.

    Size and normalisation are those of the profile's first run with that model. ``train`` takes the
    place of fields of ``TrainSettings``. Raises BirdnbError when the profile has no such run.
    """
    found = load_profile(profile)
    own = next((run.model for run in found.runs.values() if run.model.name == model), None)
    if own is None:
        raise BirdnbError(
            f"profile {profile} has no run with the model {model!r}: give another profile or model"
        )
    network = ModelSettings(model, pretrained, own.size, own.normalisation)
    usual: dict[str, Any] = {"batch_size": 64, "weight_decay": 0.05, "label_smoothing": 0.1}
    settings = TrainSettings(lr_backbone=lr, lr_head=lr, **usual | train)
    # new clips only: masks would slow it down
    return RunSettings(network, settings, AugmentSettings(mixup=mixup)), found.audio


def pretrain(
    what: Pretraining,
    budget: Budget,
    out: Path,
    *,
    workers: int = 1,
    held_out: int = 1000,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Pretrain a network, write its weights and a model card, and return the curve.

    The weights go to ``out``, without the head, the card beside it. A killed call goes on from the
    state in ``artifacts/pretraining`` when it is repeated; clips and minutes may then be others,
    the rest may not. Raises BirdnbError as ``Pretrainer`` does, and when ``out`` cannot be written.
    """
    _check_out(out)
    origin = _origin(what.run.model)
    pretrainer = Pretrainer(what, budget, out.stem, workers=workers, held_out=held_out)
    rows = pretrainer.run(progress)
    model = _without_head(pretrainer.model)
    save_weights(out, weights_of(model, torch.float16))
    facts = {
        "what": what,
        "rows": rows,
        "held_out": held_out,
        "command": _command(what, budget, held_out),
        "origin": origin,
    }
    parameters = sum(p.numel() for p in model.parameters())
    write_text(
        out.with_suffix(".md"),
        model_card(out, parameters=parameters, device=pretrainer.device, **facts),
    )
    pretrainer.forget()
    return rows


def _check_out(out: Path) -> None:
    """Raise BirdnbError when weights could not be written, or read again, under this name."""
    if out.suffix != ".safetensors" or out.is_dir():
        raise BirdnbError(
            f"the weights cannot go to {out}: give the name of a file that ends in .safetensors"
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out.parent).close()
    except OSError as error:
        raise BirdnbError(
            f"the weights cannot go to {out} ({error.strerror}): give a folder that can be written"
        ) from error


def _origin(model: ModelSettings) -> str:
    """Tell the weights that pretraining began from and the command that made them.

    As Markdown; empty for new weights.
    """
    if not isinstance(model.pretrained, str):
        return ""
    source = (
        SHIPPED / FILES[model.name]
        if model.pretrained == "synthetic"
        else user_path(model.pretrained)
    )
    if not source.is_file():
        return f"`{source.name}`"
    card = source.with_suffix(".md")
    made = (
        re.findall(
            r"^\| (?:command|begun from) \| (.+) \|$", card.read_text(encoding="utf-8"), re.M
        )
        if card.is_file()
        else []
    )
    return "; ".join(
        [f"weights with SHA-256 `{sha256_of(source)}`", *(f"made by {text}" for text in made)]
    )


def _without_head(model: nn.Module) -> nn.Module:
    head = model.head
    for module in list(model.modules()):
        for name, child in module.named_children():
            if child is head:
                setattr(module, name, nn.Identity())
    return model


def _command(what: Pretraining, budget: Budget, held_out: int) -> str:
    """Return the command line that gives these weights."""
    t = what.run.train
    words = [
        "python",
        "-m",
        "birdnb.pretraining",
        "--model",
        what.run.model.name,
        "--species",
        what.species,
    ]
    words += ["--clips", budget.clips] if budget.clips else []
    words += ["--minutes", f"{budget.seconds / 60:g}"] if budget.seconds else []
    words += [
        "--batch-size",
        t.batch_size,
        "--lr",
        f"{t.lr_backbone:g}",
        "--precision",
        t.precision,
        "--seed",
        what.seed,
    ]
    words += ["--clip-seconds", f"{what.clip_seconds:g}"]
    words += (
        ["--pretrained", Path(what.run.model.pretrained).name]
        if isinstance(what.run.model.pretrained, str)
        else []
    )
    words += ["--held-out", held_out] + (["--mixup"] if what.run.augment.mixup else [])
    return " ".join(map(str, words))
