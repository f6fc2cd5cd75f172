"""The command ``python -m birdnb.comparison CORPUS --folds 4 --variants pretraining``."""

import argparse
import math
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from birdnb.command import add_shared, called, command, number, parse_seed
from birdnb.comparison.compare import PRESETS, choose, compare, parse_settings, parse_variant
from birdnb.comparison.curve_page import write_curves
from birdnb.comparison.growth import Curve, learning_curves
from birdnb.comparison.page import Comparison, Pooled, about_page, write_comparison
from birdnb.comparison.scaling import NEW, read_checkpoint, scaling
from birdnb.comparison.scaling_page import write_scaling
from birdnb.config import Profile, load_profile
from birdnb.corpora import corpus_name
from birdnb.corpora.corrections import use_corrections
from birdnb.files import BirdnbError, distinct_name, report_folder, reports_dir
from birdnb.models.encoders import open_encoder
from birdnb.registry import CURVES, check_encoders

EXAMPLES = (
    "examples:\n"
    "  %(prog)s data/my_birds --variants pretraining --runs phase3_ast_full "
    "\\\n"
    '      --variant "AudioSet: pretrained=true normalisation=standard" '
    '--variant "mine: pretrained=weights.safetensors"\n'
    '  %(prog)s data/my_birds --variant "slow: lr_backbone=3e-4 epochs=20"\n'
    "  %(prog)s data/my_birds --variants ablation "
    '--only "no MixUp" "focal loss" --seeds 7 8\n'
    "  %(prog)s data/my_birds --learning-curve --seeds 3 --target 80\n"
    "  %(prog)s data/my_birds --scaling ast efficientnet_b2 weights_50000.safetensors"
)
SEED, USUAL_PROFILE = 7, "laptop"


@command("interrupted: the same command goes on from the last saved epoch")
def main(argv: Sequence[str] | None = None) -> int:
    """Compare from the shell; 0 when it is done, 2 after an error, 130 when interrupted."""
    args = make_parser().parse_args(argv)
    files = (args.corpus, args.corrections, args.profile, *(args.scaling or ()), *(args.over or ()))
    settings = (*args.variant, args.everywhere)
    args.words = shlex.join(
        re.sub(r"[^:]*/", "", word.rstrip("/")) if word in files
        else re.sub(r"=[/~]\S*/", "=", word) if word in settings else word
        for word in (sys.argv[1:] if argv is None else argv)
    )  # fmt: skip
    if args.over and not args.scaling:
        raise BirdnbError("--over is for checkpoints: give --scaling, too")
    use_corrections(args.corrections)
    path = _kind(args)(args)
    print(path.read_text(encoding="utf-8"))
    print(path)
    return 0


def _kind(args: argparse.Namespace) -> Callable[[argparse.Namespace], Path]:
    return _learning_curve if args.learning_curve else _scaling if args.scaling else _comparison


def _comparison(args: argparse.Namespace) -> Path:
    """Compare variants, and return the page."""
    if args.target is not None:
        raise BirdnbError("--target is for a learning curve: give --learning-curve, too")
    args.seeds = list(dict.fromkeys(args.seeds or [SEED]))
    comparison, profile = _chosen(args), profile_of(args)
    pooled = compare(comparison, args.corpus, profile, args.folds, args.seeds)
    about = _about(args, pooled[0])
    return write_comparison(comparison, pooled, about)


def profile_of(args: argparse.Namespace) -> Profile:
    """Return the profile that the options ask for, as it is for the demo where that is compared."""
    profile = load_profile(args.profile, demo=args.corpus == "demo")
    if args.encoders:
        profile = replace(profile, encoders=check_encoders(args.encoders))
    for name in profile.encoders:
        open_encoder(name, profile)  # errors before the work
    return profile


def _learning_curve(args: argparse.Namespace) -> Path:
    """Train on growing parts of the sessions, a page after each run, and return the page."""
    for name in ("variants", "variant", "only", "everywhere", "side", "name", "scaling", "over"):
        if getattr(args, name):
            raise BirdnbError(f"--learning-curve takes no --{name}: it trains each run as it is")
    if args.seeds and len(args.seeds) == 1:
        args.seeds = [SEED + number for number in range(args.seeds[0])]
    args.seeds = list(dict.fromkeys(args.seeds or [SEED]))
    profile = profile_of(args)
    target = args.target and args.target / 100
    curves = []
    for curve in learning_curves(args.corpus, profile, args.runs, args.folds, args.seeds):
        curves.append(curve)
        about = _about(args, curve)
        folder = report_folder(corpus_name(args.corpus), profile.name)
        path = write_curves(curves, about, folder, target)
    return path


def _scaling(args: argparse.Namespace) -> Path:
    """Judge checkpoints of pretraining, a page after each network, and return the page."""
    for name in ("variants", "variant", "only", "everywhere", "encoders", "target"):
        if getattr(args, name):
            raise BirdnbError(f"--scaling takes no --{name}: it judges the weights by the recipe")
    args.seeds = list(dict.fromkeys(args.seeds or [SEED]))
    checkpoints, over = ([read_checkpoint(given) for given in c or ()]
                         for c in (args.scaling, args.over))  # fmt: skip
    name = _page_name(args, "scaling", "validation")
    side, runs = args.side or "validation", tuple(args.runs or ())
    comparison = Comparison(name, "What more clips in pretraining bring", runs, side, NEW, {})
    judged = []
    more = (args.folds, args.seeds)
    for one in scaling(checkpoints, args.corpus, profile_of(args), comparison, *more, over=over):
        judged.append(one)
        about = _about(args, one.points[-1][1])
        path = write_scaling(comparison, judged, about, reports_dir())
    return path


def _chosen(args: argparse.Namespace) -> Comparison:
    """Return the comparison that the options ask for."""
    pairs = [parse_variant(text) for text in args.variant]
    given = dict(pairs)
    if len(given) < len(pairs):
        raise BirdnbError(f"--variant: two are called alike ({', '.join(n for n, _ in pairs)})")
    chosen = choose(args.variants, given, args.only or (), parse_settings(args.everywhere))
    name = _page_name(args, chosen.name, chosen.side)
    runs, side = tuple(args.runs or chosen.runs), args.side or chosen.side
    return replace(chosen, name=name, runs=runs, side=side)


def _page_name(args: argparse.Namespace, what: str, side: str) -> str:
    """Return the name of the page; a profile or side other than the usual is part of it."""
    profile, other = Path(args.profile).stem, args.side not in (None, side)
    name = f"{what}_{corpus_name(args.corpus)}" + f"-{profile}" * (profile != USUAL_PROFILE)
    name += f"_{args.side}" * other
    return distinct_name(args.name or name)


def _about(args: argparse.Namespace, judged: Pooled | Curve) -> str:
    how = f"{called('python -m birdnb.comparison')} {args.words}"
    return about_page(
        args.corpus, (judged.sessions, judged.labels), Path(args.profile).stem, args.folds,
        args.seeds, how,
    )  # fmt: skip


PERCENT = number(
    float, math.nextafter(0, 1), math.nextafter(100, 0),
    said="is no accuracy: give per cent, such as 80",
)  # fmt: skip
FOLDS = number(int, 2, said="is no number of folds: give 2 or more")


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
        "reports/<name>_<corpus>.md (with the profile and the side, where they are not the usual\n"
        "ones): scores with intervals and paired differences. Or, with\n"
        "--learning-curve, train each run on growing parts of the training sessions and write\n"
        f"reports/<corpus>-<profile>/{CURVES}.md: what more recordings would bring.\n"
        "Or, with --scaling, judge checkpoints of pretraining by the clips they heard.\n"
        "Finished trainings are not repeated; a killed one goes on.",
        epilog=f"variants in {PRESETS.name}:\n{known}\n\n{EXAMPLES}",
    )
    add = parser.add_argument
    # fmt: off
    add("corpus", metavar="CORPUS", help="demo, or the folder of a corpus")
    add_shared(parser, "--profile", "--encoders", "--corrections")
    add("--variants", choices=list(presets), help="a comparison of variants.yaml")
    add("--variant", action="append", default=[], metavar="TEXT",
        help='"name: setting=value ..."; repeatable')
    add("--only", nargs="+", metavar="NAME", help="of the comparison's own variants only these")
    add("--everywhere", default="", metavar="TEXT",
        help='"setting=value ..." for all variants: epochs=10, say')
    add("--runs", nargs="+", metavar="RUN", help="runs of the profile to vary (default: those of "
        "the comparison; of a learning curve the cheap ones)")
    add("--side", choices=["validation", "test"],
        help="recordings to judge on (default: the comparison's)")
    add("--name", help="of the report, reports/NAME.md (default: of comparison and corpus)")
    add("--folds", type=FOLDS, default=4, metavar="K", help="grouped folds (default 4)")
    add("--seeds", type=parse_seed, nargs="+", metavar="N", help="by number (default 7); for a "
        "learning curve one number says how many, from 7 on")
    add("--learning-curve", action="store_true",
        help="train on nested parts of the training sessions: how many more would it take?")
    add("--scaling", nargs="+", metavar="WEIGHTS", help="judge checkpoints of pretraining, frozen, "
        "and with --runs fine-tuned, too: files with their cards, ast:PATH, or ast, "
        "efficientnet_b2 (the shipped ones)")
    add("--over", nargs="+", metavar="WEIGHTS", help="with --scaling: compare the others of their "
        "network with these (default: with new weights)")
    add("--target", type=PERCENT, metavar="PERCENT",
        help="accuracy that a learning curve is to reach (default: the next round one)")
    # fmt: on
    return parser


if __name__ == "__main__":
    sys.exit(main())
