"""Runs of frozen encoders on a small corpus, as ``train_run`` makes them of any run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from small_corpora import extracted
from small_encoder import RATE, SAMPLES, write_encoder

from birdnb.cards import Card
from birdnb.config import load_profile
from birdnb.data import open_study
from birdnb.features.audio import read_audio
from birdnb.files import BirdnbError
from birdnb.models.embeddings import build_embeddings
from birdnb.models.encoders import Encoded, Encoder
from birdnb.models.frozen import STRENGTHS
from birdnb.registry import ENCODERS
from birdnb.synthetic.demo import make_demo
from birdnb.training.train import settings_of_run, train_run
from birdnb.training.yardstick import finished_encoders, load_frozen, settings_of_encoder

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
KILLED = """
import sys
from birdnb.config import load_profile
from birdnb.data import open_study
from birdnb.models.embeddings import build_embeddings
if __name__ == "__main__":
    data = open_study(sys.argv[1], load_profile("laptop"), progress=False)
    print("ready", flush=True)
    made = build_embeddings(sys.argv[2], data.corpus, data.cache, data.profile, 1, progress=False)
    print(made.folder)
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A demo of three species, and an encoder that knows two of them by other names."""
    folder = tmp_path_factory.mktemp("yardstick")
    patch = pytest.MonkeyPatch()
    patch.setenv("BIRDNB_ARTIFACTS", str(folder / "artifacts"))
    patch.setenv("TQDM_DISABLE", "1")
    make_demo(folder / "birds", species=3, recordings=8)
    data = open_study(extracted(folder / "birds"), "laptop", progress=False)
    names = [data.labels[0].upper().replace(" ", "_"), "Corvus corax", "Parus major"]
    lines = [f"{names[1]}_Raven", f"Nobody_{names[0]}", f"{data.labels[2]}_x", names[2]]
    (folder / "labels.txt").write_text("\n".join(lines))
    about = f"sample_rate: {RATE}\nlabels: labels.txt\nanswer: logits\nlicence: CC0\n"
    path = write_encoder(folder / "Small one.onnx", yaml=about, loudness=True)
    profile = replace(load_profile("laptop"), encoders=(f"onnx:{path}",))
    yield folder / "birds", profile
    patch.undo()


@pytest.fixture(scope="module")
def data(corpus):
    return open_study(*corpus, progress=False)


@pytest.fixture(scope="module")
def embeddings(corpus, data):
    (name,) = corpus[1].encoders
    return build_embeddings(name, data.corpus, data.cache, data.profile, jobs=2, progress=False)


def test_embeddings_are_those_of_the_whole_recording(data, embeddings):
    for recording in data.side("test"):
        path = data.corpus.root / data.recordings.loc[recording, "path"]
        x = np.abs(read_audio(path, RATE, high_pass_hz=0))
        found = embeddings.load(recording)
        whole = len(x) // SAMPLES
        assert whole <= len(found.embeddings) == len(found.activity) <= whole + 1
        quarters = x[: whole * SAMPLES].reshape(whole, 4, -1).mean(axis=2)
        np.testing.assert_allclose(found.embeddings[:whole], quarters, atol=1e-5)
        logits = found.embeddings * [1, 2, 3, 4]
        np.testing.assert_allclose(found.answer, logits.max(axis=0), rtol=1e-4)
        assert found.active.any() and found.activity[found.active].min() >= 0


def test_active_windows_are_where_the_bird_sings(data, embeddings):
    """The cache's best window of each recording lies in windows that count as active."""
    for recording in data.side("train"):
        start = float(str(data.recordings.loc[recording, "starts"]).split(";")[0])
        active = embeddings.load(recording).active
        window = slice(int(start // 2), int((start + 4) // 2) + 1)
        assert active[window].any()


def test_a_frozen_run_is_scikit_learns_on_what_validation_chose(data, embeddings):
    run = train_run(data, "frozen_small_one", progress=False)
    chosen = run.metrics["chosen"]
    assert len(run.history) == 4 * len(STRENGTHS)
    best = run.history.loc[run.history["val_loss"].idxmin()]
    assert (best["windows"], best["pooling"], best["C"]) == tuple(chosen.values())

    def rows(side):
        found = []
        for recording in data.side(side):
            one = embeddings.load(recording)
            x = one.embeddings[one.active] if chosen["windows"] == "active" else one.embeddings
            parts = [x.mean(axis=0), x.max(axis=0)]
            found.append(np.concatenate(parts[: 1 + ("maximum" in chosen["pooling"])]))
        return np.stack(found)

    reference = make_pipeline(
        StandardScaler(), LogisticRegression(C=chosen["C"], class_weight="balanced", max_iter=2000)
    ).fit(rows("train"), data.targets(data.side("train")))
    for side, found in (("validation", run.val), ("test", run.test)):
        assert found.recording_ids == data.side(side)
        np.testing.assert_allclose(
            found.probabilities, reference.predict_proba(rows(side)), atol=1e-3
        )
    assert run.config["card"]["title"] == "Small one" and run.metrics["pretrained"] == "Small one"
    assert {"accuracy", "accuracy_ci95", "f1_macro"} <= set(run.metrics["test"])
    took = [np.load(embeddings.folder / f"{r}.npz")["seconds"] for r in data.table["recording_id"]]
    assert min(took) > 0 and run.metrics["listening_seconds"] == pytest.approx(sum(took))
    model, choice = load_frozen(run.folder)
    assert vars(choice) == chosen and model.coefficients.shape[0] == len(data.labels)


def test_test_recordings_choose_nothing(data, embeddings):
    """With other targets on the test side the same model comes out."""
    first = train_run(data, "frozen_small_one", progress=False)
    weights = (first.folder / "frozen.safetensors").read_bytes()
    table = data.table.copy()
    test = table["side"] == "test"
    table.loc[test, "species"] = np.roll(table.loc[test, "species"], 3)
    other = replace(data, table=table)
    settings = settings_of_run(data.profile, "frozen_small_one")
    again = train_run(other, "frozen_others", settings, progress=False)
    assert (again.folder / "frozen.safetensors").read_bytes() == weights
    assert again.metrics["chosen"] == first.metrics["chosen"]


def test_its_own_answer_is_among_the_species_it_knows(data, embeddings):
    run = train_run(data, "own_answer_small_one", progress=False)
    assert run.metrics["species_unknown"] == [data.labels[1]]
    for recording, found in zip(run.test.recording_ids, run.test.probabilities, strict=True):
        logits = embeddings.load(recording).answer[[1, 2]]  # by common and by scientific name
        expected = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(found, [expected[0], 0, expected[1]], rtol=1e-4)
    assert len(run.history) == 0 and run.metrics["parameters"] == 0
    assert run.metrics["listening_seconds"] > 0


def test_corrected_labels_are_another_answer_and_a_card_is_told_as_it_is_now(data, corpus):
    yaml = corpus[0].parent / "Small one.yaml"
    labels, about = corpus[0].parent / "labels.txt", yaml.read_text()
    frozen, answer = (
        train_run(data, run, progress=False) for run in ("frozen_small_one", "own_answer_small_one")
    )
    written = (frozen.folder / "metrics.json").stat().st_mtime_ns
    before = labels.read_text()
    try:
        first, second, third, fourth = before.split("\n")
        labels.write_text("\n".join([first, third, second, fourth]))
        yaml.write_text(about + "heard: recordings\nheard_until_date: '2024-05-01'\n")
        again, other = (train_run(data, one.name, progress=False) for one in (frozen, answer))
        assert (frozen.folder / "metrics.json").stat().st_mtime_ns == written
        assert again.config["card"]["heard_until_date"] == "2024-05-01"
        assert again.config | {"card": 0} == frozen.config | {"card": 0}
        np.testing.assert_allclose(
            other.test.probabilities, answer.test.probabilities[:, [2, 1, 0]], rtol=1e-4
        )
    finally:
        labels.write_text(before)
        yaml.write_text(about)
    assert train_run(data, frozen.name, progress=False).config == frozen.config


def test_an_encoder_that_knows_no_species_has_no_answer(data, corpus):
    (name,) = corpus[1].encoders
    kinds = [settings.model["name"] for settings in settings_of_encoder(data, name)]
    assert kinds == ["frozen_small_one", "own_answer_small_one"]
    foreign = replace(data, labels=[f"Avis {i}" for i in range(3)])
    foreign.table = data.table.assign(common_name="")
    kinds = [settings.model["name"] for settings in settings_of_encoder(foreign, name)]
    assert kinds == ["frozen_small_one"]


def test_what_is_finished_is_loaded_and_found_on_its_own_split_only(data, corpus, capsys):
    first = train_run(data, "frozen_small_one", progress=False)
    written = (first.folder / "metrics.json").stat().st_mtime_ns
    train_run(data, "frozen_small_one", progress=False)
    assert (first.folder / "metrics.json").stat().st_mtime_ns == written
    assert "frozen_small_one" in finished_encoders([data])
    other = open_study(*corpus, seed=8, progress=False)
    assert finished_encoders([other]) == []
    assert "frozen_small_one" in capsys.readouterr().out


def test_a_run_of_an_unknown_encoder_is_refused(data):
    with pytest.raises(BirdnbError, match="no encoder makes the run 'frozen_perch'"):
        train_run(data, "frozen_perch", progress=False)


def test_embeddings_that_are_there_are_not_made_again(data, corpus, embeddings):
    before = {path: path.stat().st_mtime_ns for path in embeddings.folder.glob("*.npz")}
    assert len(before) == len(data.cache.index)
    damaged, *_ = sorted(before)
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-200])
    with pytest.raises(BirdnbError, match="is missing or damaged"):
        embeddings.load(damaged.stem)
    (name,) = corpus[1].encoders
    build_embeddings(name, data.corpus, data.cache, data.profile, jobs=1, progress=False)
    after = {path: path.stat().st_mtime_ns for path in embeddings.folder.glob("*.npz")}
    assert {path for path in before if before[path] != after[path]} == {damaged}
    assert np.load(damaged)["sha256"] == data.recordings.loc[damaged.stem, "sha256"]
    card = json.loads((embeddings.folder / "card.json").read_text())
    assert card["licence"] == "CC0" and card["encoder"] == name


def test_an_encoder_that_only_this_process_knows_works_in_this_process(data, monkeypatch):
    class Mine(Encoder):
        card, sample_rate, window_seconds, key = Card(title="Mine"), RATE, 2.0, "first"

        def encode(self, windows):
            return Encoded(np.abs(windows).reshape(len(windows), 4, -1).mean(axis=2))

    monkeypatch.setitem(ENCODERS, "mine", lambda given, profile: Mine())
    build_embeddings("mine", data.corpus, data.cache, data.profile, jobs=2, progress=False)
    assert train_run(data, "frozen_mine", progress=False).metrics["pretrained"] == "Mine"


def test_killed_half_way_it_goes_on_and_ends_the_same(corpus, data, embeddings, tmp_path):
    root, profile = corpus
    script = tmp_path / "embed.py"
    script.write_text(KILLED)
    env = os.environ | {"BIRDNB_ARTIFACTS": str(tmp_path / "artifacts")}
    command = [sys.executable, str(script), str(root), *profile.encoders]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    made = tmp_path / "artifacts" / "embeddings"
    while process.poll() is None and len(list(made.rglob("*.npz"))) < 3:
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert len(list(made.rglob("*.npz"))) >= 3
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    folder = embeddings.folder.__class__(done.stdout.split()[-1])
    assert folder.name == embeddings.folder.name
    for recording in data.cache.index["recording_id"]:
        one, other = np.load(folder / f"{recording}.npz"), embeddings.load(recording)
        np.testing.assert_array_equal(one["embeddings"], other.embeddings)
