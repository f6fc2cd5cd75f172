"""A checkpoint learned from invented song, with its model card: ``pretrain``.

The network learns to tell invented species apart (``clips``), clip after clip, none heard twice.
Supervised pretraining on synthesised data: Kataoka et al., Pre-training without Natural Images,
https://arxiv.org/abs/2101.08515.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from birdnb.cards import FREE, card_rows, heard_invented_song_only
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

# rows of a card -> how the card of later weights tells them
MADE = {"command": "made by", "begun from": "begun from"}


def settings_for(
    model: str, profile: str = "laptop", *, pretrained: bool | str = False, mixup: bool = False,
    lr: float = 1e-3, **train: Any,
) -> tuple[RunSettings, AudioSettings]:  # fmt: skip
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
    what: Pretraining, budget: Budget, out: Path, *, workers: int = 1, held_out: int = 1000,
    keep: Sequence[int] = (), profile: str = "laptop", progress: bool = True,
) -> list[dict[str, Any]]:  # fmt: skip
    """Pretrain a network, write its weights and a model card, and return the curve.

    The weights go to ``out``, without the head, the card beside it. Those at the numbers of clips
    of ``keep`` go to files beside ``out`` whose names end in the number, with cards of their own. A
    killed call goes on from the state in ``artifacts/pretraining`` when it is repeated; clips,
    minutes and ``keep`` may then be others, the rest may not. ``profile`` is the one that ``what``
    was made from, for the card. Raises BirdnbError as ``Pretrainer`` does, when ``out`` cannot be
    written, and for a number to keep beyond the last clip.
    """
    _check_out(out)
    if budget.clips and max(keep, default=0) > budget.clips:
        raise BirdnbError(
            f"weights cannot be kept at {max(keep):,} clips: there are only {budget.clips:,}"
        )
    facts = {
        "what": what, "held_out": held_out, "origin": _origin(what.run.model),
        "teacher": _origin(what.teacher), "free": FREE,
        "invented": _is_invented(what.run.model) and _is_invented(what.teacher),
    }  # fmt: skip

    def write(path: Path, kept_at: int | None = None) -> None:
        command = _command(what, budget, held_out, kept_at, profile)
        _write(pretrainer, path, facts | {"kept_at": kept_at, "command": command})

    kept: set[int] = set()

    def keep_now(clips: int) -> None:
        write(named[clips], clips)
        kept.add(clips)

    named = {clips: out.with_stem(f"{out.stem}_{clips}") for clips in keep}
    pretrainer = Pretrainer(
        what, budget, out.stem, workers=workers, held_out=held_out, keep=keep,
        on_keep=keep_now,
    )  # fmt: skip
    goes_on = pretrainer.path.exists()  # then an earlier call may have kept some
    rows = pretrainer.run(progress)
    write(out)
    for clips, path in named.items():
        if clips not in kept and not (goes_on and path.is_file()):
            old = "; the file there is of an earlier pretraining" if path.is_file() else ""
            tqdm.write(f"{path.name}: not kept, {clips:,} clips were past or not reached{old}")
    pretrainer.forget()
    return rows


def _write(pretrainer: Pretrainer, path: Path, facts: dict[str, Any]) -> None:
    """Write the weights that there are now, without the head, and their card beside them."""
    model = pretrainer.model
    modules = model.named_modules(remove_duplicate=False)
    head = tuple(f"{name}." for name, module in modules if module is model.head)
    weights = weights_of(model, torch.float16)
    save_weights(path, {n: w for n, w in weights.items() if not n.startswith(head)})
    body = [p for n, p in model.named_parameters() if not n.startswith(head)]
    text = model_card(
        path, device=pretrainer.device, rows=pretrainer.history, rate=pretrainer.factor,
        parameters=sum(p.numel() for p in body), **facts,
    )  # fmt: skip
    write_text(path.with_suffix(".md"), text)


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


def _origin(model: ModelSettings | None) -> str:
    """Tell, as Markdown, a network's weights and the command that made them; "" for new ones."""
    if model is None or model.pretrained is False:
        return ""
    source = _source(model)
    if source is None:
        return f"`{'the hub' if model.pretrained is True else Path(str(model.pretrained)).name}`"
    rows, origin = card_rows(source), f"weights with SHA-256 `{sha256_of(source)}`"
    clips = rows.get("clips", "an unknown number, of unknown").replace(", of", " clips of")
    made = [f"{word} {rows[name]}" for name, word in MADE.items() if name in rows]
    return "; ".join([f"{origin} after {clips}", *made])


def _is_invented(model: ModelSettings | None) -> bool:
    """Tell whether a network has heard nothing but invented song, as far as its card says."""
    if model is None or model.pretrained is False:
        return True
    source = _source(model)
    return source is not None and heard_invented_song_only(source)


def _source(model: ModelSettings) -> Path | None:
    """Return the file of a network's weights, None where it is no file here."""
    given = model.pretrained
    path = SHIPPED / FILES[model.name] if given == "synthetic" else user_path(str(given))
    return path if path.is_file() else None


def _command(
    what: Pretraining, budget: Budget, held_out: int, kept_at: int | None, profile: str
) -> str:
    """Return the command line that gives these weights, kept after so many clips or the last."""
    t, begun, teacher = what.run.train, what.run.model.pretrained, what.teacher
    options = {
        "model": what.run.model.name,
        "profile": None if profile == "laptop" else Path(profile).name,
        "species": what.species, "clips": budget.clips,
        "minutes": budget.seconds and f"{budget.seconds / 60:g}", "batch-size": t.batch_size,
        "lr": f"{t.lr_backbone:g}", "precision": t.precision, "seed": what.seed,
        "clip-seconds": f"{what.clip_seconds:g}",
        "pretrained": Path(begun).name if isinstance(begun, str) else None, "held-out": held_out,
        "teacher": teacher and f"{teacher.name}:{Path(str(teacher.pretrained)).name}",
        "keep": kept_at,
    }  # fmt: skip
    words = [f"--{name} {value}" for name, value in options.items() if value is not None]
    mixup = ["--mixup"] if what.run.augment.mixup else []
    return " ".join(["python -m birdnb.pretraining", *words, *mixup])
