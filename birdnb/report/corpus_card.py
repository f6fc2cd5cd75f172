"""The data card of a corpus: who recorded what, where, when, with what, under which licence.

A page of Markdown that begins with what hubs read: https://huggingface.co/docs/hub/datasets-cards.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import yaml

from birdnb.corpora.background import background_matrix
from birdnb.corpora.table import license_counts, short_license
from birdnb.files import write_text
from birdnb.plots.corpus import recording_map, recording_times
from birdnb.plots.style import save
from birdnb.report.collect import ReportInput
from birdnb.report.tables import pipe_table
from birdnb.report.words import duration, plain, template
from birdnb.split.dates import certain_days, read_days
from birdnb.split.facts import coordinates, people
from birdnb.split.sides import SIDES

NAME = "corpus_card.md"
MOST = 10  # rows of a list of people or things
SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"))
HUB = re.compile(r"cc-by(-nc)?(-sa|-nd)?-(2\.0|2\.5|3\.0|4\.0)|cc0-1\.0")
HOUR = re.compile(
    r"\s*(\d{1,2})(?:[:.h]\d\d|\s*(?=[ap]\.?\s?m))[\d:.\s]*(?:([ap])\.?\s?m)?.*", re.IGNORECASE
)
HALF_DAY = re.compile(r"\d\s*[ap]\.?\s?m\b", re.IGNORECASE)


def write_card(report: ReportInput, folder: Path) -> Path:
    """Write ``corpus_card.md`` and its figures beside a report, and return its path."""
    table = card_table(report)
    figures = {}
    for name, draw, shown in (
        ("corpus_map", recording_map, table[["latitude", "longitude"]].notna().all(axis=1).any()),
        ("corpus_times", recording_times, table[["month", "hour"]].notna().any(axis=None)),
    ):
        if shown:
            save(draw(table), folder / "figures" / f"{name}.png")
            figures[name] = f"figures/{name}.png"
    text = template("corpus_card.md.j2").render(
        **_facts(report, table), head=_head(report, table), figures=figures, report=report
    )
    return write_text(folder / NAME, re.sub(r"\n{3,}", "\n\n", text).strip() + "\n")


def card_table(report: ReportInput) -> pd.DataFrame:
    """Return the recordings used, with what is measured and read of them.

    Added: latitude and longitude [degrees], day, month, hour (numbers or NaN), seconds,
    sample_rate, channels, format. A day is "" where a date may mean several.
    """
    table = report.tables[0]
    if not report.sound.empty:
        sound = report.sound.set_index("recording_id")
        table = table.join(sound[sound.columns.difference(table.columns)], on="recording_id")
    table = table.copy()
    for name in ("date", "time", "locality", "latitude", "longitude", "equipment"):
        table[name] = table.get(name, pd.Series("", table.index))
    table[["latitude", "longitude"]] = coordinates(table)
    day = certain_days(table["date"])
    month = day.str.extract(r"^\d{4}-(\d\d)")[0].astype(float)
    formats = table["path"].map(lambda path: PurePosixPath(path).suffix.lower().lstrip("."))
    return table.assign(day=day, month=month, hour=table["time"].map(hour_of), format=formats)


def hour_of(time: str) -> float:
    """Return the hour of a time of day such as 08:00, 8.30 or 5:15 pm; NaN when it names none."""
    found = HOUR.fullmatch(time)
    hour = int(found[1]) if found else 24
    if found and not found[2] and HALF_DAY.search(time):  # 8:00-9:30 pm: which half is not clear
        return float("nan")
    if found and found[2] and 1 <= hour <= 12:
        hour = hour % 12 + 12 * (found[2].lower() == "p")
    return float(hour) if hour < 24 else float("nan")


def _head(report: ReportInput, table: pd.DataFrame) -> str:
    """Return what hubs read, as YAML: licence, task, size, tags."""
    found = {short_license(text).lower().replace(" ", "-") for text in table["license"] if text}
    found = {"cc0-1.0" if name.startswith("cc0") else name for name in found}
    known = sorted(name for name in found if HUB.fullmatch(name))
    licences = known + ["other"] * (len(known) < len(found)) or ["unknown"]
    head: dict[str, Any] = {
        "pretty_name": report.corpus,
        "license": licences[0] if len(licences) == 1 else licences,
        "task_categories": ["audio-classification"],
        "size_categories": [next((s for n, s in SIZES if len(table) < n), "n>1M")],
        "tags": ["bioacoustics", "birds", *(["synthetic-data"] if report.synthetic else [])],
    }
    return yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip()


def _kept(report: ReportInput) -> str:
    """Return what the split keeps on one side: recording session, recordist or recording."""
    of = next(iter(report.configs.values()), {}).get("corpus", {}).get("split", {})
    return {"session": "recording session"}.get(kind := of.get("group_by", "session"), kind)


def _facts(report: ReportInput, table: pd.DataFrame) -> dict[str, Any]:
    who = people(table["recordist"])
    written = table.groupby(who)["recordist"].transform(lambda names: names.mode()[0])
    days = sorted(filter(None, table["day"]))
    seconds = pd.to_numeric(table.get("seconds", pd.Series(dtype=float)), "coerce").dropna()
    placed = table.dropna(subset=["latitude", "longitude"])
    behind = background_matrix(table, report.labels)
    return {
        "n": len(table), "species": _species(report, table), "recordists": who[who != ""].nunique(),
        "anonymous": int((who == "").sum()), "who": _counted(written, "recordist"),
        "places": table.loc[table["locality"] != "", "locality"].nunique(), "placed": len(placed),
        "box": _box(placed), "days": days,
        "unclear": int((read_days(table["date"])[0] != "").sum()) - len(days),
        "months": int(table["month"].notna().sum()),
        "hours": int(table["hour"].notna().sum()),
        "equipment": _counted(table["equipment"], "equipment"),
        "formats": _counted(table["format"], "format"),
        "rates": _counted(_whole(table, "sample_rate"), "sample rate [Hz]"),
        "channels": _counted(_whole(table, "channels"), "channels"),
        "total": duration(float(seconds.sum())) if len(seconds) else "",
        "lengths": [f"{value:.1f} s" for value in seconds.quantile([0, 0.5, 1])],
        "licences": _licences(table), "sides": _sides(table),
        "kept": _kept(report), "background": int(behind.any(axis=1).sum()),
        "left_out": _left_out(report),
    }  # fmt: skip


def _counted(column: pd.Series, name: str) -> str:
    """Count what is stated in a column, as a table; "" when nothing is."""
    counts = column[column != ""].value_counts()
    counts = counts.reset_index().sort_values(["count", column.name], ascending=[False, True])
    if counts.empty:
        return ""
    rest = counts[MOST:]
    rows = [(plain(value), f"{count:,}") for value, count in counts[:MOST].itertuples(index=False)]
    rows += [(f"{len(rest)} others", f"{rest['count'].sum():,}")] if len(rest) else []
    return pipe_table(pd.DataFrame(rows, columns=[name, "recordings"]))


def _whole(table: pd.DataFrame, name: str) -> pd.Series:
    numbers = pd.to_numeric(table.get(name, pd.Series(None, table.index)), "coerce")
    return numbers.map(lambda n: "" if pd.isna(n) else str(int(n))).rename(name)


def _species(report: ReportInput, table: pd.DataFrame) -> str:
    rows = [{
        "species": plain(name),
        "common name": plain(next(filter(None, those.get("common_name", [])), "")),
        "recordings": f"{len(those):,}",
        "sessions": f"{those['session'].nunique():,}",
        "recordists": f"{people(those['recordist']).replace('', None).nunique():,}",
    } for name, those in table.groupby("species")]  # fmt: skip
    return pipe_table(pd.DataFrame(rows), left=2)


def _sides(table: pd.DataFrame) -> str:
    counts = table["side"].value_counts().reindex(list(SIDES), fill_value=0)
    return ", ".join(f"{side} {count:,}" for side, count in counts.items())


def _licences(table: pd.DataFrame) -> str:
    counts = license_counts(table)[["license", "recordings"]]
    counts["license"] = counts["license"].map(plain)
    return pipe_table(counts.rename(columns={"license": "licence"}))


def _left_out(report: ReportInput) -> str:
    """Count what was left out by the kind of its reason, as a table; "" when nothing was."""
    reasons = pd.concat([report.quarantine["reason"], report.dropped["reason"]])
    kinds = reasons.str.split(":").str[0].str.split(" (", regex=False).str[0]
    return _counted(kinds.rename("reason"), "reason")


def _box(placed: pd.DataFrame) -> str:
    if placed.empty:
        return ""
    ends = [placed[name].agg(["min", "max"]) for name in ("latitude", "longitude")]
    return " and ".join(
        f"{name} {low:.1f} to {high:.1f}°".replace("-", "−")
        for name, (low, high) in zip(("latitude", "longitude"), ends, strict=True)
    )
