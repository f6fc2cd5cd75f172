"""Notice when the demo study gets worse: facts recorded by ``--bless``, compared by ``--test``.

The environment variable ``BIRDNB_FACTS`` says which: ``record``, ``compare``, or nothing, as in
every study of one's own, where facts are only shown.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from birdnb.files import write_json
from birdnb.study.books import notebooks_dir
from birdnb.study.regression import LANE

RECORDED = notebooks_dir() / "facts.json"  # notebook -> fact -> value


def fact_table(
    number: str, values: Mapping[str, float], within: float = 0.1, recorded: Path = RECORDED
) -> str:
    """Lay the facts of a notebook out as text, and record or compare them as the lane says.

    Whole numbers must be the recorded ones, others within ``within`` of them; what agrees is shown
    as recorded, so that the text is the same on every machine. Raises AssertionError naming each
    fact that does not agree, is new or is missing.
    """
    lane = os.environ.get(LANE)
    known = json.loads(recorded.read_text(encoding="utf-8")) if recorded.exists() else {}
    if lane == "record":
        write_json(recorded, dict(sorted((known | {number: dict(values)}).items())))
    if lane == "compare":
        values = _compared(values, known.get(number, {}), within)
    rows = {
        name: (str(value), "exactly") if isinstance(value, int) else (f"{value:.3f}", f"± {within}")
        for name, value in values.items()
    }
    return pd.DataFrame(rows, index=["value", "must agree"]).T.to_string()


def _compared(
    now: Mapping[str, float], recorded: Mapping[str, float], within: float
) -> Mapping[str, float]:
    """Return the recorded facts when those of now agree with them."""
    wrong = [
        f"{name}: {now.get(name, 'missing')} now, {recorded.get(name, 'nothing')} recorded"
        for name in dict.fromkeys([*recorded, *now])
        if not _agree(now.get(name), recorded.get(name), within)
    ]
    assert not wrong, (
        f"facts of the demo study have changed ({'; '.join(wrong)}; all but whole numbers may "
        f"differ by {within}): find out why, and bless the notebooks only if it is meant"
    )
    return recorded


def _agree(now: float | None, recorded: float | None, within: float) -> bool:
    if now is None or recorded is None:
        return False
    if isinstance(now, int) or isinstance(recorded, int):
        return now == recorded
    return abs(now - recorded) <= within  # false for a value that is not a number
