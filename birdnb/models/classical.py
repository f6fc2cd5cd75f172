"""The classical reference: logistic regression on statistics of the MFCCs of each segment."""

import numpy as np

from birdnb.features.lms import dct_matrix
from birdnb.models.linear import Linear

N_MFCC = 40
BATCH = 512  # spectrograms worked on at a time


class ClassicalModel(Linear):
    """A fitted logistic regression on MFCC statistics."""

    def predict_proba(self, lms_db: np.ndarray) -> np.ndarray:
        """Return probabilities (N, C) of segments (N, 128, T) in dB; rows sum to 1."""
        return super().predict_proba(mfcc_statistics(lms_db))


def fit_classical(lms_db: np.ndarray, target: np.ndarray, n_classes: int) -> ClassicalModel:
    """Fit logistic regression (C = 0.1) on segments (N, 128, T) in dB, target (N,).

    See ``Linear.fit``. Raises BirdnbError when there are fewer than two species to tell apart.
    """
    return ClassicalModel.fit(mfcc_statistics(lms_db), target, n_classes, C=0.1)


def mfcc_statistics(lms_db: np.ndarray) -> np.ndarray:
    """Return means and deviations of 40 MFCCs over time (N, 80), of segments (N, 128, T) dB."""
    statistics = np.empty((len(lms_db), 2 * N_MFCC))
    # all at once would take six times the memory of the spectrograms
    for first in range(0, len(lms_db), BATCH):
        batch = slice(first, first + BATCH)
        lms = np.asarray(lms_db[batch], dtype=np.float32)  # (B, 128, T)
        mfcc = dct_matrix(lms.shape[1], N_MFCC) @ lms  # (B, 40, T)
        statistics[batch] = np.concatenate([mfcc.mean(axis=2), mfcc.std(axis=2)], axis=1)
    return statistics
