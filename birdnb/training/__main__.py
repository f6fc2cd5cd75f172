"""The command ``python -m birdnb.training``: train one run of the study into its folder."""

import argparse
import sys
from collections.abc import Sequence

import pandas as pd

from birdnb.command import add_shared, called, command
from birdnb.config import Profile, load_profile
from birdnb.corpora.corrections import use_corrections
from birdnb.data import open_study
from birdnb.files import BirdnbError
from birdnb.registry import BASELINE, CLASSICAL, FROZEN, MODELS, is_yardstick
from birdnb.training.devices import leave, make_accelerator
from birdnb.training.options import add_settings, given_settings, parse_fold, settings_of
from birdnb.training.runs import AnySettings, RunResult
from birdnb.training.tracker import add_tracker, follow
from birdnb.training.train import settings_of_run, train_run


@command("interrupted: the same command goes on from the last saved epoch")
def main(argv: Sequence[str] | None = None) -> int:
    """Train one run from the shell; 0 when it is done, 2 after an error, 130 when interrupted."""
    args = make_parser().parse_args(argv)
    profile = load_profile(args.profile, demo=args.corpus == "demo")
    run, settings = _chosen(profile, args)
    follow(args.tracker)
    use_corrections(args.corrections)
    accelerator = make_accelerator()
    with accelerator.main_process_first():
        data = open_study(
            args.corpus, profile, args.seed, args.fold, progress=accelerator.is_main_process
        )
    result = train_run(data, run, settings, again=args.again, accelerator=accelerator)
    if accelerator.is_main_process:
        print(_table(result))
        print(result.folder)
    leave(accelerator)
    return 0


def _chosen(profile: Profile, args: argparse.Namespace) -> tuple[str, AnySettings]:
    """Return the name and the settings of the run that the options ask for."""
    run = args.run or ""
    if run != CLASSICAL and not is_yardstick(run):
        return settings_of(profile, args.run, args.model, vars(args))
    if given := [*given_settings(vars(args)), *(["tracker"] if args.tracker else [])]:
        raise BirdnbError(
            f"{run} takes no --{given[0].replace('_', '-')}: logistic regression has no "
            f"such setting"
        )
    return run, settings_of_run(profile, run)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=called("python -m birdnb.training"),
        usage="%(prog)s [--corpus NAME] [--profile NAME] [--run NAME] [--model NAME] "
        "[any option below]",
        description="Train one run of the study into artifacts/runs/<corpus>-<profile>/<run>, "
        "where notebooks find it. A finished, unchanged run is not repeated; a killed one goes on "
        "where it stopped. On several GPUs: accelerate launch -m birdnb.training with the same "
        "options.",
        epilog="example: %(prog)s --model ast --epochs 50 --batch-size 32 "
        f"--lr-backbone 5e-5 --lr-head 1e-3 --run {BASELINE}",
    )
    study = parser.add_argument_group("study")
    # fmt: off
    add_shared(study, "--corpus", "--profile", "--seed", "--corrections")
    study.add_argument("--fold", type=parse_fold, metavar="k/K",
                       help="fold k of K grouped folds instead of the single split")
    run = parser.add_argument_group("run")
    run.add_argument("--run", metavar="NAME", help=f"a run of the profile, {CLASSICAL}, "
                     f"{FROZEN}birdnet and the like, or a new name beside --model")
    run.add_argument("--model", metavar="NAME",
                     help=f"{', '.join(MODELS)}; a new run starts from the profile's first with it")
    run.add_argument("--again", action="store_true",
                     help="start over even if the run is finished or was killed half-way")
    # fmt: on
    add_tracker(run)
    add_settings(parser)
    return parser


def _table(result: RunResult) -> str:
    """Return the metrics of a run as text."""
    columns = {
        "accuracy": "accuracy", "balanced_accuracy": "balanced", "top5_accuracy": "top 5",
        "f1_macro": "F1 macro", "map_macro": "mAP", "auroc_macro": "AUROC", "ece": "ECE",
    }  # fmt: skip
    rows = {}
    for side, name in (("val", "validation"), ("test", "test")):
        metrics = result.metrics[side]
        low, high = metrics["accuracy_ci95"]
        shown = {
            text: f"{metrics[key]:.3f}" if metrics[key] is not None else "-"
            for key, text in columns.items()
        }
        shown["accuracy, 95 %"] = f"{low:.3f}-{high:.3f}"
        rows[name] = {"recordings": metrics["recordings"]} | shown
    m = result.metrics
    title = f"{result.name}: {m['epochs']} epochs, best {m['best_epoch']}, {m['seconds']:.0f} s"
    return f"{title}\n{pd.DataFrame(rows).T.to_string()}"


if __name__ == "__main__":
    sys.exit(main())
