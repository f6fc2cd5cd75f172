"""The networks: ``build_model`` by name, and the parameter groups an optimiser needs.

Every model maps normalised log-mel spectrograms (B, 128, T) to logits (B, n_classes) and has
``head`` (the classification layer), ``embed(x)`` (the pooled features before it, (B, D)) and
``layers()`` (its modules from input to output).
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from birdnb.files import BirdnbError
from birdnb.registry import MODELS, find

NO_DECAY = ("position_embeddings", "cls_token", "distillation_token")


def build_model(
    name: str, n_classes: int, n_frames: int, pretrained: bool | str = False, *,
    size: str | Mapping[str, Any] = "tiny", drop_path: float = 0.0,
) -> nn.Module:  # fmt: skip
    """Build a network: (B, 128, n_frames) normalised LMS in, (B, n_classes) logits out.

    ``pretrained`` is False, "synthetic" (the shipped checkpoint), True (the model's hub
    checkpoint), a hub id, or a local file or folder; nothing is downloaded unless it asks for it.
    ``size`` is that of ``ModelSettings``, or what a network says is its ``size``. Raises
    BirdnbError for an unknown name or size and when the weights cannot be had.
    """
    build = find("model", MODELS, name)
    return build(n_classes, n_frames, pretrained, size=size, drop_path=drop_path)


def parameter_groups(
    model: nn.Module, lr_backbone: float, lr_head: float, weight_decay: float,
    layer_decay: float = 1.0,
) -> list[dict[str, Any]]:  # fmt: skip
    """Sort parameters into groups for AdamW, each with its learning rate.

    The head at ``lr_head``, the layer below it at ``lr_backbone``, each one below times
    ``layer_decay``. Biases, normalisation weights, position embeddings and the two AST tokens get
    no weight decay (as BEiT and timm do). Each group also has a ``name``. Every trainable parameter
    is in exactly one group; BirdnbError for one in no layer.
    """
    layers = [*model.layers(), model.head]  # type: ignore[operator, list-item]
    depth_of = {id(p): depth for depth, layer in enumerate(layers) for p in layer.parameters()}
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) not in depth_of:
            raise BirdnbError(
                f"the parameter {name!r} is in none of layers() and not in the head: return a "
                f"module that holds it from layers()"
            )
        depth = depth_of[id(parameter)]
        # layers between this one and the head; -1 for the head itself
        below = len(layers) - 2 - depth
        # a few large groups are quicker than many small ones
        backbone = "backbone" if layer_decay == 1 else f"layer {depth}"
        part, lr = ("head", lr_head) if below < 0 else (backbone, lr_backbone * layer_decay**below)
        plain = parameter.ndim <= 1 or name.endswith(NO_DECAY)
        key = f"{part}, no decay" if plain else part
        group = groups.setdefault(
            key,
            {"name": key, "params": [], "lr": lr, "weight_decay": 0.0 if plain else weight_decay},
        )
        group["params"].append(parameter)
    return list(groups.values())
