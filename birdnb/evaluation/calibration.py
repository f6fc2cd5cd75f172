"""Say how far a model's confidence can be trusted, and mend it by one temperature.

Guo et al., On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from birdnb.evaluation.predictions import Predictions

FLOOR = 1e-7  # smallest probability whose logarithm is taken


def calibration_curve(predictions: Predictions, bins: int = 15) -> pd.DataFrame:
    """Compare confidence with accuracy in bins: low, high, confidence, accuracy, recordings."""
    confidence = predictions.probabilities.max(axis=1).astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # bins are (low, high]
    right = predictions.predicted == predictions.targets
    table = pd.DataFrame({"bin": place, "confidence": confidence, "right": right})
    curve = table.groupby("bin").agg(
        confidence=("confidence", "mean"), accuracy=("right", "mean"), recordings=("right", "size")
    )
    curve = curve.reset_index().assign(
        low=lambda t: t["bin"] / bins, high=lambda t: (t["bin"] + 1) / bins
    )
    return curve[["low", "high", "confidence", "accuracy", "recordings"]]


def expected_calibration_error(predictions: Predictions, bins: int = 15) -> float:
    """Return the mean distance of confidence and accuracy over the bins, weighted by recordings."""
    curve = calibration_curve(predictions, bins)
    gap = (curve["confidence"] - curve["accuracy"]).abs()
    return float((gap * curve["recordings"]).sum() / curve["recordings"].sum())


def log_loss(predictions: Predictions) -> float:
    """Return the mean negative log probability of the true species [nats].

    Not scikit-learn's: that one normalises float32 rows once more, which moves the last digits.
    """
    return float(losses(predictions).mean())


def losses(predictions: Predictions) -> np.ndarray:
    """Return the negative log probability (R,) of each recording's true species [nats]."""
    rows = np.arange(len(predictions))
    true = predictions.probabilities[rows, predictions.targets].astype(np.float64)
    return -np.log(np.maximum(true, FLOOR))


def fit_temperature(validation: Predictions) -> float:
    """Find the temperature of least log loss on validation; above 1 the model was too sure.

    A prior (log temperature of mean 0, deviation 0.5) keeps a validation side of twenty recordings,
    all of them right, from calling for blind confidence; a few hundred recordings overrule it.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        prior = (log_temperature / 0.5) ** 2 / 2 / len(validation)
        return log_loss(apply_temperature(validation, float(np.exp(log_temperature)))) + prior

    found = minimize_scalar(
        loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded", options={"xatol": 1e-4}
    )
    return float(np.exp(found.x))


def apply_temperature(predictions: Predictions, temperature: float) -> Predictions:
    """Raise probabilities to the power 1 / temperature and normalise: same species first."""
    logits = np.log(np.maximum(predictions.probabilities.astype(np.float64), FLOOR)) / temperature
    scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    return replace(
        predictions, probabilities=(scaled / scaled.sum(axis=1, keepdims=True)).astype(np.float32)
    )
