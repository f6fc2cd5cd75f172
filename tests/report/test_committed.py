"""The reports that are committed: no sound, nothing of the machine they were made on, credits."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from birdnb.corpora.sniff import is_audio

ROOT = Path(__file__).resolve().parents[2]
PLACES = re.compile(
    r"(?<![\w.:/])(?:/(?:home|root|Users|work|tmp|mnt|media|opt|var|srv)/\w|[A-Z]:\\\w)"
)


def committed() -> list[Path]:
    """What git has below ``reports``, or would take: an ignored file is nobody's claim."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "reports"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        pytest.skip("this copy has no git")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def texts() -> list[Path]:
    return [
        path for path in committed() if path.suffix in {".md", ".json", ".csv", ".html", ".txt"}
    ]


def test_no_report_holds_sound():
    files = committed()
    assert len(files) > 30
    assert [path for path in files if is_audio(str(path))] == []
    assert [path for path in texts() if "data:audio" in path.read_text(encoding="utf-8")] == []
    assert [path for path in files if path.suffix == ".ipynb" or path.stat().st_size > 2e6] == []


def test_no_report_tells_where_it_was_made():
    found = {path.name: PLACES.findall(path.read_text(encoding="utf-8")) for path in texts()}
    assert {name: places for name, places in found.items() if places} == {}


def test_a_place_would_be_found():
    for text in ("see /home/ann/birds", "`/tmp/x`", "corpus=/root/data", r"C:\Users\ann"):
        assert PLACES.search(text), text
    for text in ("reports/example", "https://example.org/home/ann", "./tmp/x"):
        assert not PLACES.search(text), text


def test_every_recording_shown_has_its_recordist_and_licence():
    tables = [path for path in committed() if path.name == "attribution.csv"]
    assert tables
    for path in tables:
        stated = pd.read_csv(path, dtype=str, keep_default_na=False)[["recordist", "license"]]
        assert (stated != "").all(axis=None), path
