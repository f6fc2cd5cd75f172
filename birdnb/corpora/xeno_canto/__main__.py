"""Download recordings from Xeno-Canto: ``python -m birdnb.corpora.xeno_canto --query 'cnt:"Puerto
Rico" grp:birds' --out DIR``.

The folder becomes a corpus that ``open_corpus`` reads. Several runs add up; a run that was killed
goes on where it stopped::

    DIR/manifest.csv      what is here          DIR/metadata.csv   all that was found, with length
    and coordinates DIR/audio/XC123.mp3                         DIR/skipped.csv    what did not
    come, and why DIR/pages/            the API's answers, used again for a day
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
from tqdm.auto import tqdm

from birdnb.command import command
from birdnb.config import key_of
from birdnb.corpora.reading import read_table, read_text
from birdnb.corpora.table import license_counts
from birdnb.corpora.xeno_canto.api import API, Refused, Unavailable, XenoCantoApi
from birdnb.corpora.xeno_canto.choice import Limits, audio_name, audio_url, choose, skip_row
from birdnb.corpora.xeno_canto.record import manifest_row, seconds_of, text_of
from birdnb.files import BirdnbError, sweep, write_text

KEEP_PAGES = 24 * 3600  # [s] a run repeated within a day does not ask again
SAVE_EVERY = 25  # downloads between two writes of manifest.csv
TAGS = re.compile(r'\s*(\w+:("[^"]+"|[^\s"]+)\s*)+')


@dataclass
class Outcome:
    """What a run did: rows of recordings that are here, what was skipped, and counts."""

    rows: list[dict[str, str]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    here_already: int = 0
    downloaded: int = 0
    size: int = 0  # [bytes] downloaded
    unavailable: int = 0


@command("interrupted: what came is kept, and the same command goes on from here")
def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0, 1 when some files could not be had for now, 2 for an error, 130 when
    interrupted.
    """
    args = _parser().parse_args(argv)
    return run(args)


def run(args: argparse.Namespace) -> int:
    """Do what the parsed command line asks for, and print a summary."""
    key = os.environ.get("XENO_CANTO_KEY", "").strip()
    if not key:
        raise BirdnbError(
            "no API key: put yours (https://xeno-canto.org/account) into the environment variable "
            "XENO_CANTO_KEY"
        )
    if not args.pause >= 0:
        raise BirdnbError(f"--pause {args.pause}: give 0 or more seconds")
    if args.pause < 1 and (urlsplit(args.api).hostname or "").endswith("xeno-canto.org"):
        raise BirdnbError(
            f"--pause {args.pause}: xeno-canto.org asks for one request a second at most"
        )
    if urlsplit(args.api).scheme not in ("http", "https") or not urlsplit(args.api).hostname:
        raise BirdnbError(f"--api {args.api}: give a whole address, such as {API}")
    _check_tables(args.out)
    names = _read_species(args.species_file) if args.species_file else []
    queries = (
        [_checked_query(args.query)]
        if args.query
        else [f"gen:{genus} sp:{rest}" for genus, rest in map(_halves, names)]
    )
    if not queries:
        raise BirdnbError("nothing to look for: give --query or --species-file")
    species = frozenset(name.casefold() for name in names) if names else None
    limits = Limits(args.per_species, args.min_per_species, args.max_length, species)
    with XenoCantoApi(args.api, key, args.pause) as api:
        records = collect(api, queries, args.out, keep=not args.dry_run, per_page=args.per_page)
        if not records:
            raise BirdnbError(f"no recordings match {' or '.join(queries[:3])!r}")
        chosen, skipped = choose(records, limits)
        outcome = Outcome(skipped=skipped)
        print(f"found {len(records)} recordings of {_species_count(records)} species, "
              f"chosen {len(chosen)} of {_species_count(chosen)}")  # fmt: skip
        try:
            if not args.dry_run:
                _merge(args.out / "metadata.csv", [_metadata_row(record) for record in records])
                fetch(api, [] if args.metadata_only else chosen, args.out, outcome)
        finally:
            _print_summary(args, outcome)
    return 1 if outcome.unavailable else 0


def collect(
    api: XenoCantoApi, queries: list[str], out: Path, keep: bool, per_page: int
) -> list[dict[str, Any]]:
    """All records of the queries, each recording once; pages are kept in ``out/pages`` and used
    again for a day.
    """
    records: dict[str, dict[str, Any]] = {}
    for query in tqdm(queries, desc="queries", disable=len(queries) == 1 or None):
        folder = out / "pages" / key_of(api.base, query, per_page)
        number, last = 1, 1
        with tqdm(desc="pages", unit="page", disable=len(queries) > 1 or None) as bar:
            while number <= last:
                page = _page(api, query, number, per_page, folder / f"page-{number:04d}.json", keep)
                last = _page_count(page)
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
    """Download what is not there yet; the tables are written every few files and at the end,
    whatever ends it.
    """
    sweep(out)
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


def _page_count(page: dict[str, Any]) -> int:
    count = text_of(page, "numPages")
    return int(count) if count.isdigit() else 1


def _save(out: Path, outcome: Outcome) -> None:
    """Write manifest.csv, and skipped.csv without what came after all; rows of earlier runs stay."""
    manifest = _merge(out / "manifest.csv", outcome.rows) if outcome.rows else None
    if manifest is None and (out / "manifest.csv").is_file():
        manifest = read_table(out / "manifest.csv")
    here = set(manifest["recording_id"]) if manifest is not None else set()
    _merge(out / "skipped.csv", outcome.skipped, without=here)


def _check_tables(out: Path) -> None:
    """Raises BirdnbError when a table in the folder is not one of ours: adding to it would lose
    rows.
    """
    for path in (out / "manifest.csv", out / "metadata.csv", out / "skipped.csv"):
        if path.is_file() and "recording_id" not in read_table(path).columns:
            raise BirdnbError(
                f"{path} was not written by this command: choose another folder for --out"
            )


def _merge(path: Path, rows: list[dict[str, str]], without: Set[str] = frozenset()) -> pd.DataFrame:
    """Add rows to a table by recording_id, newer ones winning, and write it in the order of the
    recordings' numbers.
    """
    new = pd.DataFrame(rows, dtype=str)
    table = pd.concat([read_table(path), new]) if path.is_file() else new
    if table.empty:
        return table
    table = table.fillna("").drop_duplicates("recording_id", keep="last")
    table = table[~table["recording_id"].isin(without)]
    number = (
        table["recording_id"].str.extract(r"^XC(\d+)$")[0].fillna("0").str.zfill(40)
    )  # in the order of the numbers
    table = (
        table.assign(_n=number)
        .sort_values(["_n", "recording_id"], ignore_index=True)
        .drop(columns="_n")
    )
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
    return table


def _metadata_row(record: dict[str, Any]) -> dict[str, str]:
    """All that is known of a recording, whether it is downloaded or not."""
    row = {name: value for name, value in manifest_row(record).items() if name != "path"}
    seconds = seconds_of(text_of(record, "length"))
    row |= {"latitude": text_of(record, "lat"), "longitude": text_of(record, "lon", "lng")}
    row |= {"group": text_of(record, "grp", "group"), "sound_type": text_of(record, "type")}
    return row | {"seconds": "" if seconds is None else f"{seconds:g}"}


def _species_count(records: list[dict[str, Any]]) -> int:
    return len({manifest_row(record)["species"].casefold() for record in records})


def _checked_query(query: str) -> str:
    if not TAGS.fullmatch(query):
        raise BirdnbError(
            f'the query {query!r} is not made of tags: write gen:turdus, or en:"common blackbird" '
            f"with quotes"
        )
    return query.strip()


def _read_species(path: Path) -> list[str]:
    """Scientific names, one a line; empty lines and lines that begin with # do not count."""
    lines = [" ".join(line.split()) for line in read_text(path).split("\n")]
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise BirdnbError(
            f"the species file {path} names no species: write one scientific name a line"
        )
    for name in names:
        _halves(name)
    return names


def _halves(name: str) -> tuple[str, str]:
    genus, _, rest = name.partition(" ")
    if not re.fullmatch(r"[^\W\d_]+", genus) or not re.fullmatch(r"[^\W\d_]+(-[^\W\d_]+)*", rest):
        raise BirdnbError(
            f"{name!r} in the species file is no scientific name: write genus and species, as in "
            f"Turdus merula"
        )
    return genus, rest


def _print_summary(args: argparse.Namespace, outcome: Outcome) -> None:
    for reason, count in Counter(row["reason"] for row in outcome.skipped).most_common():
        print(f"  {count:5d} skipped: {reason}")
    if args.dry_run:
        print("dry run: nothing was downloaded or written")
        return
    print(
        f"{outcome.downloaded} downloaded ({outcome.size / 1e6:.1f} MB), {outcome.here_already} "
        f"were here already"
    )
    if outcome.skipped:
        print(f"what was skipped is listed in {args.out / 'skipped.csv'}")
    if (args.out / "manifest.csv").is_file():
        manifest = read_table(args.out / "manifest.csv")
        print(
            f"{args.out} now holds {len(manifest)} recordings of {manifest['species'].nunique()} "
            f"species; licences:"
        )
        for name, count in license_counts(manifest)[["license", "recordings"]].itertuples(
            index=False
        ):
            print(f"  {count:5d} {name}")


def _parser() -> argparse.ArgumentParser:
    plain = (
        str(__doc__).replace("``", "").replace("::", ":")
    )  # the module's text without its markup
    parser = argparse.ArgumentParser(prog="python -m birdnb.corpora.xeno_canto", description=plain,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument(
        "--query",
        help='tags of https://xeno-canto.org/help/search, as in: cnt:"Puerto Rico" grp:birds q:">C"',
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the corpus; several runs add up",
    )
    parser.add_argument("--species-file", type=Path, metavar="FILE",
                        help="scientific names, one a line: keep only these; without --query: ask for each")  # fmt: skip
    parser.add_argument(
        "--per-species",
        type=_positive,
        metavar="N",
        help="at most N of a species, recordists taking turns",
    )
    parser.add_argument(
        "--min-per-species", type=_positive, metavar="N", help="leave out species with fewer than N"
    )
    parser.add_argument(
        "--max-length", type=float, metavar="SECONDS", help="leave out longer recordings"
    )
    parser.add_argument(
        "--metadata-only", action="store_true", help="write metadata.csv and download no audio"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be downloaded; write nothing"
    )
    parser.add_argument(
        "--api", default=API, help="address of the API, for mirrors (default: %(default)s)"
    )
    parser.add_argument(
        "--per-page",
        type=_positive,
        default=500,
        help="recordings a page, 50 to 500 (default: %(default)s)",
    )
    parser.add_argument("--pause", type=float, default=1.0, metavar="SECONDS",
                        help="between two requests; xeno-canto.org asks for 1 or more (default: %(default)s)")  # fmt: skip
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


if __name__ == "__main__":
    sys.exit(main())
