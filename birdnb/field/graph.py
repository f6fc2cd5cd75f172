"""The network of a run as a graph for onnxruntime: the same figures in half the time on a CPU."""

import importlib.util
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from birdnb import __version__
from birdnb.config import N_MELS, key_of
from birdnb.files import BirdnbError, artifacts_dir, atomic_path, first_line, sha256_of
from birdnb.models.onnx_file import open_session
from birdnb.training.checkpoint import BEST
from birdnb.training.runs import CONFIG, METRICS, load_model, read_json

CLOSE = 1e-3  # probabilities of a graph and its network are at most so far apart
PLAIN, GRAPH = "torch", "onnxruntime"
Network = Callable[[Tensor], Tensor]  # (B, 128, T) normalised LMS to logits (B, C)


class Graph:
    """A network in onnxruntime, with as many threads as torch has when it is called.

    ``source`` is an ONNX file, or what would be in one.
    """

    def __init__(self, source: Path | bytes) -> None:
        self._source = source
        self._open()

    def __call__(self, x: Tensor) -> Tensor:
        """Map normalised LMS (B, 128, T) on the CPU to logits (B, C)."""
        if self.threads != torch.get_num_threads():
            self._open()
        return torch.from_numpy(self._session.run(None, {"x": x.numpy()})[0])

    def _open(self) -> None:
        threads = torch.get_num_threads()
        self._session: Any = open_session(self._source, threads)
        self.threads = threads


def network_of(folder: Path, device: torch.device) -> tuple[Network, str]:
    """Open the network of a run, and say what computes it: ``GRAPH``, or ``PLAIN`` and why.

    Raises BirdnbError as ``load_model``.
    """
    if device.type != "cpu":
        return load_model(folder).to(device), PLAIN
    try:
        return _kept(folder), GRAPH
    except BirdnbError as error:
        return load_model(folder), f"{PLAIN}: {error}"


def _kept(folder: Path) -> Graph:
    """Open the graph of a run that is kept among the artifacts, or make it there.

    It is known by the weights it was made from. Raises BirdnbError as ``export`` and
    ``load_model``.
    """
    config, metrics = read_json(folder / CONFIG), read_json(folder / METRICS)
    weights, best = metrics.get("weights_sha256", ""), folder / BEST
    if not best.exists() or sha256_of(best) != weights:
        load_model(folder)  # which raises what is wrong
    model = config["settings"]["model"]["name"], config["size"], config["n_frames"]
    key = key_of(*model, torch.__version__, __version__)
    path = artifacts_dir() / "graphs" / f"{weights}-{key}.onnx"
    try:
        return Graph(path)
    except BirdnbError:  # not there yet, or damaged
        made = export(load_model(folder), config["n_frames"])
    with atomic_path(path) as temporary:
        temporary.write_bytes(made)
    return Graph(path)


def export(model: nn.Module, n_frames: int) -> bytes:
    """Return a network in evaluation mode as an ONNX file for any number of clips.

    Raises BirdnbError when it cannot be exported, or says something else than the network.
    """
    if importlib.util.find_spec("onnx") is None:  # torch writes the file with it
        raise BirdnbError("onnx is not installed here: python -m pip install --editable '.[onnx]'")
    generator = torch.Generator().manual_seed(0)
    clips = torch.randn(3, N_MELS, n_frames, generator=generator)
    file: Any = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            # by tracing: 15 times as quick as torch.export, and the graph a tenth quicker
            torch.onnx.export(
                model, (clips[:2],), file, dynamo=False, input_names=["x"],
                dynamic_axes={"x": {0: "clips"}},
            )  # fmt: skip
            apart = Graph(file.getvalue())(clips).softmax(-1) - model(clips).softmax(-1)
    except BirdnbError:
        raise
    except Exception as error:  # the exporter raises a dozen kinds of its own
        raise BirdnbError(f"its network cannot be exported ({first_line(error)})") from error
    if not float(apart.abs().max()) <= CLOSE:
        raise BirdnbError(f"its exported network says something else, by {apart.abs().max():.1e}")
    return file.getvalue()
