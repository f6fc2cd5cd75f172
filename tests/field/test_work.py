"""Listening in this process: it takes as much memory for hours as for minutes, and one thread."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sound_files import noise, write
from threadpoolctl import threadpool_info

from birdnb.field.listener import open_listener
from birdnb.field.scores import Heard
from birdnb.field.work import listen_all

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@pytest.fixture
def listener(small_run, monkeypatch):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(small_run))
    return open_listener("one")


def memory(name):
    """What the system says of this process [MB]: "VmRSS" is now, "VmHWM" the peak."""
    return int(re.search(rf"{name}:\s*(\d+)", STATUS.read_text())[1]) / 1e3


@pytest.mark.skipif(not FORGET.exists(), reason="only Linux tells the peak of a process")
def test_a_long_file_takes_hardly_more_memory_than_a_short_one(listener, tmp_path):
    """Forty minutes are 77 MB of samples, and 211 MB at the sample rate of a run."""
    paths = [write(tmp_path / f"{n}.wav", np.tile(noise(60.0, 8000), n), 8000) for n in (5, 40)]
    heard = [Heard(path.name, str(path)) for path in paths]
    listen_all(heard[:1], listener, tmp_path / "out", 6.0, progress=False)
    before = memory("VmRSS")
    FORGET.write_text("5")  # the peak is counted anew
    ((_, file),) = listen_all(heard[1:], listener, tmp_path / "out", 6.0, progress=False)
    assert len(Heard.load(file).starts) == 401
    assert memory("VmHWM") - before < 60  # threads get heaps of their own: up to 40


def test_no_threads_of_blas_wait_beside_those_that_score(listener, tmp_path):
    write(tmp_path / "a.wav", noise(20.0))
    seen = []

    def hear(batch):
        seen.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return listener.hear(batch)

    listen_all(
        [Heard("a.wav", str(tmp_path / "a.wav"))], replace(listener, hear=hear), tmp_path / "out",
        3.0, progress=False,
    )  # fmt: skip
    assert seen and set(seen) == {1}
