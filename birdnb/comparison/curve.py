"""Train on nested parts of the training sessions and measure what more recordings bring.

Every training is a run like any other (``curve_classical_mfcc_1_of_8``), so that finished ones are
not repeated. All sizes are judged on the same test recordings of the same folds.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from birdnb.data import StudyData
from birdnb.evaluation.metrics import accuracy, f1_macro
from birdnb.files import safe_name, write_table
from birdnb.training.runs import AnySettings, RunResult
from birdnb.training.train import train_run

EIGHTHS = (1, 2, 4, 8)  # of the training sessions


@dataclass(frozen=True)
class Training:
    """One training of a curve: the part of the sessions it had, and what came of it."""

    run: str
    eighths: int
    data: StudyData  # with the training recordings that it had
    result: RunResult


def nested_sessions(
    table: pd.DataFrame, eighths: Sequence[int], rng: np.random.Generator
) -> list[set[str]]:
    """Choose sessions in growing parts, each inside the next, for every species its share.

    ``table`` holds the training recordings (species, session). A species has one session at least
    in the smallest part, and then as many as its share of eighths rounds to, or more where its
    sessions are those of other species, too.
    """
    pairs = table[["session", "species"]].drop_duplicates()
    species_of = pairs.groupby("session")["species"].agg(list)
    total = pairs["species"].value_counts()
    order = rng.permutation(species_of.index.to_numpy())
    chosen: set[str] = set()
    have: Counter[str] = Counter()
    parts = []
    for part in eighths:
        quota = {name: max(1, round(part * n / 8)) for name, n in total.items()}
        for session in order:
            here = species_of[session]
            if session not in chosen and any(have[name] < quota[name] for name in here):
                chosen.add(session)
                have.update(here)
        parts.append(set(chosen))
    return parts


def train_curve(
    studies: Sequence[StudyData], run: str, settings: AnySettings, progress: bool = True
) -> Iterator[Training]:
    """Train a run on each part of the training sessions of each study (a fold with a seed).

    Finished trainings are loaded; where a part is no larger than the one before, its training
    serves again.
    """
    bar = tqdm(total=len(studies) * len(EIGHTHS), desc=run, unit="training", disable=not progress)
    for data in studies:
        side = data.table["side"]
        rng = np.random.default_rng([data.seed, data.fold[0] if data.fold else 0])
        before: set[str] = set()
        result = None
        for eighths, kept in zip(
            EIGHTHS, nested_sessions(data.table[side == "train"], EIGHTHS, rng), strict=True
        ):
            rows = (side != "train") | data.table["session"].isin(kept)
            part = replace(data, table=data.table[rows].reset_index(drop=True))
            if result is None or kept != before:
                result = train_run(part, training_name(run, eighths, data.seed), settings, progress)
            before = kept
            bar.update()
            yield Training(run, eighths, part, result)
    bar.close()


def training_name(run: str, eighths: int, seed: int) -> str:
    """Return the name of a training, ``curve_phase2_mfcc_1_of_8``; with its seed unless 7."""
    return safe_name(f"curve_{run}_{eighths}_of_8" + (f"_seed{seed}" if seed != 7 else ""))


def row_of(training: Training) -> dict[str, Any]:
    """Return a training's row: what it was, what it learned from, its scores on the test side."""
    data, result = training.data, training.result
    counts = session_counts(data)
    return {
        "run": training.run, "seed": data.seed, "fold": data.fold[0] if data.fold else 1,
        "share": training.eighths / 8, "sessions_a_species": round(float(counts.mean()), 3),
        "sessions": data.table.loc[data.table["side"] == "train", "session"].nunique(),
        "recordings": len(data.side("train")), "accuracy": accuracy(result.test),
        "f1_macro": f1_macro(result.test), "seconds": result.metrics["seconds"],
    }  # fmt: skip


def session_counts(data: StudyData) -> pd.Series:
    """Return the number of training sessions of each label, in the order of the labels."""
    train = data.table[data.table["side"] == "train"]
    return train.groupby("species")["session"].nunique().reindex(data.labels, fill_value=0)


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write a table as CSV, figures to six digits."""
    return write_table(path, pd.DataFrame(rows), float_format="%.6g")
