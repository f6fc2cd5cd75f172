"""Annotations of recordings, made by ear: Raven selection tables, Audacity labels, CSV."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from birdnb.corpora.reading import read_table, read_text
from birdnb.corpora.walking import files_under
from birdnb.files import BirdnbError, safe_name, user_path

# names of columns, as Raven, BirdNET, BirdSet, Perch, crowsetta and people write them; the first
# that is there counts (see read_table: lower case, words joined by _)
BEGIN = ("begin_time_(s)", "start_time_(s)", "start_(s)", "start", "start_time", "start_time_s",
         "begin_time_s", "start_s", "onset_s", "onset", "begin", "from")  # fmt: skip
END = ("end_time_(s)", "end_(s)", "end", "end_time", "end_time_s", "end_s", "offset_s", "offset",
       "stop", "to")  # fmt: skip
SPECIES = ("species", "annotation", "label", "scientific_name", "species_ebird_code", "ebird_code",
           "primary_label", "common_name", "species_code", "name", "class", "type")  # fmt: skip
FILE = ("begin_file", "begin_path", "recording", "filename", "file", "path", "filepath",
        "audio_path", "notated_path")  # fmt: skip
OFFSET = "file_offset_(s)"  # Raven's time within the file, where a table goes through several
COLUMNS = ["recording", "start", "end", "species", "file"]
SUFFIXES = (".txt", ".csv", ".tsv")


def read_truth(
    path: Path | str, recordings: Sequence[str]
) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Read the annotations of recordings from a file, or from all files of a folder.

    Returns the table (recording, start [s], end [s], species, file), the recordings that were
    annotated, those without any bird among them, and whose annotations belong to none of them or
    to several. A table names its recordings in a column, or is called after one
    (``dawn.selections.txt`` for ``dawn.wav``). Raises BirdnbError naming the file and the line for
    what cannot be understood, and when nothing belongs to these recordings.
    """
    tables, annotated, lost = [], set(), set()
    for file in annotation_files(path):
        table = read_annotations(file)
        named = recording_named(file.name, recordings)
        # several recordings of one name, and tabs that no table can hold: what it is called decides
        own = [" ".join(named.split())] if named else []
        found = {
            name: recording_named(name, recordings) or (recording_named(name, own) and named)
            for name in table["recording"].unique()
        } | {"": named}
        place = table["recording"].map(found).fillna("")
        lost |= set(table["recording"][place == ""].replace("", file.name))
        tables.append(table.assign(recording=place, file=file.name)[place != ""])
        annotated |= {name for name in place if name}
        if table.empty and named:
            annotated.add(named)
    if not annotated:
        raise BirdnbError(
            f"{path}: no annotation belongs to the recordings at hand "
            f"({', '.join([*recordings[:1], '...']) if recordings else 'none could be read'})"
            f"{f', they are of {min(lost)}' if lost else ''}: "
            f"name the file in a column, or call the table after the recording"
        )
    return pd.concat(tables, ignore_index=True)[COLUMNS], sorted(annotated), sorted(lost)


def annotation_files(path: Path | str) -> list[Path]:
    """List a file of annotations, or all in a folder. Raises BirdnbError where there is none."""
    root = user_path(path)
    if not root.exists():
        raise BirdnbError(f"the annotations {root} are not there: give a file or a folder")
    files = [root / name for name in files_under(root, root)] if root.is_dir() else [root]
    files = [file for file in files if file.suffix.lower() in SUFFIXES and file.is_file()]
    if not files:
        raise BirdnbError(f"{root} holds no annotations: give {', '.join(SUFFIXES)}")
    return files


def read_annotations(path: Path) -> pd.DataFrame:
    """Read one file: recording (as it names it, or ""), start [s], end [s], species."""
    if _is_audacity(path):
        return _read_audacity(path)
    table = read_table(path)
    start, end, species = (_column(path, table, names) for names in (BEGIN, END, SPECIES))
    begin, until = (_seconds(path, table[name]) for name in (start, end))
    if OFFSET in table:
        offset = _seconds(path, table[OFFSET])
        begin, until = offset, offset + until - begin
    found = pd.DataFrame({
        "recording": _recordings(table), "start": begin, "end": until,
        "species": table[species].str.strip(),
    })  # fmt: skip
    return _checked(path, found)


def _recordings(table: pd.DataFrame) -> pd.Series | str:
    """Return what a table calls the recordings: by Raven's path, where it leads to its file."""
    named = [table[name] for name in FILE if name in table]
    if {"begin_file", "begin_path"} <= set(table):
        path = table["begin_path"]
        leads = [one.endswith(file) for one, file in zip(path, table["begin_file"], strict=True)]
        return path.where(leads, table["begin_file"])
    return named[0] if named else ""


def _checked(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    wrong = table[~(table["end"] >= table["start"]) | (table["start"] < 0)]
    if len(wrong):
        first = wrong.iloc[0]
        raise BirdnbError(
            f"{path}: an annotation of {first['species']!r} lasts from {first['start']:g} to "
            f"{first['end']:g} s: times are seconds from the beginning of the file"
        )
    # Raven writes a selection once for each view, the waveform's and the spectrogram's
    return table[table["species"] != ""].drop_duplicates().reset_index(drop=True)


def _column(path: Path, table: pd.DataFrame, names: Sequence[str]) -> str:
    for name in names:
        if name in table:
            return name
    raise BirdnbError(
        f"{path} has no column {names[0]!r} (nor {', '.join(names[1:6])} ...): it names "
        f"{', '.join(table.columns)[:200]}"
    )


def _seconds(path: Path, column: pd.Series) -> pd.Series:
    """Read times [s]. Raises BirdnbError naming the line of one that is no number."""
    numbers = pd.to_numeric(column.str.replace(",", ".", regex=False), errors="coerce")
    if numbers.isna().any():
        row = int(numbers.isna().to_numpy().argmax())
        raise BirdnbError(
            f"{path}, annotation {row + 1}: {column.name} is {column.iloc[row]!r}: give seconds"
        )
    return numbers.astype(float)


def _is_audacity(path: Path) -> bool:
    """Tell whether two numbers begin the file, not a header; nothing is a track without labels."""
    text = read_text(path).strip("\ufeff\n ")
    fields = text.split("\n")[0].split("\t")
    numbers = [field.replace(".", "", 1).replace(",", "", 1).isdecimal() for field in fields[:2]]
    return not text or (len(fields) >= 2 and all(numbers))


def _read_audacity(path: Path) -> pd.DataFrame:
    """Read a label track; lines that begin with a backslash hold frequencies, not labels."""
    lines = [line for line in read_text(path).split("\n") if line and not line.startswith("\\")]
    rows = [(*line.split("\t", 2), "", "")[:3] for line in lines]
    table = pd.DataFrame(rows, columns=["start", "end", "species"], dtype=str)
    found = table.assign(
        recording="", start=_seconds(path, table["start"]), end=_seconds(path, table["end"]),
        species=table["species"].str.strip(),
    )  # fmt: skip
    return _checked(path, found[COLUMNS[:4]])


def recording_named(name: str, recordings: Sequence[str]) -> str | None:
    """Find the recording that a name means; None if none or several are meant.

    The same path or its end, the same file name, the same name without its suffix, or the longest
    that the name goes on from: ``dawn.Table.1.selections.txt`` is about ``dawn.wav``; a path may
    be written as our own tables are called, ``site_dawn.labels.txt`` for ``site/dawn.wav``.
    """
    if not name:
        return None
    path = PurePosixPath(name.replace("\\", "/"))
    last = path.name
    stems = {recording: PurePosixPath(recording).stem for recording in recordings}
    longest = max((len(s) for s in stems.values() if last.startswith(f"{s}.")), default=0)
    for fits in (
        [r for r in recordings if r == name],
        [r for r in recordings if "/" in r and f"/{path}".endswith(f"/{r}")],
        [r for r in recordings if PurePosixPath(r).name == last],
        [r for r, stem in stems.items() if stem in (last, PurePosixPath(last).stem)],
        [r for r, stem in stems.items() if len(stem) == longest and last.startswith(f"{stem}.")],
        [
            r
            for r in recordings
            if last.startswith(f"{safe_name(str(PurePosixPath(r).with_suffix('')))}.")
        ],
    ):
        if fits:
            return fits[0] if len(fits) == 1 else None
    return None
