"""What corrections of labels did to a study: how many, by whom, and the scores before and after."""

import json
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from birdnb.corpora.corrections import DECISIONS, DROP, RELABEL
from birdnb.evaluation.metrics import accuracy
from birdnb.evaluation.predictions import Predictions, concatenate
from birdnb.report.collect import ReportInput
from birdnb.training.runs import METRICS, RunResult, folder_of, load_run


def corrections_of(report: ReportInput, run: str | None) -> dict[str, Any] | None:
    """Return what metrics.json says of the corrections that were applied; None without any.

    ``test`` counts the test recordings among them apart: those of another species now, how many
    of these the run names rightly, and those dropped. ``same`` holds accuracy before and after on
    the test recordings whose label nobody changed: the same in both studies, as corrections move
    no recording to another side. ``before`` is None where the study without corrections was not
    run with these recordings, this seed, these settings and weights.
    """
    table = report.corrections
    if table is None or run is None:
        return None
    when, on_test = sorted(filter(None, table["when"])), table[table["side"] == "test"]
    found, before = report.test(run), _before(report, run)
    other = report.tables[0].set_index("recording_id")["label_before"] != ""
    changed = other.loc[found.recording_ids].to_numpy()  # (R,) bool
    right = found.predicted == found.targets
    return {decision: int((table["decision"] == decision).sum()) for decision in DECISIONS} | {
        "by": sorted(set(filter(None, table["by"]))),
        "first": when[0] if when else "",
        "last": when[-1] if when else "",
        "test": {
            "relabel": int((on_test["decision"] == RELABEL).sum()),
            "right": int(right[changed].sum()),
            "drop": int((on_test["decision"] == DROP).sum()),
        },
        "accuracy": accuracy(found),
        "before": None if before is None else accuracy(before),
        "same": _same(found, changed, before),
    }


def _same(
    found: Predictions, changed: np.ndarray, before: Predictions | None
) -> dict[str, Any] | None:
    if before is None:
        return None
    ids = pd.Index(found.recording_ids)[~changed].intersection(before.recording_ids)
    scores = {}
    for name, part in (("before", before), ("after", found)):
        those = pd.Index(part.recording_ids).isin(ids)
        scores[name] = float(np.mean((part.predicted == part.targets)[those]))
    return {"recordings": len(ids)} | scores if len(ids) else None


def _before(report: ReportInput, run: str) -> Predictions | None:
    """Return a run's test predictions in the study without corrections, of all folds.

    None where that study is not there or was asked for something else.
    """
    folds: list[tuple[int, int] | None] = [(k, report.folds) for k in range(1, report.folds + 1)]
    found = {}
    for name in (*report.configs[run].get("members", ()), run):
        folders = [folder_of(report.before, report.profile, name, fold) for fold in folds or [None]]
        if not all((folder / METRICS).exists() for folder in folders):
            return None
        found[name] = [load_run(folder) for folder in folders]
        now = report.runs.get(name, found[name])
        if not all(map(partial(_comparable, report), report.tables, found[name], now)):
            return None
    return concatenate([result.test for result in found[run]])


def _comparable(
    report: ReportInput, table: pd.DataFrame, before: RunResult, now: RunResult
) -> bool:
    """Tell whether a run was asked for the same as now, of the same recordings but for dropped."""
    assert report.corrections is not None
    on_a_side = report.corrections.loc[report.corrections["side"] != "", "recording_id"]
    dropped = set(on_a_side) - set(table["recording_id"])
    for one, other in ((before.val, now.val), (before.test, now.test)):
        was, is_now = set(one.recording_ids), set(other.recording_ids)
        if not (is_now <= was and was - is_now <= dropped):
            return False
        dropped -= was  # those left were learned from
    learned = int((table["side"] == "train").sum()) + len(dropped)
    same = before.config.get("recordings", {}).get("train", learned) == learned
    return same and _asked(before.config) == _asked(now.config)


def _asked(config: dict[str, Any]) -> str:
    """Return what a run was asked for, but for its recordings: the same in studies to compare."""
    parts = ("seed", "settings", "audio", "weights")
    asked = [config.get("corpus", {}).get("split"), *map(config.get, parts)]
    return json.dumps(asked, sort_keys=True)  # a run just made has tuples where a file has lists
