"""BirdSet (https://doi.org/10.48550/arXiv.2403.10380): parquet tables, audio inside or beside."""

import itertools
import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from birdnb.config import key_of
from birdnb.corpora.folders import Source
from birdnb.corpora.sniff import AUDIO_SUFFIXES
from birdnb.corpora.table import audio_files, left_out_rows, make_ids, unlisted
from birdnb.corpora.walking import files_under
from birdnb.files import BirdnbError, artifacts_dir, atomic_path, safe_name

FIELDS = [
    "ebird_code", "ebird_code_secondary", "filepath", "recordist", "license", "source", "quality",
    "lat", "long", "local_time",
]  # fmt: skip
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def is_birdset(root: Path) -> bool:
    """Tell whether a parquet file has labels as BirdSet calls them, and audio in it or beside it.

    True as well where broken parquet files are all there is: reading them then says so.
    """
    files = _parquet_files(root)
    if not files:
        return False
    schemas = [_schema(path) for path in files]
    audio = {PurePosixPath(path).name for path in audio_files(root, root)}
    if not audio and None in schemas:
        return True
    ours = [path for path, schema in zip(files, schemas, strict=True) if _is_ours(schema)]
    return any(_holds_audio(path) for path in ours) or any(
        PurePosixPath(_name(row)).name in audio for path in ours for row in _metadata(path) or ()
    )


def read_birdset(root: Path, progress: bool = True) -> Source:
    """Read BirdSet's focal recordings.

    ::

        HSN/
          train-00000-of-00012.parquet     audio {bytes, path}, filepath, ebird_code, recordist, ...
          test-00000-of-00001.parquet      soundscapes: not used, and reported
          XC123.ogg                        only where the audio is not inside the table

    Audio inside the table is written once to ``artifacts/corpora/<folder>-birdset-<key>/audio``
    (resumable), which then is the corpus's folder. The label is the eBird code: numbers are looked
    up in the class names of the schema. Only files called ``train*`` are used when there are any.
    The locality is "latitude, longitude"; BirdSet's focal recordings have no date, so a recordist
    is one session. Rows without label or audio are reported.
    """
    used, left = _usable(root)
    tables = [_metadata(path) for path in used]
    rows = [row for table in tables for row in table or []]
    left += [_damaged(path, root) for path, rows in zip(used, tables, strict=True) if rows is None]
    used = [path for path, rows in zip(used, tables, strict=True) if rows is not None]
    if not used:
        raise BirdnbError(f"{root / left[0][1]}: {left[0][3]}")
    if not any(_holds_audio(path) for path in used):
        table = _table(rows, _beside(rows, root))
        rest = unlisted(table, root, root)
        return Source(root, table, pd.concat([left_out_rows(left), rest], ignore_index=True))
    names = make_ids([f"{row['parquet']}/{row['row']}/{_name(row)}" for row in rows])
    table = _table(
        rows, [f"audio/{name}{_suffix(row)}" for name, row in zip(names, rows, strict=True)]
    )
    folder = _import_folder(root, used)
    wanted = list(table["path"].where(table["species"] != "", ""))
    damaged = _export(used, wanted, folder, progress)
    left += [_damaged(path, root) for path in damaged]
    return Source(folder, table, left_out_rows(left))


def _usable(root: Path) -> tuple[list[Path], list[tuple[str, str, str, str]]]:
    """Return BirdSet's training tables, and a row for every other parquet file."""
    schemas = {path: _schema(path) for path in _parquet_files(root)}
    ours = [path for path, schema in schemas.items() if _is_ours(schema)]
    used = [path for path in ours if path.name.startswith("train")] or ours
    left = [_damaged(path, root) for path, schema in schemas.items() if schema is None]
    left += [
        ("", path.relative_to(root).as_posix(), "", reason)
        for path, schema in schemas.items()
        if schema is not None and path not in used
        for reason in [
            "not BirdSet's training part"
            if path in ours
            else "no table of BirdSet's: no ebird_code"
        ]
    ]
    return used, left


def _damaged(path: Path, root: Path) -> tuple[str, str, str, str]:
    reason = "not a readable parquet file: fetch it again"
    return ("", path.relative_to(root).as_posix(), "", reason)


def _parquet_files(root: Path) -> list[Path]:
    return [root / path for path in files_under(root, root) if path.endswith(".parquet")]


def _schema(path: Path) -> pa.Schema | None:
    """Read the columns of a parquet file; None when it cannot be read."""
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError):
        return None


def _is_ours(schema: pa.Schema | None) -> bool:
    return schema is not None and "ebird_code" in schema.names


def _metadata(path: Path) -> list[dict[str, Any]] | None:
    """Read the rows of a parquet file without the sound, each with its label as text."""
    try:
        schema = pq.read_schema(path)
        has_audio = "audio" in schema.names and pa.types.is_struct(schema.field("audio").type)
        columns = [name for name in FIELDS if name in schema.names] + ["audio.path"] * has_audio
        # pq.read_table would flatten audio.path
        rows = pq.ParquetFile(path).read(columns=columns).to_pylist()
    except (pa.ArrowException, OSError):
        return None
    names = _class_names(schema)
    for number, row in enumerate(rows):
        code = row.get("ebird_code")
        row["label"] = (
            names[code] if isinstance(code, int) and 0 <= code < len(names) else _text(code)
        )
        row.update(parquet=path.name, row=number)
    return rows


def _class_names(schema: pa.Schema) -> list[str]:
    """Return the names behind ebird_code's numbers, from the schema's Hugging Face metadata."""
    try:
        info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        return list(info["info"]["features"]["ebird_code"]["names"])
    except (ValueError, KeyError, TypeError):  # none, or of another kind
        return []


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
        ("latitude", "lat"),
        ("longitude", "long"),
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
    """Return the paths of audio beside the tables: as named, or else by the bare file name."""
    by_name = {PurePosixPath(path).name: path for path in reversed(audio_files(root, root))}
    names = [_name(row) for row in rows]
    return [by_name.get(PurePosixPath(name).name,
            name) if not (root / name).is_file() or name.startswith("/") else name
            for name in names]  # fmt: skip


def _holds_audio(path: Path) -> bool:
    """Tell from the first rows whether the sound is in the table."""
    schema = _schema(path)
    if schema is None or "audio" not in schema.names:
        return False
    kind = schema.field("audio").type
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    try:
        first = next(pq.ParquetFile(path).iter_batches(batch_size=4, columns=["audio.bytes"]), None)
    except (pa.ArrowException, OSError):
        return False
    sounds = [] if first is None else first.column(0).to_pylist()
    return any((audio or {}).get("bytes") for audio in sounds)


def _import_folder(root: Path, files: list[Path]) -> Path:
    """Folder for the audio of exactly these tables; another version of them gets another folder."""
    facts = [
        (path.relative_to(root).as_posix(), path.stat().st_size, path.stat().st_mtime_ns)
        for path in files
    ]
    root = root.resolve()
    name = f"{safe_name(root.name)}-birdset-{key_of(str(root), facts)}"
    return artifacts_dir() / "corpora" / name


def _export(files: list[Path], paths: list[str], folder: Path, progress: bool) -> list[Path]:
    """Write the sound of every row to its path, if any and not there; return the damaged files."""
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    rest, damaged = iter(paths), []
    bar = tqdm(total=len(paths), desc="BirdSet: writing audio", disable=None if progress else True)
    with bar:
        for path in files:
            parquet = pq.ParquetFile(path)
            for number in range(parquet.num_row_groups):
                group = list(itertools.islice(rest, parquet.metadata.row_group(number).num_rows))
                wanted = [name if name and not (folder / name).is_file() else "" for name in group]
                try:
                    if any(wanted):
                        _export_group(parquet, number, wanted, folder)
                except pa.ArrowException:
                    damaged.append(path)
                bar.update(len(group))
    return sorted(set(damaged))


def _export_group(parquet: pq.ParquetFile, number: int, wanted: list[str], folder: Path) -> None:
    sounds = parquet.read_row_group(number, columns=["audio.bytes"]).column(0)
    for path, sound in zip(wanted, sounds, strict=True):
        content = (sound.as_py() or {}).get("bytes")
        if path and content:
            with atomic_path(folder / path) as temporary:
                temporary.write_bytes(content)


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
