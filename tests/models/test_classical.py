"""The classical reference against scikit-learn and librosa."""

import librosa
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from birdnb.files import BirdnbError
from birdnb.models.classical import ClassicalModel, fit_classical, mfcc_statistics
from birdnb.models.weights import save_weights


def clips(n_classes, each=12, seed=0):
    """Segments in dB with a band of song at a height of its own for each species.

    (N, 128, 60) float16 and (N,).
    """
    rng = np.random.default_rng(seed)
    target = np.repeat(np.arange(n_classes), each)
    lms = rng.normal(-60, 8, size=(len(target), 128, 60))
    for i, label in enumerate(target):
        lms[i, 20 + 15 * label : 30 + 15 * label] += rng.uniform(0, 12)
    return lms.astype(np.float16), target


def features(lms):
    mfcc = np.stack([librosa.feature.mfcc(S=one.astype(np.float64), n_mfcc=40) for one in lms])
    return np.concatenate([mfcc.mean(axis=2), mfcc.std(axis=2)], axis=1)


def test_statistics_are_librosas():
    lms, _ = clips(2, each=3)
    np.testing.assert_allclose(mfcc_statistics(lms), features(lms), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_probabilities_are_scikit_learns(n_classes):
    lms, target = clips(n_classes)
    new, _ = clips(n_classes, seed=1)
    reference = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000)
    )
    expected = reference.fit(features(lms), target).predict_proba(features(new))
    probabilities = fit_classical(lms, target, n_classes).predict_proba(new)
    np.testing.assert_allclose(probabilities, expected, atol=2e-3)


def test_a_species_without_training_segments_gets_nothing():
    lms, target = clips(3)
    probabilities = fit_classical(lms[target != 1], target[target != 1], 4).predict_proba(lms)
    assert probabilities.shape == (36, 4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities[:, [1, 3]] == 0).all()
    assert (probabilities.argmax(axis=1) == target)[target != 1].mean() > 0.9


def test_saved_and_loaded(tmp_path):
    lms, target = clips(3)
    model = fit_classical(lms, target, 4)
    again = ClassicalModel.load(model.save(tmp_path / "classical.safetensors"))
    np.testing.assert_array_equal(again.predict_proba(lms), model.predict_proba(lms))


def test_a_damaged_file_and_a_single_species_are_errors(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"PK nonsense")
    with pytest.raises(BirdnbError, match=r"bad\.safetensors"):
        ClassicalModel.load(tmp_path / "bad.safetensors")
    with pytest.raises(BirdnbError, match=r"missing\.safetensors"):
        ClassicalModel.load(tmp_path / "missing.safetensors")
    save_weights(tmp_path / "other.safetensors", {"mean": torch.zeros(80)})
    with pytest.raises(BirdnbError, match=r"other\.safetensors is not a saved classical model"):
        ClassicalModel.load(tmp_path / "other.safetensors")
    lms, target = clips(1)
    with pytest.raises(BirdnbError, match="at least two"):
        fit_classical(lms, target, 3)
