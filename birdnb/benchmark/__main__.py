"""Measure how fast it is here: extraction, training and start, beside the plain way of each."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from birdnb.benchmark.machine import described, machine
from birdnb.benchmark.rows import Row
from birdnb.command import called, command, number
from birdnb.files import user_path, write_json, write_text

PARTS = ("extract", "train", "load", "field", "growth", "predict")
MODULES = {
    "train": "training", "load": "start", "field": "field", "growth": "growth",
    "predict": "prediction",
}  # fmt: skip
STUDY = "study"  # no part of "all": it takes as long as a study does


def measure(part: str, corpus: str) -> list[Row]:
    """Measure one part and return its rows; "extract" is that of a corpus."""
    if part == "extract":
        from birdnb.benchmark import extraction

        return extraction.rows(corpus)
    return importlib.import_module(f"birdnb.benchmark.{MODULES[part]}").rows()


def table(found: dict[str, list[Row]], about: dict[str, Any]) -> str:
    """Return all rows as text, the machine below them."""
    return f"{_cells(found).to_string(index=False, justify='left')}\n\n{described(about)}"


def page(found: dict[str, list[Row]], about: dict[str, Any]) -> str:
    """Return the same as Markdown."""
    from birdnb.report.tables import pipe_table

    return (
        "# How fast is it?\n\nWritten by `python -m birdnb.benchmark`: each side in turn, in one "
        "run, best of three. "
        "Targets are for the ratio where there is one.\n\n"
        f"{pipe_table(_cells(found))}\n\n{described(about)}.\n"
    )


def _cells(found: dict[str, list[Row]]) -> Any:
    """Return what both say, a row a figure (pandas)."""
    import pandas as pd

    from birdnb.report.words import NONE

    return pd.DataFrame([{
        "what": row.what, "birdnb": f"{_number(row.birdnb)} {row.unit}".strip(),
        "beside": NONE if row.other is None else f"{_number(row.other)} ({row.other_is})",
        "ratio": NONE if row.ratio is None else f"{row.ratio:.2f}", "target": row.target or NONE,
        "reached": {None: NONE, True: "yes", False: "**no**"}[row.met],
    } for part in found.values() for row in part])  # fmt: skip


@command("interrupted: what was measured last is not written, the same command measures again")
def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table and write the JSON; 0 done, 2 an error, 130 interrupted."""
    parser = make_parser()
    args = parser.parse_args(argv)
    others = () if args.part == STUDY else ("profile", "species", "recordings", "minutes")
    for name in (*others, *(() if args.part in ("extract", "all") else ("corpus",))):
        if getattr(args, name) != parser.get_default(name):
            parser.error(f"--{name} changes nothing of the part {args.part}")
    if args.part == STUDY:
        if args.profile.endswith((".yaml", ".yml")):
            parser.error(f"--profile {args.profile}: give one that comes with birdnb")
        return _study(args)
    parts = PARTS if args.part == "all" else (args.part,)
    found, about = {part: measure(part, args.corpus) for part in parts}, machine()
    print(table(found, about))
    write(found, about, args.markdown, args.json)
    return 0


def write(
    found: dict[str, list[Row]], about: dict[str, Any], markdown: Path | None, json: Path | None
) -> None:
    """Write the rows of each part as a page and as JSON, where a file is given."""
    if markdown:
        write_text(markdown, page(found, about))
    if json:
        rows = {
            part: [asdict(row) | {"met": row.met} for row in rows] for part, rows in found.items()
        }
        write_json(json, {"machine": about} | rows)


def _study(args: argparse.Namespace) -> int:
    """Run the study stage by stage, writing after each; return 1 when one failed, else 0."""
    from birdnb.benchmark.stages_page import as_json, stages_page
    from birdnb.benchmark.study import Size, stages

    size = Size(args.profile, args.species, args.recordings, args.minutes)
    done, about = [], machine()
    for stage in stages(size):
        done.append(stage)
        print(stage.line, flush=True)
        if args.markdown:
            write_text(args.markdown, stages_page(done, size, about))
        if args.json:
            write_json(args.json, as_json(done, size, about))
    print(f"\n{stages_page(done, size, about)}")
    return int(any(stage.note.startswith("failed") for stage in done))


EACH = number(int, 3, said="is too few: give 3 or more, one for each side of a split")
MINUTES = number(float, 0.01, 1e6, said="is no number of minutes: give more than 0")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=called("python -m birdnb.benchmark"),
        description="Measure on this machine, in alternation with the plain way: extraction, also "
        "beside decoding alone; a training step of AST beside one padded to 1,024 frames (on a GPU "
        "the whole training loop, too); the start from finished caches of 1,000 to 100,000 "
        "recordings; hours of sound that a trained run hears a minute, beside BirdNET; how "
        "opening, splitting, auditing, evaluating and reporting grow; prediction. The part "
        "study runs a whole study on a synthesised corpus of the real size, "
        "stage by stage.",
    )
    # fmt: off
    add = parser.add_argument
    add("part", nargs="?", default="all", choices=[*PARTS, STUDY, "all"],
        help="what to measure (default: all, which is all but study)")
    add("--corpus", default="demo",
        help="recordings to extract: demo (the default) or a folder; its MP3 and OGG files count")
    add("--markdown", type=user_path, metavar="FILE", help="write the table there as a page, too")
    add("--json", type=user_path, metavar="FILE", help="write the figures there, too")
    add = parser.add_argument_group("study", "its corpus, and how long it may take").add_argument
    add("--profile", default="laptop",
        help="laptop (the default) or another that comes with birdnb")
    add("--species", type=EACH, default=90, metavar="N", help="default: 90")
    add("--recordings", type=EACH, default=123, metavar="N",
        help="of each species (default: 123, which makes 11,070 of 90)")
    add("--minutes", type=MINUTES, metavar="M",
        help="cut epochs short so that all takes about so long; the table says what all would take")
    # fmt: on
    return parser


def _number(value: float) -> str:
    """Write a figure to three digits, without an exponent: a start may take 0.0000953 s."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return np.format_float_positional(value, precision=3, unique=False, fractional=False, trim="-")


if __name__ == "__main__":
    sys.exit(main())
