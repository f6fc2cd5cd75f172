"""The command ``python -m birdnb.field RUN SOUND... --out FOLDER``."""

import argparse
import math
import sys
import time
from collections.abc import Sequence

import pandas as pd

from birdnb.command import add_shared, called, command, number, positive
from birdnb.field.detect import RANKED
from birdnb.field.evaluate import MEASURES
from birdnb.field.judge import Judgement, described, judge, truth_before
from birdnb.field.listener import Listener
from birdnb.field.outing import go_out
from birdnb.field.page import write_page
from birdnb.field.promise import Promises
from birdnb.field.scores import Heard
from birdnb.field.truth import annotation_files, read_annotations
from birdnb.files import user_path

PAGE = "FIELD.html"


@command("interrupted: what was heard is kept, and the same command goes on from here")
def main(argv: Sequence[str] | None = None) -> int:
    """Listen from the shell; 0 when all was heard, 1 when some recordings could not be read."""
    args = make_parser().parse_args(argv)
    out, began = user_path(args.out), time.perf_counter()
    if args.truth:  # what cannot be understood is told before the hours of listening
        for file in annotation_files(args.truth):
            read_annotations(file)
    outing = go_out(
        args.run, args.sound, out, args.precision, args.step,
        jobs=args.jobs, dask=args.dask, ranked=args.ranked,
    )  # fmt: skip
    minutes = (time.perf_counter() - began) / 60
    heard, listener = outing.heard, outing.listener
    write_page(
        out / PAGE, heard, outing.detections, listener, outing.promises, outing.step, args.gallery
    )
    _tell(heard, len(outing.detections), outing.promises, listener, minutes)
    if args.truth:
        _tell_truth(judge(outing, args.truth, out))
    elif before := truth_before(out):
        print(f"truth.csv is of an earlier call, about {described(before)}", file=sys.stderr)
    print(out / PAGE)
    return 1 if any(one.reason for one in heard) else 0


def _tell(
    heard: Sequence[Heard], rows: int, promises: Promises, listener: Listener, minutes: float
) -> None:
    """Print what was heard, and on stderr what was not or only in part."""
    for one in heard:
        for what in filter(None, (one.reason, one.note, _fault(one.clock))):
            print(f"{one.recording}: {what}", file=sys.stderr)
    hours = sum(one.seconds for one in heard) / 3600
    read = sum(not one.reason for one in heard)
    promised = sum(promises.of(label).threshold is not None for label in listener.labels)
    print(
        f"{rows} detections in {hours:.2f} hours of {read} recordings ({len(heard) - read} could "
        f"not be read), {minutes:.1f} minutes; a precision is promised for {promised} of "
        f"{len(listener.labels)} species"
    )
    if listener.engine:
        print(f"networks are computed by {listener.engine}")


def _tell_truth(found: Judgement) -> None:
    """Print what annotations say: the whole in a line, the drop from focal recordings, notes."""
    whole = found.table.iloc[-1]
    said = [f"{name.replace('_', ' ')} {whole[name]:.3f}" for name in MEASURES
            if pd.notna(whole[name])]  # fmt: skip
    if whole["promised"] is not None:
        ends = "" if pd.isna(whole["precision_low"]) else (
            f" ({whole['precision_low']:.2f} to {whole['precision_high']:.2f})")  # fmt: skip
        said.append(f"a precision of {whole['promised']:g} was promised: {whole['verdict']}{ends}")
    print(f"against annotations: {', '.join(said) or 'nothing can be measured'}")
    for row in found.drop.dropna().itertuples():
        print(f"  {row.measure.replace('_', ' ')}: {row.focal:.3f} on focal test recordings, "
              f"{row.field:.3f} here")  # fmt: skip
    for note in found.notes:
        print(f"  {note}")


def _fault(clock: str) -> str:
    return clock if "clock" in clock else ""


STEP = number(float, 0.1, 3600, said="is no step: give 0.1 to 3600 seconds")
SHARE = number(
    float, math.nextafter(0, 1), math.nextafter(1, 0), said="is not between 0 and 1, such as 0.9"
)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(
        prog=called("python -m birdnb.field"),
        description="Let a trained run listen to hours of sound. Writes detections.csv and "
        f".parquet, selection tables for Raven, labels for Audacity, and {PAGE}, which stands "
        "alone. Recordings that were heard already are not heard again; a killed run goes on.",
        epilog="example: python -m birdnb.field phase3_ast_full recorder/2023-05 --out dawn",
    )
    add = parser.add_argument
    # fmt: off
    add("run", metavar="RUN",
        help="folder of a run, or its name: phase3_ensemble, demo-laptop/...")
    add("sound", metavar="SOUND", nargs="+", help="sound files, or folders of them")
    add("--out", metavar="FOLDER", required=True, help="where results go")
    add("--step", type=STEP, metavar="S", help="seconds between windows (default: half a clip)")
    add("--precision", type=SHARE, default=0.9, metavar="P",
        help="to be promised for each species where validation allows it (default 0.9)")
    add("--ranked", type=positive, default=RANKED, metavar="N",
        help=f"detections kept of a species without a promise, the surest (default {RANKED})")
    add("--gallery", type=positive, default=3, metavar="N",
        help="surest and least sure detections of each species on the page (default 3)")
    add("--jobs", type=positive, metavar="N",
        help="worker processes (default: one a core; one recording, or a GPU: this process)")
    add_shared(parser, "--dask")
    add("--truth", metavar="PATH", help="annotations to hold it against (Raven, Audacity or CSV; a "
        "file or a folder): precision, recall, average precision and AUROC into truth.csv")
    # fmt: on
    return parser


if __name__ == "__main__":
    sys.exit(main())
