"""Name what a study can be made of.

To add a network or an augmentation, write it and name it here (see the README).
An entry is a callable, or "module:name" of one, which is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from birdnb.files import BirdnbError

Entry = str | Callable[..., Any]

# the runs of the study, as their folders are called
CLASSICAL = "classical_mfcc"  # logistic regression on MFCC statistics, not a network
MFCC = "phase2_mfcc"
BASELINE = "phase3_ast_baseline"
FULL = "phase3_ast_full"  # with augmentation
EFFICIENTNET = "phase3_efficientnet_full"
ENSEMBLE = "phase3_ensemble"

# called with (n_classes, n_frames, pretrained, size=..., drop_path=...); gives an nn.Module with
# head, embed and layers()
MODELS: dict[str, Entry] = {
    "ast": "birdnb.models.ast:build",
    "efficientnet_b2": "birdnb.models.efficientnet:build",
    "mfcc": "birdnb.models.mfcc:build",
}

# called with (x, generator): clips (B, n_mels, T) float32 [dB], after time shift and noise; gives
# as many of the same shape
AUGMENTATIONS: dict[str, Entry] = {}


def find(kind: str, entries: Mapping[str, Entry], name: str) -> Callable[..., Any]:
    """Return the callable of that name; ``kind`` ("model") is for the error.

    Raises BirdnbError for a name that is not there.
    """
    check(kind, entries, name)
    entry = entries[name]
    if isinstance(entry, str):
        module, _, attribute = entry.partition(":")
        return getattr(importlib.import_module(module), attribute)
    return entry


def check(kind: str, entries: Mapping[str, Entry], name: str) -> None:
    """Raise BirdnbError when no entry has that name; imports nothing."""
    if name not in entries:
        known = f"choose one of {', '.join(entries)}, or add" if entries else "add"
        raise BirdnbError(f"no {kind} is called {name!r}: {known} it to birdnb/registry.py")
