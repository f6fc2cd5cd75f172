"""The Phase 2 reference: a small network on mel-frequency cepstral coefficients (MFCC)."""

import torch
from torch import Tensor, nn

from birdnb.features.lms import mfcc_from_lms
from birdnb.files import BirdnbError

N_MFCC = 40


class MfccNet(nn.Module):
    """40 MFCCs over time, three blocks of convolution, a classification layer.

    About 0.2 million parameters. Takes normalised LMS (B, 128, T), any T, and computes the MFCCs
    itself (an orthonormal DCT over the mel bands), so that it learns from the same cache and the
    same batches as the spectrogram models; gives logits (B, n_classes).
    """

    def __init__(self, n_classes: int, width: int = 96) -> None:
        super().__init__()
        # coefficient 0 is some fifty times as large as coefficient 39
        self.scale = nn.BatchNorm1d(N_MFCC)
        self.blocks = nn.ModuleList(
            [_block(N_MFCC, width), _block(width, width), _block(width, 2 * width)]
        )
        self.head = nn.Linear(4 * width, n_classes)
        self.dropout = nn.Dropout(0.2)

    def layers(self) -> list[nn.Module]:
        """Return the parts from input to output for layer-wise learning rates, but for the head."""
        return [self.scale, *self.blocks]

    def embed(self, x: Tensor) -> Tensor:
        """Map LMS (B, 128, T) to mean and maximum over time of the last features, (B, 384)."""
        x = self.scale(mfcc_from_lms(x, N_MFCC))  # (B, 128, T) -> (B, 40, T)
        for block in self.blocks:
            x = block(x)  # (B, C, T / 2)
        return torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1)  # (B, 2 C)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised LMS (B, 128, T) to logits (B, n_classes)."""
        return self.head(self.dropout(self.embed(x)))


def build(
    n_classes: int, n_frames: int, pretrained: bool | str = False, *, size: str = "",
    drop_path: float = 0.0,
) -> nn.Module:  # fmt: skip
    """Build the network, any T, one size. Raises BirdnbError when weights are asked for."""
    if pretrained:
        raise BirdnbError("the MFCC reference has no pretrained weights: set pretrained=false")
    return MfccNet(n_classes)


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(channels_in, channels_out, kernel_size=5, padding=2, bias=False),
        nn.BatchNorm1d(channels_out),
        nn.ReLU(),
        nn.MaxPool1d(2),
    )
