"""FocalLoss against torch's cross-entropy and the formula worked by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from birdnb.config import TrainSettings
from birdnb.training.losses import FocalLoss, build_loss

LOGITS = torch.tensor([[2.0, -1.0, 0.3], [0.1, 0.2, -3.0], [-1.0, 4.0, 0.0], [0.0, 0.0, 0.0]])
TARGET = torch.tensor([0, 2, 1, 1])
SOFT = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.5, 0.5], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5]])


@pytest.mark.parametrize(("smoothing", "alpha"), [(0.0, None), (0.1, None), (0.0, [0.5, 1.0, 3.0])])
@pytest.mark.parametrize("target", [TARGET, SOFT], ids=["hard", "soft"])
def test_gamma_0_is_cross_entropy(target, smoothing, alpha):
    weight = None if alpha is None else torch.tensor(alpha)
    each = functional.cross_entropy(
        LOGITS, target, weight=weight, label_smoothing=smoothing, reduction="none"
    )
    torch.testing.assert_close(FocalLoss(0.0, alpha, smoothing)(LOGITS, target), each.mean())


def test_a_smoothed_label_keeps_the_weight_of_its_class():
    alpha = torch.tensor([0.5, 1.0, 3.0])
    each = functional.cross_entropy(LOGITS, TARGET, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(
        FocalLoss(0.0, alpha, 0.1)(LOGITS, TARGET), (alpha[TARGET] * each).mean()
    )


def test_class_balance_does_not_move_what_a_certain_clip_is_taken_for():
    """The best answer to a label of which 0.05 is spread over three classes is 0.95 + 0.05 / 3.

    However common its class is.
    """
    loss = build_loss(TrainSettings(class_balance=True, label_smoothing=0.05), [300, 3, 3])
    logits = torch.zeros(1, 3, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=100)

    def closure():
        optimizer.zero_grad()
        value = loss(logits, torch.tensor([0]))
        value.backward()
        return value

    optimizer.step(closure)
    best = torch.tensor([[0.95 + 0.05 / 3, 0.05 / 3, 0.05 / 3]])
    torch.testing.assert_close(logits.softmax(1).detach(), best, atol=1e-3, rtol=0)


def test_by_hand():
    """p = 0.8 and 0.2 of two classes, gamma 2.

    0.2^2 * -log 0.8 for the first, 3 * 0.8^2 * -log 0.2 for the second.
    """
    logits = torch.tensor([[math.log(4.0), 0.0]])
    first = 0.04 * -math.log(0.8)
    second = 0.64 * -math.log(0.2)
    loss = FocalLoss(2.0, [1.0, 3.0])
    assert loss(logits, torch.tensor([0])).item() == pytest.approx(first, rel=1e-5)
    assert loss(logits, torch.tensor([1])).item() == pytest.approx(3 * second, rel=1e-5)
    assert loss(logits, torch.tensor([[0.25, 0.75]])).item() == pytest.approx(
        0.25 * first + 0.75 * 3 * second, rel=1e-5
    )


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 10_000),
    share=st.floats(0, 1),
    gamma=st.sampled_from([0.0, 0.5, 2.0, 5.0]),
    smoothing=st.floats(0, 0.3),
)
def test_a_soft_label_costs_the_mixture_of_its_hard_labels(seed, share, gamma, smoothing):
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(6, 5, generator=generator)
    first, second = torch.randint(5, (2, 6), generator=generator)
    soft = share * functional.one_hot(first, 5) + (1 - share) * functional.one_hot(second, 5)
    loss = FocalLoss(gamma, torch.rand(5, generator=generator) + 0.5, smoothing)
    mixture = share * loss(logits, first) + (1 - share) * loss(logits, second)
    torch.testing.assert_close(loss(logits, soft), mixture, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("size", [0.0, 200.0])
def test_finite_when_certain(gamma, size):
    logits = torch.tensor([[size, -size, -size]], requires_grad=True)
    for label in (0, 1):
        loss = FocalLoss(gamma)(logits, torch.tensor([label]))
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


def test_half_precision_logits_are_summed_in_single():
    loss = FocalLoss(2.0)(LOGITS.bfloat16(), TARGET)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, FocalLoss(2.0)(LOGITS, TARGET), rtol=0.02, atol=0)


def test_class_balance_gives_each_class_the_same_say():
    loss = build_loss(TrainSettings(class_balance=True), [30, 10, 60])
    torch.testing.assert_close(
        loss.alpha * torch.tensor([30.0, 10.0, 60.0]), torch.full((3,), 100 / 3)
    )
    assert build_loss(TrainSettings(), [30, 10, 60]).alpha is None
    absent = build_loss(TrainSettings(class_balance=True), [100, 50, 0, 0]).alpha
    assert torch.isfinite(absent).all()
    # 1 on average
    torch.testing.assert_close(
        (absent[:2] * torch.tensor([100.0, 50.0])).sum() / 150, torch.tensor(1.0)
    )


def test_settings_choose_the_loss():
    assert build_loss(TrainSettings(loss="cross_entropy"), [1]).gamma == 0
    focal = build_loss(TrainSettings(loss="focal", focal_gamma=1.5, label_smoothing=0.05), [1])
    # labels are smoothed for cross-entropy only
    assert (focal.gamma, focal.label_smoothing) == (1.5, 0.0)
    assert build_loss(TrainSettings(label_smoothing=0.05), [1]).label_smoothing == 0.05
