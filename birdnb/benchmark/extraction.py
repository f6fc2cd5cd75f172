"""Extraction: one core against librosa and against decoding alone, then all cores."""

import math
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import soundfile
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from birdnb.benchmark.plain import plain_lms
from birdnb.benchmark.rows import ROUNDS, Row, best_seconds
from birdnb.config import AudioSettings
from birdnb.corpora import open_corpus
from birdnb.features.decoders import AudioError
from birdnb.features.extract import extract
from birdnb.features.workers import Task, extract_all
from birdnb.files import BirdnbError

AUDIO = AudioSettings()
COMPRESSED = {".mp3", ".ogg"}  # as recordings come from Xeno-Canto and BirdCLEF
# [s] of the recordings measured, where there are such: most of Xeno-Canto's
LENGTHS = (20.0, 120.0)
MOST = 200  # recordings measured
ENOUGH = 20.0  # [s] of work for one core before several are compared with it


def rows(corpus: str, rounds: int = ROUNDS, enough: float = ENOUGH) -> list[Row]:
    """Return the seconds of sound extracted per second, by one core and by all of them.

    Several cores share what takes one ``enough`` seconds.
    """
    paths, sound = _recordings(corpus)
    took = dict.fromkeys(("birdnb", "plain", "decoding"), 0.0)
    with threadpool_limits(1):
        plain_lms(paths[0], AUDIO)  # librosa compiles
        for path in tqdm(paths, desc="extraction", unit="recording"):
            ways: dict[str, Callable[[], Any]] = {
                "birdnb": partial(extract, path, AUDIO),
                "plain": partial(plain_lms, path, AUDIO),
                "decoding": partial(_decode, path),
            }
            for name, seconds in best_seconds(ways, rounds).items():
                took[name] += seconds
    ours, unit = sound / took["birdnb"], "s of sound per s"
    kinds = " and ".join(sorted({path.suffix[1:].upper() for path in paths}))
    what = f"{len(paths)} recordings of {sound / len(paths):.0f} s on average, {kinds}"
    return [
        Row(f"extraction, one core ({what})", unit, ours, sound / took["plain"], "librosa",
            took["plain"] / took["birdnb"], "at least 2"),
        Row("... time relative to decoding", unit, ours, sound / took["decoding"], "decoding alone",
            took["birdnb"] / took["decoding"], "at most 1.5"),
        *_over_cores(paths, sound, math.ceil(enough / took["birdnb"]), rounds),
    ]  # fmt: skip


def _recordings(corpus: str) -> tuple[list[Path], float]:
    """Return readable recordings, evenly chosen, compressed ones of LENGTHS first, and seconds."""
    found = open_corpus(corpus)
    paths = [found.root / path for path in found.manifest["path"]]
    paths = [path for path in paths if path.suffix.lower() in COMPRESSED] or paths
    lengths: dict[Path, float] = {}
    for path in paths[:: math.ceil(len(paths) / MOST)]:
        try:
            soundfile.read(path, frames=1)
            lengths[path] = extract(path, AUDIO).seconds
        except (AudioError, soundfile.LibsndfileError):
            continue  # a study lists these in its quarantine
    if not lengths:
        raise BirdnbError(f"none of the recordings of {corpus} can be read: give another corpus")
    usual = {
        path: seconds for path, seconds in lengths.items() if LENGTHS[0] <= seconds <= LENGTHS[1]
    }
    chosen = usual or lengths
    return list(chosen), sum(chosen.values())


def _over_cores(paths: list[Path], sound: float, times: int, rounds: int) -> list[Row]:
    """Return the cache's own speed on the recordings ``times`` over, on one core and on all."""
    cores = joblib.cpu_count()
    if cores == 1:
        return []
    with tempfile.TemporaryDirectory(prefix="birdnb-") as folder:
        tasks = [
            Task(f"{i}-{k}", str(path), str(path), Path(folder), AUDIO)
            for k in range(times)
            for i, path in enumerate(paths)
        ]
        list(extract_all(tasks[: 8 * cores], cores, progress=False))  # the workers start and import
        ways: dict[str, Callable[[], Any]] = {}
        for n in (1, cores):
            ways |= {
                f"extraction {n}": partial(_drain, tasks, n),
                f"decoding {n}": partial(_decode_all, paths * times, n),
            }
        took = best_seconds(ways, rounds)
    sound *= times
    several = [
        ("extraction", f"extraction into the cache, {cores} cores", f"at least {0.9 * cores:.1f}"),
        ("decoding", f"... decoding alone, {cores} cores: what this machine can do", ""),
    ]
    found = []
    for kind, what, target in several:
        one, all_cores = took[f"{kind} 1"], took[f"{kind} {cores}"]
        speeds = sound / all_cores, sound / one
        found.append(Row(what, "s of sound per s", *speeds, "one core", one / all_cores, target))
    return found


def _drain(tasks: list[Task], jobs: int) -> None:
    for _ in extract_all(tasks, jobs, progress=False):
        pass


def _decode_all(paths: list[Path], jobs: int) -> None:
    joblib.Parallel(n_jobs=jobs)(joblib.delayed(_decode)(path) for path in paths)


def _decode(path: Path) -> None:
    soundfile.read(path, dtype="float32")
