"""Prediction: clips a second of the two networks of a study, as predictions are made here.

Beside the plain way (batches of 64, fp32), and beside an exported graph where ONNX is installed.
"""

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from birdnb.benchmark.rows import ROUNDS, Row, best_seconds
from birdnb.benchmark.training import AUDIO, random_clips
from birdnb.evaluation.predictions import clip_logits
from birdnb.features.lms import normalise
from birdnb.field.graph import Graph, export
from birdnb.files import BirdnbError
from birdnb.models import build_model
from birdnb.training.devices import autocast, make_accelerator

CLIPS, SPECIES, KIND = 128, 90, "noise_floor"
NETWORKS = {"ast": "AST tiny", "efficientnet_b2": "EfficientNet-B2"}


def rows(rounds: int = ROUNDS, clips: int = CLIPS) -> list[Row]:
    """Return clips per second of each network: ours, in bf16, and as an exported graph."""
    device, lms, found = make_accelerator().device, random_clips(clips).lms, []
    for name, title in NETWORKS.items():
        torch.manual_seed(0)
        model = build_model(name, SPECIES, AUDIO.n_frames, "synthetic").eval().to(device)
        ways = ways_of(model, lms, device)
        took = best_seconds(ways, rounds)
        expected, speed = ways["plain"](), {way: clips / took[way] for way in ways}
        what = {
            "ours": f"prediction, {title}, {device.type}", "bf16": "... in bf16",
            "graph": "... as a graph for onnxruntime",
        }  # fmt: skip
        for way in (way for way in ways if way != "plain"):
            apart = (ways[way]().softmax(-1) - expected.softmax(-1)).abs().max()
            found.append(
                Row(f"{what[way]} (probabilities within {apart:.0e})", "clips/s", speed[way],
                    speed["plain"], "batches of 64, fp32", speed[way] / speed["plain"])
            )  # fmt: skip
    return found


def ways_of(model: nn.Module, lms: Tensor, device: torch.device) -> dict[str, Callable[[], Tensor]]:
    """Return the ways to predict by name; each gives logits (N, C) on the CPU."""

    def ours() -> Tensor:
        return clip_logits(model, lms, KIND, 64, device)

    def half() -> Tensor:
        with autocast(device, "bf16"):
            return ours()

    def plain() -> Tensor:
        with torch.no_grad():
            parts = [normalise(part.to(device).float(), KIND) for part in lms.split(64)]
            return torch.cat([model(x).cpu() for x in parts])

    ways = {"ours": ours, "plain": plain, "bf16": half}
    if device.type == "cpu":
        with contextlib.suppress(BirdnbError):  # its extra is not installed
            graph = Graph(export(model, AUDIO.n_frames))
            ways["graph"] = lambda: clip_logits(graph, lms, KIND, 64, device)
    return ways
