"""Which of the recordings Xeno-Canto lists are worth downloading, and why the others are not."""

from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urljoin, urlsplit

from birdnb.corpora.labels import label_fault
from birdnb.corpora.sniff import AUDIO_SUFFIXES
from birdnb.corpora.xeno_canto.record import manifest_row, seconds_of, text_of

QUALITIES = "ABCDE"  # anything else comes last


@dataclass(frozen=True)
class Limits:
    """What to take; ``None`` for no limit."""

    per_species: int | None = None
    min_per_species: int | None = None
    max_length: float | None = None  # [s]
    species: frozenset[str] | None = None  # scientific names, lower case


def choose(
    records: list[dict[str, Any]], limits: Limits
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Split the API's records into those to download and rows of skipped.csv for the others.

    Where ``per_species`` limits, recordists take turns, each with their best recordings first: many
    voices, places and microphones instead of one. A larger limit only adds to the choice.
    """
    by_species: dict[str, list[dict[str, Any]]] = {}
    skipped = []
    for record in records:
        fault = _fault(record, limits)
        if fault:
            skipped.append(skip_row(record, fault))
        else:
            by_species.setdefault(manifest_row(record)["species"], []).append(record)
    chosen = []
    for name in sorted(by_species):
        found = by_species[name]
        if limits.min_per_species is not None and len(found) < limits.min_per_species:
            skipped += [
                skip_row(record, f"the species has fewer than {limits.min_per_species} recordings")
                for record in found
            ]
            continue
        turns = take_turns(found)
        chosen += turns[: limits.per_species]
        if limits.per_species is not None:
            reason = f"not among the {limits.per_species} chosen of its species"
            skipped += [skip_row(record, reason) for record in turns[limits.per_species :]]
    return chosen, skipped


def take_turns(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Order recordings so that recordists take turns, each with their best recordings first."""
    ranked = sorted(records, key=_rank)
    turn: Counter[str] = Counter()
    turns = []
    for record in ranked:
        recordist = text_of(record, "rec").casefold()
        turns.append(turn[recordist])
        turn[recordist] += 1
    return [
        record
        for _, record in sorted(
            zip(turns, ranked, strict=True), key=lambda pair: (pair[0], _rank(pair[1]))
        )
    ]


def skip_row(record: dict[str, Any], reason: str) -> dict[str, str]:
    """Return a row of skipped.csv: recording_id, species, reason, url."""
    row = manifest_row(record)
    number = text_of(record, "id", "nr")
    return {
        "recording_id": row["recording_id"] if number else "",
        "species": row["species"],
        "reason": reason,
        "url": row["url"],
    }


def audio_name(record: dict[str, Any]) -> str:
    """Return the file name of a recording: ``XC``, its number and its suffix, usually ``.mp3``."""
    for name in (text_of(record, "file-name"), urlsplit(text_of(record, "file")).path):
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in AUDIO_SUFFIXES:
            return f"XC{text_of(record, 'id', 'nr')}{suffix}"
    return f"XC{text_of(record, 'id', 'nr')}.mp3"


def audio_url(record: dict[str, Any], base: str) -> str:
    """Return the address of the audio; one that begins with ``//`` gets the scheme of ``base``."""
    return urljoin(base, text_of(record, "file"))


def _fault(record: dict[str, Any], limits: Limits) -> str:
    """Tell why a record is not worth a download; "" when it is."""
    number, species = text_of(record, "id", "nr"), manifest_row(record)["species"]
    if not (number.isascii() and number.isdigit()):
        return f"its number {number[:40]!r} is not a number" if number else "it has no number"
    if not text_of(record, "gen") or not text_of(record, "sp"):
        return f"the label {species!r} names no species"
    if fault := label_fault(species):
        return fault
    if limits.species is not None and species.casefold() not in limits.species:
        return "not in the species file"
    if not text_of(record, "file"):
        return "restricted: Xeno-Canto gives no file"
    length = seconds_of(text_of(record, "length"))
    if limits.max_length is not None and (length is None or length > limits.max_length):
        known = length is not None
        return f"longer than {limits.max_length:g} s" if known else "its length is not known"
    return ""


def _rank(record: dict[str, Any]) -> tuple[int, int]:
    quality = text_of(record, "q").upper()[:1]
    return (
        QUALITIES.index(quality) if quality and quality in QUALITIES else len(QUALITIES),
        int(text_of(record, "id", "nr")),
    )
