"""The surest and the least sure detections of each species, to look at and to hear."""

import io
from dataclasses import dataclass

import numpy as np
import pandas as pd

from birdnb.config import AudioSettings
from birdnb.explore.listen import mp3_bytes
from birdnb.features.audio import Recording, hear
from birdnb.features.decoders import AudioError
from birdnb.features.lms import log_mel
from birdnb.field.scores import Heard
from birdnb.report.page import data_url

LEAST_RANGE = 20.0  # [dB] from black to white: mere noise stays dark
MOST = 240  # clips on a page: of many species fewer each, at least the surest one


@dataclass(frozen=True)
class Clip:
    """A detection as a picture and a sound, both as the text of data URLs."""

    detection: pd.Series  # a row of the table
    picture: str = ""
    sound: str = ""
    reason: str = ""  # why there is none


def gallery(
    detections: pd.DataFrame, heard: list[Heard], audio: AudioSettings, each: int
) -> dict[str, list[Clip]]:
    """Return the ``each`` surest and least sure detections by species, recordings opened once."""
    chosen = choose(detections, each)
    recordings = {one.recording: one for one in heard}
    clips: dict[int, Clip] = {}
    for name, rows in chosen.groupby("recording"):
        clips |= _clips_of(recordings[str(name)], rows, audio)
    return {
        str(species): [clips[index] for index in rows.index]
        for species, rows in chosen.groupby("species")
    }


def choose(detections: pd.DataFrame, each: int) -> pd.DataFrame:
    """Return the rows to show, by species and probability, the surest first."""
    each = max(1, min(each, MOST // max(1, 2 * detections["species"].nunique())))
    ordered = detections.sort_values(["species", "probability"], ascending=[True, False])
    by_species = ordered.groupby("species")
    place, count = by_species.cumcount(), by_species["species"].transform("size")
    return ordered[(place < each) | (place >= count - each)]


def _clips_of(heard: Heard, rows: pd.DataFrame, audio: AudioSettings) -> dict[int, Clip]:
    """Return the clips of a recording by the index of their rows."""
    clips: dict[int, Clip] = {}

    def cut(sound: Recording) -> None:
        """Draw and play each clip, from the channel that was taken."""
        sound.channel = None if heard.channel == "mean" else int(heard.channel) - 1
        for index, row in rows.iterrows():
            first = round(row["peak"] * audio.sample_rate)
            last = min(first + audio.clip_samples, int(heard.seconds * audio.sample_rate))
            samples = sound.slice(first, last, audio.sample_rate, audio.high_pass_hz)
            clips[int(str(index))] = Clip(row, _picture(samples, audio), _sound(samples, audio))

    try:
        hear(heard.source, cut)
    except (AudioError, OSError) as error:
        for index, row in rows.iterrows():
            clips.setdefault(int(str(index)), Clip(row, reason=f"cannot be read again: {error}"))
    return clips


def _picture(samples: np.ndarray, audio: AudioSettings) -> str:
    """Return the LMS of a clip above each band's median as a PNG, a pixel a frame and band."""
    import matplotlib.pyplot as plt  # after the hours of listening, whose memory it would add to

    from birdnb.plots.style import CMAP

    lms, png = log_mel(samples, audio), io.BytesIO()
    lms -= np.median(lms, axis=1, keepdims=True)  # steady wind would outshine a song
    high = max(LEAST_RANGE, float(np.percentile(lms, 99.9)))
    plt.imsave(png, lms, cmap=CMAP, vmin=0.0, vmax=high, origin="lower", format="png")
    return data_url("image/png", png.getvalue())


def _sound(samples: np.ndarray, audio: AudioSettings) -> str:
    return data_url("audio/mpeg", mp3_bytes(samples, audio.sample_rate))
