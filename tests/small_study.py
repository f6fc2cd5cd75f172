"""A study of random spectrograms for the tests of training.

Run as a script it trains one run, to be killed or shared out.

python tests/small_study.py EPOCHS        # with BIRDNB_ARTIFACTS set; prints "ready" when training
starts
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from birdnb.config import (
    AudioSettings,
    AugmentSettings,
    ModelSettings,
    Profile,
    RunSettings,
    SplitSettings,
    TrainSettings,
    key_of,
)
from birdnb.corpora import Corpus, corpus_name
from birdnb.data import StudyData
from birdnb.features.cache import VERSION
from birdnb.features.ledger import Record, write_ledger
from birdnb.features.store import paths_of, stamped, write_lms
from birdnb.files import artifacts_dir, sha256_of, write_table, write_text

AUDIO = AudioSettings(clip_seconds=3.0)  # T = 130


class SmallCache:
    """Stands in for LmsCache: two clips a recording.

    A species' clips are louder in bands of their own.
    """

    def __init__(self, table: pd.DataFrame, labels: list[str], seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.folder, self.audio = Path("key-of-random-clips"), AUDIO
        self.clips = {}
        for recording, species in zip(table["recording_id"], table["species"], strict=True):
            lms = rng.normal(-60, 8, (2, 128, AUDIO.n_frames)).astype(np.float16)
            band = 10 + 25 * labels.index(species)
            lms[:, band : band + 10] += rng.uniform(6, 12)
            self.clips[recording] = lms
        self.index = pd.DataFrame(
            {
                "recording_id": list(self.clips),
                "segments": 2,
                "sha256": [f"{i:064x}" for i in range(len(self.clips))],
            }
        )

    def load(self, recording_id: str) -> np.ndarray:
        return self.clips[recording_id]

    def load_many(
        self, recording_ids: list[str], segments: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        parts = [self.clips[recording][:segments] for recording in recording_ids]
        return np.concatenate(parts), np.repeat(
            np.arange(len(parts)), [len(part) for part in parts]
        )

    def noise_bank(self, recording_ids: list[str]) -> np.ndarray:
        return np.stack([self.clips[recording][1] - np.float16(20) for recording in recording_ids])


def settings(**train: object) -> RunSettings:
    """A run of the MFCC network with every augmentation on.

    So all sources of randomness are at work.
    """
    values = {
        "epochs": 3,
        "batch_size": 16,
        "lr_backbone": 3e-3,
        "lr_head": 3e-3,
        "segments": 2,
    } | train
    augment = AugmentSettings(specaugment=True, mixup=True, noise=True, time_shift=True)
    return RunSettings(ModelSettings(name="mfcc"), TrainSettings(**values), augment)


def small_study(seed: int = 7, per_species: int = 13) -> StudyData:
    """39 recordings of 3 species: 21 training, 9 validation, 9 test.

    An odd number, so that two processes share unevenly.
    """
    rows = [
        (f"r{s}{i:02}", f"r{s}{i:02}.wav", f"species {s}", f"session {s}{i}")
        for s in range(3)
        for i in range(per_species)
    ]
    table = pd.DataFrame(rows, columns=["recording_id", "path", "species", "session"])
    cut = [per_species - 6, per_species - 3]
    table["side"] = [
        np.array(["train", "validation", "test"])[
            np.searchsorted(cut, i % per_species, side="right")
        ]
        for i in range(len(table))
    ]
    labels = sorted(table["species"].unique())
    corpus = Corpus("small", Path("small"), table, table.iloc[:0], "random", synthetic=True)
    profile = Profile("tiny", AUDIO, SplitSettings(), {"run": settings()})
    return StudyData(
        corpus, profile, seed, SmallCache(table, labels, 1), table, labels, pd.DataFrame()
    )


def write_study(root: Path, *audios: AudioSettings) -> Path:
    """Write the small study as a corpus whose cache is finished; return its folder.

    Every recording is a session of its own; nothing is extracted, as spectrograms are there
    already, for each of the audio settings. The place of artifacts has to be set before.
    """
    data = small_study()
    table = data.table[["recording_id", "path", "species"]].assign(
        recordist=data.table["session"], date="2024-05-01", locality="here"
    )
    write_table(root / "manifest.csv", table)
    for path in table["path"]:
        write_text(root / path, path)
    for audio in audios or (AUDIO,):
        cache = artifacts_dir() / "audio_lms_cache" / corpus_name(root) / key_of(audio, VERSION)
        write_ledger(cache / "state.jsonl", [
            _record(root, cache, audio, data.cache.clips[row.recording_id], row)
            for row in table.itertuples()
        ])  # fmt: skip
    return root


def _record(root: Path, cache: Path, audio: AudioSettings, clips: np.ndarray, row: Any) -> Record:
    """Write the spectrograms of a recording, repeated to fill a clip, and return its record."""
    lms = np.resize(clips.swapaxes(1, 2), (2, audio.n_frames, 128)).swapaxes(1, 2)  # (2, 128, T)
    paths, stat = paths_of(cache, row.recording_id), (root / row.path).stat()
    checksums = write_lms(paths[0], lms), write_lms(paths[1], lms[1] - np.float16(20))
    record = Record(
        row.recording_id, row.path, stat.st_size, stat.st_mtime_ns,
        sha256=sha256_of(root / row.path), starts=(0.0, 4.0), seconds=8.0, sample_rate=22050,
        channels=1, checksums=checksums,
    )  # fmt: skip
    return stamped(cache, audio, record)


def main() -> None:
    """Train the run.

    Several processes also write the validation predictions that they made together.
    """
    from birdnb.training.devices import leave, make_accelerator, predict_shared
    from birdnb.training.runs import load_model
    from birdnb.training.train import train_run

    torch.set_num_threads(1)
    data, accelerator = small_study(), make_accelerator()
    print("ready", flush=True)
    result = train_run(data, "run", settings(epochs=int(sys.argv[1])), accelerator=accelerator)
    model = load_model(result.folder)
    found = predict_shared(model, data.clips("validation"), settings(), accelerator)
    if accelerator.is_main_process:
        answer = {
            "processes": accelerator.num_processes,
            "ids": found.recording_ids,
            "p": found.probabilities.tolist(),
        }
        (Path(os.environ["BIRDNB_ARTIFACTS"]) / "shared.json").write_text(json.dumps(answer))
    leave(accelerator)


if __name__ == "__main__":
    main()
