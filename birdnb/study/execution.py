"""One notebook through papermill: never in place, its log beside it, what failed in one line."""

import contextlib
import logging
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from birdnb.files import writing


def execute(
    book: Path, target: Path, parameters: dict[str, Any], log: Path,
    environment: dict[str, str] | None = None,
) -> str | None:  # fmt: skip
    """Execute ``book`` into ``target`` by papermill; return what went wrong in one line, or None.

    ``environment`` is added to that of this process. What the user's IPython does at its start is
    left out: a file there that fails or shows more must not change a study.
    ``log`` gets what the notebook and its kernel print and, at its end, the traceback of what went
    wrong; progress bars go to the terminal, too, where there is one. Raises BirdnbError when
    either cannot be written.
    """
    try:
        with writing(target), writing(log):
            target.parent.mkdir(parents=True, exist_ok=True)
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text("", encoding="utf-8")
            with tempfile.TemporaryDirectory(
                prefix="birdnb-", ignore_cleanup_errors=True
            ) as ipython:
                variables = {"IPYTHONDIR": ipython} | (environment or {})
                kernel = {"log_file": str(log), "environment": variables}
                return _execute(book, target, parameters, log, kernel)
    except OSError as error:
        _append(log, traceback.format_exc())
        return f"{type(error).__name__}: {error}"


def _execute(
    book: Path, target: Path, parameters: dict[str, Any], log: Path, kernel: dict[str, Any]
) -> str | None:
    import nbclient.exceptions
    import nbformat
    import papermill
    from traitlets.config import Config

    from birdnb.study.kernel import StudyKernel

    bar = {"desc": book.stem, "leave": False, "disable": not sys.stderr.isatty()}
    try:
        with _open(log) as lines, _logging_into(lines):
            papermill.execute_notebook(
                nbformat.read(book, as_version=4), as_template(target), parameters,
                kernel_name="python3", cwd=str(book.parent), progress_bar=bar,
                stdout_file=lines, stderr_file=_Tee(lines, sys.stderr),
                kernel_manager_class=StudyKernel, config=Config(StudyKernel=kernel),
            )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        _append(log, "\n".join(error.traceback))
        what = error.evalue if error.ename == "BirdnbError" else f"{error.ename}: {error.evalue}"
        return f"cell {error.exec_count}: {what}"
    except nbclient.exceptions.DeadKernelError as error:
        _append(log, str(error))
        return (
            "the kernel died, most often for want of memory: close other programs, or lower "
            "batch_size"
        )
    except RuntimeError as error:  # nbclient's for a kernel that gives no sign of life
        _append(log, traceback.format_exc())
        return f"no kernel: {error}"
    return None


def as_template(path: Path) -> str:
    """Return a path as papermill wants it, which fills in parameters between braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _open(log: Path) -> TextIO:
    """Open the log to write at its end, as the kernel does, too."""
    return open(log, "a", encoding="utf-8", errors="backslashreplace")


def _append(log: Path, text: str) -> None:
    """Write at the end of the log, without the colours of a terminal."""
    with _open(log) as lines:
        lines.write("\n" + re.sub(r"\x1b\[[0-9;]*m", "", text).strip() + "\n")


@contextlib.contextmanager
def _logging_into(lines: TextIO) -> Iterator[None]:
    """Send what libraries of this process log or warn of into the log meanwhile."""
    handler = logging.StreamHandler(lines)
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(handler)


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
    """Drop what makes an executed notebook noisy: progress bars and papermill's own metadata."""
    book["metadata"].pop("papermill", None)
    book["metadata"].pop("widgets", None)
    for cell in book["cells"]:
        cell["metadata"] = {
            key: cell["metadata"][key] for key in ("tags",) if cell["metadata"].get(key)
        }
        if cell["cell_type"] == "code":
            cell["outputs"] = [out for out in cell["outputs"] if out.get("name") != "stderr"]
    return book
