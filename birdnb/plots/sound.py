"""Draw sound: waveforms and spectrograms; data in, matplotlib Axes or Figure out.

In a notebook, keep the result in a name (``figure = visualize_spectrogram(...)``): the picture
then shows once.
"""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from birdnb.config import AudioSettings
from birdnb.plots.style import CMAP, COLOURS, new_axes, wrap

KHZ_TICKS = (0.5, 1, 2, 4, 8)


def mel_band_of(hz: np.ndarray | float, audio: AudioSettings) -> np.ndarray:
    """Return the place of a frequency [Hz] on the mel axis: band k has its centre at k."""
    from librosa import hz_to_mel  # takes a second to import: only plotting needs it here

    top = hz_to_mel(audio.sample_rate / 2)
    # n_mels + 2 points less the ends
    return np.asarray(hz_to_mel(hz)) * (audio.n_mels + 1) / top - 1


def visualize_spectrogram(
    lms: np.ndarray, audio: AudioSettings, title: str = "", ax: Axes | None = None,
    normalised: bool = False, limits: tuple[float, float] | None = None, colorbar: bool = True,
) -> Axes:  # fmt: skip
    """Draw one LMS (128, T) in seconds and kHz; equal ``limits`` make several comparable."""
    ax = ax or new_axes((9, 3.2))
    image = draw_lms(ax, lms, audio, limits)
    ax.set(title=title, xlabel="time [s]", ylabel="frequency [kHz]")
    if colorbar:
        ax.figure.colorbar(
            image, ax=ax, label="normalised level" if normalised else "level [dB]", pad=0.01,
            aspect=14,
        )  # fmt: skip
    return ax


def waveform(
    samples: np.ndarray, audio: AudioSettings, windows: Sequence[float] = (), title: str = "",
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw a waveform (samples,) over time, and number the clips that start at ``windows`` [s]."""
    ax = ax or new_axes((9, 2.4))
    seconds = np.arange(len(samples)) / audio.sample_rate
    top = 1.05 * float(np.abs(samples).max(initial=1e-6))
    low, high = envelope(samples, 2000)
    ax.fill_between(
        np.linspace(0, seconds[-1], len(low)), low, high, color="#444444", linewidth=0.5
    )
    name, steps = _clip_names(windows, len(samples) / audio.sample_rate)
    for rank, (start, step) in enumerate(zip(windows, steps, strict=True)):
        colour = COLOURS[rank % len(COLOURS)]
        ax.axvspan(start, start + audio.clip_seconds, color=colour, alpha=0.22, linewidth=0)
        ax.annotate(
            f"{name}{rank + 1}", (start + 0.05, top), (0, 1 + 13 * step), color=colour,
            textcoords="offset points", va="bottom", weight="bold", fontsize=11,
        )  # fmt: skip
    ax.set(
        title=title, xlabel="time [s]", ylabel="amplitude",
        xlim=(0, len(samples) / audio.sample_rate), ylim=(-top, top),
    )  # fmt: skip
    if len(windows):
        ax.set_title(title, pad=20 + 13 * max(steps))  # room for the names of the clips
    return ax


def _clip_names(windows: Sequence[float], seconds: float) -> tuple[str, list[int]]:
    """Return what stands before the clips' numbers, and on which of three lines each has room."""
    order = np.argsort(windows, kind="stable")
    near = np.diff(np.asarray(windows)[order], prepend=-np.inf) / seconds  # shares of the picture
    name = "clip " if (near >= 0.07).all() else ""
    steps = [0] * len(order)
    for before, rank, share in zip([0, *order], order, near, strict=False):
        steps[rank] = (steps[before] + 1) % 3 if share < 0.03 else 0
    return name, steps


def spectrogram_grid(
    spectrograms: Sequence[np.ndarray], titles: Sequence[str], audio: AudioSettings,
    columns: int = 4, normalised: bool = False, shared_limits: bool = False, title: str = "",
) -> Figure:  # fmt: skip
    """Draw several LMS (128, T) side by side, a title above each, labels at the edge only."""
    columns = min(columns, len(spectrograms))
    rows = math.ceil(len(spectrograms) / columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(11, 0.3 + 2.3 * rows), sharex=True, sharey=True, squeeze=False
    )
    limits = None
    if shared_limits:
        limits = lms_limits(np.concatenate([np.asarray(s) for s in spectrograms], axis=1))
    for ax, lms, text in zip(axes.flat, spectrograms, titles, strict=False):
        image = draw_lms(ax, lms, audio, limits)
        ax.set_title(wrap(text, 84 // columns), fontsize=11)
    label_edges(axes, len(spectrograms))
    if shared_limits:
        label = "normalised level" if normalised else "level [dB]"
        figure.colorbar(image, ax=axes, label=label, pad=0.01, aspect=14 * rows, shrink=0.9)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=14)
    return figure


def augmentation_pairs(
    originals: Sequence[np.ndarray], augmented: Sequence[np.ndarray], titles: Sequence[str],
    audio: AudioSettings, columns: int = 5,
) -> Figure:  # fmt: skip
    """Draw each original LMS (128, T) above its augmented self, both on one scale."""
    columns = min(columns, len(originals))
    rows = math.ceil(len(originals) / columns)
    figure, axes = plt.subplots(
        2 * rows, columns, figsize=(11, 4.0 * rows), sharex=True, sharey=True, squeeze=False
    )
    for i, (before, after, text) in enumerate(zip(originals, augmented, titles, strict=True)):
        upper, lower = (
            axes[2 * (i // columns), i % columns],
            axes[2 * (i // columns) + 1, i % columns],
        )
        limits = lms_limits(before)
        draw_lms(upper, before, audio, limits)
        draw_lms(lower, after, audio, limits)
        upper.set_title(wrap(text, 84 // columns), fontsize=11)
        lower.set_title("augmented", fontsize=11, color=COLOURS[1])
    for row in range(rows):
        for ax in axes[2 * row : 2 * row + 2, max(0, len(originals) - row * columns) :].flat:
            ax.set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel("kHz")
    figure.supxlabel("time [s]", fontsize=12)
    return figure


def noise_ladder(
    spectrograms: Sequence[np.ndarray],
    snrs_db: Sequence[float | None],
    audio: AudioSettings,
    title: str = "",
) -> Figure:
    """Draw one clip at several signal-to-noise ratios [dB] on one scale; None: as recorded."""
    titles = ["as recorded" if snr is None else f"{snr:g} dB SNR" for snr in snrs_db]
    columns = len(titles) if len(titles) <= 5 else math.ceil(len(titles) / 2)
    return spectrogram_grid(
        spectrograms, titles, audio, columns=columns, shared_limits=True, title=title
    )


# --- parts the figures share ---


def draw_lms(
    ax: Axes, lms: np.ndarray, audio: AudioSettings, limits: tuple[float, float] | None = None
) -> AxesImage:
    """Put an LMS (128, T) on an Axes as pixels, ticks at round kHz, and return the image."""
    lms = np.asarray(lms, dtype=np.float32)
    low, high = limits or lms_limits(lms)
    step = audio.hop_length / audio.sample_rate
    # a frame's and a band's centre lie on its tick
    extent = (-step / 2, (lms.shape[1] - 0.5) * step, -0.5, lms.shape[0] - 0.5)
    image = ax.imshow(
        lms, origin="lower", aspect="auto", cmap=CMAP, vmin=low, vmax=high, extent=extent,
        interpolation="nearest",
    )  # fmt: skip
    ticks = [khz for khz in KHZ_TICKS if 1000 * khz < audio.sample_rate / 2]
    ax.set_yticks(mel_band_of(1000 * np.array(ticks), audio), [f"{khz:g}" for khz in ticks])
    return image


def lms_limits(lms: np.ndarray) -> tuple[float, float]:
    """Return the 20th and 99.9th percentile: neither noise nor a click rules the colours."""
    low, high = np.percentile(np.asarray(lms, dtype=np.float32), [20, 99.9])
    return float(low), float(max(high, low + 1e-3))


def envelope(samples: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest sample in each of at most ``points`` stretches."""
    starts = np.linspace(0, len(samples), min(points, len(samples)), endpoint=False).astype(int)
    return np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)


def label_edges(axes: np.ndarray, used: int) -> None:
    """Label the outer axes of a grid (rows, columns) of spectrograms and hide those not used."""
    columns = axes.shape[1]
    for i, ax in enumerate(axes.flat):
        ax.set_visible(i < used)
        if i % columns == 0:
            ax.set_ylabel("frequency [kHz]")
        if i + columns >= used:
            ax.set_xlabel("time [s]")
            ax.tick_params(labelbottom=True)
