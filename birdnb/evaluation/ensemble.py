"""Join several runs: weights and temperature chosen on validation, applied once to test."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from birdnb.evaluation.calibration import (
    FLOOR,
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    log_loss,
)
from birdnb.evaluation.metrics import accuracy, summarise
from birdnb.evaluation.predictions import Predictions
from birdnb.files import BirdnbError, write_json, write_text
from birdnb.registry import ENSEMBLE


class Member(Protocol):
    """A finished run that can vote (``birdnb.training.runs.RunResult`` is one)."""

    config: dict
    labels: list[str]
    metrics: dict
    val: Predictions
    test: Predictions


@dataclass
class EnsembleResult:
    """An ensemble as a run: ``val``, ``test`` weighted and scaled, ``weighted_test`` not scaled,
    ``equal_*`` plain averages.
    """

    name: str
    folder: Path | None
    config: dict
    labels: list[str]
    history: pd.DataFrame  # empty: nothing was trained
    metrics: dict
    val: Predictions
    test: Predictions
    weights: dict[str, float]
    temperature: float
    weighted_test: Predictions
    equal_val: Predictions
    equal_test: Predictions


def build_ensemble(
    members: Mapping[str, Member], sessions: Mapping[str, str] | pd.Series | None = None,
    folder: Path | None = None, seed: int = 0, name: str = ENSEMBLE,
) -> EnsembleResult:  # fmt: skip
    """Weigh two or more runs by validation log loss, calibrate on validation, score on test.

    Writes a run folder if given. ``sessions`` maps recording ids to sessions, for the intervals.
    The test targets are read only to score what validation has already decided. Raises BirdnbError
    when the runs' labels, splits or targets differ.
    """
    val, test = _aligned(members, "val"), _aligned(members, "test")
    labels = next(iter(members.values())).labels
    if set(val[0].recording_ids) & set(test[0].recording_ids):
        raise BirdnbError(
            "a recording is in validation and in test: repeat the runs on one clean split"
        )
    weights = choose_weights(val, _sessions_of(val[0], sessions))
    temperature = fit_temperature(combine(val, weights))
    weighted = {"val": combine(val, weights), "test": combine(test, weights)}
    final = {side: apply_temperature(part, temperature) for side, part in weighted.items()}
    equal = {"val": combine(val, np.ones(len(val))), "test": combine(test, np.ones(len(test)))}
    of = {side: _sessions_of(part, sessions) for side, part in final.items()}
    metrics: dict[str, Any] = {
        **{side: summarise(final[side], labels, of[side], seed) for side in final},
        "equal": {side: summarise(equal[side], labels, of[side], seed) for side in equal},
        "weights": {member: float(w) for member, w in zip(members, weights, strict=True)},
        "temperature": temperature,
        "calibration": {side: calibration_gain(weighted[side], final[side]) for side in final},
        "parameters": _sum_of(members, "parameters"),
        "seconds": _sum_of(members, "seconds"),
        "pretrained": any(member.metrics.get("pretrained") for member in members.values()),
    }
    # the keys tell later whether a member was trained anew
    keys = {member: run.config.get("key") for member, run in members.items()}
    config = {
        "run": name,
        "members": keys,
        "weights_by": "log loss on validation, within one standard error the nearest to equal",
        "seed": seed,
    }
    result = EnsembleResult(
        name, folder, config, labels, pd.DataFrame(), metrics, final["val"], final["test"],
        metrics["weights"], temperature, weighted["test"], equal["val"], equal["test"],
    )  # fmt: skip
    return result if folder is None else _write(result, folder)


def combine(parts: Sequence[Predictions], weights: Sequence[float] | np.ndarray) -> Predictions:
    """Average aligned predictions by weights, which are scaled to sum 1."""
    share = np.asarray(weights, dtype=np.float64)
    if len(share) != len(parts) or (share < 0).any() or share.sum() == 0:
        raise BirdnbError(
            f"weights {list(weights)} for {len(parts)} models: give one for each, none negative, "
            f"not all zero"
        )
    stacked = np.stack([part.probabilities for part in parts]).astype(np.float64)  # (M, R, C)
    mean = np.tensordot(share / share.sum(), stacked, axes=1).astype(np.float32)
    return Predictions(parts[0].recording_ids, mean, parts[0].targets)


def choose_weights(
    validation: Sequence[Predictions], sessions: Sequence[str] | None = None
) -> np.ndarray:
    """Choose (M,) weights: of those as good as the best on validation, the nearest to equal.

    They lie on a simplex grid; as good means within one standard error of the least log loss
    (Hastie et al., Elements of Statistical Learning, 7.10), as a few sessions may well prefer one
    model alone by chance. Log loss, as accuracy moves in big steps on small sides. The error is of
    the paired difference and counts ``sessions`` (of each recording; None: each its own). The step
    is 0.05 for two or three models, coarser for more.
    """
    m, n = len(validation), len(validation[0])
    if sessions is not None and len(set(sessions)) < 2:
        return np.full(m, 1 / m)  # one session has no error to reckon with, and decides nothing
    grid = simplex_grid(m, {2: 20, 3: 20, 4: 10, 5: 10}.get(m, 5))
    equal = np.full(m, 1 / m)
    grid = np.vstack([equal, grid[np.argsort(np.abs(grid - equal).sum(axis=1), kind="stable")]])
    # (M, R)
    true = np.stack([part.probabilities[np.arange(n), part.targets] for part in validation]).astype(
        np.float64
    )
    loss = -np.log(np.maximum(grid @ true, FLOOR))  # (G, R)
    worse = loss - loss[np.argmin(loss.mean(axis=1))]  # (G, R)
    mean = worse.mean(axis=1)
    _, session = np.unique(
        np.arange(n) if sessions is None else np.asarray(sessions), return_inverse=True
    )
    totals = (worse - mean[:, None]) @ np.eye(session.max() + 1)[session]  # (G, sessions)
    error = np.sqrt((totals**2).sum(axis=1) * totals.shape[1] / max(1, totals.shape[1] - 1)) / n
    return grid[int(np.argmax(mean <= error + 1e-9))]  # the first of them


def simplex_grid(members: int, steps: int) -> np.ndarray:
    """List every way to share out 1 in steps of 1 / ``steps``: (G, members)."""
    cuts = itertools.combinations(range(steps + members - 1), members - 1)
    rows = [np.diff([-1, *cut, steps + members - 1]) - 1 for cut in cuts]
    return np.array(rows) / steps


def best_single(validation: Mapping[str, Predictions]) -> str:
    """Name the run with the best validation accuracy; between equals that of less log loss."""

    def score(name: str) -> tuple[float, float]:
        return accuracy(validation[name]), -log_loss(validation[name])

    return max(validation, key=score)


def calibration_gain(before: Predictions, after: Predictions) -> dict[str, float]:
    """Compare calibration error and log loss before and after temperature scaling."""
    return {
        "ece_before": expected_calibration_error(before),
        "ece_after": expected_calibration_error(after),
        "log_loss_before": log_loss(before),
        "log_loss_after": log_loss(after),
    }


def _aligned(members: Mapping[str, Member], side: str) -> list[Predictions]:
    if len(members) < 2:
        raise BirdnbError(
            f"an ensemble needs two or more runs, here are {len(members)}: train another model "
            f"first"
        )
    (first_name, first), *others = members.items()
    reference = getattr(first, side)
    aligned = [reference]
    for name, member in others:
        if member.labels != first.labels:
            raise BirdnbError(
                f"{first_name} and {name} know different species: repeat them on the same corpus "
                f"and split"
            )
        try:
            part = getattr(member, side).align(reference.recording_ids)
        except BirdnbError as error:
            raise BirdnbError(
                f"{first_name} and {name} have different {side} sides: {error}"
            ) from error
        if not np.array_equal(part.targets, reference.targets):
            raise BirdnbError(
                f"{first_name} and {name} name different species for the same recordings: repeat "
                f"both"
            )
        aligned.append(part)
    return aligned


def _sessions_of(
    predictions: Predictions, sessions: Mapping[str, str] | pd.Series | None
) -> list[str] | None:
    ids = predictions.recording_ids
    return None if sessions is None else [sessions[recording] for recording in ids]


def _sum_of(members: Mapping[str, Member], key: str) -> float | None:
    values = [
        member.metrics[key] for member in members.values() if member.metrics.get(key) is not None
    ]
    return sum(values) if len(values) == len(members) else None


def _write(result: EnsembleResult, folder: Path) -> EnsembleResult:
    # written last: a folder with metrics is a finished run
    (folder / "metrics.json").unlink(missing_ok=True)
    write_json(folder / "config.json", result.config)
    write_json(folder / "labels.json", result.labels)
    result.val.save(folder / "predictions_val.npz")
    result.test.save(folder / "predictions_test.npz")
    write_text(folder / "history.csv", "epoch\n")  # as every run has one
    write_json(folder / "metrics.json", result.metrics)
    return result
