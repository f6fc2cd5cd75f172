"""Live curves of a training, by accelerate's own trackers; nothing is written unless asked for."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from birdnb.files import BirdnbError, artifacts_dir

if TYPE_CHECKING:
    from accelerate import Accelerator

TRACKERS = ("tensorboard",)
VARIABLE = "BIRDNB_TRACKER"  # notebooks are processes of their own


def add_tracker(parser: Any) -> None:
    """Add the option ``--tracker`` to a parser or to a group of one."""
    parser.add_argument(
        "--tracker",
        type=_named,
        metavar="NAME",
        help=f"write live curves for {', '.join(TRACKERS)}; read them by: "
        "tensorboard --logdir artifacts/runs",
    )


def follow(name: str | None) -> None:
    """Let a tracker follow this process and its children, or raise BirdnbError: not installed."""
    if name is None:
        return
    if not importlib.util.find_spec(name):
        raise BirdnbError(f"--tracker {name}: not installed, pip install 'birdnb[tracker]'")
    os.environ[VARIABLE] = name
    print(f"live curves: tensorboard --logdir {artifacts_dir() / 'runs'}")


@contextlib.contextmanager
def followed(accelerator: Accelerator, folder: Path) -> Iterator[None]:
    """Write what ``accelerator.log`` is told within the block into a run's folder, if asked to."""
    if name := os.environ.get(VARIABLE):
        accelerator.log_with = [name]
        accelerator.project_configuration.logging_dir = str(folder.parent)
        accelerator.init_trackers(folder.name)
    try:
        yield
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()
        accelerator.trackers = []


def _named(text: str) -> str:
    if text not in TRACKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is no tracker: choose {', '.join(TRACKERS)}")
    return text
