"""Judge labels that models doubt: see, hear, then accept, rename or drop; written as decided."""

import contextlib
import datetime
import getpass
import html
from collections.abc import Iterator
from pathlib import Path

import ipywidgets as widgets
import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Audio
from matplotlib.figure import Figure

from birdnb.corpora.corrections import ACCEPT, DROP, RELABEL, add_correction, read_corrections
from birdnb.corpora.table import credit
from birdnb.data import StudyData
from birdnb.explore.listen import clip_waveform, player
from birdnb.explore.views import doubt_view
from birdnb.explore.widgets import WIDE, explorer, headless
from birdnb.files import BirdnbError
from birdnb.plots.sound import spectrogram_grid
from birdnb.plots.style import add_credit, wrap
from birdnb.report.recordings import NOBODY

CORRECTIONS = "corrections.csv"


def doubts_gallery(data: StudyData, doubts: pd.DataFrame, limit: int = 12) -> Figure:
    """Draw the best clips of the recordings whose labels are doubted most, the label above each."""
    if doubts.empty:
        figure = plt.figure(figsize=(11, 0.6))
        figure.text(0.01, 0.5, NOBODY, va="center", fontsize=11)
        return figure
    rows = list(doubts.head(limit).itertuples())
    titles = [
        wrap(f"{number}: {row.species}", 26)
        + ("" if row.suggestion == row.species else "\n" + wrap(f"or {row.suggestion}?", 26))
        for number, row in enumerate(rows, 1)
    ]
    clips = [data.cache.load(row.recording_id)[0] for row in rows]
    figure = spectrogram_grid(clips, titles, data.profile.audio)
    ids = [row.recording_id for row in rows]
    return add_credit(figure, credit(data.recordings.loc[ids]))


def doubts_players(
    data: StudyData, doubts: pd.DataFrame, limit: int = 12
) -> Iterator[tuple[str, Audio]]:
    """Give a line of text and a player for each of the recordings of ``doubts_gallery``."""
    for number, row in enumerate(doubts.head(limit).itertuples(), 1):
        samples = clip_waveform(data, row.recording_id)
        text = f"{number}: {row.recording_id}, filed under {row.species}"
        yield text, player(samples, data.profile.audio.sample_rate)


def correct_labels(
    data: StudyData, doubts: pd.DataFrame, folder: Path | str, limit: int = 50
) -> widgets.VBox | Figure:
    """Step through doubtful labels and decide; ``folder`` gets ``corrections.csv``.

    Give the folder of the study's results: that of the recordings is never written to. In a study
    with corrections the table in use is added to.
    """
    if doubts.empty:
        return doubts_gallery(data, doubts) if headless() else widgets.VBox([widgets.HTML(NOBODY)])
    path = data.corpus.corrections_file or Path(folder) / CORRECTIONS
    rows = doubts.head(limit).set_index("recording_id")
    recording = widgets.Dropdown(options=_marked(rows, path), description="recording", layout=WIDE)
    controls, rate = {"recording": recording}, data.profile.audio.sample_rate
    shown = explorer(lambda recording: doubt_view(data, rows.loc[recording]), controls, rate)
    if headless():
        return shown
    return widgets.VBox([shown, _decisions(data, rows, recording, path)])


def _decisions(
    data: StudyData, rows: pd.DataFrame, recording: widgets.Dropdown, path: Path
) -> widgets.VBox:
    """Make the controls that write a decision on the recording shown, and go on to the next."""
    before = data.recordings.get("label_before")
    species = widgets.Dropdown(options=data.labels, description="species", layout=WIDE)
    by = widgets.Text(value=_user(), description="by")
    said = widgets.HTML()

    def suggest(_change: object = None) -> None:
        species.value = rows.at[recording.value, "suggestion"]

    def decide(decision: str) -> None:
        """Write a decision down, and show the next recording."""
        name = recording.value
        label = (before is not None and before[name]) or rows.at[name, "species"]
        if decision in (ACCEPT, RELABEL):  # right may be a label that was corrected before
            right = rows.at[name, "species"] if decision == ACCEPT else species.value
            decision = ACCEPT if right == label else RELABEL
        other = right if decision == RELABEL else ""
        when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        try:
            table = add_correction(
                path, recording_id=name, label=label, decision=decision, species=other,
                by=by.value.strip(), when=when,
            )  # fmt: skip
        except BirdnbError as error:
            said.value = f"<b>not written</b>: {html.escape(str(error))}"
            return
        said.value = (
            f"{len(table)} decisions in {html.escape(path.name)}, beside the results; apply them "
            "with <code>--corrections</code>"
        )
        place = list(rows.index).index(name)
        recording.options = _marked(rows, path)
        recording.value = rows.index[min(place + 1, len(rows) - 1)]

    recording.observe(suggest, names="value")
    suggest()
    buttons = {
        "the label is right": ACCEPT, "it is the species chosen": RELABEL,
        "drop the recording": DROP, "take back": "",
    }  # fmt: skip
    made = []
    for text, decision in buttons.items():
        button = widgets.Button(description=text, layout=widgets.Layout(width="14em"))
        button.on_click(lambda _button, decision=decision: decide(decision))
        made.append(button)
    return widgets.VBox([widgets.HBox([species, by]), widgets.HBox(made), said])


def _marked(rows: pd.DataFrame, path: Path) -> list[tuple[str, str]]:
    """Return the recordings with what was decided on each."""
    decided: dict[str, str] = {}
    if path.is_file():
        table = read_corrections(path).set_index("recording_id")
        decided = table["decision"].where(table["species"] == "", table["species"]).to_dict()
    return [
        (f"{number}: {name} ({rows.at[name, 'species']})"
         + (f" - {decided[name]}" if name in decided else ""), name)
        for number, name in enumerate(rows.index, 1)
    ]  # fmt: skip


def _user() -> str:
    """Return who is at the keyboard, as far as the system knows."""
    with contextlib.suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return ""
