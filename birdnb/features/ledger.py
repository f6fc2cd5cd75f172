"""The cache's memory: a line of JSON for each recording that was looked at, kept or refused."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from birdnb.files import write_text, writing

NO_MEMORY = "short of memory"  # how the reason begins where there was too little
_encode = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True)
class Record:
    """What became of a recording: its source as it was, and its spectrograms or why it has none."""

    recording_id: str
    path: str  # of the source, relative to the corpus
    size: int = -1  # [bytes] of the source, -1 when it could not be seen
    modified: int = -1  # [ns] of the source
    sha256: str = ""  # of the source's bytes
    reason: str = ""  # why it was refused: "kind: details"; empty when it was kept
    starts: tuple[float, ...] = ()  # [s] of the windows, best first
    seconds: float = 0.0
    sample_rate: int = 0  # [Hz] of the source
    channels: int = 0
    channel: str = "mean"  # or the number of the one taken, where the channels cancel
    checksums: tuple[int, ...] = ()  # of <recording_id>.npy, of noise/<recording_id>.npy if any
    written: tuple[int, ...] = ()  # time [ns] and size [bytes] of each of these files

    @property
    def worth_another_try(self) -> bool:
        """Tell whether a refused recording may be usable now although its file is the same."""
        return self.reason.startswith(("cannot be opened", NO_MEMORY))


NAMES = [field.name for field in fields(Record)]


def read_ledger(path: Path) -> dict[str, Record]:
    """Return records by recording_id, the last line of each; a line cut short does not count."""
    if not path.is_file():
        return {}
    # a file name may hold one of the many other characters that splitlines takes for a line's end
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    records = [record for line in lines if (record := _parse(line))]
    return {record.recording_id: record for record in records}


def append_record(path: Path, record: Record) -> None:
    """Add a record in one write, as others write too, after a line end: a kill leaves none."""
    with writing(path), open(path, "ab") as file:
        file.write(f"\n{_line(record)}".encode())


def write_ledger(path: Path, records: Iterable[Record]) -> None:
    """Write the ledger anew, atomically; where nothing may be written it stays, only longer."""
    if not path.is_file() or os.access(path.parent, os.W_OK):
        write_text(path, "".join(map(_line, records)))


def _line(record: Record) -> str:
    return _encode(vars(record)) + "\n"


def _parse(line: str) -> Record | None:
    try:
        values = json.loads(line)
        for name in ("starts", "checksums", "written"):
            values[name] = tuple(values[name])
        return Record(**values)
    except (ValueError, TypeError, KeyError):
        return None
