"""Log-mel spectrograms (LMS) and their normalisations.

The same numbers as ``librosa.feature.melspectrogram`` and ``power_to_db``, by real FFTs in blocks
and a few matrix products. Extraction is numpy and scipy alone, so that its worker processes start
without torch; what networks read is normalised by torch, whose tensors bring all that is needed.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from birdnb.config import AudioSettings
from birdnb.files import BirdnbError

if TYPE_CHECKING:
    from torch import Tensor

FRAMES_PER_BLOCK = 32  # 256 kB of float32 at n_fft 2048: stays in the processor's cache
# a quarter of the mel bands reaches a fraction of the bins: three quarters of the product are zeros
BANDS_PER_PRODUCT = 32
AMIN = 1e-10  # [power] floor of the decibels: -100 dB
NOISE_FLOOR_RANGE = 40.0  # [dB] above a band's median
NOISE_FLOOR_MEAN, NOISE_FLOOR_STD = 3.0, 4.5  # [dB] typical of field recordings


def log_mel(waveform: np.ndarray, audio: AudioSettings) -> np.ndarray:
    """Compute the LMS (n_mels, T) float32 [dB] of a waveform (samples,) at ``audio.sample_rate``.

    T = 1 + samples // hop_length. Frames are centred, zeros beyond the ends; reference power 1,
    floor 1e-10. Equals librosa to 0.01 dB.
    """
    return framed_log_mel(np.pad(np.asarray(waveform, np.float32), audio.n_fft // 2), audio)


def framed_log_mel(padded: np.ndarray, audio: AudioSettings) -> np.ndarray:
    """Compute the LMS of a waveform that brings n_fft / 2 samples more at either end."""
    windows = np.lib.stride_tricks.sliding_window_view(padded, audio.n_fft)
    frames = windows[:: audio.hop_length]  # (T, n_fft), a view
    window, banks = _window(audio.n_fft), _mel_banks(audio.sample_rate, audio.n_fft, audio.n_mels)
    power = np.empty((len(frames), audio.n_mels), np.float32)
    for first in range(0, len(frames), FRAMES_PER_BLOCK):
        block = slice(first, first + FRAMES_PER_BLOCK)
        spectrum = fft.rfft(frames[block] * window)
        energy = spectrum.real**2 + spectrum.imag**2  # (block, bins)
        for bands, bins, filters in banks:
            power[block, bands] = energy[:, bins] @ filters
    by_band = np.ascontiguousarray(power.T)  # (T, n_mels) -> (n_mels, T)
    return 10.0 * np.log10(np.maximum(by_band, np.float32(AMIN)))


def normalise(lms: Tensor, kind: str) -> Tensor:
    """Normalise each spectrogram (..., n_mels, T) [dB] on its own; same shape and device, float32.

    ``standard``: zero mean, unit variance. ``noise_floor``: decibels above each band's (lower)
    median over time, cut to 0-40, scaled to about unit variance.
    """
    lms = lms.float()
    if kind == "standard":
        mean = lms.mean(dim=(-2, -1), keepdim=True)
        return (lms - mean) / (lms.std(dim=(-2, -1), keepdim=True, correction=0) + 1e-6)
    if kind == "noise_floor":
        median = lms.median(dim=-1, keepdim=True).values  # (..., n_mels, 1)
        return ((lms - median).clip(0.0, NOISE_FLOOR_RANGE) - NOISE_FLOOR_MEAN) / NOISE_FLOOR_STD
    raise BirdnbError(f"normalisation is {kind!r}: choose one of standard, noise_floor")


def mfcc_from_lms(lms: Tensor, n_mfcc: int = 40) -> Tensor:
    """Compute mel-frequency cepstral coefficients (..., n_mfcc, T) of an LMS (..., n_mels, T)."""
    lms = lms.float()
    return lms.new_tensor(dct_matrix(lms.shape[-2], n_mfcc)) @ lms  # (n_mfcc, n_mels) @ ...


@functools.cache
def dct_matrix(n_mels: int, n_mfcc: int) -> np.ndarray:
    """Build the orthonormal DCT-II (n_mfcc, n_mels) float32 that turns mel bands into MFCCs."""
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
    """Part the filter bank: some bands, the bins they reach, their filters (bins, bands)."""
    filters, parts = _mel_filters(sample_rate, n_fft, n_mels), []
    for first in range(0, n_mels, BANDS_PER_PRODUCT):
        part = filters[first : first + BANDS_PER_PRODUCT]
        used = np.flatnonzero(part.any(axis=0))
        bins = slice(used[0], used[-1] + 1) if len(used) else slice(0, 1)
        parts.append((slice(first, first + len(part)), bins, np.ascontiguousarray(part[:, bins].T)))
    return parts


def high_pass(samples: np.ndarray, sample_rate: int, cutoff_hz: float) -> np.ndarray:
    """Butterworth high-pass of order 4 over ``samples`` (..., samples), forwards; float32."""
    from scipy import signal  # takes half a second to import: only extraction needs it

    return signal.sosfilt(butterworth(sample_rate, cutoff_hz), samples).astype(np.float32)


@functools.cache
def butterworth(sample_rate: int, cutoff_hz: float) -> np.ndarray:
    """Return the second-order sections (2, 6) of ``high_pass``, for those who filter in blocks."""
    from scipy import signal

    return signal.butter(4, cutoff_hz, "highpass", fs=sample_rate, output="sos")
