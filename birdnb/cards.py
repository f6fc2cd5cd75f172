"""Cards of pretrained weights: what they learned from and until when, with the source."""

import datetime
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from birdnb.files import BirdnbError, sha256_of, user_path
from birdnb.settings import Settings, filled, read_yaml

OF_MODELS = {"ast": "audioset", "efficientnet_b2": "imagenet"}  # what pretrained=true means
FREE = "code MIT, weights CC0"  # so begins a card's licence where nobody's recordings were heard


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
    """Return the card of weights that a network begins with, unknown ones too; None: no weights.

    A file whose own card says so has heard invented song only.
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
    if pretrained is True:
        return Card(title=f"the hub's weights of {model}")
    path = user_path(source)
    title = path.name if path.is_absolute() else source
    if heard_invented_song_only(path):
        beside = f"its card, {path.with_suffix('.md').name}"
        return replace(card_named("synthetic"), title=path.name, source=beside)
    return Card(title=title)


def card_rows(weights: Path) -> dict[str, str]:
    """Read the rows of the table in the card beside weights, ``clips`` or ``begun from``.

    None where there is no card.
    """
    card = weights.with_suffix(".md")
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    return dict(re.findall(r"^\| ([\w -]+) \| ([^|\n]+) \|$", text, re.M))


def heard_invented_song_only(weights: Path) -> bool:
    """Tell whether the card beside a file of weights says so, and is of these very weights."""
    rows = card_rows(weights) if weights.is_file() else {}
    # a card may be of other weights that lay here before
    own = bool(rows) and sha256_of(weights) in rows.get("SHA-256", "")
    return own and rows.get("licence", "").startswith(FREE)


def _cards() -> dict[str, dict[str, Any]]:
    return read_yaml(Path(__file__).with_name("weights") / "cards.yaml")
