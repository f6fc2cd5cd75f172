"""Labels that models doubt: what they say of recordings whose session they never heard.

Self-confidence is the probability of the given label, margin that probability less the largest
other one; Northcutt, Jiang and Chuang, Confident Learning, https://arxiv.org/abs/1911.00068.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from birdnb.data import StudyData
from birdnb.evaluation.predictions import Predictions, clip_features
from birdnb.files import BirdnbError
from birdnb.models import build_model
from birdnb.models.classical import mfcc_statistics
from birdnb.registry import FULL

FOLDS = 5
COLUMNS = [
    "recording_id", "species", "suggestion", "doubt", "self_confidence", "margin", "models",
]  # fmt: skip


def held_out(data: StudyData, features: np.ndarray | None = None) -> Predictions:
    """Predict every recording of a study by a cheap model that never heard its session.

    Logistic regression over five grouped folds, fewer where no species has five recordings, on
    ``features`` (R, D) in the order of the table, those of ``frozen_features`` unless given.
    Nothing is used that learned the study's labels. A recording whose species the model did not
    hear in another session, or only that one, is left out: nobody can judge it.
    """
    ids = data.table["recording_id"].tolist()
    features = frozen_features(data, ids) if features is None else features
    targets, groups = data.targets(ids), data.table["session"].to_numpy()
    probabilities = np.zeros((len(ids), len(data.labels)))
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000)
    )
    judged = np.zeros(len(ids), bool)
    for others, heard in _folds(data, targets, groups):
        known = np.unique(targets[others])
        if len(known) > 1:
            model.fit(features[others], targets[others])
            probabilities[np.ix_(heard, known)] = model.predict_proba(features[heard])
            judged[heard] = np.isin(targets[heard], known)
    kept = [name for name, it in zip(ids, judged, strict=True) if it]
    return Predictions(kept, probabilities[judged].astype(np.float32), targets[judged])


def _folds(
    data: StudyData, targets: np.ndarray, groups: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Share recordings out into folds: rows to learn from, rows to judge; none when too few."""
    k = min(FOLDS, len(set(groups)), int(np.bincount(targets).max()))
    if k < 2:
        return []
    folds = StratifiedGroupKFold(k, shuffle=True, random_state=data.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a species of fewer sessions than folds
        return list(folds.split(targets, targets, groups))


def doubtful_labels(parts: Sequence[Predictions], labels: Sequence[str]) -> pd.DataFrame:
    """Rank recordings by how much the models doubt their label, the most doubtful first.

    ``parts`` are what models say of recordings whose session they did not learn from; a recording
    need not be in all. Columns: recording_id, species (the label), suggestion (what the models
    rather say), doubt, self_confidence, margin, models. A model ranks its recordings by
    self-confidence, then margin; doubt is 1 for the first and 0 for the last, averaged over the
    models, the better ones weighing more, by their accuracy. Empty where they judge none.
    """
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    scores = pd.concat([_scores(part) for part in parts], ignore_index=True)
    weighed = scores[["doubt", "self_confidence", "margin"]].mul(scores["weight"], axis=0)
    by_recording = weighed.assign(recording_id=scores["recording_id"], weight=scores["weight"])
    table = by_recording.groupby("recording_id", sort=False).sum()
    table = table.div(table.pop("weight"), axis=0)
    table["models"] = scores["recording_id"].value_counts(sort=False)
    names = np.asarray(labels)
    target = {i: t for part in parts for i, t in zip(part.recording_ids, part.targets, strict=True)}
    mean = _mean_probabilities(parts)
    table.insert(0, "species", [names[target[name]] for name in table.index])
    table.insert(1, "suggestion", [names[mean[name].argmax()] for name in table.index])
    table = table.sort_values(["doubt", "self_confidence"], ascending=[False, True], kind="stable")
    return table.reset_index()


def _scores(part: Predictions) -> pd.DataFrame:
    """Score the recordings of one model."""
    rows = np.arange(len(part))
    own = part.probabilities[rows, part.targets]
    others = part.probabilities.copy()
    others[rows, part.targets] = -1
    table = pd.DataFrame({
        "recording_id": part.recording_ids, "self_confidence": own,
        "margin": own - others.max(axis=1),
    })  # fmt: skip
    order = table.sort_values(["self_confidence", "margin"], kind="stable").index
    table.loc[order, "doubt"] = 1 - np.arange(len(table)) / max(len(table) - 1, 1)
    return table.assign(weight=max(float((part.predicted == part.targets).mean()), 1e-6))


def _mean_probabilities(parts: Sequence[Predictions]) -> dict[str, np.ndarray]:
    total: dict[str, np.ndarray] = {}
    for part in parts:
        for name, row in zip(part.recording_ids, part.probabilities, strict=True):
            total[name] = total.get(name, 0) + row
    return total


def frozen_features(data: StudyData, ids: Sequence[str]) -> np.ndarray:
    """Return what a frozen network makes of the best clip of each recording, (R, D).

    It is the network of AST's run with the weights it begins from, shipped or pretrained. Where it
    begins from nothing, or its weights cannot be had now: MFCC statistics.
    """
    lms, _ = data.cache.load_many(ids, 1)  # (R, 128, T) float16 dB
    settings = data.profile.runs[FULL].model if FULL in data.profile.runs else None
    if settings is None or not settings.pretrained:
        return mfcc_statistics(lms)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model = build_model(
            settings.name, len(data.labels), lms.shape[2], settings.pretrained, size=settings.size
        ).to(device).eval()  # fmt: skip
    except BirdnbError:  # weights of a hub that cannot be had now: the cheaper numbers will do
        return mfcc_statistics(lms)
    return clip_features(model, torch.from_numpy(lms), settings.normalisation).numpy()
