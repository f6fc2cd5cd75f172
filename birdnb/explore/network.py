"""Ask a trained network how it sees and hears the test recordings."""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from matplotlib.figure import Figure

from birdnb.corpora.table import credit
from birdnb.data import StudyData
from birdnb.evaluation.predictions import clip_features
from birdnb.explore.examples import Run
from birdnb.explore.occlusion import occlusion
from birdnb.plots.models import occlusion_map
from birdnb.plots.style import add_credit, percent
from birdnb.training.devices import make_accelerator
from birdnb.training.runs import load_model


class TrainedRun(Run, Protocol):
    """A run whose network can be asked."""

    folder: Path
    config: dict


def test_embeddings(data: StudyData, run: TrainedRun) -> tuple[np.ndarray, list[str]]:
    """Return features (R, D) of the test recordings, means over their clips, and their species."""
    device, clips = make_accelerator().device, data.clips("test")
    model, kind = load_model(run.folder).to(device), _normalisation(run)
    features = clip_features(model, clips.lms, kind)  # (N, D)
    total = torch.zeros(len(clips.recording_ids), features.shape[1])
    total.index_add_(0, clips.recording, features)
    mean = total / torch.bincount(clips.recording, minlength=len(total))[:, None]  # (R, D)
    return mean.numpy(), [data.labels[i] for i in data.targets(clips.recording_ids)]


def listening_figures(
    data: StudyData, run: TrainedRun, each: int = 2, model: str = "the model"
) -> dict[str, Figure]:
    """Draw occlusion maps of the test recordings the model was surest about.

    ``each`` of those it got right and wrong, a species once. The map is that of the species the
    model (``model`` in the titles) named. Keys are ``right_1``, ``wrong_1`` and so on.
    """
    network, kind = load_model(run.folder).to(make_accelerator().device), _normalisation(run)
    test, shown = run.test, set()
    figures: dict[str, Figure] = {}
    for i in np.argsort(-test.probabilities.max(axis=1), kind="stable"):
        truth, said = run.labels[test.targets[i]], run.labels[test.predicted[i]]
        recording = test.recording_ids[i]
        answer = "right" if truth == said else "wrong"
        number = sum(key.startswith(answer) for key in figures) + 1
        if number > each or (answer, truth) in shown:
            continue
        shown.add((answer, truth))
        lms = data.cache.load(recording)[0]
        title = f"Right: {truth}" if answer == "right" else f"Wrong: {truth} taken for {said}"
        title += f", {recording} ({model}: {percent(test.probabilities[i].max())})"
        found = occlusion(network, lms, int(test.predicted[i]), kind)
        figure = occlusion_map(lms, found, data.profile.audio, title, said, model)
        figures[f"{answer}_{number}"] = add_credit(figure, credit(data.recordings.loc[[recording]]))
    return figures


def _normalisation(run: TrainedRun) -> str:
    return run.config["settings"]["model"]["normalisation"]
