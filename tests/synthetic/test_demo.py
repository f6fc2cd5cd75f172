"""The demo corpus: real files in every format, the same from the same seed, also after a kill."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from birdnb.corpora import open_corpus
from birdnb.corpora.table import COLUMNS
from birdnb.features.audio import read_audio
from birdnb.features.decoders import AudioError
from birdnb.files import BirdnbError
from birdnb.split.sides import sessions
from birdnb.synthetic import demo
from birdnb.synthetic.demo import make_demo, plan

SMALL = {"species": 3, "recordings": 5}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpora") / "small"
    make_demo(root, progress=False, jobs=1, **SMALL)
    return root


def read_manifest(root: Path) -> pd.DataFrame:
    return pd.read_csv(root / "manifest.csv", dtype=str, keep_default_na=False)


def samples(root: Path) -> dict[str, str]:
    """Digest of every file's decoded samples, or of its bytes where it cannot be decoded."""
    digests = {}
    for path in sorted((root / "audio").glob("DEMO*")):
        try:
            content = soundfile.read(path, dtype="float32")[0].tobytes()
        except soundfile.LibsndfileError:
            content = path.read_bytes()
        digests[path.name] = hashlib.sha256(content).hexdigest()
    return digests


def sound_takes() -> list[demo.Take]:
    return [take for take in plan(7, **SMALL) if not take.defect]


def test_every_file_is_what_the_plan_says(corpus: Path) -> None:
    assert {take.suffix for take in sound_takes()} == {"wav", "flac", "ogg", "mp3"}
    for take in sound_takes():
        info = soundfile.info(corpus / "audio" / f"{take.recording_id}.{take.suffix}")
        assert (info.format.lower()[:3], info.samplerate, info.channels) == (
            {"flac": "fla", "mp3": "mp3", "ogg": "ogg", "wav": "wav"}[take.suffix],
            take.sample_rate, take.channels,
        )  # fmt: skip
        assert info.duration == pytest.approx(take.seconds, abs=0.1)
        waveform, _ = soundfile.read(corpus / "audio" / f"{take.recording_id}.{take.suffix}")
        # MP3 and Ogg overshoot where the recording is clipped
        highest = 1.0 if take.suffix in ("wav", "flac") else 2.0
        assert np.isfinite(waveform).all() and 0.02 < np.abs(waveform).max() <= highest


def test_the_default_corpus_has_every_kind_of_file() -> None:
    takes = [take for take in plan(7, 12, 30) if not take.defect]
    assert len(takes) == 360
    assert {take.suffix for take in takes} == {"wav", "flac", "ogg", "mp3"}
    assert {take.sample_rate for take in takes} == {22050, 32000, 44100, 48000}
    assert {take.channels for take in takes} == {1, 2}
    seconds = np.array([take.seconds for take in takes])
    assert seconds.min() >= 4 and seconds.max() <= 20 and 7 < seconds.mean() < 9
    assert {take.species for take in takes if take.background} == set(range(12))


def test_the_manifest_is_read_as_a_corpus(corpus: Path) -> None:
    table = read_manifest(corpus)
    assert list(table.columns) == list(demo.COLUMNS)
    assert set(table.columns) <= set(COLUMNS)
    assert table["species"].value_counts().min() >= 5
    opened = open_corpus(corpus, progress=False)
    assert opened.layout == "manifest.csv"
    assert len(opened.manifest) == 15 + len(demo.DEFECTS)
    assert set(opened.manifest["license"]) == {"CC0 (synthesised)"}


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_sessions_are_small_and_species_have_many_recordists(seed: int) -> None:
    takes = [take for take in plan(seed, 12, 30) if not take.defect]
    table = pd.DataFrame({
        "recording_id": [take.recording_id for take in takes],
        "species": [f"species {take.species}" for take in takes],
        "recordist": [demo.RECORDISTS[take.visit.recordist] for take in takes],
        "date": [take.visit.date for take in takes],
        "locality": [take.visit.locality for take in takes],
        "path": [f"audio/{take.recording_id}.wav" for take in takes],
        "url": "",
    })  # fmt: skip
    assert table["recording_id"].is_unique
    assert (table["species"].value_counts() == 30).all()
    assert sessions(table).value_counts().between(1, 4).all()
    assert (table.groupby("recordist")["date"].nunique() >= 3).all()
    assert (table.groupby("species")["recordist"].nunique() >= 5).all()


def test_defects_are_there_and_refused_with_a_reason(corpus: Path) -> None:
    files = {
        take.defect: corpus / "audio" / f"{take.recording_id}.{take.suffix}"
        for take in plan(7, **SMALL)
        if take.defect
    }
    assert set(files) == {"empty", "truncated", "silent", "too_short", "short", "not_audio"}
    for defect in ("empty", "truncated", "silent", "not_audio"):
        with pytest.raises(AudioError):
            read_audio(files[defect])
    assert len(read_audio(files["too_short"])) == pytest.approx(0.3 * 22050, abs=1500)
    assert len(read_audio(files["short"])) == pytest.approx(2.0 * 22050, abs=1500)


def test_same_seed_same_samples_other_seed_other_samples(corpus: Path, tmp_path: Path) -> None:
    make_demo(tmp_path / "again", progress=False, jobs=2, **SMALL)
    assert samples(tmp_path / "again") == samples(corpus)
    assert read_manifest(tmp_path / "again").equals(read_manifest(corpus))
    make_demo(tmp_path / "other", seed=8, progress=False, jobs=1, species=1, recordings=3)
    sung = {f"{take.recording_id}.{take.suffix}" for take in plan(8, 1, 3) if not take.defect}
    assert not {
        digest for name, digest in samples(tmp_path / "other").items() if name in sung
    } & set(samples(corpus).values())


def test_killed_in_the_middle_and_finished_the_same(corpus: Path, tmp_path: Path) -> None:
    root = tmp_path / "killed"
    call = "from birdnb.synthetic.demo import make_demo; "
    call += f"make_demo({str(root)!r}, jobs=1, species=3, recordings=5)"
    process = subprocess.Popen(
        [sys.executable, "-c", call], start_new_session=True, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while len(list(root.glob("audio/DEMO*"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = {path.name: path.stat().st_mtime_ns for path in root.glob("audio/DEMO*")}
    assert 5 <= len(done) < 21
    assert not (root / "manifest.csv").exists()
    for litter in [*root.glob("audio/.tmp-*"), root / ".tmp-half"]:
        litter.touch()
        os.utime(litter, (0, 0))  # left long ago
    make_demo(root, progress=False, jobs=1, **SMALL)
    assert samples(root) == samples(corpus) and not list(root.rglob(".tmp-*"))
    assert {name: (root / "audio" / name).stat().st_mtime_ns for name in done} == done


def test_a_finished_corpus_is_left_alone_and_another_recipe_replaces_it(tmp_path: Path) -> None:
    root = tmp_path / "demo"
    make_demo(root, progress=False, jobs=1, species=2, recordings=1)
    before = (root / "manifest.csv").stat().st_mtime_ns
    make_demo(root, progress=False, jobs=1, species=2, recordings=1)
    assert (root / "manifest.csv").stat().st_mtime_ns == before
    make_demo(root, progress=False, jobs=1, species=1, recordings=1)
    table = read_manifest(root)
    assert len(table) == 1 + len(demo.DEFECTS)
    assert {f"audio/{path.name}" for path in (root / "audio").iterdir()} == set(table["path"])


def test_a_foreign_folder_and_no_species_are_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.wav").write_bytes(b"")
    with pytest.raises(BirdnbError, match="not the demo corpus"):
        make_demo(tmp_path, progress=False)
    with pytest.raises(BirdnbError, match="of 0 species with 30 recordings"):
        make_demo(tmp_path / "new", progress=False, species=0)


def test_a_damaged_recipe_is_another_one(tmp_path: Path) -> None:
    whole = tmp_path / "demo"
    make_demo(whole, **SMALL)
    sounds = sorted(path.name for path in (whole / "audio").iterdir())
    (whole / "recipe.json").write_bytes(b"")  # as a power cut leaves it
    make_demo(whole, **SMALL)
    assert sorted(path.name for path in (whole / "audio").iterdir()) == sounds
    assert (whole / "manifest.csv").is_file() and json.loads((whole / "recipe.json").read_text())


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "demo").touch()
    with pytest.raises(BirdnbError, match="demo is not the demo corpus"):
        make_demo(tmp_path / "demo", **SMALL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a limit on the size of files")
@pytest.mark.parametrize("made", ["demo", "dawn"])
def test_a_full_disk_is_told(tmp_path: Path, made: str) -> None:
    """50 kB a file stand for the full disk."""
    code = f"""
import resource
from pathlib import Path
from birdnb.synthetic.{made} import make_{made}
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
make_{made}(Path({str(tmp_path / made)!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "BirdnbError: no sound can be written into" in done.stderr, done.stderr
    assert str(tmp_path / made) in done.stderr.splitlines()[-1]
    assert not [path for path in tmp_path.rglob(".tmp-*") if path.is_file()]


def test_as_many_species_as_asked() -> None:
    """Names and songs of each are its own; the first twelve are those of the demo."""
    names = [demo.demo_name(i) for i in range(400)]
    songs = [demo.demo_species(i) for i in range(120)]
    assert len(set(names)) == 400 and tuple(names[:12]) == demo.NAMES
    assert len({song.identity for song in songs}) == 120 and len(set(songs)) == 120
    assert {take.species for take in plan(7, 90, 3) if not take.defect} == set(range(90))
