"""The start from a finished cache, 1,000 to 100,000 recordings: time and memory of a process."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from birdnb.benchmark.rows import ROUNDS, Row
from birdnb.config import AudioSettings, key_of
from birdnb.features.cache import VERSION
from birdnb.features.ledger import Record, write_ledger
from birdnb.features.store import paths_of, stamped, write_lms
from birdnb.files import write_table, write_text

AUDIO = AudioSettings()
SIZES = (1_000, 10_000, 100_000)  # recordings
SHARED = 10_000  # recordings that share a file: file systems limit the names of one
IMPORT = (
    "import time; begin = time.perf_counter(); import birdnb; print(time.perf_counter() - begin)"
)
START = """
import json, sys, time
begin = time.perf_counter()
import birdnb.training.train, birdnb.data
imported = time.perf_counter()
study = birdnb.data.open_study(sys.argv[1], "laptop", progress=False)
opened = time.perf_counter()
audio = sorted({"librosa", "soundfile", "soxr", "audioread", "torchaudio"} & set(sys.modules))
from birdnb.training.devices import peak_memory_mb
import torch
gigabytes = peak_memory_mb(torch.device("cpu")) / 1e3
print(json.dumps({"import": imported - begin, "start": opened - imported, "gigabytes": gigabytes,
                  "audio": audio, "recordings": len(study.table)}))
"""


def rows(sizes: tuple[int, ...] = SIZES, rounds: int = ROUNDS) -> list[Row]:
    """Return seconds and gigabytes of a start from caches of these sizes, and of imports."""
    found = [
        Row(
            "import birdnb",
            "s",
            min(float(python(IMPORT)) for _ in range(rounds)),
            target="at most 0.2",
        )
    ]
    for n in tqdm(sizes, desc="finished caches", unit="cache"):
        with tempfile.TemporaryDirectory(prefix="birdnb-") as folder:
            corpus = repeated_corpus(Path(folder), n)
            first, *others = [
                json.loads(python(START, str(corpus), BIRDNB_ARTIFACTS=folder))
                for _ in range(1 + rounds)
            ]
        best = min(others, key=lambda start: start["start"])
        name, large = f"{n:,} recordings", n >= 100_000
        found += [
            Row(f"start, {name}", "s", best["start"], target="at most 10" if large else ""),
            Row(f"... for each of {name}", "ms", 1e3 * best["start"] / n),
            Row(f"... the first time, the split is made, {name}", "s", first["start"]),
            Row(
                f"... peak memory of the process, {name}",
                "GB",
                best["gigabytes"],
                target="at most 2" if large else "",
            ),
        ]
    found.append(Row("import of all that training needs", "s", best["import"]))
    found.append(Row("... audio libraries among it", "", len(best["audio"]), target="at most 0"))
    return found


def repeated_corpus(folder: Path, n: int, shared: int = SHARED) -> Path:
    """Write ``n`` recordings, ``shared`` of them alike, with a finished cache; return the root."""
    root = folder / "repeated"
    cache = folder / "audio_lms_cache" / "repeated" / key_of(AUDIO, VERSION)
    rng = np.random.default_rng(0)
    names = [f"r{i:06}" for i in range(n)]
    table = pd.DataFrame(
        {
            "recording_id": names,
            "path": [f"audio/{name}.wav" for name in names],
            "species": [f"species {i}" for i in rng.integers(90, size=n)],
            "recordist": [f"recordist {i}" for i in rng.integers(n // 20 + 1, size=n)],
            "date": [f"2024-05-{i:02}" for i in rng.integers(1, 29, size=n)],
            "locality": [f"place {i}" for i in rng.integers(3, size=n)],
        }
    )
    write_table(root / "manifest.csv", table)
    write_ledger(cache / "state.jsonl", _records(root, cache, names, shared))
    return root


def _records(root: Path, cache: Path, names: list[str], shared: int) -> Iterator[Record]:
    """Write the files of each recording, most of them as another name of an earlier one."""
    clips = np.zeros((3, AUDIO.n_mels, AUDIO.n_frames), np.float16)
    for i, name in enumerate(names):
        paths = [f"{root}/audio/{name}.wav", *paths_of(cache, name)]
        if i % shared == 0:
            originals = paths
            write_text(paths[0], "sound")
            checksums = write_lms(paths[1], clips), write_lms(paths[2], clips[0])
        else:
            for original, path in zip(originals, paths, strict=True):
                os.link(original, path)
        stat = os.stat(paths[0])
        record = Record(
            name, f"audio/{name}.wav", stat.st_size, stat.st_mtime_ns, sha256=f"{i:064x}",
            starts=(0.0, 4.0, 8.0), seconds=20.0, sample_rate=22050, channels=1,
            checksums=checksums,
        )  # fmt: skip
        yield stamped(cache, AUDIO, record)


def python(code: str, *arguments: str, **environment: str) -> str:
    """Run a program in a process of its own and return what it prints."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, env=os.environ | environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
