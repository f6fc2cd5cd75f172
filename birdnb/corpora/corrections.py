"""Labels that somebody looked at again: a table of decisions, kept beside the results of a study.

::

    recording_id,label,decision,species,by,when
    XC123,Turdus merula,relabel,Turdus philomelos,Ann,2026-05-01T09:30:00+00:00

``label`` is what the corpus says; a row counts only while it still says so. The user's folder is
never written to. ``--corrections FILE`` of a command (the variable ``BIRDNB_CORRECTIONS``) applies
them in ``open_corpus``.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from birdnb.corpora.reading import read_table, read_text
from birdnb.files import BirdnbError, user_path, whole_path, write_table

VARIABLE = "BIRDNB_CORRECTIONS"
COLUMNS = ["recording_id", "label", "decision", "species", "by", "when"]
ACCEPT, RELABEL, DROP = DECISIONS = ("accept", "relabel", "drop")
DROPPED = "dropped by a correction"  # how the reason of a recording left out begins


def use_corrections(path: str | None) -> None:
    """Let this process and its children apply corrections, if any, or raise BirdnbError."""
    if path is not None:
        read_corrections(user_path(path))
        os.environ[VARIABLE] = str(whole_path(path))


@contextmanager
def with_corrections(path: str | None) -> Iterator[None]:
    """Apply a table of corrections, or with None none, as long as the block runs."""
    before = os.environ.pop(VARIABLE, "")
    try:
        use_corrections(path)
        yield
    finally:
        os.environ[VARIABLE] = before


def corrections_file() -> Path | None:
    """Return the table that a command was told to apply; None when there is none."""
    path = os.environ.get(VARIABLE)
    return user_path(path) if path else None


def read_corrections(path: Path) -> pd.DataFrame:
    """Read a table of corrections, one row a recording: of rows that say the same the last.

    A row that names the label itself as the other species accepts it. Raises BirdnbError for a
    decision that is none, another species without a name, and rows that contradict each other.
    """
    table = read_table(path, COLUMNS[:4])
    more = [name for name in table if name not in COLUMNS]  # notes of their own
    table = table.reindex(columns=[*COLUMNS, *more], fill_value="")
    for number, row in enumerate(table.itertuples(), 1):
        if row.decision not in DECISIONS:
            raise BirdnbError(
                f"{path}, row {number}: the decision {row.decision!r} is none of "
                f"{', '.join(DECISIONS)}"
            )
        if row.decision == RELABEL and not row.species:
            raise BirdnbError(f"{path}, row {number}: relabel, but the species is empty")
    right = (table["decision"] == RELABEL) & (table["species"] == table["label"])
    table["decision"] = table["decision"].mask(right, ACCEPT)
    table["species"] = table["species"].where(table["decision"] == RELABEL, "")
    once = table.drop_duplicates(COLUMNS[:4])["recording_id"]
    if twice := once[once.duplicated()].tolist():
        raise BirdnbError(
            f"{path}: rows on {twice[0]!r} contradict each other; keep one of them"
            + (f" (so do those on {len(twice) - 1} more)" if len(twice) > 1 else "")
        )
    return table.drop_duplicates("recording_id", keep="last", ignore_index=True)


def add_correction(path: Path, **row: str) -> pd.DataFrame:
    """Write a decision in place of an earlier one, or without one take it back; return all."""
    table = read_corrections(path) if path.is_file() else pd.DataFrame(columns=COLUMNS)
    head = _comments(path, set(table["recording_id"]))
    table = table[table["recording_id"] != row["recording_id"]]
    if row.get("decision"):
        table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
        table = table[list(dict.fromkeys([*COLUMNS, *table]))].fillna("")
    write_table(path, table, head=head)
    return table


def _comments(path: Path, ids: set[str]) -> str:
    """Return the lines of a table that begin with # and are no row of it."""
    lines = read_text(path).split("\n") if path.is_file() else []
    hashed = (line for line in lines if line.lstrip().startswith("#"))
    return "".join(
        f"{line}\n" for line in hashed if re.split(r"[,;\t|]", line)[0].strip() not in ids
    )


def corrected(
    manifest: pd.DataFrame, corrections: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Apply corrections to a manifest: return it, the rows dropped (with reason), and what is not.

    The last are sentences on rows that do not apply: no such recording, or another label by now.
    Raises BirdnbError when none applies, and for a species that the corpus does not have.
    """
    applied = applicable(manifest, corrections).set_index("recording_id")
    names = set(manifest["species"])
    new = applied.loc[applied["decision"] == RELABEL, "species"]
    if strange := sorted(set(new) - names):
        raise BirdnbError(
            f"the corrections name a species {strange[0]!r}, which the corpus does not have: "
            "choose one of its labels, or drop the recording"
        )
    if applied.empty and len(corrections):
        raise BirdnbError(
            f"none of the {len(corrections)} corrections is of this corpus: its recordings or "
            "their labels are others"
        )
    ids = manifest["recording_id"]
    dropped = ids.isin(applied.index[applied["decision"] == DROP])
    gone = manifest.loc[dropped, ["recording_id", "path", "species"]]
    told = (applied["by"] + ", " + applied["when"]).str.strip(", ")  # either may be empty
    by = gone["recording_id"].map((" (" + told + ")").where(told != "", ""))
    gone = gone.assign(reason=DROPPED + by.astype(str))
    kept = manifest.assign(species=ids.map(new).fillna(manifest["species"]))[~dropped]
    others = corrections[~corrections["recording_id"].isin(applied.index)]
    notes = [
        f"{len(others)} corrections do not apply, their recordings are not here or have another "
        f"label by now: {', '.join(others['recording_id'][:5])}."
    ] * (len(others) > 0)
    return kept.reset_index(drop=True), gone.reset_index(drop=True), notes


def applicable(manifest: pd.DataFrame, corrections: pd.DataFrame) -> pd.DataFrame:
    """Return the corrections whose recording is in the manifest under the label they name."""
    label = corrections["recording_id"].map(manifest.set_index("recording_id")["species"])
    return corrections[label == corrections["label"]].reset_index(drop=True)


def apply_to(
    table: pd.DataFrame, manifest: pd.DataFrame, corrections: pd.DataFrame, labels: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give a study's table, shared out before, the species of the corrected manifest.

    ``label_before`` keeps the other one. Recordings that were dropped are gone, and those of a
    species that is none of the study's ``labels``. The corrections come back with the side on which
    their recording is or was, "" where that is none. Raises BirdnbError when nothing is left to
    learn a species from.
    """
    side = corrections["recording_id"].map(table.set_index("recording_id")["side"]).fillna("")
    species = table["recording_id"].map(manifest.set_index("recording_id")["species"])
    before = table["species"].where(species != table["species"], "")
    table = table.assign(species=species, label_before=before)
    table = table[species.isin(labels)].reset_index(drop=True)
    if bare := sorted(set(labels) - set(table.loc[table["side"] == "train", "species"])):
        raise BirdnbError(
            f"the corrections leave no training recording of {bare[0]!r}: take some of them back"
        )
    return table, corrections.assign(side=side)
