"""From the probabilities of windows to detections: above a threshold, or by rank only."""

import datetime
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from birdnb.evaluation.calibration import apply_temperature
from birdnb.evaluation.predictions import Predictions
from birdnb.field.promise import Promises
from birdnb.field.scores import Heard

# of detections.csv and .parquet; times in seconds from the beginning of the recording
COLUMNS = ["recording", "start", "end", "peak", "time", "species", "probability", "threshold"]
COLUMNS += ["rank", "windows", "run", "weights", "birdnb"]
RANKED = 20  # of a species without a promise so many are kept, the surest


def detections(
    heard: Iterable[Heard], labels: Sequence[str], promises: Promises, clip_seconds: float,
    ranked: int = RANKED,
) -> pd.DataFrame:  # fmt: skip
    """Return a row for each detection, by recording and time; the columns up to ``windows``.

    Neighbouring windows of a species above its threshold are one detection, with the largest of
    their probabilities; ``peak`` [s] is where that window begins. A species without a threshold has
    its ``ranked`` surest stretches in which it is the most probable one, ``rank`` from 1; their
    threshold is missing.
    """
    rows = [row for one in heard for row in _rows(one, labels, promises, clip_seconds, ranked)]
    table = pd.DataFrame(rows, columns=COLUMNS[:10])
    order = table["probability"].where(table["threshold"].isna())
    table["rank"] = order.groupby(table["species"]).rank(method="first", ascending=False)
    table = table[table["threshold"].notna() | (table["rank"] <= ranked)]
    table = table.astype({"rank": "Int64", "windows": int, "threshold": float})
    return table.sort_values(["recording", "start", "species"], ignore_index=True)


def _rows(
    heard: Heard, labels: Sequence[str], promises: Promises, clip_seconds: float, ranked: int
) -> Iterator[dict[str, Any]]:
    if not len(heard.starts):
        return
    ends = np.minimum(heard.starts + clip_seconds, heard.seconds)
    probabilities, recorded = calibrated(heard.probabilities, promises.temperature)
    best = probabilities.argmax(axis=1)
    for number, species in enumerate(labels):
        p, threshold = probabilities[:, number], promises.of(species).threshold
        above = recorded & (best == number if threshold is None else p >= threshold)
        found = [
            (_surest(p, above, first, last), first, last)
            for first, last in merged(heard.starts, ends, above)
        ]
        if threshold is None:
            found = sorted(found, key=lambda group: p[group[0]])[-ranked:]
        for peak, first, last in found:
            yield {
                "recording": heard.recording, "start": round(float(heard.starts[first]), 3),
                "end": round(float(ends[last]), 3), "peak": round(float(heard.starts[peak]), 3),
                "time": clock_time(heard.begins, float(heard.starts[first])),
                "species": species, "probability": float(p[peak]), "threshold": threshold,
                "windows": int(above[first : last + 1].sum()),
            }  # fmt: skip


def _surest(p: np.ndarray, above: np.ndarray, first: int, last: int) -> int:
    """Return the index of the surest window from ``first`` to ``last`` that is ``above``."""
    return first + int(np.where(above, p, -1.0)[first : last + 1].argmax())


def calibrated(probabilities: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Scale probabilities (W, C), silence keeps 0; and tell the windows (W,) with sound."""
    recorded = probabilities.max(axis=1) > 0
    if temperature == 1 or not recorded.any():
        return probabilities, recorded
    names = [str(number) for number in range(int(recorded.sum()))]
    sounding = Predictions(names, probabilities[recorded], np.zeros(len(names), np.int64))
    scaled = np.zeros_like(probabilities)
    scaled[recorded] = apply_temperature(sounding, temperature).probabilities
    return scaled, recorded


def merged(starts: np.ndarray, ends: np.ndarray, above: np.ndarray) -> list[tuple[int, int]]:
    """Join windows that are ``above`` and overlap or touch: first and last index of each group."""
    groups: list[tuple[int, int]] = []
    for index in np.flatnonzero(above).tolist():
        if groups and starts[index] <= ends[groups[-1][1]] + 1e-6:
            groups[-1] = groups[-1][0], index
        else:
            groups.append((index, index))
    return groups


def clock_time(begins: str, seconds: float) -> str:
    """Return the ISO time [to the second] so long after a recording began; "" if unknown."""
    if not begins:
        return ""
    time = datetime.datetime.fromisoformat(begins) + datetime.timedelta(seconds=seconds)
    return time.isoformat(timespec="seconds")
