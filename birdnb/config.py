"""Settings, each stated once (type, default, range, meaning), and the profiles that fill them.

From these fields come the checks, the YAML profiles, overriding by bare name, the options of
``python -m birdnb.training`` and their help. Settings are frozen; ``dataclasses.replace`` and
``override`` give changed copies, checked like new ones.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from birdnb.files import BirdnbError, user_path
from birdnb.registry import AUGMENTATIONS, MODELS, check, check_encoders, whole_encoder
from birdnb.settings import Settings, check_shape, filled, merge, placed, read_yaml, unknown

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S", bound="DataclassInstance")
PROFILES = Path(__file__).parent / "profiles"
SECTIONS = {"audio": 1, "split": 1, "defaults": 2, "runs": 3, "demo": 3}  # of a profile, and depth
ENCODER_LIST = "encoders"  # a section that is a list: [birdnet, onnx:PATH]
N_MELS = 128  # mel bands of every spectrogram that a network is given
Normalisation = Literal["standard", "noise_floor"]
SIZES = ("tiny", "base")  # of AST
Group = Literal["session", "recordist", "recording"]
Loss = Literal["cross_entropy", "focal"]


@dataclass(frozen=True)
class AudioSettings(Settings):
    """How sound becomes a log-mel spectrogram (LMS); its key names the cache folder."""

    sample_rate: int = Field(default=22050, ge=1, description="after resampling, mono [Hz]")
    high_pass_hz: float = Field(default=500.0, gt=0, description="Butterworth, order 4 [Hz]")
    n_fft: int = Field(default=2048, ge=2, multiple_of=2, description="window [samples]; 93 ms")
    hop_length: int = Field(default=512, ge=1, description="step [samples]; 23 ms at 22,050 Hz")
    n_mels: int = Field(default=N_MELS, ge=1, description="mel bands, Slaney scale as in librosa")
    clip_seconds: float = Field(default=4.0, ge=3, le=5, description="length of a clip [s]")
    segments_per_recording: int = Field(default=3, ge=1, description="clips, most active first")
    first_seconds: float | None = Field(
        default=None, ge=5, description="clips come from the first so many only [s]; null: from all"
    )

    def __post_init__(self) -> None:
        if self.high_pass_hz >= self.sample_rate / 2:
            raise BirdnbError(
                f"high_pass_hz is {self.high_pass_hz:g}: give less than half of sample_rate "
                f"({self.sample_rate})"
            )

    @property
    def clip_samples(self) -> int:
        """Return the samples in a clip."""
        return round(self.clip_seconds * self.sample_rate)

    @property
    def n_frames(self) -> int:
        """Return the frames T of a clip's LMS (centred frames: 4 s at hop 512 give 173)."""
        return 1 + self.clip_samples // self.hop_length


@dataclass(frozen=True)
class SplitSettings(Settings):
    """How recordings are shared out between training, validation and test."""

    validation_share: float = Field(default=0.15, gt=0, lt=1, description="share of the recordings")
    test_share: float = Field(default=0.15, gt=0, lt=1, description="share of the recordings")
    # a session is a recordist's, on a date, at a place; recording leaks sessions: to compare only
    group_by: Group = Field(default="session", description="what stays together on one side")
    shuffle_seed: int | None = Field(default=None, ge=0, description="of a plain shuffle, if any")
    min_recordings: int = Field(default=3, ge=1, description="a species with fewer cannot be split")
    min_groups: int = Field(default=3, ge=1, description="... or with fewer sessions, one a side")
    rare_species: Literal["drop", "train_only"] = Field(
        default="drop", description="what becomes of species that cannot be split"
    )
    strangers: tuple[str, ...] | None = Field(  # not strict: YAML and JSON have lists
        default=None, strict=False, description="species held out: nothing is trained on them, "
        "they tell how often a run cries wolf",
    )  # fmt: skip


@dataclass(frozen=True)
class ModelSettings(Settings):
    """Which network, from which weights, on which normalisation."""

    name: str = Field(default="ast", description="a network of birdnb.registry.MODELS")
    pretrained: bool | str = Field(
        default=False,
        description="start from: false, synthetic for the shipped weights, true for the hub's, "
        "a hub id, a file or folder (in a profile: as seen from its folder)",
    )
    size: str = Field(
        default="tiny",
        description="of AST tiny or base, the published one; else another EfficientNet of timm's",
    )
    normalisation: Normalisation = Field(
        default="standard",
        description="of spectrograms: zero mean and unit variance, or above each band's median",
    )
    drop_path: float = Field(default=0.0, ge=0, lt=1, description="rate of stochastic depth")

    def __post_init__(self) -> None:
        check("model", MODELS, self.name)
        if self.name == "ast" and self.size not in SIZES:
            raise BirdnbError(f"size is {self.size!r}: choose one of {', '.join(SIZES)}")


@dataclass(frozen=True)
class TrainSettings(Settings):
    """How a network is trained."""

    epochs: int = Field(default=10, ge=1, description="epochs at most")
    batch_size: int = Field(default=32, ge=1, description="clips a batch, all processes together")
    accumulation: int = Field(default=1, ge=1, description="batches in a step of the optimiser")
    lr_backbone: float = Field(default=5e-5, ge=0, description="learning rate below the head")
    lr_head: float = Field(default=1e-3, ge=0, description="learning rate of the head")
    layer_decay: float = Field(default=1.0, gt=0, description="rate relative to the layer above")
    weight_decay: float = Field(default=0.01, ge=0, description="weight decay of AdamW")
    warmup: float = Field(default=0.1, ge=0, le=1, description="share of steps in which rates rise")
    loss: Loss = Field(default="cross_entropy", description="loss to learn from")
    focal_gamma: float = Field(default=2.0, ge=0, description="gamma of the focal loss")
    class_balance: bool = Field(default=False, description="weigh species by inverse frequency")
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="share of labels spread over species (cross_entropy)"
    )
    background_labels: float = Field(
        default=0.0, ge=0, lt=0.5, description="share of a label for species in the background"
    )
    clip_norm: float = Field(default=1.0, gt=0, description="gradients are clipped to this norm")
    patience: int = Field(
        default=10, ge=1, description="epochs without a better score before stopping, for keep best"
    )
    keep: Literal["best", "last"] = Field(
        default="best", description="weights to end with; best by validation macro F1, then loss"
    )
    segments: int = Field(default=3, ge=1, description="clips of a recording, most active first")
    precision: Literal["auto", "fp32", "bf16", "hardware"] = Field(
        default="auto", description="auto: bf16 where the GPU has it; hardware: or the CPU has it"
    )


@dataclass(frozen=True)
class AugmentSettings(Settings):
    """What is done to training batches (never to validation or test)."""

    specaugment: bool = Field(default=False, description="mask some mel bands and some frames")
    specaugment_prob: float = Field(default=0.8, ge=0, le=1, description="share of clips masked")
    freq_mask: int = Field(default=15, ge=0, description="widest frequency mask [mel bands]")
    freq_mask_min: int = Field(default=8, ge=0, description="narrowest frequency mask [mel bands]")
    time_mask: int = Field(default=35, ge=0, description="widest time mask [frames of a 4 s clip]")
    time_mask_min: int = Field(default=20, ge=0, description="narrowest time mask [frames]")
    mixup: bool = Field(default=False, description="blend pairs of clips and their labels")
    mixup_alpha: float = Field(default=0.4, gt=0, description="lambda ~ Beta(alpha, alpha)")
    mixup_prob: float = Field(default=0.5, ge=0, le=1, description="share of the batches blended")
    noise: bool = Field(default=False, description="add silent stretches of training recordings")
    noise_prob: float = Field(default=0.5, ge=0, le=1, description="share of the clips given noise")
    snr_db_min: float = Field(default=3.0, description="loudest noise, signal-to-noise ratio [dB]")
    snr_db_max: float = Field(default=30.0, description="faintest noise [dB]")
    time_shift: bool = Field(default=False, description="turn clips round in time, at random")
    extra: str = Field(default="", description="augmentations of your own, by name, spaces between")

    def __post_init__(self) -> None:
        for name in self.extra.split():
            check("augmentation", AUGMENTATIONS, name)


@dataclass(frozen=True)
class RunSettings(Settings):
    """Everything that makes one run what it is."""

    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    augment: AugmentSettings = AugmentSettings()


@dataclasses.dataclass(frozen=True)
class Profile:
    """How much computing: the settings of every run of the study."""

    name: str
    audio: AudioSettings
    split: SplitSettings
    runs: dict[str, RunSettings]
    encoders: tuple[str, ...] = ()  # frozen ones that the networks are held against

    def __post_init__(self) -> None:
        if self.audio.n_mels != N_MELS:
            raise BirdnbError(f"audio: n_mels is {self.audio.n_mels}: give {N_MELS} mel bands")


def load_profile(name: str | Path, demo: bool = False) -> Profile:
    """Read ``birdnb/profiles/<name>.yaml``, or the YAML file at that path.

    ``demo`` puts in the profile's changes for the demo corpus, which is easy and should not take
    long. A profile with ``base: gpu`` is that profile but for what it says itself. Raises
    BirdnbError naming the file, the setting and the remedy.
    """
    path = _profile_path(name)
    text = _read_profile(path)
    defaults, runs, changes = (text.get(section) or {} for section in ("defaults", "runs", "demo"))
    for run in changes:
        if run not in runs:
            raise BirdnbError(f"{path}: demo names a run {run!r} that runs does not have")
    own = {run: merge(defaults, parts or {}) for run, parts in runs.items()}
    audio, split, listed = (text.get(part) or {} for part in ("audio", "split", ENCODER_LIST))
    try:
        _run_settings(defaults, "defaults")  # so that an error names the place where it stands
        for run, parts in changes.items():
            _run_settings(parts or {}, f"demo.{run}")
        if demo:
            own |= {run: merge(own[run], parts or {}) for run, parts in changes.items()}
        return Profile(
            name=path.stem,
            audio=filled(AudioSettings, audio, "audio"),
            split=filled(SplitSettings, split, "split"),
            runs={r: _run_settings(placed(parts, path), f"runs.{r}") for r, parts in own.items()},
            encoders=tuple(whole_encoder(n, path.parent) for n in check_encoders(listed or ())),
        )
    except BirdnbError as error:
        raise BirdnbError(f"{path.name}: {error}") from None


def override(settings: S, **changes: Any) -> S:
    """Copy nested settings with fields replaced by their bare name (``epochs=30``).

    ``None`` leaves a field as it is. Raises BirdnbError when no part of the settings has such a
    field, and for a value that it cannot have.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    own: dict[str, Any] = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
    parts: dict[str, Any] = {n: part for n, part in own.items() if dataclasses.is_dataclass(part)}
    known = [*(field for part in parts.values() for field in vars(part)), *own]
    for name in given:
        if name not in known:
            raise BirdnbError(unknown(name, known))
    for name, part in parts.items():
        of_part = {field: given.pop(field) for field in vars(part) if field in given}
        given.setdefault(name, dataclasses.replace(part, **of_part))
    return dataclasses.replace(settings, **given)


def key_of(*settings: Any) -> str:
    """Return twelve hexadecimal digits that change with the settings, not with their order.

    A setting that is None changes nothing: keys stay what they were before there was such a one.
    """
    plain = [
        {k: v for k, v in dataclasses.asdict(s).items() if v is not None}
        if dataclasses.is_dataclass(s) and not isinstance(s, type)
        else s
        for s in settings
    ]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _run_settings(parts: dict[str, dict[str, Any]], where: str) -> RunSettings:
    kinds = {"model": ModelSettings, "train": TrainSettings, "augment": AugmentSettings}
    for part in parts:
        if part not in kinds:
            raise BirdnbError(f"{where}: unknown part {part!r}; known are {', '.join(kinds)}")
    own: Any = {p: filled(kind, parts.get(p) or {}, f"{where}.{p}") for p, kind in kinds.items()}
    return RunSettings(**own)


def _profile_path(name: str | Path) -> Path:
    own = str(name).endswith((".yaml", ".yml"))
    path = user_path(name) if own else PROFILES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PROFILES.glob("*.yaml")))
        raise BirdnbError(
            f"no profile {str(name)!r}: choose one of {known}, or give the path of a YAML file"
        )
    return path


def _read_profile(path: Path) -> dict[str, Any]:
    """Read the sections of a profile, those of its base included."""
    text = read_yaml(path) or {}
    check_shape(f"{path}: the profile", text, 1)
    base = text.pop("base", None)
    known = ["base", *SECTIONS, ENCODER_LIST]
    for section in text:
        if section not in known:
            raise BirdnbError(f"{path}: unknown section {section!r}; known are {', '.join(known)}")
        if section in SECTIONS:
            check_shape(f"{path}: {section}", text[section], SECTIONS[section])
    if base is None:
        return text
    below = PROFILES / f"{base}.yaml"
    if not below.is_file() or below.resolve() == path.resolve():
        raise BirdnbError(f"{path}: base is {base!r}: name another profile that comes with birdnb")
    return merge(_read_profile(below), text)
