"""Download what was chosen into a folder that is a corpus; several runs add up."""

import contextlib
import json
import time
from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from birdnb.config import key_of
from birdnb.corpora.reading import read_table
from birdnb.corpora.xeno_canto.api import Refused, Unavailable, XenoCantoApi
from birdnb.corpora.xeno_canto.choice import audio_name, audio_url, skip_row
from birdnb.corpora.xeno_canto.record import manifest_row, seconds_of, text_of
from birdnb.files import BirdnbError, sweep, write_table, write_text

KEEP_PAGES = 24 * 3600  # [s] a run repeated within a day does not ask again
SAVE_EVERY = 25  # downloads between two writes of manifest.csv


@dataclass
class Outcome:
    """What a run did: rows of recordings that are here, what was skipped, and counts."""

    rows: list[dict[str, str]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    here_already: int = 0
    downloaded: int = 0
    size: int = 0  # [bytes] downloaded
    unavailable: int = 0


def collect(
    api: XenoCantoApi, queries: list[str], out: Path, keep: bool, per_page: int
) -> list[dict[str, Any]]:
    """Return each record of the queries once; pages in ``out/pages`` are used again for a day."""
    records: dict[str, dict[str, Any]] = {}
    for query in tqdm(queries, desc="queries", disable=len(queries) == 1 or None):
        folder = out / "pages" / key_of(api.base, query, per_page)
        number, last = 1, 1
        with tqdm(desc="pages", unit="page", disable=len(queries) > 1 or None) as bar:
            while number <= last:
                page = _page(api, query, number, per_page, folder / f"page-{number:04d}.json", keep)
                count = text_of(page, "numPages")
                last = int(count) if count.isdigit() else 1
                for record in page.get("recordings") or []:
                    if isinstance(record, dict):
                        records.setdefault(
                            text_of(record, "id", "nr") or f"no number {len(records)}", record
                        )
                number += 1
                bar.total = last
                bar.update()
    return list(records.values())


def fetch(api: XenoCantoApi, chosen: list[dict[str, Any]], out: Path, outcome: Outcome) -> None:
    """Download what is not there yet; tables are written every few files, and whatever ends it."""
    sweep(out, "audio", "pages/*")
    failures = 0  # in a row
    try:
        for number, record in enumerate(tqdm(chosen, desc="recordings", disable=None), 1):
            try:
                _fetch_one(api, record, out, outcome)
                failures = 0
            except (Refused, Unavailable) as error:
                outcome.skipped.append(skip_row(record, str(error)))
                outcome.unavailable += isinstance(error, Unavailable)
                failures += isinstance(error, Unavailable)
                if failures == 5:
                    raise BirdnbError(
                        f"five recordings in a row could not be had ({error})"
                    ) from None
            if number % SAVE_EVERY == 0:
                _save(out, outcome)
    finally:
        _save(out, outcome)


def _fetch_one(api: XenoCantoApi, record: dict[str, Any], out: Path, outcome: Outcome) -> None:
    name = f"audio/{audio_name(record)}"
    if (out / name).is_file() and (out / name).stat().st_size:
        outcome.here_already += 1
    else:
        outcome.size += api.audio(audio_url(record, api.base), out / name)
        outcome.downloaded += 1
    outcome.rows.append({**manifest_row(record), "path": name})


def _page(
    api: XenoCantoApi, query: str, number: int, per_page: int, path: Path, keep: bool
) -> dict[str, Any]:
    if path.is_file() and time.time() - path.stat().st_mtime < KEEP_PAGES:
        with contextlib.suppress(ValueError):  # a damaged page is asked for again
            return json.loads(path.read_text(encoding="utf-8"))
    page = json.loads(api.redact(json.dumps(api.page(query, number, per_page), ensure_ascii=False)))
    if keep:
        write_text(path, json.dumps(page, ensure_ascii=False, indent=1))
    return page


def _save(out: Path, outcome: Outcome) -> None:
    """Write manifest.csv, and skipped.csv without what came after all; older rows stay."""
    manifest = merge(out / "manifest.csv", outcome.rows) if outcome.rows else None
    if manifest is None and (out / "manifest.csv").is_file():
        manifest = read_table(out / "manifest.csv")
    here = set(manifest["recording_id"]) if manifest is not None else set()
    merge(out / "skipped.csv", outcome.skipped, without=here)


def check_tables(out: Path) -> None:
    """Raise BirdnbError when a table in the folder is not one of ours: adding would lose rows."""
    for path in (out / "manifest.csv", out / "metadata.csv", out / "skipped.csv"):
        if path.is_file() and "recording_id" not in read_table(path).columns:
            raise BirdnbError(
                f"{path} was not written by this command: choose another folder for --out"
            )


def merge(path: Path, rows: list[dict[str, str]], without: Set[str] = frozenset()) -> pd.DataFrame:
    """Add rows to a table by recording_id, newer ones winning, sort by number, and write it."""
    new = pd.DataFrame(rows, dtype=str)
    table = pd.concat([read_table(path), new]) if path.is_file() else new
    if table.empty:
        return table
    table = table.fillna("").drop_duplicates("recording_id", keep="last")
    table = table[~table["recording_id"].isin(without)]
    # numbers of any length, in their order
    number = table["recording_id"].str.extract(r"^XC(\d+)$")[0].fillna("0").str.zfill(40)
    table = table.assign(_n=number).sort_values(["_n", "recording_id"], ignore_index=True)
    table = table.drop(columns="_n")
    write_table(path, table)
    return table


def metadata_row(record: dict[str, Any]) -> dict[str, str]:
    """Return all that is known of a recording, whether it is downloaded or not."""
    row = {name: value for name, value in manifest_row(record).items() if name != "path"}
    seconds = seconds_of(text_of(record, "length"))
    row |= {"group": text_of(record, "grp", "group"), "sound_type": text_of(record, "type")}
    return row | {"seconds": "" if seconds is None else f"{seconds:g}"}
