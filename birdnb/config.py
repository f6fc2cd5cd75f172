"""Settings: frozen dataclasses, the profiles that fill them, and a stable key for each
configuration.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from birdnb.files import BirdnbError
from birdnb.registry import AUGMENTATIONS, MODELS, check

PROFILES = Path(__file__).parent / "profiles"
N_MELS = 128  # mel bands of every spectrogram that a network is given
TINY = 1e-9  # what a setting that may not be 0, or not 1, keeps off it
WORDS = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "text",
}  # types of settings, for people
T = TypeVar("T")


@dataclass(frozen=True)
class AudioSettings:
    """How sound becomes a log-mel spectrogram (LMS); its key names the cache folder."""

    sample_rate: int = 22050  # [Hz] after resampling, mono
    high_pass_hz: float = 500.0  # [Hz] Butterworth, order 4; wind and traffic live below
    n_fft: int = 2048  # [samples] 93 ms at 22,050 Hz
    hop_length: int = 512  # [samples] 23 ms at 22,050 Hz
    n_mels: int = N_MELS  # mel bands, Slaney scale as in librosa
    clip_seconds: float = 4.0  # [s] 3 to 5
    segments_per_recording: int = 3  # the most active windows kept of each recording

    def __post_init__(self) -> None:
        for name in ("sample_rate", "n_fft", "hop_length", "n_mels", "segments_per_recording"):
            _within(name, getattr(self, name), 1)
        if not 3.0 <= self.clip_seconds <= 5.0:
            raise BirdnbError(
                f"clip_seconds is {self.clip_seconds}: the study uses clips of 3 to 5 seconds"
            )

    @property
    def clip_samples(self) -> int:
        """Samples in a clip."""
        return round(self.clip_seconds * self.sample_rate)

    @property
    def n_frames(self) -> int:
        """Frames T of a clip's LMS (centred frames: 4 s at hop 512 give 173)."""
        return 1 + self.clip_samples // self.hop_length


@dataclass(frozen=True)
class SplitSettings:
    """How recordings are shared out between training, validation and test."""

    validation_share: float = 0.15
    test_share: float = 0.15
    # session (recordist + date + locality), recordist, or recording (leaks sessions: for comparison
    # only)
    group_by: str = "session"
    min_recordings: int = 3  # a species with fewer recordings than this cannot be split
    min_groups: int = 3  # ... or with fewer sessions (one for each side)
    rare_species: str = "drop"  # drop, or train_only

    def __post_init__(self) -> None:
        _one_of("group_by", self.group_by, ("session", "recordist", "recording"))
        _one_of("rare_species", self.rare_species, ("drop", "train_only"))


@dataclass(frozen=True)
class ModelSettings:
    """Which network, from which weights, on which normalisation."""

    name: str = "ast"  # ast, efficientnet_b2, mfcc, or another of birdnb.registry.MODELS
    pretrained: bool | str = (
        # false, synthetic, true (the model's hub checkpoint), a hub id, or a local folder or file
        False
    )
    size: str = "tiny"  # AST only: tiny (laptop) or base (the checkpoint's)
    normalisation: str = "standard"  # standard (zero mean, unit variance) or noise_floor
    drop_path: float = 0.0  # stochastic depth

    def __post_init__(self) -> None:
        check("model", MODELS, self.name)
        _one_of("size", self.size, ("tiny", "base"))
        _one_of("normalisation", self.normalisation, ("standard", "noise_floor"))
        _within("drop_path", self.drop_path, 0, 1 - TINY)


@dataclass(frozen=True)
class AugmentSettings:
    """What is done to training batches (never to validation or test)."""

    specaugment: bool = False
    specaugment_prob: float = 0.8  # share of the samples masked
    freq_mask: int = 15  # [mel bands] widest frequency mask
    freq_mask_min: int = 8  # [mel bands] narrowest
    time_mask: int = 35  # [frames at T = 173] widest time mask; scaled to other T
    time_mask_min: int = 20  # [frames at T = 173] narrowest
    mixup: bool = False
    mixup_alpha: float = 0.4  # lambda ~ Beta(alpha, alpha)
    mixup_prob: float = 0.5  # share of the batches blended
    noise: bool = False
    noise_prob: float = 0.5  # share of the samples that get noise
    snr_db_min: float = 3.0  # [dB]
    snr_db_max: float = 30.0  # [dB]
    time_shift: bool = False  # circular, any amount
    # names of birdnb.registry.AUGMENTATIONS, in the order they are done, with spaces between
    extra: str = ""

    def __post_init__(self) -> None:
        for name in ("specaugment_prob", "mixup_prob", "noise_prob"):
            _within(name, getattr(self, name), 0, 1)
        for name in ("freq_mask", "freq_mask_min", "time_mask", "time_mask_min"):
            _within(name, getattr(self, name), 0)
        _within("mixup_alpha", self.mixup_alpha, TINY)
        for name in self.extra.split():
            check("augmentation", AUGMENTATIONS, name)


@dataclass(frozen=True)
class TrainSettings:
    """How a network is trained."""

    epochs: int = 10
    batch_size: int = 32
    accumulation: int = 1  # batches per optimiser step
    lr_backbone: float = 5e-5
    lr_head: float = 1e-3
    layer_decay: float = 1.0  # learning rate of a layer relative to the one above it
    weight_decay: float = 0.01
    warmup: float = 0.1  # share of all steps, linear
    loss: str = "cross_entropy"  # cross_entropy or focal
    focal_gamma: float = 2.0
    class_balance: bool = False  # weigh classes by inverse frequency
    label_smoothing: float = 0.0  # of cross-entropy; the focal loss takes none
    clip_norm: float = 1.0  # gradient clipping
    patience: int = (
        10  # epochs without a better validation score before stopping, where the best are kept
    )
    keep: str = "best"  # best (by validation macro F1, then loss) or last
    segments: int = 3  # training segments per recording, the most active first
    precision: str = "auto"  # auto (bf16 where the GPU has it), fp32 or bf16

    def __post_init__(self) -> None:
        _one_of("loss", self.loss, ("cross_entropy", "focal"))
        _one_of("keep", self.keep, ("best", "last"))
        _one_of("precision", self.precision, ("auto", "fp32", "bf16"))
        for name in ("epochs", "batch_size", "accumulation", "patience", "segments"):
            _within(name, getattr(self, name), 1)
        for name in ("lr_backbone", "lr_head", "weight_decay", "focal_gamma"):
            _within(name, getattr(self, name), 0)
        for name in ("clip_norm", "layer_decay"):
            _within(name, getattr(self, name), TINY)
        _within("warmup", self.warmup, 0, 1)
        _within("label_smoothing", self.label_smoothing, 0, 1 - TINY)


@dataclass(frozen=True)
class RunSettings:
    """Everything that makes one run what it is."""

    model: ModelSettings = field(default_factory=ModelSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)


@dataclass(frozen=True)
class Profile:
    """How much computing: the settings of every run of the study."""

    name: str
    audio: AudioSettings
    split: SplitSettings
    runs: dict[str, RunSettings]

    def __post_init__(self) -> None:
        if self.audio.n_mels != N_MELS:
            raise BirdnbError(
                f"n_mels is {self.audio.n_mels}: the networks of the study take {N_MELS} mel bands"
            )


def load_profile(name: str | Path, demo: bool = False) -> Profile:
    """Read ``birdnb/profiles/<name>.yaml`` (or the YAML file at that path); unknown keys and wrong
    types are errors.

    ``demo`` puts in the profile's changes for the demo corpus, which is easy and should not take
    long. A profile with ``base: gpu`` is that profile but for what it says itself.
    """
    path = _profile_path(name)
    text = _read_profile(path)
    defaults, runs, changes = (text.get(section) or {} for section in ("defaults", "runs", "demo"))
    if set(changes) - set(runs):
        raise BirdnbError(
            f"{path}: demo names a run {sorted(set(changes) - set(runs))[0]!r} that runs does not "
            f"have"
        )
    if demo:
        runs = {run: _merge(own or {}, changes.get(run) or {}) for run, own in runs.items()}
    return Profile(
        name=path.stem,
        audio=from_dict(AudioSettings, text.get("audio") or {}, f"{path.name}: audio"),
        split=from_dict(SplitSettings, text.get("split") or {}, f"{path.name}: split"),
        runs={
            run: _run_settings(defaults, own or {}, f"{path.name}: {run}")
            for run, own in runs.items()
        },
    )


def _profile_path(name: str | Path) -> Path:
    path = (
        Path(name).expanduser()
        if str(name).endswith((".yaml", ".yml"))
        else PROFILES / f"{name}.yaml"
    )
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PROFILES.glob("*.yaml")))
        raise BirdnbError(
            f"no profile {str(name)!r}: choose one of {known}, or give the path of a YAML file"
        )
    return path


def _read_profile(path: Path) -> dict[str, Any]:
    """Sections of a profile, those of its base included."""
    try:
        text = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise BirdnbError(f"{path} is not valid YAML: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BirdnbError(f"{path} cannot be read ({error}): it must be text in UTF-8") from error
    _check_shape(f"{path}: the profile", text, 1)
    unknown = set(text) - {"base", "audio", "split", "defaults", "runs", "demo"}
    if unknown:
        raise BirdnbError(
            f"{path}: unknown section {sorted(unknown)[0]!r}; known are base, audio, split, "
            f"defaults, runs, demo"
        )
    for section, depth in (("audio", 1), ("split", 1), ("defaults", 2), ("runs", 3), ("demo", 3)):
        _check_shape(f"{path}: {section}", text.get(section), depth)
    base = text.pop("base", None)
    if base is None:
        return text
    if (PROFILES / f"{base}.yaml").resolve() == path.resolve() or not (
        PROFILES / f"{base}.yaml"
    ).is_file():
        raise BirdnbError(f"{path}: base is {base!r}: name another profile that comes with birdnb")
    return _merge(_read_profile(PROFILES / f"{base}.yaml"), text)


def _check_shape(where: str, value: Any, depth: int) -> None:
    """Raises BirdnbError unless the value is a mapping of mappings, ``depth`` of them; empty ones
    may be left out.
    """
    if value is not None and not isinstance(value, dict):
        raise BirdnbError(f"{where} is {value!r}: write settings there, as in {{epochs: 3}}")
    for key, part in (value or {}).items() if depth > 1 else ():
        _check_shape(f"{where}.{key}", part, depth - 1)


def from_dict(kind: type[T], values: dict[str, Any], where: str) -> T:
    """Build a settings dataclass from a dictionary. Raises BirdnbError for a key or a type it does
    not know.
    """
    hints = typing.get_type_hints(kind)
    for key, value in values.items():
        if key not in hints:
            raise BirdnbError(f"{where}: unknown setting {key!r}; known are {', '.join(hints)}")
        _check_type(f"{where}.{key}", value, hints[key])
    return kind(
        **{key: float(value) if hints[key] is float else value for key, value in values.items()}
    )


def override(settings: T, **changes: Any) -> T:
    """Copy nested settings with fields replaced by their bare name (``epochs=30``); ``None`` leaves
    a field as it is.

    Raises BirdnbError when no part of the settings has such a field.
    """
    for key, value in changes.items():
        if value is not None:
            settings = _override_one(settings, key, value)
    return settings


def key_of(*settings: Any) -> str:
    """Twelve hexadecimal digits that stay the same as long as the settings do (any order of keys)."""
    plain = [
        dataclasses.asdict(s) if dataclasses.is_dataclass(s) and not isinstance(s, type) else s
        for s in settings
    ]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _run_settings(defaults: dict, own: dict, where: str) -> RunSettings:
    parts = {"model": ModelSettings, "train": TrainSettings, "augment": AugmentSettings}
    merged = _merge(defaults, own)
    unknown = set(merged) - set(parts)
    if unknown:
        raise BirdnbError(
            f"{where}: unknown part {sorted(unknown)[0]!r}; known are {', '.join(parts)}"
        )
    return RunSettings(
        **{
            part: from_dict(kind, merged.get(part, {}), f"{where}.{part}")
            for part, kind in parts.items()
        }
    )


def _merge(first: dict, second: dict) -> dict:
    """Settings at any depth, the second dictionary over the first."""
    merged = {**first, **{key: value for key, value in second.items() if value is not None}}
    shared = [
        key
        for key in merged
        if isinstance(first.get(key), dict) and isinstance(second.get(key), dict)
    ]
    return merged | {key: _merge(first[key], second[key]) for key in shared}


def _override_one(settings: Any, key: str, value: Any) -> Any:
    hints = typing.get_type_hints(type(settings))
    for name in [f.name for f in dataclasses.fields(settings)]:
        part = getattr(settings, name)
        if name == key:
            _check_type(key, value, hints[name])
            return dataclasses.replace(
                settings, **{name: float(value) if hints[name] is float else value}
            )
        if dataclasses.is_dataclass(part) and key in {f.name for f in dataclasses.fields(part)}:
            return dataclasses.replace(settings, **{name: _override_one(part, key, value)})
    raise BirdnbError(f"no setting is called {key!r} in {type(settings).__name__}")


def _check_type(where: str, value: Any, hint: Any) -> None:
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        return
    if type(value) not in allowed:
        wanted = " or ".join(WORDS[kind] for kind in allowed)
        hint_text = (
            " (YAML reads 1e-4 as text: write 1.0e-4)"
            if isinstance(value, str) and float in allowed
            else ""
        )
        raise BirdnbError(f"{where}: {value!r} is not {wanted}{hint_text}")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise BirdnbError(f"{name} is {value!r}: choose one of {', '.join(allowed)}")


def _within(name: str, value: float, least: float, most: float = math.inf) -> None:
    if not least <= value <= most:
        low = "more than 0" if least == TINY else f"{least} or more"
        high = (
            ", less than 1" if most == 1 - TINY else f", at most {most}" if most < math.inf else ""
        )
        raise BirdnbError(f"{name} is {value}: give {low}{high}")
