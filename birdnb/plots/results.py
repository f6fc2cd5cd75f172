"""Draw results: how well runs did, how sure that is, and what each step added."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from birdnb.evaluation.metrics import rare_and_common
from birdnb.plots.style import (
    COLOURS,
    GREY,
    new_axes,
    species_axes,
    species_ticks,
    title_over_legend,
    wrap,
)

# keeps a number readable over a line
LABEL = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1}


def per_species_f1(per_class: Mapping[str, Mapping], title: str = "F1 of each species") -> Axes:
    """Draw F1 of each species, best on top, with its interval and the recordings behind it.

    ``per_class`` is a run's ``metrics["test"]["per_class"]``: species -> f1, support and, where
    known, f1_ci95.
    """
    species = sorted(per_class, key=lambda s: (per_class[s]["f1"], s))
    ax = species_axes(len(species))
    for row, name in enumerate(species):
        scores = per_class[name]
        if scores.get("f1_ci95"):
            ax.plot(
                scores["f1_ci95"], [row, row], color=COLOURS[5], linewidth=4, solid_capstyle="butt"
            )
        ax.text(
            1.03, row, str(scores["support"]), va="center", ha="left", fontsize=10, color="#444444"
        )
    ax.plot(
        [per_class[s]["f1"] for s in species], np.arange(len(species)), "o", color=COLOURS[0],
        markersize=6,
    )  # fmt: skip
    mean = float(np.mean([per_class[s]["f1"] for s in species]))
    ax.axvline(mean, color=COLOURS[1], linewidth=1.3, zorder=1)
    side = "right" if mean > 0.5 else "left"  # away from the column of n
    ax.text(
        mean, len(species) - 0.3, f"mean {mean:.2f}", color=COLOURS[1], fontsize=11, ha=side,
        va="bottom",
    )  # fmt: skip
    ax.text(
        1.03, len(species) - 0.3, "n", fontsize=11, va="bottom", style="italic", color="#444444"
    )
    species_ticks(ax, species)
    ax.set(
        xlim=(-0.02, 1.02),
        xlabel="F1 (bar: 95 % interval, where the draws differ; n: test recordings)",
    )
    ax.set_title(title, pad=22)
    ax.grid(axis="x")
    return ax


def rare_vs_common(
    per_class: Mapping[str, Mapping], training: Mapping[str, int], ax: Axes | None = None
) -> Axes:
    """Plot F1 against training recordings, with the means of the rarer and the commoner half."""
    ax = ax or new_axes((8, 4.2))
    species = sorted(per_class)
    count = np.array([training.get(s, 0) for s in species], dtype=float)
    f1 = np.array([per_class[s]["f1"] for s in species])
    ax.plot(count, f1, "o", color=COLOURS[0], alpha=0.7, markersize=8, markeredgewidth=0, zorder=3)
    margin = max(0.3, 0.02 * float(np.ptp(count)))  # a half of a single species is seen, too
    for half, name, colour in zip(
        rare_and_common(species, training) or (), ("rarer", "commoner"), COLOURS[1:], strict=False
    ):
        mean = float(np.mean([per_class[s]["f1"] for s in half]))
        ends = [min(training.get(s, 0) for s in half), max(training.get(s, 0) for s in half)]
        label = f"{name} half: mean F1 {mean:.2f}"
        ax.plot([ends[0] - margin, ends[1] + margin], [mean] * 2, color=colour, linewidth=4,
                label=label)  # fmt: skip
    ax.set(
        xlabel="training recordings of the species",
        ylabel="F1 on test recordings",
        ylim=(-0.03, 1.03),
    )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    title_over_legend(ax, "Rare species against common ones", 2)
    ax.grid(axis="y")
    return ax


def progression(
    rows: pd.DataFrame, chance: float, targets: Mapping[str, float] | None = None, birds: str = ""
) -> Axes:
    """Draw test accuracy from chance to the ensemble; reported figures are hollow and apart.

    ``rows`` has name, accuracy (0..1), low, high (95 % interval, NaN if unknown) and reported
    (bool); ``targets`` maps a name to an accuracy (0..1). ``birds`` is for the title: "12 invented
    species".
    """
    ax = new_axes((10, 1.7 + 0.45 * (len(rows) + 1)))
    reported = rows["reported"].astype(bool)
    rows, measured = pd.concat([rows[~reported], rows[reported]]), int((~reported).sum())
    heights = np.arange(len(rows) + 1, 0, -1.0)
    heights[1 + measured :] -= 1  # a gap before the reported figures
    ax.plot(100 * chance, heights[0], "|", color=GREY, markersize=18, markeredgewidth=3)
    _write_beside(ax, 100 * chance, heights[0], 100 * chance)
    for y, row in zip(heights[1:], rows.itertuples(), strict=True):
        _draw_accuracy(ax, y, row)
    for name, value in (targets or {}).items():
        ax.axvline(100 * value, color=COLOURS[1], linewidth=1, linestyle=":", zorder=0)
        ax.text(100 * value, 1.0, name, color=COLOURS[1], fontsize=10, ha="center", va="bottom",
                transform=ax.get_xaxis_transform())  # fmt: skip
    if reported.any():
        text = "reported by the study we repeat, for other birds:"
        ax.text(1, heights[1 + measured] + 0.75, text, fontsize=11, va="center", color="#555555")
    ax.set_yticks(heights, ["chance", *rows["name"]])
    ax.set(xlim=(0, 100), ylim=(heights[-1] - 0.7, heights[0] + 0.7))
    ax.set_xlabel("test accuracy [%]\n(line: 95 % interval; hollow: reported, not reproduced here)")
    title = "From chance to the ensemble" + (f": {birds}" if birds else "")
    ax.set_title(title, pad=22 if targets else 6)
    ax.grid(axis="x")
    return ax


def _draw_accuracy(ax: Axes, y: float, row: Any) -> None:
    """Draw a row of the progression: its interval, a dot or hollow mark, and the number."""
    value, low, high = 100 * row.accuracy, 100 * row.low, 100 * row.high
    if np.isfinite(low):
        ax.plot([low, high], [y, y], color=COLOURS[0], linewidth=3, alpha=0.5)
    marker, face, edge = ("D", "white", GREY) if row.reported else ("o", COLOURS[0], COLOURS[0])
    ax.plot(
        value, y, marker, color=face, markeredgecolor=edge, markersize=10, markeredgewidth=2,
        clip_on=False, zorder=3,
    )  # fmt: skip
    _write_beside(ax, max(value, high) if np.isfinite(high) else value, y, value)


def _write_beside(ax: Axes, x: float, y: float, value: float) -> None:
    ax.annotate(
        f"{value:.1f} %", (x, y), (10, 0), textcoords="offset points", va="center", bbox=LABEL
    )


def paired_differences(rows: pd.DataFrame) -> Axes:
    """Draw paired differences as a forest plot: name, difference, low, high (0..1) and p."""
    ax = new_axes((10, 1.6 + 0.55 * len(rows)))
    heights = np.arange(len(rows), 0, -1.0)
    for y, row in zip(heights, rows.itertuples(), strict=True):
        sure = (row.low > 0 or row.high < 0) and not ("p" in rows and row.p > 0.05)
        colour = COLOURS[0] if sure else GREY
        ax.plot([100 * row.low, 100 * row.high], [y, y], color=colour, linewidth=3, alpha=0.6)
        ax.plot(100 * row.difference, y, "o", color=colour, markersize=9)
        text = f"{100 * row.difference:+.1f}".replace("-", "−")
        if "p" in rows and np.isfinite(row.p):
            text += "  (p < 0.001)" if row.p < 0.001 else f"  (p = {row.p:.3f})"
        ax.text(1.02, y, text, va="center", transform=ax.get_yaxis_transform())
    ax.axvline(0, color="black", linewidth=1)
    ax.set_yticks(heights, [wrap(name, 52) for name in rows["name"]])
    ax.set_ylim(0.4, len(rows) + 0.6)
    ax.set(
        xlabel="difference in accuracy [points] (grey: not settled)", title="What each step adds"
    )
    ax.grid(axis="x")
    return ax


def ensemble_weights(
    curve: pd.DataFrame, first: str, second: str, chosen: float | None = None
) -> Figure:
    """Plot validation accuracy and log loss (columns) over the weight of ``first``."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.4))
    for ax, column, scale, unit in (
        (axes[0], "accuracy", 100, "accuracy [%]"),
        (axes[1], "log_loss", 1, "log loss [nats]"),
    ):
        ax.plot(curve["weight"], scale * curve[column], color=COLOURS[0])
        if chosen is not None:
            ax.axvline(chosen, color=COLOURS[1], linewidth=1.5)
            ax.text(chosen, 1.0, f"chosen {chosen:.2f}", color=COLOURS[1], ha="center", va="bottom",
                    fontsize=11,
                    transform=ax.get_xaxis_transform())  # fmt: skip
        ax.set(
            xlabel=f"weight of {first}\n(the rest: {second})",
            ylabel=f"validation {unit}",
            xlim=(0, 1),
        )
        ax.grid(axis="y")
    return figure
