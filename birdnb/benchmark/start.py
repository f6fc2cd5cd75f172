"""The start from a finished cache: time and memory, in a process of its own, for 1,000 to 100,000
recordings.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from birdnb.benchmark.rows import ROUNDS, Row
from birdnb.config import AudioSettings, key_of
from birdnb.features import packing
from birdnb.features.cache import VERSION
from birdnb.features.ledger import Record, write_ledger
from birdnb.files import write_text

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
print(json.dumps({"import": imported - begin, "start": opened - imported, "gigabytes": gigabytes, "audio": audio,
                  "recordings": len(study.table)}))
"""


def rows(sizes: tuple[int, ...] = SIZES, rounds: int = ROUNDS) -> list[Row]:
    """Seconds and gigabytes of a start from caches of these sizes, and what imports cost."""
    found = [
        Row(
            "import birdnb",
            "s",
            min(float(_python(IMPORT)) for _ in range(rounds)),
            target="at most 0.2",
        )
    ]
    for n in tqdm(sizes, desc="finished caches", unit="cache"):
        with tempfile.TemporaryDirectory(prefix="birdnb-") as folder:
            corpus = repeated_corpus(Path(folder), n)
            first, *others = [
                json.loads(_python(START, str(corpus), BIRDNB_ARTIFACTS=folder))
                for _ in range(1 + rounds)
            ]
        best, name, large = (
            min(others, key=lambda start: start["start"]),
            f"{n:,} recordings",
            n >= 100_000,
        )
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


def repeated_corpus(folder: Path, n: int) -> Path:
    """A corpus of ``n`` recordings of 90 species with a finished cache in ``folder``; returns its
    root.

    The same sources and spectrograms under many names. The packed file has its full length, but is
    never written to: a start does not read it.
    """
    root, cache = (
        folder / "repeated",
        folder / "audio_lms_cache" / "repeated" / key_of(AUDIO, VERSION),
    )
    rng = np.random.default_rng(0)
    names = [f"r{i:06}" for i in range(n)]
    write_text(root / "manifest.csv", pd.DataFrame({
        "recording_id": names, "path": [f"audio/{name}.wav" for name in names],
        "species": [f"species {i}" for i in rng.integers(90, size=n)],
        "recordist": [f"recordist {i}" for i in rng.integers(n // 20 + 1, size=n)],
        "date": [f"2024-05-{i:02}" for i in rng.integers(1, 29, size=n)],
        "locality": [f"place {i}" for i in rng.integers(3, size=n)],
    }).to_csv(index=False))  # fmt: skip
    (root / "audio").mkdir()
    records = list(_records(root, cache, names))
    write_ledger(cache / "state.jsonl", records)
    for pack in (
        packing.lms_pack(cache, AUDIO, records),
        packing.noise_pack(cache, AUDIO, records),
    ):
        pack.path.parent.mkdir(exist_ok=True)
        with open(pack.path, "wb") as file:
            header = {"descr": "<f2", "fortran_order": False, "shape": pack.shape}
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(packing.file_bytes(pack))
    return root


def _records(root: Path, cache: Path, names: list[str]) -> Iterator[Record]:
    """Write the files of each recording, most of them as another name of an earlier one, and give
    its line of the ledger.
    """
    originals: list[str] = []
    for i, name in enumerate(names):
        record = Record(name, f"audio/{name}.wav", sha256=f"{i:064x}", starts=(0.0, 4.0, 8.0),
                        seconds=20.0,
                        sample_rate=22050, channels=1, noise_checksum=0)  # fmt: skip
        spectrograms = packing.files_of(cache, AUDIO, record)
        paths = [f"{root}/{record.path}", *(file.path for file in spectrograms)]
        if i % SHARED == 0:
            originals = paths
            write_text(paths[0], "sound")
            checksums = [
                packing.write_array(file.path, np.zeros(file.shape, np.float16))
                for file in spectrograms
            ]
        else:
            for original, path in zip(originals, paths, strict=True):
                os.link(original, path)
        stat = os.stat(paths[0])
        yield replace(
            record,
            size=stat.st_size,
            modified=stat.st_mtime_ns,
            checksum=checksums[0],
            noise_checksum=checksums[1],
        )


def _python(code: str, *arguments: str, **environment: str) -> str:
    """Run a program in a process of its own and return what it prints."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, env=os.environ | environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
