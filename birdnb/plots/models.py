"""Draw a model's decisions: confusions, calibration, its space of species, what it listens to."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from birdnb.config import AudioSettings
from birdnb.plots.lettering import legend_label
from birdnb.plots.sound import draw_lms
from birdnb.plots.style import COLOURS, GREY, add_credit, new_axes, percent, wrap

MARKERS = "os^Dv"
FEW = 5  # recordings: a bin of a reliability diagram with fewer says nothing about a trend
ROW = 7  # [%] height of a row of counts below the reliability diagram
LEAST_SCALE = 5.0  # [points] of an occlusion map's colours: smaller losses are noise and stay pale
MOST = 200  # species whose names a confusion matrix can hold; it grows no further
NAMED = 16  # species an embedding map can tell apart by colour and marker


def confusion_figure(
    matrix: np.ndarray,
    labels: Sequence[str],
    order: Sequence[int] | np.ndarray | None = None,
    title: str = "",
) -> Figure:
    """Draw a confusion matrix (C, C) of counts, rows the true species, as a share of each row.

    Counts are written if few, names are left out if very many. ``order`` arranges the species
    (``similarity_order`` puts those confused with each other side by side).
    """
    places, n = list(range(len(labels)) if order is None else order), len(labels)
    counts, names = np.asarray(matrix)[np.ix_(places, places)], [labels[i] for i in places]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell = 0.52 if n <= 15 else 0.3 if n <= 40 else 0.165  # [inches]
    named = names if n <= MOST else False
    margin = 1.2 + 0.085 * (max(map(len, names)) if named else 0)
    side = margin + cell * min(n, MOST)
    figure, ax = plt.subplots(figsize=(side + 1.1, side + 0.4))
    size = 12 if n <= 15 else 11 if n <= 40 else 9
    import seaborn  # takes a second to import: most notebooks draw nothing with it

    seaborn.heatmap(
        share, mask=share == 0, cmap="magma_r", vmin=0, vmax=1, square=True, ax=ax,
        annot=counts if n <= 20 else None, fmt="d", annot_kws={"fontsize": size},
        linewidths=0.5 if named else 0, linecolor="#EEEEEE", xticklabels=named, yticklabels=named,
        cbar_kws={"label": "share of the true species' recordings", "shrink": 0.6, "aspect": 30,
                  "pad": 0.02, "format": PercentFormatter(1.0, symbol=" %")},
    )  # fmt: skip
    ax.tick_params(length=0, labelsize=size)
    ax.tick_params(axis="x", rotation=90)
    ax.tick_params(axis="y", rotation=0)
    ax.set(xlabel="predicted species", ylabel="true species", title=title)
    return figure


def guesses(shares: np.ndarray, targets: Sequence[int], labels: Sequence[str]) -> Axes:
    """Draw a model's first guesses: ``shares`` (N, C) probabilities, ``targets`` (N,) the truth."""
    shares, targets = np.asarray(shares), [int(target) for target in targets]
    rows, said = np.arange(len(targets))[::-1], shares.argmax(axis=1)
    ax = new_axes((10, 1.4 + 0.34 * len(targets)))
    colours = [
        COLOURS[2] if guess == target else COLOURS[1]
        for guess, target in zip(said, targets, strict=True)
    ]
    ax.barh(rows, 100 * shares.max(axis=1), color=colours)
    for row, guess, share in zip(rows, said, shares.max(axis=1), strict=True):
        ax.text(100 * share + 1, row, labels[guess], va="center", fontsize=11)
    ax.axvline(100 / len(labels), color=GREY, linewidth=1.2, linestyle="--")
    ax.set_yticks(rows, [labels[target] for target in targets])
    ax.set(
        xlim=(0, 100),
        xlabel="probability of the first guess [%] (dashed: chance)",
        ylabel="true species",
    )
    ax.set_title("First guesses (green: right, orange: wrong)")
    return ax


def reliability_diagram(curves: Mapping[str, pd.DataFrame], ax: Axes | None = None) -> Axes:
    """Plot accuracy against confidence; an honest model lies on the diagonal.

    ``curves`` maps a name to ``evaluation.calibration_curve``. Dots grow with recordings, their
    numbers stand in a row below; a line joins dots side by side that stand for five recordings and
    more.
    """
    ax = ax or new_axes((6.0, 6.2))
    ax.plot([0, 100], [0, 100], color=GREY, linewidth=1.2, linestyle="--")
    looks = zip(COLOURS[1:] + COLOURS[:1], MARKERS, strict=False)
    for number, ((name, curve), (colour, marker)) in enumerate(
        zip(curves.items(), looks, strict=False)
    ):
        share = curve["recordings"] / curve["recordings"].sum()
        error = float((share * (curve["confidence"] - curve["accuracy"]).abs()).sum())
        # a gap in the line where a bin holds few
        trusted = (100 * curve["accuracy"]).where(curve["recordings"] >= FEW)
        ax.plot(100 * curve["confidence"], trusted, color=colour, linewidth=1.5)
        ax.scatter(100 * curve["confidence"], 100 * curve["accuracy"], s=25 + 500 * share,
                   color=colour, marker=marker,
                   alpha=0.75, linewidths=0, clip_on=False, zorder=3)  # fmt: skip
        for row in curve.itertuples():  # the counts in a row of their own, where no dot is
            at = (50 * (row.low + row.high), -ROW * (number + 0.5))
            ax.text(*at, str(row.recordings), ha="center", va="center", fontsize=10, color=colour)
        ax.plot(
            [], [], color=colour, marker=marker, markersize=8,
            label=f"{legend_label(name)}: calibration error {100 * error:.1f} points",
        )  # fmt: skip
    note = (
        f"numbers and size of a dot: recordings;\na line joins dots of {FEW} and more, side by side"
    )
    ax.set(
        xlabel=f"confidence [%]\n({note})",
        ylabel="accuracy [%]",
        xlim=(0, 100),
        ylim=(-ROW * len(curves), 100),
    )
    ax.set(aspect="equal", yticks=range(0, 101, 20))
    ax.axhline(0, color=GREY, linewidth=1)
    # above the largest dot at 100 %
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=1)
    ax.set_title("How far confidence can be trusted", pad=20 + 19 * len(curves))
    ax.grid()
    return ax


def embedding_map(
    embeddings: np.ndarray, species: Sequence[str], method: str = "tsne", seed: int = 0,
    title: str = "",
) -> Axes:  # fmt: skip
    """Map embeddings (R, D) onto a plane by ``tsne`` or ``pca``, a colour and marker a species.

    With more species than can be told apart, those with most recordings are named and the others
    grey.
    """
    points = project(embeddings, method, seed)
    names = pd.Series(list(species))
    common = sorted(names.value_counts(sort=True).index[:NAMED])
    ax = new_axes((10, 6))
    rest = ~names.isin(common).to_numpy()
    if rest.any():
        label = f"{names[rest].nunique()} other species"
        ax.scatter(
            points[rest, 0], points[rest, 1], s=16, color="#BBBBBB", linewidths=0, label=label,
            zorder=1,
        )  # fmt: skip
    for i, name in enumerate(common):
        at = points[(names == name).to_numpy()]
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i // len(COLOURS) + i % 2 * 2]
        ax.scatter(
            at[:, 0], at[:, 1], s=42, color=colour, marker=marker, alpha=0.85, linewidths=0,
            label=legend_label(name), zorder=2,
        )  # fmt: skip
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handletextpad=0.2, labelspacing=0.5)
    axis = "component" if method == "pca" else "t-SNE axis"
    ax.set(xlabel=f"{axis} 1", ylabel=f"{axis} 2", xticks=[], yticks=[], title=title)
    return ax


def project(embeddings: np.ndarray, method: str, seed: int) -> np.ndarray:
    """Put embeddings (R, D) on a plane (R, 2) by ``pca``, or by ``tsne`` started from it.

    The perplexity is 30, less for few recordings. Below four recordings there are no neighbours to
    speak of, and it is PCA in any case.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    embeddings = np.asarray(embeddings, dtype=np.float64)
    if method == "pca" or len(embeddings) < 4:
        return PCA(2, random_state=seed).fit_transform(embeddings)
    perplexity = min(30.0, max(2.0, (len(embeddings) - 1) / 3))
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(embeddings)


def occlusion_map(
    lms: np.ndarray, importance: np.ndarray, audio: AudioSettings, title: str = "",
    species: str = "the species", model: str = "the model",
) -> Figure:  # fmt: skip
    """Draw a clip (128, T) above the map of where hiding it lowers a species' probability.

    ``importance`` (128, T) is in points. ``species`` is the one whose probability is followed.
    The colours span five points or more, so that noise stays pale.
    """
    figure, axes = plt.subplots(2, 1, figsize=(9, 5.2), sharex=True)
    draw_lms(axes[0], lms, audio)
    top = max(float(np.abs(importance).max()), LEAST_SCALE)
    image = draw_lms(axes[1], importance, audio, (-top, top))
    image.set_cmap("PuOr_r")
    axes[0].set_title(wrap(title, 90))
    axes[1].set_title(wrap(f"where {model} hears {species}", 90))
    axes[1].set_xlabel("time [s]")
    for ax in axes:
        ax.set_ylabel("frequency [kHz]")
    figure.colorbar(
        image, ax=axes[1], label=f"probability of\n{wrap(species, 24)}\nlost when hidden [points]",
        pad=0.01, aspect=12,
    )  # fmt: skip
    return figure


def confused_gallery(pairs: Sequence[Mapping], audio: AudioSettings, model: str = "") -> Figure:
    """Draw recordings taken for another species, each beside a typical song of that species.

    Each pair has ``truth``, ``predicted``, ``probability`` (of the predicted species, 0..1),
    ``lms`` and ``typical`` (128, T), and may have their ``credit``; ``model`` says whose
    probability that is.
    """
    figure, axes = plt.subplots(
        len(pairs), 2, figsize=(11, 2.7 * len(pairs)), sharex=True, sharey=True, squeeze=False
    )
    for (left, right), pair in zip(axes, pairs, strict=True):
        draw_lms(left, pair["lms"], audio)
        draw_lms(right, pair["typical"], audio)
        said = f"{model}: {percent(pair['probability'])}" if model else percent(pair["probability"])
        left.set_title(
            wrap(f"{pair['truth']}\ntaken for {pair['predicted']} ({said})", 55), fontsize=11
        )
        right.set_title(wrap(f"for comparison: {pair['predicted']}", 55), fontsize=11)
        left.set_ylabel("frequency [kHz]")
    for ax in axes[-1]:
        ax.set_xlabel("time [s]")
    credits = dict.fromkeys(pair["credit"] for pair in pairs if pair.get("credit"))
    return add_credit(figure, "\n".join(credits))
