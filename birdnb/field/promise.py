"""What a run may claim of each species, fixed beforehand and kept in ``thresholds.json``."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from birdnb.evaluation.promises import Threshold
from birdnb.evaluation.refusal import Refusal
from birdnb.files import BirdnbError, write_json

TABLE = ["species", "threshold", "precision", "low", "high", "recall", "clips", "sessions",
         "reason"]  # fmt: skip
THRESHOLDS = "thresholds.json"  # beside the run
UNKNOWN = f"no {THRESHOLDS} beside the run: nothing was promised"


@dataclass(frozen=True)
class Promises:
    """The promises of a run, by species."""

    precision: float | None = None  # that was asked for
    temperature: float = 1.0  # probabilities are raised to the power 1 / temperature beforehand
    species: dict[str, Threshold] = field(default_factory=dict)
    weights: str = ""  # of the run, as its listener says: others need thresholds of their own
    clips: int = 0  # of the validation side
    sessions: int = 0
    refusal: Refusal | None = None  # what refuses windows that hold none of the species
    refusals: list[dict[str, Any]] = field(default_factory=list)  # how all scores did, as rows
    alarms: list[dict[str, Any]] = field(default_factory=list)  # false alarms, as rows

    def of(self, species: str) -> Threshold:
        """Return the promise for a species; one without a threshold where none was made."""
        return self.species.get(species, Threshold(reason=UNKNOWN))


def promise_table(promises: Promises) -> pd.DataFrame:
    """Lay the promises out: a row a species, those with a threshold first; reason for the others.

    Columns species, threshold, precision, low, high, recall, clips, sessions, reason.
    """
    rows = [
        {"species": species, **asdict(one), "low": low, "high": high}
        for species, one in promises.species.items()
        for low, high in [one.interval or (None, None)]
    ]
    table = pd.DataFrame(rows).sort_values("threshold", ascending=False, ignore_index=True)
    return table[TABLE].fillna({"reason": ""})


def write_promises(folder: Path, promises: Promises) -> Path:
    """Write ``thresholds.json`` beside a run, atomically."""
    return write_json(folder / THRESHOLDS, TypeAdapter(Promises).dump_python(promises, mode="json"))


def read_promises(folder: Path) -> Promises:
    """Read a run's ``thresholds.json``, no promises without it; BirdnbError: damaged."""
    path = folder / THRESHOLDS
    if not path.exists() and not folder.is_dir():  # before, those of folds lay in the run's folder
        path = folder.parent / THRESHOLDS
    if not path.exists():
        return Promises()
    try:
        return TypeAdapter(Promises).validate_python(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise BirdnbError(f"{path} is damaged ({error}): find the thresholds again") from error
