"""Choose recordings worth a look or an ear."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch

from birdnb.corpora.table import credit
from birdnb.data import StudyData
from birdnb.evaluation.metrics import top_confusions
from birdnb.evaluation.predictions import Predictions
from birdnb.explore.listen import clip_waveform, mix_waveforms, noise_waveform, path_of
from birdnb.plots.rhythm import pulse


class Run(Protocol):
    """A finished run or ensemble (``birdnb.training.runs.RunResult`` is one)."""

    labels: list[str]
    val: Predictions
    test: Predictions


def clear_example(data: StudyData, most: int = 500) -> str:
    """Find the training recording whose song stands out most from its quiet.

    Looked for among those with two windows or more and at least a clip's length outside them, if
    there are any; at most ``most`` are read. What stands out is the level [dB] of the loudest half
    percent of the first clip over its median.
    """
    index = data.recordings.loc[data.side("train")]
    spare = index["seconds"] - data.profile.audio.clip_seconds * (index["segments"] + 1)
    names = list(index.index[(index["segments"] > 1) & (spare >= 0)]) or list(index.index)

    def contrast(name: str) -> float:
        """Measure how far the loudest part of the first clip rises above its median [dB]."""
        levels = np.asarray(data.cache.load(name)[0], dtype=np.float32)
        median, loudest = np.percentile(levels, [50, 99.5])
        return float(loudest - median)

    return str(max(names[:: math.ceil(len(names) / most)], key=contrast))


class Rhythm(NamedTuple):
    """The beat of a recording's first clip, as ``pulse`` finds it."""

    species: str
    recording: str
    lag: float  # [s] from note to note
    height: float  # of its peak in the autocorrelation


def clearest_rhythms(data: StudyData, recordings: Sequence[str], limit: int = 3) -> list[Rhythm]:
    """Find the recordings whose rhythm is clearest, a species once; without a beat, none."""
    found = [
        Rhythm(species_of(data, name), name, *pulse(data.cache.load(name)[0], data.profile.audio))
        for name in recordings
    ]
    best: dict[str, Rhythm] = {}
    for rhythm in sorted((one for one in found if one.height > 0), key=lambda one: -one.height):
        best.setdefault(rhythm.species, rhythm)
    return list(best.values())[:limit]


def typical_recording(data: StudyData, species: str) -> str:
    """Return a recording to compare with: the species' first in training, else its first."""
    own = data.table[data.table["species"] == species]
    trained = own[own["side"] == "train"]
    return str((trained if len(trained) else own)["recording_id"].iloc[0])


def noisy_waveforms(
    data: StudyData, recording: str, snrs_db: Sequence[float | None]
) -> list[np.ndarray]:
    """Mix a recording's best clip with the first quiet of training at each ratio [dB], if any."""
    song = clip_waveform(data, recording)
    quiet = next((name for name in data.side("train") if data.cache.noise(name) is not None), None)
    if quiet is None:
        return [song for _ in snrs_db]
    noise = noise_waveform(data, quiet)
    return [
        song if snr is None else mix_waveforms(song, noise, snr, data.profile.audio)
        for snr in snrs_db
    ]


def confused_recordings(run: Run, pairs: int = 20) -> dict[str, list[str]]:
    """Name the commonest confusions of the test set, each with the recordings behind it."""
    labels, test = np.array(run.labels), run.test
    found = {}
    for row in top_confusions(test, run.labels, pairs).itertuples():
        behind = (labels[test.targets] == row.species) & (labels[test.predicted] == row.taken_for)
        name = f"{row.species} taken for {row.taken_for} ({row.recordings} of {row.of})"
        found[name] = [test.recording_ids[i] for i in np.flatnonzero(behind)]
    return found


def confused_pairs(data: StudyData, run: Run, limit: int = 4) -> list[dict]:
    """Lay out the commonest confusions for ``confused_gallery``, of each the surest recording."""
    pairs, test = [], run.test
    place, sure = {name: i for i, name in enumerate(test.recording_ids)}, test.probabilities.max(1)
    for recordings in confused_recordings(run, limit).values():
        i = max((place[name] for name in recordings), key=lambda i: sure[i])
        recording, taken = test.recording_ids[i], run.labels[test.predicted[i]]
        typical = typical_recording(data, taken)
        pairs.append({
            "truth": run.labels[test.targets[i]],
            "predicted": taken,
            "probability": float(sure[i]),
            "lms": data.cache.load(recording)[0],
            "typical": data.cache.load(typical)[0],
            "credit": credit(data.recordings.loc[[recording, typical]]),
        })  # fmt: skip
    return pairs


def best_clip(data: StudyData, recording: str) -> torch.Tensor:
    """Return the most active clip of a recording: (1, 128, T) dB."""
    return torch.from_numpy(np.array(data.cache.load(recording)[:1], dtype=np.float32))


def cache_error(data: StudyData, recording: str) -> float:
    """Return how far [dB] a cached recording is from its audio file computed again, at most."""
    from birdnb.features.extract import extract  # needs the audio libraries

    again = extract(path_of(data, recording), data.profile.audio).lms
    return float(np.abs(again - data.cache.load(recording)).max())


def species_of(data: StudyData, recording: str) -> str:
    """Return the species of a recording."""
    return data.labels[data.targets([recording])[0]]
