"""The LMS and its normalisations, against librosa and formulas."""

import subprocess
import sys

import librosa
import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st
from sound_files import noise, recording

from birdnb.config import AudioSettings
from birdnb.features.lms import dct_matrix, log_mel, mfcc_from_lms, normalise
from birdnb.files import BirdnbError

AUDIO = AudioSettings()


def librosa_lms(waveform, audio=AUDIO):
    power = librosa.feature.melspectrogram(
        y=waveform,
        sr=audio.sample_rate,
        n_fft=audio.n_fft,
        hop_length=audio.hop_length,
        n_mels=audio.n_mels,
    )
    return librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None)


@pytest.mark.parametrize("seconds", [0.1, 0.5, 3.0, 4.0, 5.0, 7.77])
@pytest.mark.parametrize("level", [1e-4, 0.01, 1.0])
def test_equals_librosa(seconds, level):
    waveform = level * recording(seconds, seconds / 4, seconds / 2, level=1.0)
    ours = log_mel(waveform, AUDIO)
    assert ours.dtype == np.float32 and np.isfinite(ours).all()
    np.testing.assert_allclose(ours, librosa_lms(waveform), atol=0.01)


def test_equals_torchaudio():
    """The same scale, filters and padding by another library."""
    waveform = recording(4.0, 1.0, 2.0)
    transform = torchaudio.transforms.MelSpectrogram(
        AUDIO.sample_rate, AUDIO.n_fft, hop_length=AUDIO.hop_length, n_mels=AUDIO.n_mels,
        norm="slaney", mel_scale="slaney", pad_mode="constant",
    )  # fmt: skip
    power = transform(torch.from_numpy(np.asarray(waveform, np.float32))).numpy()
    reference = 10 * np.log10(np.maximum(power, 1e-10))
    np.testing.assert_allclose(log_mel(waveform, AUDIO), reference, atol=0.01)


@pytest.mark.parametrize(
    "audio",
    [
        AudioSettings(n_mels=64),
        AudioSettings(n_mels=100, n_fft=1024, hop_length=320),
        AudioSettings(sample_rate=32000, n_fft=1024, hop_length=500),
        AudioSettings(n_fft=512, n_mels=128),  # some bands hold no bin at all
    ],
)
@pytest.mark.filterwarnings("ignore:Empty filters")
def test_equals_librosa_with_other_settings(audio):
    waveform = noise(2.0, audio.sample_rate, level=0.1)
    np.testing.assert_allclose(log_mel(waveform, audio), librosa_lms(waveform, audio), atol=0.01)


@pytest.mark.parametrize("seconds, frames", [(3.0, 130), (4.0, 173), (5.0, 216)])
def test_shape_of_a_clip(seconds, frames):
    audio = AudioSettings(clip_seconds=seconds)
    assert (
        log_mel(np.zeros(audio.clip_samples, np.float32), audio).shape
        == (128, frames)
        == (128, audio.n_frames)
    )


def test_silence_is_minus_100_db_and_a_sine_where_it_belongs():
    np.testing.assert_allclose(log_mel(np.zeros(22050, np.float32), AUDIO), -100.0, atol=1e-4)
    sine = np.sin(2 * np.pi * 3000 * np.arange(22050) / 22050).astype(np.float32)
    centres = librosa.mel_frequencies(130, fmin=0, fmax=11025)[1:-1]
    assert np.abs(centres[log_mel(sine, AUDIO)[:, 20].argmax()] - 3000) < 60


def lms_batch(batch=3, frames=173, seed=0):
    rng = np.random.default_rng(seed)
    lms = rng.normal(-50, 12, (batch, 128, frames)) + rng.normal(0, 10, (batch, 128, 1))
    return torch.from_numpy(lms.astype(np.float32))


@pytest.mark.parametrize("kind", ["standard", "noise_floor"])
@pytest.mark.parametrize("frames", [130, 173])
def test_each_clip_of_a_batch_is_normalised_alone(kind, frames):
    lms = lms_batch(frames=frames)
    alone = torch.stack([normalise(one, kind) for one in lms])
    torch.testing.assert_close(normalise(lms, kind), alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["standard", "noise_floor"])
def test_half_precision_in_single_out_and_input_untouched(kind):
    lms = lms_batch().half()
    before = lms.clone()
    assert normalise(lms, kind).dtype == torch.float32
    assert (lms == before).all()


@pytest.mark.parametrize("frames", [130, 173])
def test_normalisations_equal_their_formulas_in_numpy(frames):
    lms = lms_batch(frames=frames).numpy()
    centred = lms - lms.mean(axis=(1, 2), keepdims=True)
    wanted = centred / lms.std(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(normalise(torch.from_numpy(lms), "standard"), wanted, atol=2e-4)
    median = np.sort(lms, axis=2)[:, :, [(frames - 1) // 2]]
    wanted = (np.clip(lms - median, 0, 40) - 3.0) / 4.5
    np.testing.assert_allclose(normalise(torch.from_numpy(lms), "noise_floor"), wanted, atol=1e-5)


def test_standard_has_zero_mean_and_unit_variance():
    out = normalise(lms_batch(), "standard").numpy()
    np.testing.assert_allclose(out.mean(axis=(1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(out.std(axis=(1, 2)), 1, atol=1e-4)
    assert torch.isfinite(normalise(torch.full((1, 128, 173), -100.0), "standard")).all()


@settings(max_examples=20, deadline=None)
@given(st.floats(-30, 30), st.floats(-20, 20))
def test_noise_floor_forgets_the_level_of_each_band(gain, tilt):
    lms = lms_batch(1)
    tilted = lms + gain + tilt * torch.linspace(0, 1, 128)[:, None]
    np.testing.assert_allclose(
        normalise(tilted, "noise_floor"), normalise(lms, "noise_floor"), atol=1e-4
    )


def test_noise_floor_by_hand():
    lms = torch.full((128, 5), -60.0)
    # median -60: 0, 0, 10, 0, 40 (cut from 150)
    lms[3] = torch.tensor([-70.0, -60.0, -50.0, -60.0, 90.0])
    out = normalise(lms, "noise_floor")
    steps = (out[3] - out[0]) / (out[3, 4] - out[0, 4])
    np.testing.assert_allclose(steps, [0, 0, 0.25, 0, 1], atol=1e-6)


def test_mfcc_equals_librosa():
    lms = lms_batch()
    expected = np.stack([librosa.feature.mfcc(S=one, n_mfcc=40) for one in lms.numpy()])
    np.testing.assert_allclose(mfcc_from_lms(lms), expected, atol=2e-3)
    np.testing.assert_allclose(dct_matrix(128, 40) @ lms.numpy(), expected, atol=1e-3)


def test_extraction_needs_no_torch():
    code = "import sys, birdnb.features.extract; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_normalisation_is_named():
    with pytest.raises(
        BirdnbError, match="normalisation is 'loud': choose one of standard, noise_floor"
    ):
        normalise(lms_batch(), "loud")
