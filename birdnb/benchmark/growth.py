"""What grows with a corpus, and how: from opening it to the report, 1,000 to 100,000 recordings."""

import contextlib
import json
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from birdnb.benchmark.rows import Row
from birdnb.benchmark.start import SIZES, python, repeated_corpus
from birdnb.config import load_profile
from birdnb.corpora import open_corpus
from birdnb.data import StudyData, open_study
from birdnb.evaluation.metrics import summarise
from birdnb.evaluation.predictions import Predictions
from birdnb.features.cache import build_cache
from birdnb.registry import CLASSICAL
from birdnb.report.collect import collect
from birdnb.report.write import write_report
from birdnb.split.sides import audit_split, check_species, make_split, sessions
from birdnb.training.devices import peak_memory_mb
from birdnb.training.runs import ClassicalSettings, RunResult, run_config

SEED, MOST = 7, "at most 1.1"
MEASURE = """
import json, sys
from pathlib import Path
from birdnb.benchmark.growth import measured
print(json.dumps(measured(Path(sys.argv[1]))))
"""
WHAT = {
    "opening": "corpus and finished cache opened", "splitting": "sessions found, species split",
    "auditing": "split audited", "evaluating": "test side evaluated, bootstrap over sessions",
    "report": "report written", "memory": "peak memory of the process",
}  # fmt: skip


def rows(sizes: tuple[int, ...] = SIZES) -> list[Row]:
    """Return a row for each job: at the largest size beside the smallest, with the exponent.

    The exponent is that between the two largest sizes: what does not grow hides it least there.
    """
    found: dict[int, dict[str, float]] = {}
    for n in tqdm(sizes, desc="growth", unit="corpus"):
        with tempfile.TemporaryDirectory(prefix="birdnb-") as folder:
            corpus = repeated_corpus(Path(folder), n)
            found[n] = json.loads(python(MEASURE, str(corpus), BIRDNB_ARTIFACTS=folder))
    small, before, large = sizes[0], *sizes[-2:]
    return [
        Row(
            f"{what}, {large:,} recordings; ratio: exponent", "GB" if name == "memory" else "s",
            found[large][name], found[small][name], f"{small:,} recordings",
            exponent(found[before][name], found[large][name], large / before), MOST,
        )
        for name, what in WHAT.items()
    ]  # fmt: skip


def exponent(before: float, after: float, times: float) -> float:
    """Return the power of the size with which a figure grew while the size grew ``times``."""
    return math.log(after / before) / math.log(times)


def measured(root: Path) -> dict[str, float]:
    """Do what a study does with a table of recordings; return seconds, and gigabytes taken."""
    profile, watch = load_profile("laptop"), _Watch()
    with watch("opening"):
        corpus = open_corpus(root, progress=False)
        build_cache(corpus, profile.audio, progress=False)
    with watch("splitting"):
        rows = corpus.manifest.assign(session=sessions(corpus.manifest))
        table, _ = check_species(rows, profile.split)
        side = make_split(table, profile.split, SEED)
    with watch("auditing"):
        audit_split(table, side, profile.split.group_by)
    data = open_study(root, profile, SEED, progress=False)
    run = _run(data, root / "run")
    with watch("evaluating"):
        ids = run.test.recording_ids
        run.metrics["test"] = summarise(run.test, data.labels, data.sessions(ids), seed=SEED)
    with watch("report"):
        write_report(collect([data], {run.name: [run]}), {}, root / "report")
    return watch.seconds | {"memory": peak_memory_mb(torch.device("cpu")) / 1e3}


class _Watch:
    """Notes the processor time of each block [s]: others use the machine, too."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begin = time.process_time()
        yield
        self.seconds[name] = time.process_time() - begin


def _run(data: StudyData, folder: Path) -> RunResult:
    """Invent a finished run of a classifier that is right more often than not."""
    config = run_config(data, CLASSICAL, ClassicalSettings(), torch.device("cpu"), 1)
    val, test = (_guesses(data, side) for side in ("validation", "test"))
    metrics = {
        "train": {"accuracy": 0.9}, "val": summarise(val, data.labels, None, bootstrap=0),
        "epochs": 1, "best_epoch": 1, "seconds": 1.0, "parameters": 1, "pretrained": False,
    }  # fmt: skip
    history = pd.DataFrame([{"epoch": 1, "train_accuracy": 0.9, "val_accuracy": 0.8}])
    return RunResult(CLASSICAL, folder, config, data.labels, history, metrics, val, test)


def _guesses(data: StudyData, side: str) -> Predictions:
    """Invent predictions that are right more often than not."""
    ids, rng = data.side(side), np.random.default_rng(SEED)
    targets = data.targets(ids)
    scores = rng.random((len(ids), len(data.labels)), dtype=np.float32)
    scores[np.arange(len(ids)), targets] += 0.9
    return Predictions(ids, scores / scores.sum(axis=1, keepdims=True), targets)
