"""Download recordings from Xeno-Canto into a folder that ``open_corpus`` reads::

    python -m birdnb.corpora.xeno_canto --query 'cnt:"Puerto Rico" grp:birds' --out DIR

Several runs add up; a run that was killed goes on where it stopped::

    DIR/manifest.csv      what is here
    DIR/metadata.csv      all that was found, with length and coordinates
    DIR/skipped.csv       what did not come, and why
    DIR/audio/XC123.mp3
    DIR/pages/            the API's answers, used again for a day

Or ask who made recordings that are here under their numbers, when and where, so that a study knows
which belong to one session; the answers come into a table beside the folder, DIR.xeno-canto.csv::

    python -m birdnb.corpora.xeno_canto --complete DIR
"""

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from birdnb.command import called, command, number, positive
from birdnb.corpora.reading import read_table, read_text
from birdnb.corpora.table import license_counts
from birdnb.corpora.xeno_canto.api import API, XenoCantoApi
from birdnb.corpora.xeno_canto.choice import Limits, choose
from birdnb.corpora.xeno_canto.complete import complete
from birdnb.corpora.xeno_canto.download import (
    Outcome,
    check_tables,
    collect,
    fetch,
    merge,
    metadata_row,
)
from birdnb.corpora.xeno_canto.facts import facts_file
from birdnb.corpora.xeno_canto.record import manifest_row
from birdnb.files import BirdnbError, user_path

CHOOSING = ("query", "species_file", "per_species", "min_per_species", "max_length",
            "metadata_only", "dry_run")  # what is downloaded  # fmt: skip
TAGS = re.compile(r'\s*(\w+:("[^"]+"|[^\s"]+)\s*)+')


@command("interrupted: what came is kept, and the same command goes on from here")
def main(argv: Sequence[str] | None = None) -> int:
    """Download from the shell; 0 when all is here, 1 when some files could not be had for now."""
    return run(make_parser().parse_args(argv))


def run(args: argparse.Namespace) -> int:
    """Do what the parsed command line asks for, and print a summary."""
    key = _checked_key(args)
    if args.complete:
        with XenoCantoApi(args.api, key, args.pause) as api:
            return _complete(api, args.complete)
    check_tables(args.out)
    names = _read_species(args.species_file) if args.species_file else []
    queries = [f"gen:{genus} sp:{rest}" for genus, rest in map(_halves, names)]
    queries = [_checked_query(args.query)] if args.query else queries
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
        print(
            f"found {len(records)} recordings of {_species_count(records)} species, "
            f"chosen {len(chosen)} of {_species_count(chosen)}"
        )
        try:
            if not args.dry_run:
                merge(args.out / "metadata.csv", [metadata_row(record) for record in records])
                fetch(api, [] if args.metadata_only else chosen, args.out, outcome)
        finally:
            _print_summary(args, outcome)
    return 1 if outcome.unavailable else 0


def _checked_key(args: argparse.Namespace) -> str:
    """Return the key of the API. Raises BirdnbError without one, and for options that are wrong."""
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
    if args.complete and (extra := next((name for name in CHOOSING if getattr(args, name)), None)):
        raise BirdnbError(
            f"--complete asks for the numbers in file names: leave --{extra.replace('_', '-')} out"
        )
    return key


def _complete(api: XenoCantoApi, folder: Path) -> int:
    if not folder.is_dir():
        raise BirdnbError(f"--complete {folder}: there is no such folder")
    table = complete(api, folder)
    unknown = table[table["note"] != ""]
    known = table.drop(unknown.index)
    print(
        f"{len(known)} of {len(table)} numbers in file names are known: "
        f"{known['recordist'].nunique()} recordists, {known['date'].nunique()} days"
    )
    if len(unknown):
        print(f"not known to Xeno-Canto: {', '.join(unknown['recording_id'][:10])}"
              + (" and more" if len(unknown) > 10 else ""))  # fmt: skip
    print(f"written to {facts_file(folder)}; the next run of the study reads it")
    return 0


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


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    plain = str(__doc__).replace("``", "").replace("::", ":")  # without its markup
    parser = argparse.ArgumentParser(
        prog=called("python -m birdnb.corpora.xeno_canto"),
        description=plain,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    # fmt: off
    add("--query", help="tags of https://xeno-canto.org/help/search, "
        'as in: cnt:"Puerto Rico" grp:birds q:">C"')
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=user_path, metavar="DIR",
                       help="folder of the corpus; several runs add up")
    where.add_argument("--complete", type=user_path, metavar="DIR",
                       help="no download: recordist, date, place and licence of the recordings in "
                       "this folder, by the numbers in their names (XC123.mp3); written beside it")
    add("--species-file", type=user_path, metavar="FILE",
        help="scientific names, one a line: keep only these; without --query: ask for each")
    add("--per-species", type=positive, metavar="N",
        help="at most N of a species, recordists taking turns")
    add("--min-per-species", type=positive, metavar="N",
        help="leave out species with fewer than N")
    length = number(float, 1e-3, said="is no length: give seconds")
    add("--max-length", type=length, metavar="SECONDS", help="leave out longer recordings")
    add("--metadata-only", action="store_true", help="write metadata.csv and download no audio")
    add("--dry-run", action="store_true", help="say what would be downloaded; write nothing")
    add("--api", default=API, help="address of the API, for mirrors (default: %(default)s)")
    add("--per-page", type=positive, default=500, metavar="N",
        help="recordings a page, 50 to 500 (default: %(default)s)")
    add("--pause", type=float, default=1.0, metavar="SECONDS",
        help="between two requests; xeno-canto.org asks for 1 or more (default: %(default)s)")
    # fmt: on
    return parser


if __name__ == "__main__":
    sys.exit(main())
