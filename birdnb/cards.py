"""Cards of pretrained weights: what they learned from and until when, with the source."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from birdnb.settings import Settings, filled, read_yaml

OF_MODELS = {"ast": "audioset", "efficientnet_b2": "imagenet"}  # what pretrained=true means


@dataclass(frozen=True)
class Card(Settings):
    """What weights learned from; a run's config.json holds it as ``card`` where it has one."""

    title: str = Field(description="what people call the weights")
    heard: Literal["archives", "other", "nothing", "unknown"] = Field(
        default="unknown",
        description="recordings of wildlife with the names of their species; sound without such "
        "names; no recording of a real bird; nobody here knows",
    )
    trained_on: str = Field(default="", description="what they learned from, in words")
    xeno_canto_until: int | None = Field(default=None, ge=1, description="highest XC number heard")
    xeno_canto_known: int | None = Field(
        default=None, ge=1, description="an XC number there by ``until``; the day tells of later"
    )
    macaulay_until: int | None = Field(default=None, ge=1, description="highest ML number heard")
    until: str | None = Field(
        default=None, pattern=r"^\d{4}-\d\d-\d\d$", description="day after which nothing was heard"
    )
    padding: str = Field(default="", description="what fills up a recording that is too short")
    hub_ids: str = Field(default="", description="how the hub ids of such weights begin")
    license: str = Field(default="", description="licence of the weights")
    source: str = Field(default="", description="who says so")


def make_card(fields: Mapping[str, Any], where: str) -> Card:
    """Make a card of what a YAML or JSON file says. Raises BirdnbError that begins with where."""
    plain = {
        key: value.isoformat() if isinstance(value, datetime.date) else value
        for key, value in fields.items()
    }
    return filled(Card, plain, where)


def card_named(name: str) -> Card:
    """Return a card that comes with birdnb: birdnet, perch_2, synthetic, audioset, imagenet."""
    return make_card(_cards()[name], f"weights/cards.yaml: {name}")


def card_of_weights(model: str, pretrained: bool | str) -> Card | None:
    """Return the card of what a network begins with (``ModelSettings``); None: from nothing.

    Weights that nobody here knows get a card that says so.
    """
    if pretrained is False:
        return None
    if pretrained == "synthetic":
        return card_named("synthetic")
    if pretrained is True and model in OF_MODELS:
        return card_named(OF_MODELS[model])
    source = str(pretrained)
    for name, fields in _cards().items():
        if (prefix := fields.get("hub_ids")) and source.startswith(prefix):
            return card_named(name)
    return Card(title=source if isinstance(pretrained, str) else f"the hub's weights of {model}")


def _cards() -> dict[str, dict[str, Any]]:
    return read_yaml(Path(__file__).with_name("weights") / "cards.yaml")
