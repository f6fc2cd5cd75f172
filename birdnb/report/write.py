"""Write the report of finished runs: pages, metrics.json, and tables of species and recordings.

One Markdown template says everything; the HTML page is that Markdown with the figures inside.
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from birdnb.corpora.table import attribution
from birdnb.evaluation.gates import reported
from birdnb.evaluation.metrics import confusion
from birdnb.files import (
    BirdnbError,
    atomic_path,
    report_folder,
    safe_name,
    write_json,
    write_table,
    write_text,
)
from birdnb.registry import CURVES, ENSEMBLE, ENSEMBLE_WITH, FULL
from birdnb.report import words
from birdnb.report.collect import ReportInput, more_recordings
from birdnb.report.corpus_card import write_card
from birdnb.report.heard import heard_words
from birdnb.report.numbers import study_metrics
from birdnb.report.page import page
from birdnb.report.recordings import DOUBTS, recordings_words
from birdnb.report.sections import comparison_words, corpus_words, settings_words, species_words
from birdnb.report.yardstick import yardstick_words

NAME = "PHASE3_RESULTS"
# figures with a place of their own; any other comes before the settings under its own name
CAPTIONS = {
    "progression": "From chance to the ensemble: test accuracy with 95 % intervals; hollow marks "
    "are reported, not measured.",
    "learning_curves": "How the networks learned: validation solid, training dashed, that on "
    "altered clips where augmented.",
    "paired_differences": "What each step adds, in points of accuracy, with 95 % intervals.",
    "per_species_f1": "F1 of each species with its 95 % interval.",
    "rare_vs_common": "F1 of each species against the training recordings it has.",
    "confusion": "Confusion matrix of the final model, similar species side by side.",
    "confused_gallery": "Songs behind the commonest confusions.",
    "embedding_map": "Test recordings as AST sees them: neighbours sound alike to it.",
    "reliability": "Reliability: how often a prediction is right, by how sure the model was.",
    "ensemble_weights": "Validation accuracy and log loss over the ensemble's weights.",
    "doubtful_labels": "The labels that are doubted most, and what the models rather say.",
    "split_overview": "What lies on each side of the split.",
    "class_counts": "Recordings of each species, by side.",
}
LISTENS = (
    "What AST listens to in a recording that it gets {}: without an orange part the probability "
    "falls, without a purple one it rises. Each picture has its own scale."
)
SHORT = {
    "gate_2": "Gate 2", "gate_3": "Gate 3", "train_validation_gap": "train-validation gap",
    "ensemble_gain": "ensemble gain",
    "success_level": "level of success",
}  # fmt: skip


def write_report(
    report: ReportInput, figures: Mapping[str, Path], folder: Path | None = None
) -> Path:
    """Write the report into ``folder`` (``report_folder`` unless given) and return the folder.

    ``figures`` maps names (``CAPTIONS`` has those with a place of their own) to PNG files; files
    elsewhere are copied to ``figures/``. Raises BirdnbError when a figure is missing.
    """
    folder = Path(folder or report_folder(report.corpus, report.profile))
    metrics = study_metrics(report)
    placed = {name: _place(Path(path), folder) for name, path in figures.items()}
    text = render(report, metrics, placed, more_recordings(folder, report))
    write_json(folder / "metrics.json", metrics)
    write_text(folder / f"{NAME}.md", text)
    write_text(folder / f"{NAME}.html", page(text, folder, report.synthetic))
    _write_tables(report, metrics, folder)
    write_card(report, folder)
    return folder


def render(
    report: ReportInput,
    metrics: dict[str, Any],
    figures: Mapping[str, str],
    more: Mapping[str, str] | None = None,
) -> str:
    """Render the report as Markdown; ``figures``: name to path, ``more``: what curves say."""
    text = words.template("report.md.j2").render(
        m=metrics, more_recordings=more, curves=f"{CURVES}.html",
        figures={name: (_caption(name), path) for name, path in figures.items()},
        others=[name for name in figures if name not in CAPTIONS], labels=report.labels,
        layout=report.layout, split=metrics["split"], reported=reported(), short=SHORT, full=FULL,
        ensemble=ENSEMBLE, with_encoders=ENSEMBLE_WITH, **comparison_words(report, metrics),
        **heard_words(report, metrics), **yardstick_words(report, metrics),
        **recordings_words(report, metrics), **species_words(report, metrics),
        **corpus_words(report), **settings_words(report),
    )  # fmt: skip
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _caption(figure: str) -> str:
    listens = re.fullmatch(r"listens_(right|wrong)_\d+", figure)
    usual = LISTENS.format(listens[1]) if listens else figure.replace("_", " ").capitalize() + "."
    return CAPTIONS.get(figure, usual)


def _write_tables(report: ReportInput, metrics: dict[str, Any], folder: Path) -> None:
    frames = {
        "attribution": pd.concat([attribution(report.tables[0]), _weights_credit(report, metrics)]),
        "quarantine": pd.concat([report.quarantine, report.dropped]),
    }
    if report.doubts is not None:
        frames[Path(DOUBTS).stem] = report.doubts
    if metrics["final_run"]:
        matrix = confusion(report.test(metrics["final_run"]), len(report.labels))
        table = pd.DataFrame(matrix, report.labels, report.labels).rename_axis("species")
        frames["confusion"] = table.reset_index()
        per_class = pd.DataFrame(metrics["runs"][metrics["final_run"]]["test"]["per_class"]).T
        frames["per_species"] = per_class.rename_axis("species").reset_index()
    for name, frame in frames.items():
        write_table(folder / f"{name}.csv", frame)


def _weights_credit(report: ReportInput, metrics: dict[str, Any]) -> pd.DataFrame:
    """Return whom to credit for the weights of frozen encoders, as rows of the attribution."""
    cards = yardstick_words(report, metrics)["weights_licences"]
    rows = [(f"{c.title}, weights of a frozen encoder", c.licence, c.source) for c in cards]
    return pd.DataFrame(rows, columns=["recordist", "license", "url"])


def _place(path: Path, folder: Path) -> str:
    if not path.is_file():
        raise BirdnbError(
            f"the figure {path} is not there: draw and save it before the report is written"
        )
    target = folder / "figures" / f"{safe_name(path.stem)}.png"
    if not target.exists() or not target.samefile(path):
        with atomic_path(target) as temporary:
            shutil.copyfile(path, temporary)
    return f"figures/{target.name}"
