"""Hear detections one after the other and say what sings: answers are kept in ``review.csv``.

A row of it: recording, start, end [s], species and probability of the detection, ``heard`` (the
species that the listener heard there, "" for none of them) and when it was reviewed.
"""

import datetime
import functools
import html
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import soundfile
from IPython.display import display
from matplotlib.figure import Figure

from birdnb.config import AudioSettings, key_of
from birdnb.corpora.reading import read_table
from birdnb.evaluation.promises import measure, verdict
from birdnb.explore.listen import Source, mp3_bytes, player, stretch
from birdnb.explore.views import View
from birdnb.explore.widgets import WIDE, headless
from birdnb.features.audio import Recording, hear
from birdnb.features.lms import log_mel
from birdnb.files import BirdnbError, atomic_path, safe_name, write_table
from birdnb.plots.sound import visualize_spectrogram
from birdnb.plots.style import png_bytes

KEY = ["recording", "start", "end", "species"]
COLUMNS = [*KEY, "probability", "heard", "reviewed"]
BY_ANNOTATIONS = "by annotations"  # in place of the time of a review
MARGIN = 1.0  # [s] heard before and after a detection
LONGEST = 20.0  # [s] heard of one


def read_review(path: Path) -> pd.DataFrame:
    """Read the answers so far; none where nothing was reviewed. Raises BirdnbError if damaged."""
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS).astype({"start": float, "end": float})
    table = read_table(path, COLUMNS[:6])
    try:
        return table.astype({"start": float, "end": float, "probability": float})
    except ValueError as error:
        raise BirdnbError(f"{path}: a time or probability is no number ({error})") from error


def write_answer(path: Path, detection: pd.Series, heard: str) -> None:
    """Add an answer, or replace the one that was given before; written at once, atomically."""
    row = {name: detection[name] for name in COLUMNS[:5]}
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    _write(path, [*read_review(path).to_dict("records"), row | {"heard": heard, "reviewed": now}])


def _write(path: Path, rows: Sequence[Mapping]) -> None:
    table = pd.DataFrame(rows, columns=COLUMNS).drop_duplicates(KEY, keep="last")
    write_table(path, table)


def open_questions(detections: pd.DataFrame, review: pd.DataFrame, seed: int = 0) -> list[int]:
    """Return indices of what was not reviewed, species by turns, at random: few tell of all."""
    done = set(review[KEY].itertuples(index=False, name=None))
    left = [i for i in detections.index if tuple(detections.loc[i, KEY]) not in done]
    mixed = detections.loc[left].sample(frac=1, random_state=seed)
    turn = mixed.groupby("species").cumcount()
    return list(turn.sort_values(kind="stable").index)


def achieved_precision(review: pd.DataFrame, promised: float | None = None) -> pd.DataFrame:
    """Return species, reviewed, right, precision, low, high (over recordings), verdict.

    The last row is of all; ``verdict`` says whether the ``promised`` precision was kept.
    """
    right = (review["heard"] == review["species"]).to_numpy()
    rows = []
    for species in [*sorted(review["species"].unique()), "all"]:
        own = np.ones(len(review), bool) if species == "all" else (review["species"] == species)
        found = measure(np.asarray(own), right, review["recording"].to_numpy())
        low, high = found.interval or (None, None)
        rows.append((species, found.clips, int(right[own].sum()), found.precision, low, high,
                     verdict(found, promised)))  # fmt: skip
    columns = ["species", "reviewed", "right", "precision", "low", "high", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def answer_by_truth(path: Path, detections: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Answer all detections as annotations do (recording, start, end, species); return the review.

    The species itself where one of its annotations overlaps, else the one that overlaps longest.
    What a listener has answered stays, also of other recordings.
    """
    earlier, rows = read_review(path).reindex(columns=COLUMNS), []
    for _, one in detections.iterrows():
        near = truth[truth["recording"] == one["recording"]]
        overlap = np.minimum(near["end"], one["end"]) - np.maximum(near["start"], one["start"])
        singing = near["species"][overlap > 0].tolist()
        most = near["species"].loc[overlap.idxmax()] if singing else ""
        heard = one["species"] if one["species"] in singing else most
        rows.append({**one[COLUMNS[:5]], "heard": heard, "reviewed": BY_ANNOTATIONS})
    _write(path, [*rows, *earlier[earlier["reviewed"] != BY_ANNOTATIONS].to_dict("records")])
    return read_review(path)


def write_labels(folder: Path, review: pd.DataFrame, sources: Mapping[str, Source]) -> Path:
    """Cut out what was heard, as a corpus to train on: FLAC files and their ``manifest.csv``.

    All clips of a recording are one session (its name is their locality). What was heard as none
    of the species is left out. Returns the manifest. Raises BirdnbError for a recording that is
    not among ``sources``.
    """
    heard = review[review["heard"] != ""].drop_duplicates([*KEY[:3], "heard"])
    if unknown := set(heard["recording"]) - set(sources):
        raise BirdnbError(f"{min(unknown)} is not among the recordings: leave its answers out")
    rows = []
    for name, clips in heard.groupby("recording"):
        for _, clip in clips.iterrows():
            # recorders on one schedule give their files the same names
            exact = key_of(str(name), float(clip["start"]), float(clip["end"]), clip["heard"])
            told = f"{PurePosixPath(str(name)).stem}_{clip['start']:.1f}_{clip['heard']}"
            identity = f"{safe_name(told)[:100]}_{exact}"
            rows.append((identity, f"audio/{identity}.flac", clip["heard"], name))
        paths = [folder / row[1] for row in rows[-len(clips) :]]
        hear(sources[str(name)].path, functools.partial(_cut_out, sources[str(name)], clips, paths))
    columns = ["recording_id", "path", "species", "locality"]
    return write_table(folder / "manifest.csv", pd.DataFrame(rows, columns=columns))


def _cut_out(source: Source, clips: pd.DataFrame, paths: list[Path], sound: Recording) -> None:
    """Write the stretches of a recording as FLAC files, at its own sample rate."""
    sound.channel = source.channel
    for path, start, end in zip(paths, clips["start"], clips["end"], strict=True):
        samples = sound.read(round(start * sound.sample_rate), round(end * sound.sample_rate))
        if not len(samples):
            raise BirdnbError(
                f"{source.path} ends before {start:.1f} s: it is another than was listened to"
            )
        with atomic_path(path) as temporary:
            soundfile.write(temporary, samples, sound.sample_rate)


def busiest(detections: pd.DataFrame, seconds: float) -> tuple[str, float]:
    """Find the stretch with most detections of different species: recording and start [s]."""
    place = (detections["start"] // seconds * seconds).rename("place")
    counts = detections.groupby(["recording", place])["species"].nunique()
    recording, start = counts.idxmax()
    return str(recording), float(start)


def detection_view(detection: pd.Series, source: Source, audio: AudioSettings) -> View:
    """Show and play a detection with a second before and after it."""
    start = max(0.0, detection["start"] - MARGIN)
    last = min(detection["end"] + MARGIN, source.seconds)
    seconds = min(last - start, LONGEST)
    samples = stretch(source, audio, start, seconds)
    title = f"{detection['species']}? ({detection['probability']:.2f})"
    ax = visualize_spectrogram(log_mel(samples, audio), audio, title, colorbar=False)
    for edge in (detection["start"], detection["end"]):
        ax.axvline(edge - start, color="white", linestyle="--", linewidth=1.2)
    text = f"{html.escape(str(detection['recording']))}, from {detection['start']:.1f} s on"
    return View(ax.figure, samples, text)  # type: ignore[arg-type]


def review(
    detections: pd.DataFrame, sources: Mapping[str, Source], audio: AudioSettings,
    labels: Sequence[str], path: Path, seed: int = 0,
) -> widgets.VBox | Figure:  # fmt: skip
    """Ask about one detection after the other: hear it, accept, reject, or name another species.

    Each answer is written to ``path`` at once; those given already are not asked again. Headless:
    the picture of the first one, after a player for its sound.
    """
    if headless() and len(detections):
        first = detections.loc[open_questions(detections, read_review(path).iloc[:0], seed)[0]]
        shown = detection_view(first, sources[first["recording"]], audio)
        assert shown.samples is not None and shown.figure is not None
        display(player(shown.samples, audio.sample_rate))
        plt.close(shown.figure)
        return shown.figure
    return _Reviewer(detections, sources, audio, labels, path, seed).box


class _Reviewer:
    """The widget: what is asked, and what its buttons do."""

    def __init__(
        self, detections: pd.DataFrame, sources: Mapping[str, Source], audio: AudioSettings,
        labels: Sequence[str], path: Path, seed: int,
    ) -> None:  # fmt: skip
        self.detections, self.sources, self.audio, self.path = detections, sources, audio, path
        self.left = open_questions(detections, read_review(path), seed)
        self.answered: list[int] = []
        self.picture, self.text = widgets.Image(format="png"), widgets.HTML()
        self.sound = widgets.Audio(format="mp3", autoplay=False, loop=False)
        self.other = widgets.Combobox(
            options=list(labels), placeholder="another species", ensure_option=False
        )
        buttons = {
            "right": lambda: self.now["species"], "wrong": lambda: "",
            "it is ...": lambda: self.other.value.strip(),
        }  # fmt: skip
        row = [self._button(name, answer) for name, answer in buttons.items()]
        back = widgets.Button(description="back", layout=widgets.Layout(width="6em"))
        back.on_click(lambda _: self._back())
        self.buttons = widgets.HBox([*row, self.other, back])
        self.box = widgets.VBox([self.text, self.picture, self.sound, self.buttons], layout=WIDE)
        self._show()

    @property
    def now(self) -> pd.Series:
        """Return the detection that is asked about."""
        return self.detections.loc[self.left[0]]

    def _button(self, name: str, answer) -> widgets.Button:
        button = widgets.Button(description=name, layout=widgets.Layout(width="6em"))

        def clicked(_: object) -> None:
            """Keep the answer and go on; without a name "it is ..." asks for one."""
            if not self.left or (name == "it is ..." and not answer()):
                return
            try:
                write_answer(self.path, self.now, answer())
            except BirdnbError as error:
                self.text.value = f"<b>not written</b>: {html.escape(str(error))}"
                return
            self.other.value = ""
            self.answered.append(self.left.pop(0))
            self._show()

        button.on_click(clicked)
        return button

    def _back(self) -> None:
        if self.answered:
            self.left.insert(0, self.answered.pop())
            self._show()

    def _show(self) -> None:
        so_far = achieved_precision(read_review(self.path)).iloc[-1]
        done = f"{so_far['reviewed']} reviewed, {so_far['right']} right"
        if not self.left:
            self.text.value = f"<b>All is reviewed</b>: {done}; see {html.escape(str(self.path))}"
            self.picture.value = self.sound.value = b""
            return
        shown = detection_view(self.now, self.sources[self.now["recording"]], self.audio)
        assert shown.samples is not None and shown.figure is not None
        self.picture.value = png_bytes(shown.figure)
        plt.close(shown.figure)
        self.sound.value = mp3_bytes(shown.samples, self.audio.sample_rate)
        self.text.value = f"<b>{len(self.left)} to review</b> ({done}): {shown.text}"
