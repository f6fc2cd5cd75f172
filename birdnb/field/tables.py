"""Tables that other programs open: Raven, Audacity, CSV, Parquet."""

import hashlib
import re
from pathlib import Path, PurePosixPath

import pandas as pd

from birdnb import __version__
from birdnb.field.listener import Listener
from birdnb.field.scores import Heard
from birdnb.files import atomic_path, safe_name, sha256_of, write_json, write_table, write_text
from birdnb.training.runs import read_json

RECORDINGS = ["recording", "begins", "clock", "seconds", "sample_rate", "channel", "silent"]
RECORDINGS += ["detections", "note", "reason"]
WRITTEN = "written.json"  # SHA-256 of the tables for Raven and Audacity as they were written


def write_tables(
    heard: list[Heard], detections: pd.DataFrame, listener: Listener, out: Path
) -> list[str]:
    """Write all tables into a folder; returns what is to be told of those that were there before.

    ``detections`` and ``recordings`` as .csv (UTF-8) and .parquet; for each recording that was
    heard a Raven selection table and a label track of Audacity, empty ones where nothing sang.
    Of the latter two those that somebody else has changed stay as they are.
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
    texts: dict[str, str] = {}
    of_recording = dict(iter(detections.groupby("recording")))
    for one in heard:
        if one.reason:
            continue
        name = _file_name(one.recording, taken)
        found = of_recording.get(one.recording, detections.iloc[:0])
        texts[f"raven/{name}.selections.txt"] = raven(found, one, listener)
        texts[f"audacity/{name}.labels.txt"] = audacity(found)
    return _write_all(out, texts)


def _write_all(out: Path, texts: dict[str, str]) -> list[str]:
    """Write files by name, but for those that are no longer as they were written here before."""
    known = read_json(out / WRITTEN) if (out / WRITTEN).exists() else {}
    changed = []
    for name, text in texts.items():
        path, digest = out / name, hashlib.sha256(text.encode()).hexdigest()
        if path.exists() and sha256_of(path) not in (digest, known.get(name)):
            changed.append(f"{name} was changed by hand and stays as it is: move it away, and the "
                           "same command writes what was heard now")  # fmt: skip
        else:
            write_text(path, text)
            known[name] = digest
    write_json(out / WRITTEN, known)
    others = [name for name in known if name not in texts and (out / name).exists()]
    if others:
        changed.append(f"{len(others)} tables are of recordings of an earlier call, such as "
                       f"{others[0]}: detections.csv is without them")  # fmt: skip
    return changed


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
    shown, number = name, 1
    while shown.lower() in taken:  # the end of a long name would be cut off again
        number = taken[name.lower()] = taken.get(name.lower(), 1) + 1
        shown = f"{name[:100]}-{number}"
    taken[shown.lower()] = 1
    return shown
