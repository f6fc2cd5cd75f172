"""Look for what is wrong with a run before anything of an earlier one is set aside."""

from pathlib import Path
from typing import Any

from birdnb.config import AudioSettings, RunSettings, TrainSettings
from birdnb.corpora.reading import read_table
from birdnb.data import StudyData
from birdnb.evaluation.predictions import Predictions
from birdnb.files import BirdnbError, artifacts_dir, user_path
from birdnb.models.weights import is_local
from birdnb.training.augment import check_augment
from birdnb.training.runs import CONFIG, AnySettings, FrozenSettings, read_json


def check_weights(data: StudyData, settings: AnySettings) -> None:
    """Raise BirdnbError where the weights to begin from learned from today's held-out recordings.

    That is so when they are those of an earlier run on the same corpus with another split. What is
    known of other weights stands on their cards.
    """
    model = settings.network if isinstance(settings, FrozenSettings) else settings.model
    source = getattr(model, "pretrained", False)
    if not isinstance(source, str) or source == "synthetic" or not is_local(source):
        return
    folder = user_path(source) if user_path(source).is_dir() else user_path(source).parent
    config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    # a checkpoint of the hub has a config.json, too
    origin = config.get("corpus") if isinstance(config.get("split"), str) else None
    same = origin and origin.get("folder") == data.origin()["folder"]
    if not same or config["split"] == data.fingerprint():
        return
    heard = {side: _learned(folder, config, data.side(side)) for side in ("test", "validation")}
    if any(heard.values()):
        counts = " and ".join(f"{heard[s]} of {len(data.side(s))} {s} recordings" for s in heard)
        raise BirdnbError(
            f"pretrained is {source}, and that run may have learned from {counts} of today: use "
            f"its seed ({config['seed']}) and folds ({_fold(config)}), or begin from other weights"
        )


def check_settings(settings: RunSettings, audio: AudioSettings) -> None:
    """Raise BirdnbError for settings that a run cannot have together, or with these clips."""
    check_augment(settings.augment)
    wanted, there = settings.train.segments, audio.segments_per_recording
    if wanted > max(there, TrainSettings().segments):  # the default means as many as there are
        raise BirdnbError(
            f"segments is {wanted}, and segments_per_recording of the profile keeps {there} clips "
            f"of a recording: give at most {there}, or raise that"
        )


def would_replace(folder: Path, config: dict[str, Any], again: bool) -> bool:
    """Tell whether a run would take the place of an earlier one, finished or not."""
    if not (folder / CONFIG).exists():
        return False
    return again or read_json(folder / CONFIG).get("key") != config["key"]


def _learned(folder: Path, config: dict[str, Any], recordings: list[str]) -> int:
    """Count which of the recordings an earlier run was trained on, or may have been."""
    try:
        held = {
            recording
            for side in ("val", "test")
            for recording in Predictions.load(folder / f"predictions_{side}.npz").recording_ids
        }
    except BirdnbError:  # it was killed before it told them
        return len(recordings)
    splits, found = artifacts_dir() / "splits" / config["corpus"]["name"], []
    for path in splits.glob(f"seed{config['seed']}-*/*.csv"):
        table = read_table(path)
        train = set(table["recording_id"][table["side"] == "train"])
        left = set(table["recording_id"]) - train
        if held <= left:  # corrections drop some of them
            found.append((len(left), len({*recordings} & train)))
    # else its split is not there any more
    return min(found)[1] if found else len({*recordings} - held)


def _fold(config: dict[str, Any]) -> str:
    return "{}/{}".format(*config["fold"]) if config.get("fold") else "none, a single split"
