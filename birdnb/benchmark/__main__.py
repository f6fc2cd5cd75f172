"""Measure how fast it is here: extraction, training and start, beside the plain way of each."""

from __future__ import annotations

import argparse
import datetime
import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from birdnb import __version__
from birdnb.benchmark.rows import Row
from birdnb.command import called, command
from birdnb.files import write_json, write_text

PARTS = ("extract", "train", "load")
PACKAGES = ("torch", "transformers", "librosa", "soundfile", "numpy", "scipy")


def measure(part: str, corpus: str) -> list[Row]:
    """Measure one part and return its rows: "extract" (of a corpus), "train" or "load"."""
    if part == "extract":
        from birdnb.benchmark import extraction

        return extraction.rows(corpus)
    module = importlib.import_module(
        f"birdnb.benchmark.{'training' if part == 'train' else 'start'}"
    )
    return module.rows()


def machine() -> dict[str, Any]:
    """Return what it was measured on and with: processor, cores, GPU, date, versions."""
    import joblib
    import torch

    return {
        "processor": _processor(), "cores": joblib.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "date": datetime.date.today().isoformat(),
        "versions": {"birdnb": __version__, "python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
    }  # fmt: skip


def table(found: dict[str, list[Row]], about: dict[str, Any]) -> str:
    """Return all rows as text, the machine below them."""
    lines = [("", "birdnb", "compared with", "", "ratio", "target", "")]
    for part in found.values():
        for row in part:
            met = {None: "", True: "reached", False: "MISSED"}[row.met]
            other = "" if row.other is None else _number(row.other)
            ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
            lines.append(
                (
                    row.what,
                    f"{_number(row.birdnb)} {row.unit}",
                    other,
                    row.other_is,
                    ratio,
                    row.target,
                    met,
                )
            )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    gpu = about["gpu"] or "no GPU"
    return "\n".join(
        [
            *text,
            "",
            f"{about['processor']}, {about['cores']} cores, {gpu}; {about['date']}; {versions}",
        ]
    )


def page(found: dict[str, list[Row]], about: dict[str, Any]) -> str:
    """Return the same as Markdown."""
    import pandas as pd

    from birdnb.report.tables import pipe_table
    from birdnb.report.words import NONE

    lines = [
        {
            "what": row.what, "birdnb": f"{_number(row.birdnb)} {row.unit}".strip(),
            "beside": NONE if row.other is None else f"{_number(row.other)} ({row.other_is})",
            "ratio": NONE if row.ratio is None else f"{row.ratio:.2f}",
            "target": row.target or NONE,
            "reached": {None: NONE, True: "yes", False: "**no**"}[row.met],
        }
        for part in found.values() for row in part
    ]  # fmt: skip
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        "# How fast is it?\n\nWritten by `python -m birdnb.benchmark`: each side in turn, in one "
        "run, best of three. "
        "Targets are for the ratio where there is one.\n\n"
        f"{pipe_table(pd.DataFrame(lines))}\n\n{about['processor']}, {about['cores']} cores, "
        f"{about['gpu'] or 'no GPU'}; "
        f"{about['date']}; {versions}.\n"
    )


@command("interrupted: nothing was written, the same command measures again")
def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table and write the JSON; 0 done, 2 an error, 130 interrupted."""
    args = make_parser().parse_args(argv)
    parts = PARTS if args.part == "all" else (args.part,)
    found, about = {part: measure(part, args.corpus) for part in parts}, machine()
    print(table(found, about))
    if args.markdown:
        write_text(args.markdown, page(found, about))
    if args.json:
        rows = {
            part: [asdict(row) | {"met": row.met} for row in rows] for part, rows in found.items()
        }
        write_json(args.json, {"machine": about} | rows)
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=called("python -m birdnb.benchmark"),
        description="Measure on this machine, in alternation with the plain way: extraction, also "
        "beside decoding alone; a training step of AST beside one padded to 1,024 frames (on a GPU "
        "the whole training loop, too); the start from finished caches of 1,000 to 100,000 "
        "recordings.",
    )
    parser.add_argument(
        "part",
        nargs="?",
        default="all",
        choices=[*PARTS, "all"],
        help="what to measure (default: all)",
    )
    parser.add_argument(
        "--corpus",
        default="demo",
        help="recordings to extract: demo (the default) or a folder; its MP3 and OGG files count",
    )
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the table there as a page, too"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser


def _processor() -> str:
    """Return the processor's name as the system knows it."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _number(value: float) -> str:
    """Write a figure to three digits, without an exponent: a start may take 0.0000953 s."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return np.format_float_positional(value, precision=3, unique=False, fractional=False, trim="-")


if __name__ == "__main__":
    sys.exit(main())
