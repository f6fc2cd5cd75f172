"""Files that break loaders: each ends in the cache, or in the quarantine with a reason.

All others are unaffected.
"""

import os
import random
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from sound_files import corpus_of, noise, recording, write

from birdnb.config import AudioSettings
from birdnb.features.cache import build_cache

pytestmark = pytest.mark.usefixtures("scratch")
AUDIO = AudioSettings()
MUTATIONS = int(os.environ.get("BIRDNB_TEST_MUTATIONS", "210"))
FORMATS = {
    "wav": {},
    "flac": {},
    "ogg": {},
    "mp3": {},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "aiff": {},
    "w64": {},
}
KINDS = {
    "broken samples",
    "cannot be decoded",
    "cannot be opened",
    "constant",
    "empty",
    "no samples",
    "sample rate",
    "silent",
    "sound missing",
    "too short",
}


def good(seed=0, seconds=6.0, sample_rate=48000):
    return recording(seconds, 2.0, 2.0, sample_rate, seed=seed)


def hostile_files(root, rate=48000):
    """Write them; return their names, and the kind of reason in the quarantine.

    None when usable, "any" when either may be.
    """
    expected: dict[str, str | None] = {}

    def add(name, content, reason, sample_rate=rate, **kind):
        if isinstance(content, bytes):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        else:
            write(root / name, content, sample_rate, **kind)
        expected[name] = reason

    usual_formats(root, add, rate)
    odd_contents(root, add)
    expected["missing.wav"] = "cannot be opened"
    (root / "folder.wav").mkdir()
    expected["folder.wav"] = "cannot be opened"
    return expected


def usual_formats(root, add, rate):
    for number, (suffix, kind) in enumerate(FORMATS.items()):
        kind = {"opus": {"format": "OGG", "subtype": "OPUS"}}.get(suffix, kind)
        add(f"good.{suffix}", good(number), None, **kind)
        whole = (root / f"good.{suffix}").read_bytes()
        add(f"header only.{suffix}", np.zeros(0, np.float32), "any", **kind)
        add(f"cut short.{suffix}", whole[:60], "any")
        add(f"half.{suffix}", whole[: len(whole) // 2], "any")
        add(f"most.{suffix}", whole[: len(whole) * 9 // 10], "any")
        add(f"silent.{suffix}", np.zeros(5 * rate, np.float32), "silent", **kind)
        add(f"tenth of a second.{suffix}", noise(0.1, rate, seed=number), "too short", **kind)
        add(f"stereo.{suffix}", np.stack([good(20 + number)] * 2, axis=1), None, **kind)
        add(f"clipped.{suffix}", np.clip(100 * good(40 + number), -1, 1), None, **kind)
    for suffix in ("wav", "flac", "aiff", "w64"):
        add(f"level.{suffix}", np.full(3 * rate, 0.25, np.float32), "constant")
        add(
            f"six channels.{suffix}",
            np.stack([good(60 + channel) for channel in range(6)], axis=1),
            None,
        )
        add(f"24 bit.{suffix}", good(66), None, subtype="PCM_24")
        add(f"slow.{suffix}", good(67, sample_rate=8000), None, sample_rate=8000)
        add(f"bats.{suffix}", good(68, 2.5, 384_000), None, sample_rate=384_000)
    add("double.wav", good(70), None, subtype="DOUBLE")
    for value, name in [(np.nan, "nan"), (np.inf, "inf"), (1e20, "absurd")]:
        for share, reason in [(2, None), (5000, "broken samples")]:
            sound = good(80)
            sound[:: len(sound) // share] = value
            add(f"{name} {share}.wav", sound, reason, subtype="FLOAT")


def odd_contents(root, add):
    add("zero bytes.wav", b"", "empty")
    add("text.wav", b"dear ornithologist,\n" * 500, "cannot be decoded")
    add("page.mp3", b"<!DOCTYPE html><html><body>404 not found</body></html>", "cannot be decoded")
    add("picture.ogg", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "cannot be decoded")
    add("zeros.mp3", bytes(100_000), "cannot be decoded")
    add("random.flac", random.Random(1).randbytes(100_000), "cannot be decoded")
    add("wav called.mp3", (root / "good.wav").read_bytes() + b"LIST", None)
    add("mp3 called.wav", (root / "good.mp3").read_bytes() + b"TAG", None)
    add('it\'s a "name" with ü, 鳥 & %20 #1;$(x).WAV', good(90), None, format="WAV")
    add("UPPER.FLAC", good(91), None)


def test_every_hostile_file_is_kept_or_named_and_the_good_ones_stay(tmp_path):
    root = tmp_path / "c"
    expected = hostile_files(root)
    cache = build_cache(
        corpus_of(root, {f"r{i}": name for i, name in enumerate(expected)}),
        AUDIO,
        jobs=2,
        progress=False,
    )
    kinds = dict(
        zip(cache.quarantine["path"], cache.quarantine["reason"].str.split(":").str[0], strict=True)
    )
    kept = set(cache.index["path"])
    assert kept | set(kinds) == set(expected) and not kept & set(kinds)
    assert {name: kinds.get(name) for name, reason in expected.items() if reason != "any"} == {
        name: reason for name, reason in expected.items() if reason != "any"
    }
    assert {
        kinds[name] for name, reason in expected.items() if reason == "any" and name in kinds
    } <= KINDS
    assert all(
        np.isfinite(cache.load(name).astype(np.float32)).all()
        for name in cache.index["recording_id"]
    )
    alone = build_cache(
        corpus_of(root, {"x": "good.ogg"}, name="alone"), AUDIO, jobs=1, progress=False
    )
    same = cache.index.set_index("path").loc["good.ogg", "recording_id"]
    np.testing.assert_array_equal(cache.load(same), alone.load("x"))


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Damage a file as disks, networks and people do.

    Bytes changed, cut, repeated, removed, zeroed, headers rewritten.
    """
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        data = data or bytearray(1)
        where = (
            rng.randrange(len(data)) if rng.random() < 0.5 else rng.randrange(min(len(data), 200))
        )
        length = rng.choice([1, 2, 4, 16, 300])
        kind = rng.randrange(7)
        if kind == 0:
            data[where] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[where : where + length] = rng.randbytes(length)
        elif kind == 2:
            data[where : where + length] = rng.choice([b"\x00", b"\xff", b"\x7f"]) * length
        elif kind == 3:
            del data[where : where + length]
        elif kind == 4:
            data[where:where] = data[where : where + 10 * length]
        elif kind == 5 and len(data) > 2:
            del data[rng.randrange(1, len(data)) :]
        else:
            data[where : where + 4] = rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1]).to_bytes(
                4, rng.choice(["little", "big"])
            )
    return bytes(data)


def test_mutated_files_never_crash_hang_or_leave_half_a_file(tmp_path):
    """BIRDNB_TEST_MUTATIONS (210) says how many; BIRDNB_TEST_SEED starts another sequence."""
    rng = random.Random(int(os.environ.get("BIRDNB_TEST_SEED", "7")))
    root, files = tmp_path / "c", {"intact": "intact.wav"}
    write(root / "intact.wav", good(1))
    originals = [
        write(root / f"o.{s}", good(i, 4.5, 24000), 24000, **k).read_bytes()
        for i, (s, k) in enumerate(FORMATS.items())
    ]
    for number in range(MUTATIONS):
        kind = number % len(originals)
        files[f"m{number}"] = f"m{number}.{list(FORMATS)[kind]}"
        (root / files[f"m{number}"]).write_bytes(mutate(originals[kind], rng))
    cache = build_cache(corpus_of(root, files), AUDIO, jobs=2, progress=False)
    told = cache.quarantine.set_index("recording_id")["reason"]
    kept = set(cache.index["recording_id"])
    assert kept | set(told.index) == set(files) and "intact" in kept
    assert {reason.split(":")[0] for reason in told} <= KINDS | {"duplicate"}
    for name in kept:
        lms = cache.load(name).astype(np.float32)
        assert lms.shape[1:] == (128, 173) and np.isfinite(lms).all()
    assert not list(cache.folder.rglob(".tmp-*"))
    # the mutations do break some, and not all
    assert 0.2 * MUTATIONS < len(kept) < 0.98 * MUTATIONS
    print(
        f"{MUTATIONS} mutations: {len(kept)} usable; "
        f"{told.str.split(':').str[0].value_counts().to_dict()}"
    )


SABOTAGE = """
import os, time
from birdnb.features import extract as module, pools
real = module.extract
def extract(path, audio):
    if os.path.basename(path).startswith("crash"):
        os.kill(os.getpid(), 11)
    if os.path.basename(path).startswith("hang"):
        time.sleep(1000)
    return real(path, audio)
module.extract = extract
pools.PATIENCE = 10.0
"""
BUILD = """
import sys
from pathlib import Path
from sound_files import corpus_of
from birdnb.config import AudioSettings
from birdnb.features.cache import build_cache
root = Path(sys.argv[1])
files = {path.stem: path.name for path in sorted(root.iterdir())}
cache = build_cache(corpus_of(root, files), AudioSettings(), jobs=2)
print(len(cache.index))
for row in cache.quarantine.itertuples():
    print(row.recording_id, row.reason)
"""


def test_a_decoder_that_crashes_or_hangs_costs_its_own_recording_only(tmp_path):
    """A decoder dies of a segmentation fault, or never returns, over some files.

    Every Python process gets it.
    """
    root = tmp_path / "c"
    for number, name in enumerate(["crash", "hang", "other 1", "other 2", "other 3"]):
        write(root / f"{name}.wav", recording(4.5, 1.0, 1.0, seed=number))
    sabotage = tmp_path / "sabotage"
    sabotage.mkdir()
    (sabotage / "sitecustomize.py").write_text(SABOTAGE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(sabotage), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", BUILD, root],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    reason = "decoder died: it crashes, hangs or needs too much memory over this file"
    assert done.stdout.splitlines() == ["3", f"crash {reason}", f"hang {reason}"], done.stderr


HOURS = """
import re, resource, sys
from pathlib import Path
from birdnb.config import AudioSettings
from birdnb.features.extract import extract
found = extract(sys.argv[1], AudioSettings())
assert round(found.seconds) == int(sys.argv[2]), found.seconds
assert any(start <= float(sys.argv[3]) <= start + 4 for start in found.starts), found.starts
# ru_maxrss counts what the test runner had before this process began
status = Path("/proc/self/status")
high = re.search(r"VmHWM:\\s+(\\d+)", status.read_text()) if status.exists() else None
print(int(high[1] if high else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) // 1024)
"""


def test_memory_is_bounded_for_hours(tmp_path):
    """An hour; BIRDNB_TEST_HOURS=15 makes it longer and BIRDNB_TEST_RATE=44100 larger."""
    hours, rate = (
        float(os.environ.get("BIRDNB_TEST_HOURS", "1")),
        int(os.environ.get("BIRDNB_TEST_RATE", "16000")),
    )
    minute = (2000 * np.random.default_rng(0).standard_normal((60 * rate, 1))).astype(np.int16)
    minutes, song = (
        round(60 * hours),
        (20_000 * recording(2.0, 0.0, 2.0, rate, level=1.0)[:, None]).clip(-32768, 32767),
    )
    path = tmp_path / "long.w64"
    with soundfile.SoundFile(path, "w", rate, 1, format="W64", subtype="PCM_16") as file:
        for number in range(minutes):
            sung = minute.copy()
            if number == minutes * 2 // 3:
                sung[30 * rate : 32 * rate] = song.astype(np.int16)
            file.write(sung)
    onset = 60 * (minutes * 2 // 3) + 31
    command = [sys.executable, "-c", HOURS, path, str(60 * minutes), str(onset)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1000, f"{done.stdout} MB"
    path.unlink()
