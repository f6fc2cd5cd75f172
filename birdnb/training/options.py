"""The options of ``python -m birdnb.training``, one for each setting, and the settings they make of
a profile's run.
"""

from __future__ import annotations

import argparse
import typing
from typing import Any

from birdnb.config import (
    AugmentSettings,
    ModelSettings,
    Profile,
    RunSettings,
    TrainSettings,
    override,
)
from birdnb.files import BirdnbError
from birdnb.models.weights import check_source

MODEL = {
    "pretrained": "start from: false, synthetic (shipped), true (the model's hub weights), a hub id, a file or folder",
    "size": "size of AST: tiny or base",
    "normalisation": "of a spectrogram: standard or noise_floor",
    "drop_path": "rate of stochastic depth",
}
TRAIN = {
    "epochs": "epochs at most",
    "batch_size": "clips in a batch, over all processes together",
    "accumulation": "batches in a step of the optimiser",
    "lr_backbone": "learning rate below the head",
    "lr_head": "learning rate of the head",
    "layer_decay": "learning rate of a layer relative to the one above it",
    "weight_decay": "weight decay of AdamW",
    "warmup": "share of all steps in which the learning rates rise",
    "loss": "cross_entropy or focal",
    "focal_gamma": "gamma of the focal loss",
    "class_balance": "weigh species by inverse frequency",
    "label_smoothing": "share of each label spread over all species (cross_entropy only)",
    "clip_norm": "gradients are clipped to this norm",
    "patience": "epochs without a better validation score before stopping (with --keep best)",
    "keep": "weights to keep: best (validation macro F1, then loss) or last",
    "segments": "training clips of each recording, the most active first",
    "precision": "auto (bf16 where the GPU has it), fp32 or bf16",
}
AUGMENT = {
    "specaugment": "mask a block of mel bands and one of frames",
    "specaugment_prob": "share of the clips masked",
    "freq_mask": "widest frequency mask [mel bands]",
    "freq_mask_min": "narrowest frequency mask [mel bands]",
    "time_mask": "widest time mask [frames of a 4 s clip]",
    "time_mask_min": "narrowest time mask [frames of a 4 s clip]",
    "mixup": "blend pairs of clips and their labels",
    "mixup_alpha": "lambda ~ Beta(alpha, alpha)",
    "mixup_prob": "share of the batches blended",
    "noise": "add silent stretches of training recordings",
    "noise_prob": "share of the clips that get noise",
    "snr_db_min": "loudest noise, signal-to-noise ratio [dB]",
    "snr_db_max": "faintest noise [dB]",
    "time_shift": "turn clips round in time by a random amount",
    "extra": "augmentations of your own, by name, with spaces between",
}
GROUPS = (
    ("model", ModelSettings, MODEL),
    ("training", TrainSettings, TRAIN),
    ("augmentation", AugmentSettings, AUGMENT),
)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add an option for every setting, in groups; those not given stay None."""
    for title, kind, texts in GROUPS:
        group = parser.add_argument_group(title, "not given: as the profile's run has it")
        hints = typing.get_type_hints(kind)
        for name, text in texts.items():
            flag, hint = "--" + name.replace("_", "-"), hints[name]
            if hint is bool:
                group.add_argument(
                    flag, action=argparse.BooleanOptionalAction, default=None, help=text
                )
            else:
                read = hint if hint in (int, float, str) else bool_or_text
                group.add_argument(
                    flag, type=read, metavar={int: "N", float: "X"}.get(hint, "VALUE"), help=text
                )


def settings_of(
    profile: Profile, run: str | None, model: str | None, options: dict[str, Any]
) -> tuple[str, RunSettings]:
    """The run's name and settings: the profile's run of that name, else its first run with that
    model; options given go on top.

    Raises BirdnbError when neither is there, or for a value that no setting takes.
    """
    of_model = next(
        (name for name, settings in profile.runs.items() if settings.model.name == model), None
    )
    base = run if run in profile.runs else of_model
    if base is None and model is None:
        what = (
            f"has no run {run!r}: choose {', '.join(profile.runs)}"
            if run
            else f"has the runs {', '.join(profile.runs)}: choose one"
        )
        raise BirdnbError(
            f"profile {profile.name} {what} by --run, or give --model for a run of your own"
        )
    if run is None and base is None:
        raise BirdnbError(
            f"profile {profile.name} has no run with the model {model!r}: give your run a name by "
            f"--run"
        )
    start = profile.runs[base] if base else RunSettings()
    known = {name: options.get(name) for _, _, texts in GROUPS for name in texts}
    check_values(known)
    return run or str(base), override(start, name=model, **known)


def given_settings(options: dict[str, Any]) -> list[str]:
    """Names of the settings that were given, ``model`` among them."""
    return [
        name
        for name in ("model", *(name for _, _, texts in GROUPS for name in texts))
        if options.get(name) is not None
    ]


def check_values(values: dict[str, Any]) -> None:
    """Refuse values that no setting takes before anything is computed. Raises BirdnbError; other
    names do not count.
    """
    override(
        RunSettings(),
        **{
            name: value
            for name, value in values.items()
            if any(name in texts for *_, texts in GROUPS)
        },
    )
    check_source(values.get("pretrained"))


def parse_seed(text: str) -> int:
    """Read a seed, a whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no seed: give a whole number from 0")
    return int(text)


def parse_fold(text: str) -> tuple[int, int]:
    """Read ``k/K``, k from 1 to K."""
    try:
        k, of = (int(part) for part in text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no fold: write k/K, such as 1/4") from None
    if not 1 <= k <= of or of < 2:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no fold: k goes from 1 to K, and K is 2 or more"
        )
    return k, of


def bool_or_text(text: str) -> bool | str:
    """Read true, false and none (the same as false) as such, anything else as it is."""
    return {"true": True, "false": False, "none": False}.get(text.lower(), text)
