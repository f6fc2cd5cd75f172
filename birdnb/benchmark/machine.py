"""What was measured on, and the peaks of its memory and the use of its card meanwhile."""

import contextlib
import datetime
import importlib.metadata
import platform
import shutil
import statistics
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from birdnb import __version__

PACKAGES = ("torch", "transformers", "librosa", "soundfile", "numpy", "scipy")
EVERY = 250  # [ms] between two looks at how busy the card is


def machine() -> dict[str, Any]:
    """Return what it was measured on and with: processor, cores, GPU, date, versions."""
    import joblib
    import torch

    from birdnb.pretraining.card import processor

    return {
        "processor": processor(), "cores": joblib.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "date": datetime.date.today().isoformat(),
        "versions": {"birdnb": __version__, "python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
    }  # fmt: skip


def described(about: dict[str, Any]) -> str:
    """Say in one line what ``machine`` returned."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"{about['processor']}, {about['cores']} cores, {about['gpu'] or 'no GPU'}; "
        f"{about['date']}; {versions}"
    )


def forget_process_peak() -> None:
    """Count the peak memory of this process anew, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


@contextlib.contextmanager
def card_watched() -> Iterator[dict[str, float]]:
    """Give a dictionary that gets, at the end, the ``busy`` share of the time of the GPU [%].

    The median of what nvidia-smi says four times a second: the share of the time in which the card
    computed. Empty without a card, and where it does not say (MIG).
    """
    found: dict[str, float] = {}
    program = shutil.which("nvidia-smi")
    if program is None:
        yield found
        return
    query = [program, "--id=0", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits",
             f"--loop-ms={EVERY}"]  # fmt: skip
    # through a pipe: the program ends with this process, however that ends
    watcher = subprocess.Popen(
        query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(watcher.stdout or ()), daemon=True)
    reader.start()
    try:
        yield found
    finally:
        watcher.terminate()
        watcher.wait()
        reader.join()
        shares = [float(line) for line in said if line.strip().isdecimal()]
        if shares:
            found["busy"] = statistics.median(shares)
