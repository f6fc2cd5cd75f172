"""Tables that other programs open: Raven, Audacity, CSV, Parquet."""

import re
from pathlib import Path, PurePosixPath

import pandas as pd

from birdnb import __version__
from birdnb.field.listener import Listener
from birdnb.field.scores import Heard
from birdnb.files import atomic_path, safe_name, write_table, write_text

RECORDINGS = ["recording", "begins", "clock", "seconds", "sample_rate", "channel", "silent"]
RECORDINGS += ["detections", "note", "reason"]


def write_tables(
    heard: list[Heard], detections: pd.DataFrame, listener: Listener, out: Path
) -> pd.DataFrame:
    """Write all tables into a folder and return the one of recordings.

    ``detections`` and ``recordings`` as .csv (UTF-8) and .parquet; for each recording that was
    heard a Raven selection table and a label track of Audacity, empty ones where nothing sang.
    """
    whole = detections.assign(run=listener.name, weights=listener.weights, birdnb=__version__)
    counts = detections["recording"].value_counts()
    recordings = pd.DataFrame(
        [{**vars(one), "detections": int(counts.get(one.recording, 0))} for one in heard],
        columns=RECORDINGS,
    )
    for name, table in (("detections", whole), ("recordings", recordings)):
        write_table(out / f"{name}.csv", table)
        with atomic_path(out / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)
    taken: dict[str, int] = {}
    of_recording = dict(iter(detections.groupby("recording")))
    for one in heard:
        if one.reason:
            continue
        name = _file_name(one.recording, taken)
        found = of_recording.get(one.recording, detections.iloc[:0])
        write_text(out / "raven" / f"{name}.selections.txt", raven(found, one, listener))
        write_text(out / "audacity" / f"{name}.labels.txt", audacity(found))
    return recordings


def raven(found: pd.DataFrame, heard: Heard, listener: Listener) -> str:
    """Return a recording's selection table for Raven, https://www.ravensoundsoftware.com."""
    table = pd.DataFrame(
        {
            "Selection": range(1, len(found) + 1), "View": "Spectrogram 1",
            "Channel": 1 if heard.channel == "mean" else int(heard.channel),
            "Begin Time (s)": found["start"], "End Time (s)": found["end"],
            "Low Freq (Hz)": listener.audio.high_pass_hz,
            "High Freq (Hz)": min(listener.audio.sample_rate, heard.sample_rate) / 2,
            "Begin File": _one_line(PurePosixPath(heard.recording).name),
            "Begin Path": _one_line(heard.source), "File Offset (s)": found["start"],
            "Species": found["species"].map(_one_line), "Score": found["probability"].round(4),
            "Threshold": found["threshold"].round(4), "Rank": found["rank"],
        }
    )  # fmt: skip
    return table.to_csv(sep="\t", index=False, lineterminator="\n")


def audacity(found: pd.DataFrame) -> str:
    """Return the label track of a recording: begin, end [s] and text, tab-separated."""
    rows = zip(found["start"], found["end"], found["species"], found["probability"], strict=True)
    return "".join(
        f"{start:.6f}\t{end:.6f}\t{_one_line(species)} {probability:.3f}\n"
        for start, end, species, probability in rows
    )


def _one_line(text: str) -> str:
    return re.sub(r"[\t\r\n]+", " ", text)


def _file_name(recording: str, taken: dict[str, int]) -> str:
    """Return a file name for the tables of a recording, another for each."""
    path = PurePosixPath(recording)
    name = safe_name(path.with_suffix("").as_posix() if path.suffix else recording)
    taken[name.lower()] = number = taken.get(name.lower(), 0) + 1
    return name if number == 1 else _file_name(f"{name}-{number}", taken)
