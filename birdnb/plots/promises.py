"""Draw what a run may promise, and what it heard in long recordings."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from birdnb.config import AudioSettings
from birdnb.plots.sound import draw_lms
from birdnb.plots.style import (
    COLOURS,
    GREY,
    percent,
    species_axes,
    species_ticks,
    title_over_legend,
)


def promised_precision(
    table: pd.DataFrame, promised: float, kept: pd.DataFrame | None = None
) -> Axes:
    """Draw the precision of each species at its threshold, with its interval, beside the promise.

    ``table`` has species, threshold, precision, low, high and sessions; a species without a
    threshold stands grey. ``kept`` has the species and precision measured elsewhere, drawn hollow.
    """
    table = table.iloc[::-1].reset_index(drop=True)
    ax = species_axes(len(table))
    given = table["threshold"].notna()
    rows = np.flatnonzero(given).tolist()
    for row in rows:
        one = table.loc[row]
        ax.plot([one["low"], one["high"]], [row, row], color=COLOURS[5], linewidth=4,
                solid_capstyle="butt")  # fmt: skip
        ax.text(1.03, row, f"{one['threshold']:.2f}", va="center", fontsize=10, color="#444444")
    ax.plot(table.loc[given, "precision"], rows, "o", color=COLOURS[0], label="validation")
    if kept is not None:
        place = {species: row for row, species in enumerate(table["species"])}
        there = kept[kept["species"].isin(place)].dropna(subset="precision")
        ax.plot(there["precision"], there["species"].map(place), "D", markersize=9, zorder=3,
                markerfacecolor="none", markeredgecolor=COLOURS[1], label="test")  # fmt: skip
    for row in np.flatnonzero(~given).tolist():
        n = int(table.loc[row, "sessions"])
        many = f"{n} session{'s' * (n != 1)}: no promise"
        ax.text(0.02, row, many, va="center", fontsize=10, color=GREY, style="italic")
    ax.axvline(promised, color=COLOURS[1], linewidth=1.3, zorder=1)
    ax.text(1.03, len(table) - 0.3, "from", fontsize=11, va="bottom", style="italic",
            color="#444444")  # fmt: skip
    species_ticks(ax, list(table["species"]))
    ax.set(xlim=(-0.02, 1.02), xlabel="precision (bar: 95 % interval; from: the threshold)")
    title_over_legend(ax, f"Promised: {percent(promised)} of what is called is right", 2)
    ax.grid(axis="x")
    return ax


def detections_over_spectrogram(
    lms: np.ndarray, audio: AudioSettings, start: float, detections: pd.DataFrame,
    truth: pd.DataFrame | None = None,
) -> Figure:  # fmt: skip
    """Draw a stretch of a recording (128, T) from ``start`` [s] with what was heard below it.

    Both tables have start, end [s from the beginning of the recording] and species; a row a
    species. Detections above a ``threshold`` are dark, those without one light; ``truth``, what was
    sung, is a line beneath.
    """
    seconds = lms.shape[1] * audio.hop_length / audio.sample_rate
    span = (start, start + seconds)
    given = [part for part in (detections, truth) if part is not None]
    tables = [part[(part["start"] < span[1]) & (part["end"] > span[0])] for part in given]
    names = sorted(set(pd.concat(tables)["species"]), reverse=True)
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(11, 3.4 + 0.3 * max(1, len(names))), sharex=True,
        height_ratios=[2.4, 0.6 + 0.3 * max(1, len(names))],
    )  # fmt: skip
    image = draw_lms(above, lms, audio)
    image.set_extent((*span, *image.get_extent()[2:]))
    above.set(ylabel="frequency [kHz]", title=f"from {start:.0f} s on")
    promised = tables[0]["threshold"].notna()
    kinds = {"detected": COLOURS[0], "by rank only": COLOURS[5]}
    _bars(below, tables[0][promised], names, kinds["detected"], 0.5)
    _bars(below, tables[0][~promised], names, kinds["by rank only"], 0.5)
    if truth is not None:
        kinds["sung"] = COLOURS[1]
        _bars(below, tables[1], names, kinds["sung"], 0.12, shift=-0.34)
    species_ticks(below, names)
    below.set(xlim=span, xlabel="time [s]")
    handles = [Patch(color=colour, label=label) for label, colour in kinds.items()]
    below.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _bars(
    ax: Axes, table: pd.DataFrame, names: Sequence[str], colour: str, height: float,
    shift: float = 0.0,
) -> None:  # fmt: skip
    rows = np.array([names.index(species) for species in table["species"]]) + shift
    ax.barh(rows, table["end"] - table["start"], height, table["start"], color=colour)
