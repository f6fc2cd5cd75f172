"""Log-mel spectrograms (LMS) and their normalisations, in numpy or torch.

The same numbers as ``librosa.feature.melspectrogram`` and ``power_to_db``, by real FFTs in blocks
and a few matrix products.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, TypeVar

import numpy as np
from scipy import fft

from birdnb.config import AudioSettings
from birdnb.files import BirdnbError

Array = TypeVar("Array", bound=Any)  # an array or a torch tensor
FRAMES_PER_BLOCK = 32  # 256 kB of float32 at n_fft 2048: stays in the processor's cache
# a quarter of the mel bands reaches a fraction of the bins: three quarters of the product are zeros
BANDS_PER_PRODUCT = 32
AMIN = 1e-10  # [power] floor of the decibels: -100 dB
NOISE_FLOOR_RANGE = 40.0  # [dB] above a band's median
NOISE_FLOOR_MEAN, NOISE_FLOOR_STD = 3.0, 4.5  # [dB] typical of field recordings


def log_mel(waveform: np.ndarray, audio: AudioSettings) -> np.ndarray:
    """LMS (n_mels, T) float32 [dB] of a waveform (samples,) at ``audio.sample_rate``, T = 1 +
    samples // hop_length.

    Frames are centred, zeros beyond the ends; reference power 1, floor 1e-10. Equals librosa to
    0.01 dB.
    """
    return framed_log_mel(np.pad(np.asarray(waveform, np.float32), audio.n_fft // 2), audio)


def framed_log_mel(padded: np.ndarray, audio: AudioSettings) -> np.ndarray:
    """As ``log_mel``, of a waveform that brings the n_fft / 2 samples before its first and after
    its last frame's centre.
    """
    frames = np.lib.stride_tricks.sliding_window_view(padded, audio.n_fft)[
        :: audio.hop_length
    ]  # (T, n_fft), a view
    window, banks = _window(audio.n_fft), _mel_banks(audio.sample_rate, audio.n_fft, audio.n_mels)
    power = np.empty((len(frames), audio.n_mels), np.float32)
    for first in range(0, len(frames), FRAMES_PER_BLOCK):
        block = slice(first, first + FRAMES_PER_BLOCK)
        spectrum = fft.rfft(frames[block] * window)
        energy = spectrum.real**2 + spectrum.imag**2  # (block, bins)
        for bands, bins, filters in banks:
            power[block, bands] = energy[:, bins] @ filters
    return 10.0 * np.log10(
        np.maximum(np.ascontiguousarray(power.T), np.float32(AMIN))
    )  # (T, n_mels) -> (n_mels, T)


def normalise(lms: Array, kind: str) -> Array:
    """Normalise each spectrogram (..., n_mels, T) [dB] on its own, in numpy or torch.

    Same shape, float32, on the same device. ``standard``: zero mean, unit variance.
    ``noise_floor``: decibels above each band's median over time, cut to 0-40, scaled to about unit
    variance.
    """
    lms = _float32(lms)
    if kind == "standard":
        return _standardise(lms)
    if kind == "noise_floor":
        above = (lms - _median_over_time(lms)).clip(0.0, NOISE_FLOOR_RANGE)
        return (above - NOISE_FLOOR_MEAN) / NOISE_FLOOR_STD
    raise BirdnbError(f"normalisation is {kind!r}: choose one of standard, noise_floor")


def mfcc_from_lms(lms: Array, n_mfcc: int = 40) -> Array:
    """Mel-frequency cepstral coefficients (..., n_mfcc, T) of an LMS (..., n_mels, T): an
    orthonormal DCT-II over the bands.
    """
    lms = _float32(lms)
    return _like(_dct(lms.shape[-2], n_mfcc), lms) @ lms  # (n_mfcc, n_mels) @ (..., n_mels, T)


def _float32(lms: Any) -> Any:
    return lms.float() if _is_torch(lms) else np.asarray(lms, np.float32)


def _standardise(lms: Array) -> Array:
    if _is_torch(lms):
        mean, std = (
            lms.mean(dim=(-2, -1), keepdim=True),
            lms.std(dim=(-2, -1), keepdim=True, correction=0),
        )
    else:
        mean, std = lms.mean(axis=(-2, -1), keepdims=True), lms.std(axis=(-2, -1), keepdims=True)
    return (lms - mean) / (std + 1e-6)


def _median_over_time(lms: Any) -> Any:
    """Lower median of each band (..., n_mels, 1)."""
    if _is_torch(lms):
        return lms.median(dim=-1, keepdim=True).values
    middle = (lms.shape[-1] - 1) // 2
    return np.partition(lms, middle, axis=-1)[..., middle : middle + 1]


@functools.cache
def _dct(n_mels: int, n_mfcc: int) -> np.ndarray:
    return fft.dct(np.eye(n_mels), type=2, norm="ortho", axis=0)[:n_mfcc].astype(np.float32)


@functools.cache
def _window(n_fft: int) -> np.ndarray:
    from scipy import signal  # takes half a second to import: only extraction needs it

    return signal.get_window("hann", n_fft, fftbins=True).astype(np.float32)


@functools.cache
def _mel_filters(sample_rate: int, n_fft: int, n_mels: int) -> np.ndarray:
    from librosa.filters import mel  # takes a second to import: only extraction needs it

    return mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels)


@functools.cache
def _mel_banks(sample_rate: int, n_fft: int, n_mels: int) -> list[tuple[slice, slice, np.ndarray]]:
    """The filter bank in parts: some bands, the bins they reach, and their filters (bins, bands)."""
    filters, parts = _mel_filters(sample_rate, n_fft, n_mels), []
    for first in range(0, n_mels, BANDS_PER_PRODUCT):
        part = filters[first : first + BANDS_PER_PRODUCT]
        used = np.flatnonzero(part.any(axis=0))
        bins = slice(used[0], used[-1] + 1) if len(used) else slice(0, 1)
        parts.append((slice(first, first + len(part)), bins, np.ascontiguousarray(part[:, bins].T)))
    return parts


def _is_torch(array: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def _like(matrix: np.ndarray, array: Any) -> Any:
    """The matrix as ``array`` is: numpy, or torch on the same device."""
    return (
        sys.modules["torch"].as_tensor(matrix, device=array.device) if _is_torch(array) else matrix
    )
