"""Hold what a run said of long recordings against annotations: was its promise kept?

Recordings are cut into segments of five seconds, as BirdSet counts them
(https://arxiv.org/abs/2403.10380): a species is in a segment when an annotation of it overlaps
the segment, and its score there is the largest of the windows whose middle lies in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from birdnb.evaluation.calibration import apply_temperature
from birdnb.evaluation.metrics import redrawn
from birdnb.evaluation.predictions import Predictions
from birdnb.evaluation.promises import measure, verdict
from birdnb.field.promise import Promises
from birdnb.field.scores import Heard

SEGMENT_SECONDS = 5.0
DRAWS = 200  # of recordings, for the intervals of average precision and AUROC
MEASURES = ("precision", "recall", "average_precision", "auroc")


@dataclass(frozen=True)
class Segments:
    """The segments of all annotated recordings: what was said of them, and what is in them."""

    recording: np.ndarray  # (S,) text
    start: np.ndarray  # (S,) [s]
    scores: np.ndarray  # (S, C)
    truth: np.ndarray  # (S, C) bool


def cut_segments(
    heard: Sequence[Heard], labels: Sequence[str], clip_seconds: float, truth: pd.DataFrame
) -> Segments:
    """Cut recordings into segments; ``truth`` has their recording, start, end and species."""
    parts = [_of_recording(one, labels, clip_seconds, truth) for one in heard if len(one.starts)]
    return Segments(*(np.concatenate([getattr(p, name) for p in parts]) for name in vars(parts[0])))


def _of_recording(
    heard: Heard, labels: Sequence[str], clip_seconds: float, truth: pd.DataFrame
) -> Segments:
    count = max(1, int(np.ceil(heard.seconds / SEGMENT_SECONDS - 1e-9)))
    starts = SEGMENT_SECONDS * np.arange(count)
    middles = heard.starts + min(clip_seconds, heard.seconds) / 2
    place = np.minimum((middles / SEGMENT_SECONDS).astype(int), count - 1)
    scores = np.full((count, len(labels)), -np.inf)
    np.maximum.at(scores, place, heard.probabilities)
    empty = np.setdiff1d(np.arange(count), place)  # a long step, or the rest at the end
    nearest = np.abs(middles - (starts[empty, None] + SEGMENT_SECONDS / 2)).argmin(axis=1)
    scores[empty] = heard.probabilities[nearest]
    present = np.zeros((count, len(labels)), bool)
    for row in truth[truth["recording"] == heard.recording].itertuples():
        if row.species in labels:
            over = (starts < row.end) & (starts + SEGMENT_SECONDS > row.start)
            present[over, labels.index(row.species)] = True
    return Segments(np.full(count, heard.recording, dtype=object), starts, scores, present)


def evaluate(
    segments: Segments, labels: Sequence[str], promises: Promises,
    after_refusing: np.ndarray | None = None, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Measure each species that was annotated or called; the last row, "all", is the whole.

    Columns species, segments (that hold it), called, threshold, promised, precision and recall at
    the threshold, average_precision and auroc, with _low and _high (95 %, over recordings), and
    verdict. As in the promise, precision counts each recording alike. On the whole, precision and
    recall are of all species with a threshold together, the others means over the annotated ones.
    ``after_refusing`` are the scores (S, C) that calls are made from, where some are refused.
    """
    thresholds = np.array([promises.of(label).threshold or np.inf for label in labels])
    called = (segments.scores if after_refusing is None else after_refusing) >= thresholds
    rows = []
    for c, label in enumerate(labels):
        if segments.truth[:, c].any() or called[:, c].any():
            one = _measured(segments, [c], called, thresholds, promises.precision)
            rows.append({"species": label, "threshold": promises.of(label).threshold} | one)
    ranks = _ranks(segments, _draws(segments.recording, seed))
    for row in rows:
        c = labels.index(row["species"])
        row |= _with_intervals(ranks[0, c], ranks[1:, c])
    present = segments.truth.any(axis=0)
    means = np.array([pd.DataFrame(one[present], columns=[0, 1]).mean() for one in ranks])
    whole = _measured(segments, range(len(labels)), called, thresholds, promises.precision)
    rows.append({"species": "all"} | whole | _with_intervals(means[0], means[1:]))
    table = pd.DataFrame(rows).assign(promised=promises.precision)
    spread = [f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")]
    columns = ["species", "segments", "called", "threshold", "promised", *spread, "verdict"]
    return table.reindex(columns=[c for c in columns if c not in ("recall_low", "recall_high")])


def focal_drop(
    table: pd.DataFrame, test: Predictions, labels: Sequence[str], promises: Promises
) -> pd.DataFrame:
    """Compare the test side's focal recordings with the field, species that are in both.

    A row a measure: measure, focal, field, drop; each a mean over species (precision and recall:
    those with a threshold).
    """
    p = apply_temperature(test, promises.temperature).probabilities
    focal = Segments(np.array(test.recording_ids, dtype=object), np.zeros(len(p)), p,
                     np.eye(len(labels), dtype=bool)[test.targets])  # fmt: skip
    before = evaluate(focal, labels, promises).set_index("species").drop("all")
    after = table.set_index("species").drop("all")
    both = [s for s in after.index if s in before.index and after.loc[s, "segments"] > 0]
    rows = []
    for name in MEASURES:
        pair = pd.DataFrame({"focal": before.loc[both, name], "field": after.loc[both, name]})
        mean = pair.astype(float).dropna().mean()
        rows.append({"measure": name, **mean.to_dict(), "drop": mean["focal"] - mean["field"]})
    return pd.DataFrame(rows)


def _measured(
    segments: Segments, species: Sequence[int], called: np.ndarray, thresholds: np.ndarray,
    promised: float | None,
) -> dict[str, Any]:  # fmt: skip
    """Measure precision and recall of some species together, those with a threshold."""
    own = [c for c in species if np.isfinite(thresholds[c])]
    right, call = segments.truth[:, own].ravel("F"), called[:, own].ravel("F")
    found = measure(call, right, np.tile(segments.recording, len(own)))
    low, high = found.interval or (None, None)
    return {
        "segments": int(segments.truth[:, species].sum()), "called": found.clips,
        "precision": found.precision, "precision_low": low, "precision_high": high,
        "recall": found.recall, "verdict": verdict(found, promised),
    }  # fmt: skip


def _draws(recording: np.ndarray, seed: int) -> np.ndarray:
    """Return how often each draw of recordings holds each segment: (draws, S); none of one."""
    codes, names = pd.factorize(recording)
    if len(names) < 2:
        return np.zeros((0, len(recording)))
    return redrawn(codes, np.random.default_rng(seed), DRAWS)


def _ranks(segments: Segments, draws: np.ndarray) -> np.ndarray:
    """Return average precision and AUROC as they are and of draws, (1+D, C, 2), NaN for none."""
    weights = [None, *draws]
    pairs = list(zip(segments.truth.T, segments.scores.T, strict=True))
    return np.array([[_rank_scores(*pair, weight) for pair in pairs] for weight in weights])


def _rank_scores(
    truth: np.ndarray, scores: np.ndarray, weight: np.ndarray | None
) -> tuple[float, float]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    there = np.ones(len(truth), bool) if weight is None else weight > 0
    if truth[there].all() or not truth[there].any():
        return np.nan, np.nan
    weight = weight if weight is None else weight[there]
    return (
        float(average_precision_score(truth[there], scores[there], sample_weight=weight)),
        float(roc_auc_score(truth[there], scores[there], sample_weight=weight)),
    )


def _with_intervals(values: Sequence[float] | np.ndarray, spread: np.ndarray) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value, draws in zip(MEASURES[2:], values, spread.T, strict=True):
        known = draws[~np.isnan(draws)]
        low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (None, None)
        found |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return found
