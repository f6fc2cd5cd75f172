"""The cache's memory: one line of JSON for each recording that was looked at, whether it was kept
or refused.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from birdnb.files import BirdnbError, write_text

_encode = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True)
class Record:
    """What became of a recording: the source file as it was, and its spectrograms or the reason it
    was refused.
    """

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
    checksum: int = 0  # of the data of <recording_id>.npy
    noise_checksum: int | None = (
        None  # of noise/<recording_id>.npy; None when the recording has no silence
    )
    without_ffmpeg: bool = False  # it could not be decoded, and no ffmpeg was there that might have

    @property
    def worth_another_try(self) -> bool:
        """Whether a recording that was refused may be usable now although its file is the same."""
        return self.reason.startswith("cannot be opened") or (self.without_ffmpeg and has_ffmpeg())


def has_ffmpeg() -> bool:
    """Whether ffmpeg can be found, which decodes what libsndfile does not know."""
    return shutil.which("ffmpeg") is not None


def read_ledger(path: Path) -> dict[str, Record]:
    """Records by recording_id; a later line replaces an earlier one.

    A line cut short by a killed process does not count: its recording is simply looked at again.
    """
    if not path.is_file():
        return {}
    records = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        record = _parse(line)
        if record is not None:
            records[record.recording_id] = record
    return records


def write_ledger(path: Path, records: Iterable[Record]) -> None:
    """Write the ledger anew, atomically, unless it says the same already."""
    text = "".join(_line(record) for record in records)
    if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
        write_text(path, text)


class Ledger:
    """Appends records line by line as they are made; use as a context manager. Raises BirdnbError
    when it cannot write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Ledger:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "ab", buffering=0)
        except OSError as error:
            raise self._error(error) from error
        self._write("\n")  # ends a line that a killed process has left open
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, record: Record) -> None:
        """Append a record; a single write, so that two processes do not mix their lines."""
        self._write(_line(record))

    def _write(self, text: str) -> None:
        data = text.encode()
        try:
            written = self._file.write(data)
        except OSError as error:
            raise self._error(error) from error
        if written != len(data):
            raise BirdnbError(
                f"no space left on the disk while writing {self.path}: free some space and run "
                f"again"
            )

    def _error(self, error: OSError) -> BirdnbError:
        return BirdnbError(
            f"may not write {self.path} ({error.strerror}): free some space, or set "
            f"BIRDNB_ARTIFACTS to another folder"
        )


def _line(record: Record) -> str:
    return _encode(vars(record)) + "\n"


def _parse(line: str) -> Record | None:
    try:
        values = json.loads(line)
        return Record(**{**values, "starts": tuple(values["starts"])})
    except (ValueError, TypeError, KeyError):
        return None
