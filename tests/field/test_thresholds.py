"""Promises of real runs on a small corpus: found on validation, kept beside the run, measured."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from small_corpora import extracted
from small_encoder import SAMPLES, write_encoder
from small_study import settings

from birdnb.config import load_profile
from birdnb.data import open_study, reopen_study
from birdnb.evaluation.ensemble import build_ensemble
from birdnb.features.audio import read_audio
from birdnb.features.lms import log_mel
from birdnb.field.clip_sound import clip_waves, quiet_batches
from birdnb.field.listener import open_listener
from birdnb.field.promise import read_promises, write_promises
from birdnb.field.thresholds import clip_scores, find_promises, kept_promises, promises_of
from birdnb.field.windows import Wave
from birdnb.files import BirdnbError
from birdnb.registry import CLASSICAL
from birdnb.study.chapter import Chapter
from birdnb.synthetic.demo import make_demo
from birdnb.training.runs import load_run, read_json, run_folder, whole_run
from birdnb.training.train import train_run


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of three species whose runs are a network, logistic regression and both together."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("study")
        patch.setenv("BIRDNB_ARTIFACTS", str(folder / "artifacts"))
        make_demo(folder / "birds", species=3, recordings=10, progress=False, jobs=1)
        data = open_study(
            extracted(folder / "birds"), replace(load_profile("laptop")), progress=False
        )
        runs = {
            "net": train_run(data, "net", settings(epochs=4), progress=False),
            CLASSICAL: train_run(data, CLASSICAL, progress=False),
        }
        build_ensemble(runs, data.recordings["session"], run_folder(data, "both"))
        yield data


@pytest.fixture(autouse=True)
def _scratch(study, monkeypatch):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(study.cache.folder.parents[2]))


@pytest.mark.parametrize("run", ["net", CLASSICAL, "both"])
def test_promises_are_found_on_the_data_the_run_was_trained_on_and_kept_beside_it(run, study):
    folder = run_folder(study, run)
    found = promises_of(run, 0.5)
    assert read_promises(folder) == found and list(found.species) == study.labels
    assert found.clips == len(study.clips("validation"))
    assert any(promise.threshold for promise in found.species.values())
    scores = clip_scores(run, "validation", [study])
    again = find_promises(scores, study.labels, 0.5, found.weights)
    assert again.species == found.species and again.temperature == found.temperature
    text = (folder / "thresholds.json").read_text()
    (folder / "thresholds.json").write_text(text.replace('"sessions": ', '"sessions":  '))
    promises_of(run, 0.5)
    assert '"sessions":  ' in (folder / "thresholds.json").read_text()  # not found anew
    # files of earlier versions may know of no refusal: found again
    write_promises(folder, replace(found, refusal=None))
    assert promises_of(run, 0.5).refusal == found.refusal is not None
    assert promises_of(run, 0.6).precision == 0.6 == read_promises(folder).precision


def test_clips_are_scored_as_the_run_scored_them(study):
    """Averaged over the clips of a recording they are the predictions in the run's folder."""
    scores, val = clip_scores("net", "validation", [study]), load_run(run_folder(study, "net")).val
    owner = study.clips("validation").recording.numpy()
    mean = np.stack([scores.probabilities[owner == i].mean(axis=0) for i in range(len(val))])
    np.testing.assert_allclose(mean, val.probabilities, atol=1e-5)
    assert set(scores.session) == set(study.sessions(val.recording_ids))


def test_encoders_hear_the_middle_of_clips(study, tmp_path):
    """The same as cut from the whole recording, resampled and high-passed; zeros around it."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    path = write_encoder(tmp_path / "small.onnx", yaml="sample_rate: 8000\n", loudness=True)
    data = replace(study, profile=replace(study.profile, encoders=(f"onnx:{path}",)))
    train_run(data, "frozen_small", progress=False)
    listener, clips = open_listener("frozen_small"), study.clips("validation")
    (wave,) = listener.waves
    rows = np.arange(1, len(clips))  # a batch may begin within a recording
    found = clip_waves(study, clips.recording.numpy(), clips.recording_ids, rows, listener)[wave]
    seen: dict[str, int] = {}
    for row, owner in enumerate(clips.recording.tolist()):
        name = clips.recording_ids[owner]
        recording = study.recordings.loc[name]
        start = float(recording["starts"].split(";")[seen.get(name, 0)])
        seen[name] = seen.get(name, 0) + 1
        whole = read_audio(study.corpus.root / recording["path"], 8000, wave.high_pass_hz)
        first = round((start + study.profile.audio.clip_seconds / 2) * 8000) - SAMPLES // 2
        expected = np.pad(whole, SAMPLES)[first + SAMPLES : first + 2 * SAMPLES]
        if row:
            np.testing.assert_allclose(found[row - 1], expected, atol=1e-4)
    assert max(seen.values()) > 1 and np.abs(found).max() > 0.01
    promises = promises_of("frozen_small", 0.5, [study])
    alarms = pd.DataFrame(promises.alarms).set_index(["side", "others"])
    quiet = [name for name in study.side("test") if study.cache.noise(name) is not None]
    assert promises.refusal and set(alarms.loc[("test", "quiet"), "clips"]) == {len(quiet)}
    assert clip_scores("frozen_small", "test", [study]).probabilities.sum(axis=1) == pytest.approx(
        1
    )


def test_encoders_hear_the_quiet_that_spectrograms_are_kept_of(study, tmp_path):
    """To and fro, as often as it takes; its spectrogram is that of the cache, but at the turns."""
    listener = open_listener("net")
    audio = study.profile.audio
    wave = Wave(audio.sample_rate, audio.clip_samples, audio.high_pass_hz)
    names = study.side("validation")
    (batch, *_) = quiet_batches(study, names, replace(listener, waves=(wave,)))
    second = audio.sample_rate
    for lms, sound in zip(batch.lms, batch.waves[wave], strict=True):
        assert np.array_equal(sound[:second], sound[second : 2 * second][::-1])
        inside = slice(3, second // audio.hop_length - 6)
        np.testing.assert_allclose(log_mel(sound, audio)[:, inside], lms[:, inside], atol=0.2)
    assert len(batch.lms) == sum(study.cache.noise(name) is not None for name in names) > 1


def test_the_test_side_has_no_say_in_thresholds(study, monkeypatch):
    before = promises_of("net", 0.55)
    blind = replace(study, table=study.table.assign(
        side=study.table["side"].mask(study.table["side"] == "test", "nobody")))  # fmt: skip
    scores = clip_scores("net", "validation", [blind])
    assert find_promises(scores, study.labels, 0.55, before.weights).species == before.species


def test_kept_promises_are_counted_by_hand(study):
    promises, scores = promises_of("net", 0.5), clip_scores("net", "test", [study])
    table = kept_promises(promises, scores).set_index("species")
    calibrated = scores.scaled(promises.temperature)
    for number, label in enumerate(study.labels):
        threshold = promises.of(label).threshold
        if threshold is None:
            assert label not in table.index
            continue
        called = calibrated[:, number] >= threshold
        assert table.loc[label, "clips"] == called.sum()
        shares = [
            (scores.target[called & (scores.session == one)] == number).mean()
            for one in set(scores.session[called])
        ]
        if shares:
            assert table.loc[label, "precision"] == pytest.approx(np.mean(shares))
    assert table.loc["all", "clips"] == table["clips"].drop("all").sum()


def test_a_run_trained_anew_gets_thresholds_of_its_own(study):
    folder = run_folder(study, "anew")
    train_run(study, "anew", settings(epochs=1), progress=False)
    first = promises_of("anew", 0.5)
    train_run(study, "anew", settings(epochs=2), progress=False)
    assert not (folder / "thresholds.json").exists()  # it went to replaced/ with its run
    assert promises_of("anew", 0.5).weights != first.weights


def test_folds_promise_from_all_their_validation_sides(study):
    parts = [
        open_study(study.corpus.folder, study.profile, fold=(k, 2), progress=False) for k in (1, 2)
    ]
    for part in parts:
        train_run(part, "folded", settings(epochs=1), progress=False)
    found = promises_of("folded", 0.5)
    assert found.clips == sum(len(part.clips("validation")) for part in parts)
    assert read_promises(whole_run(parts[0], "folded")) == found
    with pytest.raises(BirdnbError, match="has 2 parts, the study 1"):
        clip_scores("folded", "validation", [study])


def test_one_split_and_folds_of_a_run_promise_apart(study):
    """Each study asks the parts that it trained, whatever lies beside them, and keeps its own."""
    found = {}
    for folds in (0, 2, 3):
        chapter = Chapter("06", str(study.corpus.folder), study.profile, study.seed, folds)
        for data in chapter.datasets:
            train_run(data, "several", settings(epochs=1), progress=False)
        found[folds] = (promises := chapter.promises("several", 0.5))
        asked = {
            side: sum(len(data.clips(side)) for data in chapter.datasets)
            for side in ("validation", "test")
        }
        assert promises.clips == asked["validation"]
        scores = clip_scores(whole_run(chapter.data, "several"), "test", chapter.datasets)
        assert len(scores.target) == asked["test"]
        pd.testing.assert_frame_equal(
            chapter.kept("several", promises), kept_promises(promises, scores)
        )
    folder = run_folder(study, "several")
    assert promises_of("several", 0.5, [study]) == found[0] == read_promises(folder)
    for folds in (2, 3):
        assert read_promises(folder / f"folds-of-{folds}") == found[folds]


def test_what_cannot_be_promised_or_opened(study, tmp_path):
    with pytest.raises(BirdnbError, match=r"precision is 1\.0: give a number between 0 and 1"):
        promises_of("net", 1.0)
    config = read_json(run_folder(study, "net") / "config.json")
    moved = config | {"corpus": config["corpus"] | {"folder": str(tmp_path / "gone")}}
    with pytest.raises(BirdnbError, match=r"net was trained on are not at .*gone: put them there"):
        reopen_study(moved)
    with pytest.raises(BirdnbError, match="are others than those that net was trained on"):
        reopen_study(config | {"seed": config["seed"] + 1}, progress=False)
    older = json.loads(json.dumps(config))
    del older["corpus"]["folder"]  # runs made before it was written down
    with pytest.raises(
        BirdnbError, match="net was made before runs wrote down where their recordings are"
    ):
        reopen_study(older)
    folder = run_folder(study, "net")
    copy = tmp_path / "copy" / "net"
    shutil.copytree(folder, copy)
    (copy / "thresholds.json").unlink(missing_ok=True)
    assert promises_of(copy, 0.5) == promises_of("net", 0.5)
