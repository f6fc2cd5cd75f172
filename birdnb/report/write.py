"""Write the report of finished runs: pages, metrics.json, and tables of species and recordings.

One Markdown template says everything; the HTML page is that Markdown with the figures inside.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from birdnb.config import PROFILES
from birdnb.corpora.table import attribution, license_counts
from birdnb.evaluation.gates import FEW_SESSIONS, reported
from birdnb.evaluation.metrics import confusion, top_confusions
from birdnb.files import BirdnbError, atomic_path, report_folder, safe_name, write_json, write_text
from birdnb.registry import BASELINE, CURVES, ENSEMBLE, ENSEMBLE_WITH, FULL
from birdnb.report import tables, words
from birdnb.report.collect import ReportInput, more_recordings
from birdnb.report.corpus_card import write_card
from birdnb.report.heard import heard_words
from birdnb.report.numbers import f1_of_rare_and_common, study_metrics
from birdnb.report.page import page
from birdnb.report.recordings import DOUBTS, recordings_words
from birdnb.report.yardstick import yardstick_words

HERE = Path(__file__).parent
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
    text = render(report, metrics, placed, more_recordings(folder))
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
    """Render the report as Markdown; ``figures`` maps names to paths relative to the page.

    ``more``: what learning curves say of runs, where there are any.
    """
    text = words.template("report.md.j2").render(
        m=metrics,
        more_recordings=more,
        curves=f"{CURVES}.html",
        figures={name: (_caption(name), path) for name, path in figures.items()},
        others=[name for name in figures if name not in CAPTIONS],
        labels=report.labels,
        layout=report.layout,
        split=metrics["split"],
        reported=reported(),
        short=SHORT,
        full=FULL,
        ensemble=ENSEMBLE,
        with_encoders=ENSEMBLE_WITH,
        **_comparison(report, metrics),
        **heard_words(report, metrics),
        **yardstick_words(report, metrics),
        **recordings_words(report, metrics),
        **_species(report, metrics),
        **_corpus(report),
        **_settings(report),
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _caption(figure: str) -> str:
    listens = re.fullmatch(r"listens_(right|wrong)_\d+", figure)
    usual = LISTENS.format(listens[1]) if listens else figure.replace("_", " ").capitalize() + "."
    return CAPTIONS.get(figure, usual)


def _comparison(report: ReportInput, metrics: dict[str, Any]) -> dict[str, Any]:
    runs, final = metrics["runs"], metrics["final_run"]
    gaps = {name: runs.get(name, {}).get("train", {}).get("accuracy") for name in (BASELINE, FULL)}
    augmentation = None
    if None not in gaps.values():
        without, with_ = (gaps[name] - runs[name]["val"]["accuracy"] for name in (BASELINE, FULL))
        best = {
            f"best_{k}": runs[name].get("best_epoch")
            for k, name in (("without", BASELINE), ("with", FULL))
        }
        augmentation = {"gap_without": without, "gap_with": with_, **best}
    test, gate = runs[final]["test"] if final else {}, metrics["gates"]["final"]
    return {
        "final": final is not None,
        "test": test,
        "gate": gate,
        "few": test.get("sessions", 0) < FEW_SESSIONS,
        "certain": bool(gate["certain"]),
        "split_counts": tables.split_table(metrics["split"]),
        "measured": tables.measured_table(metrics) if runs else "",
        "cost": tables.cost_table(metrics, report.configs),
        "steps": tables.steps_table(metrics) if metrics["steps"] else "No two runs to compare yet.",
        "reported_table": tables.reported_table(reported()),
        **_benchmark(report, metrics),
        "gates": tables.gates_table(metrics["gates"]),
        "augmentation": augmentation,
        "caveat": report.caveat,
        "unknown_sessions": report.unknown_sessions,
        "notes": list(report.notes),
        "kin": [
            words.title(name) for name, run in runs.items() if run.get("pretrained") == "synthetic"
        ],
    }


def _benchmark(report: ReportInput, metrics: dict[str, Any]) -> dict[str, Any]:
    """Say what others report for this very corpus, and whether this study is like theirs."""
    found = reported()["benchmarks"].get(report.layout)
    if found is None:
        return {"benchmark": None}
    same = report.profile == found["profile"] and not report.folds
    return {
        "benchmark": found,
        "benchmark_same": same and len(report.labels) == found["species"],
        "benchmark_table": tables.benchmark_table(found, metrics),
    }


def _species(report: ReportInput, metrics: dict[str, Any]) -> dict[str, Any]:
    if metrics["final_run"] is None:
        return {}
    run = metrics["runs"][metrics["final_run"]]
    per_class = run["test"]["per_class"]
    ranked = sorted(per_class, key=lambda name: (-per_class[name]["f1"], name))
    few = len(ranked) <= 12
    wrong = top_confusions(report.test(metrics["final_run"]), report.labels)
    wrong = wrong.map(words.plain).rename(
        columns={"taken_for": "taken for", "of": "of its test recordings"}
    )
    weights = run.get("weights", {})
    return {
        "best": tables.species_table(per_class, ranked if few else ranked[:5]),
        "worst": "" if few else tables.species_table(per_class, ranked[-5:]),
        "rare": f1_of_rare_and_common(report, metrics),
        "confusions": tables.pipe_table(wrong, left=2) if len(wrong) else "",
        "calibration": tables.calibration_table(metrics),
        "temperature": run.get("temperature"),
        "ensemble_run": run,
        "ensemble_table": tables.ensemble_table(run) if weights else "",
        "weights": ", ".join(
            f"{words.plain(words.title(name))} "
            f"{words.score(weight, [min(each), max(each)] if each else None)}"
            for name, weight in weights.items()
            for each in [run.get("weights_of_folds", {}).get(name)]
        ),
    }


def _corpus(report: ReportInput) -> dict[str, Any]:
    reasons = (
        report.quarantine["reason"]
        .value_counts()
        .rename_axis("reason")
        .reset_index(name="recordings")
    )
    shown = reasons.assign(reason=reasons["reason"].map(words.plain))
    if len(shown) > 15:
        text = f"{len(shown) - 14} other reasons (all in metrics.json)"
        rest = pd.DataFrame([(text, shown["recordings"][14:].sum())], columns=shown.columns)
        shown = pd.concat([shown[:14], rest])
    rare = report.species_left_out[["species", "recordings", "groups", "decision", "reason"]].map(
        words.plain
    )
    used = report.tables[0]
    licences = license_counts(used)
    named = licences[["license", "recordings"]].assign(license=licences["license"].map(words.plain))
    return {
        "quarantine": reasons,
        "quarantine_table": tables.pipe_table(shown),
        "species_left_out": rare,
        "species_left_out_table": tables.pipe_table(rare.rename(columns={"groups": "sessions"})),
        "attributed": len(used),
        "unattributed": int(((used["recordist"] == "") | (used["license"] == "")).sum()),
        "recordists": used.loc[used["recordist"] != "", "recordist"].nunique(),
        "licences": tables.pipe_table(named.rename(columns={"license": "licence"})),
        "non_commercial": int(licences.loc[licences["non_commercial"], "recordings"].sum()),
        "no_derivatives": int(licences.loc[licences["no_derivatives"], "recordings"].sum()),
    }


def _settings(report: ReportInput) -> dict[str, Any]:
    configs = report.configs
    trained = next((config for config in configs.values() if "versions" in config), {})
    corpus = report.before or report.corpus
    corpus = corpus if report.synthetic else f"path/to/{corpus}"
    shipped = (PROFILES / f"{report.profile}.yaml").is_file()
    profile = report.profile if shipped else f"path/to/{report.profile}.yaml"
    command = ["./run_all.sh", "--corpus", corpus, "--profile", profile, "--seed", str(report.seed)]
    command += ["--folds", str(report.folds)] if report.folds else []
    command += ["--corrections", "path/to/corrections.csv"] if report.before else []
    command += ["--encoders", *map(_without_path, report.encoders)] if report.encoders else []
    if report.changed:
        command += [
            "--",
            *(word for key, value in report.changed.items() for word in ("-p", key, str(value))),
        ]
    own = {key: trained[key] for key in ("device", "git_commit", "birdnb") if trained.get(key)}
    about = own | trained.get("versions", {})
    return {
        "command": shlex.join(command),
        "about": {{"git_commit": "commit"}.get(k, k): value for k, value in about.items()},
        "settings": tables.settings_table(configs),
        "shared": {
            key: words.NONE if value == "" else value
            for key, value in tables.shared_settings(configs).items()
        },
    }


def _without_path(encoder: str) -> str:
    kind, _, given = encoder.partition(":")
    return f"{kind}:path/to/{Path(given).name}" if given else encoder


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
        write_text(folder / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))


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
