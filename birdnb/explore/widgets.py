"""Join controls to the plain functions of ``views``: choose, slide, see and hear.

With ``BIRDNB_HEADLESS=1`` in the environment (papermill, nbval) an explorer gives the picture of
its default state instead, so that committed notebooks show something without a browser.
"""

import html
import math
import os
from collections.abc import Callable, Mapping

import ipywidgets as widgets
import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.figure import Figure

from birdnb.data import StudyData
from birdnb.explore.examples import Run, confused_recordings
from birdnb.explore.listen import mp3_bytes, player
from birdnb.explore.views import (
    View,
    augmentation_view,
    confusion_view,
    ensemble_view,
    quarantine_view,
    recording_view,
)
from birdnb.files import BirdnbError
from birdnb.plots.style import png_bytes

SNRS_DB = [math.inf, 30, 25, 20, 15, 10, 6, 3, 0]  # infinite: no noise added
WIDE = widgets.Layout(width="34em")


def headless() -> bool:
    """Tell whether nobody is there to move a slider: BIRDNB_HEADLESS is set and not 0."""
    return os.environ.get("BIRDNB_HEADLESS", "0") not in ("", "0")


def explorer(
    view: Callable[..., View], controls: Mapping[str, widgets.Widget], rate: int = 22050
) -> widgets.VBox | Figure:
    """Join controls to ``view(**values)``: every change shows picture, sound and text.

    ``rate`` [Hz] is that of the sound. Headless: the first picture, closed so that a notebook
    shows it once, after a player for the first sound.
    """
    if not headless():
        return _live(view, controls, rate)
    first = view(**{name: control.value for name, control in controls.items()})
    if first.samples is not None:
        display(player(first.samples, rate))
    plt.close(first.figure)
    return first.figure


def browse_recordings(data: StudyData) -> widgets.VBox | Figure:
    """Choose a species and a recording, see and hear it; step through the quarantine."""
    of = data.table.groupby("species")["recording_id"].agg(list)
    species = widgets.Dropdown(options=list(of.index), description="species", layout=WIDE)
    recording = widgets.Dropdown(options=of.iloc[0], description="recording", layout=WIDE)
    _choose_within(species, recording, of)
    controls = {"recording": recording}
    shown = explorer(
        lambda recording: recording_view(data, recording), controls, data.profile.audio.sample_rate
    )
    if headless():
        return shown
    left_out = len(data.cache.quarantine)
    if not left_out:
        return widgets.VBox([species, shown, widgets.HTML("No recording was left out.")])
    number = widgets.BoundedIntText(value=1, min=1, max=left_out, description="left out")
    return widgets.VBox(
        [species, shown, _live(lambda number: quarantine_view(data, number), {"number": number}, 1)]
    )


def explore_augmentation(data: StudyData) -> widgets.VBox | Figure:
    """Slide noise, blending and masks over a training recording; see and hear what comes of it."""
    one_each = data.table[data.table["side"] == "train"].groupby("species")["recording_id"].first()
    options = list(one_each.items())
    noise_from = next(
        (recording for recording in data.side("train") if data.cache.noise(recording) is not None),
        None,
    )
    snrs = [
        ("no noise" if snr == math.inf else f"{snr} dB", snr)
        for snr in (SNRS_DB if noise_from else SNRS_DB[:1])
    ]
    late = {"continuous_update": False}  # redraw when the slider is let go
    controls = {
        "recording": widgets.Dropdown(options=options, description="song of", layout=WIDE),
        "partner": widgets.Dropdown(
            options=options, index=len(options) - 1, description="blend with", layout=WIDE
        ),
        "share": widgets.FloatSlider(
            value=1.0, min=0, max=1, step=0.05, description="lambda", **late
        ),
        "snr_db": widgets.SelectionSlider(
            options=snrs, index=5 if noise_from else 0, description="SNR", **late
        ),
        "masks": widgets.Checkbox(value=True, description="SpecAugment"),
        "bands": widgets.IntSlider(value=15, min=1, max=40, description="mel bands", **late),
        "frames": widgets.IntSlider(value=35, min=1, max=80, description="frames", **late),
        "seed": widgets.IntSlider(value=0, min=0, max=20, description="draw", **late),
    }
    rate = data.profile.audio.sample_rate
    return explorer(
        lambda **values: augmentation_view(data, noise_from=noise_from, **values), controls, rate
    )


def explore_ensemble(members: Mapping[str, Run], weight: float = 0.5) -> widgets.VBox | Figure:
    """Slide the weight of one run, ``weight`` at first, and watch the validation accuracy.

    The test set is not looked at. Raises BirdnbError for fewer than two runs.
    """
    names = list(members)
    if len(names) < 2:
        raise BirdnbError(
            f"an ensemble needs two or more runs, here are {len(names)}: train another model first"
        )
    controls = {
        "first": widgets.Dropdown(options=names, value=names[0], description="first"),
        "second": widgets.Dropdown(options=names, value=names[1], description="second"),
        "weight": widgets.FloatSlider(
            value=weight, min=0, max=1, step=0.05, description="weight", continuous_update=False
        ),
    }
    return explorer(lambda **values: ensemble_view(members, **values), controls)


def explore_confusions(
    data: StudyData, run: Run, model: str = "the model"
) -> widgets.VBox | Figure:
    """Choose a pair of the confusion matrix; see and hear the recordings behind it."""
    behind = confused_recordings(run)
    if not behind:
        return widgets.VBox([widgets.HTML("No test recording was taken for another species.")])
    pair = widgets.Dropdown(options=list(behind), description="pair", layout=WIDE)
    recording = widgets.Dropdown(options=behind[pair.value], description="recording", layout=WIDE)
    _choose_within(pair, recording, behind)
    rate = data.profile.audio.sample_rate
    shown = explorer(
        lambda recording: confusion_view(data, run, recording, model),
        {"recording": recording},
        rate,
    )
    return shown if headless() else widgets.VBox([pair, shown])


def _live(
    view: Callable[..., View], controls: Mapping[str, widgets.Widget], rate: int
) -> widgets.VBox:
    picture, text = widgets.Image(format="png"), widgets.HTML()
    sound = widgets.Audio(format="mp3", autoplay=False, loop=False)

    def show(_change: object = None) -> None:
        """Draw the view of the controls' values."""
        try:
            now = view(**{name: control.value for name, control in controls.items()})
        except BirdnbError as error:  # shown where the text is: a widget has no other way to say it
            now = View(text=f"<b>{html.escape(str(error))}</b>")
        picture.value = b"" if now.figure is None else png_bytes(now.figure)
        sound.value = b"" if now.samples is None else mp3_bytes(now.samples, rate)
        text.value = now.text
        for part in (picture, sound):
            part.layout.display = None if part.value else "none"
        if now.figure is not None:
            plt.close(now.figure)

    for control in controls.values():
        control.observe(show, names="value")
    show()
    row = widgets.HBox(list(controls.values()), layout=widgets.Layout(flex_flow="row wrap"))
    return widgets.VBox([row, text, sound, picture])


def _choose_within(
    outer: widgets.Dropdown, inner: widgets.Dropdown, options: Mapping[str, list[str]]
) -> None:
    outer.observe(lambda change: setattr(inner, "options", options[change["new"]]), names="value")
