"""Refuse what is none of the species: quiet, noise, and birds that a model was never taught.

Three scores, each higher for what the model knows: the largest probability (Hendrycks and Gimpel,
https://arxiv.org/abs/1610.02136), the energy, the logarithm of the sum of exponentiated logits (Liu
et al., https://arxiv.org/abs/2010.03759), and a background class: logistic regression that tells
the training side's clips from its quiet stretches by what the model says of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from birdnb.evaluation.calibration import FLOOR

LARGEST, ENERGY, BACKGROUND = "largest probability", "energy", "background class"
KEPT = 0.95  # share of the validation side's clips that may not be refused


@dataclass(frozen=True)
class Opinions:
    """What a model says of N clips: probabilities (N, C) and energy (N,), NaN where unknown."""

    probabilities: np.ndarray
    energy: np.ndarray

    @property
    def features(self) -> np.ndarray:
        """Return what the background class is told of a clip: log probabilities and energy."""
        logs = np.log(np.maximum(self.probabilities.astype(np.float64), FLOOR))
        return np.column_stack([logs, np.nan_to_num(self.energy)])


def joined(parts: Sequence[Opinions]) -> Opinions:
    """Return what was said of several parts, one behind the other."""
    return Opinions(
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.energy for part in parts]),
    )


@dataclass(frozen=True)
class Refusal:
    """A score, and the value below which a clip is none of the species."""

    score: str
    threshold: float = -np.inf
    weights: tuple[float, ...] = ()  # of the background class: of its features, then the intercept

    def of(self, clips: Opinions) -> np.ndarray:
        """Return the score of clips, (N,)."""
        if self.score == LARGEST:
            return clips.probabilities.max(axis=1).astype(np.float64)
        if self.score == ENERGY:
            return clips.energy.astype(np.float64)
        return clips.features @ np.array(self.weights[:-1]) + self.weights[-1]

    def keeps(self, clips: Opinions) -> np.ndarray:
        """Tell which clips are not refused, (N,) bool."""
        return self.of(clips) >= self.threshold


def fit_background(known: Opinions, quiet: Opinions) -> Refusal:
    """Fit the background class on clips of the species and on quiet stretches."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    features = np.concatenate([known.features, quiet.features])
    scaler = StandardScaler().fit(features)
    target = np.repeat([1, 0], [len(known.energy), len(quiet.energy)])
    model = LogisticRegression(class_weight="balanced", max_iter=2000)
    model.fit(scaler.transform(features), target)
    slope = model.coef_[0] / scaler.scale_
    intercept = float(model.intercept_[0] - slope @ scaler.mean_)
    return Refusal(BACKGROUND, weights=(*map(float, slope), intercept))


def candidates(known: Opinions, quiet: Opinions) -> list[Refusal]:
    """Return the scores there are to choose from; ``known`` and ``quiet`` are of training."""
    found = [Refusal(LARGEST)]
    if np.isfinite(known.energy).all():
        found.append(Refusal(ENERGY))
    if len(quiet.energy):
        found.append(fit_background(known, quiet))
    return found


def choose_refusal(
    scores: list[Refusal], known: Opinions, others: Mapping[str, Opinions]
) -> Refusal:
    """Choose the score that best tells validation's clips from others, by AUROC, and its threshold.

    ``others`` are quiet stretches and strangers that may decide; each kind counts alike.
    """
    means = [np.nanmean([told_apart(one, known, part) for part in others.values()])
             for one in scores] if others else [0.0]  # fmt: skip
    best = scores[int(np.argmax(means))]
    return Refusal(best.score, float(np.quantile(best.of(known), 1 - KEPT)), best.weights)


def told_apart(score: Refusal, known: Opinions, others: Opinions) -> float:
    """Return the AUROC of a score: how well it tells known clips from others."""
    from sklearn.metrics import roc_auc_score

    if not len(others.energy) or not len(known.energy):
        return np.nan
    values = np.concatenate([score.of(known), score.of(others)])
    return float(roc_auc_score(np.repeat([1, 0], [len(known.energy), len(others.energy)]), values))


def let_through(score: Refusal, known: Opinions, others: Opinions) -> float:
    """Return the share of others that pass where ``KEPT`` of the known clips do."""
    if not len(others.energy) or not len(known.energy):
        return np.nan
    return float((score.of(others) >= np.quantile(score.of(known), 1 - KEPT)).mean())


def refusal_table(
    scores: list[Refusal], known: Mapping[str, Opinions], others: Mapping[str, Mapping]
) -> pd.DataFrame:
    """Compare the scores: a row for each score, side and kind of others.

    ``known`` and ``others`` are by side ("validation", "test"), others then by kind ("quiet",
    "strangers"). Columns score, side, others, clips, auroc, let_through.
    """
    rows = [
        (one.score, side, kind, len(part.energy), told_apart(one, known[side], part),
         let_through(one, known[side], part))
        for one in scores
        for side, kinds in others.items()
        for kind, part in kinds.items()
        if len(part.energy)
    ]  # fmt: skip
    columns = ["score", "side", "others", "clips", "auroc", "let_through"]
    return pd.DataFrame(rows, columns=columns)


def alarms_per_hour(alarms: int, hours: float) -> tuple[float, float, float]:
    """Return a rate and its exact 95 % Poisson interval (Garwood) [per hour]."""
    from scipy.special import gammaincinv

    low = gammaincinv(alarms, 0.025) if alarms else 0.0
    high = gammaincinv(alarms + 1, 0.975)
    return alarms / hours, float(low) / hours, float(high) / hours
