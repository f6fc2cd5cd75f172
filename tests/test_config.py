"""Profiles: what they say is what a run gets, and what they cannot mean is an error that names it."""

from __future__ import annotations

import pytest

from birdnb.config import PROFILES, load_profile, override
from birdnb.files import BirdnbError

OWN = """
base: laptop
audio: {hop_length: 256}
defaults:
  train: {epochs: 3}
runs:
  phase3_ast_full:
    augment: {mixup: false}
"""


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


def test_every_profile_that_comes_along_can_be_read() -> None:
    names = {path.stem for path in PROFILES.glob("*.yaml")}
    assert {"laptop", "gpu", "gpu_hop220"} <= names
    for name in names:
        assert load_profile(name).runs.keys() == load_profile("laptop").runs.keys()
    assert (
        load_profile("gpu_hop220").audio.n_frames == 401
        and load_profile("gpu_hop220").runs == load_profile("gpu").runs
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: nowhere", "base is 'nowhere': name another profile that comes with birdnb"),
        ("audio: {hop: 220}", "unknown setting 'hop'"),
        ("runs: {x: {train: {lr_head: 1e-3}}}", "YAML reads 1e-4 as text"),
        (
            "runs: {x: {train: {loss: hinge}}}",
            "loss is 'hinge': choose one of cross_entropy, focal",
        ),
        ("audio: {clip_seconds: 9}", "clips of 3 to 5 seconds"),
        ("audio: {n_mels: 64}", "n_mels is 64: the networks of the study take 128 mel bands"),
        ("audio: {hop_length: 0}", "hop_length is 0: give 1 or more"),
        ("runs: {x: {train: {patience: 0}}}", "patience is 0: give 1 or more"),
        ("runs: {x: {train: {segments: 0}}}", "segments is 0: give 1 or more"),
        ("runs: {x: {train: {clip_norm: 0}}}", "clip_norm is 0.0: give more than 0"),
        (
            "runs: {x: {train: {label_smoothing: 1.5}}}",
            "label_smoothing is 1.5: give 0 or more, less than 1",
        ),
        ("runs: {x: {train: {warmup: -0.1}}}", "warmup is -0.1: give 0 or more, at most 1"),
        ("runs: {x: {augment: {mixup_alpha: 0}}}", "mixup_alpha is 0.0: give more than 0"),
        ("runs: {x: {augment: {noise_prob: 2}}}", "noise_prob is 2.0: give 0 or more, at most 1"),
        ("runs: {x: {model: {drop_path: 1}}}", "drop_path is 1.0: give 0 or more, less than 1"),
        ("speed: fast", "unknown section 'speed'"),
        ("runs: {x: {optimiser: {}}}", "unknown part 'optimiser'"),
        ("demo: {x: {}}", "demo names a run 'x' that runs does not have"),
        ("audio: {", "is not valid YAML"),
        ("audio: 5", "audio is 5: write settings there"),
        ("runs: [a, b]", "runs is .*: write settings there"),
        ("runs: {x: {train: 5}}", "runs.x.train is 5: write settings there"),
        ("just words", "the profile is 'just words'"),
    ],
)
def test_what_a_profile_cannot_mean_is_an_error_that_names_it(text, message, tmp_path) -> None:
    with pytest.raises(BirdnbError, match=message):
        load_profile(written(tmp_path, text))
    with pytest.raises(
        BirdnbError, match="no profile 'lapptop': choose one of gpu, gpu_hop220, laptop"
    ):
        load_profile("lapptop")
