"""Set the look of every figure: colours, type, small PNGs."""

import io
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
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from birdnb.files import atomic_path
from birdnb.plots.lettering import GLYPH, fit_fonts

# perceptually even, and its lightness alone tells the story when printed in grey; 40 steps keep the
# PNGs small
CMAP = matplotlib.colormaps["magma"].resampled(40)
# Okabe and Ito, colour-blind safe: https://jfly.uni-koeln.de/color/
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31"]
GREY = "#8A8A8A"
SAVED = "_birdnb_saved"  # attribute of a saved figure: its PNG, and the dots per inch of that


def style() -> None:
    """Set matplotlib up: readable at half size, the same bytes; IPython shows by ``shown``."""
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
        # the notebook's backend sets its own PNG writer when it is loaded
        plt.switch_backend(matplotlib.get_backend())
        shell.display_formatter.formatters["image/png"].for_type(Figure, shown)


def png_bytes(figure: Figure, dpi: float | None = None) -> bytes:
    """Return a figure as a small PNG of 64 colours, without date or version."""
    fit_fonts(figure)
    raw = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", GLYPH)  # fit_fonts has said it in one line
        figure.savefig(raw, format="png", dpi=dpi or figure.dpi, bbox_inches="tight",
                       facecolor="white", pil_kwargs={"compress_level": 0})  # fmt: skip
    small = io.BytesIO()
    raw.seek(0)
    flat = PngImageFile(raw).convert("RGB")  # Image.open refuses large ones, as if sent by others
    palette = flat.quantize(
        64, method=Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE
    )
    palette.save(small, "PNG", optimize=True)
    return small.getvalue()


def save(figure: Figure, path: Path | str, dpi: float = 120) -> Path:
    """Write a figure as PNG, close it, and return the path."""
    setattr(figure, SAVED, (png := png_bytes(figure, dpi), dpi))
    with atomic_path(path) as temporary:
        temporary.write_bytes(png)
    plt.close(figure)
    return Path(path)


def shown(figure: Figure) -> bytes | tuple[bytes, dict[str, int]]:
    """Return a figure as a notebook's PNG and its size there; a saved one is not drawn again."""
    png, dpi = getattr(figure, SAVED, (None, 0.0))
    if png is None:
        return png_bytes(figure)
    width, height = PngImageFile(io.BytesIO(png)).size
    scale = figure.dpi / dpi
    return png, {"width": round(scale * width), "height": round(scale * height)}


def new_axes(size: tuple[float, float]) -> Axes:
    """Open a figure of this size [inches] with one Axes."""
    return plt.subplots(figsize=size)[1]


def species_axes(count: int) -> Axes:
    """Open Axes tall enough for a row a species: generous for few, tight but legible for 90."""
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


def add_credit(figure: Figure, text: str) -> Figure:
    """Write below a figure whose recordings it shows; without a text nothing."""
    if text:
        lines = wrap(text, round(13 * figure.get_figwidth()))
        figure.text(0.01, -0.01, lines, ha="left", va="top", fontsize=9, color="#555555")
    return figure


def percent(share: float) -> str:
    """Write a share (0..1) as ``61 %``."""
    return f"{100 * share:.0f} %"


def wrap(text: str, width: int) -> str:
    """Break a title at words to lines of ``width`` characters; a number keeps its per cent sign."""
    lines = text.replace(" %", "\u00a0%").split("\n")  # textwrap does not break here
    return "\n".join(textwrap.fill(line, max(12, width)) for line in lines).replace("\u00a0%", " %")
