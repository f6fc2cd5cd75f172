"""The classical reference: logistic regression on statistics of the MFCCs of each segment."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from birdnb.features.lms import dct_matrix
from birdnb.files import BirdnbError
from birdnb.models.weights import read_weights, save_weights

N_MFCC = 40
BATCH = 512  # spectrograms worked on at a time


@dataclass(frozen=True)
class ClassicalModel:
    """A fitted logistic regression as plain arrays.

    logits = ((statistics - mean) / scale) @ coefficients.T + intercept.
    """

    mean: np.ndarray  # (80,)
    scale: np.ndarray  # (80,)
    coefficients: np.ndarray  # (C, 80)
    intercept: np.ndarray  # (C,), minus infinity for a species without a training segment

    def predict_proba(self, lms_db: np.ndarray) -> np.ndarray:
        """Return probabilities (N, C) of segments (N, 128, T) in dB; rows sum to 1."""
        x = (mfcc_statistics(lms_db) - self.mean) / self.scale  # (N, 80)
        return softmax(x @ self.coefficients.T + self.intercept, axis=1)

    def save(self, path: str | Path) -> Path:
        """Write the arrays to a .safetensors file, atomically."""
        return save_weights(path, {k: torch.from_numpy(v) for k, v in vars(self).items()})

    @classmethod
    def load(cls, path: str | Path) -> ClassicalModel:
        """Read what ``save`` wrote. Raises BirdnbError when the file is missing or damaged."""
        arrays = {name: value.numpy() for name, value in read_weights(path).items()}
        if set(arrays) != {field.name for field in fields(cls)}:
            raise BirdnbError(f"{path} is not a saved classical model: delete it and train again")
        return cls(**arrays)


def fit_classical(lms_db: np.ndarray, target: np.ndarray, n_classes: int) -> ClassicalModel:
    """Fit logistic regression (C = 0.1, balanced classes, standardised input) on segments.

    They are (N, 128, T) in dB, target (N,). All ``n_classes`` species get a probability; one
    without training segments gets 0. Raises BirdnbError when there are fewer than two species to
    tell apart.
    """
    target = np.asarray(target)
    present = np.unique(target)
    if len(present) < 2:
        raise BirdnbError(
            f"the training segments are of {len(present)} species: at least two are needed to tell "
            f"apart"
        )
    statistics = mfcc_statistics(lms_db)
    scaler = StandardScaler().fit(statistics)
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000)
    model.fit(scaler.transform(statistics), target)
    # scikit-learn keeps one row for two classes: the logit of the second against 0
    two = len(model.coef_) == 1
    coefficients = np.zeros((n_classes, len(scaler.mean_)))
    coefficients[present[1:] if two else present] = model.coef_
    intercept = np.full(n_classes, -np.inf)
    intercept[present] = [0.0, model.intercept_[0]] if two else model.intercept_
    return ClassicalModel(scaler.mean_, scaler.scale_, coefficients, intercept)


def mfcc_statistics(lms_db: np.ndarray) -> np.ndarray:
    """Return mean and standard deviation over time of 40 MFCCs, (N, 80) float64.

    Of segments (N, 128, T) in dB.
    """
    statistics = np.empty((len(lms_db), 2 * N_MFCC))
    # all at once would take six times the memory of the spectrograms
    for first in range(0, len(lms_db), BATCH):
        batch = slice(first, first + BATCH)
        lms = np.asarray(lms_db[batch], dtype=np.float32)  # (B, 128, T)
        mfcc = dct_matrix(lms.shape[1], N_MFCC) @ lms  # (B, 40, T)
        statistics[batch] = np.concatenate([mfcc.mean(axis=2), mfcc.std(axis=2)], axis=1)
    return statistics
