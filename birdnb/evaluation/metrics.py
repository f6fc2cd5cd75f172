"""Compute metrics with bootstrap intervals, paired comparisons and confusions from predictions.

Macro averages (balanced accuracy, F1, mAP, AUROC) run over the species that have recordings among
the targets: a species without any has no recall, and counting it as zero would only punish a small
test set. The counts are weighed by how often a bootstrap draw holds each recording, all draws in
one product, which scikit-learn's scorers cannot do; the tests hold them against scikit-learn.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from birdnb.evaluation.calibration import expected_calibration_error, log_loss, losses
from birdnb.evaluation.predictions import Predictions
from birdnb.files import BirdnbError


def accuracy(predictions: Predictions) -> float:
    """Return the share of recordings named right, 0 to 1."""
    return float((predictions.predicted == predictions.targets).mean())


def f1_macro(predictions: Predictions) -> float:
    """Return F1 averaged over the species that have recordings among the targets, 0 to 1."""
    return float(np.nanmean(weighted_scores(predictions, np.ones((1, len(predictions))))["f1"]))


def weighted_scores(predictions: Predictions, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return accuracy (B,) and support, precision, recall and F1 (B, C) of B draws of recordings.

    ``weights`` (B, R) says how often each draw holds each recording; NaN for absent species.
    """
    true = np.eye(predictions.probabilities.shape[1])[predictions.targets]  # (R, C)
    said = np.eye(predictions.probabilities.shape[1])[predictions.predicted]  # (R, C)
    hits, support, called = weights @ (true * said), weights @ true, weights @ said
    present = np.where(support > 0, 1.0, np.nan)
    return {
        "accuracy": hits.sum(axis=1) / weights.sum(axis=1),
        "support": support,
        "precision": present * hits / np.maximum(called, 1),
        "recall": present * hits / np.maximum(support, 1),
        "f1": present * 2 * hits / np.maximum(support + called, 1),
    }


def summarise(
    predictions: Predictions, labels: Sequence[str], sessions: Sequence[str] | None, seed: int = 0,
    bootstrap: int = 1000,
) -> dict:  # fmt: skip
    """Compute every metric of the study, as plain numbers for JSON.

    None where undefined, e.g. AUROC with a single species. ``sessions`` gives the session of each
    recording, in the order of the predictions: whole sessions are drawn again for the 95 %
    percentile intervals, because recordings of one session are not independent; with a few dozen
    sessions they are somewhat narrow (they hold the truth in about 90 % of simulated cases).
    ``bootstrap=0`` leaves them out. ``per_class`` lists the species that have recordings here.
    """
    if not len(predictions) or predictions.probabilities.shape[1] != len(labels):
        raise BirdnbError(
            f"{len(predictions)} predictions for {len(labels)} labels: nothing to evaluate"
        )
    one = np.ones((1, len(predictions)))
    scores = {key: value[0] for key, value in weighted_scores(predictions, one).items()}
    present = [int(c) for c in np.flatnonzero(scores["support"])]
    order = np.argsort(-predictions.probabilities, axis=1, kind="stable")[:, :5]
    result: dict[str, Any] = {
        "recordings": len(predictions), "sessions": _session_index(predictions, sessions)[1],
        "species": len(present), "accuracy": accuracy(predictions),
        "balanced_accuracy": float(np.nanmean(scores["recall"])),
        "top5_accuracy": float((order == predictions.targets[:, None]).any(axis=1).mean()),
        "f1_macro": f1_macro(predictions),
        "map_macro": float(_mean_average_precision(predictions, one)[0]),
        "auroc_macro": _auroc(predictions), "ece": expected_calibration_error(predictions),
        "log_loss": log_loss(predictions),
    }  # fmt: skip
    per_class: dict[str, dict[str, Any]] = {
        labels[c]: {"support": int(scores["support"][c])}
        | {k: float(scores[k][c]) for k in ("precision", "recall", "f1")}
        for c in present
    }
    if bootstrap:
        weights = _draws(predictions, sessions, seed, bootstrap)
        drawn = weighted_scores(predictions, weights)
        result["accuracy_ci95"] = _accuracy_interval(drawn["accuracy"], result)
        result["f1_macro_ci95"] = _interval_if_any(np.nanmean(drawn["f1"], axis=1))
        result["map_macro_ci95"] = _shifted_interval(
            _mean_average_precision(predictions, weights), result["map_macro"]
        )
        for c in present:
            per_class[labels[c]]["f1_ci95"] = _interval_if_any(drawn["f1"][:, c])
    return result | {"per_class": per_class}


def accuracy_alone(
    predictions: Predictions, sessions: Sequence[str] | None, seed: int = 0, bootstrap: int = 1000
) -> dict:
    """Compute of ``summarise`` recordings, sessions and accuracy with its interval, quickly."""
    result: dict[str, Any] = {
        "recordings": len(predictions),
        "sessions": _session_index(predictions, sessions)[1],
        "accuracy": accuracy(predictions),
    }
    weights = _draws(predictions, sessions, seed, bootstrap)
    drawn = weights @ (predictions.predicted == predictions.targets) / weights.sum(axis=1)
    return result | {"accuracy_ci95": _accuracy_interval(drawn, result)}


def paired_bootstrap(
    a: Predictions, b: Predictions, sessions: Sequence[str] | None, seed: int = 0,
    bootstrap: int = 2000,
) -> dict:  # fmt: skip
    """Measure how much better ``a`` is than ``b`` on the same recordings.

    Differences of accuracy and F1-macro with 95 % intervals. ``sessions`` follows the order of
    ``a``. ``p`` is the two-sided bootstrap p-value of "no difference", but never below what an
    exact sign test over the s sessions in which the two differ can give, 2^(1 - s): from a handful
    of sessions the bootstrap alone would be sure of anything.
    Raises BirdnbError when recordings or targets differ.
    """
    b = b.align(a.recording_ids)
    if not np.array_equal(a.targets, b.targets):
        raise BirdnbError(
            "two runs name different species for the same recording: repeat them with one set of "
            "labels"
        )
    right_a, right_b = a.predicted == a.targets, b.predicted == b.targets
    result: dict[str, Any] = {
        "recordings": len(a), "only_first_right": int((right_a & ~right_b).sum()),
        "only_second_right": int((right_b & ~right_a).sum()),
    }  # fmt: skip
    # row 0: the recordings as they are
    weights = np.concatenate([np.ones((1, len(a))), _draws(a, sessions, seed, bootstrap)])
    scores_a, scores_b = weighted_scores(a, weights), weighted_scores(b, weights)
    accuracy = scores_a["accuracy"] - scores_b["accuracy"]
    f1 = np.nanmean(scores_a["f1"], axis=1) - np.nanmean(scores_b["f1"], axis=1)
    group = pd.Series(a.recording_ids if sessions is None else list(sessions))
    apart = pd.Series(right_a.astype(int) - right_b).groupby(group.to_numpy()).sum() != 0
    least = 2.0 ** (1 - int(apart.sum()))
    for prefix, values in (("", accuracy), ("f1_", f1)):
        result[f"{prefix}difference"] = float(values[0])
        # of one session all draws are the same, which is no reason to be sure
        result[f"{prefix}ci95"] = _interval(values[1:]) if group.nunique() > 1 else [-1.0, 1.0]
        beyond = min((values[1:] <= 0).sum(), (values[1:] >= 0).sum())
        result[f"{prefix}p"] = float(min(1.0, max(least, 2 * (1 + beyond) / (1 + bootstrap))))
    return result


def loss_over(
    a: Predictions, b: Predictions | None, sessions: Sequence[str] | None, seed: int = 0,
    bootstrap: int = 2000,
) -> tuple[float, list[float]]:  # fmt: skip
    """Return how much more log loss [nats] ``a`` has than ``b``, or its own without one.

    With the 95 % interval over sessions, endless for a single one; the recordings must be the same.
    """
    more = losses(a) - (losses(b.align(a.recording_ids)) if b else 0.0)  # (R,)
    if sessions is not None and len(set(sessions)) == 1:
        return float(more.mean()), [-np.inf, np.inf]
    weights = _draws(a, sessions, seed, bootstrap)
    return float(more.mean()), _interval(weights @ more / weights.sum(axis=1))


def redrawn(group: np.ndarray, rng: np.random.Generator, draws: int) -> np.ndarray:
    """Return how often each draw of as many groups (R,), numbers from 0, holds each row: (B, R)."""
    n = group.max() + 1
    return rng.multinomial(n, np.full(n, 1 / n), size=draws)[:, group].astype(np.float64)


def confusion(predictions: Predictions, n: int) -> np.ndarray:
    """Count (n, n) recordings of the true species (row) taken for the predicted one (column)."""
    from sklearn.metrics import confusion_matrix  # takes a second to import

    return confusion_matrix(predictions.targets, predictions.predicted, labels=range(n))


def rare_and_common(
    species: Iterable[str], training: Mapping[str, int]
) -> tuple[list[str], list[str]] | None:
    """Part species into the rarer and the commoner half by their numbers of training recordings.

    None where both sides of the border have as many: chance, not number, would part the halves.
    """
    order = sorted(species, key=lambda name: (training.get(name, 0), name))
    rare, common = order[: len(order) // 2], order[len(order) // 2 :]
    if not rare or training.get(rare[-1], 0) == training.get(common[0], 0):
        return None
    return rare, common


def top_confusions(
    predictions: Predictions, labels: Sequence[str], limit: int = 10
) -> pd.DataFrame:
    """List the commonest mistakes: species, taken_for, recordings, of (recordings it has)."""
    matrix = confusion(predictions, len(labels))
    wrong = [(i, j) for i, j in zip(*np.nonzero(matrix), strict=True) if i != j]
    wrong.sort(key=lambda pair: (-matrix[pair], -matrix[pair] / matrix[pair[0]].sum(), pair))
    rows = [
        (labels[i], labels[j], int(matrix[i, j]), int(matrix[i].sum())) for i, j in wrong[:limit]
    ]
    return pd.DataFrame(rows, columns=["species", "taken_for", "recordings", "of"])


def similarity_order(matrix: np.ndarray) -> np.ndarray:
    """Order species so that those confused in ``matrix`` (C, C) stand together (average link)."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(matrix) < 3:
        return np.arange(len(matrix))
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    distance = 1 - np.clip((share + share.T) / 2, 0, 1)
    np.fill_diagonal(distance, 0)
    return leaves_list(
        linkage(squareform(distance, checks=False), method="average", optimal_ordering=True)
    )


def _mean_average_precision(predictions: Predictions, weights: np.ndarray) -> np.ndarray:
    # weights (B, R) -> (B,). A species after the other, sums down its list of scores: the time
    # grows with the recordings, not with their square
    p, t, by_recording = predictions.probabilities, predictions.targets, weights.T.copy()  # (R, B)
    found = np.full((p.shape[1], len(weights)), np.nan)
    for c in np.unique(t):
        order = np.argsort(-p[:, c], kind="stable")
        own = order[t[order] == c]  # its recordings, the surest first
        scores = -p[own, c]
        # of equal scores each counts all of them: place of the last one
        above = np.searchsorted(-p[order, c], scores, side="right") - 1
        right = np.searchsorted(scores, scores, side="right") - 1
        every = np.cumsum(by_recording[order], axis=0)[above]  # (r, B)
        precision = np.cumsum(by_recording[own], axis=0)[right] / np.maximum(every, 1)
        support = by_recording[own].sum(axis=0)
        total = (by_recording[own] * precision).sum(axis=0)
        found[c] = np.where(support > 0, total / np.maximum(support, 1), np.nan)
    return np.nanmean(found, axis=0)


def _auroc(predictions: Predictions) -> float | None:
    from sklearn.metrics import roc_auc_score

    p, t = predictions.probabilities, predictions.targets
    present = np.unique(t)
    if len(present) < 2:
        return None
    return float(np.mean([roc_auc_score(t == c, p[:, c]) for c in present]))


def _session_index(
    predictions: Predictions, sessions: Sequence[str] | None
) -> tuple[np.ndarray, int]:
    names = list(predictions.recording_ids if sessions is None else sessions)
    if len(names) != len(predictions):
        raise BirdnbError(
            f"{len(names)} sessions for {len(predictions)} recordings: give one for each, in their "
            f"order"
        )
    codes, unique = pd.factorize(np.asarray(names, dtype=object))
    return codes, len(unique)


def _draws(
    predictions: Predictions, sessions: Sequence[str] | None, seed: int, bootstrap: int
) -> np.ndarray:
    session, _ = _session_index(predictions, sessions)
    return redrawn(session, np.random.default_rng(seed), bootstrap)


def _interval(values: np.ndarray) -> list[float]:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return [float(low), float(high)]


def _interval_if_any(values: np.ndarray) -> list[float] | None:
    # draws of recordings that are all right (or all wrong) never differ: that is no reason to be
    # sure
    return _interval(values) if np.nanmax(values) > np.nanmin(values) else None


def _shifted_interval(values: np.ndarray, measured: float) -> list[float] | None:
    # a recording drawn twice ranks beside itself and lifts average precision: the draws' mean
    # excess is taken off again
    if _interval_if_any(values) is None:
        return None
    low, high = np.clip(np.array(_interval(values)) - (values.mean() - measured), 0, 1)
    return [float(low), float(high)]


def _accuracy_interval(drawn: np.ndarray, result: dict) -> list[float]:
    # with every recording right (or wrong), or the same share of each session, draws never differ:
    # the exact binomial bounds (Clopper and Pearson) over the sessions are honest then
    if _interval_if_any(drawn):
        return _interval(drawn)
    from scipy.special import betaincinv

    n, right = result["sessions"], result["accuracy"] * result["sessions"]
    low = betaincinv(right, n - right + 1, 0.025) if right > 0 else 0.0
    high = betaincinv(right + 1, n - right, 0.975) if right < n else 1.0
    return [float(low), float(high)]
