"""Draw how networks learned."""

from collections.abc import Iterable, Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from birdnb.evaluation.gates import RULES
from birdnb.plots.lettering import PlainLogFormatter, legend_label
from birdnb.plots.style import COLOURS, GREY

LINES = {"-": "validation (rate: head)", "--": "training", ":": "rate: backbone"}
GAP_LIMIT = 100 * RULES["train_validation_gap"].target  # [points]


def learning_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw validation solid, training dashed, and a dot where validation F1 was best.

    ``histories`` maps a run's name to its ``history.csv``: epoch, train_loss, val_loss,
    train_accuracy, val_accuracy (0..1), val_f1_macro, lr_backbone, lr_head. Training accuracy is
    that of the clips as they were trained on, altered or not.
    """
    figure, axes = plt.subplots(2, 3, figsize=(12, 6.2))
    loss, accuracy, f1, rate, ahead, key = axes.flat
    for (name, history), colour in zip(histories.items(), COLOURS * 3, strict=False):
        _draw_run(axes.flat, history, colour)
        key.plot([], [], color=colour, linewidth=3, label=legend_label(name))
    ahead.axhline(GAP_LIMIT, color=GREY, linewidth=1.2)
    place = {"ha": "right", "va": "bottom", "transform": ahead.get_yaxis_transform()}
    ahead.text(0.99, GAP_LIMIT, "limit, for unaltered clips", color="#555555", fontsize=10, **place)
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
    for style, text in LINES.items():
        key.plot([], [], color=GREY, linestyle=style, label=text)
    key.legend(loc="center left", bbox_to_anchor=(-0.1, 0.5), handlelength=1.8, labelspacing=0.6)
    key.axis("off")
    return figure


def _draw_run(axes: Iterable[Axes], history: pd.DataFrame, colour: str) -> None:
    loss, accuracy, f1, rate, ahead, _ = axes
    epoch, dashes = history["epoch"], (0, (3, 1.5))
    mark = "." if len(history) == 1 else ""  # one epoch makes no line
    for ax, metric, scale in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
        ax.plot(epoch, scale * history[f"val_{metric}"], color=colour, marker=mark)
        ax.plot(
            epoch, scale * history[f"train_{metric}"], color=colour, linestyle=dashes,
            linewidth=1.4, marker=mark,
        )  # fmt: skip
    f1.plot(epoch, history["val_f1_macro"], color=colour, marker=mark)
    by_score = history.sort_values(
        ["val_f1_macro", "val_loss"], ascending=[False, True], kind="stable"
    )
    best = by_score.iloc[0]
    f1.plot(best["epoch"], best["val_f1_macro"], "o", color=colour, markersize=7)
    rate.plot(epoch, history["lr_head"], color=colour, marker=mark)
    rate.plot(epoch, history["lr_backbone"], ":", color=colour, marker=mark)
    gap = 100 * (history["train_accuracy"] - history["val_accuracy"])
    ahead.plot(epoch, gap, color=colour, marker=mark)
