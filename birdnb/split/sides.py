"""Recording sessions, and splits that keep each on one side: train/validation/test, folds, audit.

A recording session is recordist + date + locality: songs recorded there share the bird, the place
and the microphone, so a split that parts them measures how well a session is recognised, not a
species.
"""

import numpy as np
import pandas as pd

from birdnb.config import SplitSettings
from birdnb.corpora.labels import is_stated
from birdnb.corpora.xeno_canto.facts import number_in
from birdnb.files import BirdnbError
from birdnb.split.dates import read_days
from birdnb.split.facts import known_sessions, people
from birdnb.split.linking import LAST, linked, smallest_linked
from birdnb.split.sharing import share_out
from birdnb.split.sources import source_links

SIDES = ("train", "validation", "test")
HELD_OUT = "a stranger, held out on purpose"


def sessions(manifest: pd.DataFrame) -> pd.Series:
    """Return the label of each row's recording session (same index), the safe side where unsure.

    Known recordist: recordist + day + locality. A day on which one of the recordist's localities
    is missing is one session, and a recordist with any undated recording is one session altogether
    (nothing tells them apart). Unknown recordist: day and locality as far as known, with whoever
    was there that day; a place with any undated recording is one session; where nothing is known
    the recording stands alone. Capitals, blanks, and how the day is written make no difference.
    Files of one recording (``source_links``) are in one session. A table that has its sessions
    (column ``session``) already gets them back.
    """
    if "session" in manifest:
        return manifest["session"]
    known, facts = known_sessions(manifest)
    label = known.mask(known == "", "recording " + manifest["recording_id"])
    nobody = (facts["recordist"] == "") & (facts["day"] != "") & (facts["place"] != "")
    there = facts["day"] + LAST + facts["place"]
    there = there[there.isin(set(there[nobody]))]
    links = [*zip(there.index, LAST + there, strict=True)]
    links += [(manifest.index[row], LAST + key) for row, key in source_links(manifest)]
    return linked(label, links).rename("session")


def session_caveat(manifest: pd.DataFrame) -> str:
    """Return what is not known or was concluded about sessions, in sentences; "" for nothing."""
    known, facts = known_sessions(manifest)
    nothing, total = int((known == "").sum()), f"{len(manifest):,}"
    said = []
    if nothing:
        said.append(f"{nothing:,} of {total} recordings name neither recordist nor date nor "
                    "locality: each counts as a session of its own, and where several come from "
                    "one session the scores are too good.")  # fmt: skip
        numbers = sum(number_in(path)[1] for path in manifest["path"][known == ""])
        if numbers:
            said.append(f"{numbers:,} of them are named after numbers of Xeno-Canto: `python -m "
                        "birdnb.corpora.xeno_canto --complete FOLDER` asks it who recorded them, "
                        "when and where.")  # fmt: skip
    undated = (facts["day"] == "") & (known != "")
    if undated.any():
        texts = manifest["date"][undated & manifest["date"].map(is_stated)]
        example = f" (such as {texts.iloc[0]!r})" if len(texts) else ""
        said.append(f"{int(undated.sum()):,} of {total} recordings have no date that names a "
                    f"day{example}: all recordings of their recordist, or else of their place, "
                    "count as one session.")  # fmt: skip
    said.append(read_days(manifest["date"])[1])
    if links := source_links(manifest):
        rows, keys = zip(*links, strict=True)
        names = manifest["path"].iloc[[row for row, key in links if key == keys[0]][:2]]
        one = smallest_linked(rows, keys)
        said.append(f"{len(one):,} files come from {one.nunique():,} recordings, told by their "
                    f"names (such as {' and '.join(names)}): the files of one count as one "
                    "session.")  # fmt: skip
    return " ".join(filter(None, said))


def groups(manifest: pd.DataFrame, group_by: str) -> pd.Series:
    """Return the label of what stays together: ``session``, ``recordist`` or ``recording``.

    A recordist's recordings without a name go by their session. By ``recording``, sessions leak;
    the files of one recording still stay together.
    """
    if group_by not in ("session", "recordist", "recording"):
        raise BirdnbError(f"group_by is {group_by!r}: choose session, recordist or recording")
    if group_by == "recording":
        links = [(manifest.index[row], LAST + key) for row, key in source_links(manifest)]
        return linked(manifest["recording_id"], links).rename("group")
    session = sessions(manifest).rename("group")
    if group_by == "session":
        return session
    recordist = people(manifest["recordist"])
    label = session.where(recordist == "", recordist)
    return linked(label, [*zip(session.index, LAST + session, strict=True)])


def check_species(
    manifest: pd.DataFrame, settings: SplitSettings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Name the species with too few recordings or groups (``settings.group_by``) for a split.

    ``settings.strangers`` are dropped, too. Returns the manifest without the dropped species, and a
    report: species, recordings, groups, decision (keep, drop or train_only), reason. Raises
    BirdnbError when fewer than two species can be split, and for an unknown stranger.
    """
    group = groups(manifest, settings.group_by)
    species, strangers = manifest["species"], settings.strangers or ()
    if unknown := sorted(set(strangers) - set(species)):
        raise BirdnbError(
            f"split.strangers: the corpus has no species {unknown[0]!r}, only "
            f"{', '.join(sorted(set(species)))[:200]}"
        )
    report = pd.DataFrame(
        {"recordings": species.value_counts(), "groups": group.groupby(species).nunique()}
    )
    report = report.rename_axis("species").reset_index().sort_values("species", ignore_index=True)
    own = ~species.isin(strangers)
    few = _rare_reasons(manifest[own], group[own], settings)
    reasons = few | dict.fromkeys(strangers, HELD_OUT)
    report["decision"] = [
        "drop" if name in strangers else settings.rare_species if name in few else "keep"
        for name in report["species"]
    ]
    report["reason"] = [reasons.get(name, "") for name in report["species"]]
    if (report["decision"] == "keep").sum() < 2:
        rare = "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:5])
        raise BirdnbError(
            f"fewer than two species can be split ({rare or 'one species only'}): add recordings, "
            "or lower min_recordings or min_groups in the profile"
        )
    kept = manifest[~species.isin(report.loc[report["decision"] == "drop", "species"])]
    return kept.reset_index(drop=True), report


def make_split(manifest: pd.DataFrame, settings: SplitSettings, seed: int) -> pd.Series:
    """Share the recordings out: a Series recording_id -> "train", "validation" or "test".

    Grouped by ``settings.group_by``, stratified by species; only labels and groups are looked at.
    The same table and seed give the same split, in whatever order the rows come. Species that are
    kept in training only hold their groups there. Raises BirdnbError when there are fewer than
    three groups.
    """
    validation, test = settings.validation_share, settings.test_share
    if validation + test >= 1:
        raise BirdnbError(
            f"validation_share {validation} and test_share {test} must be together below 1"
        )
    free, group = _free_rows(manifest, settings)
    side = pd.Series(
        "train", index=pd.Index(manifest["recording_id"], name="recording_id"), name="side"
    )
    shares = [1 - validation - test, validation, test]
    part = _parts(manifest, free, group, shares, np.random.default_rng(seed))
    side.loc[part.index] = [SIDES[number] for number in part]
    return side


def make_folds(
    manifest: pd.DataFrame, settings: SplitSettings, seed: int, k: int
) -> list[pd.Series]:
    """Make K splits as ``make_split`` does; every recording is tested in exactly one of them.

    Recordings of train-only species are tested in none.
    ``settings.test_share`` gives way to 1/K; validation is cut, by groups too, from what is left.
    Raises BirdnbError when a species has fewer than K groups, or K is less than 2.
    """
    rng = np.random.default_rng(seed)
    free, group = _free_rows(manifest, settings)
    _check_folds(manifest["species"][free], group[free], settings, k)
    fold = _parts(manifest, free, group, [1 / k] * k, rng)
    validation = settings.validation_share / (1 - 1 / k)  # share of what is not test
    splits = []
    for number in range(k):
        side = pd.Series(
            "train", index=pd.Index(manifest["recording_id"], name="recording_id"), name="side"
        )
        rest = fold.index[fold != number]
        rows = free & manifest["recording_id"].isin(rest)
        part = _parts(manifest, rows, group, [1 - validation, validation], rng)
        side.loc[part.index[part == 1]] = "validation"
        side.loc[fold.index[fold == number]] = "test"
        splits.append(side)
    return splits


def audit_split(manifest: pd.DataFrame, side: pd.Series, group_by: str = "session") -> pd.DataFrame:
    """Count recordings, sessions, recordists and species on each side, if nothing leaks.

    Raises BirdnbError when a recording, a file or a group (``group_by``) is on two sides, has no
    side, or has an unknown one.
    """
    table = manifest[["recording_id", "path", "species"]].copy()
    if (
        side.index.has_duplicates
        or set(side.index) != set(table["recording_id"])
        or table["recording_id"].duplicated().any()
    ):
        raise BirdnbError(
            "the split and the manifest do not list the same recordings, each once: make the split "
            "again"
        )
    table["side"] = table["recording_id"].map(side)
    unknown = set(table["side"]) - set(SIDES)
    if unknown:
        raise BirdnbError(
            f"the split has an unknown side {sorted(map(str, unknown))[0]!r}: known are "
            f"{', '.join(SIDES)}"
        )
    table["session"] = sessions(manifest)
    table["recordist"] = people(manifest["recordist"]).replace("", None)
    table["group"] = table["session"] if group_by == "session" else groups(manifest, group_by)
    for what, name in (("path", "file"), ("group", group_by)):
        numbers = table[[what, "side"]].drop_duplicates().value_counts(what, sort=False)
        leaks = sorted(numbers.index[numbers > 1])
        if leaks:
            where = " and ".join(sorted(table.loc[table[what] == leaks[0], "side"].unique()))
            raise BirdnbError(
                f"leakage: the {name} {leaks[0]!r} is in {where} ({len(leaks)} such): make the "
                f"split again"
            )
    counts = table.groupby("side").agg(
        recordings=("recording_id", "size"), sessions=("session", "nunique"),
        recordists=("recordist", "nunique"), species=("species", "nunique"),
    )  # fmt: skip
    return counts.reindex(list(SIDES), fill_value=0).rename_axis("side").reset_index()


def _rare_reasons(
    manifest: pd.DataFrame, group: pd.Series, settings: SplitSettings
) -> dict[str, str]:
    """Return for each species that cannot be split the reason why.

    Groups held in training by a train-only species do not count for the others.
    """
    reasons: dict[str, str] = {}
    while True:
        held = manifest["species"].isin(reasons) & (settings.rare_species == "train_only")
        free = ~group.isin(set(group[held]))
        recordings = manifest["species"][free].value_counts()
        numbers = group[free].groupby(manifest["species"][free]).nunique()
        new = {}
        for name in sorted(set(manifest["species"]) - set(reasons)):
            n, g = int(recordings.get(name, 0)), int(numbers.get(name, 0))
            if n < settings.min_recordings:
                new[name] = f"{n} recordings, the split needs {settings.min_recordings}"
            elif g < settings.min_groups:
                new[name] = (
                    f"recordings of {g} {settings.group_by}s only, the split needs "
                    f"{settings.min_groups}"
                )
        reasons.update(new)
        if not new or settings.rare_species == "drop":
            return reasons


def _free_rows(manifest: pd.DataFrame, settings: SplitSettings) -> tuple[pd.Series, pd.Series]:
    """Return which rows may leave the training side (bool), and every row's group."""
    group = groups(manifest, settings.group_by)
    if settings.rare_species == "drop":
        return pd.Series(True, index=manifest.index), group
    rare = manifest["species"].isin(_rare_reasons(manifest, group, settings))
    return ~group.isin(set(group[rare])), group


def _check_folds(species: pd.Series, group: pd.Series, settings: SplitSettings, k: int) -> None:
    if k < 2:
        raise BirdnbError(f"{k} folds: cross-validation needs 2 at least")
    if settings.validation_share >= 1 - 1 / k:
        raise BirdnbError(
            f"{k} folds leave nothing to train on with validation_share {settings.validation_share}"
        )
    numbers = group.groupby(species).nunique().sort_values()
    if numbers.empty or numbers.iloc[0] < k:
        name, n = (numbers.index[0], numbers.iloc[0]) if len(numbers) else ("no species", 0)
        raise BirdnbError(
            f"{k} folds are too many: {name} has recordings of {n} {settings.group_by}s only; take "
            f"{n} folds or fewer, or set min_groups to {k} in the profile to leave such species out"
        )


def _parts(
    manifest: pd.DataFrame, rows: pd.Series, group: pd.Series, shares: list[float],
    rng: np.random.Generator,
) -> pd.Series:  # fmt: skip
    """Share the chosen rows out, in the order of their ids: recording_id -> part number."""
    order = manifest[rows].sort_values("recording_id").index
    names, together = (c[order].to_numpy(dtype=str) for c in (manifest["species"], group))
    part = share_out(names, together, shares, rng)
    return pd.Series(part, index=manifest["recording_id"][order])
