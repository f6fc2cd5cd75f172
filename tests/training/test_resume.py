"""Training processes killed at random moments end like an undisturbed one, bit for bit.

In weights and metrics; the processes are real.

``BIRDNB_TEST_KILLS=20 pytest tests/training/test_resume.py`` kills more often than the suite does.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from birdnb.training.runs import load_run

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("BIRDNB_TEST_KILLS", "3"))
EPOCHS = 12
TIMES = ["seconds", "clips_per_second", "peak_memory_mb"]


def start(artifacts: Path) -> subprocess.Popen:
    """A process that trains the small study's run; it is back when training starts."""
    env = os.environ | {
        "BIRDNB_ARTIFACTS": str(artifacts),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "TQDM_DISABLE": "1",
    }
    script = str(ROOT / "tests" / "small_study.py")
    process = subprocess.Popen(
        [sys.executable, script, str(EPOCHS)], env=env, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def results(folder: Path) -> tuple:
    """All that must not differ: weights, history, metrics, predictions."""
    run = load_run(folder)
    metrics = {key: value for key, value in run.metrics.items() if key != "seconds"}
    history = run.history.drop(columns=TIMES).to_csv()
    parts = [
        (p.recording_ids, p.probabilities.tobytes(), p.targets.tobytes())
        for p in (run.val, run.test)
    ]
    return (folder / "best.safetensors").read_bytes(), history, json.dumps(metrics), parts


def epochs_done(artifacts: Path) -> int:
    """Epochs in the run's history so far."""
    path = next(artifacts.glob("runs/*/run/history.csv"), None)
    return len(pd.read_csv(path)) if path else 0


def test_a_training_killed_at_random_moments_ends_as_if_it_were_not(tmp_path):
    assert start(tmp_path / "whole").wait() == 0
    folder = next((tmp_path / "whole").glob("runs/*/run"))
    seconds = load_run(folder).history["seconds"].sum()
    rng, disturbed, reached = random.Random(), tmp_path / "killed", []
    for kill in range(KILLS):
        before = epochs_done(disturbed)
        process = start(disturbed)
        while kill % 3 < 2 and process.poll() is None and epochs_done(disturbed) == before:
            # two of three are killed after an epoch of their own, the third anywhere
            time.sleep(0.01)
        time.sleep(rng.uniform(0, seconds / 2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        reached.append(epochs_done(disturbed))
    assert start(disturbed).wait() == 0
    killed = next(disturbed.glob("runs/*/run"))
    assert results(killed) == results(folder), f"killed after epochs {reached}"
    assert 0 < reached[0] <= EPOCHS
    assert {p.name for p in killed.iterdir()} == {p.name for p in folder.iterdir()}, (
        "nothing is left lying about"
    )
