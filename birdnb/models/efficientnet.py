"""EfficientNet-B2 on spectrograms.

Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks,
https://arxiv.org/abs/1905.11946, in timm's implementation,
https://github.com/huggingface/pytorch-image-models.
"""

from __future__ import annotations

from typing import Any

import timm
from torch import Tensor, nn

from birdnb.config import SIZES
from birdnb.files import BirdnbError
from birdnb.models.stem import fast_layout
from birdnb.models.weights import is_local, load_all_but, read_weights, shipped, unavailable

ARCHITECTURE = "efficientnet_b2"
PARTS = ("conv_stem", "bn1", "blocks", "conv_head", "bn2", "classifier")  # of timm's EfficientNets


class AudioEfficientNet(nn.Module):
    """timm's EfficientNet-B2 with one input channel: (B, 128, T) normalised LMS to logits, any T.

    The logits are (B, n_classes). ``size`` is the name of another architecture of timm's with the
    same parts; ``backbone`` takes the place of a new one.
    """

    backbone: Any  # timm's network

    def __init__(
        self, n_classes: int, *, size: str = ARCHITECTURE, drop_path: float = 0.0,
        backbone: nn.Module | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        own: dict[str, Any] = {"in_chans": 1, "num_classes": n_classes, "drop_path_rate": drop_path}
        self.backbone = backbone or timm.create_model(size, pretrained=False, **own)
        self.size = self.backbone.default_cfg["architecture"]
        fast_layout(self.backbone)

    @classmethod
    def from_pretrained(
        cls, source: bool | str, n_classes: int, *, size: str = ARCHITECTURE,
        drop_path: float = 0.0,
    ) -> AudioEfficientNet:  # fmt: skip
        """Build it from a local file or folder, a hub id, or, for True, timm's ImageNet weights.

        ImageNet weights saw images of about zero mean and unit variance in each colour; our LMS is
        that already, and timm sums the first convolution over the colours (the same as a grey image
        in all three), so the input is used as it is. Raises BirdnbError when the weights cannot be
        had or do not fit ``size``.
        """
        if isinstance(source, str) and is_local(source):
            model = cls(n_classes, size=size, drop_path=drop_path)
            model._load(source)
            return model
        name = size if source is True else f"hf_hub:{source}"
        own: dict[str, Any] = {"in_chans": 1, "num_classes": n_classes, "drop_path_rate": drop_path}
        try:
            backbone = timm.create_model(name, pretrained=True, **own)
        except Exception as error:  # the hub's client raises its own, httpx' and plain OS errors
            raise unavailable(name, error) from error
        if missing := [part for part in PARTS if not hasattr(backbone, part)]:
            raise BirdnbError(
                f"pretrained is {source!r}, a {type(backbone).__name__} of timm's without "
                f"{missing[0]}: give the hub id of an EfficientNet"
            )
        return cls(n_classes, backbone=backbone)

    @property
    def head(self) -> nn.Module:
        """Return the classification layer."""
        return self.backbone.classifier

    def layers(self) -> list[nn.Module]:
        """Return the parts from input to output for layer-wise learning rates, but for the head."""
        net = self.backbone
        return [
            nn.ModuleList([net.conv_stem, net.bn1]),
            *net.blocks,
            nn.ModuleList([net.conv_head, net.bn2]),
        ]

    def embed(self, x: Tensor) -> Tensor:
        """Map normalised LMS (B, 128, T) to the pooled features before the head, (B, 1408)."""
        # (B, 1, 128, T) -> (B, 1408, 4, T / 32)
        features = self.backbone.forward_features(x.unsqueeze(1))
        return self.backbone.forward_head(features, pre_logits=True)  # (B, 1408)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised LMS (B, 128, T) to logits (B, n_classes)."""
        return self.head(self.embed(x))

    def _load(self, source: str) -> None:
        state = {
            name.removeprefix("backbone."): value for name, value in read_weights(source).items()
        }
        if "conv_stem.weight" in state:
            # (32, 1 or 3, 3, 3): a grey image has the same value in all colours
            state["conv_stem.weight"] = state["conv_stem.weight"].sum(dim=1, keepdim=True)
        load_all_but(self.backbone, state, "classifier.", source)


def build(
    n_classes: int, n_frames: int, pretrained: bool | str = False, *, size: str = "",
    drop_path: float = 0.0,
) -> AudioEfficientNet:  # fmt: skip
    """Build the network as ``build_model`` asks; the sizes of AST mean EfficientNet-B2."""
    own = ARCHITECTURE if size in ("", *SIZES) else size
    if "efficientnet" not in own or not timm.is_model(own):
        raise BirdnbError(
            f"timm has no EfficientNet {size!r}: set size to one of "
            f"timm.list_models('*efficientnet*'), or leave it out for EfficientNet-B2"
        )
    if pretrained is False:
        return AudioEfficientNet(n_classes, size=own, drop_path=drop_path)
    if pretrained == "synthetic" and own != ARCHITECTURE:
        raise BirdnbError(
            f"pretrained=synthetic is an EfficientNet-B2: leave size={size} out, or set another "
            f"pretrained"
        )
    source = str(shipped("efficientnet_b2")) if pretrained == "synthetic" else pretrained
    return AudioEfficientNet.from_pretrained(source, n_classes, size=own, drop_path=drop_path)
