"""The command ``python -m birdnb.pretraining --model ast``: a checkpoint from invented song."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import torch

from birdnb.command import called, command, number, parse_seed, positive
from birdnb.config import ModelSettings, TrainSettings
from birdnb.files import BirdnbError, artifacts_dir, user_path
from birdnb.models.weights import FILES, check_source
from birdnb.pretraining.card import cores
from birdnb.pretraining.pretrain import pretrain, settings_for
from birdnb.pretraining.stream import Budget, Pretraining
from birdnb.settings import choices, fields_of
from birdnb.training.options import bool_or_text

PRECISIONS = choices(fields_of(TrainSettings)["precision"])


@command("interrupted: the same command goes on where it stopped")
def main(argv: Sequence[str] | None = None) -> int:
    """Pretrain from the shell; 0 when it is done, 2 after an error, 130 when interrupted."""
    args = make_parser().parse_args(argv)
    out = args.out or artifacts_dir() / "pretraining" / FILES[args.model]
    clips = args.clips or (None if args.minutes else 300_000)
    budget = Budget(clips, args.minutes * 60 if args.minutes else None)
    torch.set_num_threads(args.threads or max(1, cores() - args.workers))
    chosen = {
        name: getattr(args, name)
        for name in ("pretrained", "batch_size", "lr", "precision", "mixup")
    }
    run, audio = settings_for(args.model, args.profile, **chosen)
    what = Pretraining(
        run, audio, args.species, args.seed, args.clip_seconds or audio.clip_seconds,
        _teacher(args.teacher, args.profile),
    )  # fmt: skip
    more = {"workers": args.workers, "held_out": args.held_out, "keep": sorted(set(args.keep))}
    rows = pretrain(what, budget, out, profile=args.profile, **more)
    end = rows[-1]
    print(
        f"{end['clips']:,} clips in {end['minutes']:.1f} minutes: {end['val_accuracy']:.1%} "
        f"of held-out clips right "
        f"(chance {1 / args.species:.2%})\n{out}"
    )
    return 0


def _teacher(given: str | None, profile: str) -> ModelSettings | None:
    if given is None:
        return None
    model, _, weights = given.partition(":")
    if model not in FILES:
        raise BirdnbError(f"--teacher {given}: begin with {' or '.join(FILES)}")
    check_source(weights or None)
    return settings_for(model, profile, pretrained=weights or "synthetic")[0].model


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=called("python -m birdnb.pretraining"),
        description="Learn to tell invented bird species apart and write a checkpoint to start "
        "other trainings from (--pretrained FILE), with a model card beside it. A killed or "
        "interrupted call goes on when the same command is given again.",
    )
    count: dict[str, Any] = {"type": positive, "metavar": "N"}
    usual = "(default: %(default)s)"
    add = parser.add_argument
    # fmt: off
    add("--model", required=True, choices=list(FILES), help="network, as the profile sets it")
    add("--profile", default="laptop", metavar="NAME",
        help=f"audio settings, size and normalisation are taken from it {usual}")
    add("--species", default=2000, help=f"invented species to tell apart {usual}", **count)
    add("--clips", help="clips to learn from (default: 300000, or --minutes)", **count)
    minutes = number(float, 1e-3, 1e6, said="is no number of minutes")
    add("--minutes", type=minutes, metavar="X",
        help="end by then; with --clips whichever comes first")
    seconds = number(float, 1, 10, said="is not a number of seconds from 1 to 10")
    add("--clip-seconds", type=seconds, metavar="SECONDS",
        help="of a clip, 1 to 10 (default: the profile's); shorter ones go faster")
    add("--pretrained", type=bool_or_text, default=False, metavar="WEIGHTS",
        help="begin from these: synthetic, or a file written here (default: new weights)")
    add("--teacher", metavar="MODEL[:WEIGHTS]", help="learn the embeddings of this network, too: "
        f"{' or '.join(FILES)}, with the shipped weights unless a file is given")
    add("--batch-size", default=64, help=f"clips in a batch {usual}", **count)
    rate = number(float, 1e-12, 1e3, said="is no learning rate: give a number above 0")
    add("--lr", type=rate, default=1e-3, metavar="X", help=f"highest learning rate {usual}")
    add("--mixup", action="store_true", help="blend pairs of clips in half of the batches")
    add("--precision", default="auto", choices=PRECISIONS,
        help=f"auto is bf16 on a GPU; bf16 also pays on CPUs with AMX {usual}")
    add("--held-out", default=1000,
        help=f"clips of other individuals, for validation {usual}", **count)
    add("--keep", default=[], nargs="+", help="numbers of clips after which weights are kept, too, "
        "in files beside --out that are named by them", **count)
    processes = number(int, 0, said="is no number of processes")
    add("--workers", type=processes, default=max(1, cores() // 2), metavar="N",
        help="processes that make clips (default: half the cores, here %(default)s)")
    add("--threads", help="threads that train on a CPU (default: the cores left); a killed call "
        "goes on with as many as it began with", **count)
    add("--seed", type=parse_seed, default=7, metavar="N",
        help=f"of clips, weights and augmentation {usual}")
    add("--out", type=user_path, metavar="FILE",
        help="file to write, .safetensors (default: the model's in artifacts/pretraining)")
    # fmt: on
    return parser


if __name__ == "__main__":
    sys.exit(main())
