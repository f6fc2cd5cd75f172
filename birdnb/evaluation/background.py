"""How many mistakes name a bird that does sing in the recording, only further away."""

from typing import Any

import numpy as np

from birdnb.evaluation.metrics import accuracy
from birdnb.evaluation.predictions import Predictions


def background_scores(predictions: Predictions, behind: np.ndarray) -> dict[str, Any] | None:
    """Count the mistakes that name a bird heard in the background; None where none was heard.

    ``behind`` (R, C) bool, in the order of the predictions. ``by_chance`` is the share of the
    mistakes that would name such a bird if each named any of the other species alike; ``accuracy``
    counts them as wrong, ``lenient`` as right.
    """
    if not behind.any():
        return None
    wrong = predictions.predicted != predictions.targets
    named = wrong & behind[np.arange(len(behind)), predictions.predicted]
    others = behind.shape[1] - 1
    mistakes = int(wrong.sum())
    return {
        "recordings": int(behind.any(axis=1).sum()), "mistakes": mistakes,
        "named": int(named.sum()), "share": float(named.sum() / mistakes) if mistakes else None,
        "by_chance": float(behind[wrong].sum() / others / mistakes) if mistakes else None,
        "accuracy": accuracy(predictions), "lenient": float((~wrong | named).mean()),
    }  # fmt: skip
