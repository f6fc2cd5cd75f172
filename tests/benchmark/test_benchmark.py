"""The benchmark compares what gives the same results; table and JSON say what was measured."""

from __future__ import annotations

import json
import re
from functools import partial

import numpy as np
import pytest
import torch
from sound_files import recording, write

from birdnb.benchmark import __main__ as benchmark
from birdnb.benchmark import (
    extraction,
    field,
    growth,
    prediction,
    stages_page,
    start,
    study,
    training,
)
from birdnb.benchmark.machine import machine
from birdnb.benchmark.plain import FRAMES, PlainDataset, plain_lms, plain_loader
from birdnb.benchmark.rows import Row, best_seconds
from birdnb.config import AudioSettings
from birdnb.corpora import open_corpus
from birdnb.features.cache import build_cache
from birdnb.features.extract import extract
from birdnb.features.lms import normalise
from birdnb.models import build_model

pytestmark = pytest.mark.usefixtures("scratch")
AUDIO = AudioSettings()


@pytest.mark.parametrize(
    ("name", "rate", "channels"), [("a.wav", 22050, 1), ("b.ogg", 32000, 2), ("c.flac", 44100, 1)]
)
def test_extraction_equals_the_plain_way(tmp_path, name, rate, channels):
    sound = recording(20.0, 8.0, 2.0, rate)
    path = write(
        tmp_path / name, np.stack([sound] * channels, axis=1) if channels > 1 else sound, rate
    )
    found, plain = extract(path, AUDIO), plain_lms(path, AUDIO)
    assert len(found.lms) >= 1
    for begin, lms in zip(found.starts, found.lms, strict=True):
        first = round(begin * AUDIO.sample_rate / AUDIO.hop_length)
        expected = plain[:, first : first + AUDIO.n_frames]
        np.testing.assert_allclose(np.maximum(lms, -75), np.maximum(expected, -75), atol=0.01)
        np.testing.assert_allclose(lms, expected, atol=0.3)  # near the floor, of float32, too


def test_the_data_path_equals_the_plain_one(tmp_path):
    clips = training.random_clips(12)
    paths = [tmp_path / f"{i}.npy" for i in range(12)]
    for path, lms in zip(paths, clips.lms.numpy(), strict=True):
        np.save(path, lms)
    seen = {}
    for x, label in plain_loader(PlainDataset(paths, clips.target.tolist()), 5, 0):
        assert x.shape[1:] == (FRAMES, AUDIO.n_mels)
        seen |= dict(zip(label.tolist(), x, strict=True))
    for lms, label in zip(normalise(clips.lms, "standard"), clips.target.tolist(), strict=True):
        torch.testing.assert_close(seen[label][: AUDIO.n_frames].T, lms, atol=1e-4, rtol=1e-4)
        assert not seen[label][AUDIO.n_frames :].any()


def test_things_are_timed_in_turn():
    calls = []
    best = best_seconds({"a": partial(calls.append, "a"), "b": partial(calls.append, "b")}, 3)
    assert calls == ["a", "b"] * 3
    assert set(best) == {"a", "b"} and all(0 < seconds < 1 for seconds in best.values())


def test_targets():
    assert Row("x", "s", 1.0).met is None
    assert (
        Row("x", "s", 9.0, target="at most 10").met
        and not Row("x", "s", 11.0, target="at most 10").met
    )
    assert (
        Row("x", "s", 1.0, 9.0, "y", 2.5, "at least 2").met
        and not Row("x", "s", 5.0, 9.0, "y", 1.5, "at least 2").met
    )


def test_a_repeated_corpus_is_a_finished_study(tmp_path):
    corpus = open_corpus(
        start.repeated_corpus(tmp_path / "artifacts", 250, shared=100), progress=False
    )
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    cache = build_cache(corpus, AUDIO, progress=False)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert after == before, "nothing is left to extract"
    assert len(corpus.manifest) == len(cache.index) == 250 and cache.quarantine.empty
    lms, owner = cache.load_many(["r000003", "r000249"])
    assert lms.shape == (6, AUDIO.n_mels, AUDIO.n_frames) and owner.tolist() == [0, 0, 0, 1, 1, 1]


def test_figures_of_any_size_are_written_without_exponents():
    sizes = {9.53e-5: "0.0000953", 0.5: "0.5", 1.0: "1", 99.94: "99.9", 1234.4: "1,234"}
    rows = [Row(f"row {value}", "s", value) for value in sizes]
    about = {"processor": "", "cores": 2, "gpu": None, "date": "", "versions": {}}
    page = benchmark.page({"load": rows}, about)
    for value, text in sizes.items():
        assert f"| row {value} | {text} s |" in page


def test_start_is_measured_in_a_process_of_its_own(tmp_path):
    much = np.ones(2**28)  # 2.1 GB here are not those of the process that is measured
    found, about = {"load": start.rows((1000,), rounds=1)}, machine()
    del much
    benchmark.write(found, about, tmp_path / "speed.md", tmp_path / "speed.json")
    written = json.loads((tmp_path / "speed.json").read_text())
    assert list(written) == ["machine", "load"]
    assert {"processor", "cores", "gpu", "date", "versions"} <= set(written["machine"])
    rows = {row["what"]: row for row in written["load"]}
    assert rows["import birdnb"]["target"] == "at most 0.2" and rows["import birdnb"]["birdnb"] > 0
    assert (
        rows["start, 1,000 recordings"]["birdnb"] > 0
        and rows["start, 1,000 recordings"]["met"] is None
    )
    assert 0.1 < rows["... peak memory of the process, 1,000 recordings"]["birdnb"] < 2.0
    assert rows["... audio libraries among it"]["met"] is True
    page = (tmp_path / "speed.md").read_text()
    for text in (benchmark.table(found, about), page):
        assert all(what in text for what in rows) and written["machine"]["processor"] in text
    assert re.search(
        r"\| import birdnb \| [\d.]+ s \| – \| – \| at most 0.2 \| (yes|\*\*no\*\*) \|", page
    )


def test_extraction_is_measured_on_what_can_be_read(monkeypatch, tmp_path, capsys):
    for seed, name in enumerate(["a.ogg", "b.ogg", "c.wav"]):
        write(tmp_path / f"corpus/finch/{name}", recording(20.0 + seed, 1.0, 1.0, seed=seed))
    write(tmp_path / "corpus/finch/short.ogg", recording(5.0, 1.0, 1.0, seed=4))
    (tmp_path / "corpus/finch/d.ogg").write_text("not a sound")
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    one, decoding, several, limit = extraction.rows(str(tmp_path / "corpus"), 1, enough=1e-6)
    assert "2 recordings of 20 s" in one.what, "the compressed ones that are sound and not short"
    assert one.ratio == pytest.approx(one.birdnb / one.other)
    assert decoding.ratio == pytest.approx(decoding.other / decoding.birdnb)
    assert several.target == "at least 1.8" and several.ratio == pytest.approx(
        several.birdnb / several.other
    )
    assert limit.met is None and limit.ratio == pytest.approx(limit.birdnb / limit.other)
    assert benchmark.main(["extract", "--corpus", str(tmp_path / "nothing")]) == 2
    assert re.search("error: the corpus .* does not exist", capsys.readouterr().err)


def test_training_is_measured():
    from transformers import ASTConfig, ASTForAudioClassification

    config = ASTConfig(num_labels=90, hidden_size=24, num_hidden_layers=1, num_attention_heads=2)
    plain = ASTForAudioClassification(config)
    cpu = torch.device("cpu")
    for row in (training.data_row(cpu, 64, 1), training.step_row(cpu, "tiny", 2, 1, plain)):
        assert row.birdnb > 0 and row.ratio == pytest.approx(row.birdnb / row.other)
    speed, absolute, alone, memory = training.loop_rows("tiny", 16, 32, 2.0, 4.0)
    assert speed.ratio == pytest.approx(speed.birdnb / 2.0) and absolute.birdnb == speed.birdnb > 0
    assert alone.ratio == pytest.approx(speed.ratio / 2)
    assert memory.birdnb > 0 and memory.target == "at most 6"


def test_ctrl_c(tmp_path, monkeypatch, capsys):
    """The first process that is measured presses it."""
    press = "import os, signal, time\nos.kill(os.getppid(), signal.SIGINT)\ntime.sleep(600)"
    (tmp_path / "sitecustomize.py").write_text(press)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert benchmark.main(["load"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_study_is_measured_stage_by_stage(tmp_path, monkeypatch, capsys):
    """With so little time the probes end it: what follows is named as not run, nothing is left."""
    monkeypatch.setenv("BIRDNB_REPORTS", str(tmp_path / "reports"))
    own = tmp_path / "artifacts" / "benchmark" / "of a killed call"
    own.mkdir(parents=True)
    size = ["--species", "3", "--recordings", "6", "--minutes", "0.05"]
    files = ["--markdown", str(tmp_path / "a.md"), "--json", str(tmp_path / "a.json")]
    assert benchmark.main(["study", *size, *files]) == 0
    written, page = json.loads((tmp_path / "a.json").read_text()), (tmp_path / "a.md").read_text()
    stages = {stage["what"]: stage for stage in written["stages"]}
    scale = 11_070 / 18
    spectrograms = stages["spectrograms of all recordings"]
    assert spectrograms["whole"] == pytest.approx(spectrograms["seconds"] * scale)
    assert stages["synthesis of the corpus"]["whole"] is None
    probe = stages["probe: Phase 2 reference: MFCC network"]
    assert probe["epochs"] == "2 of 30" and probe["clips_per_second"] > 0
    assert probe["whole"] > 10 * scale * probe["seconds"] / 30
    assert stages["notebook 07_phase3_results, runs finished"]["seconds"] is None
    assert "07_phase3_results, runs finished: not run: the minutes were over" in page
    assert written["size"]["species"] == 3 and written["machine"]["processor"] in page
    assert not written["in_full"]["complete"] and "card busy while AST baseline learns" in page
    assert not (tmp_path / "artifacts" / "benchmark").exists()
    shown = capsys.readouterr().out
    assert all(what in shown for what in stages)


def test_epochs_that_minutes_allow():
    """Every run gets the same share of its epochs, two at least, never more than it wants."""
    took = {"phase2_mfcc": 1.0, "phase3_ast_baseline": 2.0, "phase3_ast_full": 2.0}
    size = study.Size("laptop")  # epochs 30, 20 and 30: 130 s in all
    assert study.affordable(took, size, 65.0) == {
        "phase2_mfcc": 15, "phase3_ast_baseline": 10, "phase3_ast_full": 15,
    }  # fmt: skip
    assert set(study.affordable(took, size, -1.0).values()) == {2}
    assert study.affordable(took, size, 1e9)["phase3_ast_baseline"] == 20


def test_sums_count_a_training_or_its_probe():
    stages = [
        study.Stage("synthesis of the corpus", 9.0),
        study.Stage("spectrograms of all recordings", 1.0, 100.0),
        study.Stage("probe: A", 1.0, 50.0), study.Stage("A", 1.0, 40.0),
        study.Stage("probe: B", 1.0, 30.0),
    ]  # fmt: skip
    found = stages_page.in_full(stages)
    assert found == {"all": 170.0, "from_spectrograms": 70.0, "complete": True}
    late = stages_page.in_full([*stages, study.Stage("B", note="failed: no memory")])
    assert late["all"] == 170.0 and not late["complete"]


@pytest.mark.parametrize("words", [["--minutes", "0"], ["--minutes", "x"], ["--species", "2"]])
def test_sizes_that_make_no_study_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(["study", *words])
    assert words[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["study", "--profile", "mine.yaml"], "give one that comes with birdnb"),
        (["study", "--corpus", "birds"], "--corpus changes nothing of the part study"),
        (["train", "--species", "7"], "--species changes nothing of the part train"),
    ],
)
def test_options_that_would_change_nothing_are_refused(words, said, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(words)
    assert said in capsys.readouterr().err


def test_the_field_is_measured_with_and_without_birdnet():
    """Seconds of sound and one round: that both sides hear all of it, not how fast they are."""
    rows = field.rows(minutes=0.4, rounds=1)
    heard = [row.what.removeprefix("field, ") for row in rows]
    assert heard[:3] == ["AST tiny", "EfficientNet-B2", "their ensemble"]
    assert heard[3:] in ([], [f"{name}, without graph" for name in heard[:3]])
    assert all(row.birdnb > 0 and row.unit == "hours a minute" for row in rows)
    assert len({row.other for row in rows}) == 1
    assert all((row.ratio is None) == (row.other is None) for row in rows)


def test_growth_is_measured_with_its_exponents():
    """A figure that grows with the square of the size has the exponent 2, and misses the target."""
    assert growth.exponent(2.0, 200.0, 10) == pytest.approx(2.0)
    rows = growth.rows((300, 600))
    assert rows[0].what.split(",")[0] == "corpus and finished cache opened"
    assert len(rows) == len(growth.WHAT)
    for row in rows:
        assert row.birdnb > 0 and row.other > 0 and row.target == "at most 1.1"
        assert row.ratio == pytest.approx(growth.exponent(row.other, row.birdnb, 2))


def test_prediction_is_measured_and_the_ways_agree():
    rows = prediction.rows(rounds=1, clips=20)
    ours = [row for row in rows if row.what.startswith("prediction, ")]
    assert len(ours) == 2 and all(
        row.ratio == pytest.approx(row.birdnb / row.other) for row in ours
    )
    model = build_model("ast", 5, AUDIO.n_frames, "synthetic").eval()
    ways = prediction.ways_of(model, training.random_clips(20).lms, torch.device("cpu"))
    expected = ways.pop("plain")()
    ways.pop("bf16")
    for way in ways.values():
        torch.testing.assert_close(way(), expected, atol=1e-3, rtol=1e-3)
