"""A checkpoint learned from invented song: ``python -m birdnb.pretraining --model ast``.

The network learns to tell invented species apart (``clips``), clip after clip, none heard twice.
Supervised pretraining on synthesised data: Kataoka et al., Pre-training without Natural Images,
https://arxiv.org/abs/2101.08515.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from birdnb.command import command
from birdnb.config import (
    AudioSettings,
    AugmentSettings,
    ModelSettings,
    RunSettings,
    TrainSettings,
    load_profile,
)
from birdnb.files import BirdnbError, artifacts_dir, write_text
from birdnb.models.weights import FILES, SHIPPED, save_weights
from birdnb.pretraining.card import cores, model_card
from birdnb.pretraining.loop import Budget, Pretrainer, Pretraining
from birdnb.training.checkpoint import sha256_of
from birdnb.training.options import bool_or_text, parse_seed


def settings_for(
    model: str,
    profile: str = "laptop",
    *,
    pretrained: bool | str = False,
    mixup: bool = False,
    lr: float = 1e-3,
    **train: Any,
) -> tuple[RunSettings, AudioSettings]:
    """Settings of pretraining; size and normalisation are those of the profile's first run with
    that model.

    ``train`` takes the place of fields of ``TrainSettings``. Raises BirdnbError when the profile
    has no such run.
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
    return RunSettings(
        network, settings, AugmentSettings(mixup=mixup)
    ), found.audio  # new clips only: masks would slow it down


def pretrain(
    what: Pretraining,
    budget: Budget,
    out: Path,
    *,
    workers: int = 1,
    held_out: int = 1000,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Pretrain a network, write its weights (without the head) to ``out`` and a model card beside
    it; returns the curve.

    A killed call goes on from the state in ``artifacts/pretraining`` when it is repeated; clips and
    minutes may then be others, the rest may not. Raises BirdnbError as ``Pretrainer`` does, and
    when ``out`` cannot be written.
    """
    _check_out(out)
    origin = _origin(what.run.model)
    pretrainer = Pretrainer(what, budget, out.stem, workers=workers, held_out=held_out)
    rows = pretrainer.run(progress)
    model = _without_head(pretrainer.model)
    save_weights(out, model)
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
    """Raises BirdnbError, before anything is trained, when the weights could not be written or read
    again under this name.
    """
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
    """The weights that pretraining began from and the command that made them, as Markdown; empty
    for new weights.
    """
    if not isinstance(model.pretrained, str):
        return ""
    source = (
        SHIPPED / FILES[model.name]
        if model.pretrained == "synthetic"
        else Path(model.pretrained).expanduser()
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
    """The command line that gives these weights."""
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


@command("interrupted: the same command goes on where it stopped")
def main(argv: Sequence[str] | None = None) -> int:
    """Pretrain from the shell; 0 when it is done, 2 after an error, 130 when interrupted."""
    args = _parser().parse_args(argv)
    out = args.out or artifacts_dir() / "pretraining" / FILES[args.model]
    clips = args.clips or (None if args.minutes else 300_000)
    budget = Budget(clips, args.minutes * 60 if args.minutes else None)
    torch.set_num_threads(args.threads or max(1, cores() - args.workers))
    chosen = {
        name: getattr(args, name)
        for name in ("pretrained", "batch_size", "lr", "precision", "mixup")
    }
    run, audio = settings_for(args.model, args.profile, **chosen)
    what = Pretraining(run, audio, args.species, args.seed, args.clip_seconds or audio.clip_seconds)
    rows = pretrain(what, budget, out, workers=args.workers, held_out=args.held_out)
    end = rows[-1]
    print(
        f"{end['clips']:,} clips in {end['minutes']:.1f} minutes: {end['validation_accuracy']:.1%} "
        f"of held-out clips right "
        f"(chance {1 / args.species:.2%})\n{out}"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m birdnb.pretraining",
        description="Learn to tell invented bird species apart and write a checkpoint to start other trainings from "
        "(--pretrained FILE), with a model card beside it. A killed or interrupted call goes on "
        "when the same command is given "
        "again.",
    )
    parser.add_argument(
        "--model", required=True, choices=list(FILES), help="network, as the profile sets it"
    )
    parser.add_argument("--profile", default="laptop", metavar="NAME",
                        help="audio settings, size and normalisation are taken from it (default: %(default)s)")  # fmt: skip
    parser.add_argument("--species", type=_positive, default=2000, metavar="N",
                        help="invented species to tell apart (default: %(default)s)")  # fmt: skip
    parser.add_argument(
        "--clips",
        type=_positive,
        metavar="N",
        help="clips to learn from (default: 300000, or --minutes)",
    )
    parser.add_argument(
        "--minutes", type=float, metavar="X", help="end by then; with --clips whichever comes first"
    )
    parser.add_argument("--clip-seconds", type=_seconds, metavar="SECONDS",
                        help="of a clip, 1 to 10 (default: the profile's); shorter ones go faster")  # fmt: skip
    parser.add_argument("--pretrained", type=bool_or_text, default=False, metavar="WEIGHTS",
                        help="begin from these: synthetic, or a file written here (default: new weights)")  # fmt: skip
    parser.add_argument(
        "--batch-size",
        type=_positive,
        default=64,
        metavar="N",
        help="clips in a batch (default: %(default)s)",
    )
    parser.add_argument(
        "--lr",
        type=float,
        default=1e-3,
        metavar="X",
        help="highest learning rate (default: %(default)s)",
    )
    parser.add_argument(
        "--mixup", action="store_true", help="blend pairs of clips in half of the batches"
    )
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"],
                        help="auto is bf16 on a GPU; bf16 also pays on CPUs with AMX (default: %(default)s)")  # fmt: skip
    parser.add_argument("--held-out", type=_positive, default=1000, metavar="N",
                        help="clips of other individuals, for validation (default: %(default)s)")  # fmt: skip
    parser.add_argument("--workers", type=int, default=max(1, cores() // 2), metavar="N",
                        help="processes that make clips (default: half the cores, here %(default)s)")  # fmt: skip
    parser.add_argument(
        "--threads",
        type=_positive,
        metavar="N",
        help="threads that train on a CPU (default: the cores left)",
    )
    parser.add_argument("--seed", type=parse_seed, default=7, metavar="N",
                        help="of clips, weights and augmentation (default: %(default)s)")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE",
                        help="file to write, .safetensors (default: the model's in artifacts/pretraining)")  # fmt: skip
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 1 <= seconds <= 10:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 to 10")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
