"""Draw what a corpus holds, and what lies on each side of its split."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from birdnb.plots.style import COLOURS, species_axes, species_ticks, title_over_legend
from birdnb.split.sides import SIDES

SIDE_COLOURS = dict(zip(SIDES, (COLOURS[0], COLOURS[4], COLOURS[2]), strict=True))


def class_counts(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw recordings per species and side as stacked bars; ``table`` has a row a recording."""
    counts = pd.crosstab(table["species"], table["side"]).reindex(columns=list(SIDES), fill_value=0)
    counts = counts.loc[counts.sum(axis=1).sort_values(kind="stable").index]
    ax = ax or species_axes(len(counts))
    left = np.zeros(len(counts))
    for side, colour in SIDE_COLOURS.items():
        ax.barh(
            np.arange(len(counts)), counts[side], left=left, color=colour, label=side, height=0.8
        )
        left += counts[side].to_numpy()
    species_ticks(ax, list(counts.index))
    ax.set_xlabel("recordings")
    title_over_legend(ax, f"{len(table):,} recordings of {len(counts)} species", 3)
    ax.grid(axis="x")
    return ax


def split_overview(table: pd.DataFrame) -> Figure:
    """Draw how much lies on each side of the split.

    Columns recording_id, session, recordist, species (those there) and side.
    """
    kinds = {
        "recording_id": "recordings",
        "session": "sessions",
        "recordist": "recordists",
        "species": "species",
    }
    kinds = {column: name for column, name in kinds.items() if column in table}
    figure, axes = plt.subplots(1, len(kinds), figsize=(11, 2.7), squeeze=False)
    for ax, (column, name) in zip(axes[0], kinds.items(), strict=True):
        counts = (
            table[table[column] != ""]
            .groupby("side")[column]
            .nunique()
            .reindex(list(SIDES), fill_value=0)
        )
        bars = ax.bar(list(SIDES), counts, color=list(SIDE_COLOURS.values()))
        ax.bar_label(bars, fmt="{:,.0f}", padding=2)
        ax.set(title=name, yticks=[])
        ax.spines["left"].set_visible(False)
        ax.margins(y=0.15)
    return figure
