"""One notebook through papermill: never in place, its log beside it, what failed in one line."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from birdnb.files import BirdnbError


def execute(book: Path, target: Path, parameters: dict[str, Any], log: Path) -> str | None:
    """Execute ``book`` into ``target`` by papermill; return what went wrong in one line, or None.

    ``log`` gets what the notebook and its kernel print and, at its end, the traceback of what went
    wrong; progress bars go to the terminal, too, where there is one. Raises BirdnbError when
    neither can be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        return _execute(book, target, parameters, log)
    except OSError as error:
        remedy = "free some space, or set BIRDNB_REPORTS to a folder that can be written"
        raise BirdnbError(
            f"cannot write {error.filename or target.parent} ({error.strerror}): {remedy}"
        ) from error


def _execute(book: Path, target: Path, parameters: dict[str, Any], log: Path) -> str | None:
    import nbclient.exceptions
    import papermill

    os.environ |= {"BIRDNB_HEADLESS": "1", "TQDM_MININTERVAL": "1"}
    bar = {"desc": book.stem, "leave": False, "disable": not sys.stderr.isatty()}
    try:
        with open(log, "w", encoding="utf-8") as lines, _stderr_into(lines) as terminal:
            papermill.execute_notebook(
                book, target, parameters, kernel_name="python3", cwd=str(book.parent),
                progress_bar=bar | {"file": terminal},
                stdout_file=lines, stderr_file=_Tee(lines, terminal),
            )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        _append(log, "\n".join(error.traceback))
        what = error.evalue if error.ename == "BirdnbError" else f"{error.ename}: {error.evalue}"
        return f"cell {error.exec_count}: {what}"
    except nbclient.exceptions.DeadKernelError as error:
        _append(log, str(error))
        return "the kernel died, most often for want of memory: close other programs, or lower batch_size"
    return None


def _append(log: Path, text: str) -> None:
    """Write at the end of the log, without the colours of a terminal."""
    with open(log, "a", encoding="utf-8") as lines:
        lines.write("\n" + re.sub(r"\x1b\[[0-9;]*m", "", text).strip() + "\n")


@contextlib.contextmanager
def _stderr_into(log: TextIO) -> Iterator[TextIO]:
    """Send what libraries and kernels write to file descriptor 2 into the log; gives the real
    stderr.
    """
    sys.stderr.flush()
    with os.fdopen(os.dup(2), "w") as terminal:
        os.dup2(log.fileno(), 2)
        try:
            yield terminal
        finally:
            os.dup2(terminal.fileno(), 2)


class _Tee:
    """Progress bars of a headless notebook: to its log, and to the terminal where there is one."""

    def __init__(self, log: TextIO, terminal: TextIO) -> None:
        self.outputs = [log, terminal] if terminal.isatty() else [log]

    def write(self, text: str) -> None:
        for output in self.outputs:
            output.write(text)
            output.flush()

    def flush(self) -> None:
        """Nothing to do: every write is flushed."""


def tidy(book: dict[str, Any]) -> dict[str, Any]:
    """Drop what makes an executed notebook noisy: progress bars on stderr and papermill's own
    metadata.
    """
    book["metadata"].pop("papermill", None)
    book["metadata"].pop("widgets", None)
    for cell in book["cells"]:
        cell["metadata"] = {
            key: cell["metadata"][key] for key in ("tags",) if cell["metadata"].get(key)
        }
        if cell["cell_type"] == "code":
            cell["outputs"] = [out for out in cell["outputs"] if out.get("name") != "stderr"]
    return book
