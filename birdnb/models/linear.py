"""Logistic regression on standardised numbers, as plain arrays."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
import torch
from scipy.special import softmax

from birdnb.files import BirdnbError
from birdnb.models.weights import read_weights, save_weights


@dataclass(frozen=True)
class Linear:
    """A fitted logistic regression: logits = ((x - mean) / scale) @ coefficients.T + intercept."""

    mean: np.ndarray  # (D,)
    scale: np.ndarray  # (D,)
    coefficients: np.ndarray  # (C, D)
    intercept: np.ndarray  # (C,), minus infinity for a species without training

    @classmethod
    def fit(cls, x: np.ndarray, target: np.ndarray, n_classes: int, C: float) -> Self:
        """Fit it (balanced classes, standardised input) on x (N, D), target (N,).

        All ``n_classes`` species get a probability; one that is not in ``target`` gets 0. Raises
        BirdnbError when there are fewer than two species to tell apart.
        """
        from sklearn.linear_model import LogisticRegression  # long to import: only fitting needs it
        from sklearn.preprocessing import StandardScaler

        target = np.asarray(target)
        present = np.unique(target)
        if len(present) < 2:
            raise BirdnbError(
                f"the training segments are of {len(present)} species: at least two are needed to "
                f"tell apart"
            )
        scaler = StandardScaler().fit(x)
        model = LogisticRegression(C=C, class_weight="balanced", max_iter=2000)
        model.fit(scaler.transform(x), target)
        # scikit-learn keeps one row for two classes: the logit of the second against 0
        two = len(model.coef_) == 1
        coefficients = np.zeros((n_classes, len(scaler.mean_)))
        coefficients[present[1:] if two else present] = model.coef_
        intercept = np.full(n_classes, -np.inf)
        intercept[present] = [0.0, model.intercept_[0]] if two else model.intercept_
        return cls(scaler.mean_, scaler.scale_, coefficients, intercept)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Return probabilities (N, C) of x (N, D); rows sum to 1."""
        x = (x - self.mean) / self.scale
        return softmax(x @ self.coefficients.T + self.intercept, axis=1)

    def save(self, path: str | Path) -> Path:
        """Write the arrays to a .safetensors file, atomically."""
        return save_weights(path, {k: torch.from_numpy(v) for k, v in vars(self).items()})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what ``save`` wrote. Raises BirdnbError when the file is missing or damaged."""
        arrays = {name: value.numpy() for name, value in read_weights(path).items()}
        if set(arrays) != {field.name for field in fields(cls)}:
            raise BirdnbError(f"{path} is not a saved classical model: delete it and train again")
        return cls(**arrays)
