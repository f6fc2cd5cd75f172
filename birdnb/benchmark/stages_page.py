"""The page and the JSON of ``python -m birdnb.benchmark study``."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from birdnb.benchmark.machine import described
from birdnb.benchmark.study import CACHED, PROBED, WHOLE, Size, Stage
from birdnb.registry import BASELINE, EFFICIENTNET, FULL
from birdnb.report.tables import pipe_table
from birdnb.report.words import NONE, title

MINUTES = 20  # target for the study in full size on a GPU, from finished spectrograms
BUSY = 90  # [%] target for the card while networks learn that are worth one


def stages_page(stages: Sequence[Stage], size: Size, about: dict[str, Any]) -> str:
    """Return the stages as Markdown: table, sums, targets, machine."""
    lines = [
        {
            "stage": stage.what, "seconds": _cell(stage.seconds, ".1f"),
            "clips/s": _cell(stage.clips_per_second, ",.0f"), "epochs": stage.epochs or NONE,
            "process [GB]": _cell(stage.process_gb, ".2f"),
            "card [GB]": _cell(stage.card_gb, ".2f"), "card busy [%]": _cell(stage.busy, ".0f"),
            "in full [min]": _cell(stage.whole and stage.whole / 60, ".1f"),
        }
        for stage in stages
    ]  # fmt: skip
    notes = [f"- {stage.what}: {stage.note}" for stage in stages if stage.note]
    return "\n\n".join(
        [
            "# How long does a whole study take?",
            _what(size),
            pipe_table(pd.DataFrame(lines)),
            *(["\n".join(notes)] if notes else []),
            _sums(stages, size),
            _targets(stages, size, about),
            described(about) + ".\n",
        ]
    )


def as_json(stages: Sequence[Stage], size: Size, about: dict[str, Any]) -> dict[str, Any]:
    """Return the same as what JSON can hold."""
    return {
        "machine": about,
        "size": asdict(size) | {"of": WHOLE},
        "stages": [asdict(stage) for stage in stages],
        "in_full": in_full(stages),
    }


def in_full(stages: Sequence[Stage]) -> dict[str, Any]:
    """Return what a study in full size takes [s]; ``complete``: every stage ended well."""
    whole = {stage.what: stage.whole for stage in stages if stage.whole is not None}
    for what in whole:
        if what.startswith(PROBED) and what.removeprefix(PROBED) in whole:
            whole[what] = 0.0
    return {
        "all": sum(whole.values()),
        "from_spectrograms": sum(whole.values()) - whole.get(CACHED, 0.0),
        "complete": not any(stage.note for stage in stages),
    }


def _what(size: Size) -> str:
    cut = "" if size.minutes is None else (
        f" Epochs were cut short to fit {size.minutes:g} minutes (how many were run stands beside "
        f"how many the profile wants), after a probe of each network."
    )  # fmt: skip
    return (
        f"Written by `python -m birdnb.benchmark study`: profile {size.profile}, "
        f"{size.species * size.recordings:,} synthesised recordings of {size.species} species, of "
        f"8 s on average. Networks whose weights the profile takes from a hub start from new "
        f"weights: the accuracy says nothing, the work is the same.{cut} A row of a training is "
        f"the whole of it: loading, epochs with validation, predictions, metrics; clips/s are "
        f"those of its last epoch, without validation. A notebook finds all runs finished, so that "
        f"its row is what it adds."
    )


def _sums(stages: Sequence[Stage], size: Size) -> str:
    found, took = in_full(stages), sum(stage.seconds or 0.0 for stage in stages)
    least = "" if found["complete"] else "at least (not all stages were measured) "
    return (
        f"Measured: {took / 60:.1f} minutes in all. In full ({WHOLE:,} recordings, all epochs, no "
        f"early stopping): {least}{found['all'] / 60:.0f} minutes, "
        f"{least}{found['from_spectrograms'] / 60:.0f} from finished spectrograms. That is "
        f"extrapolated: every stage times {size.scale:.2f} for its recordings, also the part that "
        f"does not grow with them; of a training, an epoch (the mean of all but the first) times "
        f"the epochs of the profile; where a training was not run, its probe stands for it. Real "
        f"recordings are longer, which only their spectrograms notice."
    )


def _targets(stages: Sequence[Stage], size: Size, about: dict[str, Any]) -> str:
    """Say whether the targets for a GPU are reached, or that there was none."""
    minutes = in_full(stages)["from_spectrograms"] / 60
    of = {stage.what: stage.busy for stage in stages}
    busy = {title(run): of.get(title(run)) for run in (BASELINE, FULL, EFFICIENTNET)}
    on_card = bool(about["gpu"]) and size.profile.startswith("gpu")
    rows = [
        (
            f"the study in full from finished spectrograms, under {MINUTES} minutes",
            f"{minutes:.0f} min" if on_card else "not measured",
        ),
        *(
            (
                f"card busy while {name} learns, at least {BUSY} %",
                f"{share:.0f} %" if on_card and share is not None else "not measured",
            )
            for name, share in busy.items()
        ),
    ]
    return pipe_table(pd.DataFrame(rows, columns=["target for a GPU", "measured"]))


def _cell(value: float | None, form: str) -> str:
    return NONE if value is None else format(value, form)
