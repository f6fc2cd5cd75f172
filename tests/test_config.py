"""Settings and profiles: each is stated once, read as written, and refused with its name."""

from __future__ import annotations

import dataclasses
import pickle
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from birdnb.config import (
    PROFILES,
    AudioSettings,
    AugmentSettings,
    ModelSettings,
    RunSettings,
    SplitSettings,
    TrainSettings,
    key_of,
    load_profile,
    override,
)
from birdnb.files import BirdnbError
from birdnb.settings import literal

KINDS = [AudioSettings, SplitSettings, ModelSettings, TrainSettings, AugmentSettings]
OWN = """
base: laptop
audio: {hop_length: 256}
defaults:
  train: {epochs: 3}
runs:
  phase3_ast_full:
    augment: {mixup: false}
"""
RUNS = st.builds(
    RunSettings,
    st.builds(
        ModelSettings,
        name=st.sampled_from(["ast", "efficientnet_b2", "mfcc"]),
        pretrained=st.one_of(st.booleans(), st.sampled_from(["synthetic", "owner/name", "5"])),
        normalisation=st.sampled_from(["standard", "noise_floor"]),
    ),
    st.builds(
        TrainSettings,
        epochs=st.integers(1, 10**6),
        lr_head=st.one_of(st.floats(0, 10), st.integers(0, 10)),
        warmup=st.floats(0, 1),
        keep=st.sampled_from(["best", "last"]),
        class_balance=st.booleans(),
    ),
    st.builds(AugmentSettings, mixup=st.booleans(), snr_db_min=st.floats(-50, 50)),
)


def written(folder, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_a_profile_is_its_base_but_for_what_it_says(tmp_path) -> None:
    base, own = load_profile("laptop"), load_profile(written(tmp_path, OWN))
    assert own.name == "mine" and own.split == base.split and own.runs.keys() == base.runs.keys()
    assert (own.audio.hop_length, own.audio.clip_seconds) == (256, base.audio.clip_seconds)
    full = base.runs["phase3_ast_full"]
    assert own.runs["phase3_ast_full"] == override(full, epochs=3, mixup=False) != full


def test_empty_parts_and_a_byte_order_mark_change_nothing(tmp_path) -> None:
    text = "\ufeffbase: laptop\naudio:\nruns: {phase3_ast_full: , phase2_mfcc: {train: }}"
    assert load_profile(written(tmp_path, text)).runs == load_profile("laptop").runs


def test_a_demo_changes_the_runs_it_names(tmp_path) -> None:
    path = written(
        tmp_path, "{runs: {x: {train: {epochs: 9}}, y: }, demo: {x: {train: {epochs: 2}}}}"
    )
    assert load_profile(path).runs["x"].train.epochs == 9
    runs = load_profile(path, demo=True).runs
    assert runs["x"].train == TrainSettings(epochs=2) and runs["y"] == RunSettings()


def test_a_profile_may_name_frozen_encoders(tmp_path) -> None:
    text = "base: laptop\nencoders: [birdnet, 'onnx:models/perch_v2.onnx', ast]"
    profile = load_profile(written(tmp_path, text))
    assert profile.encoders == ("birdnet", "onnx:models/perch_v2.onnx", "ast")
    assert profile.runs == load_profile("laptop").runs and load_profile("laptop").encoders == ()


def test_weights_beside_a_profile_are_found_from_anywhere(tmp_path, monkeypatch) -> None:
    (tmp_path / "weights").mkdir()
    mine = tmp_path / "weights" / "b2.safetensors"
    mine.touch()
    text = "base: laptop\nruns: {phase3_efficientnet_full: {model: {pretrained: %s}}}"
    for told, meant in (
        ("weights/b2.safetensors", str(mine)), (str(mine), str(mine)),
        ("gone.safetensors", "gone.safetensors"), ("MIT/some-hub-id", "MIT/some-hub-id"),
        ("synthetic", "synthetic"), ("false", False),
    ):  # fmt: skip
        path = written(tmp_path, text % told)
        monkeypatch.chdir(tmp_path)
        (tmp_path / "synthetic").touch()
        assert load_profile("mine.yaml") == load_profile(path)
        run = load_profile(path).runs["phase3_efficientnet_full"]
        assert run.model.pretrained == meant and run.model.name == "efficientnet_b2"


def test_encoders_beside_a_profile_are_found_from_anywhere(tmp_path, monkeypatch) -> None:
    (tmp_path / "house" / "models").mkdir(parents=True)
    mine = tmp_path / "house" / "models" / "perch.onnx"
    mine.touch()
    (tmp_path / "elsewhere").mkdir()
    told = "[birdnet, models/perch.onnx, 'onnx:gone.onnx', ast]"
    path = written(tmp_path / "house", f"base: laptop\nencoders: {told}\n")
    for folder, name in ((tmp_path / "elsewhere", path), (tmp_path / "house", "mine.yaml")):
        monkeypatch.chdir(folder)
        assert load_profile(name).encoders == ("birdnet", f"onnx:{mine}", "onnx:gone.onnx", "ast")


def test_weights_of_the_demo_beside_a_profile_are_found_too(tmp_path) -> None:
    (tmp_path / "w.safetensors").touch()
    text = "base: laptop\ndemo: {phase3_ast_full: {model: {pretrained: w.safetensors}}}"
    run = load_profile(written(tmp_path, text), demo=True).runs["phase3_ast_full"]
    assert run.model.pretrained == str(tmp_path / "w.safetensors")


def test_every_profile_that_comes_along_can_be_read() -> None:
    names = {path.stem for path in PROFILES.glob("*.yaml")}
    assert {"laptop", "gpu", "gpu_hop220"} <= names
    for name in names:
        assert load_profile(name).runs.keys() == load_profile("laptop").runs.keys()
    assert load_profile("gpu_hop220").audio.n_frames == 401
    assert load_profile("gpu_hop220").runs == load_profile("gpu").runs


@examples(deadline=None, max_examples=40)
@given(run=RUNS)
def test_a_profile_holds_any_settings(run) -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = yaml.safe_dump({"runs": {"x": dataclasses.asdict(run)}})
        assert load_profile(written(Path(folder), text)).runs["x"] == run


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: nowhere", "base is 'nowhere': name another profile that comes with birdnb"),
        ("audio: {hop: 220}", "audio: no setting is called 'hop': .*known are sample_rate, "),
        ("audio: {hop_lenght: 220}", "audio: no setting .*'hop_lenght': did you mean hop_length?"),
        ("audio: {3: 220}", "audio: 3 is no name: put it between quotation marks"),
        ("runs: {2026: {}}", "runs: 2026 is no name"),
        ("runs: {x: {train: {ema_decay: 0.9}}}", "no setting is called 'ema_decay'"),
        (
            "runs: {x: {train: {lr_head: 1e-3}}}",
            r"lr_head is '1e-3': give a number, 0 or more \(YAML reads 1e-4 as text: write 1.0e-4",
        ),
        ("runs: {x: {train: {lr_head: high}}}", "lr_head is 'high': give a number, 0 or more$"),
        ("runs: {x: {train: {lr_head: .nan}}}", "lr_head is nan: give a number, 0 or more"),
        ("runs: {x: {train: {lr_head: .inf}}}", "lr_head is inf: give a number, 0 or more"),
        ("runs: {x: {train: {epochs: true}}}", "epochs is True: give an integer, 1 or more"),
        ("runs: {x: {train: {epochs: 3.5}}}", "epochs is 3.5: give an integer, 1 or more"),
        ("runs: {x: {train: {epochs: }}}", "epochs is None: give an integer, 1 or more"),
        ("runs: {x: {augment: {mixup: 1}}}", "mixup is 1: give true or false"),
        ("runs: {x: {model: {pretrained: 3}}}", "pretrained is 3: give true or false or text"),
        ("runs: {x: {model: {name: resnet}}}", "model: no model is called 'resnet'"),
        ("runs: {x: {model: {size: huge}}}", "model: size is 'huge': choose one of tiny, base"),
        ("runs: {x: {augment: {extra: louder}}}", "no augmentation is called 'louder'"),
        (
            "runs: {x: {train: {loss: hinge}}}",
            "loss is 'hinge': choose one of cross_entropy, focal",
        ),
        ("split: {group_by: place}", "choose one of session, recordist, recording"),
        ("split: {test_share: 1}", "test_share is 1: give more than 0, less than 1"),
        ("audio: {clip_seconds: 9}", "clip_seconds is 9: give 3 or more, at most 5"),
        ("audio: {n_mels: 64}", "n_mels is 64: give 128 mel bands"),
        ("audio: {high_pass_hz: 20000}", "high_pass_hz is 20000: give less than half of sample"),
        ("audio: {n_fft: 1023}", "n_fft is 1023: give 2 or more, a multiple of 2"),
        ("audio: {hop_length: 0}", "mine.yaml: audio: hop_length is 0: give 1 or more"),
        ("runs: {x: {train: {patience: 0}}}", "patience is 0: give 1 or more"),
        ("runs: {x: {train: {segments: 0}}}", "segments is 0: give 1 or more"),
        ("runs: {x: {train: {clip_norm: 0}}}", "clip_norm is 0: give more than 0"),
        (
            "runs: {x: {train: {label_smoothing: 1.5}}}",
            "mine.yaml: runs.x.train: label_smoothing is 1.5: give 0 or more, less than 1",
        ),
        ("runs: {x: {train: {warmup: -0.1}}}", "warmup is -0.1: give 0 or more, at most 1"),
        ("runs: {x: {augment: {mixup_alpha: 0}}}", "mixup_alpha is 0: give more than 0"),
        ("runs: {x: {augment: {noise_prob: 2}}}", "noise_prob is 2: give 0 or more, at most 1"),
        ("runs: {x: {model: {drop_path: 1}}}", "drop_path is 1: give 0 or more, less than 1"),
        ("speed: fast", "unknown section 'speed'"),
        ("{speed: fast, 5: 6}", "5 is no name"),
        ("runs: {x: {optimiser: {}}}", "runs.x: unknown part 'optimiser'"),
        ("demo: {x: {}}", "demo names a run 'x' that runs does not have"),
        ("audio: {", "is not valid YAML"),
        ("audio: {hop_length: 2026-02-30}", "is not valid YAML: day is out of range"),
        (
            "audio: {hop_length: 256, hop_length: 512}",
            "'hop_length' stands twice.*line 1, column 8",
        ),
        ("split: {}\naudio: {}\nsplit: {}", "'split' stands twice"),
        ("defaults: {train: {epochs: 0}}", "mine.yaml: defaults.train: epochs is 0"),
        ("{runs: {x: }, demo: {x: {train: {epochs: 0}}}}", "mine.yaml: demo.x.train: epochs is 0"),
        (
            "{defaults: {train: {epochs: 3}}, runs: {x: {train: {epochs: }}}}",
            "runs.x.train: epochs is None: give an integer",
        ),
        ("audio: 5", "audio is 5: write settings there"),
        ("runs: [a, b]", "runs is .*: write settings there"),
        ("runs: {x: {train: 5}}", "runs.x.train is 5: write settings there"),
        ("just words", "the profile is 'just words'"),
        ("encoders: birdnet", "encoders is 'birdnet': write a list of names"),
        ("encoders: [birdnest]", "no encoder is called 'birdnest'"),
        ("encoders: [ast, ast]", "two encoders would both be called ast"),
    ],
)
def test_what_a_profile_cannot_mean_is_an_error_that_names_it(text, message, tmp_path) -> None:
    with pytest.raises(BirdnbError, match=message) as caught:
        load_profile(written(tmp_path, text))
    assert "mine.yaml" in str(caught.value)


def test_a_profile_that_is_not_there() -> None:
    message = "no profile 'lapptop': choose one of cbi, gpu, gpu_hop220, laptop"
    with pytest.raises(BirdnbError, match=message):
        load_profile("lapptop")


@pytest.mark.parametrize("kind", KINDS)
def test_settings_are_frozen_hashable_and_checked_however_they_are_made(kind) -> None:
    settings = kind()
    assert {settings: 1}[kind()] == 1 and pickle.loads(pickle.dumps(settings)) == settings
    name = dataclasses.fields(kind)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings, name, 1)
    for make in (kind, lambda **values: dataclasses.replace(settings, **values)):
        with pytest.raises(BirdnbError, match=f"^{name} is \\[\\]: give"):
            make(**{name: []})
    with pytest.raises(BirdnbError, match="no setting is called 'colour'"):
        kind(colour="red")


@examples(deadline=None, max_examples=30)
@given(run=RUNS, epochs=st.integers(1, 99), size=st.sampled_from(["tiny", "base"]))
def test_override_changes_what_is_named_and_nothing_else(run, epochs, size) -> None:
    changed = override(run, epochs=epochs, size=size, mixup=None)
    assert changed == RunSettings(
        dataclasses.replace(run.model, size=size),
        dataclasses.replace(run.train, epochs=epochs),
        run.augment,
    )
    assert override(run) == run
    assert override(run, train=changed.train).train == changed.train


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixpu": True}, "no setting is called 'mixpu': did you mean mixup?"),
        ({"epochs": 0}, "epochs is 0: give 1 or more"),
        ({"epochs": "30"}, "epochs is '30': give an integer"),
        ({"name": "resnet"}, "no model is called 'resnet'"),
    ],
)
def test_override_refuses(changes: dict[str, Any], message) -> None:
    with pytest.raises(BirdnbError, match=message):
        override(RunSettings(), **changes)


@examples(deadline=None, max_examples=40)
@given(st.dictionaries(st.text(), st.integers(), max_size=5), st.randoms(use_true_random=False))
def test_a_key_is_of_the_values_and_not_of_their_order(values, random) -> None:
    names = list(values)
    random.shuffle(names)
    assert key_of(values) == key_of({name: values[name] for name in names})
    assert key_of(values) != key_of(values | {"one more": 1})
    # as the cache of spectrograms is called: a change here makes everybody compute theirs again
    assert key_of(AudioSettings(), 1) == key_of(AudioSettings(clip_seconds=4), 1) == "95878777e042"


@pytest.mark.parametrize(
    ("text", "value"),
    [("30", 30), ("3e-4", 3e-4), ("True", True), ("false", False), ("null", None), ("None", None)],
)
def test_a_typed_value_is_read_as_it_looks(text, value) -> None:
    assert literal(text) == value and type(literal(text)) is type(value)


@examples(deadline=None)
@given(st.one_of(st.text(), st.sampled_from(["{[]: 1}", "(" * 5000, "synthetic", "a/b.st"])))
def test_any_text_is_a_value(text) -> None:
    literal(text)
