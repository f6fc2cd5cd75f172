"""Figures have the panels, axes, names and values of their data.

The numbers they compute agree with librosa or a formula.
"""

from __future__ import annotations

import io

import matplotlib

matplotlib.use("Agg")

import librosa
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.text import Text
from PIL import Image

from birdnb.config import AudioSettings
from birdnb.evaluation.calibration import calibration_curve
from birdnb.evaluation.predictions import Predictions
from birdnb.plots.corpus import class_counts, split_overview
from birdnb.plots.learning import learning_curves
from birdnb.plots.models import (
    NAMED,
    confused_gallery,
    confusion_figure,
    embedding_map,
    guesses,
    occlusion_map,
    project,
    reliability_diagram,
)
from birdnb.plots.promises import detections_over_spectrogram, promised_precision
from birdnb.plots.results import (
    ensemble_weights,
    paired_differences,
    per_species_f1,
    progression,
    rare_vs_common,
)
from birdnb.plots.rhythm import pulse, rhythm, temporal_structure
from birdnb.plots.sound import (
    augmentation_pairs,
    envelope,
    mel_band_of,
    noise_ladder,
    spectrogram_grid,
    visualize_spectrogram,
    waveform,
)
from birdnb.plots.style import CMAP, COLOURS, GREY, png_bytes, save, shown, wrap

AUDIO = AudioSettings()


def left_title(ax):
    """The text of the title that stands on the left."""
    return next(text for text in ax.findobj(Text) if text.get_text() == ax.get_title(loc="left"))


def spectrogram(seed: int = 0, frames: int = 173) -> np.ndarray:
    return np.random.default_rng(seed).normal(-50, 10, (128, frames)).astype(np.float32)


def names(count: int) -> list[str]:
    return [f"Genuslonga species{i:02d} subsp. albicollis" for i in range(count)]


def study_table(count: int = 4) -> pd.DataFrame:
    rows = [
        (f"r{i}_{j}", name, f"s{i}_{j // 2}", f"p{j}", side)
        for i, name in enumerate(names(count))
        for j, side in enumerate(["train"] * (4 + i) + ["validation"] * 2 + ["test"])
    ]
    return pd.DataFrame(rows, columns=["recording_id", "species", "session", "recordist", "side"])


def overlaps(figure, texts) -> list[tuple[str, str]]:
    figure.canvas.draw()
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in texts
        if text.get_visible() and text.get_text()
    ]
    return [
        (a, b) for i, (a, one) in enumerate(boxes) for b, two in boxes[i + 1 :] if one.overlaps(two)
    ]


def test_band_positions_equal_librosas():
    centres = librosa.mel_frequencies(130, fmin=0, fmax=11025)[1:-1]  # band k has its centre here
    np.testing.assert_allclose(mel_band_of(centres, AUDIO), np.arange(128), atol=1e-6)


def test_a_pure_tone_lies_on_its_tick():
    tone = np.sin(2 * np.pi * 4000 * np.arange(88200) / 22050)
    power = librosa.feature.melspectrogram(y=tone, sr=22050, n_fft=2048, hop_length=512)
    ax = visualize_spectrogram(librosa.power_to_db(power), AUDIO, "tone")
    tick = dict(zip([t.get_text() for t in ax.get_yticklabels()], ax.get_yticks(), strict=True))[
        "4"
    ]
    assert abs(tick - power.mean(axis=1).argmax()) <= 1


def test_spectrogram_axes_are_seconds_and_khz():
    ax = visualize_spectrogram(spectrogram(), AUDIO, "Turdus merula, XC1")
    assert ax.get_title(loc="left") == "Turdus merula, XC1"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time [s]", "frequency [kHz]")
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["0.5", "1", "2", "4", "8"]
    assert ax.get_xlim()[1] == pytest.approx(172.5 * 512 / 22050)
    assert ax.figure.axes[1].get_ylabel() == "level [dB]"
    np.testing.assert_array_equal(ax.images[0].get_array(), spectrogram())


def test_normalised_spectrogram_says_so_and_an_axes_is_used():
    _, mine = plt.subplots()
    ax = visualize_spectrogram(spectrogram(), AUDIO, ax=mine, normalised=True, limits=(-60, -40))
    assert ax is mine
    assert ax.images[0].get_clim() == (-60, -40)
    assert ax.figure.axes[1].get_ylabel() == "normalised level"


def test_waveform_marks_the_windows_where_they_are():
    samples = np.random.default_rng(0).normal(size=10 * 22050)
    ax = waveform(samples, AUDIO, [5.5, 1.0], "recording")
    spans = [patch for patch in ax.patches if patch.get_width() == pytest.approx(4.0)]
    assert [span.get_x() for span in spans] == [5.5, 1.0]
    assert [text.get_text() for text in ax.texts] == ["clip 1", "clip 2"]
    assert ax.get_xlim() == (0, 10)


@pytest.mark.parametrize("starts", [[20, 24, 31], [79, 61, 63, 65.5, 70], [0, 2, 4, 6, 8, 10]])
def test_names_of_clips_close_together_do_not_overlap(starts):
    samples = np.random.default_rng(0).normal(size=120 * 8000)
    audio = AudioSettings(sample_rate=8000)
    ax = waveform(samples, audio, starts, "recording", plt.figure(figsize=(11, 2.5)).gca())
    assert [text.get_text()[-1] for text in ax.texts] == [str(i + 1) for i in range(len(starts))]
    assert not overlaps(ax.figure, [*ax.texts, left_title(ax)])


def test_envelope_keeps_every_peak():
    samples = np.zeros(50_000)
    samples[[7, 40_000]] = (0.9, -0.8)
    low, high = envelope(samples, 100)
    assert (high.max(), low.min()) == (0.9, -0.8)


@pytest.mark.parametrize("count", [1, 5, 12])
def test_grid_has_a_named_panel_for_each(count):
    figure = spectrogram_grid([spectrogram(i) for i in range(count)], names(count), AUDIO)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert len(shown) == count
    assert [ax.get_title(loc="left").replace("\n", " ") for ax in shown] == names(count)
    assert not overlaps(figure, [ax.title for ax in shown] + [left_title(ax) for ax in shown])


def test_a_wrapped_title_keeps_a_number_and_its_per_cent_sign_together():
    assert wrap("64 % Bog Tillow + 36 % Kelp Plonder", 20) == "64 % Bog Tillow +\n36 % Kelp Plonder"


def test_shared_limits_make_panels_comparable():
    figure = noise_ladder([spectrogram(), spectrogram() + 20], [None, 3], AUDIO, "song")
    assert [ax.get_title(loc="left") for ax in figure.axes[:2]] == ["as recorded", "3 dB SNR"]
    assert len({ax.images[0].get_clim() for ax in figure.axes[:2]}) == 1


def test_augmentation_pairs_stand_above_each_other_on_one_scale():
    figure = augmentation_pairs(
        [spectrogram(i) for i in range(7)],
        [spectrogram(i) * 0.5 for i in range(7)],
        names(7),
        AUDIO,
    )
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert len(shown) == 14
    titles = [ax.get_title(loc="left").replace("\n", " ") for ax in shown]
    assert titles.count("augmented") == 7 and set(names(7)) < set(titles)
    first, below = figure.axes[0], figure.axes[5]
    assert first.images[0].get_clim() == below.images[0].get_clim()


def test_rhythm_finds_the_period_and_the_mean_rise_of_the_bands():
    lms = np.full((128, 173), -80.0)
    lms[60:70, ::20] = -20  # a syllable every 20 frames
    levels, onsets, repeats = rhythm(lms, AUDIO)
    assert 10 + repeats[10:].argmax() == 20
    rise = np.where(np.arange(173) % 20 == 0, 10 / 128 * 60, 0)  # ten of the bands rise by 60 dB
    np.testing.assert_allclose(onsets, np.where(np.arange(173) > 0, rise, 0), atol=1e-4)
    band = mel_band_of(4000, AUDIO)
    assert (levels["2–4 kHz"].max() > -35) == (band > 60)
    figure = temporal_structure(lms, AUDIO, "XC1")
    assert [ax.get_xlabel() for ax in figure.axes] == ["time [s]", "time [s]", "lag [s]"]


def test_the_pulse_of_a_song_and_of_silence():
    lms = np.full((128, 173), -80.0)
    lms[60:70, ::20] = -20
    lag, height = pulse(lms, AUDIO)
    assert lag == pytest.approx(20 * 512 / 22050) and 0.5 < height <= 1
    assert pulse(np.full((128, 173), -100.0), AUDIO)[1] == 0


def test_rhythm_of_silence_is_finite():
    for part in rhythm(np.full((128, 173), -100.0), AUDIO)[1:]:
        assert np.isfinite(part).all()


@pytest.mark.parametrize("count", [6, 90])
def test_class_counts_are_the_tables(count):
    table = study_table(count)
    ax = class_counts(table)
    labels = [tick.get_text() for tick in ax.get_yticklabels()]
    drawn = {name: 0.0 for name in labels}
    for bars in ax.containers:
        for name, bar in zip(labels, bars, strict=True):
            drawn[name] += bar.get_width()
    assert drawn == table["species"].value_counts().to_dict()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "train",
        "validation",
        "test",
    ]
    assert not overlaps(ax.figure, ax.get_yticklabels())
    assert not overlaps(ax.figure, [left_title(ax), *ax.get_legend().get_texts()])


def test_a_recordist_is_counted_once_in_whichever_writing():
    table = study_table()
    table["recordist"] = ["J. Smith", "Smith, J."] * (len(table) // 2) + [""] * (len(table) % 2)
    figure = split_overview(table)
    assert [bar.get_height() for bar in figure.axes[2].patches] == [1, 1, 1]


def test_few_recordings_are_counted_in_whole_numbers():
    table = pd.DataFrame({"species": ["a", "b", "b"], "side": "train"})
    ticks = class_counts(table).get_xticks()
    assert all(float(tick).is_integer() for tick in ticks)


def test_one_epoch_is_a_mark():
    history = pd.DataFrame({
        "epoch": [1], "train_loss": [2.0], "val_loss": [2.1], "train_accuracy": [0.3],
        "val_accuracy": [0.2], "val_f1_macro": [0.1], "lr_backbone": [1e-3], "lr_head": [1e-3],
    })  # fmt: skip
    loss = learning_curves({"AST": history}).axes[0]
    assert [line.get_marker() for line in loss.lines] == [".", "."]


def test_split_overview_counts_each_kind():
    table = study_table()
    figure = split_overview(table)
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "recordings",
        "sessions",
        "recordists",
        "species",
    ]
    heights = [bar.get_height() for bar in figure.axes[1].patches]
    assert heights == [
        table[table["side"] == side]["session"].nunique()
        for side in ("train", "validation", "test")
    ]


def history(epochs: int, scale: float) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    good = scale * (1 - np.exp(-epoch / 4))
    return pd.DataFrame({
        "epoch": epoch, "train_loss": 2 - good, "val_loss": 2.2 - good, "train_accuracy": good,
        "val_accuracy": 0.8 * good,
        "val_f1_macro": 0.7 * good, "lr_backbone": 1e-4 / epoch, "lr_head": 1e-3 / epoch,
    })  # fmt: skip


def test_learning_curves_show_all_runs_in_percent_and_points():
    runs = {"phase2_mfcc": history(15, 0.6), "phase3_ast_full": history(6, 0.9)}
    figure = learning_curves(runs)
    by_title = {ax.get_title(loc="left"): ax for ax in figure.axes}
    solid = by_title["accuracy"].lines[0]
    np.testing.assert_allclose(solid.get_ydata(), 100 * runs["phase2_mfcc"]["val_accuracy"])
    gap = by_title["training (as trained) − validation"].lines
    np.testing.assert_allclose(gap[1].get_ydata(), 20 * runs["phase3_ast_full"]["train_accuracy"])
    assert gap[2].get_ydata()[0] == 15.0  # the limit
    assert by_title["learning rate"].get_yscale() == "log"
    legend = [text.get_text() for text in figure.axes[-1].get_legend().get_texts()]
    assert legend[:2] == list(runs) and "training" in legend


def per_class(count: int) -> dict:
    return {
        name: {
            "f1": i / count,
            "support": 3 + i,
            "f1_ci95": [max(0, i / count - 0.1), min(1, i / count + 0.1)],
        }
        for i, name in enumerate(names(count))
    }


@pytest.mark.parametrize("count", [6, 90])
def test_per_species_f1_is_sorted_with_support(count):
    scores = per_class(count)
    ax = per_species_f1(scores)
    labels = [tick.get_text() for tick in ax.get_yticklabels()]
    assert labels == sorted(scores, key=lambda name: scores[name]["f1"])
    dots = next(line for line in ax.lines if line.get_marker() == "o")
    np.testing.assert_allclose(dots.get_xdata(), [scores[name]["f1"] for name in labels])
    support = [text.get_text() for text in ax.texts if text.get_text().isdigit()]
    assert support == [str(scores[name]["support"]) for name in labels]
    assert sum(line.get_linewidth() == 4 for line in ax.lines) == count
    assert not overlaps(ax.figure, ax.get_yticklabels())


def test_mean_and_n_do_not_touch_when_f1_is_high():
    ax = per_species_f1({name: {"f1": 0.98, "support": 4} for name in names(3)})
    assert not overlaps(
        ax.figure, [text for text in ax.texts if text.get_text() in ("n", "mean 0.98")]
    )


def test_rare_vs_common_of_two_species_draws_both_lines_over_whole_numbers():
    ax = rare_vs_common(per_class(2), {name: 5 + i for i, name in enumerate(names(2))})
    assert all(np.ptp(line.get_xdata()) > 0 for line in ax.lines if line.get_linewidth() == 4)
    ax.figure.canvas.draw()
    assert all(tick == round(tick) for tick in ax.get_xticks())


def test_rare_vs_common_means_of_the_halves():
    scores = per_class(6)
    training = {name: 10 * (i + 1) for i, name in enumerate(scores)}
    ax = rare_vs_common(scores, training)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["rarer half: mean F1 0.17", "commoner half: mean F1 0.67"]


def test_progression_sets_reported_figures_apart():
    rows = pd.DataFrame(
        [
            ("reported run", 0.5728, np.nan, np.nan, True),
            ("AST", 0.6, 0.5, 0.7, False),
            ("ensemble", 0.7, 0.6, 0.8, False),
        ],
        columns=["name", "accuracy", "low", "high", "reported"],
    )
    ax = progression(rows, 1 / 12, {"target": 0.65}, "12 species")
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [
        "chance",
        "AST",
        "ensemble",
        "reported run",
    ]
    hollow = [line for line in ax.lines if line.get_marker() == "D"]
    assert [line.get_markerfacecolor() for line in hollow] == ["white"]
    written = [text.get_text() for text in ax.texts]
    assert written == [
        "8.3 %",
        "60.0 %",
        "70.0 %",
        "57.3 %",
        "target",
        "reported by the study we repeat, for other birds:",
    ]
    assert not hollow[0].get_clip_on()  # a mark at 100 % is whole
    heights = ax.get_yticks()
    assert heights[2] - heights[3] > heights[1] - heights[2]


def test_paired_differences_grey_when_zero_is_inside():
    rows = pd.DataFrame(
        [("full - baseline", 0.05, 0.01, 0.09, 0.02), ("B2 - full", 0.01, -0.03, 0.05, 0.6)],
        columns=["name", "difference", "low", "high", "p"],
    )
    ax = paired_differences(rows)
    colours = [line.get_color() for line in ax.lines if line.get_marker() == "o"]
    assert colours == [COLOURS[0], GREY]
    assert [text.get_text() for text in ax.texts] == ["+5.0  (p = 0.020)", "+1.0  (p = 0.600)"]


def test_long_names_of_steps_leave_room_for_the_plot():
    name = (
        "EfficientNet-B2 instead of AST (6 epochs at most instead of 11, "
        "clips of a recording 1 instead of 2)"
    )
    rows = pd.DataFrame(
        [(name, 0.05, 0.01, 0.09, 0.02)], columns=["name", "difference", "low", "high", "p"]
    )
    (label,) = paired_differences(rows).get_yticklabels()
    assert (
        label.get_text().replace("\n", " ") == name
        and max(map(len, label.get_text().split("\n"))) <= 52
    )


def test_small_p_and_true_minus():
    rows = pd.DataFrame(
        [("step", -0.05, -0.09, -0.01, 0.0004)], columns=["name", "difference", "low", "high", "p"]
    )
    ax = paired_differences(rows)
    assert [text.get_text() for text in ax.texts] == ["−5.0  (p < 0.001)"]


def test_ensemble_weights_marks_the_choice():
    curve = pd.DataFrame(
        {"weight": [0, 0.5, 1], "accuracy": [0.6, 0.7, 0.65], "log_loss": [1.2, 1.0, 1.1]}
    )
    figure = ensemble_weights(curve, "ast", "b2", 0.5)
    assert list(figure.axes[0].lines[0].get_ydata()) == [60, 70, 65]
    assert figure.axes[1].texts[0].get_text() == "chosen 0.50"
    assert figure.axes[0].get_xlabel() == "weight of ast\n(the rest: b2)"


@pytest.mark.parametrize("count", [6, 12, 90])
def test_confusion_figure_is_ordered_and_readable(count):
    matrix = np.random.default_rng(0).integers(0, 3, (count, count)) + 8 * np.eye(count, dtype=int)
    order = list(reversed(range(count)))
    figure = confusion_figure(matrix, names(count), order, "test")
    ax = figure.axes[0]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == names(count)[::-1]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == names(count)[::-1]
    share = matrix[::-1, ::-1] / matrix.sum(axis=1)[::-1, None]
    np.testing.assert_allclose(ax.collections[0].get_array().filled(0), share)
    assert (len(ax.texts) == np.count_nonzero(matrix)) == (count <= 20)
    assert not overlaps(figure, ax.get_yticklabels())
    assert not overlaps(figure, ax.get_xticklabels())


def test_confusion_of_very_many_species_is_drawn_without_names(tmp_path):
    matrix = np.diag(np.arange(1, 702))
    figure = confusion_figure(matrix, names(701))
    ax = figure.axes[0]
    assert [*ax.get_xticklabels(), *ax.get_yticklabels()] == []
    assert ax.collections[0].get_array().shape == (701, 701)
    assert max(figure.get_size_inches()) < 36
    assert save(figure, tmp_path / "confusion.png").stat().st_size > 3000


def test_a_figure_of_any_size_is_saved_and_shown(monkeypatch, tmp_path):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # as if it had hundreds of millions
    ax = waveform(np.zeros(22050, dtype=np.float32), AUDIO, [0.0])
    save(ax.figure, tmp_path / "large.png")
    assert shown(ax.figure)[1]["width"] > 100


def test_confusion_of_a_species_without_recordings_is_blank():
    figure = confusion_figure(np.diag([3, 0, 2]), names(3))
    assert np.ma.getmaskarray(figure.axes[0].collections[0].get_array())[1].all()


def test_reliability_diagram_states_the_calibration_error():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3) * 0.3, 200).astype(np.float32)
    predictions = Predictions([str(i) for i in range(200)], p, rng.integers(0, 3, 200))
    curve = calibration_curve(predictions)
    ax = reliability_diagram({"before": curve, "after": curve})
    error = 100 * np.average(
        (curve["confidence"] - curve["accuracy"]).abs(), weights=curve["recordings"]
    )
    assert (
        ax.get_legend().get_texts()[0].get_text() == f"before: calibration error {error:.1f} points"
    )
    assert not overlaps(ax.figure, [left_title(ax), *ax.get_legend().get_texts(), *ax.texts])


def test_reliability_joins_no_bins_of_few_recordings_and_says_how_many():
    bins = {"low": [0.2, 0.4, 0.8], "high": [0.3, 0.5, 0.9], "confidence": [0.25, 0.5, 0.9]}
    curve = pd.DataFrame(bins | {"accuracy": [1.0, 0.5, 0.95], "recordings": [2, 12, 30]})
    ax = reliability_diagram({"ensemble": curve})
    joined = ax.lines[1].get_ydata()
    assert np.isnan(joined[0]) and list(joined[1:]) == [50, 95]
    assert [text.get_text() for text in ax.texts] == ["2", "12", "30"]
    assert not overlaps(ax.figure, [*ax.texts, *ax.get_legend().get_texts()])


def test_guesses_are_green_when_right():
    shares = np.array([[0.7, 0.3], [0.6, 0.4]])
    ax = guesses(shares, [0, 1], ["Parus major", "Turdus merula"])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["Parus major", "Turdus merula"]
    assert [text.get_text() for text in ax.texts] == ["Parus major", "Parus major"]
    colours = [matplotlib.colors.to_hex(bar.get_facecolor()).upper() for bar in ax.patches]
    assert colours == [COLOURS[2], COLOURS[1]]
    assert [bar.get_width() for bar in ax.patches] == [70, 60]


@pytest.mark.parametrize(("count", "method"), [(6, "tsne"), (40, "pca")])
def test_embedding_map_names_what_can_be_told_apart(count, method):
    rng = np.random.default_rng(0)
    species = [name for i, name in enumerate(names(count)) for _ in range(4 if i < 20 else 3)]
    ax = embedding_map(rng.normal(size=(len(species), 16)), species, method, seed=1, title="test")
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sum(name in set(species) for name in legend) == min(count, NAMED)
    assert ("24 other species" in legend) == (count == 40)
    assert sum(len(points.get_offsets()) for points in ax.collections) == len(species)
    looks = [
        (
            tuple(c.get_facecolor()[0]),
            len(c.get_paths()[0].vertices),
            str(c.get_paths()[0].vertices),
        )
        for c in ax.collections
    ]
    assert len(set(looks)) == len(looks)


def test_projection_is_the_same_each_time():
    points = np.random.default_rng(0).normal(size=(30, 8))
    for method in ("pca", "tsne"):
        np.testing.assert_array_equal(project(points, method, 3), project(points, method, 3))


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_handful_of_recordings_is_projected_too(count):
    assert project(np.random.default_rng(0).normal(size=(count, 8)), "tsne", 3).shape == (count, 2)


def test_occlusion_map_and_gallery_have_units_and_names():
    importance = np.zeros((128, 173))
    importance[40:60, 20:40] = 12
    figure = occlusion_map(spectrogram(), importance, AUDIO, "Right: Turdus merula")
    assert figure.axes[1].images[0].get_clim() == (-12, 12)
    assert "points" in figure.axes[2].get_ylabel()
    faint = occlusion_map(spectrogram(), importance / 10, AUDIO, "Right", "Turdus merula", "AST")
    assert faint.axes[1].images[0].get_clim() == (-5, 5)  # noise is not painted in full colour
    assert (
        "AST" in faint.axes[1].get_title(loc="left")
        and "Turdus merula" in faint.axes[2].get_ylabel()
    )
    pair = {
        "truth": "Parus major",
        "predicted": "Parus ater",
        "probability": 0.61,
        "lms": spectrogram(),
        "typical": spectrogram(1),
    }
    gallery = confused_gallery([pair, pair], AUDIO)
    assert len(gallery.axes) == 4
    assert gallery.axes[0].get_title(loc="left") == "Parus major\ntaken for Parus ater (61 %)"
    assert not gallery.texts
    shown = confused_gallery([pair | {"credit": "Recorded by Ann (XC1): CC BY 4.0"}] * 2, AUDIO)
    assert [text.get_text() for text in shown.texts] == ["Recorded by Ann (XC1): CC BY 4.0"]
    named = confused_gallery([pair], AUDIO, "AST")
    assert named.axes[0].get_title(loc="left") == "Parus major\ntaken for Parus ater (AST: 61 %)"


def test_png_is_small_true_and_the_same_each_time(tmp_path):
    def draw():
        return spectrogram_grid([spectrogram(i) for i in range(4)], names(4), AUDIO)

    first, figure = png_bytes(draw()), draw()
    path = save(figure, tmp_path / "figure.png", dpi=80)
    assert path.read_bytes() == first
    assert not plt.fignum_exists(figure.number)
    full = io.BytesIO()
    draw().savefig(full, format="png", dpi=80, bbox_inches="tight", facecolor="white")
    assert len(first) < 0.5 * len(full.getvalue())
    small, large = (
        np.asarray(Image.open(io.BytesIO(b)).convert("RGB")).astype(int)
        for b in (first, full.getvalue())
    )
    assert (
        np.abs(small - large).max() <= 16
    )  # of 255: an eye sees no difference, and notebooks stay small enough to keep


def test_a_saved_figure_is_shown_as_it_was_saved_at_its_own_size(tmp_path):
    def draw():
        return spectrogram_grid([spectrogram(i) for i in range(2)], names(2), AUDIO)

    figure = draw()
    path = save(figure, tmp_path / "figure.png")
    png, size = shown(figure)
    assert png == path.read_bytes()
    fresh = shown(draw())  # not saved: drawn as large as it is shown
    assert isinstance(fresh, bytes)
    drawn = Image.open(io.BytesIO(fresh)).size
    assert (size["width"], size["height"]) == pytest.approx(drawn, abs=2)
    assert Image.open(path).size[0] > 1.4 * size["width"], "finer than it is shown"


def test_colours_can_be_told_apart_without_colour_vision():
    rgb = np.array([matplotlib.colors.to_rgb(colour) for colour in COLOURS])
    # deuteranopia after Machado et al. 2009, severity 1
    blind = (
        rgb
        @ np.array(
            [
                [0.367322, 0.860646, -0.227968],
                [0.280085, 0.672501, 0.047413],
                [-0.011820, 0.042940, 0.968881],
            ]
        ).T
    )
    distance = np.linalg.norm(blind[:, None] - blind[None], axis=2)[np.triu_indices(len(rgb), 1)]
    assert distance.min() > 0.15
    steps = np.diff(CMAP(np.linspace(0, 1, 40))[:, :3] @ [0.2126, 0.7152, 0.0722])
    assert (steps > 0).all()  # lightness rises all the way: it survives a grey printer


def test_promised_precision_names_each_species_and_who_gets_no_promise():
    table = pd.DataFrame({
        "species": ["A", "B"], "threshold": [0.7, None], "precision": [0.95, None],
        "low": [0.6, None], "high": [0.99, None], "sessions": [9, 2],
    })  # fmt: skip
    kept = pd.DataFrame({"species": ["A", "all"], "precision": [0.8, 0.8]})
    ax = promised_precision(table, 0.9, kept)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["B", "A"]  # A on top
    words = [text.get_text() for text in ax.texts]
    assert "2 sessions: no promise" in words and "0.70" in words
    found = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert found["validation"] == [[0.95, 1.0]] and found["test"] == [[0.8, 1.0]]
    assert left_title(ax).get_text() == "Promised: 90 % of what is called is right"
    plt.close("all")


def test_detections_stand_below_the_spectrogram_at_their_time():
    columns = ["start", "end", "species"]
    heard = pd.DataFrame([(10.0, 14.0, "A"), (90.0, 94.0, "A")], columns=columns)
    heard["threshold"] = 0.5
    sung = pd.DataFrame([(11.0, 13.0, "A"), (12.0, 16.0, "B")], columns=columns)
    lms = np.zeros((128, AUDIO.n_frames), np.float32)
    figure = detections_over_spectrogram(lms, AUDIO, 10.0, heard, sung)
    above, below = figure.axes
    assert above.images[0].get_extent()[:2] == [10.0, pytest.approx(14, abs=0.05)]
    assert [text.get_text() for text in below.get_yticklabels()] == ["B", "A"]
    bars = {(bar.get_x(), bar.get_width()) for bar in below.patches}
    assert bars == {(10.0, 4.0), (11.0, 2.0), (12.0, 4.0)}
    plt.close("all")


@pytest.mark.parametrize("threshold", [0.5, None])
def test_what_is_promised_and_what_is_not_have_colours_of_their_own(threshold):
    heard = pd.DataFrame([(10.0, 14.0, "A")], columns=["start", "end", "species"])
    heard["threshold"] = pd.Series([threshold], dtype=float)
    lms = np.zeros((128, AUDIO.n_frames), np.float32)
    below = detections_over_spectrogram(lms, AUDIO, 10.0, heard, heard.head(0)).axes[1]
    keys = below.get_legend().get_patches()
    names = [text.get_text() for text in below.get_legend().get_texts()]
    assert names == ["detected", "by rank only", "sung"]
    assert [key.get_facecolor() for key in keys] == [to_rgba(COLOURS[i]) for i in (0, 5, 1)]
    shown = keys[names.index("detected" if threshold else "by rank only")]
    assert below.patches[0].get_facecolor() == shown.get_facecolor()
    plt.close("all")
