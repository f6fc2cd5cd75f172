"""None of these: how often a run cries wolf, in quiet and over birds it was never taught.

Quiet are the stretches that the cache keeps of recordings (a second each, turned back and forth to
a clip). Strangers are recordings of species too rare to train on, or held out on purpose
(``split.strangers`` of the profile); those of every second species have a say in which score
refuses best, the others only report, as the test side does.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from birdnb.data import StudyData
from birdnb.evaluation.refusal import (
    Opinions,
    Refusal,
    alarms_per_hour,
    candidates,
    choose_refusal,
    joined,
    refusal_table,
)
from birdnb.field.clip_sound import clip_batches, quiet_batches
from birdnb.field.detect import calibrated
from birdnb.field.listener import Listener
from birdnb.field.promise import Promises
from birdnb.field.windows import Batch

SIDES = ("validation", "test")
ENOUGH = 2000  # clips of training to fit the background class on


@dataclass(frozen=True)
class Wolves:
    """What a run says of clips that hold its species and of those that hold none, by side."""

    known: dict[str, Opinions]  # "train", "validation", "test"
    quiet: dict[str, Opinions]
    strangers: dict[str, Opinions]  # "validation", "test"
    clip_seconds: float

    def others(self, side: str) -> dict[str, Opinions]:
        """Return what holds none of the species, by kind."""
        return {"quiet": self.quiet[side], "strangers": self.strangers[side]}


def stranger_sides(data: StudyData) -> dict[str, list[str]]:
    """Return the recordings of species that are not studied, those of each species on one side."""
    held, studied = set(data.cache.index["recording_id"]), set(data.table["recording_id"])
    manifest = data.corpus.manifest
    rows = manifest[manifest["recording_id"].isin(held - studied)]
    rows = rows[~rows["species"].isin(data.labels)]
    place = {species: number % 2 for number, species in enumerate(sorted(set(rows["species"])))}
    return {
        side: rows.loc[rows["species"].map(place) == number, "recording_id"].tolist()
        for number, side in ((1, "validation"), (0, "test"))
    }


def listen_to_nothing(
    parts: Sequence[tuple[StudyData, Listener]], temperature: float = 1.0
) -> Wolves:
    """Ask a run, fold by fold, about its own clips, quiet stretches and strangers.

    ``temperature`` is that of the calibration.
    """
    known: dict[str, list[Opinions]] = {}
    quiet: dict[str, list[Opinions]] = {}
    strangers: dict[str, list[Opinions]] = {}
    for data, listener in parts:
        for side in ("train", *SIDES):
            clips, most = data.clips(side), ENOUGH if side == "train" else None
            sung = clip_batches(data, clips.lms.numpy(), clips.recording.numpy(),
                                clips.recording_ids, listener, most)  # fmt: skip
            silent = quiet_batches(data, data.side(side), listener, most)
            known.setdefault(side, []).append(_ask(listener, sung, temperature))
            quiet.setdefault(side, []).append(_ask(listener, silent, temperature))
        for side, names in stranger_sides(data).items():
            strange = clip_batches(data, *data.cache.load_many(names), names, listener)
            strangers.setdefault(side, []).append(_ask(listener, strange, temperature))
    known_all, quiet_all, strange_all = (
        {side: joined(those) for side, those in kind.items()} for kind in (known, quiet, strangers)
    )
    return Wolves(known_all, quiet_all, strange_all, parts[0][1].audio.clip_seconds)


def _ask(listener: Listener, batches: Iterable[Batch], temperature: float) -> Opinions:
    """Return what a run says of windows, after calibration."""
    none = Opinions(np.zeros((0, len(listener.labels)), np.float32), np.zeros(0))
    said = joined([none, *map(listener.hear, batches)])
    return Opinions(calibrated(said.probabilities, temperature)[0], said.energy)


def find_refusal(promises: Promises, wolves: Wolves) -> Promises:
    """Add to promises the score that refuses best on validation, and how the others did."""
    scores = candidates(wolves.known["train"], wolves.quiet["train"])
    deciding = {kind: part for kind, part in wolves.others("validation").items()
                if len(part.energy)}  # fmt: skip
    chosen = choose_refusal(scores, wolves.known["validation"], deciding)
    known = {side: wolves.known[side] for side in SIDES}
    table = refusal_table(scores, known, {side: wolves.others(side) for side in SIDES})
    found = replace(promises, refusal=chosen, refusals=table.round(4).to_dict("records"))
    return replace(found, alarms=alarm_table(found, chosen, wolves).to_dict("records"))


def alarm_table(promises: Promises, refusal: Refusal, wolves: Wolves) -> pd.DataFrame:
    """Count false alarms: clips of quiet and of strangers in which a species passes its threshold.

    A row for each side, kind, and with or without refusing: clips, hours, alarms, per_hour and its
    95 % interval low, high (Poisson).
    """
    thresholds = np.array([one.threshold or np.inf for one in promises.species.values()])
    rows = []
    for side in SIDES:
        for kind, clips in wolves.others(side).items():
            hours = len(clips.energy) * wolves.clip_seconds / 3600
            calls = np.max(clips.probabilities >= thresholds, axis=1)
            for refusing in (False, True) if hours else ():
                kept = calls & refusal.keeps(clips) if refusing else calls
                rates = alarms_per_hour(int(kept.sum()), hours)
                rows.append((side, kind, refusing, len(calls), hours, int(kept.sum()), *rates))
    return pd.DataFrame(rows, columns=["side", "others", "refusing", "clips", "hours", "alarms",
                                       "per_hour", "low", "high"])  # fmt: skip
