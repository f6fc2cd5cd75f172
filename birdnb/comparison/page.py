"""Write the report of a comparison of variants: a table and a figure for each run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from birdnb import __version__
from birdnb.evaluation.metrics import paired_bootstrap, summarise
from birdnb.evaluation.predictions import Predictions
from birdnb.files import atomic_path, reports_dir, safe_name, write_text
from birdnb.plots.results import paired_differences
from birdnb.pretraining.card import machine
from birdnb.report.tables import pipe_table
from birdnb.report.words import NONE, duration, percent, plain, points, score, title, without_folder
from birdnb.training.devices import make_accelerator
from birdnb.training.runs import git_commit

READING = (
    "Judged on the {side} recordings of all folds together; brackets hold 95 % intervals from "
    "drawing recording sessions again. Differences are paired, from *{reference}*: the same "
    "sessions are drawn for both. An interval that holds zero, or a p above 0.05, means that these "
    "recordings cannot tell. Folds share their recordings: what is chosen on the validation side "
    "of some has no untouched test side left among the others. Logistic regression on MFCC "
    "statistics is there for comparison, and frozen encoders where they were asked for."
)
KINSHIP = (
    "**Synthesised songs: the figures say nothing about real birds.** Weights pretrained on "
    "invented song profit here from kinship: the demo corpus' species are others, but the same "
    "synthesiser made them."
)


@dataclass(frozen=True)
class Comparison:
    """The profile's ``runs``, each with every variant's settings in place of its own."""

    name: str  # of the report
    title: str
    runs: tuple[str, ...]
    side: str  # the recordings judged on: validation or test
    reference: str  # the variant that the others are compared with
    variants: dict[str, dict[str, Any]]  # name -> settings by their bare names


@dataclass(frozen=True)
class Pooled:
    """A variant of a run over all folds and seeds; recording ids carry fold and seed."""

    run: str
    variant: str  # of logistic regression and of frozen encoders, which have none, the run
    predictions: Predictions
    sessions: list[str]
    folds: list[float]  # accuracy of each
    labels: list[str]
    minutes: float


def about_page(
    corpus: str, judged: tuple[Sequence[str], Sequence[str]], profile: str, folds: int,
    seeds: Sequence[int], how: str,
) -> str:  # fmt: skip
    """Say what a page is about: ``judged`` holds sessions and labels, ``how`` is the command."""
    name = "demo" if corpus == "demo" else Path(corpus).resolve().name
    text = (
        f"Corpus {plain(name)}: {len(set(judged[0]))} recording sessions judged on, "
        f"{len(judged[1])} species. Profile {profile}, {folds} folds that keep sessions "
        f"together, seed {', '.join(map(str, seeds))}.\n\n`{how}` wrote this page; "
        f"birdnb {git_commit() or __version__}, {machine(make_accelerator().device)}."
    )
    return f"{KINSHIP}\n\n{text}" if corpus == "demo" else text


def comparison_rows(
    comparison: Comparison, pooled: Sequence[Pooled], run: str
) -> list[dict[str, Any]]:
    """Score each variant of a run and the yardsticks, and compare them with the reference.

    Keys: name, minutes, folds, scores (as ``summarise``) and, but for the reference, paired (as
    ``paired_bootstrap``).
    """
    chosen = [p for p in pooled if p.run == run or p.run == p.variant]
    reference = next(p for p in chosen if p.variant == comparison.reference)
    rows = []
    for one in chosen:
        row = {
            "name": title(one.run) if one.run == one.variant else one.variant,
            "minutes": one.minutes,
            "folds": one.folds,
            "paired": None,
        }
        row["scores"] = summarise(one.predictions, one.labels, one.sessions)
        if one is not reference:
            row["paired"] = paired_bootstrap(one.predictions, reference.predictions, one.sessions)
        rows.append(row)
    return rows


def write_comparison(
    comparison: Comparison, pooled: Sequence[Pooled], about: str, folder: Path | None = None
) -> Path:
    """Write ``<name>.md`` and a figure for each run into the reports folder; return its path."""
    folder = folder or reports_dir()
    lines = [
        f"# {comparison.title}",
        "",
        about,
        "",
        READING.format(side=comparison.side, reference=plain(comparison.reference)),
        "",
    ]
    for run in comparison.runs:
        rows = comparison_rows(comparison, pooled, run)
        figure = folder / "figures" / f"{comparison.name}_{safe_name(run)}.png"
        _draw(rows, comparison.reference)
        with atomic_path(figure) as temporary:
            plt.savefig(temporary, bbox_inches="tight")
        plt.close()
        lines += [f"## {title(run)}", "", pipe_table(_table(rows, comparison.reference)), ""]
        lines += [f"![Differences from {plain(comparison.reference)}](figures/{figure.name})", ""]
    changes = {
        plain(name): ", ".join(map(_setting, what, what.values()))
        for name, what in comparison.variants.items()
    }
    variants = pd.DataFrame(
        {"variant": list(changes), "settings in place of the profile's": list(changes.values())}
    )
    lines += ["## The variants", "", pipe_table(variants.replace("", "none"), left=2), ""]
    return write_text(folder / f"{comparison.name}.md", "\n".join(lines))


def _setting(name: str, value: Any) -> str:
    """Write a setting as code in a cell of a table, without the folder of a file."""
    return f"`{name}: {without_folder(value)}`".replace("|", r"\|")


def _table(rows: Sequence[dict[str, Any]], reference: str) -> pd.DataFrame:
    table = []
    for row in rows:
        scores, paired = row["scores"], row["paired"] or {}
        table.append({
            "variant": plain(row["name"]),
            "accuracy": percent(scores["accuracy"], scores["accuracy_ci95"]),
            "F1 macro": score(scores["f1_macro"], scores["f1_macro_ci95"]),
            "mAP": score(scores["map_macro"]),
            "calibration error": score(scores["ece"]),
            "accuracy of each fold [%]": ", ".join(f"{100 * fold:.1f}" for fold in row["folds"]),
            f"accuracy over {plain(reference)}": points(paired.get("difference"),
            paired.get("ci95")),
            "p": f"{paired['p']:.3f}" if paired else NONE,
            f"F1 over {plain(reference)}": f"{paired['f1_difference']:+.3f}".replace("-",
            "−") if paired else NONE,
            "training": duration(60 * row["minutes"]),
        })  # fmt: skip
    return pd.DataFrame(table)


def _draw(rows: Sequence[dict[str, Any]], reference: str) -> None:
    """Draw the differences from the reference into a new figure."""
    pairs = [(row["name"], row["paired"]) for row in rows if row["paired"]]
    table = [(name, found["difference"], *found["ci95"], found["p"]) for name, found in pairs]
    axes = paired_differences(
        pd.DataFrame(table, columns=["name", "difference", "low", "high", "p"])
    )
    axes.set_title(f"Compared with: {reference}")
