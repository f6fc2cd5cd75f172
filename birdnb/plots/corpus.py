"""Draw what a corpus holds, and what lies on each side of its split."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from birdnb.plots.style import COLOURS, species_axes, species_ticks, title_over_legend
from birdnb.split.facts import people
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
    ax.locator_params("x", integer=True)
    title_over_legend(ax, f"{len(table):,} recordings of {len(counts)} species", 3)
    ax.grid(axis="x")
    return ax


def split_overview(table: pd.DataFrame) -> Figure:
    """Draw how much is on each side: recording_id, session, recordist, species, side."""
    kinds = {
        "recording_id": "recordings",
        "session": "sessions",
        "recordist": "recordists",
        "species": "species",
    }
    kinds = {column: name for column, name in kinds.items() if column in table}
    figure, axes = plt.subplots(1, len(kinds), figsize=(11, 2.7), squeeze=False)
    for ax, (column, name) in zip(axes[0], kinds.items(), strict=True):
        if column == "recordist":
            table = table.assign(recordist=people(table["recordist"]))
        counts = table[table[column] != ""].groupby("side")[column].nunique()
        counts = counts.reindex(list(SIDES), fill_value=0)
        bars = ax.bar(list(SIDES), counts, color=list(SIDE_COLOURS.values()))
        ax.bar_label(bars, fmt="{:,.0f}", padding=2)
        ax.set(title=name, yticks=[])
        ax.spines["left"].set_visible(False)
        ax.margins(y=0.15)
    return figure


def recording_map(table: pd.DataFrame) -> Figure:
    """Draw where recordings were made; ``table`` has latitude and longitude [degrees] or NaN.

    A dot a place, its area growing with the recordings there. A degree of longitude is as long as
    it is in the middle of the map. East of the date line longitudes go on beyond 180 where that
    makes a smaller map.
    """
    placed = table.dropna(subset=["latitude", "longitude"])
    turned = placed["longitude"] % 360
    if np.ptp(turned) < np.ptp(placed["longitude"]):
        placed = placed.assign(longitude=turned)
    places = placed.groupby(["latitude", "longitude"]).size().reset_index(name="recordings")
    most = max(places["recordings"].max(), 40)  # no dot is so large that it hides its neighbours
    area = 400 * places["recordings"] / most  # [square points]
    figure, ax = plt.subplots(figsize=(9, 5))
    ax.scatter(
        places["longitude"], places["latitude"], s=12 + area,
        color=COLOURS[0], alpha=0.5, linewidths=0,
    )  # fmt: skip
    middle = (places["latitude"].min() + places["latitude"].max()) / 2
    ax.set_aspect(1 / max(np.cos(np.radians(middle)), 0.1), adjustable="datalim")
    ax.margins(0.1)
    ax.grid()
    ax.set(
        xlabel="longitude [° east]", ylabel="latitude [° north]",
        title=f"{len(placed):,} recordings at {len(places):,} places",
    )  # fmt: skip
    return figure


def recording_times(table: pd.DataFrame) -> Figure:
    """Draw in which months and at which hours recordings were made; columns month, hour or NaN."""
    kinds = {"month": (range(1, 13), "month of the year"), "hour": (range(24), "hour of the day")}
    kinds = {name: kind for name, kind in kinds.items() if table[name].notna().any()}
    figure, axes = plt.subplots(1, len(kinds), figsize=(11, 3), squeeze=False)
    for ax, (name, (values, label)) in zip(axes[0], kinds.items(), strict=True):
        ax.bar(list(values), table[name].value_counts().reindex(values, fill_value=0))
        stated = int(table[name].notna().sum())
        ax.set(xlabel=label, ylabel="recordings", xticks=values[:: len(values) // 12])
        ax.set_title(f"{stated:,} of {len(table):,} name the {name}")
        ax.locator_params("y", integer=True)
        ax.grid(axis="y")
    return figure
