"""Draw the rhythm of a song: levels, onsets, and how they repeat."""

import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter1d

from birdnb.config import AudioSettings
from birdnb.plots.sound import mel_band_of
from birdnb.plots.style import COLOURS, GREY


def temporal_structure(lms: np.ndarray, audio: AudioSettings, title: str = "") -> Figure:
    """Draw the levels of one clip (128, T) [dB], its onsets, and how strongly they repeat."""
    levels, onsets, repeats = rhythm(lms, audio)
    step = audio.hop_length / audio.sample_rate
    seconds = np.arange(len(onsets)) * step
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.0), width_ratios=(5, 4, 3))
    for colour, (name, level) in zip(COLOURS, levels.items(), strict=False):
        axes[0].plot(seconds, level, color=colour, label=name, linewidth=1.4)
    axes[0].set(title="level by frequency range", xlabel="time [s]", ylabel="level [dB]")
    axes[0].legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3, handlelength=1, columnspacing=1
    )
    axes[1].fill_between(seconds, onsets, color=COLOURS[1])
    axes[1].set(title="onsets", xlabel="time [s]", ylabel="rise [dB a frame]", ylim=(0, None))
    lags = np.arange(len(repeats)) * step
    axes[2].plot(lags, repeats, color=COLOURS[2])
    axes[2].axhline(0, color=GREY, linewidth=1)
    axes[2].set(
        title="repetition", xlabel="lag [s]", ylabel="autocorrelation", xlim=(0, lags[-1]),
        ylim=(-1, 1.05),
    )  # fmt: skip
    figure.suptitle(title, x=0.01, ha="left", fontsize=13)
    return figure


def rhythm(
    lms: np.ndarray, audio: AudioSettings
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Compute levels [dB] (T,) by range, onset strength (T,), and its autocorrelation (lags,).

    The level of a range is its mean power; onset strength is the mean rise over the bands; the
    autocorrelation is that of the onsets, up to 1.5 s.
    """
    from librosa.onset import onset_strength  # takes seconds to import: only this figure needs it

    lms = np.asarray(lms, dtype=np.float32)
    edges = [0, *np.round(mel_band_of(np.array([2000, 4000]), audio)).astype(int), audio.n_mels]
    names = ["below 2 kHz", "2–4 kHz", "above 4 kHz"]
    bands = zip(names, edges, edges[1:], strict=False)
    levels = {
        name: 10 * np.log10(np.mean(10 ** (lms[a:b] / 10), axis=0)) for name, a, b in bands if b > a
    }
    onsets = onset_strength(S=lms, sr=audio.sample_rate, hop_length=audio.hop_length, center=False)
    around = gaussian_filter1d(onsets, 1.0) - onsets.mean()
    full = np.correlate(around, around, mode="full")[len(around) - 1 :]
    longest = min(len(full), int(1.5 * audio.sample_rate / audio.hop_length))
    return levels, onsets, full[:longest] / max(full[0], 1e-12)


def pulse(lms: np.ndarray, audio: AudioSettings) -> tuple[float, float]:
    """Find the lag [s] and height of the highest peak of a clip's autocorrelation.

    ``lms`` is (128, T) in dB. Counted from the first dip below zero, so that the width of a single
    onset is no rhythm; (nan, 0) if there is no peak.
    """
    repeats = rhythm(lms, audio)[2]
    below = np.flatnonzero(repeats < 0)
    peaks = [i for i in range(1, len(repeats) - 1) if repeats[i - 1] < repeats[i] >= repeats[i + 1]]
    after = [i for i in peaks if len(below) and i > below[0] and repeats[i] > 0]
    if not after:
        return math.nan, 0.0
    best = max(after, key=lambda i: repeats[i])
    return best * audio.hop_length / audio.sample_rate, float(repeats[best])
