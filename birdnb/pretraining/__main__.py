"""The command ``python -m birdnb.pretraining --model ast``: a checkpoint from invented song."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from birdnb.command import command
from birdnb.config import TrainSettings
from birdnb.files import artifacts_dir
from birdnb.models.weights import FILES
from birdnb.pretraining.card import cores
from birdnb.pretraining.pretrain import pretrain, settings_for
from birdnb.pretraining.stream import Budget, Pretraining
from birdnb.settings import choices, fields_of
from birdnb.training.options import bool_or_text, parse_seed

PRECISIONS = choices(fields_of(TrainSettings)["precision"])


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
        f"{end['clips']:,} clips in {end['minutes']:.1f} minutes: {end['val_accuracy']:.1%} "
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
    parser.add_argument("--precision", default="auto", choices=PRECISIONS,
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
