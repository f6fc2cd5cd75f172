"""Hold an outing against annotations, and write down what came out."""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from birdnb.corpora.labels import label_key
from birdnb.evaluation.predictions import Predictions, concatenate
from birdnb.field.detect import calibrated
from birdnb.field.evaluate import SEGMENT_SECONDS, cut_segments, evaluate, focal_drop
from birdnb.field.listener import fold_folders
from birdnb.field.outing import Outing
from birdnb.field.scores import Heard
from birdnb.field.truth import read_truth
from birdnb.files import write_table


@dataclass(frozen=True)
class Judgement:
    """What annotations say of an outing."""

    truth: pd.DataFrame  # recording, start, end [s], species, file
    table: pd.DataFrame  # as ``evaluate`` makes it
    drop: pd.DataFrame  # as ``focal_drop`` makes it
    notes: list[str]  # what was left out, and who is a stranger to the run


def judge(outing: Outing, annotations: Path | str, out: Path) -> Judgement:
    """Hold what was heard against annotations; writes truth.csv and truth_drop.csv into ``out``.

    Recordings that nobody annotated are left out. Files of another question, such as other
    annotations, are set aside. Raises BirdnbError as ``read_truth``.
    """
    labels, promises = outing.listener.labels, outing.promises
    read = [one for one in outing.heard if not one.reason]
    truth, annotated, lost = read_truth(annotations, [one.recording for one in read])
    known = {label_key(label): label for label in labels}
    truth["species"] = [known.get(label_key(name), name) for name in truth["species"]]
    seconds = outing.listener.audio.clip_seconds
    segments, refused = (
        cut_segments(_calibrated(outing, annotated, refusing), labels, seconds, truth)
        for refusing in (False, True)
    )
    table = evaluate(segments, labels, promises, refused.scores)
    drop = focal_drop(table, _test_side(outing.listener.folder), labels, promises)
    notes = _notes(outing, truth, annotated, len(segments.start)) + _lost(lost)
    about = {"annotations": str(Path(annotations).absolute()), "run": outing.listener.name,
             "weights": outing.listener.weights, "step": f"{outing.step:g}"}  # fmt: skip
    notes += _set_aside(out, about | {"promised": str(round(promises.precision or 0, 4) or "")})
    for name, rows in (("truth", table), ("truth_drop", drop)):
        write_table(out / f"{name}.csv", rows.round(4).assign(**about))
    return Judgement(truth, table, drop, notes)


def _set_aside(out: Path, about: dict[str, str]) -> list[str]:
    """Rename truth.csv and truth_drop.csv unless they are about the same; returns a line."""
    if (before := truth_before(out)) is None or all(before.get(k) == v for k, v in about.items()):
        return []
    number = next(n for n in itertools.count(1) if not (out / f"truth-{n}.csv").exists())
    for name in ("truth", "truth_drop"):
        if (out / f"{name}.csv").exists():
            (out / f"{name}.csv").rename(out / f"{name}-{number}.csv")
    return [f"truth.csv was about {described(before)}: it is truth-{number}.csv now"]


def truth_before(out: Path) -> dict[str, str] | None:
    """Return what the truth.csv of an earlier call is about: its last row; None without one."""
    path = out / "truth.csv"
    if not path.exists():
        return None
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError:  # pandas' own errors are such
        return {}
    return dict(rows.iloc[-1]) if len(rows) else {}


def described(before: dict[str, str]) -> str:
    """Say in some words what ``truth_before`` found."""
    named = [f"{name} {before[name]}" for name in ("annotations", "run", "step") if name in before]
    return ", ".join(named) or "something else"


def _calibrated(outing: Outing, annotated: list[str], refusing: bool) -> list[Heard]:
    """Return the annotated recordings with their windows, after calibration."""
    return [
        replace(one, probabilities=calibrated(one.probabilities, outing.promises.temperature)[0])
        for one in outing.windows(refusing)
        if one.recording in annotated
    ]


def _test_side(folder: Path) -> Predictions:
    """Return what a run said of the test side's recordings, of folds of all of them."""
    parts = [Predictions.load(part / "predictions_test.npz") for part in fold_folders(folder)]
    return concatenate(parts)


def _notes(outing: Outing, truth: pd.DataFrame, annotated: list[str], segments: int) -> list[str]:
    notes = [
        f"{len(truth)} annotations of {len(annotated)} recordings, {segments} segments of "
        f"{SEGMENT_SECONDS:g} s"
    ]
    strangers = truth.loc[~truth["species"].isin(outing.listener.labels), "species"]
    if len(strangers):
        counts = strangers.value_counts()
        names = ", ".join(f"{name} ({count})" for name, count in counts.head(8).items())
        more = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
        notes.append(f"unknown to the run, so that nothing may be called there: {names}{more}")
    if len(strangers) == len(truth):
        notes.append("not one annotation names a species of the run, which calls them as in "
                     f"{outing.listener.labels[0]!r}: write their names so")  # fmt: skip
    left_out = [one.recording for one in outing.heard if one.recording not in annotated]
    if left_out:
        notes.append(f"without annotations, left out: {len(left_out)} (such as {left_out[0]})")
    return notes


def _lost(names: list[str]) -> list[str]:
    """Say which annotations were left out, in one note or none."""
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return [
        f"annotations left out, of no recording that was heard, or of several of that name: "
        f"{', '.join(names[:8])}{more}"
    ] * bool(names)
