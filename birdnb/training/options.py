"""Make the options of ``python -m birdnb.training`` from the fields of the settings."""

import argparse
from typing import Any

from pydantic.fields import FieldInfo

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
from birdnb.settings import bounds, choices, fields_of, plain

GROUPS = {"model": ModelSettings, "training": TrainSettings, "augmentation": AugmentSettings}
# name of a network: the option for it is --model
OPTIONS = [name for kind in GROUPS.values() for name in fields_of(kind) if name != "name"]
USUAL = (
    "not given: the profile's; in brackets the range, and what holds where the profile says nothing"
)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add an option for every setting, in groups; those not given stay None."""
    for title, kind in GROUPS.items():
        group = parser.add_argument_group(title, USUAL)
        for name, field in fields_of(kind).items():
            if name in OPTIONS:
                group.add_argument("--" + name.replace("_", "-"), help=_help(field), **_how(field))


def settings_of(
    profile: Profile, run: str | None, model: str | None, options: dict[str, Any]
) -> tuple[str, RunSettings]:
    """Return a run's name and settings: the profile's, and the options given on top.

    The profile's run of that name, else its first run with that model. Raises BirdnbError when
    neither is there, or for a value that no setting takes.
    """
    of_model = next(
        (name for name, settings in profile.runs.items() if settings.model.name == model), None
    )
    base = run if run in profile.runs else of_model
    if base is None and model is None:
        runs = ", ".join(profile.runs)
        what = f"has no run {run!r}: choose {runs}" if run else f"has the runs {runs}: choose one"
        raise BirdnbError(
            f"profile {profile.name} {what} by --run, or give --model for a run of your own"
        )
    if run is None and base is None:
        raise BirdnbError(
            f"profile {profile.name} has no run with the model {model!r}: give your run a name by "
            f"--run"
        )
    start = profile.runs[base] if base else RunSettings()
    known = {name: options.get(name) for name in OPTIONS}
    check_values(known)
    return run or str(base), override(start, name=model, **known)


def given_settings(options: dict[str, Any]) -> list[str]:
    """Return the names of the settings that were given, ``model`` among them."""
    return [name for name in ("model", *OPTIONS) if options.get(name) is not None]


def check_values(values: dict[str, Any]) -> None:
    """Raise BirdnbError for a value that its setting cannot have; other names do not count."""
    override(RunSettings(), **{name: values[name] for name in OPTIONS if name in values})
    check_source(values.get("pretrained"))


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


def _how(field: FieldInfo) -> dict[str, Any]:
    """Return how argparse reads a setting, and what it is called in the help."""
    kind = field.annotation
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction, "default": None}
    if choices(field):  # the settings refuse other words, in one line
        return {"metavar": "|".join(choices(field))}
    if kind is int or kind is float:
        return {"type": kind, "metavar": "N" if kind is int else "X"}
    return {"type": str if kind is str else bool_or_text, "metavar": "VALUE"}


def _help(field: FieldInfo) -> str:
    """Return what a setting means, its range and its default."""
    default = f"default {plain(field.default)}"
    return f"{field.description} ({', '.join(filter(None, [bounds(field), default]))})"
