"""The Phase 2 network: its MFCCs against librosa, and that it learns."""

import librosa
import numpy as np
import pytest
import torch

from birdnb.files import BirdnbError
from birdnb.models import build_model, parameter_groups


@pytest.mark.parametrize("n_frames", [130, 173, 216])
def test_logits_from_few_parameters(n_frames):
    model = build_model("mfcc", 12, n_frames).eval()
    assert model(torch.randn(3, 128, n_frames)).shape == (3, 12)
    assert 100_000 < sum(p.numel() for p in model.parameters()) < 300_000


def test_it_sees_librosas_mfccs():
    model = build_model("mfcc", 3, 173)
    seen = []
    model.scale.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    lms = np.random.default_rng(0).normal(size=(2, 128, 173)).astype(np.float32)
    model(torch.from_numpy(lms))
    expected = np.stack([librosa.feature.mfcc(S=one, n_mfcc=40) for one in lms])
    np.testing.assert_allclose(seen[0].numpy(), expected, atol=1e-4)


def test_it_learns_pitch():
    """Two kinds of tone, an octave apart, in noise: over 90 % right on new ones after 25 steps."""
    torch.manual_seed(0)

    def clips(n):
        target = torch.arange(n) % 2
        x = torch.randn(n, 128, 130)
        for i, label in enumerate(target.tolist()):
            x[i, 40 + 30 * label : 44 + 30 * label, 20 + i % 50 : 60 + i % 50] += 4
        return x, target

    model = build_model("mfcc", 2, 130)
    optimiser = torch.optim.AdamW(parameter_groups(model, 1e-3, 1e-3, 0.01))
    x, target = clips(48)
    for _ in range(25):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(x), target).backward()
        optimiser.step()
    x, target = clips(40)
    assert (model.eval()(x).argmax(1) == target).float().mean() > 0.9


def test_it_has_no_pretrained_weights():
    with pytest.raises(BirdnbError, match="pretrained=false"):
        build_model("mfcc", 3, 173, True)
