"""The convolutional stem of the laptop's AST, in place of 16 x 16 patches.

Xiao et al., Early Convolutions Help Transformers See Better, https://arxiv.org/abs/2106.14881.
"""

import torch
from torch import Tensor, nn

from birdnb.config import N_MELS


class ConvStem(nn.Module):
    """Make patches by four 3 x 3 convolutions with max pooling: (B, T, 128) to (B, 8 * T / 8, D).

    Each halves the mel axis and the first three halve time: a token is a step of 16 bands and 8
    frames (186 ms at hop 512) that overlaps its neighbours, where AST's 16 frames (370 ms) outlast
    most syllables.
    """

    CHANNELS = (1, 16, 32, 64, 128)
    STRIDES = ((2, 2), (2, 2), (2, 2), (2, 1))  # (mel, time)

    def __init__(self, width: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for channels_in, channels_out, stride in zip(
            self.CHANNELS, self.CHANNELS[1:], self.STRIDES, strict=False
        ):
            conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
            blocks += [
                conv, nn.BatchNorm2d(channels_out), nn.GELU(), nn.MaxPool2d(stride, ceil_mode=True),
            ]  # fmt: skip
        self.blocks = nn.Sequential(*blocks, nn.Conv2d(self.CHANNELS[-1], width, 1))

    def grid(self, n_frames: int) -> tuple[int, int]:
        """Count the tokens along mel and time for ``n_frames`` frames."""
        bands = N_MELS
        for mel, time in self.STRIDES:
            bands, n_frames = -(-bands // mel), -(-n_frames // time)
        return bands, n_frames

    def forward(self, input_values: Tensor) -> Tensor:
        """Map input (B, T, 128) to tokens (B, tokens, D)."""
        # (B, 1, 128, T) -> (B, D, 8, T / 8)
        x = self.blocks(input_values.transpose(1, 2).unsqueeze(1))
        return x.flatten(2).transpose(1, 2)  # (B, 8 * T / 8, D)


def fast_layout(convolutions: nn.Module) -> nn.Module:
    """Lay out convolutions channels last: a seventh faster to a third on a CPU.

    Not on a Mac's GPU: there torch 2.11 fails in, or garbles, batch normalisation of this layout.
    """
    if torch.backends.mps.is_available():
        return convolutions
    return convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
