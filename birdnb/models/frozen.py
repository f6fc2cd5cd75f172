"""Logistic regression on the embeddings of whole recordings; validation chooses how."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from birdnb.models.embeddings import Embedded
from birdnb.models.linear import Linear

STRENGTHS = (0.01, 0.1, 1.0)  # C of scikit-learn: the larger, the freer
WINDOWS = ("active", "all")
POOLINGS = ("mean", "mean and maximum")
Side = tuple[Sequence[Embedded], np.ndarray]  # R recordings and their targets (R,)


@dataclass(frozen=True)
class Choice:
    """How recordings become one row each, and how strongly the regression is held back."""

    windows: str  # of WINDOWS: those with song in them, or all
    pooling: str  # of POOLINGS, over the windows
    C: float


def pool(recordings: Sequence[Embedded], choice: Choice) -> np.ndarray:
    """Return one row a recording (R, D), or (R, 2 D) where the maximum is there, too."""
    rows = []
    for one in recordings:
        x = one.embeddings[one.active] if choice.windows == "active" else one.embeddings  # (W, D)
        parts = [x.mean(axis=0), x.max(axis=0)]
        rows.append(np.concatenate(parts if choice.pooling == "mean and maximum" else parts[:1]))
    return np.stack(rows)


def fit_frozen(
    train: Side, validation: Side, n_classes: int, progress: bool = True
) -> tuple[Linear, Choice, list[dict[str, Any]]]:
    """Fit every choice on training; keep the one with the least log loss on validation.

    Between equals the earlier one, which is simpler. The rows say how each did. Raises BirdnbError
    when there are fewer than two species to tell apart.
    """
    rows, best, kept = [], np.inf, None
    choices = [Choice(*of) for of in itertools.product(WINDOWS, POOLINGS, STRENGTHS)]
    quiet = {} if progress else {"disable": True}  # left out, TQDM_DISABLE decides
    for choice in tqdm(choices, "logistic regression", leave=False, **quiet):
        model = Linear.fit(pool(train[0], choice), train[1], n_classes, choice.C)
        probabilities = model.predict_proba(pool(validation[0], choice))
        true = probabilities[np.arange(len(validation[1])), validation[1]]
        loss = float(-np.log(np.maximum(true, 1e-12)).mean())
        hit = float((probabilities.argmax(axis=1) == validation[1]).mean())
        rows.append(vars(choice) | {"val_loss": loss, "val_accuracy": hit})
        if loss < best:
            best, kept = loss, (model, choice)
    assert kept is not None
    return *kept, rows
