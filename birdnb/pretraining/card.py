"""Render the model card beside a checkpoint: what it is, how it was made, what it is for."""

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

import torch

from birdnb import __version__
from birdnb.config import SIZES
from birdnb.files import sha256_of
from birdnb.report.words import templates
from birdnb.training.devices import device_name
from birdnb.training.runs import git_commit

PACKAGES = ("torch", "transformers", "timm", "numpy", "scipy")


def model_card(weights: Path, *, device: torch.device, **facts: Any) -> str:
    """Render Markdown about the weights in a file; the template must find all its ``facts``."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return templates(Path(__file__).parent).get_template("model_card.md.j2").render(
        name=weights.name, megabytes=weights.stat().st_size / 1e6, sha256=sha256_of(weights),
        sizes=SIZES, machine=machine(device),
        versions={"birdnb": __version__, "commit": git_commit() or "unknown",
        "python": platform.python_version()} | versions,
        **facts,
    ) + "\n"  # fmt: skip


def machine(device: torch.device) -> str:
    """Return processor, cores and the GPU if used: nothing that tells whose machine it is."""
    text = f"{processor()}, {cores()} core{'s' if cores() > 1 else ''}"
    return text if device.type == "cpu" else f"{device_name(device)}; {text}"


def processor() -> str:
    """Return the processor's name as the system knows it."""
    info = Path("/proc/cpuinfo")
    said = info.read_text(encoding="utf-8") if info.is_file() else ""
    named = re.search(r"model name\s*:\s*(.+)", said)
    return named[1].strip() if named else platform.processor() or platform.machine()


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
