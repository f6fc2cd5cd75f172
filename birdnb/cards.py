"""Cards of pretrained weights: what they learned from and until when, with the source."""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from birdnb.files import BirdnbError
from birdnb.settings import Settings, filled, read_yaml

OF_MODELS = {"ast": "audioset", "efficientnet_b2": "imagenet"}  # what pretrained=true means


@dataclass(frozen=True)
class Card(Settings):
    """What weights learned from; a run's config.json holds it as ``card`` where it has one."""

    title: str = Field(description="what people call the weights, with their version")
    version: str = Field(default="", description="of the weights")
    licence: str = Field(default="", description="of the weights, as its authors name it")
    source: str = Field(default="", description="page that says all this")
    trained_on: str = Field(default="", description="what they learned from, in words")
    heard: Literal["recordings", "other sound", "invented song", "photographs", "unknown"] = Field(
        default="unknown",
        description="what they learned from: recordings are of wildlife and with its species",
    )
    heard_until_xc: int | None = Field(default=None, ge=1, description="highest XC number heard")
    heard_until_ml: int | None = Field(default=None, ge=1, description="highest ML number heard")
    heard_until_date: str | None = Field(
        default=None, pattern=r"^\d{4}-\d\d-\d\d$", description="day of the newest sound heard"
    )
    known_xc: int | None = Field(
        default=None, ge=1, description="an XC number that was there on that day; not the highest"
    )
    knows_species: bool = Field(default=False, description="learned from labels of bird species")
    padding: str = Field(
        default="zeros", description="what fills a window that is longer than the recording"
    )
    hub_ids: str = Field(default="", description="how the hub ids of such weights begin")


def make_card(fields: Mapping[str, Any], where: str) -> Card:
    """Make a card of what a YAML or JSON file says. Raises BirdnbError that begins with where."""
    plain = {
        key: value.isoformat() if isinstance(value, datetime.date) else value
        for key, value in fields.items()
    }
    return filled(Card, plain, where)


def card_named(name: str) -> Card:
    """Return a card that comes with birdnb by its name. Raises BirdnbError for any other."""
    cards = _cards()
    if name not in cards:
        raise BirdnbError(f"no card is called {name!r}: choose one of {', '.join(cards)}")
    return make_card(cards[name], f"weights/cards.yaml: {name}")


def card_of_weights(model: str, pretrained: bool | str) -> Card | None:
    """Return the card of weights that a network begins with, unknown ones too; None: no weights."""
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
