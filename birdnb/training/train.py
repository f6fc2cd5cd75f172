"""Train a run of the study into its folder, or load the one that is there: ``train_run``."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import Accelerator
from torch import nn

from birdnb.config import Profile, RunSettings
from birdnb.data import StudyData
from birdnb.evaluation.calibration import log_loss
from birdnb.evaluation.metrics import accuracy, f1_macro, summarise
from birdnb.evaluation.predictions import Predictions, by_recording
from birdnb.files import BirdnbError, sha256_of, write_json, write_table
from birdnb.models import build_model
from birdnb.registry import CLASSICAL, OWN_ANSWER, is_yardstick
from birdnb.training.checkpoint import BEST, LAST
from birdnb.training.checks import check_settings, check_weights, would_replace
from birdnb.training.claim import Claim
from birdnb.training.devices import make_accelerator, predict_shared
from birdnb.training.fit import best_epoch, fit
from birdnb.training.origin import check_origin
from birdnb.training.runs import (
    HISTORY,
    METRICS,
    AnySettings,
    ClassicalSettings,
    FrozenSettings,
    RunResult,
    load_model,
    load_run,
    prepare_folder,
    record_size,
    run_config,
    run_folder,
)
from birdnb.training.tracker import followed
from birdnb.training.yardstick import frozen_settings, own_answer, train_frozen


def train_run(
    data: StudyData, run: str, settings: AnySettings | None = None, progress: bool = True, *,
    again: bool = False, accelerator: Accelerator | None = None,
) -> RunResult:  # fmt: skip
    """Train a run, or load it when it is finished and unchanged, or go on where it was killed.

    ``settings`` are the profile's unless given, and ``ClassicalSettings`` for the run called
    "classical_mfcc" (logistic regression), ``FrozenSettings`` for those of frozen encoders. A run
    whose settings, seed, labels, recordings, split or spectrograms changed is trained from the
    start, and says so; a finished one is kept in ``replaced/``. ``again`` starts over in any case.
    Raises BirdnbError for an unknown run, a damaged state, a training that diverges, and a folder
    with results of another corpus, or which another study takes meanwhile.
    """
    accelerator = accelerator or make_accelerator()
    settings = settings or settings_of_run(data.profile, run)
    claim = _prepare(data, run, settings, accelerator, again)
    if not (claim.folder / METRICS).exists():
        if isinstance(settings, ClassicalSettings):
            _train_classical(data, claim, accelerator)
        elif isinstance(settings, FrozenSettings):
            _run_frozen(data, settings, claim, progress, accelerator)
        else:
            _train_network(data, settings, claim, progress, accelerator)
        accelerator.wait_for_everyone()
    return load_run(claim.folder)


def begin_run(
    data: StudyData, run: str, settings: RunSettings, epochs: int
) -> tuple[nn.Module, pd.DataFrame]:
    """Train the first epochs of a network's run, from which ``train_run`` goes on.

    Returns the network and its history, a row an epoch: those of the whole run where it is finished
    already. Raises BirdnbError as ``train_run``.
    """
    accelerator = make_accelerator()
    claim = _prepare(data, run, settings, accelerator)
    if (claim.folder / METRICS).exists():
        return load_model(claim.folder), load_run(claim.folder).history
    return _learn(data, settings, claim, True, accelerator, epochs)


def _prepare(
    data: StudyData, run: str, settings: AnySettings, accelerator: Accelerator, again: bool = False
) -> Claim:
    folder, key = run_folder(data, run), None
    if accelerator.is_main_process:
        check_weights(data, settings)
        config = run_config(data, run, settings, accelerator.device, accelerator.num_processes)
        key = config["key"]
        check_origin(folder, Path(config["corpus"]["folder"]), key)
        if isinstance(settings, RunSettings):
            replaces = would_replace(folder, config, again)
            if replaces or not (folder / METRICS).exists():
                check_settings(settings, data.profile.audio)
            if replaces:
                _network(data, settings)  # what fails here leaves the earlier run where it is
        prepare_folder(folder, config, data.labels, again)
    accelerator.wait_for_everyone()
    return Claim(folder, key)


def settings_of_run(profile: Profile, run: str) -> AnySettings:
    """Return the settings of a run of the profile, or of a yardstick; BirdnbError for neither."""
    if run == CLASSICAL:
        return ClassicalSettings()
    if is_yardstick(run):
        return frozen_settings(profile, run)
    if run not in profile.runs:
        raise BirdnbError(
            f"profile {profile.name} has no run {run!r}: choose "
            f"{', '.join([*profile.runs, CLASSICAL])}, or give settings"
        )
    return profile.runs[run]


def _network(data: StudyData, settings: RunSettings) -> nn.Module:
    m = settings.model
    torch.manual_seed(data.seed)  # for new weights
    return build_model(
        m.name, len(data.labels), data.profile.audio.n_frames, m.pretrained, size=m.size,
        drop_path=m.drop_path,
    )  # fmt: skip


def _learn(
    data: StudyData, settings: RunSettings, claim: Claim, progress: bool, accelerator: Accelerator,
    first: int | None = None,
) -> tuple[nn.Module, pd.DataFrame]:  # fmt: skip
    """Train a network, or its ``first`` epochs; return it with its history."""
    m, t = settings.model, settings.train
    model = _network(data, settings)
    if accelerator.is_main_process:
        claim.check()
        record_size(claim.folder, getattr(model, "size", m.size))
    train = data.clips("train", t.segments)
    if t.background_labels:
        train = replace(train, shares=data.shares(train.recording_ids, t.background_labels))
    shared = {
        "seed": data.seed, "labels": data.labels,
        "noise_bank": data.noise_bank() if settings.augment.noise else None,
        "progress": progress, "accelerator": accelerator, "first": first, "check": claim.check,
    }  # fmt: skip
    with followed(accelerator, claim.folder):
        return model, fit(model, train, data.clips("validation"), settings, claim.folder, **shared)


def _train_network(
    data: StudyData, settings: RunSettings, claim: Claim, progress: bool, accelerator: Accelerator
) -> None:
    model, history = _learn(data, settings, claim, progress, accelerator)
    train, val, test = (
        data.clips("train", settings.train.segments),
        data.clips("validation"),
        data.clips("test"),
    )
    n = len(train.recording_ids)
    # enough to know the accuracy
    some = train.of_recordings(range(0, n, max(1, n // max(len(val.recording_ids), 128))))
    on_train = predict_shared(model, some, settings, accelerator)
    found = {
        side: predict_shared(model, clips, settings, accelerator)
        for side, clips in (("val", val), ("test", test))
    }
    if accelerator.is_main_process:
        claim.check()
        weights = sha256_of(claim.folder / BEST)
        about = {
            "epochs": len(history), "best_epoch": 1 + best_epoch(history.to_dict("records")),
            "seconds": float(history["seconds"].sum()),
            "parameters": sum(p.numel() for p in model.parameters()),
            "pretrained": settings.model.pretrained, "weights_sha256": weights,
        }  # fmt: skip
        _finish(data, claim, on_train, found, about)
        (claim.folder / LAST).unlink(missing_ok=True)


def _train_classical(data: StudyData, claim: Claim, accelerator: Accelerator) -> None:
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
    claim.check()
    model.save(claim.folder / "classical.safetensors")
    seconds = time.perf_counter() - start
    found = {
        name: by_recording(side, torch.from_numpy(model.predict_proba(side.lms.numpy())))
        for name, side in clips.items()
    }
    row: dict[str, float] = {"epoch": 1}
    for name in ("train", "val"):
        row |= {f"{name}_loss": log_loss(found[name]), f"{name}_accuracy": accuracy(found[name])}
    row |= {"val_f1_macro": f1_macro(found["val"]), "seconds": seconds}
    row["clips_per_second"] = len(clips["train"]) / seconds
    write_table(claim.folder / HISTORY, pd.DataFrame([row]))
    about = {
        "epochs": 1, "best_epoch": 1, "seconds": seconds,
        "parameters": model.coefficients.size + model.intercept.size, "pretrained": False,
    }  # fmt: skip
    _finish(data, claim, found.pop("train"), found, about)


def _run_frozen(
    data: StudyData, settings: FrozenSettings, claim: Claim, progress: bool,
    accelerator: Accelerator,
) -> None:  # fmt: skip
    if not accelerator.is_main_process:
        return
    run = own_answer if settings.model["name"].startswith(OWN_ANSWER) else train_frozen
    history, found, about = run(data, settings, claim, progress)
    write_table(claim.folder / HISTORY, history)
    _finish(data, claim, found.pop("train"), found, about)


def _finish(
    data: StudyData, claim: Claim, on_train: Predictions, found: dict[str, Predictions],
    about: dict[str, Any],
) -> None:  # fmt: skip
    """Write predictions and, last, ``metrics.json``: a run that has it is finished."""
    claim.check()
    metrics: dict[str, Any] = {"train": {"accuracy": accuracy(on_train)}}
    for side, predictions in found.items():
        predictions.save(claim.folder / f"predictions_{side}.npz")
        metrics[side] = summarise(
            predictions, data.labels, data.sessions(predictions.recording_ids), seed=data.seed
        )
    claim.check()
    write_json(claim.folder / METRICS, metrics | about)
