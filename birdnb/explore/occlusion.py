"""Find what a model listens to: hide a patch of a spectrogram, see what the species loses.

Zeiler and Fergus, Visualizing and Understanding Convolutional Networks,
https://arxiv.org/abs/1311.2901
"""

import numpy as np
import torch

from birdnb.features.lms import normalise


def occlusion(
    model: torch.nn.Module, lms: np.ndarray, target: int, normalisation: str, *, bands: int = 24,
    frames: int = 32,
) -> np.ndarray:  # fmt: skip
    """Map where hiding a clip (128, T) [dB] lowers the probability of class ``target``.

    Returns (128, T) percentage points. A patch of ``bands`` by ``frames`` is set to the clip's
    mean and slid by half its size; each place gets the mean loss of the patches over it. Negative
    where hiding helps. The model is put into evaluation mode for the time of the call.
    """
    device = next(model.parameters()).device
    # (1, 128, T)
    x = normalise(torch.from_numpy(np.array(lms, dtype=np.float32))[None].to(device), normalisation)
    tops = range(0, x.shape[1] - bands // 2, bands // 2)
    lefts = range(0, x.shape[2] - frames // 2, frames // 2)
    patches = [
        (slice(top, top + bands), slice(left, left + frames)) for top in tops for left in lefts
    ]
    hidden = x.repeat(len(patches), 1, 1)  # (P, 128, T)
    for clip, patch in zip(hidden, patches, strict=True):
        clip[patch] = x.mean()
    scores = _probabilities(model, torch.cat([x, hidden]), target)  # (1 + P,)
    total, count = np.zeros(x.shape[1:]), np.zeros(x.shape[1:])
    for loss, patch in zip(100 * (scores[0] - scores[1:]), patches, strict=True):
        total[patch] += loss
        count[patch] += 1
    return total / count


def _probabilities(
    model: torch.nn.Module, x: torch.Tensor, target: int, batch_size: int = 64
) -> np.ndarray:
    was_training = model.training
    model.eval()
    with torch.no_grad():
        scores = [
            model(part).float().softmax(dim=1)[:, target].cpu() for part in x.split(batch_size)
        ]
    model.train(was_training)
    return torch.cat(scores).numpy()
