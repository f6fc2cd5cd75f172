"""Training a run of the study into its folder, from Python (``train_run``) or the shell (``python
-m birdnb.training``).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator

from birdnb.command import command
from birdnb.config import Profile, RunSettings, load_profile
from birdnb.data import Clips, StudyData, open_study
from birdnb.evaluation.calibration import log_loss
from birdnb.evaluation.metrics import summarise
from birdnb.evaluation.predictions import Predictions
from birdnb.files import BirdnbError, write_json, write_text
from birdnb.models import build_model
from birdnb.registry import MODELS
from birdnb.training.checkpoint import BEST, LAST, sha256_of
from birdnb.training.devices import leave, make_accelerator, predict_shared
from birdnb.training.loop import best_epoch, f1_macro, fit
from birdnb.training.options import (
    add_settings,
    given_settings,
    parse_fold,
    parse_seed,
    settings_of,
)
from birdnb.training.runs import (
    CLASSICAL,
    HISTORY,
    METRICS,
    RunResult,
    load_run,
    prepare_folder,
    run_config,
    run_folder,
)


def train_run(
    data: StudyData,
    run: str,
    settings: RunSettings | None = None,
    progress: bool = True,
    *,
    again: bool = False,
    accelerator: Accelerator | None = None,
) -> RunResult:
    """Train a run, or load it when it is finished and unchanged, or go on where it was killed.

    ``settings`` are the profile's unless given; "classical_mfcc" (logistic regression; also
    "compare_classical_mfcc" and the like) needs none. A run whose settings, seed, labels,
    recordings, split or spectrograms changed is trained from the start, and says so; a finished one
    is kept in ``replaced/``. ``again`` starts over in any case. Raises BirdnbError for an unknown
    run, a damaged state and a training that diverges.
    """
    accelerator = accelerator or make_accelerator()
    if settings is None and CLASSICAL not in run:
        settings = _of_profile(data.profile, run)
    folder = run_folder(data, run)
    if accelerator.is_main_process:
        config = run_config(data, run, settings, accelerator.device, accelerator.num_processes)
        prepare_folder(folder, config, data.labels, again)
    accelerator.wait_for_everyone()
    if not (folder / METRICS).exists():
        if settings is None:
            _train_classical(data, folder, accelerator)
        else:
            _train_network(data, settings, folder, progress, accelerator)
        accelerator.wait_for_everyone()
    return load_run(folder)


def _train_network(
    data: StudyData, settings: RunSettings, folder: Path, progress: bool, accelerator: Accelerator
) -> None:
    m, t = settings.model, settings.train
    torch.manual_seed(data.seed)  # for new weights
    model = build_model(
        m.name,
        len(data.labels),
        data.profile.audio.n_frames,
        m.pretrained,
        size=m.size,
        drop_path=m.drop_path,
    )
    train, val, test = data.clips("train", t.segments), data.clips("validation"), data.clips("test")
    bank = data.noise_bank() if settings.augment.noise else None
    shared = {
        "seed": data.seed,
        "labels": data.labels,
        "noise_bank": bank,
        "progress": progress,
        "accelerator": accelerator,
    }
    history = fit(model, train, val, settings, folder, **shared)
    n = len(train.recording_ids)
    some = train.of_recordings(
        range(0, n, max(1, n // max(len(val.recording_ids), 128)))
    )  # enough to know the accuracy
    on_train = predict_shared(model, some, settings, accelerator)
    found = {
        side: predict_shared(model, clips, settings, accelerator)
        for side, clips in (("val", val), ("test", test))
    }
    if accelerator.is_main_process:
        about = {
            "epochs": len(history), "best_epoch": 1 + best_epoch(history.to_dict("records")),
            "seconds": float(history["seconds"].sum()),
            "parameters": sum(p.numel() for p in model.parameters()),
            "pretrained": m.pretrained, "weights_sha256": sha256_of(folder / BEST),
        }  # fmt: skip
        _finish(data, folder, on_train, found, about)
        (folder / LAST).unlink(missing_ok=True)


def _train_classical(data: StudyData, folder: Path, accelerator: Accelerator) -> None:
    if not accelerator.is_main_process:
        return
    from birdnb.models.classical import fit_classical

    start = time.perf_counter()
    clips = {
        name: data.clips(side)
        for name, side in (("train", "train"), ("val", "validation"), ("test", "test"))
    }
    model = fit_classical(
        clips["train"].lms.numpy(), clips["train"].target.numpy(), len(data.labels)
    )
    model.save(folder / "model.npz")
    seconds = time.perf_counter() - start
    found = {
        name: _by_recording(side, model.predict_proba(side.lms.numpy()))
        for name, side in clips.items()
    }
    row: dict[str, float] = {"epoch": 1}
    for name in ("train", "val"):
        row |= {f"{name}_loss": log_loss(found[name]), f"{name}_accuracy": _accuracy(found[name])}
    row |= {
        "val_f1_macro": f1_macro(found["val"]),
        "seconds": seconds,
        "clips_per_second": len(clips["train"]) / seconds,
    }
    write_text(folder / HISTORY, pd.DataFrame([row]).to_csv(index=False, lineterminator="\n"))
    size = model.coefficients.size + model.intercept.size
    about = {
        "epochs": 1,
        "best_epoch": 1,
        "seconds": seconds,
        "parameters": size,
        "pretrained": False,
    }
    _finish(data, folder, found.pop("train"), found, about)


def _finish(
    data: StudyData,
    folder: Path,
    on_train: Predictions,
    found: dict[str, Predictions],
    about: dict[str, Any],
) -> None:
    """Write predictions and, last, ``metrics.json``: a run that has it is finished."""
    metrics: dict[str, Any] = {"train": {"accuracy": _accuracy(on_train)}}
    for side, predictions in found.items():
        predictions.save(folder / f"predictions_{side}.npz")
        metrics[side] = summarise(
            predictions, data.labels, data.sessions(predictions.recording_ids), seed=data.seed
        )
    write_json(folder / METRICS, metrics | about)


def _by_recording(clips: Clips, probabilities: np.ndarray) -> Predictions:
    """Average the probabilities (N, C) of clips over the segments of each recording."""
    owner, n = clips.recording.numpy(), len(clips.recording_ids)
    total = np.zeros((n, probabilities.shape[1]))
    np.add.at(total, owner, probabilities)
    targets = np.zeros(n, dtype=np.int64)
    targets[owner] = clips.target.numpy()
    return Predictions(
        clips.recording_ids,
        (total / np.bincount(owner, minlength=n)[:, None]).astype(np.float32),
        targets,
    )


def _accuracy(predictions: Predictions) -> float:
    return float((predictions.predicted == predictions.targets).mean())


def _of_profile(profile: Profile, run: str) -> RunSettings:
    if run not in profile.runs:
        raise BirdnbError(
            f"profile {profile.name} has no run {run!r}: choose "
            f"{', '.join([*profile.runs, CLASSICAL])}, or give settings"
        )
    return profile.runs[run]


@command("interrupted: the same command goes on from the last saved epoch")
def main(argv: Sequence[str] | None = None) -> int:
    """Train one run from the shell; 0 when it is done, 2 after an error, 130 when interrupted."""
    args = _parser().parse_args(argv)
    profile = load_profile(args.profile, demo=args.corpus == "demo")
    if args.run == CLASSICAL and (given := given_settings(vars(args))):
        raise BirdnbError(
            f"{CLASSICAL} takes no --{given[0].replace('_', '-')}: logistic regression has no "
            f"such setting"
        )
    run, settings = (
        (CLASSICAL, None)
        if args.run == CLASSICAL
        else settings_of(profile, args.run, args.model, vars(args))
    )
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m birdnb.training",
        usage="%(prog)s [--corpus NAME] [--profile NAME] [--run NAME] [--model NAME] [any option below]",
        description="Train one run of the study into artifacts/runs/<corpus>-<profile>/<run>, where notebooks find it. "
        "A finished, unchanged run is not repeated; a killed one goes on where it stopped. "
        "On several GPUs: accelerate launch -m birdnb.training with the same options.",
        epilog="example: python -m birdnb.training --model ast --epochs 50 --batch-size 32 --lr-backbone 5e-5 --lr-head 1e-3 "
        "--run phase3_ast_baseline",
    )
    study = parser.add_argument_group("study")
    study.add_argument(
        "--corpus",
        default="demo",
        metavar="NAME",
        help="demo, or the folder of a corpus (default: %(default)s)",
    )
    study.add_argument(
        "--profile",
        default="laptop",
        metavar="NAME",
        help="laptop, gpu or a YAML file (default: %(default)s)",
    )
    study.add_argument(
        "--seed",
        type=parse_seed,
        default=7,
        metavar="N",
        help="of split and training (default: %(default)s)",
    )
    study.add_argument(
        "--fold",
        type=parse_fold,
        metavar="k/K",
        help="fold k of K grouped folds instead of the single split",
    )
    run = parser.add_argument_group("run")
    run.add_argument(
        "--run",
        metavar="NAME",
        help=f"a run of the profile, {CLASSICAL}, or a new name beside --model",
    )
    run.add_argument(
        "--model",
        metavar="NAME",
        help=f"{', '.join(MODELS)}; a new run starts from the profile's first with it",
    )
    run.add_argument(
        "--again",
        action="store_true",
        help="start over even if the run is finished or was killed half-way",
    )
    add_settings(parser)
    return parser


def _table(result: RunResult) -> str:
    """The metrics of a run as text."""
    columns = {"accuracy": "accuracy", "balanced_accuracy": "balanced", "top5_accuracy": "top 5",
               "f1_macro": "F1 macro",
               "map_macro": "mAP", "auroc_macro": "AUROC", "ece": "ECE"}  # fmt: skip
    rows = {}
    for side, name in (("val", "validation"), ("test", "test")):
        metrics = result.metrics[side]
        low, high = metrics["accuracy_ci95"]
        shown = {
            text: f"{metrics[key]:.3f}" if metrics[key] is not None else "-"
            for key, text in columns.items()
        }
        rows[name] = (
            {"recordings": metrics["recordings"]}
            | shown
            | {"accuracy, 95 %": f"{low:.3f}-{high:.3f}"}
        )
    m = result.metrics
    return f"{result.name}: {m['epochs']} epochs, best {m['best_epoch']}, {m['seconds']:.0f} s\n{pd.DataFrame(rows).T.to_string()}"


if __name__ == "__main__":
    sys.exit(main())
