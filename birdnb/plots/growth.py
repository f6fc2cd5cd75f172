"""Draw what more recordings bring: scores against recording sessions."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from birdnb.plots.lettering import legend_label
from birdnb.plots.style import COLOURS, GREY, wrap

PANELS = (("accuracy", "accuracy [%]", 100), ("f1_macro", "F1-macro", 1))
LOSSES = (("accuracy", "accuracy [%]", 100), ("log_loss", "log loss [nats]", 1))
CLIPS = "thousand clips heard in pretraining (dotted: none)"
SESSIONS = "training sessions a species"
MOST = 12  # species that a figure has room for


def growth(
    points: pd.DataFrame, laws: pd.DataFrame, titles: Mapping[str, str], target: float | None = None
) -> Figure:
    """Draw accuracy and F1-macro against training sessions a species, with laws fitted to them.

    ``points``: a row a run and size, with run, sessions_a_species, accuracy and f1_macro (0..1) and
    the ends of their intervals (``accuracy_low`` ...). ``laws``: a row a run and number of
    sessions, with run, sessions and the same scores; solid as far as was measured, then dashed.
    ``titles`` names the runs for people; ``target`` is an accuracy (0..1).
    """
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.2))
    for (score, label, scale), ax in zip(PANELS, axes, strict=True):
        for i, (run, title) in enumerate(titles.items()):
            colour = COLOURS[i % len(COLOURS)]
            of_run = points[points["run"] == run]
            _draw_points(ax, of_run["sessions_a_species"], of_run, score, scale, colour)
            ax.plot([], [], "o-", color=colour, label=legend_label(title))
            if len(law := laws[laws["run"] == run]):
                _draw_law(ax, law, of_run["sessions_a_species"].max(), score, scale, colour)
        ax.set(title=label.split(" [")[0], ylabel=label, ylim=(0, scale))
        _sessions_axis(ax, [*points["sessions_a_species"], *laws["sessions"]])
    if target is not None:
        axes[0].axhline(100 * target, color=GREY, linewidth=1.2, linestyle=":")
    axes[1].legend(loc="lower right")
    return figure


def scaling_figure(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw accuracy and log loss against the clips that checkpoints heard, a line a table.

    ``tables``: name -> a row a checkpoint, with clips, accuracy (0..1), log_loss and the ends of
    their intervals (``accuracy_ci95`` ...). New weights, with 0 clips, are a dotted line.
    """
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.2))
    for (score, label, scale), ax in zip(LOSSES, axes, strict=True):
        for i, (name, table) in enumerate(tables.items()):
            colour = COLOURS[i % len(COLOURS)]
            new, heard = table[table["clips"] == 0], table[table["clips"].fillna(0) > 0]
            for value in new[score]:
                ax.axhline(scale * value, color=colour, linewidth=1.2, linestyle=":")
            ends = pd.DataFrame(
                heard[f"{score}_ci95"].tolist(), heard.index, [f"{score}_low", f"{score}_high"]
            )
            thousands = heard["clips"].astype(float) / 1000
            _draw_points(ax, thousands, heard.join(ends), score, scale, colour)
            ax.plot(thousands, scale * heard[score], color=colour, linewidth=1.4)
            ax.plot([], [], "o-", color=colour, label=legend_label(name))
        ax.set(title=label.split(" [")[0], ylabel=label)
        clips = [n / 1000 for table in tables.values() for n in table["clips"] if n]
        _sessions_axis(ax, clips or [1], CLIPS)
    axes[1].legend(loc="best", fontsize=9)
    return figure


def species_growth(rows: pd.DataFrame) -> Figure:
    """Draw the F1 of each species against its own training sessions, a small panel each.

    ``rows``: a row a species and size, with species, sessions, f1 (0..1), f1_low and f1_high.
    Of many species, those with the fewest sessions.
    """
    most = rows.groupby("species")["sessions"].max().sort_values(kind="stable")
    shown = sorted(most.index[:MOST])
    columns = min(4, len(shown))
    lines = -(-len(shown) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(12, 0.8 + 2.1 * lines), sharex=True,
                                sharey=True, squeeze=False)  # fmt: skip
    for ax, name in zip(axes.flat, shown, strict=False):
        of_species = rows[rows["species"] == name]
        _draw_points(ax, of_species["sessions"], of_species, "f1", 1, COLOURS[0])
        ax.plot(of_species["sessions"], of_species["f1"], color=COLOURS[0], linewidth=1.2)
        ax.set_title(wrap(name, 26), fontsize=11)
        ax.set_ylim(0, 1)
        _sessions_axis(ax, rows.loc[rows["species"].isin(shown), "sessions"].tolist(), "")
    for ax in list(axes.flat)[len(shown) :]:
        ax.axis("off")
    figure.supxlabel("its training sessions (bar: 95 % interval)", fontsize=12)
    figure.supylabel("F1", fontsize=12)
    return figure


def _draw_points(
    ax: Axes, sessions: pd.Series, rows: pd.DataFrame, score: str, scale: float, colour: str
) -> None:
    low, high = scale * rows[f"{score}_low"], scale * rows[f"{score}_high"]
    ax.vlines(sessions, low, high, color=colour, linewidth=3, alpha=0.5)
    ax.plot(sessions, scale * rows[score], "o", color=colour, markersize=6)


def _draw_law(
    ax: Axes, law: pd.DataFrame, measured: float, score: str, scale: float, colour: str
) -> None:
    ax.fill_between(law["sessions"], scale * law[f"{score}_low"], scale * law[f"{score}_high"],
                    color=colour, alpha=0.12, linewidth=0)  # fmt: skip
    for rows, line in ((law["sessions"] <= measured, "-"), (law["sessions"] >= measured, "--")):
        ax.plot(law["sessions"][rows], scale * law[score][rows], line, color=colour, linewidth=1.4)


def _sessions_axis(ax: Axes, sessions: list[float], label: str = SESSIONS) -> None:
    """Give the axis of sessions doublings: 1, 2, 4 and on."""
    ax.set_xscale("log", base=2)
    ticks = 2.0 ** np.arange(
        np.floor(np.log2(max(1, min(sessions)))), np.ceil(np.log2(max(sessions))) + 1
    )
    ax.set_xticks(ticks)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(label)
    ax.grid(axis="y")
