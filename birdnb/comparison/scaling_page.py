"""Write the page of a scaling curve: what more clips in pretraining bring."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from birdnb.comparison.page import Comparison
from birdnb.comparison.scaling import Judged, gains, scores_of
from birdnb.files import write_text
from birdnb.plots.growth import scaling_figure
from birdnb.plots.style import save, style
from birdnb.report.tables import pipe_table
from birdnb.report.words import NONE, percent, plain, points, score, title

READING = (
    "Each checkpoint of pretraining is judged on the {side} recordings of all folds together: "
    "frozen, logistic regression on what the network makes of each recording (no training of the "
    "network, so that little chance is in it), and, where asked for, fine-tuned by the profile's "
    "recipe. *new* are weights that heard nothing. Clips are all that a network heard, those of "
    "the weights it began from included; species and accuracy in pretraining are those of its "
    "last pretraining, by the cards beside the weights. Weights kept on the way of a pretraining "
    "have not seen their learning rate fall, and may do worse for that alone. Brackets hold 95 % "
    "intervals from drawing recording sessions again; differences are paired. An interval that "
    "holds zero, or a p above 0.05, means that these recordings cannot tell. How embeddings are "
    "pooled was chosen on the validation side, for each checkpoint alike: there all of them look "
    "somewhat better than they are."
)
KEPT = "<!-- Written by people, and kept when the page is written again: -->"


def write_scaling(comparison: Comparison, judged: Sequence[Judged], about: str, to: Path) -> Path:
    """Write ``<name>.md`` and its figure into a folder, and return its path.

    What people wrote below the line KEPT of an earlier page stays.
    """
    style()
    path = to / f"{comparison.name}.md"
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    lines = [f"# {comparison.title}", "", about, "", READING.format(side=comparison.side), ""]
    tables = {_heading(one): scores_of(one) for one in judged}
    figure = save(scaling_figure(tables), to / "figures" / f"{comparison.name}.png")
    lines += [f"![Accuracy and log loss against clips](figures/{figure.name})", ""]
    for one, (heading, table) in zip(judged, tables.items(), strict=True):
        rows = _table(table, plain(one.over))
        lines += [f"## {heading}", "", pipe_table(rows), "", _steps(one), ""]
    lines += [KEPT, "", before.partition(KEPT)[2].strip()]
    return write_text(path, "\n".join(lines).rstrip() + "\n")


def _heading(judged: Judged) -> str:
    network = {"ast": "AST", "efficientnet_b2": "EfficientNet-B2"}[judged.model]
    return f"{network}, {f'fine-tuned ({title(judged.run)})' if judged.run else 'frozen'}"


def _table(scores: pd.DataFrame, over: str) -> pd.DataFrame:
    return pd.DataFrame([{
        "weights": plain(title(row["weights"])),
        "clips": _whole(row["clips"]),
        "species": _whole(row["species"]),
        "right in pretraining": percent(row["held_out"]),
        "accuracy": percent(row["accuracy"], row["accuracy_ci95"]),
        "F1 macro": score(row["f1_macro"], row["f1_macro_ci95"]),
        "log loss": score(row["log_loss"], row["log_loss_ci95"]),
        f"accuracy over {over}": points(row["gain"], row["gain_ci95"]),
        "p": NONE if row["p"] is None else f"{row['p']:.3f}",
        f"log loss over {over}": _signed(row["loss_gain"], row["loss_gain_ci95"]),
    } for row in scores.to_dict("records")])  # fmt: skip


def _steps(judged: Judged) -> str:
    """Say what lies between each checkpoint and the next, by the clips they heard."""
    heard = [(one, pooled) for one, pooled in judged.points if one and one.clips]
    lines = []
    for (few, first), (many, last) in pairwise(heard):
        found = gains(last, first)
        low, high = found["loss_gain_ci95"]
        sure = "better" if high < 0 else "worse" if low > 0 else "not settled"
        lines.append(
            f"- From {_whole(few.clips)} clips (*{plain(few.name)}*) to {_whole(many.clips)} "
            f"(*{plain(many.name)}*): accuracy {points(found['gain'], found['gain_ci95'])}, log "
            f"loss {_signed(found['loss_gain'], found['loss_gain_ci95'])}: by log loss {sure}."
        )
    return "\n".join(lines)


def _whole(number: Any) -> str:
    return NONE if number is None else f"{number:,.0f}"


def _signed(value: float | None, ends: Sequence[float] | None) -> str:
    if value is None or ends is None:
        return NONE
    return f"{value:+.2f} ({ends[0]:+.2f} to {ends[1]:+.2f})".replace("-", "−")
