"""The Audio Spectrogram Transformer (AST).

Gong, Chung and Glass, AST: Audio Spectrogram Transformer, https://arxiv.org/abs/2104.01778, in the
implementation of transformers. The laptop size is made to learn from a few hundred recordings: a
convolutional stem instead of 16 x 16 patches (Xiao et al., Early Convolutions Help Transformers See
Better, https://arxiv.org/abs/2106.14881), layers that begin as identities, and the largest value
over the patches instead of a class token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import ASTConfig, ASTForAudioClassification
from transformers.models.audio_spectrogram_transformer import (
    modeling_audio_spectrogram_transformer as modeling,
)

from birdnb.config import N_MELS, SIZES
from birdnb.files import BirdnbError, user_path
from birdnb.models.stem import ConvStem, fast_layout
from birdnb.models.weights import REMEDY, is_local, load_all_but, read_weights, shipped, unavailable

HUB_ID = "MIT/ast-finetuned-audioset-10-10-0.4593"
TINY = {
    "hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 768,
}  # fmt: skip
# of ASTConfig: all that decides what a network computes from its weights
SHAPE = (
    *TINY, "hidden_act", "layer_norm_eps", "patch_size", "qkv_bias", "frequency_stride",
    "time_stride",
)  # fmt: skip
Shape = str | Mapping[str, Any]  # a name of SIZES, or values of SHAPE
TOKENS = 2  # [CLS] and the distillation token, ahead of the patches


class AudioAST(nn.Module):
    """AST on log-mel spectrograms: (B, 128, n_frames) normalised LMS to (B, n_classes) logits.

    ``size`` is "tiny" (192 wide, a convolutional stem; for a laptop, from scratch), "base" (the
    published one: 12 layers, 768 wide, 16 x 16 patches every 10), or a dictionary of those values
    of ``ASTConfig`` that ``SHAPE`` names. ``network`` takes the place of a new one.
    """

    input_scale: Tensor

    def __init__(
        self, n_classes: int, n_frames: int, *, size: Shape = "tiny", drop_path: float = 0.0,
        network: ASTForAudioClassification | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.size = size if network is None else {k: getattr(network.config, k) for k in SHAPE}
        network = network or _new(size, n_classes, n_frames)
        self.encoder: Any = network.audio_spectrogram_transformer
        self.head = network.classifier
        # what the input is multiplied by; saved along, for fine-tuned checkpoints
        self.register_buffer("input_scale", torch.tensor(1.0))
        if drop_path:
            _add_drop_path(self.encoder.layers, drop_path)

    @classmethod
    def from_pretrained(
        cls, source: str, n_classes: int, n_frames: int, *, size: Shape = "tiny",
        drop_path: float = 0.0,
    ) -> AudioAST:  # fmt: skip
        """Build it from a .safetensors file or run folder of this class, or from transformers.

        ``source`` may also be a folder that transformers saved or a hub id; those bring their own
        size. Position embeddings are cut or interpolated to n_frames; only the head is new. Raises
        BirdnbError when the weights cannot be had or do not fit.
        """
        if _is_own(source):
            model = cls(n_classes, n_frames, size=size, drop_path=drop_path)
            model._load(source, n_frames)
            return model
        network = _from_transformers(source, n_classes, n_frames)
        model = cls(n_classes, n_frames, drop_path=drop_path, network=network)
        # AudioSet checkpoints saw (x - mean) / (2 std): halve our unit variance
        model.input_scale.fill_(0.5)
        return model

    def layers(self) -> list[nn.Module]:
        """Return the parts from input to output for layer-wise learning rates, but for the head."""
        return [self.encoder.embeddings, *self.encoder.layers, self.encoder.layernorm]

    def embed(self, x: Tensor) -> Tensor:
        """Pooled features before the head: (B, 128, T) to (B, D).

        The published AST takes the mean of its two tokens. The tiny one takes the largest value
        over the patches: a song is anywhere in the clip, and two hundred recordings do not teach a
        token from scratch where to look.
        """
        hidden = self.encoder(self.input_scale * x.transpose(1, 2))  # (B, T, 128)
        if isinstance(self.encoder.embeddings.patch_embeddings, ConvStem):
            return hidden.last_hidden_state[:, TOKENS:].amax(dim=1)  # (B, 2 + N, D) -> (B, D)
        return hidden.pooler_output  # (B, D)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised LMS (B, 128, T) to logits (B, n_classes)."""
        return self.head(self.embed(x))

    def _load(self, source: str, n_frames: int) -> None:
        """Load weights of this class, whatever number of frames they were trained on."""
        state = read_weights(source)
        key = "encoder.embeddings.position_embeddings"
        n_mel, n_time = _grid(self.encoder.embeddings, n_frames)
        if key in state and (state[key].shape[1] - TOKENS) % n_mel == 0:
            state[key] = fit_positions(state[key], n_mel, n_time)
        load_all_but(self, state, "head.", source)


def build(
    n_classes: int, n_frames: int, pretrained: bool | str = False, *, size: Shape = "tiny",
    drop_path: float = 0.0,
) -> AudioAST:  # fmt: skip
    """Build the network as ``build_model`` asks for it."""
    source = _source(pretrained, size)
    if source is None:
        return AudioAST(n_classes, n_frames, size=size, drop_path=drop_path)
    return AudioAST.from_pretrained(source, n_classes, n_frames, size=size, drop_path=drop_path)


def fit_positions(table: Tensor, n_mel: int, n_time: int) -> Tensor:
    """Position embeddings (1, 2 + n_mel * old, D) for ``n_time`` steps: (1, 2 + n_mel * n_time, D).

    As the AST authors do: the centre of the time axis when there are fewer steps, bilinear
    interpolation when there are more; the two tokens keep theirs.
    """
    tokens, patches = table[:, :TOKENS], table[:, TOKENS:]
    old, width = patches.shape[1] // n_mel, patches.shape[2]
    grid = patches.reshape(1, n_mel, old, width).permute(0, 3, 1, 2)  # (1, D, mel, time)
    if n_time <= old:
        start = old // 2 - n_time // 2
        grid = grid[..., start : start + n_time]
    else:
        grid = functional.interpolate(grid.float(), size=(n_mel, n_time), mode="bilinear").to(
            grid.dtype
        )
    # (1, D, mel * time) -> (1, 2 + mel * time, D)
    return torch.cat([tokens, grid.flatten(2).transpose(1, 2)], dim=1)


def _source(pretrained: bool | str, size: Shape) -> str | None:
    """Return where the weights come from: a path or a hub id, None for none."""
    if pretrained == "synthetic":
        if size != "tiny":
            raise BirdnbError(
                f"pretrained=synthetic is a tiny AST: set size=tiny, not {size}, or another "
                f"`pretrained`"
            )
        return str(shipped("ast"))
    if isinstance(pretrained, str):
        return pretrained
    return HUB_ID if pretrained else None


def _is_own(source: str) -> bool:
    """Tell whether birdnb wrote the source: a .safetensors file, or a run folder."""
    return source.endswith(".safetensors") or (user_path(source) / "best.safetensors").is_file()


def _add_drop_path(layers: Any, drop_path: float) -> None:
    """Drop deeper layers more often, the last at this rate (https://arxiv.org/abs/1603.09382)."""
    from timm.layers import DropPath  # takes a second to import: most runs have none

    for depth, layer in enumerate(layers):
        # transformers applies it to both residual branches of a layer
        layer.dropout = DropPath(drop_path * depth / max(1, len(layers) - 1))


def _new(size: Shape, n_classes: int, n_frames: int) -> ASTForAudioClassification:
    if isinstance(size, Mapping):
        return ASTForAudioClassification(_config(n_classes, max_length=n_frames, **size))
    if size == "base":
        return ASTForAudioClassification(_config(n_classes, max_length=n_frames))
    if size not in SIZES:
        raise BirdnbError(f"AST has no size {size!r}: choose one of {', '.join(SIZES)}")
    model = ASTForAudioClassification(_config(n_classes, **TINY))
    width = model.config.hidden_size
    embeddings: Any = model.audio_spectrogram_transformer.embeddings
    embeddings.patch_embeddings = fast_layout(ConvStem(width))
    n_mel, n_time = _grid(embeddings, n_frames)
    positions = torch.randn(1, TOKENS + n_mel * n_time, width) * model.config.initializer_range
    embeddings.position_embeddings = nn.Parameter(positions)
    layers: Any = model.audio_spectrogram_transformer.layers
    # at first each layer passes on what the stem saw: Zhang et al., https://arxiv.org/abs/1901.09321
    for layer in layers:
        nn.init.zeros_(layer.attention.o_proj.weight)
        nn.init.zeros_(layer.mlp.fc2.weight)
    return model


def _config(n_classes: int, **settings: Any) -> ASTConfig:
    return ASTConfig(**{**settings, "num_labels": n_classes, "attn_implementation": "sdpa"})


def _from_transformers(source: str, n_classes: int, n_frames: int) -> ASTForAudioClassification:
    """Load a checkpoint from a folder or the hub, with a new head and positions for n_frames."""
    if is_local(source) and not (user_path(source) / "config.json").is_file():
        raise BirdnbError(
            f"{source} is no folder with a config.json that transformers saved: {REMEDY}"
        )
    path = str(user_path(source)) if is_local(source) else source
    try:
        loaded: Any = ASTForAudioClassification.from_pretrained(
            path, output_loading_info=True, attn_implementation="sdpa", dtype=torch.float32
        )
    except Exception as error:
        # the hub's client raises its own, httpx', safetensors' and plain OS errors
        raise unavailable(source, error) from error
    model, report = loaded
    wrong = {
        str(key)
        for part in report.values()
        for key in part
        if not str(key).startswith("classifier.")
    }
    if wrong or model.config.num_mel_bins != N_MELS:
        mels = f"{model.config.num_mel_bins} mel bands"
        what = f"{len(wrong)} tensors missing or unknown, such as {min(wrong)}" if wrong else mels
        raise BirdnbError(
            f"the checkpoint {source!r} is no AST for 128 mel bands ({what}): give another, or "
            f"pretrained=false"
        )
    embeddings: Any = model.audio_spectrogram_transformer.embeddings
    n_mel, n_time = _grid(embeddings, n_frames)
    embeddings.position_embeddings = nn.Parameter(
        fit_positions(embeddings.position_embeddings.data, n_mel, n_time)
    )
    model.config.num_labels, model.config.max_length = n_classes, n_frames
    model.classifier = modeling.ASTMLPHead(model.config)
    nn.init.trunc_normal_(model.classifier.dense.weight, std=model.config.initializer_range)
    nn.init.zeros_(model.classifier.dense.bias)
    return model


def _grid(embeddings: Any, n_frames: int) -> tuple[int, int]:
    """Count the patches along mel and time for ``n_frames`` frames."""
    if isinstance(embeddings.patch_embeddings, ConvStem):
        return embeddings.patch_embeddings.grid(n_frames)
    config = embeddings.config
    n_mel = (N_MELS - config.patch_size) // config.frequency_stride + 1
    return n_mel, (n_frames - config.patch_size) // config.time_stride + 1
