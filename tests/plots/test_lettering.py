"""Names from data are drawn letter for letter in every figure, in a font that has their letters."""

from __future__ import annotations

import warnings

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.text import Text
from matplotlib.ticker import LogFormatterSciNotation

from birdnb.config import AudioSettings
from birdnb.evaluation.calibration import calibration_curve
from birdnb.evaluation.predictions import Predictions
from birdnb.plots.corpus import class_counts
from birdnb.plots.learning import learning_curves
from birdnb.plots.lettering import PlainLogFormatter
from birdnb.plots.models import (
    confused_gallery,
    confusion_figure,
    embedding_map,
    guesses,
    occlusion_map,
    reliability_diagram,
)
from birdnb.plots.results import ensemble_weights, paired_differences, per_species_f1, progression
from birdnb.plots.rhythm import temporal_structure
from birdnb.plots.sound import (
    augmentation_pairs,
    noise_ladder,
    spectrogram_grid,
    visualize_spectrogram,
    waveform,
)
from birdnb.plots.style import png_bytes

AUDIO = AudioSettings()
ODD = ["$$", "$x_1$", "C$_$", "_x", "<b>", "|", r"a\b", r"$\frac{1}{", "%s {0}", "^_^", "#"]
LMS = np.random.default_rng(0).normal(-50, 10, (128, 173)).astype(np.float32)
SIDES = ["train", "train", "validation", "test"]


def left_title(ax):
    """The text of the title that stands on the left."""
    return next(text for text in ax.findobj(Text) if text.get_text() == ax.get_title(loc="left"))


def table() -> pd.DataFrame:
    rows = [(f"{name}{side}", name, name, name, side) for name in ODD for side in SIDES]
    return pd.DataFrame(rows, columns=["recording_id", "species", "session", "recordist", "side"])


def history() -> pd.DataFrame:
    columns = ["train_loss", "val_loss", "train_accuracy", "val_accuracy", "val_f1_macro"]
    ramp = np.linspace(0.9, 0.1, 4)
    rates = {"lr_backbone": ramp / 1e4, "lr_head": ramp / 1e3}
    return pd.DataFrame({"epoch": np.arange(1, 5), **dict.fromkeys(columns, ramp), **rates})


def curve() -> pd.DataFrame:
    p = np.random.default_rng(0).dirichlet([1, 1], 40).astype(np.float32)
    ids = [f"r{i}" for i in range(40)]
    return calibration_curve(Predictions(ids, p, np.arange(40) % 2))


SCORES = {name: {"f1": 0.1 * n / len(ODD), "support": n, "f1_ci95": [0, 0.5]}
          for n, name in enumerate(ODD)}  # fmt: skip
ROWS = pd.DataFrame({"name": ODD, "accuracy": 0.5, "low": 0.4, "high": 0.6, "reported": False})
STEPS = ROWS.assign(difference=0.1, p=0.01)
WEIGHTS = pd.DataFrame({"weight": [0, 1], "accuracy": [0.1, 0.2], "log_loss": [1, 2]})
PAIRS = [{"truth": name, "predicted": name, "probability": 0.5, "lms": LMS, "typical": LMS}
         for name in ODD]  # fmt: skip
FIGURES = {
    "visualize_spectrogram": lambda: visualize_spectrogram(LMS, AUDIO, " ".join(ODD)),
    "waveform": lambda: waveform(np.ones(99999), AUDIO, [1.0], " ".join(ODD)),
    "spectrogram_grid": lambda: spectrogram_grid([LMS] * len(ODD), ODD, AUDIO, title="$x$"),
    "temporal_structure": lambda: temporal_structure(LMS, AUDIO, " ".join(ODD)),
    "augmentation_pairs": lambda: augmentation_pairs(
        [LMS] * len(ODD), [LMS] * len(ODD), ODD, AUDIO
    ),
    "noise_ladder": lambda: noise_ladder([LMS, LMS], [None, 3.0], AUDIO, " ".join(ODD)),
    "class_counts": lambda: class_counts(table()),
    "learning_curves": lambda: learning_curves(dict.fromkeys(ODD, history())),
    "per_species_f1": lambda: per_species_f1(SCORES, "$$"),
    "progression": lambda: progression(ROWS, 0.1, {"$$": 0.5}, "$x_1$"),
    "paired_differences": lambda: paired_differences(STEPS),
    "ensemble_weights": lambda: ensemble_weights(WEIGHTS, "$$", " ".join(ODD), 0.5),
    "confusion_figure": lambda: confusion_figure(np.eye(len(ODD), dtype=int), ODD, title="$$"),
    "guesses": lambda: guesses(np.eye(len(ODD)), range(len(ODD)), ODD),
    "reliability_diagram": lambda: reliability_diagram(dict.fromkeys(ODD[:3], curve())),
    "embedding_map": lambda: embedding_map(
        np.random.default_rng(0).normal(size=(44, 5)), ODD * 4, "pca", title="$$"
    ),
    "occlusion_map": lambda: occlusion_map(LMS, LMS, AUDIO, "$$", " ".join(ODD), "$x_1$"),
    "confused_gallery": lambda: confused_gallery(PAIRS[:6], AUDIO, "_x"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_labels_are_text_in_every_figure(name):
    drawn = FIGURES[name]()
    figure = getattr(drawn, "figure", None) or drawn
    assert png_bytes(figure).startswith(b"\x89PNG")
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert not any(text.get_parse_math() for text in texts)
    assert any("$$" in text.get_text() for text in texts)
    assert not any(r"\$" in text.get_text() for text in texts)


@pytest.mark.parametrize("name", ["embedding_map", "learning_curves"])
def test_a_legend_names_all_also_those_that_begin_with_an_underscore(name):
    drawn = FIGURES[name]()
    axes = getattr(drawn, "axes", None)
    legend = (axes[-1] if isinstance(axes, list) else drawn).get_legend()
    assert {text.get_text().strip() for text in legend.get_texts()} >= set(ODD)


@pytest.mark.parametrize("value", [1e-4, 2e-4, 1.0, 1e-12, 3e5])
def test_ticks_of_a_logarithmic_axis_say_what_matplotlib_says(value):
    plain, formula = PlainLogFormatter(), LogFormatterSciNotation()
    for formatter in (plain, formula):
        formatter.create_dummy_axis(minpos=value / 2)
        formatter.axis.set_view_interval(value / 2, value * 2)
        formatter.set_locs([value])
    digits = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹×", "-0123456789*")
    letters = formula(value).replace(r"\mathdefault", "").replace(r"\times", "*")
    assert plain(value).translate(digits) == "".join(c for c in letters if c not in "${}^ ")
    assert plain(value)


def font_of(letters: str, folder) -> str:
    """Make a font whose letters are boxes, and tell matplotlib of it; return its family."""
    pen = TTGlyphPen(None)
    for number, point in enumerate([(0, 0), (0, 700), (700, 700), (700, 0)]):
        (pen.lineTo if number else pen.moveTo)(point)
    pen.closePath()
    glyphs = {".notdef": TTGlyphPen(None).glyph(), "box": pen.glyph()}
    family = f"Test {ord(letters[0]):x}"
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap({ord(letter): "box" for letter in letters})
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(folder / "font.ttf")
    font_manager.fontManager.addfont(folder / "font.ttf")
    return family


def test_other_scripts_are_drawn_where_a_font_is_there(tmp_path):
    family = font_of("\U00013080\U00013081", tmp_path)  # hieroglyphs: no usual font has them
    figure, ax = plt.subplots()
    ax.set_title("Turdus \U00013080")
    ax.set_yticks([0, 1], ["\U00013081", "Parus"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png_bytes(figure)
    assert left_title(ax).get_fontfamily() == [*plt.rcParams["font.family"], family]
    assert ax.get_yticklabels()[1].get_fontfamily() == plt.rcParams["font.family"]


def test_where_no_font_is_there_one_line_says_so():
    figure, ax = plt.subplots()
    ax.set_yticks([0, 1], ["\U00014400", "Bo"])
    figure.suptitle("\U00014401\u200b\n")  # Anatolian hieroglyphs
    with pytest.warns(UserWarning) as said:
        png_bytes(figure)
    assert len(said) == 1
    assert "no font here has the letters '\U00014400\U00014401'" in str(said[0].message)
