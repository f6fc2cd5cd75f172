"""Comparing variants over folds: what is pooled, what is computed from it, and what is written."""

from __future__ import annotations

from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_study import AUDIO, settings, small_study, write_study

from birdnb.comparison import __main__ as command
from birdnb.comparison import compare as comparison
from birdnb.comparison.page import Comparison, Pooled, comparison_rows, write_comparison
from birdnb.config import Profile, load_profile
from birdnb.evaluation.predictions import Predictions
from birdnb.files import BirdnbError
from birdnb.training.runs import load_run

FOLDS = 3
PLAN = Comparison(
    "pairs", "Which?", ("run",), "test", "as it is", {"as it is": {}, "no MixUp": {"mixup": False}}
)


@pytest.fixture(autouse=True)
def one_thread(scratch):
    torch.set_num_threads(1)


def tiny_profile(name: str = "") -> Profile:
    return replace(small_study().profile, runs={"run": settings(epochs=1)})


@pytest.fixture
def compared(tmp_path):
    """A function that compares on the small study, written as a corpus."""
    root = write_study(tmp_path / "small", AUDIO, replace(AUDIO, hop_length=256))

    def compare(plan: Comparison = PLAN, seeds=(7,)):
        return comparison.compare(plan, str(root), tiny_profile(), FOLDS, seeds, False)

    return compare


def test_folds_and_seeds_are_pooled_and_compared_in_pairs(tmp_path, compared) -> None:
    pooled = compared(seeds=(7, 8))
    assert [(p.run, p.variant) for p in pooled] == [
        ("classical_mfcc",) * 2,
        ("run", "as it is"),
        ("run", "no MixUp"),
    ]
    rows = comparison_rows(PLAN, pooled, "run")
    right = []
    for name in ("compare_run_as_it_is", "compare_run_no_mixup"):
        runs = [
            load_run(
                tmp_path
                / "artifacts"
                / "runs"
                / "small-tiny"
                / f"{name}{seed}"
                / f"fold-{k}-of-{FOLDS}"
            )
            for seed in ("", "_seed8")
            for k in (1, 2, 3)
        ]
        assert runs[0].config["settings"]["augment"]["mixup"] is (name == "compare_run_as_it_is")
        assert sorted(r for run in runs[:FOLDS] for r in run.test.recording_ids) == sorted(
            small_study().table["recording_id"]
        )
        right.append(np.concatenate([run.test.predicted == run.test.targets for run in runs]))
        row = rows[len(right)]
        assert row["scores"]["accuracy"] == pytest.approx(right[-1].mean())
        assert row["scores"]["recordings"] == 2 * 39 and row["scores"]["sessions"] == 39
        assert row["folds"] == [run.metrics["test"]["accuracy"] for run in runs]
    assert rows[1]["paired"] is None
    assert rows[2]["paired"]["difference"] == pytest.approx(right[1].mean() - right[0].mean())
    of_study = tmp_path / "artifacts/runs/small-tiny"
    assert not (of_study / "classical_mfcc").exists()  # the study's own run is left alone
    assert (
        of_study / "compare_classical_mfcc_seed8" / f"fold-1-of-{FOLDS}" / "metrics.json"
    ).exists()
    finished = {path: path.stat().st_mtime_ns for path in of_study.rglob("metrics.json")}
    again = compared()
    assert all(path.stat().st_mtime_ns == when for path, when in finished.items())
    np.testing.assert_array_equal(
        again[1].predictions.probabilities, pooled[1].predictions.probabilities[:39]
    )


def test_the_validation_side_may_hold_a_recording_twice(compared) -> None:
    pooled = compared(replace(PLAN, side="validation", variants={"as it is": {}}))
    names = [name.split()[0] for name in pooled[1].predictions.recording_ids]
    assert len(names) > len(set(names))
    assert len(pooled[1].sessions) == len(names)


def test_a_variant_may_change_the_spectrograms(tmp_path, compared) -> None:
    plan = replace(PLAN, variants={"as it is": {}, "hop 256": {"hop_length": 256, "mixup": False}})
    pooled = compared(plan)
    assert [p.variant for p in pooled] == ["classical_mfcc", "as it is", "hop 256"]
    own = tiny_profile().audio
    for name, audio in (("as_it_is", own), ("hop_256", replace(own, hop_length=256))):
        config = load_run(
            tmp_path / f"artifacts/runs/small-tiny/compare_run_{name}/fold-1-of-{FOLDS}"
        ).config
        assert config["audio"] == asdict(audio) and config["settings"]["augment"]["mixup"] is (
            audio == own
        )
    assert pooled[2].sessions == pooled[1].sessions


@pytest.mark.parametrize("corpus", ["demo", "some/birds"])
def test_the_demo_corpus_is_compared_with_the_settings_of_its_study(corpus) -> None:
    args = command.make_parser().parse_args([corpus, "--variant", "x: mixup=true"])
    assert command.profile_of(args) == load_profile("laptop", demo=corpus == "demo")


def test_the_command_writes_a_report(tmp_path) -> None:
    profile = tmp_path / "tiny.yaml"
    profile.write_text(
        "audio: {clip_seconds: 3.0}\nruns: {run: {model: {name: mfcc}, train: {epochs: 1}, "
        "augment: {mixup: true}}}\n"
    )
    options = [
        str(write_study(tmp_path / "birds")),
        "--profile",
        str(profile),
        "--folds",
        "3",
        "--runs",
        "run",
        "--variant",
        "fast|2x *y*: lr_head=1e-2 mixup=false",
    ]
    assert command.main([*options, "--everywhere", "label_smoothing=0.1"]) == 0
    text = (tmp_path / "reports" / "variants_birds-tiny.md").read_text()
    assert "| recipe | `label_smoothing: 0.1` |" in text
    fast = r"| fast\|2x \*y\* |"
    assert f"{fast} `label_smoothing: 0.1`, `lr_head: 0.01`, `mixup: False` |" in text
    assert (
        "| recipe |" in text
        and text.count(fast) == 2
        and "| MFCC statistics + logistic regression |" in text
        and "validation recordings" in text
    )
    assert str(tmp_path) not in text
    assert "Corpus birds" in text and "Profile tiny" in text
    assert (tmp_path / "reports" / "figures" / "variants_birds-tiny_run.png").stat().st_size > 5000
    assert command.main([*options, "--everywhere", "label_smoothing=0.1", "--name", "../mine"]) == 0
    assert (tmp_path / "reports" / "mine.md").exists()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["--variants", "ablation"], "ablation_birds"),
        (["--variants", "ablation", "--side", "validation"], "ablation_birds"),
        (["--variants", "ablation", "--side", "test"], "ablation_birds_test"),
        (["--variants", "pretraining", "--side", "test"], "pretraining_birds"),
        (["--variants", "ablation", "--profile", "gpu"], "ablation_birds-gpu"),
        (["--variant", "own: epochs=20 pretrained=/home/ann/w.safetensors"], "variants_birds"),
    ],
)
def test_pages_of_other_questions_do_not_take_each_others_place(
    tmp_path, monkeypatch, options, name
) -> None:
    asked = []

    def written(plan, pooled, about):
        assert "/home" not in about
        asked.append(plan.name)
        (tmp_path / "page.md").write_text("")
        return tmp_path / "page.md"

    # no training: what is asked is the name of the page
    monkeypatch.setattr(command, "compare", lambda *_: [SimpleNamespace(sessions=[], labels=[])])
    monkeypatch.setattr(command, "write_comparison", written)
    assert command.main(["some/birds", *options]) == 0
    assert asked == [name]


def test_the_variants_are_told_without_the_folders_of_files(tmp_path) -> None:
    rng = np.random.default_rng(0)
    given = {"as it is": {}, "own": {"pretrained": "/home/ann/w|1.safetensors"}}
    pooled = []
    for variant in given:
        shares = rng.dirichlet(np.ones(2), 20).astype(np.float32)
        test = Predictions([f"r{i}" for i in range(20)], shares, np.arange(20) % 2)
        sessions = [f"s{i // 2}" for i in range(20)]
        pooled.append(Pooled("run", variant, test, sessions, [0.5], ["a", "b"], 1.0))
    text = write_comparison(replace(PLAN, variants=given), pooled, "", tmp_path).read_text()
    assert r"| own | `pretrained: path/to/w\|1.safetensors` |" in text
    assert "/home" not in text


def test_presets_fit_the_profiles_and_every_training_has_its_own_name() -> None:
    for preset in ("pretraining", "ablation", "resolution"):
        plan = comparison.load_comparison(preset)
        for profile in ("laptop", "gpu"):
            found = comparison.settings_of(plan, load_profile(profile))
            assert len({comparison.run_name(*job, 7) for job in found}) == len(plan.runs) * len(
                plan.variants
            )
        assert plan.reference in plan.variants and plan.side in ("validation", "test")
    pretraining = comparison.settings_of(
        comparison.load_comparison("pretraining"), load_profile("laptop")
    )
    assert pretraining["phase3_ast_full", "synthetic"][1].model.pretrained == "synthetic"
    assert pretraining["phase3_ast_full", "scratch"][1].model.pretrained is False
    assert comparison.run_name("phase3_ast_full", "scratch", 7) == "compare_ast_scratch"


def test_variants_are_read_from_words() -> None:
    assert comparison.parse_variant(
        "a b: mixup=false lr_head=3e-4 epochs=20 pretrained=a/b.safetensors"
    ) == ("a b", {"mixup": False, "lr_head": 3e-4, "epochs": 20, "pretrained": "a/b.safetensors"})
    assert comparison.parse_variant("plain:") == ("plain", {})
    for wrong in (
        "mixup=false", ": mixup=false", "x: mixup", "x: =3",
        "x: pretrained=None", "x: pretrained=null", "x: epochs=3 epochs=9",
    ):  # fmt: skip
        with pytest.raises(BirdnbError, match="write"):
            comparison.parse_variant(wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to compare"),
        (["--variant", "x: mixpu=true"], "no setting is called 'mixpu'"),
        (["--variant", "x: epochs=many"], "epochs is 'many': give an integer, 1 or more"),
        (["--variants", "pretraining", "--everywhere", "epochs"], "'epochs': write"),
        (["--variants", "pretraining", "--runs", "phase4"], "has no run 'phase4'"),
        (["--variants", "pretraining", "--encoders", "gone.onnx"], "no model at 'gone.onnx'"),
        (["--variants", "ablation", "--only", "no nothing"], "no variant 'no nothing'"),
        (
            ["--variant", "тест: epochs=1", "--variant", "проба: epochs=2"],
            "two variants would both be called compare_",
        ),
        (["--variant", "x: epochs=3", "--variant", "x: epochs=9"], "two are called alike (x, x)"),
        (["--variant", "recipe: epochs=3"], "a variant 'recipe' with other settings"),
        (["--variants", "ablation", "--variant", "no MixUp: epochs=3"], "rename yours"),
        (["--variants", "pretraining", "--everywhere", "pretrained=None"], "write each once"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(options, message, capsys) -> None:
    assert command.main(["no/such/corpus", *options]) == 2
    assert message in capsys.readouterr().err


def test_only_chooses_among_the_variants_of_the_comparison_and_keeps_those_given() -> None:
    chosen = comparison.choose("ablation", {"mine": {"epochs": 3}}, ["no MixUp"], {"seed": 1})
    assert chosen.variants == {
        "recipe": {"seed": 1},
        "no MixUp": {"seed": 1, "mixup": False},
        "mine": {"seed": 1, "epochs": 3},
    }
