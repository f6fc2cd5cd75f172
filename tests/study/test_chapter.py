"""What the notebooks call: which runs it asks for, and what it says when there are none."""

from __future__ import annotations

import pytest
from small_study import small_study

from birdnb.files import BirdnbError
from birdnb.study.chapter import start


@pytest.mark.parametrize(
    ("number", "first"), [("06", "notebooks 04 and 05"), ("07", "notebooks 04 to 06")]
)
@pytest.mark.parametrize("folds", [0, 2])
def test_the_last_notebooks_say_what_has_to_run_first(number, first, folds, tmp_path, monkeypatch):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path))
    with pytest.raises(BirdnbError, match=f"phase3_ast_full is not finished.*: run {first} first"):
        start(number, folds=folds).require("phase3_ast_full")
    run = tmp_path / "runs" / "demo-laptop" / "phase3_ast_full"
    for folder in [run / f"fold-{k}-of-{folds}" for k in range(1, folds + 1)] or [run]:
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text("{}")
    start(number, folds=folds).require("phase3_ast_full")


def test_results_of_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path))
    chapter = start("05")
    chapter.datasets = [small_study()]
    assert chapter.results("phase2_mfcc") == {}
    with pytest.raises(
        BirdnbError,
        match="no run of this corpus and profile is finished: run notebooks 04 to 06 first",
    ):
        chapter.results()
