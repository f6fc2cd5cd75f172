"""What the template of the report is given: the sections of the page, as values and tables."""

import json
import shlex
from pathlib import Path
from typing import Any

import pandas as pd

from birdnb.config import PROFILES
from birdnb.corpora.table import license_counts
from birdnb.evaluation.gates import FEW_SESSIONS, reported
from birdnb.evaluation.metrics import top_confusions
from birdnb.registry import BASELINE, FULL, TRAINED, is_yardstick
from birdnb.report import tables, words
from birdnb.report.collect import ReportInput
from birdnb.report.heard import cards_of
from birdnb.report.numbers import f1_of_rare_and_common
from birdnb.split.facts import people


def comparison_words(report: ReportInput, metrics: dict[str, Any]) -> dict[str, Any]:
    """Return what the page says of the runs side by side: scores, steps, gates, benchmark."""
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
        "kin": [words.title(name) for name in runs if _heard_invented_song(report, name)],
    }


def _heard_invented_song(report: ReportInput, run: str) -> bool:
    """Tell whether a network was trained here from weights that learned from invented song."""
    if is_yardstick(run) or "members" in report.configs[run]:
        return False
    return any(card.heard == "invented song" for card in cards_of(report, run))


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


def species_words(report: ReportInput, metrics: dict[str, Any]) -> dict[str, Any]:
    """Return what the page says of the species: the best and worst, confusions, calibration."""
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


def corpus_words(report: ReportInput) -> dict[str, Any]:
    """Return what the page says of the recordings: left out, licences, who made them."""
    counts = report.quarantine["reason"].value_counts()
    reasons = counts.rename_axis("reason").reset_index(name="recordings")
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
        "species_dropped": rare[report.species_left_out["decision"] == "drop"],
        "trained_only": int((report.species_left_out["decision"] == "train_only").sum()),
        "species_left_out_table": tables.pipe_table(rare.rename(columns={"groups": "sessions"})),
        "attributed": len(used),
        "unattributed": int(((used["recordist"] == "") | (used["license"] == "")).sum()),
        "recordists": people(used["recordist"]).replace("", None).nunique(),
        "licences": tables.pipe_table(named.rename(columns={"license": "licence"})),
        "non_commercial": int(licences.loc[licences["non_commercial"], "recordings"].sum()),
        "no_derivatives": int(licences.loc[licences["no_derivatives"], "recordings"].sum()),
    }


def settings_words(report: ReportInput) -> dict[str, Any]:
    """Return what the page says of how the study was run: the commands, versions, settings."""
    configs = report.configs
    about: dict[str, list[str]] = {}  # runs taken up may be of other versions: all are told
    for config in (one.config for results in report.runs.values() for one in results):
        if "versions" in config:
            own = {key: config.get(key) for key in ("device", "git_commit", "birdnb")}
            for key, value in (own | config["versions"]).items():
                if value and value not in about.setdefault(key, []):
                    about[key].append(value)
    return {
        "command": "\n".join(_commands(report)),
        "about": {
            {"git_commit": "commit"}.get(key, key): " and ".join(values)
            for key, values in about.items()
            if values
        },
        "settings": tables.settings_table(configs),
        "shared": {
            key: words.NONE if value == "" else value
            for key, value in tables.shared_settings(configs).items()
        },
    }


def _commands(report: ReportInput) -> list[str]:
    """Return the commands that repeat a study: one, or one for notebooks with other settings."""
    corpus = report.before or report.corpus
    corpus = corpus if report.synthetic else f"path/to/{corpus}"
    shipped = (PROFILES / f"{report.profile}.yaml").is_file()
    profile = report.profile if shipped else f"path/to/{report.profile}.yaml"
    command = ["./run_all.sh", "--corpus", corpus, "--profile", profile, "--seed", str(report.seed)]
    command += ["--folds", str(report.folds)] if report.folds else []
    command += ["--corrections", "path/to/corrections.csv"] if report.before else []
    encoders = ["--encoders", *map(_without_path, report.encoders)] if report.encoders else []
    parts = _alike(report)
    commands = []
    for books, settings in parts:
        own = [*command, *(encoders if "04" in books else [])]
        own += ["--only", *books] if len(parts) > 1 else []
        own += ["--"] if settings else []
        for key, value in settings.items():
            text = json.dumps(value) if isinstance(value, list) else words.without_folder(value)
            own += ["-p", key, str(text)]
        commands.append(shlex.join(own))
    return commands


def _alike(report: ReportInput) -> list[tuple[list[str], dict[str, Any]]]:
    """Group the notebooks, in order, that were run with the same settings: numbers, settings."""
    parts: list[tuple[list[str], dict[str, Any]]] = []
    for books in (["01", "02", "03", "04"], ["05"], ["06", "07"]):
        trained = [run for book in books for run in TRAINED.get(book, ()) if run in report.runs]
        settings = {k: v for run in trained for k, v in report.changed.get(run, {}).items()}
        if parts and (settings == parts[-1][1] or not trained):
            parts[-1][0].extend(books)
        else:
            parts.append((list(books), settings))
    return parts


def _without_path(encoder: str) -> str:
    kind, _, given = encoder.partition(":")
    return f"{kind}:path/to/{Path(given).name}" if given else encoder
