"""From sound files to tensors: table, split, folds, clips, data set; training without audio."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from small_corpora import extracted
from torch.utils.data import DataLoader

from birdnb.config import AudioSettings, ModelSettings, Profile, RunSettings, SplitSettings
from birdnb.data import AudioSpectrogramDataset, open_study
from birdnb.features.lms import normalise
from birdnb.files import BirdnbError

ROOT = Path(__file__).resolve().parent.parent
AUDIO = AudioSettings(clip_seconds=3.0, segments_per_recording=2)
PROFILE = Profile("tiny", AUDIO, SplitSettings(), {"run": RunSettings(ModelSettings(name="mfcc"))})
YAML = """
audio: {clip_seconds: 3.0, segments_per_recording: 2}
runs:
  run:
    model: {name: mfcc}
    train: {epochs: 1, batch_size: 8}
    augment: {noise: true, specaugment: true}
"""


def make_corpus(root: Path, species: int = 3, each: int = 6) -> Path:
    """A folder with manifest.csv: tones of a species' own pitch between silence.

    One file is no sound.
    """
    rng, rows = np.random.default_rng(0), []
    root.mkdir()
    for s in range(species):
        for i in range(each):
            seconds = 3.2 + 9 * (i % 2)  # one clip, or two and silence
            t = np.arange(round(seconds * 22050)) / 22050
            song = np.sin(2 * np.pi * (1500 + 1200 * s) * t) * ((t % 2) < 0.4) * (t < 6)
            soundfile.write(root / f"r{s}{i}.wav", 0.3 * song + rng.normal(0, 0.003, len(t)), 22050)
            rows.append(
                (
                    f"r{s}{i}",
                    f"r{s}{i}.wav",
                    f"species {s}",
                    f"person {i}",
                    f"2024-05-{10 + s}",
                    "here",
                )
            )
    (root / "broken.wav").write_bytes(b"no sound at all")
    rows.append(("broken", "broken.wav", "species 0", "person 9", "2024-05-01", "here"))
    table = pd.DataFrame(
        rows, columns=["recording_id", "path", "species", "recordist", "date", "locality"]
    )
    table.to_csv(root / "manifest.csv", index=False)
    return root


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """(study, artifacts folder) of the small corpus; the cache is built once."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIRDNB_ARTIFACTS", str(folder / "artifacts"))
        yield (
            open_study(extracted(make_corpus(folder / "tones"), AUDIO), PROFILE, progress=False),
            folder / "artifacts",
        )


def test_the_study_has_what_the_cache_has(study):
    data, artifacts = study
    assert data.labels == ["species 0", "species 1", "species 2"] and len(data.table) == 18
    assert "broken" in set(data.cache.quarantine["recording_id"]) and "broken" not in set(
        data.table["recording_id"]
    )
    assert sorted(data.side("train") + data.side("validation") + data.side("test")) == sorted(
        data.table["recording_id"]
    )
    (path,) = (artifacts / "splits" / "tones").glob("seed7-*/split.csv")
    written = pd.read_csv(path, dtype=str)
    assert (
        dict(zip(written["recording_id"], written["side"], strict=True))
        == data.table.set_index("recording_id")["side"].to_dict()
    )
    with pytest.raises(BirdnbError, match="no side 'val': choose one of train, validation, test"):
        data.side("val")


def test_a_damaged_split_is_refused(study):
    data, artifacts = study
    open_study(data.corpus.root, PROFILE, seed=99, progress=False)
    (path,) = (artifacts / "splits" / "tones").glob("seed99-*/split.csv")
    good = path.read_text()
    for bad in (good[: len(good) // 2], good.replace(",test", ",tast"), "nothing"):
        path.write_text(bad)
        with pytest.raises(BirdnbError, match=r"split\.csv is damaged: delete it"):
            open_study(data.corpus.root, PROFILE, seed=99, progress=False)


def test_clips_are_the_cached_spectrograms_of_a_side(study):
    data, _ = study
    for side, segments in (("train", None), ("validation", None), ("train", 1)):
        clips = data.clips(side, segments)
        assert clips.lms.dtype == torch.float16 and clips.lms.shape[1:] == (128, AUDIO.n_frames)
        assert clips.recording_ids == data.side(side)
        for k, recording in enumerate(clips.recording_ids):
            mine = clips.recording == k
            np.testing.assert_array_equal(
                clips.lms[mine].numpy(), data.cache.load(recording)[:segments]
            )
            species = data.recordings.loc[recording, "species"]
            assert {data.labels[c] for c in clips.target[mine].tolist()} == {species}


def test_noise_comes_from_training_recordings_only(study):
    data, _ = study
    own = [data.cache.noise(recording) for recording in data.side("train")]
    np.testing.assert_array_equal(
        data.noise_bank().numpy(), np.stack([noise for noise in own if noise is not None])
    )
    assert 0 < len(data.noise_bank()) < len(data.table)


def test_opening_again_gives_the_same_study(study):
    data, artifacts = study
    (path,) = (artifacts / "splits" / "tones").glob("seed7-*/split.csv")
    time = path.stat().st_mtime_ns
    again = open_study(data.corpus.root, PROFILE, progress=False)
    assert path.stat().st_mtime_ns == time, "the written split is read"
    pd.testing.assert_frame_equal(again.table, data.table)
    assert again.fingerprint() == data.fingerprint()
    assert (
        open_study(data.corpus.root, PROFILE, seed=8, progress=False).fingerprint()
        != data.fingerprint()
    )


def test_folds_test_every_recording_once_and_name_the_species_too_rare_for_them(study):
    data, artifacts = study
    folds = [
        open_study(data.corpus.root, PROFILE, fold=(k, 4), progress=False) for k in (1, 2, 3, 4)
    ]
    tested = [recording for fold in folds for recording in fold.side("test")]
    assert sorted(tested) == sorted(data.table["recording_id"])
    assert len(list((artifacts / "splits" / "tones").glob("seed7-*/fold-*-of-4.csv"))) == 4
    for fold in folds:
        assert not set(fold.table.loc[fold.table["side"] == "test", "session"]) & set(
            fold.table.loc[fold.table["side"] != "test", "session"]
        )
    for wrong in ((0, 4), (5, 4)):
        with pytest.raises(BirdnbError, match=f"fold {wrong[0]}/4 does not exist"):
            open_study(data.corpus.root, PROFILE, fold=wrong)


def test_a_species_with_too_few_sessions_for_the_folds_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))
    root = make_corpus(tmp_path / "tones", each=4)
    table = pd.read_csv(root / "manifest.csv", dtype=str)
    table[(table["species"] != "species 1") | (table["recordist"] != "person 0")].to_csv(
        root / "manifest.csv", index=False
    )
    assert open_study(root, PROFILE, progress=False).labels == [
        "species 0",
        "species 1",
        "species 2",
    ]
    data = open_study(root, PROFILE, fold=(1, 4), progress=False)
    assert data.labels == ["species 0", "species 2"]
    decisions = data.species_report.set_index("species")
    assert (
        decisions.loc["species 1", "decision"] == "drop"
        and "3" in decisions.loc["species 1", "reason"]
    )


def test_the_data_set_with_and_without_a_cache(study, capsys):
    data, _ = study
    held = AudioSpectrogramDataset(
        data.table,
        data.labels,
        AUDIO,
        root=data.corpus.root,
        cache=data.cache,
        normalisation="noise_floor",
    )
    assert (
        len(held) == sum(data.cache.index["segments"].astype(int)) > len(data.table)
        and capsys.readouterr().out == ""
    )
    fresh = AudioSpectrogramDataset(data.table, data.labels, AUDIO, root=data.corpus.root)
    assert "18 recordings are computed when they are asked for" in capsys.readouterr().out
    best = AudioSpectrogramDataset(
        data.table, data.labels, AUDIO, root=data.corpus.root, cache=data.cache, segments=1
    )
    assert len(fresh) == len(best) == 18
    for i in (0, 7, 17):
        x, label = fresh[i]
        assert x.shape == (128, AUDIO.n_frames) and x.dtype == torch.float32 and type(label) is int
        assert data.labels[label] == data.table["species"][i]
        assert x.mean().abs() < 1e-4 and x.std(correction=0) == pytest.approx(1, abs=1e-3)
        # the cache is float16 decibels
        torch.testing.assert_close(x, best[i][0], atol=0.02, rtol=0)
    recording = data.table["recording_id"][1]
    want = normalise(
        torch.from_numpy(data.cache.load(recording)[1].astype(np.float32)), "noise_floor"
    )
    position = data.recordings["segments"].iloc[0] + 1
    torch.testing.assert_close(held[position][0], want)
    x, labels = next(iter(DataLoader(held, batch_size=5)))
    assert x.shape == (5, 128, AUDIO.n_frames) and labels.dtype == torch.int64
    with pytest.raises(BirdnbError, match="'species 2' is not among the 2 labels"):
        AudioSpectrogramDataset(
            data.table, data.labels[:2], AUDIO, root=data.corpus.root, cache=data.cache
        )


def test_training_from_a_finished_cache_imports_no_audio_library(study, tmp_path):
    data, artifacts = study
    (tmp_path / "tiny.yaml").write_text(YAML)
    code = (
        "import sys; from birdnb.training.__main__ import main; code = main(sys.argv[1:]); audio = "
        "{'librosa', 'soundfile', 'soxr', "
        "'torchaudio', 'audioread'}; print('AUDIO', sorted(audio & set(sys.modules))); "
        "sys.exit(code)"
    )
    command = [
        sys.executable,
        "-c",
        code,
        "--corpus",
        str(data.corpus.root),
        "--profile",
        str(tmp_path / "tiny.yaml"),
        "--run",
        "run",
    ]
    env = os.environ | {"BIRDNB_ARTIFACTS": str(artifacts), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (
        "AUDIO []" in done.stdout
        and (artifacts / "runs" / "tones-tiny" / "run" / "metrics.json").exists()
    )
