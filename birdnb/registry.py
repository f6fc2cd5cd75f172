"""Name what a study can be made of.

To add a network, a frozen encoder or an augmentation, write it and name it here: CONTRIBUTING.md
shows how.
An entry is a callable, or "module:name" of one, which is imported when it is first asked for.
"""

import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from birdnb.files import BirdnbError, name_fault, safe_name, user_path, whole_path

Entry = str | Callable[..., Any]

# the runs of the study, as their folders are called
CLASSICAL = "classical_mfcc"  # logistic regression on MFCC statistics, not a network
MFCC = "phase2_mfcc"
BASELINE = "phase3_ast_baseline"
FULL = "phase3_ast_full"  # with augmentation
EFFICIENTNET = "phase3_efficientnet_full"
ENSEMBLE = "phase3_ensemble"
ENSEMBLE_WITH = "ensemble_with_encoders"  # the same members, and frozen encoders; decides nothing
MEMBERS = (FULL, EFFICIENTNET)  # of the ensemble, where notebook 06 is given no others
TRAINED = {  # the runs that a notebook writes
    "04": (CLASSICAL, MFCC, BASELINE),
    "05": (FULL,),
    "06": (EFFICIENTNET, ENSEMBLE, ENSEMBLE_WITH),
}
# of a frozen encoder the name comes behind: logistic regression on its embeddings, as in
# frozen_birdnet, and its own answer among the corpus' species, as in own_answer_birdnet
FROZEN = "frozen_"
OWN_ANSWER = "own_answer_"

# learning curves: their page in the study's report folder, and the files that belong to it
CURVES = "how_many_recordings"

# called with (n_classes, n_frames, pretrained, size=..., drop_path=...); gives an nn.Module with
# head, embed and layers()
MODELS: dict[str, Entry] = {
    "ast": "birdnb.models.ast:build",
    "efficientnet_b2": "birdnb.models.efficientnet:build",
    "mfcc": "birdnb.models.mfcc:build",
}

# called with (given, profile): what stands behind the colon in "onnx:PATH" or "", and the settings;
# gives a birdnb.models.encoders.Encoder
ENCODERS: dict[str, Entry] = {
    "birdnet": "birdnb.models.birdnet:build",
    "onnx": "birdnb.models.onnx_file:build",
    "ast": "birdnb.models.frozen_network:build_ast",
    "efficientnet_b2": "birdnb.models.frozen_network:build_efficientnet",
}

# called with (x, generator): clips (B, n_mels, T) float32 [dB], after time shift and noise; gives
# as many of the same shape
AUGMENTATIONS: dict[str, Entry] = {}


def full_encoder(name: str) -> str:
    """Return "onnx:PATH" for the bare path of an ONNX file, "birdnet:PATH" for a TFLite file."""
    suffix = Path(name).suffix.lower()
    if name.partition(":")[0] not in ENCODERS and suffix in (".onnx", ".tflite"):
        return f"{'onnx' if suffix == '.onnx' else 'birdnet'}:{name}"
    return name


def encoder_id(encoder: str) -> str:
    """Return an encoder's name as it stands in the names of runs: perch_v2 of onnx:perch_v2.onnx.

    Files are called by their names; weights of our own networks have the network's in front.
    """
    kind, _, given = full_encoder(encoder).partition(":")
    name = Path(given).name
    for suffix in (".onnx", ".tflite", ".safetensors"):
        name = name.removesuffix(suffix)
    return safe_name(f"{kind}_{name}" if kind in MODELS and name else name or kind).lower()


def check_encoders(names: Any) -> tuple[str, ...]:
    """Return encoders by name, none opened or imported. Raises BirdnbError for what is none."""
    if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
        raise BirdnbError(f"encoders is {names!r}: write a list of names, as in [birdnet]")
    for name in names:
        check("encoder", ENCODERS, full_encoder(name).partition(":")[0])
    ids = [encoder_id(name) for name in names]
    for twice in {name for name, its in zip(names, ids, strict=True) if ids.count(its) > 1}:
        raise BirdnbError(f"two encoders would both be called {encoder_id(twice)}: rename one")
    return tuple(names)


def whole_encoder(name: str, folder: Path = Path()) -> str:
    """Return an encoder's name, its file in ``folder`` by absolute path: notebooks run elsewhere.

    It stays as it is where there is no such file. Raises BirdnbError for a path that is no text.
    """
    kind, _, given = full_encoder(name).partition(":")
    if not given or not os.path.exists(folder / user_path(given)):
        return name
    path = str(whole_path(folder / user_path(given)))
    if fault := name_fault(path):
        raise BirdnbError(f"the encoder cannot be at {os.fsencode(path)!r}: {fault}")
    return f"{kind}:{path}"


def encoder_runs(encoders: Iterable[str]) -> list[str]:
    """Return the names of the runs that encoders may give, two each."""
    return [kind + encoder_id(name) for name in encoders for kind in (FROZEN, OWN_ANSWER)]


def is_yardstick(run: str) -> bool:
    """Tell whether a run is of a frozen encoder: something to be measured against, not trained."""
    return run.startswith((FROZEN, OWN_ANSWER))


def find(kind: str, entries: Mapping[str, Entry], name: str) -> Callable[..., Any]:
    """Return the callable of that name, or raise BirdnbError: no such ``kind`` ("model")."""
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
