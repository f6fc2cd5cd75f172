"""Frozen encoders: windows, ONNX files that the tests make, our own networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_encoder import RATE, SAMPLES, write_encoder
from sound_files import recording, write

from birdnb.cards import card_named
from birdnb.config import load_profile
from birdnb.features.audio import hear
from birdnb.features.lms import high_pass, log_mel, normalise
from birdnb.files import BirdnbError
from birdnb.models import build_model
from birdnb.models.embeddings import embed_recording
from birdnb.models.encoder_file import Description, read_labels
from birdnb.models.encoders import Encoded, Encoder, Label, find_labels, open_encoder
from birdnb.registry import check_encoders, encoder_id, encoder_runs

LAPTOP = load_profile("laptop")


def sound(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


class Level(Encoder):
    """The loudest sample of a window."""

    sample_rate, window_seconds, key = 10, 3.0, "level"

    def encode(self, windows: np.ndarray) -> Encoded:
        return Encoded(np.abs(windows).max(axis=1, keepdims=True))


@given(st.integers(0, 400))
def test_windows_cover_the_sound_in_order_and_are_filled_with_zeros(samples):
    x = np.arange(1, samples + 1, dtype=np.float32)
    windows = Level().windows(x)
    assert windows.shape[1] == 30 and len(windows) == Level().count(samples) >= 1
    flat = windows.reshape(-1)
    heard = min(len(flat), samples)
    np.testing.assert_array_equal(flat[:heard], x[:heard])
    assert not flat[heard:].any()
    # less than a third of a window is lost, and no window is mostly empty unless it is the only one
    assert samples - heard < 10
    assert len(windows) == 1 or len(flat) - samples <= 20
    assert Level().embed(x).shape == (len(windows), 1)


@pytest.mark.parametrize("seconds", [4.0, 10.0, 18.0, 75.0])
def test_the_first_seconds_of_a_recording_are_heard_as_if_it_ended_there(seconds, tmp_path):
    encoder = Level()
    encoder.sample_rate = 22050
    whole = recording(seconds, 2, 1) + 0.5 * recording(seconds, max(0, seconds - 3), 2)
    write(tmp_path / "whole.wav", whole)
    write(tmp_path / "short.wav", whole[: 10 * 22050])
    heard = hear(tmp_path / "whole.wav", lambda sound: embed_recording(sound, encoder, 10.0))
    short = hear(tmp_path / "short.wav", lambda sound: embed_recording(sound, encoder))
    np.testing.assert_array_equal(heard.embeddings, short.embeddings)
    expected = {4.0: 2, 10.0: 4, 18.0: 4, 75.0: 4}[
        seconds
    ]  # windows of 3 s, the last one third full
    assert len(heard.activity) == len(short.activity) == expected
    later = hear(tmp_path / "whole.wav", lambda sound: embed_recording(sound, encoder))
    assert len(later.embeddings) == {4.0: 2, 10.0: 4, 18.0: 6, 75.0: 25}[seconds]


def test_labels_are_found_by_scientific_and_by_common_name():
    labels = [Label("Turdus merula", "Eurasian Blackbird"), Label("Parus major", "Great Tit"),
              Label("Great Tit", "")]  # fmt: skip
    names = [
        ["turdus_merula"],
        ["great-tit"],
        ["XX1", "Eurasian blackbird"],
        ["Corvus corax"],
        [""],
    ]
    assert find_labels(labels, names).tolist() == [0, 2, 0, -1, -1]


def test_runs_are_called_after_their_encoder():
    assert encoder_runs(["birdnet", "models/Perch v2.onnx"]) == [
        "frozen_birdnet", "own_answer_birdnet", "frozen_perch_v2", "own_answer_perch_v2",
    ]  # fmt: skip
    assert encoder_id("onnx:models/Perch v2.onnx") == "perch_v2"
    assert encoder_id("ast:MIT/ast-base") == "ast_ast-base"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("birdnet", "write a list"),
        ([1], "write a list"),
        (["birdnest"], "no encoder is called 'birdnest'"),
        (["a/x.onnx", "b/x.onnx"], "both be called x"),
    ],
)
def test_a_list_of_encoders_is_checked(names, said):
    with pytest.raises(BirdnbError, match=said):
        check_encoders(names)


@pytest.fixture
def model(tmp_path):
    """A function that writes an ONNX model into a folder, as ``write_encoder`` does."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    return lambda name="small.onnx", **how: write_encoder(tmp_path / name, **how)


def test_an_onnx_file_gives_what_the_model_computes(model):
    x = sound(int(2.5 * SAMPLES))
    encoder = open_encoder(f"onnx:{model()}", LAPTOP)
    windows = np.concatenate([x, np.zeros(SAMPLES // 2, np.float32)]).reshape(3, 4, -1)
    np.testing.assert_allclose(encoder.embed(x), windows.mean(axis=2), atol=1e-6)
    assert (encoder.sample_rate, encoder.window_seconds, encoder.labels) == (RATE, 2.0, [])
    assert encoder.encode(encoder.windows(x)).answers is None
    assert encoder.card.title == "small" and encoder.card.heard == "unknown"


@pytest.mark.parametrize("shape", [(1, 1, SAMPLES), (SAMPLES,), (1, None)])
def test_other_shapes_of_the_input(model, shape):
    yaml = "sample_rate: 1000\nwindow_seconds: 2.0\n"
    x = sound(SAMPLES)
    encoder = open_encoder(str(model(shape=shape, yaml=yaml)), LAPTOP)
    np.testing.assert_allclose(encoder.embed(x), [x.reshape(4, -1).mean(axis=1)], atol=1e-6)


def test_everything_may_stand_in_the_file_and_the_yaml_comes_first(model, tmp_path):
    (tmp_path / "names.csv").write_text("sci_name;com_name\nA b;One\nC d;Two\nE f;\nG h;Four\n")
    inside = {"sample_rate": "1000", "labels": "names.csv", "answer": "logits", "title": "Old",
              "heard_until_date": "2025-04-30", "heard": "recordings", "odd": "x"}  # fmt: skip
    encoder = open_encoder(str(model(about=inside, yaml="title: New\n")), LAPTOP)
    assert encoder.card.title == "New" and encoder.card.heard_until_date == "2025-04-30"
    assert list(encoder.labels) == [("A b", "One"), ("C d", "Two"), ("E f", ""), ("G h", "Four")]
    x = sound(2 * SAMPLES)
    found = encoder.encode(encoder.windows(x))
    np.testing.assert_allclose(found.answers, found.embeddings * [1, 2, 3, 4], rtol=1e-5)


@pytest.mark.parametrize("mark", [",", ";", "\t", "|", ""])
def test_names_in_a_table_are_never_cut_at_letters(mark, tmp_path):
    names = ["Parus major", "Turdus merula", "Erithacus rubecula", "Corvus corax", "Tit, Great"]
    names = names if mark else names[:4]
    commons = [f"{i}. bird of all, or none" for i in range(5)] if mark else [""] * 4
    head = f"scientific_name{mark}common_name" if mark else "species"
    rows = [f'"{a}"{mark}"{b}"' if mark else a for a, b in zip(names, commons, strict=True)]
    (tmp_path / "names.csv").write_text("\n".join([head, *rows]))
    found = read_labels(Description(labels="names.csv"), tmp_path / "small.onnx")
    assert found == list(zip(names, commons, strict=True))


@pytest.mark.parametrize(("name", "text"), [("l.csv", ""), ("l.csv", "species\n"), ("l.txt", "\n")])
def test_a_file_without_labels_is_refused(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(BirdnbError, match=f"{name} (holds no|cannot be read as) labels"):
        read_labels(Description(labels=name), tmp_path / "small.onnx")


def test_a_card_that_comes_with_birdnb_can_be_named(model):
    yaml = "sample_rate: 1000\ncard: perch_2\nversion: small\n"
    card = open_encoder(f"onnx:{model(yaml=yaml)}", LAPTOP).card
    assert card == replace(card_named("perch_2"), version="small")
    path = model(yaml="sample_rate: 1000\ncard: perch\n")
    with pytest.raises(BirdnbError, match="no card is called 'perch': choose one of birdnet"):
        open_encoder(f"onnx:{path}", LAPTOP)


def test_the_key_changes_with_the_file_and_with_how_it_is_used(model):
    first = open_encoder(str(model()), LAPTOP).key
    assert open_encoder(str(model(name="other.onnx")), LAPTOP).key == first  # the same bytes
    assert open_encoder(str(model(yaml="sample_rate: 2000\n")), LAPTOP).key != first
    assert open_encoder(str(model(about={"a": "b"})), LAPTOP).key != first


def test_weights_outside_the_file_count_too(model):
    """As exporters write them: the file itself stays the same when other weights come."""
    import onnx
    from onnx.external_data_helper import set_external_data

    path = model()
    whole, plain = onnx.load(path), open_encoder(str(path), LAPTOP)
    (factors,) = (part for part in whole.graph.initializer if part.name == "factors")
    found = []
    for first in (1, 2):
        numbers = np.arange(first, first + 4, dtype=np.float32)
        factors.CopyFrom(onnx.numpy_helper.from_array(numbers, "factors"))
        set_external_data(factors, location="its weights.bin", offset=0)
        path.with_name("its weights.bin").unlink(missing_ok=True)
        onnx.save(whole, path)
        found.append((path.read_bytes(), open_encoder(str(path), LAPTOP)))
    (bytes_of_one, one), (bytes_of_other, other) = found
    assert bytes_of_one == bytes_of_other
    assert len({plain.key, one.key, other.key}) == 3
    assert len({plain.card.version, one.card.version, other.card.version}) == 3


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("", "does not say its sample_rate: write sample_rate: 32000, say into .*small.yaml"),
        ("sample_rate: 1000\nwindow_seconds: 5.0\n", "takes 2000 samples, 2 s at 1000 Hz"),
        ("sample_rate: fast\n", "sample_rate is 'fast'"),
        ("sample_rat: 1000\n", "did you mean sample_rate"),
        ("sample_rate: 1000\nembedding: pooled\n", "has no embedding 'pooled'.*logits, embedding"),
        ("sample_rate: 1000\ninput: wave\n", "has no input 'wave'"),
        ("sample_rate: 1000\nlabels: gone.txt\n", "gone.txt cannot be read as labels"),
        ("sample_rate: 1000\nlabels: small.yaml\n", "names labels: add answer"),
        ("sample_rate: 1000\nlabels: small.yaml\nanswer: logits\n", "4 classes, .* 3 labels"),
        ("[1, 2]\n", "write settings there"),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_one_line(model, yaml, said):
    with pytest.raises(BirdnbError, match=said) as caught:
        open_encoder(str(model(yaml=yaml)), LAPTOP)
    assert "\n" not in str(caught.value)


def test_a_model_that_takes_no_sound_is_refused(model):
    with pytest.raises(BirdnbError, match="is no sound"):
        open_encoder(str(model(shape=(1, 3, 20, 100))), LAPTOP)


def test_damaged_and_missing_files_are_named(model, tmp_path):
    path = model()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BirdnbError, match=r"small.onnx cannot be read as an ONNX model"):
        open_encoder(str(path), LAPTOP)
    with pytest.raises(BirdnbError, match=r"no model at .*gone.onnx"):
        open_encoder(f"onnx:{tmp_path}/gone.onnx", LAPTOP)
    with pytest.raises(BirdnbError, match="names no file"):
        open_encoder("onnx", LAPTOP)


@pytest.mark.parametrize("given", [".", "..", "/", "a" * 300 + ".onnx", "\0", "~nobody/x.tflite"])
@pytest.mark.parametrize("kind", ["onnx", "birdnet"])
def test_what_can_be_no_file_is_named(kind, given):
    with pytest.raises(BirdnbError, match="no model at"):
        open_encoder(f"{kind}:{given}", LAPTOP)
    assert "/" not in encoder_id(f"{kind}:{given}") and encoder_id(f"{kind}:{given}")[0] != "."


def test_a_recording_shorter_than_a_window_is_filled_with_zeros(model, tmp_path):
    x = sound(int(0.3 * 22050))
    write(tmp_path / "short.wav", x)
    encoder = open_encoder(str(model(loudness=True)), LAPTOP)  # windows of 2 s, in quarters
    found = hear(tmp_path / "short.wav", lambda sound: embed_recording(sound, encoder))
    assert found.embeddings.shape == (1, 4) and found.active.tolist() == [True]
    assert found.embeddings[0, 0] > 0.005 and not found.embeddings[0, 1:].any()
    assert encoder.card.padding == "zeros"


@pytest.mark.parametrize("name", ["ast", "efficientnet_b2"])
def test_our_own_networks_give_what_embed_gives_of_a_clip(name):
    encoder, audio = open_encoder(name, LAPTOP), LAPTOP.audio
    x = high_pass(sound(2 * audio.clip_samples), audio.sample_rate, audio.high_pass_hz)
    network = build_model(name, 1, audio.n_frames, "synthetic", size="tiny").eval()
    clips = [log_mel(part, audio) for part in x.reshape(2, -1)]
    with torch.no_grad():
        expected = network.embed(normalise(torch.from_numpy(np.stack(clips)), "noise_floor"))
    np.testing.assert_allclose(encoder.embed(x), expected.numpy(), rtol=1e-4, atol=1e-5)
    assert encoder.high_pass_hz == 500 and encoder.card.heard == "invented song"
    assert open_encoder(name, LAPTOP).key == encoder.key  # the new head does not count
    assert open_encoder(f"{name}:synthetic", load_profile("gpu")).key == encoder.key


def test_a_network_from_scratch_is_no_encoder(tmp_path):
    profile = tmp_path / "scratch.yaml"
    profile.write_text("runs: {a: {model: {name: ast, pretrained: false}}}\n")
    with pytest.raises(BirdnbError, match="ast has no weights"):
        open_encoder("ast", load_profile(profile))
    assert open_encoder("ast:synthetic", load_profile(profile)).card.heard == "invented song"
