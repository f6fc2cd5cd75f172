"""BirdSet (Hugging Face, https://doi.org/10.48550/arXiv.2403.10380): parquet tables with the audio
inside or beside them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from birdnb.config import key_of
from birdnb.corpora.folders import Source
from birdnb.corpora.sniff import AUDIO_SUFFIXES
from birdnb.corpora.table import audio_files, left_out_rows, make_ids, unlisted
from birdnb.files import BirdnbError, artifacts_dir, atomic_path, safe_name

FIELDS = [
    "ebird_code",
    "ebird_code_secondary",
    "filepath",
    "recordist",
    "license",
    "source",
    "quality",
    "lat",
    "long",
    "local_time",
]
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def is_birdset(root: Path) -> bool:
    """Tell whether there is a parquet file with labels as BirdSet calls them."""
    return any("ebird_code" in _schema(path).names for path in _parquet_files(root))


def read_birdset(root: Path, progress: bool = True) -> Source:
    """Read BirdSet's focal recordings.

    ::

        HSN/
          train-00000-of-00012.parquet     audio {bytes, path}, filepath, ebird_code, recordist,
          license, quality, ... test-00000-of-00001.parquet      soundscapes: not used, and reported
          XC123.ogg                        only where the audio is not inside the table (audio.path
          or filepath names it)

    Audio inside the table is written once to ``artifacts/corpora/<folder>-birdset-<key>/audio``
    (resumable), which then is the corpus's folder. The label is the eBird code: numbers are looked
    up in the class names of the schema. Only files called ``train*`` are used when there are any.
    The locality is "latitude, longitude"; BirdSet's focal recordings have no date, so a recordist
    is one session. Rows without label or audio are reported.
    """
    files = [path for path in _parquet_files(root) if "ebird_code" in _schema(path).names]
    used = [path for path in files if path.name.startswith("train")] or files
    left = [
        ("", path.relative_to(root).as_posix(), "", "not BirdSet's training part")
        for path in files
        if path not in used
    ]
    rows = [row for path in used for row in _metadata(path)]
    if not any(_holds_audio(path) for path in used):
        table = _table(rows, _beside(rows, root))
        return Source(
            root,
            table,
            pd.concat([left_out_rows(left), unlisted(table, root, root)], ignore_index=True),
        )
    names = make_ids([f"{row['parquet']}/{row['row']}/{_name(row)}" for row in rows])
    table = _table(
        rows, [f"audio/{name}{_suffix(row)}" for name, row in zip(names, rows, strict=True)]
    )
    folder = _import_folder(root, used)
    _export(used, list(table["path"].where(table["species"] != "", "")), folder, progress)
    return Source(folder, table, left_out_rows(left))


def _parquet_files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.parquet") if not path.name.startswith("."))


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise BirdnbError(
            f"{path} is not a readable parquet file ({error}): fetch it again"
        ) from error


def _metadata(path: Path) -> list[dict[str, Any]]:
    """Rows of a parquet file without the sound, each with its label as text, the file's name and
    the row's number.
    """
    schema = _schema(path)
    has_audio = "audio" in schema.names and pa.types.is_struct(schema.field("audio").type)
    columns = [name for name in FIELDS if name in schema.names] + ["audio.path"] * has_audio
    rows = (
        pq.ParquetFile(path).read(columns=columns).to_pylist()
    )  # pq.read_table would flatten audio.path
    names = _class_names(schema)
    for number, row in enumerate(rows):
        code = row.get("ebird_code")
        row["label"] = (
            names[code] if isinstance(code, int) and 0 <= code < len(names) else _text(code)
        )
        row.update(parquet=path.name, row=number)
    return rows


def _class_names(schema: pa.Schema) -> list[str]:
    """Names behind the numbers of ebird_code, from the schema's Hugging Face metadata."""
    info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    feature = info.get("info", {}).get("features", {}).get("ebird_code", {})
    return list(feature.get("names") or [])


def _table(rows: list[dict[str, Any]], paths: list[str]) -> pd.DataFrame:
    """Manifest columns of the rows; the recording id comes from the file's name."""
    columns: dict[str, list[str]] = {
        "recording_id": make_ids(paths),
        "path": paths,
        "species": [row["label"] for row in rows],
        "date": [
            match[0] if (match := DATE.match(_text(row.get("local_time")))) else "" for row in rows
        ],
        "locality": [
            f"{row['lat']}, {row['long']}" if row.get("lat") and row.get("long") else ""
            for row in rows
        ],
        "background_species": [
            "; ".join(map(_text, row.get("ebird_code_secondary") or [])) for row in rows
        ],
    }
    for column, field in (
        ("recordist", "recordist"),
        ("license", "license"),
        ("url", "source"),
        ("quality", "quality"),
    ):
        columns[column] = [_text(row.get(field)) for row in rows]
    return pd.DataFrame(columns, dtype=str)


def _name(row: dict[str, Any]) -> str:
    """Name of the row's audio file as the table gives it ("" when it gives none)."""
    return _text((row.get("audio") or {}).get("path")) or _text(row.get("filepath"))


def _suffix(row: dict[str, Any]) -> str:
    suffix = PurePosixPath(_name(row)).suffix.lower()
    return suffix if suffix in AUDIO_SUFFIXES else ".ogg"  # BirdSet's own are Ogg


def _beside(rows: list[dict[str, Any]], root: Path) -> list[str]:
    """Paths relative to the corpus of audio that lies beside the tables, found as named or else by
    the bare file name.
    """
    by_name = {PurePosixPath(path).name: path for path in reversed(audio_files(root, root))}
    names = [_name(row) for row in rows]
    return [by_name.get(PurePosixPath(name).name,
            name) if not (root / name).is_file() or name.startswith("/") else name
            for name in names]  # fmt: skip


def _holds_audio(path: Path) -> bool:
    """Tell from the first rows whether the sound is in the table."""
    schema = _schema(path)
    if "audio" not in schema.names or "bytes" not in {
        field.name for field in _fields(schema.field("audio").type)
    }:
        return False
    first = next(pq.ParquetFile(path).iter_batches(batch_size=4, columns=["audio.bytes"]), None)
    return first is not None and any(
        (audio or {}).get("bytes") for audio in first.column(0).to_pylist()
    )


def _fields(kind: pa.DataType) -> list[pa.Field]:
    return (
        [kind.field(number) for number in range(kind.num_fields)]
        if pa.types.is_struct(kind)
        else []
    )


def _import_folder(root: Path, files: list[Path]) -> Path:
    """Folder for the audio of exactly these tables; another version of them gets another folder."""
    facts = [
        (path.relative_to(root).as_posix(), path.stat().st_size, path.stat().st_mtime_ns)
        for path in files
    ]
    return (
        artifacts_dir()
        / "corpora"
        / f"{safe_name(root.resolve().name)}-birdset-{key_of(str(root.resolve()), facts)}"
    )


def _export(files: list[Path], paths: list[str], folder: Path, progress: bool) -> None:
    """Write the sound of every row out to its path ("" for none), a row group at a time, leaving
    alone what is there.
    """
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    start = 0
    with tqdm(
        total=len(paths), desc="BirdSet: writing audio", disable=None if progress else True
    ) as bar:
        for parquet in map(pq.ParquetFile, files):
            for number in range(parquet.num_row_groups):
                size = parquet.metadata.row_group(number).num_rows
                wanted = [
                    path if path and not (folder / path).is_file() else ""
                    for path in paths[start : start + size]
                ]
                if any(wanted):
                    _export_group(parquet, number, wanted, folder)
                start += size
                bar.update(size)


def _export_group(parquet: pq.ParquetFile, number: int, wanted: list[str], folder: Path) -> None:
    sounds = parquet.read_row_group(number, columns=["audio.bytes"]).column(0)
    for path, sound in zip(wanted, sounds, strict=True):
        content = (sound.as_py() or {}).get("bytes")
        if path and content:
            with atomic_path(folder / path) as temporary:
                temporary.write_bytes(content)


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
