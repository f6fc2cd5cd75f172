"""Compare variants of a run over grouped folds: ``compare``.

Every variant is trained like any other run (``compare_ast_scratch``), so that finished ones are not
repeated. The predictions of all folds and seeds are pooled; intervals and differences are over
recording sessions.
"""

import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml

from birdnb.comparison.page import Comparison, Pooled
from birdnb.config import AudioSettings, Profile, RunSettings, override
from birdnb.data import StudyData, open_study
from birdnb.evaluation.metrics import accuracy
from birdnb.evaluation.predictions import concatenate
from birdnb.files import BirdnbError, safe_name
from birdnb.registry import CLASSICAL, FROZEN, encoder_id
from birdnb.settings import literal
from birdnb.training.runs import RunResult
from birdnb.training.train import settings_of_run, train_run

PRESETS = Path(__file__).with_name("variants.yaml")


def load_comparison(name: str) -> Comparison:
    """Return a preset of ``variants.yaml``. Raises BirdnbError for one that is not there."""
    presets = yaml.safe_load(PRESETS.read_text(encoding="utf-8"))
    if name not in presets:
        raise BirdnbError(
            f"no comparison {name!r} in {PRESETS.name}: choose one of {', '.join(presets)}, or "
            f"give --variant"
        )
    preset = presets[name]
    return Comparison(name, **{**preset, "runs": tuple(preset["runs"])})


def choose(
    preset: str | None,
    given: dict[str, dict[str, Any]],
    only: Sequence[str] = (),
    everywhere: dict[str, Any] | None = None,
) -> Comparison:
    """Choose what is compared: the variants of a preset, and those ``given`` by name.

    ``only`` leaves these of the preset's, and its reference. Without a preset the given ones are
    compared with the profile's own recipe. The settings ``everywhere`` are those of all variants
    that do not say otherwise. Raises BirdnbError for a name that is not there or there already with
    other settings, and for nothing.
    """
    if preset:
        comparison = load_comparison(preset)
    elif given:
        comparison = load_comparison("ablation")
        comparison = replace(comparison, name="variants", variants={"recipe": {}})
    else:
        raise BirdnbError(
            "nothing to compare: give --variants pretraining, --variants ablation or --variant "
            '"name: setting=value"'
        )
    variants = comparison.variants
    unknown = sorted(set(only) - {*variants, *given})
    if unknown:
        raise BirdnbError(f"--only: no variant {unknown[0]!r}; there are {', '.join(variants)}")
    if only:
        names = [name for name in variants if name in (comparison.reference, *only)]
        variants = {name: variants[name] for name in names}
    for name, own in given.items():
        if variants.get(name, own) != own:
            raise BirdnbError(f"there is a variant {name!r} with other settings: rename yours")
    variants = {name: (everywhere or {}) | own for name, own in (variants | given).items()}
    return replace(comparison, variants=variants)


def parse_variant(text: str) -> tuple[str, dict[str, Any]]:
    """Read ``name: setting=value setting=value``. Raises BirdnbError for what is not so written."""
    name, colon, words = text.partition(":")
    if not (name.strip() and colon):
        raise BirdnbError(
            f'--variant {text!r}: write "name: setting=value setting=value", or "name:" for the '
            f"profile's own"
        )
    return name.strip(), parse_settings(words)


def parse_settings(words: str) -> dict[str, Any]:
    """Read ``setting=value setting=value``. Raises BirdnbError when it is written otherwise."""
    pairs = [word.partition("=") for word in words.split()]
    if not all(key and equals for key, equals, _ in pairs):
        raise BirdnbError(f'the settings {words.strip()!r}: write "setting=value setting=value"')
    found = {key: literal(value) for key, _, value in pairs}
    if len(found) < len(pairs) or None in found.values():
        raise BirdnbError(
            f"the settings {words.strip()!r}: write each once, and false for what is not wanted"
        )
    return found


def settings_of(
    comparison: Comparison, profile: Profile
) -> dict[tuple[str, str], tuple[AudioSettings, RunSettings]]:
    """Return audio and run settings of each run and variant, or raise BirdnbError: not there."""
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
    comparison: Comparison, corpus: str, profile: Profile, folds: int, seeds: Sequence[int] = (7,),
    progress: bool = True,
) -> list[Pooled]:  # fmt: skip
    """Train every variant of every run on every fold and seed, and pool what they say.

    Logistic regression comes first, then the profile's frozen encoders. Finished trainings are
    loaded. Raises BirdnbError when settings do not exist, folds cannot be made or a training
    diverges.
    """
    plain = [CLASSICAL, *(FROZEN + encoder_id(name) for name in profile.encoders)]
    yardsticks = {(run, run): (profile.audio, settings_of_run(profile, run)) for run in plain}
    jobs = yardsticks | settings_of(comparison, profile)
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
    """Return a compared training's name: ``compare_ast_scratch``; its seed is in it unless 7."""
    name = (
        run if run == variant else f"{run.removeprefix('phase3_').removesuffix('_full')}_{variant}"
    )
    return safe_name(f"compare_{name}" + (f"_seed{seed}" if seed != 7 else "")).lower()


def _pool(
    job: tuple[str, str], results: Sequence[tuple[RunResult, StudyData]], side: str
) -> Pooled:
    parts, sessions, folds = [], [], []
    for result, data in results:
        found = result.test if side == "test" else result.val
        sessions += data.sessions(found.recording_ids)
        folds.append(accuracy(found))
        # a recording may be on the validation side of several folds, and is on the test side once a
        # seed
        ids = [f"{name} {data.fold} {data.seed}" for name in found.recording_ids]
        parts.append(replace(found, recording_ids=ids))
    minutes = sum(result.metrics["seconds"] for result, _ in results) / 60
    return Pooled(*job, concatenate(parts), sessions, folds, results[0][0].labels, minutes)
