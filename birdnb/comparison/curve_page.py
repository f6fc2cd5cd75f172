"""Write the page of a learning curve: how many recordings it takes, and for which species."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from birdnb.comparison.curve import EIGHTHS, write_rows
from birdnb.comparison.growth import SCORES, Curve
from birdnb.comparison.law import ENOUGH, HORIZON, INTERVAL, OTHER_MEANS, REACHED, SETTLED, Need
from birdnb.files import safe_name, write_json, write_text
from birdnb.plots.growth import growth, species_growth
from birdnb.plots.style import percent as whole_percent
from birdnb.plots.style import save, style
from birdnb.registry import CURVES
from birdnb.report.page import page
from birdnb.report.tables import pipe_table
from birdnb.report.words import duration, percent, plain, points, score, title

TITLE = "How many recordings does it take?"
READING = (
    "Each run was trained on an eighth, a quarter, half and all of the *training* sessions of "
    "every fold, each part inside the next and every species kept, and judged on the same test "
    "recordings each time, all folds together. Validation stays whole, and so does the recipe: "
    "networks take fewer steps where there is less to learn from. Brackets hold 95 % intervals "
    "from drawing recording sessions again, and folds and seeds too; they err to the wide side. "
    "The law is a power law with an asymptote, fitted to these sizes by least squares; it is asked "
    f"for up to {HORIZON} times the sessions there are, no farther."
)


def need_in_words(need: Need | None) -> str:
    """Say how many more sessions it takes: about so many, not settled, or not this way."""
    if need is None:
        return f"not settled: a law needs {ENOUGH} different numbers of sessions a species"
    target, far = whole_percent(need.target), f"more than {HORIZON} times as many as there are"
    if need.verdict == REACHED:
        return f"{target} is reached with the sessions there are"
    if need.verdict == OTHER_MEANS:
        return f"more of the same will not do it: {target} would take {far}"
    least = math.ceil(need.low)
    if need.verdict == SETTLED:
        return f"about {_more(need.more)} for {target} ({least} to {math.ceil(need.high)})"
    at_least = f"takes at least {_more(least)}" if least else "may be reached now"
    return f"not settled: {target} {at_least}, or may take {far}"


def _more(sessions: float) -> str:
    n = math.ceil(sessions)
    return f"{n} more session{'s' if n != 1 else ''} a species"


def needs_text(curves: Sequence[Curve], target: float | None = None) -> str:
    """List what each run needs, in Markdown."""
    return "\n".join(
        f"- **{plain(title(curve.run))}**: {need_in_words(curve.need(target))}." for curve in curves
    )


def write_curves(
    curves: Sequence[Curve], about: str, folder: Path, target: float | None = None
) -> Path:
    """Write ``how_many_recordings`` (.md, .html, .json, tables, figures); return the first.

    ``target`` is an accuracy (0..1), the next round one for each run unless given. The report
    reads its sentences from the .json, and what they were drawn from.
    """
    style()
    lines = [f"# {TITLE}", "", about, "", READING, "", needs_text(curves, target), ""]
    lines += [_figure(growth_figure(curves, target), folder, CURVES, "The curves"), ""]
    for curve in curves:
        lines += [
            f"## {plain(title(curve.run))}",
            "",
            _sizes_table(curve),
            "",
            _law_text(curve),
            "",
        ]
        figure = species_growth(pd.DataFrame(curve.species_rows()))
        name = f"{CURVES}_{safe_name(curve.run)}"
        lines += [_figure(figure, folder, name, "F1 of each species"), "", _species_text(curve), ""]
    for kind in ("size", "species"):
        rows = [row for curve in curves for row in getattr(curve, f"{kind}_rows")()]
        write_rows(folder / f"{CURVES}_by_{kind}.csv", rows)
    needs = {
        curve.run: _as_json(curve.need(target)) | {"drawn_from": curve.drawn_from}
        for curve in curves
    }
    write_json(folder / f"{CURVES}.json", needs)
    text = "\n".join(lines)
    write_text(folder / f"{CURVES}.html", page(text, folder, synthetic=about.startswith("**")))
    return write_text(folder / f"{CURVES}.md", text)


def growth_figure(curves: Sequence[Curve], target: float | None = None) -> Figure:
    """Draw the curves of runs with their laws, as far ahead as the law is asked for."""
    points = pd.DataFrame([row for curve in curves for row in curve.size_rows()])
    laws = pd.concat([_law_rows(curve) for curve in curves])
    return growth(points, laws, {curve.run: title(curve.run) for curve in curves}, target)


def _law_rows(curve: Curve) -> pd.DataFrame:
    """Return scores by the law, and the ends of their intervals, at many numbers of sessions."""
    measured = curve.sessions_a_species
    ahead = np.geomspace(measured.max(), HORIZON * measured.max(), 20)[1:]
    rows = pd.DataFrame(
        {"run": curve.run, "sessions": [*np.geomspace(measured.min(), measured.max(), 20), *ahead]}
    )
    if not curve.laws:
        return rows.iloc[:0]
    for name, laws in zip(SCORES, (curve.laws, curve.f1_laws), strict=True):
        lines = np.array([law(rows["sessions"].to_numpy()) for law in laws])  # (B, n)
        rows[name], ends = lines[0], np.percentile(lines[1:], INTERVAL, axis=0)
        rows[f"{name}_low"], rows[f"{name}_high"] = ends
    return rows


def _sizes_table(curve: Curve) -> str:
    return pipe_table(pd.DataFrame([{
        "training sessions": "all" if eighths == EIGHTHS[-1] else str(Fraction(eighths, 8)),
        "a species": f"{row['sessions_a_species']:.1f}",
        "recordings": f"{row['recordings']:.0f}",
        "accuracy": percent(row["accuracy"], _ends(row, "accuracy")),
        "F1 macro": score(row["f1_macro"], _ends(row, "f1_macro")),
    } for eighths, row in zip(EIGHTHS, curve.size_rows(), strict=True)]))  # fmt: skip


def _ends(row: dict[str, Any], name: str) -> tuple[float, float] | None:
    """Return the ends of an interval of a row, None where the draws never differ."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return None if math.isnan(low) else (low, high)


def _law_text(curve: Curve) -> str:
    if not curve.laws:
        return f"Trained in {duration(60 * curve.minutes)}."
    law, *drawn = curve.laws
    ends = np.percentile([one.asymptote for one in drawn], INTERVAL)
    return (
        f"Law: accuracy = {percent(law.asymptote)} − {100 * law.gap:.1f} points × (sessions a "
        f"species / {law.scale:.1f})^−{law.rate:.2f}. More of the same leads to "
        f"{percent(law.asymptote, list(ends))} in the end. Trained in "
        f"{duration(60 * curve.minutes)}."
    )


def _species_text(curve: Curve) -> str:
    """List what the last doubling brought to each species, and name those it helped."""
    rows = pd.DataFrame(curve.species_rows())
    last = rows[rows["share"] == 1].sort_values("gain", ascending=False, kind="stable")
    helped = [plain(name) for name in last.loc[last["gain_low"] > 0, "species"]]
    table = pipe_table(pd.DataFrame([{
        "species": plain(row["species"]),
        "training sessions": f"{row['sessions']:.1f}",
        "recall": percent(row["recall"], _ends(row, "recall")),
        "F1": score(row["f1"], _ends(row, "f1")),
        "F1 gained from half the sessions to all": points(row["gain"], _ends(row, "gain")),
    } for row in last.to_dict("records")]))  # fmt: skip
    return (
        f"More sessions still help, by the last doubling: {', '.join(helped) or 'none for sure'} "
        f"({len(helped)} of {len(last)} species; chance alone would name about "
        f"{len(last) * (1 - INTERVAL[1] / 100):.1f}).\n\n{table}"
    )


def _as_json(need: Need | None) -> dict[str, Any]:
    """Return a need with its sentence; None for what is infinite."""
    values = asdict(need) if need else {}
    finite = {k: None if v in (math.inf, math.nan) else v for k, v in values.items()}
    return {"sentence": need_in_words(need)} | finite


def _figure(figure: Figure, folder: Path, name: str, text: str) -> str:
    path = save(figure, folder / "figures" / f"{name}.png")
    return f"![{text}](figures/{path.name})"
