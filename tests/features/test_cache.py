"""The cache holds what it should, names what it leaves out, and survives damage and death."""

import os
import pickle
import random
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sound_files import corpus_of, encode, noise, reasons, recording, write

from birdnb.config import AudioSettings
from birdnb.features.cache import build_cache
from birdnb.features.extract import extract
from birdnb.features.ledger import Record
from birdnb.files import STALE_SECONDS, BirdnbError

pytestmark = pytest.mark.usefixtures("scratch")
AUDIO = AudioSettings()


@pytest.fixture
def corpus(tmp_path):
    """Six recordings: 10 s with silence, short, stereo ogg, ..."""
    root = tmp_path / "corpus"
    write(root / "long.wav", recording(14.0, 1.0, 2.0))
    write(root / "short.flac", recording(1.5, 0.2, 1.0))
    write(
        root / "sub/stereo one.ogg", np.stack([recording(9.0, 4.0, 2.0, 32000)] * 2, axis=1), 32000
    )
    for seed in range(3):
        write(root / f"{seed}.wav", recording(6.0, seed + 0.5, 1.0, seed=seed))
    files = {
        "long": "long.wav",
        "short": "short.flac",
        "stereo": "sub/stereo one.ogg",
        "a0": "0.wav",
        "a1": "1.wav",
        "a2": "2.wav",
    }
    return corpus_of(root, files, {"long": "b", "a1": "b"})


def build(corpus, jobs=1):
    return build_cache(corpus, AUDIO, jobs=jobs, progress=False)


def contents(folder: Path) -> dict[str, bytes]:
    """Every finished file of a cache, but the ledger, which tells times of change."""
    files = [
        path for path in Path(folder).rglob("*") if path.is_file() and not path.name.startswith(".")
    ]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if path.name != "state.jsonl"
    }


def written(folder: Path) -> dict[str, int]:
    """When each spectrogram was written [ns]: extracting it again changes that."""
    return {path.stem: path.stat().st_mtime_ns for path in Path(folder).glob("[!.]*.npy")}


def made_again(before: dict[str, int], folder: Path) -> set[str]:
    """The recordings that were extracted since."""
    return {name for name, time in written(folder).items() if before.get(name) != time}


def test_what_is_in_it(corpus, tmp_path):
    cache = build(corpus)
    assert list(cache.index["recording_id"]) == list(corpus.manifest["recording_id"])
    assert cache.folder.parent == tmp_path / "artifacts" / "audio_lms_cache" / "small"
    for row in cache.index.itertuples():
        expected = extract(corpus.root / row.path, AUDIO)
        lms = cache.load(row.recording_id)
        assert lms.dtype == np.float16 and lms.shape == (row.segments, 128, 173)
        np.testing.assert_array_equal(lms, expected.lms.astype(np.float16))
        assert [float(start) for start in row.starts.split(";")] == pytest.approx(
            expected.starts, abs=1e-3
        )
        assert (row.sample_rate, row.channels) == (expected.sample_rate, expected.channels)
        assert row.seconds == pytest.approx(expected.seconds, abs=1e-5)
        noise_lms = cache.noise(row.recording_id)
        assert (noise_lms is None) == (expected.noise is None) == (not row.noise)
        if noise_lms is not None:
            np.testing.assert_array_equal(noise_lms, expected.noise.astype(np.float16))
    assert cache.index["noise"].any() and not cache.index["noise"].all()
    pd.testing.assert_frame_equal(
        pd.read_csv(cache.folder / "index.csv", dtype={"starts": str, "recording_id": str}),
        cache.index,
    )


def test_many_at_once(corpus):
    cache = build(corpus)
    wanted = ["a1", "long", "short"]
    lms, owner = cache.load_many(wanted)
    np.testing.assert_array_equal(lms, np.concatenate([cache.load(name) for name in wanted]))
    np.testing.assert_array_equal(
        owner, np.repeat([0, 1, 2], [len(cache.load(name)) for name in wanted])
    )
    best, owner = cache.load_many(wanted, segments=1)
    np.testing.assert_array_equal(best, np.stack([cache.load(name)[0] for name in wanted]))
    np.testing.assert_array_equal(owner, [0, 1, 2])
    with_noise = [name for name in wanted if cache.noise(name) is not None]
    np.testing.assert_array_equal(
        cache.noise_bank(wanted), np.stack([cache.noise(name) for name in with_noise])
    )
    assert cache.noise_bank([]).shape == (0, 128, 173) and cache.load_many([])[0].shape == (
        0,
        128,
        173,
    )
    for ask in (cache.load, cache.noise, lambda name: cache.load_many([name])):
        with pytest.raises(BirdnbError, match=r"'gone' is not in the cache: see .*quarantine\.csv"):
            ask("gone")


@pytest.mark.parametrize("jobs", [0, -1])
def test_no_workers_at_all_are_refused_in_words(corpus, jobs):
    with pytest.raises(BirdnbError, match=f"jobs {jobs}: give 1 or more"):
        build(corpus, jobs)


def test_another_process_reads_the_files_itself(corpus):
    cache = build(corpus)
    pickled = pickle.dumps(cache)
    assert len(pickled) < 20_000
    np.testing.assert_array_equal(pickle.loads(pickled).load_many(["long"])[0], cache.load("long"))


def test_nothing_is_done_twice(corpus):
    odd = "line\u2028end\x85 and \N{SNOWMAN}.wav"
    (corpus.root / "0.wav").rename(corpus.root / odd)
    corpus.manifest.loc[corpus.manifest["recording_id"] == "a0", "path"] = odd
    folder = build(corpus).folder
    time.sleep(0.01)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    build(corpus)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_each_spectrogram_is_on_the_disk_once(corpus):
    cache = build(corpus)
    own = {cache.folder / f"{name}.npy" for name in cache.index["recording_id"]}
    quiet = cache.index.loc[cache.index["noise"], "recording_id"]
    own |= {cache.folder / "noise" / f"{name}.npy" for name in quiet}
    assert set(cache.folder.rglob("*.npy")) == own


def test_a_finished_cache_opens_where_nothing_may_be_written(corpus):
    folder = build(corpus).folder
    paths = [folder, *folder.rglob("*")]
    left = folder / ".tmp-old.npy"  # of a killed build
    left.touch()
    os.utime(left, (time.time() - 2 * STALE_SECONDS,) * 2)
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert len(build(corpus).load("long")) > 0
    finally:
        for path in paths:
            path.chmod(0o755)


def test_settings_have_caches_of_their_own(corpus):
    longer = build_cache(corpus, AudioSettings(clip_seconds=5.0), jobs=1, progress=False)
    assert longer.folder != build(corpus).folder and longer.load("long").shape[1:] == (128, 216)


def test_changed_and_added_recordings_only(corpus):
    before = build(corpus)
    times, a1 = written(before.folder), before.load("a1")
    write(corpus.root / "1.wav", recording(6.0, 3.0, 1.0, seed=9))
    os.utime(corpus.root / "2.wav")  # touched, but the same
    write(corpus.root / "new.wav", recording(5.0, 1.0, 1.0, seed=10))
    manifest = pd.concat(
        [corpus.manifest, corpus.manifest.tail(1).assign(recording_id="new", path="new.wav")],
        ignore_index=True,
    )
    object.__setattr__(corpus, "manifest", manifest)
    after = build(corpus)
    assert made_again(times, after.folder) == {"a1", "new"}
    assert len(after.load_many(["new"])[0]) == 1
    assert not np.array_equal(after.load("a1"), a1)
    for ask in (before.load, lambda name: before.load_many([name])):
        with pytest.raises(BirdnbError, match="missing or damaged"):  # never the new for the old
            ask("a1")
    np.testing.assert_array_equal(
        after.load_many(["a2", "long"])[0], before.load_many(["a2", "long"])[0]
    )


def test_a_recording_that_vanishes_is_reported_and_comes_back(corpus):
    build(corpus)
    moved = (corpus.root / "1.wav").rename(corpus.root / "aside")
    gone = build(corpus)
    assert dict(zip(gone.quarantine["recording_id"], gone.quarantine["reason"], strict=True)) == {
        "a1": "cannot be opened: No such file or directory"
    }
    moved.rename(corpus.root / "1.wav")
    assert "a1" in set(build(corpus).index["recording_id"])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1000] ^= 0xFF
    path.write_bytes(data)


def headless(path: Path) -> None:
    """A bracket of the header is another letter: numpy reads Python there."""
    path.write_bytes(path.read_bytes().replace(b"}", b"]", 1))


def pickled(path: Path) -> None:
    np.save(path, np.array([{"code": 1}], dtype=object), allow_pickle=True)


HARMS = {
    "cut": lambda path: os.truncate(path, 5000),
    "flipped": flip,
    "headless": headless,
    "emptied": lambda path: os.truncate(path, 0),
    "deleted": lambda path: path.unlink(),
    "pickled": pickled,
    "other shape": lambda path: np.save(path, np.zeros((1, 128, 173), np.float16)),
    "other type": lambda path: np.save(path, np.load(path).astype(np.float32)),
}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("which", ["long.npy", "noise/long.npy"])
def test_a_damaged_spectrogram_is_made_again(corpus, harm, which):
    cache = build(corpus)
    sound, before = contents(cache.folder), written(cache.folder)
    time.sleep(0.01)
    HARMS[harm](cache.folder / which)
    one, many = (
        (cache.noise, cache.noise_bank) if "noise" in which else (cache.load, cache.load_many)
    )
    with pytest.raises(BirdnbError, match=rf"{which} is missing or damaged: run again"):
        one("long")
    with pytest.raises(BirdnbError, match=rf"{which} is missing or damaged: run again"):
        many(["short", "long"])
    assert contents(build(corpus).folder) == sound
    assert made_again(before, cache.folder) == {"long"}


def test_a_spectrogram_that_was_only_copied_is_not_made_again(corpus):
    folder = build(corpus).folder
    aside = folder.with_name("aside")
    shutil.copytree(folder, aside, copy_function=shutil.copyfile)  # times are not kept
    shutil.rmtree(folder)
    shutil.copytree(aside, folder, copy_function=shutil.copyfile)
    before = written(folder)
    assert len(build(corpus).load("long")) and not made_again(before, folder)


def test_damaged_tables_and_ledger_are_made_again(corpus):
    folder = build(corpus).folder
    sound = contents(folder)
    (folder / "index.csv").write_text("nonsense")
    (folder / "quarantine.csv").unlink()
    odd = '\n{broken\n[]\n\x00\n{"recording_id": "a0"}\n7\n{"checksum": 1}\n'
    ledger = folder / "state.jsonl"
    ledger.write_text(ledger.read_text()[:-40] + odd)
    assert contents(build(corpus).folder) == sound
    assert len(ledger.read_text().splitlines()) == 6


def test_doubles_and_label_conflicts(corpus):
    for copy, source in [("copy", "0.wav"), ("other name", "0.wav"), ("conflict", "2.wav")]:
        shutil.copy(corpus.root / source, corpus.root / f"{copy}.wav")
    extra = corpus_of(
        corpus.root,
        {"copy": "copy.wav", "other name": "other name.wav", "conflict": "conflict.wav"},
        {"conflict": "z"},
    )
    object.__setattr__(
        corpus, "manifest", pd.concat([corpus.manifest, extra.manifest], ignore_index=True)
    )
    cache = build(corpus)
    told = dict(zip(cache.quarantine["recording_id"], cache.quarantine["reason"], strict=True))
    assert told == {
        "copy": "duplicate: the same bytes as a0",
        "other name": "duplicate: the same bytes as a0",
        "a2": "label conflict: the same bytes as conflict (z)",
        "conflict": "label conflict: the same bytes as a2 (a)",
    }
    assert set(cache.index["recording_id"]) == {"long", "short", "stereo", "a0", "a1"}
    (corpus.root / "conflict.wav").unlink()  # the remaining one is trusted again
    assert reasons(build(corpus).quarantine) == {
        "copy": "duplicate",
        "other name": "duplicate",
        "conflict": "cannot be opened",
    }


def test_what_the_corpus_left_out_is_carried_over(corpus):
    corpus.left_out.loc[0] = ["x", "x.wav", "", "no species"]
    assert build(corpus).quarantine.values.tolist() == [["x", "x.wav", "", "no species"]]


@pytest.mark.parametrize(
    "bad",
    ["../../x", "/etc/x", "..", ".hidden", "a/b", "a\\b", "", " ", "a\nb", "x" * 300, "nul\0"],
)
def test_an_unsafe_recording_id_writes_nothing(corpus, bad, tmp_path):
    corpus.manifest.loc[0, "recording_id"] = bad
    cache = build(corpus)
    assert reasons(cache.quarantine) == {bad: "unsafe recording_id"} and len(cache.index) == 5
    assert {path.parent for path in tmp_path.rglob("*.npy")} <= {
        cache.folder,
        cache.folder / "noise",
    }


def test_a_corpus_of_which_nothing_survives_stops_with_a_summary(tmp_path):
    (tmp_path / "a.wav").write_text("text")
    (tmp_path / "b.wav").touch()
    write(tmp_path / "c.wav", noise(0.1))
    corpus = corpus_of(tmp_path, {"a": "a.wav", "b": "b.wav", "c": "c.wav", "d": "d.wav"})
    with pytest.raises(BirdnbError, match="no recording of corpus 'small' can be used") as error:
        build(corpus)
    for part in ("1 x cannot be decoded", "1 x empty", "1 x too short", "1 x cannot be opened"):
        assert part in str(error.value)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a limit on the size of files")
def test_a_full_disk_is_told_and_does_not_count_against_the_recording(corpus, tmp_path):
    """A process that may write 20 kB a file stands for the full disk."""
    corpus.manifest.to_csv(corpus.root / "manifest.csv", index=False)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    done = subprocess.run(
        [sys.executable, "-c", limit + BUILD, corpus.root, "1", tmp_path / "count"],
        env={**os.environ, "BIRDNB_ARTIFACTS": str(tmp_path / "artifacts")},
        capture_output=True,
        text=True,
    )
    assert "BirdnbError: no space left on the disk while writing" in done.stderr
    cache = build(replace(corpus, name="many"))
    assert len(cache.index) == 6 and cache.quarantine.empty


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a limit on the size of files")
def test_a_full_temporary_folder_is_told_and_does_not_count_against_the_recording(tmp_path):
    """Sound that only ffmpeg reads is decoded there; 300 kB a file stand for the full disk."""
    root = tmp_path / "corpus"
    encode(root / "a.m4a", recording(6.0, 0.5, 1.0), 22050, "ipod", "aac")
    corpus = corpus_of(root, {"a": "a.m4a"}, {})
    corpus.manifest.to_csv(root / "manifest.csv", index=False)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))"
    done = subprocess.run(
        [sys.executable, "-c", limit + BUILD, root, "1", tmp_path / "count"],
        env={**os.environ, "BIRDNB_ARTIFACTS": str(tmp_path / "artifacts")},
        capture_output=True,
        text=True,
    )
    assert re.search("BirdnbError: no room in .*TMPDIR", done.stderr), done.stderr
    cache = build(replace(corpus, name="many"))
    assert len(cache.index) == 1 and cache.quarantine.empty


SCARCE = """
import os, resource, sys
import librosa.filters, scipy.signal
from birdnb.config import AudioSettings
from birdnb.features.extract import extract
extract(sys.argv[2], AudioSettings())
pages = int(open("/proc/self/statm").read().split()[0])
for more in range(0, 800, 40):
    used = pages * os.sysconf("SC_PAGE_SIZE") + more * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (used, resource.RLIM_INFINITY))
    try:
        print("read", extract(sys.argv[1], AudioSettings()).seconds)
        break
    except Exception as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on memory")
def test_a_recording_refused_for_want_of_memory_is_tried_again(tmp_path):
    long = write(tmp_path / "a.wav", recording(400.0, 100.0, 200.0, 44100), 44100)
    short = write(tmp_path / "b.wav", recording(6.0, 0.5, 1.0))
    done = subprocess.run(
        [sys.executable, "-c", SCARCE, long, short], capture_output=True, text=True, check=True
    )
    *refused, read = done.stdout.splitlines()
    assert read == "read 400.0" and any("short of memory" in reason for reason in refused)
    for reason in refused:
        assert "unexpected" not in reason
        assert Record("a", "a.wav", reason=reason).worth_another_try or "[Errno 12]" in reason


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device_really_is_told(corpus, tmp_path):
    folder = build(corpus).folder
    (folder / "state.jsonl").unlink()
    (folder / "state.jsonl").symlink_to("/dev/full")
    with pytest.raises(BirdnbError, match=r"state\.jsonl"):
        build(corpus)


def test_a_folder_that_may_not_be_written_is_told(corpus, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "file"))
    with pytest.raises(BirdnbError, match="file"):
        build(corpus)


def test_left_overs_of_killed_builds_are_swept(corpus):
    folder = build(corpus).folder
    old, young = folder / "noise" / ".tmp-old.npy", folder / ".tmp-young.npy"
    old.touch(), young.touch()
    os.utime(old, (time.time() - 2 * STALE_SECONDS,) * 2)
    build(corpus)
    assert not old.exists() and young.exists()


def test_reading_a_finished_cache_imports_no_audio_library(corpus, tmp_path):
    build(corpus)
    code = f"""
import sys
import pandas as pd
from pathlib import Path
from types import SimpleNamespace
from birdnb.config import AudioSettings
from birdnb.features.cache import build_cache
manifest = pd.read_csv({str(tmp_path / "manifest.csv")!r}, dtype=str, keep_default_na=False)
left_out = pd.DataFrame(columns=["recording_id", "path", "species", "reason"])
corpus = SimpleNamespace(
    name="small", root=Path({str(corpus.root)!r}), manifest=manifest, left_out=left_out,
    before=None,
)
cache = build_cache(corpus, AudioSettings())
cache.load_many(["long", "a0"]); cache.noise_bank(["long"]); cache.load("long")
audio = {{"librosa", "soundfile", "soxr", "torchaudio", "audioread", "av", "numba"}}
print(sorted(set(sys.modules) & audio))
"""
    corpus.manifest.to_csv(tmp_path / "manifest.csv", index=False)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # and no bar when there is nothing to do
    assert done.stdout.strip() == "[]" and "spectrograms" not in done.stderr


BUILD = """
import sys
import pandas as pd
from pathlib import Path
from types import SimpleNamespace
from birdnb.config import AudioSettings
from birdnb.features.cache import build_cache
root = Path(sys.argv[1])
manifest = pd.read_csv(root / "manifest.csv", dtype=str, keep_default_na=False)
left_out = pd.DataFrame(columns=["recording_id", "path", "species", "reason"])
corpus = SimpleNamespace(
    name="many", root=root, manifest=manifest, left_out=left_out, before=None
)
cache = build_cache(corpus, AudioSettings(), jobs=int(sys.argv[2]))
Path(sys.argv[3]).write_text(str(len(cache.index)))
"""


@pytest.fixture
def many(tmp_path):
    """Forty short recordings, some of them bad."""
    root = tmp_path / "many"
    for number in range(40):
        write(
            root / f"{number}.wav",
            recording(5.0 + number % 3, 0.1 * number, 1.0, seed=number)
            if number % 10
            else noise(0.1),
        )
    corpus = corpus_of(root, {f"r{number:02d}": f"{number}.wav" for number in range(40)})
    corpus.manifest.to_csv(root / "manifest.csv", index=False)
    return root


def start(root: Path, artifacts: Path, jobs: int) -> subprocess.Popen:
    environment = {**os.environ, "BIRDNB_ARTIFACTS": str(artifacts)}
    # not a pipe: workers outlive a killed process for some seconds
    with open(f"{artifacts}-{jobs}.log", "w") as log:
        command = [
            sys.executable,
            "-c",
            BUILD,
            str(root),
            str(jobs),
            str(artifacts / f"result-{jobs}"),
        ]
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def finish(process: subprocess.Popen) -> str:
    assert process.wait(timeout=120) == 0, Path(
        f"{process.args[5].rsplit('/', 1)[0]}-{process.args[4]}.log"
    ).read_text()
    return Path(process.args[5]).read_text()


def test_killed_at_random_it_ends_the_same(many, tmp_path):
    """In this process or over workers, which live on for a moment.

    BIRDNB_TEST_KILLS (3) says how often it is killed.
    """
    finish(start(many, tmp_path / "undisturbed", jobs=2))
    undisturbed = next((tmp_path / "undisturbed/audio_lms_cache/many").iterdir())
    progress, rng = [0], random.Random(7)
    for kill in range(int(os.environ.get("BIRDNB_TEST_KILLS", "3"))):
        process = start(many, tmp_path / "killed", jobs=1 + kill % 2)
        wait_for_progress(process, tmp_path / "killed", progress[-1])
        time.sleep(rng.uniform(0.0, 0.15))
        process.kill()
        process.wait()
        progress.append(len(list((tmp_path / "killed").rglob("r*.npy"))))
    assert finish(start(many, tmp_path / "killed", jobs=1)) == "36"
    killed = next((tmp_path / "killed/audio_lms_cache/many").iterdir())
    assert progress[1] < len(list(undisturbed.rglob("r*.npy"))) and progress == sorted(progress)
    assert contents(killed) == contents(undisturbed)


def wait_for_progress(process: subprocess.Popen, artifacts: Path, files: int) -> None:
    """Wait until a process has written more spectrograms than there were, or has ended."""
    while process.poll() is None and len(list(artifacts.rglob("r*.npy"))) <= files:
        time.sleep(0.005)


def test_two_at_once_do_no_harm(many, tmp_path):
    both = [start(many, tmp_path / "both", jobs) for jobs in (1, 2)]
    assert [finish(process) for process in both] == ["36", "36"]
    finish(start(many, tmp_path / "one", 1))
    both_folder, one = (
        next((tmp_path / name / "audio_lms_cache/many").iterdir()) for name in ("both", "one")
    )
    assert contents(both_folder) == contents(one)
