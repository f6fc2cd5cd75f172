"""The page of what was heard, which stands alone: when, what is promised, to look at and hear."""

import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from birdnb import __version__
from birdnb.field.gallery import gallery
from birdnb.field.listener import Listener
from birdnb.field.promise import Promises
from birdnb.field.scores import Heard
from birdnb.files import write_text
from birdnb.report.page import style
from birdnb.report.words import duration, templates

HERE = Path(__file__).parent
ROWS = 300  # recordings in a table of the page at most; the CSV files have all


def write_page(
    path: Path, heard: list[Heard], detections: pd.DataFrame, listener: Listener,
    promises: Promises, step: float, each: int,
) -> Path:  # fmt: skip
    """Write FIELD.html: styles, pictures and sounds stand in it."""
    environment = templates(HERE, autoescape=True)
    environment.filters |= {"duration": duration, "shade": shade, "percent": percent}
    read = [one for one in heard if not one.reason]
    counts = detections["species"].value_counts()
    text = environment.get_template("field.html.j2").render(
        style=style(),
        listener=listener, promises=promises, step=step, version=__version__, heard=heard,
        read=read, total=sum(one.seconds for one in read),
        species=species_rows(detections, listener, promises),
        silent=[label for label in listener.labels if label not in counts.index],
        quiet=[one.recording for one in read if one.recording not in set(detections["recording"])],
        hours=by_hour(detections, read), files=by_file(detections, read), most=ROWS,
        gallery=gallery(detections, heard, listener.audio, each),
        promised=sum(promises.of(label).threshold is not None for label in listener.labels),
        faults=[one for one in heard if one.reason or one.note or "clock" in one.clock],
    )  # fmt: skip
    return write_text(path, text)


def species_rows(
    detections: pd.DataFrame, listener: Listener, promises: Promises
) -> list[dict[str, Any]]:
    """Return what the page says of each species that was heard, those with a promise first."""
    rows = []
    for species, found in detections.groupby("species"):
        promise = promises.of(str(species))
        rows.append(
            {
                "species": species, "detections": len(found),
                "recordings": found["recording"].nunique(),
                "seconds": float((found["end"] - found["start"]).sum()),
                "surest": float(found["probability"].max()), "promise": promise,
            }
        )  # fmt: skip
    return sorted(rows, key=lambda row: (row["promise"].threshold is None, -row["detections"]))


def by_hour(detections: pd.DataFrame, read: list[Heard]) -> dict[str, Any]:
    """Return detections by species and hour of the day, on the recorders' clocks.

    ``cells`` are pairs: how many, and how many a recorded hour; None where nothing was recorded.
    Without any clock time, hours count from the beginning of each recording. ``effort`` is the
    time [h] that was recorded in each.
    """
    clock = any(one.begins for one in read)
    used = [one for one in read if one.begins] if clock else read
    effort: dict[int, float] = {}
    for one in used:
        begin = _seconds_of_day(one.begins) if clock else 0.0
        for hour, seconds in _spread(begin, one.seconds, wrap=clock):
            effort[hour] = effort.get(hour, 0.0) + seconds / 3600
    hours = list(range(24)) if clock else sorted(effort)
    begins = {one.recording: _seconds_of_day(one.begins) if clock else 0.0 for one in used}
    known = detections[detections["recording"].isin(begins)]
    at = known["recording"].map(begins).astype(float) + known["start"]
    hour = (at // 3600).astype(int) % 24 if clock else (at // 3600).astype(int)
    counts = pd.crosstab(known["species"], hour).reindex(columns=hours, fill_value=0)
    cells = {
        str(species): [
            (count, count / effort[hour]) if hour in effort else None
            for hour, count in zip(hours, row.tolist(), strict=True)
        ]
        for species, row in counts.iterrows()
    }
    return {
        "clock": clock, "hours": hours, "effort": [effort.get(hour, 0.0) for hour in hours],
        "cells": cells, "left_out": len(read) - len(used),
        "largest": {name: max(cell[1] for cell in row if cell) for name, row in cells.items()},
    }  # fmt: skip


def by_file(detections: pd.DataFrame, read: list[Heard]) -> dict[str, Any]:
    """Return the number of detections by recording and species, the commonest species first."""
    species = detections["species"].value_counts().index.tolist()
    counts = pd.crosstab(detections["recording"], detections["species"]).reindex(
        index=[one.recording for one in read], columns=species, fill_value=0
    )
    rows = [(one, counts.loc[one.recording].tolist()) for one in read]
    return {"species": species, "rows": rows[:ROWS], "left_out": max(0, len(rows) - ROWS)}


def shade(value: float, most: float) -> str:
    """Return the colour of a cell, white to blue; "" for none."""
    if not most or not value > 0:
        return ""
    share = 0.12 + 0.88 * min(1.0, value / most) ** 0.5
    return f"background:rgba(0,114,178,{share:.2f});color:{'#fff' if share > 0.55 else 'inherit'}"


def percent(share: float) -> str:
    """Write a share in whole percent, never rounded up to certainty."""
    return f"{min(99, round(100 * share))} %" if share < 1 else "100 %"


def _seconds_of_day(begins: str) -> float:
    time = datetime.datetime.fromisoformat(begins)
    return time.hour * 3600.0 + time.minute * 60 + time.second


def _spread(begin: float, seconds: float, wrap: bool) -> list[tuple[int, float]]:
    """Share out a recording over the hours that it lies in: (hour, seconds)."""
    parts, at, end = [], begin, begin + seconds
    while at < end - 1e-9:
        until = min(end, 3600.0 * (at // 3600 + 1))
        hour = int(at // 3600)
        parts.append((hour % 24 if wrap else hour, until - at))
        at = until
    return parts
