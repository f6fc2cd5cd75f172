"""The command ``python -m birdnb.comparison CORPUS --folds 4 --variants pretraining``."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from birdnb import __version__
from birdnb.command import called, command
from birdnb.comparison.compare import PRESETS, choose, compare, parse_settings, parse_variant
from birdnb.comparison.page import Comparison, Pooled, write_comparison
from birdnb.config import load_profile
from birdnb.corpora import corpus_name
from birdnb.files import safe_name
from birdnb.pretraining.card import machine
from birdnb.report.words import plain
from birdnb.training.devices import make_accelerator
from birdnb.training.options import parse_seed
from birdnb.training.runs import git_commit

EXAMPLES = (
    "examples:\n"
    "  %(prog)s data/my_birds --variants pretraining --runs phase3_ast_full "
    "\\\n"
    '      --variant "AudioSet: pretrained=true normalisation=standard" '
    '--variant "mine: pretrained=weights.safetensors"\n'
    '  %(prog)s data/my_birds --variant "slow: lr_backbone=3e-4 epochs=20"\n'
    "  %(prog)s data/my_birds --variants ablation "
    '--only "no MixUp" "focal loss" --seeds 7 8'
)
KINSHIP = (
    "**Synthesised songs: the figures say nothing about real birds.** Weights pretrained on "
    "invented song profit here from "
    "kinship: the demo corpus' species are others, but the same synthesiser made them."
)


@command("interrupted: the same command goes on from the last saved epoch")
def main(argv: Sequence[str] | None = None) -> int:
    """Compare from the shell; 0 when it is done, 2 after an error, 130 when interrupted."""
    args = make_parser().parse_args(argv)
    comparison, profile = _chosen(args), load_profile(args.profile, demo=args.corpus == "demo")
    pooled = compare(comparison, args.corpus, profile, args.folds, list(dict.fromkeys(args.seeds)))
    words = [
        Path(word).name if word == args.corpus else word
        for word in (sys.argv[1:] if argv is None else argv)
    ]
    path = write_comparison(comparison, pooled, _about(pooled[0], args, shlex.join(words)))
    print(path.read_text(encoding="utf-8"))
    print(path)
    return 0


def _folds(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of folds: give 2 or more")
    return int(text)


def _chosen(args: argparse.Namespace) -> Comparison:
    """Return the comparison that the options ask for."""
    given = dict(parse_variant(text) for text in args.variant)
    chosen = choose(args.variants, given, args.only or (), parse_settings(args.everywhere))
    name = safe_name(args.name or f"{chosen.name}_{corpus_name(args.corpus)}")
    runs, side = tuple(args.runs or chosen.runs), args.side or chosen.side
    return replace(chosen, name=name, runs=runs, side=side)


def _about(any_of_them: Pooled, args: argparse.Namespace, words: str) -> str:
    name = "demo" if args.corpus == "demo" else Path(args.corpus).resolve().name
    n, species = len(set(any_of_them.sessions)), len(any_of_them.labels)
    seeds = ", ".join(map(str, args.seeds))
    text = (
        f"Corpus {plain(name)}: {n} recording sessions judged on, {species} species. Profile "
        f"{args.profile}, {args.folds} "
        f"folds that keep sessions together, seed {seeds}.\n\n`python -m birdnb.comparison "
        f"{words}` wrote this page; "
        f"birdnb {git_commit() or __version__}, {machine(make_accelerator().device)}."
    )
    return f"{KINSHIP}\n\n{text}" if args.corpus == "demo" else text


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    presets = yaml.safe_load(PRESETS.read_text(encoding="utf-8"))
    known = "\n".join(
        f"  {name}: {', '.join(preset['variants'])}" for name, preset in presets.items()
    )
    parser = argparse.ArgumentParser(
        prog=called("python -m birdnb.comparison"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train variants of the profile's runs on grouped folds and write\n"
        "reports/<name>_<corpus>.md: scores with intervals and paired differences. Finished\n"
        "trainings are not repeated; a killed one goes on.",
        epilog=f"variants in {PRESETS.name}:\n{known}\n\n{EXAMPLES}",
    )  # fmt: skip
    parser.add_argument("corpus", metavar="CORPUS", help="demo, or the folder of a corpus")
    parser.add_argument("--variants", choices=list(presets), help="a comparison of variants.yaml")
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="TEXT",
        help='"name: setting=value ..."; repeatable',
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="of the comparison's own variants only these"
    )
    parser.add_argument(
        "--everywhere",
        default="",
        metavar="TEXT",
        help='"setting=value ..." for all variants: epochs=10, say',
    )
    parser.add_argument(
        "--runs",
        nargs="+",
        metavar="RUN",
        help="runs of the profile to vary (default: those of the comparison)",
    )
    parser.add_argument(
        "--side",
        choices=["validation", "test"],
        help="recordings to judge on (default: the comparison's)",
    )
    parser.add_argument(
        "--name", help="of the report, reports/NAME.md (default: the comparison's and the corpus's)"
    )
    parser.add_argument(
        "--folds", type=_folds, default=4, metavar="K", help="grouped folds (default 4)"
    )
    parser.add_argument(
        "--profile", default="laptop", help="laptop (the default), gpu, or a YAML file"
    )
    parser.add_argument(
        "--seeds", type=parse_seed, nargs="+", default=[7], metavar="N", help="(default 7)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
