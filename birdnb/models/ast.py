"""The Audio Spectrogram Transformer (AST).

Gong, Chung and Glass, AST: Audio Spectrogram Transformer, https://arxiv.org/abs/2104.01778, in the implementation of
transformers. The laptop size replaces the 16 x 16 patches by a convolutional stem: Xiao et al., Early Convolutions Help
Transformers See Better, https://arxiv.org/abs/2106.14881.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import ASTConfig, ASTForAudioClassification
from transformers.models.audio_spectrogram_transformer.modeling_audio_spectrogram_transformer import ASTMLPHead

from birdnb.files import BirdnbError
from birdnb.models.weights import REMEDY, is_local, load_all_but, read_weights, shipped, unavailable

HUB_ID = "MIT/ast-finetuned-audioset-10-10-0.4593"
SHIPPED_NAME = "ast_tiny.safetensors"
N_MELS = 128
TOKENS = 2  # [CLS] and the distillation token, ahead of the patches


class AudioAST(nn.Module):
    """AST on log-mel spectrograms: (B, 128, n_frames) normalised LMS to (B, n_classes) logits.

    ``size`` is "tiny" (192 wide, a convolutional stem; for a laptop, from scratch) or "base" (the published one: 12 layers,
    768 wide, 16 x 16 patches every 10). ``pretrained`` is False, "synthetic" (the shipped tiny checkpoint), True (AudioSet
    weights from the hub), a hub id, a folder that transformers saved, or a .safetensors file of this class. A hub or
    transformers checkpoint brings its own size. Position embeddings are cut or interpolated to n_frames; only the head is
    new. Raises BirdnbError when the weights cannot be had or do not fit.
    """

    def __init__(
        self, n_classes: int, n_frames: int, pretrained: bool | str = False, *, size: str = "tiny", drop_path: float = 0.0
    ) -> None:
        super().__init__()
        source = HUB_ID if pretrained is True else pretrained
        if source == "synthetic":
            if size != "tiny":
                raise BirdnbError(
                    f"pretrained=synthetic is a tiny AST: set size=tiny instead of {size}, or another `pretrained`"
                )
            source = str(shipped(SHIPPED_NAME))
        from_transformers = bool(source) and not str(source).endswith(".safetensors")
        model = _from_transformers(str(source), n_classes) if from_transformers else _from_scratch(size, n_classes, n_frames)
        self.encoder = model.audio_spectrogram_transformer
        self.head = model.classifier
        self.input_scale = 0.5 if from_transformers else 1.0  # those checkpoints saw (x - mean) / (2 std)
        if from_transformers:
            _fit_to_frames(self.encoder.embeddings, n_frames)
        elif source:
            self._load(Path(str(source)), n_frames)
        for layer, rate in zip(
            self.encoder.layers, torch.linspace(0, drop_path, len(self.encoder.layers)).tolist(), strict=True
        ):
            layer.dropout = DropPath(rate)  # transformers applies it to both residual branches of a layer

    def layers(self) -> list[nn.Module]:
        """Parts from input to output, the head left out; for layer-wise learning rates."""
        return [self.encoder.embeddings, *self.encoder.layers, self.encoder.layernorm]

    def embed(self, x: Tensor) -> Tensor:
        """Pooled features before the head, the mean of the two tokens: (B, 128, T) to (B, D)."""
        return self.encoder(self.input_scale * x.transpose(1, 2)).pooler_output  # (B, T, 128) -> (B, D)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 128, T) normalised LMS to (B, n_classes) logits."""
        return self.head(self.embed(x))

    def _load(self, path: Path, n_frames: int) -> None:
        """Load a file of this class, whatever number of frames it was trained on."""
        state = read_weights(path)
        key = "encoder.embeddings.position_embeddings"
        grid = self.encoder.embeddings.patch_embeddings.grid(n_frames)
        if key in state:
            state[key] = fit_positions(state[key], grid[0], grid[1])
        load_all_but(self, state, "head.", path)


class ConvStem(nn.Module):
    """Patches by convolution: (B, T, 128) to (B, 8 * T / 8, D), four 3 x 3 convolutions that each halve the mel axis.

    The first three also halve time: a token is a step of 16 bands and 8 frames (186 ms at hop 512) that overlaps its
    neighbours, where AST's 16 frames (370 ms) outlast most syllables.
    """

    STRIDES = ((2, 2), (2, 2), (2, 2), (2, 1))  # (mel, time)

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = (1, width // 6, width // 3, 2 * width // 3, width)
        blocks = []
        for channels_in, channels_out, stride in zip(channels, channels[1:], self.STRIDES, strict=False):
            conv = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
            blocks += [conv, nn.BatchNorm2d(channels_out), nn.GELU()]
        self.blocks = nn.Sequential(*blocks, nn.Conv2d(width, width, 1))

    def grid(self, n_frames: int) -> tuple[int, int]:
        """Tokens along mel and time for ``n_frames`` frames."""
        bands = N_MELS
        for mel, time in self.STRIDES:
            bands, n_frames = -(-bands // mel), -(-n_frames // time)
        return bands, n_frames

    def forward(self, input_values: Tensor) -> Tensor:
        """(B, T, 128) to (B, tokens, D)."""
        x = self.blocks(input_values.transpose(1, 2).unsqueeze(1))  # (B, 1, 128, T) -> (B, D, 8, T / 8)
        return x.flatten(2).transpose(1, 2)  # (B, 8 * T / 8, D)


class DropPath(nn.Module):
    """Stochastic depth: drops a sample's whole residual branch at this rate in training. https://arxiv.org/abs/1603.09382"""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(len(x), 1, 1, device=x.device) >= self.rate  # (B, 1, 1)
        return x * kept / (1 - self.rate)


def fit_positions(table: Tensor, n_mel: int, n_time: int) -> Tensor:
    """Position embeddings (1, 2 + n_mel * old, D) for ``n_time`` steps: (1, 2 + n_mel * n_time, D).

    As the AST authors do: the centre of the time axis when there are fewer steps, bilinear interpolation when there are more;
    the two tokens keep theirs.
    """
    tokens, patches = table[:, :TOKENS], table[:, TOKENS:]
    old, width = patches.shape[1] // n_mel, patches.shape[2]
    grid = patches.reshape(1, n_mel, old, width).permute(0, 3, 1, 2)  # (1, D, mel, time)
    if n_time <= old:
        start = old // 2 - n_time // 2
        grid = grid[..., start : start + n_time]
    else:
        grid = functional.interpolate(grid.float(), size=(n_mel, n_time), mode="bilinear").to(grid.dtype)
    return torch.cat([tokens, grid.flatten(2).transpose(1, 2)], dim=1)  # (1, D, mel * time) -> (1, 2 + mel * time, D)


def _from_scratch(size: str, n_classes: int, n_frames: int) -> ASTForAudioClassification:
    if size == "base":
        return ASTForAudioClassification(_config(n_classes, max_length=n_frames))
    if size != "tiny":
        raise BirdnbError(f"AST has no size {size!r}: choose tiny or base")
    config = _config(n_classes, hidden_size=192, num_hidden_layers=4, num_attention_heads=4, intermediate_size=768)
    model = ASTForAudioClassification(config)
    embeddings = model.audio_spectrogram_transformer.embeddings
    embeddings.patch_embeddings = ConvStem(config.hidden_size)
    n_mel, n_time = embeddings.patch_embeddings.grid(n_frames)
    positions = torch.randn(1, TOKENS + n_mel * n_time, config.hidden_size) * config.initializer_range
    embeddings.position_embeddings = nn.Parameter(positions)
    return model


def _config(n_classes: int, **settings: int) -> ASTConfig:
    return ASTConfig(num_labels=n_classes, attn_implementation="sdpa", **settings)


def _from_transformers(source: str, n_classes: int) -> ASTForAudioClassification:
    """A checkpoint from a folder or the hub with a new head for ``n_classes``; every other tensor must be there and fit."""
    if is_local(source) and not (Path(source).expanduser() / "config.json").is_file():
        raise BirdnbError(f"{source} is no folder with a config.json that transformers saved: {REMEDY}")
    options = {"ignore_mismatched_sizes": True, "output_loading_info": True, "attn_implementation": "sdpa"}
    try:
        model, report = ASTForAudioClassification.from_pretrained(str(source), num_labels=n_classes, **options)
    except Exception as error:  # the hub's client raises its own, httpx', safetensors' and plain OS errors
        raise unavailable(source, error) from error
    wrong = {str(key[0] if isinstance(key, tuple) else key) for part in report.values() for key in part}
    wrong = {key for key in wrong if not key.startswith("classifier.")}
    if wrong or model.config.num_mel_bins != N_MELS:
        what = (
            f"{sorted(wrong)[0]} and {len(wrong) - 1} more tensors do not fit"
            if wrong
            else f"{model.config.num_mel_bins} mel bands"
        )
        raise BirdnbError(f"the checkpoint {source!r} is no AST for 128 mel bands ({what}): give another, or pretrained=false")
    model.classifier = ASTMLPHead(model.config)
    model._init_weights(model.classifier.dense)
    return model


def _fit_to_frames(embeddings: nn.Module, n_frames: int) -> None:
    """Give transformers' embeddings, made for the checkpoint's frames, positions for ``n_frames``."""
    config = embeddings.config
    n_mel = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    n_time = (n_frames - config.patch_size) // config.time_stride + 1
    embeddings.position_embeddings = nn.Parameter(fit_positions(embeddings.position_embeddings.data, n_mel, n_time))
    config.max_length = n_frames
