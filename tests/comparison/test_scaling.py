"""Judging checkpoints of pretraining: what their cards say, and what comes of them over folds."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sklearn.metrics import log_loss

from birdnb.comparison import __main__ as command
from birdnb.comparison.scaling import read_checkpoint
from birdnb.evaluation.predictions import Predictions
from birdnb.files import BirdnbError
from birdnb.models.weights import FILES, shipped
from birdnb.pretraining import __main__ as pretraining

PROFILE = """
audio: {clip_seconds: 3.0, segments_per_recording: 1}
runs: {phase3_ast_full: {model: {name: ast, size: tiny}, train: {epochs: 1, batch_size: 16}}}
"""
SHORT = "--model ast --species 3 --batch-size 4 --held-out 4 --clip-seconds 1 --workers 0"


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Path:
    """A folder with weights that heard 8 clips, and others that went on from them to 12 and 16."""
    folder = tmp_path_factory.mktemp("weights")
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIRDNB_ARTIFACTS", str(folder / "artifacts"))
        words = [*SHORT.split(), "--threads", "1", "--clips", "8", "--out"]
        first, second = folder / "first.safetensors", folder / "second.safetensors"
        assert pretraining.main([*words, str(first)]) == 0
        more = ["--pretrained", str(first), "--seed", "8", "--keep", "4"]
        assert pretraining.main([*words, str(second), *more]) == 0
    torch.set_num_threads(threads)
    return folder


def test_clips_are_all_that_were_heard(learned) -> None:
    heard = {
        name: read_checkpoint(str(learned / f"{name}.safetensors"))
        for name in ("first", "second_4", "second")
    }
    assert {name: one.clips for name, one in heard.items()} == {
        "first": 8,
        "second_4": 12,
        "second": 16,
    }
    assert all((one.model, one.species) == ("ast", 3) for one in heard.values())
    card = (learned / "second.md").read_text()
    assert f"names **{100 * heard['second'].held_out:.1f} %** right" in card


@pytest.mark.parametrize("model", FILES)
def test_shipped_weights_are_called_by_their_network(model) -> None:
    one = read_checkpoint(model)
    assert one.path == shipped(model) and one.model == model and 0 < one.held_out < 1
    card = one.path.with_suffix(".md").read_text()
    own, species = re.search(r"\| clips \| ([\d,]+), of ([\d,]+) species", card).groups()
    assert one.clips > int(own.replace(",", "")) and f"{one.species:,}" == species


def test_weights_nobody_describes_must_be_named(learned, tmp_path) -> None:
    bare = Path(shutil.copy(learned / "first.safetensors", tmp_path / "bare.safetensors"))
    one = read_checkpoint(f"ast:{bare}")
    assert (one.model, one.clips, one.species, one.held_out) == ("ast", None, None, None)
    with pytest.raises(BirdnbError, match=re.escape(f"write ast:{bare}")):
        read_checkpoint(str(bare))
    with pytest.raises(BirdnbError, match=r"no weights at gone\.safetensors"):
        read_checkpoint("gone.safetensors")


def test_notes_of_ones_own_beside_weights_are_no_card(learned, tmp_path) -> None:
    mine = Path(shutil.copy(learned / "first.safetensors", tmp_path / "mine.safetensors"))
    notes = "# mine\n\n| item | value |\n| --- | --- |\n| made on | 3 May |\n| clips | many |\n"
    mine.with_suffix(".md").write_text(notes)
    assert read_checkpoint(f"ast:{mine}").clips is None


def test_the_command_judges_checkpoints_frozen_and_fine_tuned(
    learned, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setenv("BIRDNB_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # starting processes takes longer than the work
    whistles(tmp_path / "birds")
    (tmp_path / "small.yaml").write_text(PROFILE)
    weights = [str(learned / f"{name}.safetensors") for name in ("second", "first")]
    words = [str(tmp_path / "birds"), "--folds", "2", "--profile", str(tmp_path / "small.yaml")]
    words += ["--scaling", *weights, "--runs", "phase3_ast_full"]
    assert command.main(words) == 0
    page = (tmp_path / "reports" / "scaling_birds-small.md").read_text()
    assert str(tmp_path) not in page and str(learned) not in page
    assert (tmp_path / "reports" / "figures" / "scaling_birds-small.png").stat().st_size > 5000
    runs = tmp_path / "artifacts" / "runs" / "birds-small"
    for heading, names in (
        ("## AST, frozen", [f"frozen_ast_{name}" for name in ("new", "first", "second")]),
        ("## AST, fine-tuned", [f"ast_{name}" for name in ("new", "first", "second")]),
    ):
        section = page.split(heading)[1].split("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith("| ")][-3:]
        assert [row.split(" | ")[1] for row in rows] == ["0", "8", "16"]
        for row, name in zip(rows, names, strict=True):
            check_scores(row, runs / f"compare_{name}")
        assert "- From 8 clips (*first*) to 16 (*second*): accuracy " in section
    finished = {path: path.stat().st_mtime_ns for path in runs.rglob("metrics.json")}
    assert len(finished) == 2 * (1 + 3 + 3)
    written = tmp_path / "reports" / "scaling_birds-small.md"
    written.write_text(page + "\nMore is better.\n")
    assert command.main(words) == 0
    assert written.read_text() == page + "\nMore is better.\n"
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("metrics.json")} == finished
    assert command.main([*words, "--variants", "ablation"]) == 2
    assert command.main([*words, "--over", weights[1]]) == 0
    over = written.read_text()
    assert "More is better." in over and "accuracy over first" in over
    for section, earlier in zip(over.split("\n## ")[1:], page.split("\n## ")[1:], strict=True):
        rows = dict(zip(("new", "first", "second"), cells(section)[-3:], strict=True))
        assert rows["first"][7:] == ["–"] * 3
        # from first to second, in the table and in words
        assert f"accuracy {rows['second'][7]}, log loss {rows['second'][9]}:" in section
        # the other way round than from new weights to first
        change = cells(earlier)[-2][7].partition(" points")[0]
        assert float(rows["new"][7].partition(" points")[0].replace("−", "-")) == pytest.approx(
            -float(change.replace("−", "-"))
        )
    assert command.main([words[0], "--over", weights[1]]) == 2
    assert command.main([*words, "--over", *weights]) == 2


def test_results_are_found_by_name_so_that_no_two_are_called_alike(
    learned, tmp_path, capsys
) -> None:
    known = [f"ast:{shipped('ast')}", "--over", "ast", "--runs", "phase3_ast"]  # the same file
    assert command.main(["no/such/corpus", "--scaling", *known]) == 2
    assert "no run 'phase3_ast'" in capsys.readouterr().err
    again = tmp_path / "first.safetensors"
    shutil.copy(learned / "second.safetensors", again)
    shutil.copy(learned / "second.md", again.with_suffix(".md"))
    fresh = tmp_path / "new.safetensors"
    shutil.copy(learned / "second.safetensors", fresh)
    first, judge = str(learned / "first.safetensors"), ["no/such/corpus", "--scaling"]
    for options, message in (
        ([first, str(again)], "both be called ast_first: rename one"),
        ([first, "--over", str(again)], "both be called ast_first: rename one"),
        ([f"ast:{fresh}"], "both be called ast_new: rename one"),
        ([first, "--runs", "phase3_ast"], "no run 'phase3_ast'"),
        (
            [first, "--runs", "phase3_efficientnet_full"],
            "phase3_efficientnet_full trains efficientnet_b2, and no checkpoint given is of it",
        ),
    ):
        assert command.main([*judge, *options]) == 2
        assert message in capsys.readouterr().err


def cells(section: str) -> list[list[str]]:
    """Return the cells of a table's rows, the heading's included."""
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def whistles(folder: Path) -> None:
    """Six recordings of each of three species, that whistle at pitches of their own."""
    rng = np.random.default_rng(0)
    seconds = np.arange(3 * 22050) / 22050
    for species, name in enumerate(("Red Whistler", "Blue Whistler", "Grey Whistler")):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            tone = np.sin(2 * np.pi * rng.normal(2000 + 1500 * species, 300) * seconds)
            sound = 0.2 * tone * (seconds % 0.5 < 0.2) + rng.normal(0, 0.02, len(seconds))
            soundfile.write(folder / name / f"{species}{number}.wav", sound, 22050)


def check_scores(row: str, run: Path) -> None:
    """A row says of the validation sides what scikit-learn does."""
    parts = [Predictions.load(path) for path in sorted(run.glob("*/predictions_val.npz"))]
    assert len(parts) == 2
    probabilities = np.concatenate([part.probabilities for part in parts])
    targets = np.concatenate([part.targets for part in parts])
    right = (probabilities.argmax(axis=1) == targets).mean()
    loss = log_loss(targets, probabilities, labels=range(3))
    assert f"| {100 * right:.1f} % (" in row and f"| {loss:.2f} (" in row
