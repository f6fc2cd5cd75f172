"""Pictures of sound: data in, matplotlib Axes or Figure out; nothing is saved here but by ``save``.

In a notebook, keep the result in a name (``figure = plots.visualize_spectrogram(...)``): the
picture then shows once. Charts of counts and results are in ``results``, views into a model's
decisions in ``models``.
"""

from __future__ import annotations

import io
import math
import sys
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from birdnb.config import AudioSettings
from birdnb.files import atomic_path
from birdnb.plots.lettering import GLYPH, fit_fonts

# perceptually even, and its lightness alone tells the story when printed in grey; 40 steps keep the
# PNGs small
CMAP = matplotlib.colormaps["magma"].resampled(40)
# Okabe and Ito, colour-blind safe: https://jfly.uni-koeln.de/color/
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31"]
GREY = "#8A8A8A"
KHZ_TICKS = (0.5, 1, 2, 4, 8)


def style() -> None:
    """Set matplotlib up for the whole study: readable at half size, the same bytes every time.

    Under IPython figures are shown as ``png_bytes`` writes them, so that committed notebooks stay
    small.
    """
    plt.rcParams.update({
        "figure.dpi": 80, "savefig.dpi": 120, "figure.figsize": (9, 3.5),
        "figure.constrained_layout.use": True,
        "font.size": 12, "axes.titlesize": 13, "axes.labelsize": 12, "xtick.labelsize": 11,
        "ytick.labelsize": 11,
        "legend.fontsize": 11, "legend.frameon": False, "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True, "axes.grid": False, "grid.color": "#DDDDDD", "lines.linewidth": 2,
        "svg.hashsalt": "birdnb",
        "axes.prop_cycle": plt.cycler(color=COLOURS), "image.cmap": "magma",
        "axes.titlelocation": "left", "text.parse_math": False,  # names are text, not formulas
    })  # fmt: skip
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        plt.switch_backend(
            matplotlib.get_backend()
        )  # the notebook's backend sets its own PNG writer when it is loaded
        shell.display_formatter.formatters["image/png"].for_type(Figure, png_bytes)


def png_bytes(figure: Figure, dpi: float | None = None) -> bytes:
    """Return a figure as a PNG of 256 colours, without date or version.

    That is half the usual size and less, without a difference to the eye.
    """
    fit_fonts(figure)
    raw = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", GLYPH)  # fit_fonts has said it in one line
        figure.savefig(
            raw, format="png", dpi=dpi or figure.dpi, bbox_inches="tight", facecolor="white"
        )
    small = io.BytesIO()
    flat = Image.open(raw).convert("RGB")
    palette = flat.quantize(
        256, method=Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE
    )
    palette.save(small, "PNG", optimize=True)
    return small.getvalue()


def save(figure: Figure, path: Path | str, dpi: float = 120) -> Path:
    """Write a figure as PNG, close it, and return the path."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(png_bytes(figure, dpi))
    plt.close(figure)
    return Path(path)


def hz_to_mel(hz: np.ndarray | float) -> np.ndarray:
    """Slaney's mel scale, as librosa uses it: linear below 1 kHz, logarithmic above."""
    hz = np.asarray(hz, dtype=float)
    return np.where(
        hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4)
    )


def mel_band_of(hz: np.ndarray | float, audio: AudioSettings) -> np.ndarray:
    """Position of a frequency [Hz] on the mel axis, in bands: band k has its centre at k."""
    step = hz_to_mel(audio.sample_rate / 2) / (
        audio.n_mels + 1
    )  # a band's centres are n_mels + 2 points less the ends
    return hz_to_mel(hz) / step - 1


def visualize_spectrogram(
    lms: np.ndarray,
    audio: AudioSettings,
    title: str = "",
    ax: Axes | None = None,
    normalised: bool = False,
    limits: tuple[float, float] | None = None,
    colorbar: bool = True,
) -> Axes:
    """Draw one LMS (128, T) in seconds and kHz; ``limits`` (darkest, brightest) make several
    comparable. Returns the Axes.
    """
    ax = ax or new_axes((9, 3.2))
    image = draw_lms(ax, lms, audio, limits)
    ax.set(title=title, xlabel="time [s]", ylabel="frequency [kHz]")
    if colorbar:
        ax.figure.colorbar(
            image,
            ax=ax,
            label="normalised level" if normalised else "level [dB]",
            pad=0.01,
            aspect=14,
        )
    return ax


def waveform(
    samples: np.ndarray,
    audio: AudioSettings,
    windows: Sequence[float] = (),
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a waveform (samples,) over time; ``windows`` are the starts [s] of the chosen clips,
    best first, numbered.
    """
    ax = ax or new_axes((9, 2.4))
    seconds = np.arange(len(samples)) / audio.sample_rate
    top = 1.05 * float(np.abs(samples).max(initial=1e-6))
    low, high = envelope(samples, 2000)
    ax.fill_between(
        np.linspace(0, seconds[-1], len(low)), low, high, color="#444444", linewidth=0.5
    )
    for rank, start in enumerate(windows):
        colour = COLOURS[rank % len(COLOURS)]
        ax.axvspan(start, start + audio.clip_seconds, color=colour, alpha=0.22, linewidth=0)
        ax.text(
            start + 0.05,
            top,
            f"clip {rank + 1}",
            color=colour,
            va="bottom",
            weight="bold",
            fontsize=11,
        )
    ax.set(
        title=title,
        xlabel="time [s]",
        ylabel="amplitude",
        xlim=(0, len(samples) / audio.sample_rate),
        ylim=(-top, top),
    )
    if len(windows):
        ax.set_title(title, pad=20)  # room for the names of the clips
    return ax


def spectrogram_grid(
    spectrograms: Sequence[np.ndarray],
    titles: Sequence[str],
    audio: AudioSettings,
    columns: int = 4,
    normalised: bool = False,
    shared_limits: bool = False,
    title: str = "",
) -> Figure:
    """Draw several LMS (128, T) side by side, a title above each; axes are labelled at the edge of
    the grid only.
    """
    columns = min(columns, len(spectrograms))
    rows = math.ceil(len(spectrograms) / columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(11, 0.3 + 2.3 * rows), sharex=True, sharey=True, squeeze=False
    )
    limits = (
        lms_limits(np.concatenate([np.asarray(s) for s in spectrograms], axis=1))
        if shared_limits
        else None
    )
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


def temporal_structure(lms: np.ndarray, audio: AudioSettings, title: str = "") -> Figure:
    """Show the rhythm of one clip (128, T) in dB: level by frequency range, onsets, and how
    strongly it repeats itself.
    """
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
        title="repetition",
        xlabel="lag [s]",
        ylabel="autocorrelation",
        xlim=(0, lags[-1]),
        ylim=(-1, 1.05),
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=13)
    return figure


def rhythm(
    lms: np.ndarray, audio: AudioSettings
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Work out what ``temporal_structure`` shows: levels [dB] (T,) by range, onset strength (T,),
    autocorrelation (lags,).

    The level of a range is its mean power; onset strength is the mean rise over the bands, as in
    librosa's onset envelope; the autocorrelation is that of the onsets, up to 1.5 s.
    """
    lms = np.asarray(lms, dtype=np.float32)
    edges = [0, *np.round(mel_band_of(np.array([2000, 4000]), audio)).astype(int), audio.n_mels]
    names = ["below 2 kHz", "2–4 kHz", "above 4 kHz"]
    bands = zip(names, edges, edges[1:], strict=False)
    levels = {name: 10 * np.log10(np.mean(10 ** (lms[a:b] / 10), axis=0)) for name, a, b in bands}
    onsets = np.concatenate([[0], np.maximum(np.diff(lms, axis=1), 0).mean(axis=0)])
    around = gaussian_filter1d(onsets, 1.0) - onsets.mean()
    full = np.correlate(around, around, mode="full")[len(around) - 1 :]
    longest = min(len(full), int(1.5 * audio.sample_rate / audio.hop_length))
    return levels, onsets, full[:longest] / max(full[0], 1e-12)


def pulse(lms: np.ndarray, audio: AudioSettings) -> tuple[float, float]:
    """The rhythm of a clip (128, T) in dB in two numbers: lag [s] and height of the highest peak of
    its autocorrelation.

    Counted from the first dip below zero, so that the width of a single onset is no rhythm; (nan,
    0) if there is no peak.
    """
    repeats = rhythm(lms, audio)[2]
    below = np.flatnonzero(repeats < 0)
    peaks = [i for i in range(1, len(repeats) - 1) if repeats[i - 1] < repeats[i] >= repeats[i + 1]]
    after = [i for i in peaks if len(below) and i > below[0] and repeats[i] > 0]
    if not after:
        return math.nan, 0.0
    best = max(after, key=lambda i: repeats[i])
    return best * audio.hop_length / audio.sample_rate, float(repeats[best])


def augmentation_pairs(
    originals: Sequence[np.ndarray],
    augmented: Sequence[np.ndarray],
    titles: Sequence[str],
    audio: AudioSettings,
    columns: int = 5,
) -> Figure:
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
    """Draw one clip at several signal-to-noise ratios [dB] on a common scale; ``None`` stands for
    the clip as recorded.
    """
    titles = ["as recorded" if snr is None else f"{snr:g} dB SNR" for snr in snrs_db]
    columns = len(titles) if len(titles) <= 5 else math.ceil(len(titles) / 2)
    return spectrogram_grid(
        spectrograms, titles, audio, columns=columns, shared_limits=True, title=title
    )


# --- parts the figures share ---


def new_axes(size: tuple[float, float]) -> Axes:
    """Open a figure of this size [inches] with one Axes."""
    return plt.subplots(figsize=size)[1]


def draw_lms(
    ax: Axes, lms: np.ndarray, audio: AudioSettings, limits: tuple[float, float] | None = None
) -> AxesImage:
    """Put an LMS (128, T) on an Axes, ticks at round kHz, and return the image."""
    lms = np.asarray(lms, dtype=np.float32)
    low, high = limits or lms_limits(lms)
    step = audio.hop_length / audio.sample_rate
    extent = (
        -step / 2,
        (lms.shape[1] - 0.5) * step,
        -0.5,
        lms.shape[0] - 0.5,
    )  # a frame's and a band's centre lie on its tick
    image = ax.imshow(
        lms,
        origin="lower",
        aspect="auto",
        cmap=CMAP,
        vmin=low,
        vmax=high,
        extent=extent,
        interpolation="nearest",
    )
    ticks = [khz for khz in KHZ_TICKS if 1000 * khz < audio.sample_rate / 2]
    ax.set_yticks(mel_band_of(1000 * np.array(ticks), audio), [f"{khz:g}" for khz in ticks])
    return image


def lms_limits(lms: np.ndarray) -> tuple[float, float]:
    """Darkest and brightest level worth telling apart: 20th and 99.9th percentile, so that neither
    noise nor a click rules.
    """
    low, high = np.percentile(np.asarray(lms, dtype=np.float32), [20, 99.9])
    return float(low), float(max(high, low + 1e-3))


def envelope(samples: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest sample in each of at most ``points`` stretches."""
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


def percent(share: float) -> str:
    """A share (0..1) in words: ``61 %``."""
    return f"{100 * share:.0f} %"


def wrap(text: str, width: int) -> str:
    """Break each line of a title at words so that it stays within ``width`` characters; a number
    keeps its per cent sign.
    """
    lines = text.replace(" %", "\u00a0%").split("\n")  # textwrap does not break here
    return "\n".join(textwrap.fill(line, max(12, width)) for line in lines).replace("\u00a0%", " %")
