"""Compare variants of a run over grouped folds: ``python -m birdnb.comparison CORPUS --folds 4
--variants pretraining``.

Every variant is trained like any other run (``compare_ast_scratch``), so that finished ones are not
repeated. The predictions of all folds and seeds are pooled; intervals and differences are over
recording sessions.
"""

from __future__ import annotations

import argparse
import ast
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml

from birdnb import __version__
from birdnb.command import command
from birdnb.comparison.page import Comparison, Pooled, write_comparison
from birdnb.config import AudioSettings, Profile, RunSettings, load_profile, override
from birdnb.corpora import corpus_name
from birdnb.data import StudyData, open_study
from birdnb.evaluation.predictions import concatenate
from birdnb.files import BirdnbError, safe_name
from birdnb.pretraining.card import machine
from birdnb.report.tables import plain
from birdnb.training.__main__ import train_run
from birdnb.training.devices import make_accelerator
from birdnb.training.options import parse_seed
from birdnb.training.runs import CLASSICAL, RunResult, git_commit

PRESETS = Path(__file__).with_name("variants.yaml")
KINSHIP = (
    "**Synthesised songs: the figures say nothing about real birds.** Weights pretrained on "
    "invented song profit here from "
    "kinship: the demo corpus' species are others, but the same synthesiser made them."
)


def load_comparison(name: str, path: Path = PRESETS) -> Comparison:
    """A preset of ``variants.yaml``. Raises BirdnbError for one that is not there."""
    presets = yaml.safe_load(path.read_text(encoding="utf-8"))
    if name not in presets:
        raise BirdnbError(
            f"no comparison {name!r} in {path.name}: choose one of {', '.join(presets)}, or give "
            f"--variant"
        )
    preset = presets[name]
    return Comparison(name, **{**preset, "runs": tuple(preset["runs"])})


def parse_variant(text: str) -> tuple[str, dict[str, Any]]:
    """Read ``name: setting=value setting=value``, values being numbers, true, false or text.

    Raises BirdnbError when it is written otherwise.
    """
    name, colon, words = text.partition(":")
    if not (name.strip() and colon):
        raise BirdnbError(
            f'--variant {text!r}: write "name: setting=value setting=value", or "name:" for the '
            f"profile's own"
        )
    return name.strip(), _parse_settings(words)


def _parse_settings(words: str) -> dict[str, Any]:
    pairs = [word.partition("=") for word in words.split()]
    if not all(key and equals for key, equals, _ in pairs):
        raise BirdnbError(f'the settings {words.strip()!r}: write "setting=value setting=value"')
    return {key: _literal(value) for key, _, value in pairs}


def settings_of(
    comparison: Comparison, profile: Profile
) -> dict[tuple[str, str], tuple[AudioSettings, RunSettings]]:
    """The settings of every run and variant: those of its spectrograms, where a variant changes
    them, and its own.

    Raises BirdnbError for a run or setting that is not there.
    """
    for run in comparison.runs:
        if run not in profile.runs:
            raise BirdnbError(
                f"profile {profile.name} has no run {run!r}: choose from {', '.join(profile.runs)} "
                f"by --runs"
            )
    names = [
        run_name(run, variant, 7) for run in comparison.runs for variant in comparison.variants
    ]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BirdnbError(
            f"two variants would both be called {twice}: name them apart, with letters of the "
            f"Latin alphabet"
        )
    return {
        (run, variant): _changed(profile.audio, profile.runs[run], changes)
        for run in comparison.runs
        for variant, changes in comparison.variants.items()
    }


def _changed(
    audio: AudioSettings, run: RunSettings, changes: dict[str, Any]
) -> tuple[AudioSettings, RunSettings]:
    of_audio = {field.name for field in fields(AudioSettings)}
    return (
        override(audio, **{key: value for key, value in changes.items() if key in of_audio}),
        override(run, **{key: value for key, value in changes.items() if key not in of_audio}),
    )


def compare(
    comparison: Comparison,
    corpus: str,
    profile: Profile,
    folds: int,
    seeds: Sequence[int] = (7,),
    progress: bool = True,
) -> list[Pooled]:
    """Train every variant of every run on every fold and seed, and pool what they say; logistic
    regression comes first.

    Finished trainings are loaded. Raises BirdnbError when settings do not exist, folds cannot be
    made or a training diverges.
    """
    jobs = {(CLASSICAL, CLASSICAL): (profile.audio, None), **settings_of(comparison, profile)}
    turns = [(seed, (fold, folds)) for seed in seeds for fold in range(1, folds + 1)]
    results: dict[tuple[str, str], list[tuple[RunResult, StudyData]]] = {job: [] for job in jobs}
    began, total = time.perf_counter(), len(turns) * len(jobs)
    for number, (seed, fold) in enumerate(turns):
        audios = {audio for audio, _ in jobs.values()}
        studies = {
            audio: open_study(corpus, replace(profile, audio=audio), seed, fold, progress)
            for audio in audios
        }
        for place, (job, (audio, settings)) in enumerate(jobs.items(), 1):
            name = run_name(*job, seed)
            results[job].append(
                (train_run(studies[audio], name, settings, progress), studies[audio])
            )
            if progress:
                done = number * len(jobs) + place
                left = (time.perf_counter() - began) / done * (total - done) / 60
                print(
                    f"{done} of {total}: {name}, fold {fold[0]} of {folds}; about {left:.0f} "
                    f"minutes left"
                )
    return [_pool(job, found, comparison.side) for job, found in results.items()]


def run_name(run: str, variant: str, seed: int) -> str:
    """Name of a compared training: ``compare_ast_scratch`` of ``phase3_ast_full``, with the seed
    unless it is 7.
    """
    name = (
        run
        if run == CLASSICAL
        else f"{run.removeprefix('phase3_').removesuffix('_full')}_{variant}"
    )
    return safe_name(f"compare_{name}" + (f"_seed{seed}" if seed != 7 else "")).lower()


def _pool(
    job: tuple[str, str], results: Sequence[tuple[RunResult, StudyData]], side: str
) -> Pooled:
    parts, sessions, folds = [], [], []
    for result, data in results:
        found = result.test if side == "test" else result.val
        sessions += data.sessions(found.recording_ids)
        folds.append(float((found.predicted == found.targets).mean()))
        # a recording may be on the validation side of several folds, and is on the test side once a
        # seed
        parts.append(
            replace(
                found,
                recording_ids=[f"{name} {data.fold} {data.seed}" for name in found.recording_ids],
            )
        )
    minutes = sum(result.metrics["seconds"] for result, _ in results) / 60
    return Pooled(*job, concatenate(parts), sessions, folds, results[0][0].labels, minutes)


@command("interrupted: the same command goes on from the last saved epoch")
def main(argv: Sequence[str] | None = None) -> int:
    """Compare from the shell; 0 when it is done, 2 after an error, 130 when interrupted."""
    args = _parser().parse_args(argv)
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


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)


def _chosen(args: argparse.Namespace) -> Comparison:
    """The comparison that the options ask for."""
    given = dict(parse_variant(text) for text in args.variant)
    if args.variants:
        comparison = load_comparison(args.variants)
    elif given:
        comparison = replace(load_comparison("ablation"), variants={"recipe": {}})
    else:
        raise BirdnbError(
            "nothing to compare: give --variants pretraining, --variants ablation or --variant "
            '"name: setting=value"'
        )
    variants = comparison.variants
    unknown = sorted(set(args.only or ()) - {*variants, *given})
    if unknown:
        raise BirdnbError(f"--only: no variant {unknown[0]!r}; there are {', '.join(variants)}")
    if args.only:
        variants = {
            name: changes
            for name, changes in variants.items()
            if name in (comparison.reference, *args.only)
        }
    variants = variants | given
    everywhere = _parse_settings(args.everywhere)
    variants = {name: everywhere | changes for name, changes in variants.items()}
    name = safe_name(args.name or f"{comparison.name}_{corpus_name(args.corpus)}")
    runs, side = tuple(args.runs or comparison.runs), args.side or comparison.side
    return replace(comparison, name=name, variants=variants, runs=runs, side=side)


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


def _parser() -> argparse.ArgumentParser:
    presets = yaml.safe_load(PRESETS.read_text(encoding="utf-8"))
    known = "\n".join(
        f"  {name}: {', '.join(preset['variants'])}" for name, preset in presets.items()
    )
    parser = argparse.ArgumentParser(
        prog="python -m birdnb.comparison", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train variants of the profile's runs on grouped folds and write reports/<name>_<corpus>.md: scores with\n"
        "intervals and paired differences. Finished trainings are not repeated; a killed one goes "
        "on.",
        epilog=f"variants in {PRESETS.name}:\n{known}\n\n"
        "examples:\n"
        "  python -m birdnb.comparison data/my_birds --variants pretraining --runs phase3_ast_full "
        "\\\n"
        '      --variant "AudioSet: pretrained=true normalisation=standard" --variant "mine: '
        'pretrained=weights.safetensors"\n'
        '  python -m birdnb.comparison data/my_birds --variant "slow: lr_backbone=3e-4 epochs=20"\n'
        "  python -m birdnb.comparison data/my_birds --variants ablation "
        '--only "no MixUp" "focal loss" --seeds 7 8',
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
