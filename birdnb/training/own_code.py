"""Know networks and augmentations of one's own by their source: other code gives another run."""

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from birdnb.config import RunSettings, key_of
from birdnb.files import BirdnbError
from birdnb.registry import AUGMENTATIONS, MODELS, Entry

# what comes with birdnb is known by its version and commit
OURS = ("birdnb.models.ast:build", "birdnb.models.efficientnet:build", "birdnb.models.mfcc:build")


def own_code(settings: RunSettings) -> str | None:
    """Return a key of the source of a run's own network and augmentations; None without any.

    Of "module:name" the whole module counts, of a class or function its own lines. What these call,
    values from outside them, and source that cannot be had do not.
    """
    extra = settings.augment.extra.split()
    found = [_source(MODELS, settings.model.name), *(_source(AUGMENTATIONS, n) for n in extra)]
    return key_of(found) if any(source is not None for source in found) else None


def _source(entries: Mapping[str, Entry], name: str) -> str | None:
    entry = entries[name]
    if not isinstance(entry, str):
        return _lines(entry)
    if entry in OURS:
        return None
    try:
        return _lines(importlib.import_module(entry.partition(":")[0]))
    except ImportError as error:
        raise BirdnbError(
            f"{name!r} is registered as {entry}, which cannot be imported ({error}): install it, "
            f"or correct the entry"
        ) from error


def _lines(thing: Any) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):  # of a class in a notebook only the methods' can be had
        parts = vars(thing).values() if inspect.isclass(thing) else ()
        return "".join(_lines(part) for part in parts if inspect.isfunction(part))
