"""Any encoder as an ONNX file, run by onnxruntime: Perch 2, BirdNET, or one of your own.

Its sample rate, window, input and outputs are read from the file, or from a YAML file beside it
(``birdnb.models.encoder_file.Description``).
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from birdnb.config import Profile, key_of
from birdnb.files import BirdnbError
from birdnb.models.encoder_file import (
    Description,
    beside,
    describe,
    model_file,
    read_labels,
    refuse,
    sha256_of_model,
)
from birdnb.models.encoders import Encoded, Encoder


class OnnxEncoder(Encoder):
    """An ONNX model: sound (1, samples), (1, 1, samples) or (samples,) in, (1, D) out."""

    def __init__(self, path: Path, usual: Mapping[str, Any]) -> None:
        self._session = open_session(path)
        said = describe(path, self._session.get_modelmeta().custom_metadata_map, usual)
        self.card, self.labels = said.card(path), read_labels(said, path)
        inputs = {part.name: part.shape for part in self._session.get_inputs()}
        self._input = _choose(path, "input", said.input, inputs)
        shape = inputs[self._input]
        if not 1 <= len(shape) <= 3:
            raise BirdnbError(f"{path} takes {shape}, which is no sound: (1, samples) is expected")
        self._lead = (1,) * (len(shape) - 1)
        fixed = shape[-1] if isinstance(shape[-1], int) else None
        self.sample_rate, self.window_seconds = said.sound(fixed, path)
        self._outputs = self._choose_outputs(path, said)
        self.key = key_of(
            sha256_of_model(path), self.sample_rate, self.window_seconds, self._outputs
        )
        self._try(path)

    def encode(self, windows: np.ndarray) -> Encoded:
        """Encode windows (W, window_samples) one by one, as many models take no more."""
        found = [self._run(window) for window in windows]
        embeddings, *answers = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return Encoded(embeddings, answers[0] if answers else None)

    def _run(self, window: np.ndarray) -> list[np.ndarray]:
        sound = window.astype(np.float32).reshape(*self._lead, -1)
        found = self._session.run(self._outputs, {self._input: sound})
        return [np.asarray(part, np.float32).reshape(1, *np.shape(part)[1:]) for part in found]

    def _choose_outputs(self, path: Path, said: Description) -> list[str]:
        outputs = {part.name: part.shape for part in self._session.get_outputs()}
        usual = next((n for n in ("embedding", "embeddings") if n in outputs), "")
        chosen = [_choose(path, "embedding", said.embedding or usual, outputs)]
        if said.answer:
            chosen.append(_choose(path, "answer", said.answer, outputs))
        elif self.labels:
            raise BirdnbError(
                f"{beside(path)} names labels: add answer, one of {', '.join(outputs)}"
            )
        return chosen

    def _try(self, path: Path) -> None:
        """Encode silence. Raises BirdnbError for an output of another shape than it should have."""
        try:
            found = self._run(np.zeros(self.window_samples, np.float32))
        except Exception as error:  # onnxruntime raises a dozen kinds of its own
            raise refuse(path, "an encoder of sound", error) from error
        for name, part in zip(self._outputs, found, strict=True):
            if part.ndim != 2:
                raise BirdnbError(
                    f"{path}: the output {name} is {part.shape}, not (1, D): name another as "
                    f"embedding in {beside(path)}"
                )
        if self.labels and found[1].shape[1] != len(self.labels):
            raise BirdnbError(
                f"{path} answers with {found[1].shape[1]} classes, and {beside(path)} names a file "
                f"of {len(self.labels)} labels: give the labels of this version"
            )


def build(given: str, profile: Profile, usual: Mapping[str, Any] | None = None) -> Encoder:
    """Open an ONNX file as an encoder; ``usual`` holds where neither file nor YAML says else.

    Raises BirdnbError when onnxruntime is not installed, and for a damaged or foreign file.
    """
    if not given:
        raise BirdnbError("the encoder 'onnx' names no file: write onnx:PATH")
    return OnnxEncoder(model_file(given), usual or {})


def _choose(path: Path, what: str, name: str, known: Mapping[str, Any]) -> str:
    """Return the name that is meant; where none is given, the only one."""
    if name in known or (not name and len(known) == 1):
        return name or next(iter(known))
    has = f"has no {what} {name!r}" if name else f"has {len(known)}"
    raise BirdnbError(
        f"{path} {has}: write {what}: NAME into {beside(path)}, of {', '.join(known)}"
    )


def open_session(model: Path | bytes, threads: int = 1) -> Any:
    """Open an ONNX file, or what is in one, in onnxruntime.

    Raises BirdnbError when that is not installed, and for a damaged or foreign file.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise BirdnbError(
            "onnxruntime is not installed here: python -m pip install --editable '.[onnx]'"
        )
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    given = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen kinds of its own
        name = Path("a model" if isinstance(model, bytes) else model)
        raise refuse(name, "an ONNX model", error) from error
