"""Charts of counts and results: what the corpus holds, how runs learned, how well they did and how
sure that is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from birdnb.evaluation.gates import RULES
from birdnb.evaluation.metrics import rare_and_common
from birdnb.plots.lettering import PlainLogFormatter, legend_label
from birdnb.plots.sound import COLOURS, GREY, new_axes, wrap
from birdnb.split.sides import SIDES

SIDE_COLOURS = dict(zip(SIDES, (COLOURS[0], COLOURS[4], COLOURS[2]), strict=True))
GAP_LIMIT = 100 * RULES["train_validation_gap"].target  # [points]
LABEL = {
    "facecolor": "white",
    "edgecolor": "none",
    "alpha": 0.85,
    "pad": 1,
}  # keeps a number readable over a line


def class_counts(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw recordings per species and side as stacked bars; ``table`` has a row a recording with
    ``species`` and ``side``.
    """
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
    """Count what lies on each side of the split: columns recording_id, session, recordist, species
    (those there) and side.
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


def learning_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Compare how runs learned: validation solid, training dashed; a dot where validation F1 was
    best.

    ``histories`` maps a run's name to its ``history.csv``: epoch, train_loss, val_loss,
    train_accuracy, val_accuracy (0..1), val_f1_macro, lr_backbone, lr_head. Training accuracy is
    that of the clips as they were trained on, altered or not.
    """
    figure, axes = plt.subplots(2, 3, figsize=(12, 6.2))
    loss, accuracy, f1, rate, ahead, key = axes.flat
    for (name, history), colour in zip(histories.items(), COLOURS * 3, strict=False):
        epoch = history["epoch"]
        for ax, metric, scale in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
            ax.plot(epoch, scale * history[f"val_{metric}"], color=colour)
            ax.plot(
                epoch,
                scale * history[f"train_{metric}"],
                color=colour,
                linestyle=(0, (3, 1.5)),
                linewidth=1.4,
            )
        f1.plot(epoch, history["val_f1_macro"], color=colour)
        best = history.sort_values(
            ["val_f1_macro", "val_loss"], ascending=[False, True], kind="stable"
        ).index[0]
        f1.plot(epoch[best], history["val_f1_macro"][best], "o", color=colour, markersize=7)
        rate.plot(epoch, history["lr_head"], color=colour)
        rate.plot(epoch, history["lr_backbone"], color=colour, linestyle=":")
        ahead.plot(epoch, 100 * (history["train_accuracy"] - history["val_accuracy"]), color=colour)
        key.plot([], [], color=colour, linewidth=3, label=legend_label(name))
    ahead.axhline(GAP_LIMIT, color=GREY, linewidth=1.2)
    text = "limit, for unaltered clips"
    place = {"ha": "right", "va": "bottom", "transform": ahead.get_yaxis_transform()}
    ahead.text(0.99, GAP_LIMIT, text, color="#555555", fontsize=10, **place)
    for ax, title, unit in (
        (loss, "loss", "loss"),
        (accuracy, "accuracy", "accuracy [%]"),
        (f1, "validation F1-macro", "F1-macro"),
        (rate, "learning rate", "learning rate"),
        (ahead, "training (as trained) − validation", "gap in accuracy [points]"),
    ):
        ax.set(title=title, xlabel="epoch", ylabel=unit)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(axis="y")
    rate.set_yscale("log")
    rate.yaxis.set_major_formatter(PlainLogFormatter())
    rate.yaxis.set_minor_formatter(PlainLogFormatter())
    for style, text in (
        ("-", "validation (rate: head)"),
        ("--", "training"),
        (":", "rate: backbone"),
    ):
        key.plot([], [], color=GREY, linestyle=style, label=text)
    key.legend(loc="center left", bbox_to_anchor=(-0.1, 0.5), handlelength=1.8, labelspacing=0.6)
    key.axis("off")
    return figure


def per_species_f1(per_class: Mapping[str, Mapping], title: str = "F1 of each species") -> Axes:
    """Draw F1 of each species, best on top, with its 95 % interval and the number of recordings
    behind it.

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
        [per_class[s]["f1"] for s in species],
        np.arange(len(species)),
        "o",
        color=COLOURS[0],
        markersize=6,
    )
    mean = float(np.mean([per_class[s]["f1"] for s in species]))
    ax.axvline(mean, color=COLOURS[1], linewidth=1.3, zorder=1)
    side = "right" if mean > 0.5 else "left"  # away from the column of n
    ax.text(
        mean,
        len(species) - 0.3,
        f"mean {mean:.2f}",
        color=COLOURS[1],
        fontsize=11,
        ha=side,
        va="bottom",
    )
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
    """Plot each species' F1 against its training recordings, with the means of both halves.

    The rarer and the commoner half; no means where both sides of the border have as many.
    """
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
    """Draw test accuracy from chance to the ensemble, the first row on top; reported figures are
    hollow and apart.

    ``rows`` has name, accuracy (0..1), low, high (95 % interval, NaN if unknown) and reported
    (bool); ``targets`` maps a name to an accuracy (0..1). ``birds`` is for the title: "12 invented
    species".
    """
    ax = new_axes((10, 1.7 + 0.45 * (len(rows) + 1)))
    rows = pd.concat([rows[~rows["reported"].astype(bool)], rows[rows["reported"].astype(bool)]])
    names = ["chance", *rows["name"]]
    heights = np.arange(len(names), 0, -1.0)
    heights[1 + int((~rows["reported"].astype(bool)).sum()) :] -= (
        1  # a gap before the reported figures
    )
    ax.plot(100 * chance, heights[0], "|", color=GREY, markersize=18, markeredgewidth=3)
    ax.annotate(
        f"{100 * chance:.1f} %",
        (100 * chance, heights[0]),
        (10, 0),
        textcoords="offset points",
        va="center",
        bbox=LABEL,
    )
    for y, row in zip(heights[1:], rows.itertuples(), strict=True):
        value = 100 * row.accuracy
        right = max(value, 100 * row.high) if np.isfinite(row.high) else value
        if np.isfinite(row.low):
            ax.plot(
                [100 * row.low, 100 * row.high], [y, y], color=COLOURS[0], linewidth=3, alpha=0.5
            )
        face, edge = ("white", GREY) if row.reported else (COLOURS[0], COLOURS[0])
        ax.plot(
            value,
            y,
            "D" if row.reported else "o",
            color=face,
            markeredgecolor=edge,
            markersize=10,
            markeredgewidth=2,
        )
        ax.annotate(
            f"{value:.1f} %",
            (right, y),
            (10, 0),
            textcoords="offset points",
            va="center",
            bbox=LABEL,
        )
    for name, value in (targets or {}).items():
        ax.axvline(100 * value, color=COLOURS[1], linewidth=1, linestyle=":", zorder=0)
        ax.text(
            100 * value,
            1.0,
            name,
            color=COLOURS[1],
            fontsize=10,
            ha="center",
            va="bottom",
            transform=ax.get_xaxis_transform(),
        )
    if rows["reported"].any():
        y = heights[1 + int((~rows["reported"].astype(bool)).sum())] + 0.75
        ax.text(
            1,
            y,
            "reported by the study we repeat, for other birds:",
            fontsize=11,
            va="center",
            color="#555555",
        )
    ax.set_yticks(heights, names)
    ax.set(
        xlim=(0, 100),
        xlabel="test accuracy [%]\n(line: 95 % interval; hollow: reported, not reproduced here)",
    )
    ax.set_ylim(heights[-1] - 0.7, heights[0] + 0.7)
    ax.set_title(
        "From chance to the ensemble" + (f": {birds}" if birds else ""), pad=22 if targets else 6
    )
    ax.grid(axis="x")
    return ax


def paired_differences(rows: pd.DataFrame) -> Axes:
    """Forest plot of paired differences in accuracy: columns name, difference, low, high (0..1)
    and, if known, p.
    """
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
    """Plot validation accuracy and log loss over the weight of ``first``; ``curve`` has weight,
    accuracy, log_loss.
    """
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


# --- parts the charts share ---


def species_axes(count: int) -> Axes:
    """Axes tall enough for a row a species: generous for few, tight but legible for 90."""
    inches = 0.32 if count <= 20 else 0.26 if count <= 45 else 0.2
    return new_axes((9, 1.5 + inches * count))


def species_ticks(ax: Axes, names: Sequence[str]) -> None:
    """Name every row of a horizontal chart, small enough not to touch."""
    ax.set_yticks(
        np.arange(len(names)),
        [str(name) for name in names],
        fontsize=12 if len(names) <= 20 else 11 if len(names) <= 45 else 10,
    )
    ax.set_ylim(-0.7, len(names) - 0.3)


def title_over_legend(ax: Axes, title: str, columns: int) -> None:
    """Put the legend in one line above the data and the title above the legend."""
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2, borderpad=0.1
    )
    ax.set_title(title, pad=26)
