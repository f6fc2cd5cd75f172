"""Losses for hard labels (B,) and soft labels (B, C): focal loss and cross-entropy.

Cross-entropy is the focal loss at gamma = 0. Lin et al., Focal Loss for Dense Object Detection,
https://arxiv.org/abs/1708.02002.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from birdnb.config import TrainSettings


class FocalLoss(nn.Module):
    """Mean over the batch of sum_c target_c alpha_c (1 - p_c)^gamma (-log p_c).

    Linear in the target, so a soft label costs the same mixture of what its hard labels cost; gamma
    = 0 is cross-entropy. ``alpha`` weighs classes, (C,) or None. ``label_smoothing`` moves that
    share of each label evenly to all classes; the label's own class keeps deciding its weight
    (torch's cross-entropy weighs what was moved by where it went: the rarest classes then draw
    certainty from all others).
    """

    alpha: Tensor | None

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: Sequence[float] | Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.gamma = gamma
        self.label_smoothing = label_smoothing
        self.register_buffer(
            "alpha", None if alpha is None else torch.as_tensor(alpha, dtype=torch.float32)
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (B, C); ``target``: class numbers (B,) or shares (B, C)."""
        n_classes = logits.shape[1]
        if target.ndim == 1:
            target = functional.one_hot(target, n_classes)  # (B, C)
        target = target.float() if self.alpha is None else target * self.alpha
        smooth = self.label_smoothing
        target = (1 - smooth) * target + smooth / n_classes * target.sum(dim=1, keepdim=True)
        log_p = functional.log_softmax(logits.float(), dim=1)  # (B, C)
        cost = -log_p
        if self.gamma > 0:
            # 1 - p; kept off 0, where a root has no finite slope
            miss = (-torch.expm1(log_p)).clamp_min(1e-8)
            cost = cost * miss**self.gamma
        return (target * cost).sum(dim=1).mean()

    def weight(self, target: Tensor) -> Tensor:
        """Add up (): the weights of classes over a batch's labels, (B,) or (B, C)."""
        if self.alpha is None:
            return torch.tensor(float(len(target)), device=target.device)
        return self.alpha[target].sum() if target.ndim == 1 else (target * self.alpha).sum()


def build_loss(train: TrainSettings, class_counts: Sequence[int] | Tensor) -> FocalLoss:
    """Build the loss that the settings ask for; ``class_counts`` (C,) are clips in training."""
    alpha = None
    if train.class_balance:
        counts = torch.as_tensor(class_counts, dtype=torch.float32)
        alpha = counts.sum() / ((counts > 0).sum() * counts.clamp_min(1))
    if train.loss == "focal":
        return FocalLoss(train.focal_gamma, alpha)
    return FocalLoss(0.0, alpha, train.label_smoothing)
