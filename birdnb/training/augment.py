"""Augmentation of training batches: time shift, noise injection, SpecAugment and MixUp.

Batched, on the spectrograms' device, each sample with its own draw. Every random number comes from
the ``generator`` argument (a CPU generator serves any device), so the same generator gives the same
batch. Sources: SpecAugment, Park et al., https://arxiv.org/abs/1904.08779; mixup, Zhang et al.,
https://arxiv.org/abs/1710.09412.
"""

import math

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from birdnb.config import AugmentSettings
from birdnb.features.lms import normalise
from birdnb.files import BirdnbError
from birdnb.registry import AUGMENTATIONS, find

FRAMES = 173  # frames of a 4 s clip at hop 512: the T that widths of time masks refer to
FLOOR = 1e-10  # power of -100 dB, the lowest an LMS holds


class Augment:
    """Turns a training batch in dB into what a model is fed.

    Time shift and noise, normalisation, SpecAugment, MixUp. Those named in ``settings.extra`` come
    after the noise. Gain is not among them: every normalisation here takes a spectrogram's level
    out again. Raises BirdnbError for a name that is not there and for clips of another shape.
    """

    def __init__(
        self, settings: AugmentSettings, noise_bank: Tensor | None, n_classes: int,
        normalisation: str,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.noise_bank = noise_bank  # (M, 128, T) dB, or None
        self.n_classes = n_classes
        self.normalisation = normalisation
        names = settings.extra.split()
        self.extra = [(name, find("augmentation", AUGMENTATIONS, name)) for name in names]

    def __call__(
        self, lms_db: Tensor, target: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """Augment a batch: (B, 128, T) dB and class numbers (B,), or label shares (B, C).

        Returns normalised (B, 128, T) float32 and label shares (B, C) that sum to 1.
        """
        s = self.settings
        x = lms_db.float()
        labels = target.float()  # (B, C)
        if target.ndim == 1:
            labels = functional.one_hot(target, self.n_classes).float()
        if s.time_shift:
            x = time_shift(x, generator)
        if s.noise and self.noise_bank is not None and len(self.noise_bank):
            x = inject_noise(
                x, self.noise_bank, generator, prob=s.noise_prob,
                snr_db=(s.snr_db_min, s.snr_db_max),
            )  # fmt: skip
        for name, step in self.extra:
            x, shape = step(x, generator), x.shape
            if x.shape != shape:
                raise BirdnbError(
                    f"the augmentation {name!r} made {tuple(x.shape)} of clips {tuple(shape)}: let "
                    f"it return as many of the same shape"
                )
        x = normalise(x, self.normalisation)
        if s.specaugment:
            widths = {
                "freq_mask": (s.freq_mask_min, s.freq_mask),
                "time_mask": (s.time_mask_min, s.time_mask),
            }
            x = spec_augment(x, generator, prob=s.specaugment_prob, **widths)
        if s.mixup and _uniform(1, generator, "cpu") < s.mixup_prob:
            x, labels = mix_up(x, labels, generator, alpha=s.mixup_alpha)
        return x, labels


def check_augment(settings: AugmentSettings) -> None:
    """Raise BirdnbError for masks or noise whose least is more than their most."""
    s = settings
    for widest in ("freq_mask", "time_mask") if s.specaugment else ():
        narrowest = f"{widest}_min"
        if 0 < getattr(s, widest) < getattr(s, narrowest):
            raise BirdnbError(
                f"{widest}, the widest mask, is {getattr(s, widest)}, and {narrowest}, the "
                f"narrowest, {getattr(s, narrowest)}: lower {narrowest}, or set {widest} to 0 for "
                f"no mask"
            )
    if s.noise and s.snr_db_min > s.snr_db_max:
        raise BirdnbError(
            f"snr_db_min, of the loudest noise, is {s.snr_db_min:g}, and snr_db_max, of the "
            f"faintest, {s.snr_db_max:g}: give the lower of them as snr_db_min"
        )


def spec_augment(
    x: Tensor, generator: Generator, *, prob: float = 0.8, freq_mask: tuple[int, int] = (8, 15),
    time_mask: tuple[int, int] = (20, 35),
) -> Tensor:  # fmt: skip
    """Mask one block of mel bands and one of frames in a share ``prob`` of the samples.

    They are set to the sample's mean. ``x`` is normalised, (B, 128, T). Widths are drawn evenly
    from (narrowest, widest), both included, 0 for no mask; those of time masks are frames at
    T = 173 and scale with T.
    """
    narrowest, widest = (
        max(1, round(width * x.shape[2] / FRAMES)) if width else 0 for width in time_mask
    )
    chosen = (_uniform(len(x), generator, x.device) < prob)[:, None]  # (B, 1)
    bands = _block(len(x), x.shape[1], freq_mask, generator, x.device) & chosen  # (B, 128)
    frames = _block(len(x), x.shape[2], (narrowest, widest), generator, x.device) & chosen  # (B, T)
    return torch.where(bands[:, :, None] | frames[:, None, :], x.mean(dim=(1, 2), keepdim=True), x)


def mix_up(
    x: Tensor, labels: Tensor, generator: Generator, *, alpha: float = 0.4
) -> tuple[Tensor, Tensor]:
    """Blend each sample and its labels with another's of the batch.

    lambda x_i + (1 - lambda) x_j, lambda ~ Beta(alpha, alpha) per sample; ``x`` (B, 128, T),
    ``labels`` (B, C) shares that sum to 1 and still do after.
    """
    partner = to_device(
        torch.randperm(len(x), generator=generator, device=generator.device), x.device
    )
    # torch draws no Beta from a generator
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    # (B,)
    blend = to_device(
        torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, len(x))).to(x.dtype),
        x.device,
    )
    mixed = torch.lerp(x[partner], x, blend[:, None, None])
    return mixed, torch.lerp(labels[partner], labels, blend[:, None].to(labels))


def inject_noise(
    lms_db: Tensor, noise_bank: Tensor, generator: Generator, *, prob: float = 0.5,
    snr_db: tuple[float, float] = (3.0, 30.0),
) -> Tensor:  # fmt: skip
    """Add noise from the bank to a share ``prob`` of the samples.

    ``lms_db`` (B, 128, T) and ``noise_bank`` (M, 128, T) in dB. The signal-to-noise ratio is drawn
    evenly from ``snr_db``: the mean mel power of the clip over the mean mel power of the noise
    added to it. Powers are added on the mel scale, the noise turned round in time by a random
    amount.
    """
    batch, device = len(lms_db), lms_db.device
    chosen = _uniform(batch, generator, device) < prob  # (B,)
    which = (
        (_uniform(batch, generator, noise_bank.device) * len(noise_bank))
        .long()
        .clamp_max(len(noise_bank) - 1)
    )
    snr = snr_db[0] + (snr_db[1] - snr_db[0]) * _uniform(batch, generator, device)  # (B,) dB
    noise = time_shift(noise_bank[which].to(device).float(), generator)  # (B, 128, T)
    lms_db = lms_db.float()
    # an index would make a GPU wait
    return torch.where(chosen[:, None, None], add_noise(lms_db, noise, snr), lms_db)


def add_noise(lms_db: Tensor, noise_db: Tensor, snr_db: Tensor | float) -> Tensor:
    """Add noise to clips, both (B, 128, T) dB, at ``snr_db`` [dB], one number or one a sample."""
    power, noise = _power(lms_db.float()), _power(noise_db.float())
    snr = torch.as_tensor(snr_db, dtype=torch.float32, device=power.device).reshape(-1, 1, 1)
    mean_power, mean_noise = (
        power.mean(dim=(1, 2), keepdim=True),
        noise.mean(dim=(1, 2), keepdim=True),
    )
    scale = mean_power / (mean_noise * _power(snr))  # (B, 1, 1)
    return 10 * torch.log10((power + scale * noise).clamp_min(FLOOR))


def time_shift(x: Tensor, generator: Generator) -> Tensor:
    """Turn samples (B, 128, T) round in time: what leaves at the end comes in at the start."""
    batch, bands, frames = x.shape
    start = (_uniform(batch, generator, x.device) * frames).long()  # (B,)
    index = (torch.arange(frames, device=x.device) + start[:, None]) % frames  # (B, T)
    return x.gather(2, index[:, None, :].expand(batch, bands, frames))


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """Move ``x`` to the device, through pinned memory to a GPU: nobody waits for its queue."""
    if device.type == "cuda" and x.device.type == "cpu":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


def _block(
    batch: int, length: int, widths: tuple[int, int], generator: Generator, device: torch.device
) -> Tensor:
    """Draw one run of True per row, (batch, length), of a width from ``widths``, anywhere."""
    widest = min(widths[1], length)
    narrowest = min(widths[0], widest)
    width = narrowest + (_uniform(batch, generator, device) * (widest - narrowest + 1)).long()
    start = (_uniform(batch, generator, device) * (length - width + 1)).long()
    place = torch.arange(length, device=device)
    return (place >= start[:, None]) & (place < (start + width)[:, None])


def _uniform(n: int, generator: Generator, device: torch.device | str) -> Tensor:
    """Draw ``n`` numbers in [0, 1) where the generator lives and move them to ``device``."""
    return to_device(
        torch.rand(n, generator=generator, device=generator.device), torch.device(device)
    )


def _power(db: Tensor) -> Tensor:
    return torch.exp(db * (math.log(10) / 10))
