"""Put numbers into words: percentages, points, durations, verdicts.

Nothing is computed here but layout.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from birdnb.evaluation.gates import NOT_MEASURED, in_unit
from birdnb.registry import FROZEN, OWN_ANSWER
from birdnb.report.collect import TITLES

NONE = "–"
OF_ENCODERS = {FROZEN: "Frozen {} + logistic regression", OWN_ANSWER: "{}, its own answer"}
ENCODER_NAMES = {"birdnet": "BirdNET", "ast": "AST", "efficientnet_b2": "EfficientNet-B2"}
HERE = Path(__file__).parent
SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~!&$])")


def templates(folder: Path, autoescape: bool = False) -> jinja2.Environment:
    """Open the templates of a folder; what they are not given is an error, not a blank."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, autoescape=autoescape,
    )  # fmt: skip


def template(name: str) -> jinja2.Template:
    """Open a template of this folder; it knows the functions of this module."""
    environment = templates(HERE)
    environment.filters |= {f.__name__: f for f in (plain, percent, interval, verdict)}
    told = (title, score, points, verdict, percent, gate_value, in_unit)
    environment.globals |= {f.__name__: f for f in told}
    return environment.get_template(name)


def plain(text: Any) -> str:
    """Escape what Markdown would take for its own; line breaks become spaces."""
    return SPECIAL.sub(r"\\\1", re.sub(r"\s+", " ", str(text)).strip())


def without_folder(value: Any) -> Any:
    """Write an absolute path as ``path/to/name``, and return anything else as it is."""
    path = Path(value) if isinstance(value, str) else Path()
    return f"path/to/{path.name}" if path.is_absolute() else value


def percent(value: float | None, ends: Sequence[float] | None = None) -> str:
    """Write a share as ``54.5 % (48.1–60.2)``; a dash when there is none."""
    if value is None:
        return NONE
    return f"{100 * value:.1f} %" + (f" ({100 * ends[0]:.1f}–{100 * ends[1]:.1f})" if ends else "")


def interval(ends: Sequence[float]) -> str:
    """Write an interval of shares as ``48.1–60.2 %``."""
    return f"{100 * ends[0]:.1f}–{100 * ends[1]:.1f} %"


def score(value: float | None, ends: Sequence[float] | None = None) -> str:
    """Write a score as ``0.36 (0.31–0.42)``; a dash when there is none."""
    if value is None:
        return NONE
    return f"{value:.2f}" + (f" ({ends[0]:.2f}–{ends[1]:.2f})" if ends else "")


def points(value: float | None, ends: Sequence[float] | None = None) -> str:
    """Write a difference as ``+2.8 points (−1.0 to +6.4)``; a dash when there is none."""
    if value is None:
        return NONE
    text = f"{100 * value:+.1f} points" + (
        f" ({100 * ends[0]:+.1f} to {100 * ends[1]:+.1f})" if ends else ""
    )
    return text.replace("-", "−")


def duration(seconds: float | None) -> str:
    """Write a time as ``45 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    if seconds is None:
        return NONE
    whole = round(seconds)
    if whole < 60:
        return f"{max(whole, 1)} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def amount(number: float | None) -> str:
    """Write a number as ``7.9 M``, ``310 k`` or ``90``."""
    if number is None:
        return NONE
    if number >= 1e6:
        return f"{number / 1e6:.1f} M"
    return f"{number / 1e3:.0f} k" if number >= 1e4 else f"{number:,.0f}"


def title(run: str | None) -> str:
    """Return a run's name for people."""
    for kind, text in OF_ENCODERS.items():
        if run and run.startswith(kind):
            name = run.removeprefix(kind)
            return text.format(ENCODER_NAMES.get(name, name))
    return TITLES.get(run or "", run or NONE)


def verdict(step: Mapping[str, Any]) -> str:
    """Judge a paired difference: better, worse, not settled or no difference.

    Not settled: the interval holds zero, or p is above 0.05 (too few sessions in which the two
    differ). No difference: the interval holds nothing but zero.
    """
    low, high = step["ci95"]
    if low == high == 0:
        return "no difference"
    if step["p"] > 0.05:
        return "not settled"
    return "better" if low > 0 else "worse" if high < 0 else "not settled"


def gate_value(gate: Mapping[str, Any]) -> str:
    """Write a gate's value with its unit; ``never`` for a mark that was not reached."""
    if gate["decision"] == NOT_MEASURED:
        return NONE
    if gate["value"] is None:
        return "never"
    also = f", F1 {gate['f1_macro']:.2f}" if "f1_macro" in gate else ""
    return in_unit(gate["value"], gate["unit"]).replace("-", "−") + also
