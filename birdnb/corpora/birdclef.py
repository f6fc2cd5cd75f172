"""BirdCLEF 2020 to 2026 (Kaggle): a table of recordings beside folders of audio."""

import ast
import os
import re
from pathlib import Path

import pandas as pd

from birdnb.corpora.folders import Source, species_folders
from birdnb.corpora.reading import read_table
from birdnb.corpora.table import COLUMNS, make_ids, unlisted
from birdnb.files import BirdnbError

TABLES = ["train_metadata.csv", "train.csv"]
AUDIO_FOLDERS = ["train_audio", "train_short_audio"]
NAMES = {  # manifest column -> what it was called over the years
    "label": ["ebird_code", "primary_label"],  # 2020 has both; its folders are called by the code
    "scientific_name": ["scientific_name", "sci_name"],
    "common_name": ["common_name", "species"],
    "recordist": ["recordist", "author"],
    "date": ["date"],
    "time": ["time"],
    "license": ["license"],
    "url": ["url"],
    "quality": ["rating"],
    "filename": ["filename", "file_name"],
    "latitude": ["latitude", "lat"],
    "longitude": ["longitude", "lon", "lng"],
    "secondary": ["secondary_labels", "background"],
}


def is_birdclef(root: Path) -> bool:
    """Tell whether one of the tables lies beside one of the audio folders and names audio in it.

    Where nothing else in the folder could be meant, the table need not do so: reading it then says
    what is wrong.
    """
    tables = [root / name for name in TABLES if (root / name).is_file()]
    folders = [root / name for name in AUDIO_FOLDERS if (root / name).is_dir()]
    if not tables or not folders:
        return False
    return any(_names_audio(table, root) for table in tables) or not (
        set(species_folders(root)) - set(AUDIO_FOLDERS)
    )


def is_cbi(root: Path) -> bool:
    """Tell whether this is BirdCLEF's 2020 (birdsong-recognition), which BEANS calls CBI."""
    table = root / "train.csv"
    if not table.is_file() or not is_birdclef(root):
        return False
    try:
        return {"ebird_code", "recordist", "sci_name"} <= set(read_table(table).columns)
    except BirdnbError:
        return False


def _names_audio(path: Path, root: Path) -> bool:
    """Tell whether a table can be read and names a file that is there."""
    try:
        raw = _columns(read_table(path), path)
    except BirdnbError:
        return False
    audio = _audio_folder(root)
    files = zip(raw["label"], raw["filename"], strict=True)
    return any(os.path.isfile(root / _find(audio, label, name)) for label, name in files if name)


def _audio_folder(root: Path) -> Path:
    return next(root / name for name in AUDIO_FOLDERS if (root / name).is_dir())


def read_birdclef(root: Path, progress: bool = True) -> Source:
    """Read BirdCLEF's training part.

    ::

        birdclef-2023/                     birdclef-2021/
          train_metadata.csv                 train_metadata.csv
          train_audio/abethr1/XC128013.ogg   train_short_audio/acafly/XC109605.ogg
        birdclef-2025/                     birdsong-recognition/ (2020, CBI in BEANS)
          train.csv, taxonomy.csv            train.csv
          train_audio/1139490/CSA36385.ogg   train_audio/aldfly/XC134874.mp3

    ``filename`` is bare (2021: ``XC109605.ogg``) or has the label's folder in front (since 2022).
    Labels stay text, also numbers (2025). The study's label is the scientific name when it belongs
    to one primary label and the primary label to it alone, otherwise the primary label itself; the
    common name is kept beside it. Secondary labels become background_species, named in the same way
    and joined by semicolons. Only 2020 and 2021 have dates; without one a recordist is one session.
    The locality is "latitude, longitude". Audio that no row names is reported.
    """
    tables = [root / name for name in TABLES if (root / name).is_file()]
    table_path = tables[0]
    if len(tables) > 1:
        table_path = next((table for table in tables if _names_audio(table, root)), table_path)
    audio = _audio_folder(root)
    raw = _with_taxonomy(_columns(read_table(table_path), table_path), root)
    files = zip(raw["label"], raw["filename"], strict=True)
    paths = [_find(audio, label, name) for label, name in files]
    names = _species_names(raw)
    table = raw[[name for name in COLUMNS if name in raw]].assign(
        recording_id=make_ids(paths),
        path=paths,
        species=[names.get(label, label) for label in raw["label"]],
        locality=[
            f"{lat}, {lon}" if lat and lon else ""
            for lat, lon in zip(raw["latitude"], raw["longitude"], strict=True)
        ],
        background_species=[
            "; ".join(names.get(code, _scientific(code)) for code in parse_list(text))
            for text in raw["secondary"]
        ],
    )
    return Source(root, table, unlisted(table, audio, root))


def parse_list(text: str) -> list[str]:
    """Read a list written as a Python literal; other text counts as one label, blanks as none."""
    try:
        value = ast.literal_eval(text.strip()) if text.strip().startswith(("[", "(")) else [text]
    except (ValueError, SyntaxError):
        value = [text]
    value = value if isinstance(value, (list, tuple)) else [value]
    return [str(item).strip() for item in value if str(item).strip()]


def _scientific(label: str) -> str:
    """Return Corvus corax of 2020's "Corvus corax_Common Raven"; any other label as it is."""
    return label.partition("_")[0] if re.match(r"[A-Z][a-z]+ [a-z-]+_", label) else label


def _columns(raw: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Give the columns one name each, whatever the year called them; missing ones are empty."""
    table = pd.DataFrame(index=raw.index)
    for column, names in NAMES.items():
        there = [name for name in names if name in raw.columns]
        if not there and column in ("label", "filename"):
            either = " or ".join(map(repr, sorted(names, reverse=True)))
            raise BirdnbError(f"{path} has no column {either}: is it a BirdCLEF table?")
        table[column] = raw[there[0]].str.strip() if there else ""
    return table


def _with_taxonomy(raw: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Fill in scientific and common names from taxonomy.csv where the table has labels only."""
    path = root / "taxonomy.csv"
    if path.is_file() and "primary_label" in (taxonomy := read_table(path)).columns:
        taxonomy = taxonomy.drop_duplicates("primary_label").set_index("primary_label")
        for column in {"scientific_name", "common_name"} & set(taxonomy.columns):
            raw[column] = raw[column].mask(
                raw[column] == "", raw["label"].map(taxonomy[column]).fillna("")
            )
    return raw


def _species_names(raw: pd.DataFrame) -> dict[str, str]:
    """Label -> scientific name, for the labels that have one to themselves."""
    pairs = raw[raw["scientific_name"] != ""][["label", "scientific_name"]].drop_duplicates()
    unique = ~pairs["label"].duplicated(keep=False) & ~pairs["scientific_name"].duplicated(
        keep=False
    )
    return dict(pairs[unique].itertuples(index=False, name=None))


def _find(audio: Path, label: str, name: str) -> str:
    """Return where a row's audio should be: as ``filename`` says, bare ones by their label."""
    bare = "/" not in name and "\\" not in name
    if name and label and bare and not os.path.isfile(f"{audio}/{name}"):
        name = f"{label}/{name}"
    return name if name.startswith("/") else f"{audio.name}/{name}"
