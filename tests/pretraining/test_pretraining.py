"""Pretraining on invented song: a loop that survives kills, weights that load.

Clips depend on their number only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import librosa
import numpy as np
import pytest
import safetensors.torch
import scipy.signal
import torch
import yaml

from birdnb.config import AudioSettings
from birdnb.features.lms import normalise
from birdnb.files import BirdnbError
from birdnb.models import build_model, weights
from birdnb.models.weights import FILES
from birdnb.pretraining import __main__ as command
from birdnb.pretraining import pretrain as pretraining
from birdnb.pretraining.clips import NAMESPACE, OTHERS, STRANGERS, InventedClips, batches, hold
from birdnb.pretraining.stream import TEACHER_WEIGHT, Budget, Pretrainer, Pretraining
from birdnb.split.sides import SIDES
from birdnb.synthetic import demo
from birdnb.synthetic.soundscape import invent_clip
from birdnb.synthetic.species import species_for
from birdnb.training.loop import Batch

ROOT = Path(__file__).resolve().parents[2]
AUDIO = AudioSettings()


@pytest.fixture(autouse=True)
def one_thread(scratch):
    torch.set_num_threads(1)


@pytest.fixture
def banded(monkeypatch):
    """Clips that are made and told apart in no time: a species is louder in bands of its own.

    Patched, as real song takes hundreds of times as many clips, at 16 ms each, to be learned.
    """

    def item(clips: InventedClips, i: int) -> tuple[np.ndarray, int]:
        rng = np.random.default_rng([clips.seed, len(clips.side), i])
        species = int(rng.integers(clips.species))
        lms = rng.normal(-60, 6, (128, 173)).astype(np.float16)
        lms[10 + 20 * species : 30 + 20 * species, ::3] += np.float16(20)
        return lms, species

    monkeypatch.setattr(InventedClips, "__getitem__", item)


def task(
    model: str = "mfcc", species: int = 4, seconds: float = 4.0, **train: object
) -> Pretraining:
    run, audio = pretraining.settings_for(model, batch_size=8, **train)
    return Pretraining(run, audio, species, seed=3, clip_seconds=seconds)


def trained(
    what: Pretraining,
    budget: Budget,
    workers: int = 0,
    save_seconds: float = 1000.0,
    progress: bool = False,
    held_out: int = 16,
) -> tuple[list[dict], dict[str, torch.Tensor]]:
    pretrainer = Pretrainer(
        what, budget, "test", workers=workers, held_out=held_out, save_seconds=save_seconds
    )
    return pretrainer.run(progress), pretrainer.model.state_dict()


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=0)


def test_clips_depend_on_seed_side_and_number_only() -> None:
    clips = InventedClips(AUDIO, species=50, seed=3)
    direct = [clips[i] for i in range(4, 10)]
    for workers in (0, 2):
        made = list(batches(clips, range(4, 10), 4, workers))
        assert [len(species) for _, species in made] == [4, 2]
        lms, species = (torch.cat(part) for part in zip(*made, strict=True))
        assert lms.shape == (6, 128, 173) and lms.dtype == torch.float16
        np.testing.assert_array_equal(lms, np.stack([lms for lms, _ in direct]))
        assert species.tolist() == [number for _, number in direct]
    held_out, _ = hold(InventedClips(AUDIO, 50, 3, "validation"), 5, 4, 0)
    assert held_out.shape == (5, 128, 173)
    assert not np.array_equal(held_out[4], direct[0][0])
    assert not np.array_equal(InventedClips(AUDIO, 50, seed=4)[4][0], direct[0][0])


def test_clips_are_log_mel_as_librosa_makes_it() -> None:
    """The sound is drawn again from the numbers that the first clip without strangers draws."""
    for i in range(20):
        rng = np.random.default_rng(np.random.SeedSequence([0, SIDES.index("train"), i]))
        number = int(rng.integers(9))
        if len(rng.integers(STRANGERS, size=rng.choice(OTHERS))) == 0:
            break
    bird = species_for(NAMESPACE, number)
    waveform = invent_clip(bird, rng, (88200 + 2048) / 22050, 22050).waveform
    sos = scipy.signal.butter(4, 500, "highpass", fs=22050, output="sos")
    power = librosa.feature.melspectrogram(
        y=scipy.signal.sosfilt(sos, waveform),
        sr=22050,
        n_fft=2048,
        hop_length=512,
        n_mels=128,
        center=False,
    )
    lms, species = InventedClips(AUDIO, species=9, seed=0)[i]
    assert species == number
    expected = librosa.power_to_db(power, ref=1.0, top_db=None)
    np.testing.assert_allclose(lms, expected, atol=0.07)  # float16


def test_species_are_never_those_of_the_demo_corpus() -> None:
    labels = [InventedClips(AUDIO, 30, seed)[0][1] for seed in range(12)]
    assert len(set(labels)) > 6 and max(labels) < 30
    sung = {species_for(NAMESPACE, number).identity for number in range(100)}
    assert len(sung) == 100
    assert not sung & {demo.demo_species(i).identity for i in range(12)}


def test_it_learns_and_the_curve_says_so(banded) -> None:
    rows, _ = trained(task(lr=5e-3), Budget(clips=320))
    assert [row["clips"] for row in rows] == [0, *range(32, 321, 32)]
    assert rows[0]["train_loss"] is None and rows[-1]["train_loss"] < rows[1]["train_loss"]
    assert rows[-1]["val_accuracy"] > 0.9


def test_rates_rise_over_a_hundred_batches_and_fall_with_the_budget() -> None:
    pretrainer = Pretrainer(task(), Budget(clips=1600), "test", workers=0, held_out=16)
    for batches_done, clips, rate in (
        (0, 0, 0.01),
        (1, 8, 0.02 * (1 + math.cos(math.pi / 200)) / 2),
        (49, 800, 0.25),
        (100, 800, 0.5),
        (200, 1600, 0.0),
    ):
        pretrainer.batches_done, pretrainer.clips_done = batches_done, clips
        assert pretrainer.rate() == pytest.approx(rate)


def test_a_budget_is_used_by_clips_or_seconds_whichever_is_first(banded) -> None:
    assert Budget(clips=100, seconds=60).share(50, 45) == 0.75
    assert Budget(clips=100).share(50, 10**9) == 0.5
    assert Budget(clips=None, seconds=60).share(10**9, 90) == 1
    pretrainer = Pretrainer(task(), Budget(clips=None, seconds=1.0), "test", workers=0, held_out=16)
    rows = pretrainer.run(progress=False)
    assert pretrainer.done() and pretrainer.factor < 0.1
    assert 2 <= len(rows) <= 11 and rows[-1]["clips"] == pretrainer.clips_done


class Interrupted(Pretrainer):
    """Somebody presses Ctrl-C during the fourth batch."""

    def batches(self) -> Iterator[Batch]:
        for batch in super().batches():
            if self.batches_done == 3:
                os.kill(os.getpid(), signal.SIGINT)
            yield batch


def test_a_budget_made_smaller_ends_with_a_row_for_its_weights(banded) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        Interrupted(task(), Budget(clips=800), "test", workers=0, held_out=16).run(False)
    assert signal.getsignal(signal.SIGINT) is handler
    rows, _ = trained(task(), Budget(clips=16))
    assert [row["clips"] for row in rows] == [0, 32] and rows[1]["train_loss"] is not None


CHILD = """
import sys; sys.path.insert(0, {tests!r})
from test_pretraining import *
torch.set_num_threads(1)
budget = Budget(clips={clips})
trained(task(seconds=1.0), budget, workers=1, save_seconds={save_seconds}, progress=True)
"""


def child(clips: int, save_seconds: float) -> subprocess.Popen:
    """A process that learns ``task`` from real invented clips; its progress bar is on stderr."""
    script = CHILD.format(
        tests=str(ROOT / "tests" / "pretraining"), clips=clips, save_seconds=save_seconds
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE, bufsize=0
    )


def wait_for_a_batch(process: subprocess.Popen) -> None:
    """Return when the progress bar tells the first batch."""
    said = b""
    while b"clips/s" not in said:
        more = process.stderr.read(1000)
        assert more, said.decode()
        said += more


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_or_interrupted_it_goes_on_as_if_it_were_not(tmp_path, how) -> None:
    what, clips = task(seconds=1.0), 80
    state = tmp_path / "artifacts" / "pretraining" / f"test-{what.key}.pt"
    process = child(clips, 0.0 if how == signal.SIGKILL else 1000.0)
    wait_for_a_batch(process)
    if how == signal.SIGINT:
        assert not state.exists()  # it is the interruption that saves one
    process.send_signal(how)
    process.stderr.read()
    assert process.wait() != 0
    assert 8 <= torch.load(state, weights_only=True)["done"][2] < clips
    resumed = trained(what, Budget(clips=clips))
    state.unlink()
    whole = trained(what, Budget(clips=clips))
    assert_same(resumed[1], whole[1])
    assert [{**row, "minutes": 0} for row in resumed[0]] == [
        {**row, "minutes": 0} for row in whole[0]
    ]


@pytest.mark.parametrize(("model", "limit"), [("ast", 10e6), ("efficientnet_b2", 20e6)])
def test_the_command_writes_what_pretrained_synthetic_loads(model, limit, tmp_path, banded) -> None:
    out = tmp_path / weights.FILES[model]
    options = [
        "--model",
        model,
        "--clips",
        "8",
        "--batch-size",
        "8",
        "--species",
        "5",
        "--held-out",
        "4",
        "--threads",
        "1",
    ]
    assert command.main([*options, "--workers", "0", "--out", str(out)]) == 0
    stored = safetensors.torch.load_file(out)
    assert out.stat().st_size < limit
    assert {value.dtype for value in stored.values()} <= {torch.float16, torch.int64}
    loaded = build_model(model, 3, 200, str(out))  # as "synthetic" loads what is shipped
    prefix = "head." if model == "ast" else "backbone.classifier."
    assert not any(name.startswith(prefix) for name in stored)
    run, audio = pretraining.settings_for(model, batch_size=8)
    _, kept = trained(Pretraining(run, audio, 5, seed=7), Budget(clips=8), held_out=4)
    for name, value in loaded.state_dict().items():
        if not name.startswith(prefix) and value.shape == kept[name].shape:
            torch.testing.assert_close(value, kept[name], rtol=1e-3, atol=1e-4, msg=name)
    assert loaded(torch.randn(2, 128, 200)).shape == (2, 3)
    assert not list((tmp_path / "artifacts" / "pretraining").glob("*"))
    check_card(out.with_suffix(".md").read_text(), stored, model, tmp_path)


def kept_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


@pytest.mark.parametrize("teacher", ["", " --teacher ast"])
def test_weights_kept_on_the_way_change_nothing_and_survive_an_interruption(
    teacher, tmp_path, banded, monkeypatch
) -> None:
    words = "--model ast --clips 40 --batch-size 8 --species 5 --held-out 4 --threads 1 --workers 0"
    words += teacher

    def pretrained(folder: str, *keep: str) -> int:
        out = str(tmp_path / folder / "w.safetensors")
        return command.main([*words.split(), "--out", out, *keep])

    keep = ["--keep", "40", "12"]
    assert pretrained("plain") == pretrained("kept", *keep) == 0
    files = kept_in(tmp_path / "kept")
    assert files.keys() == {"w.safetensors", *(f"w_{n}.safetensors" for n in (12, 40))}
    plain = kept_in(tmp_path / "plain")["w.safetensors"]
    assert plain == files["w.safetensors"] == files["w_40.safetensors"]
    assert len(set(files.values())) == 2
    with monkeypatch.context() as patch:  # a Ctrl-C at one clip, which no clock could aim at
        patch.setattr(pretraining, "Pretrainer", Interrupted)
        assert pretrained("killed", *keep) == 130
    assert kept_in(tmp_path / "killed").keys() == {"w_12.safetensors"}
    assert pretrained("killed", *keep) == 0
    assert kept_in(tmp_path / "killed") == files
    card = (tmp_path / "kept" / "w_12.md").read_text()
    # the batch that reaches 12 clips is the second of the hundred over which the rate rises
    assert "| clips | 16, of 5 species |" in card and "at 2 % of the highest learning rate" in card
    again = next(line.split("`")[1] for line in card.splitlines() if line.startswith("| command"))
    assert "--keep 12" in again
    assert "| kept" not in (tmp_path / "kept" / "w.md").read_text()


def test_weights_cannot_be_kept_beyond_the_last_clip(tmp_path, capsys) -> None:
    out = ["--out", str(tmp_path / "w.safetensors")]
    assert command.main(["--model", "ast", "--clips", "8", "--keep", "9", *out]) == 2
    assert "weights cannot be kept at 9 clips: there are only 8" in capsys.readouterr().err


def test_weights_that_an_earlier_pretraining_kept_are_not_taken_for_those_of_today(
    tmp_path, banded, capsys
) -> None:
    out, how = tmp_path / "w.safetensors", {"workers": 0, "held_out": 4, "keep": [16]}
    pretraining.pretrain(task("ast"), Budget(clips=16), out, **how)
    assert "not kept" not in capsys.readouterr().out
    other = dataclasses.replace(task("ast"), seed=9)
    pretraining.pretrain(other, Budget(seconds=1e-6), out, **how)
    said = "w_16.safetensors: not kept, 16 clips were past or not reached; the file there is of an"
    assert said in capsys.readouterr().out


def test_it_goes_on_from_other_weights_and_the_card_says_so(tmp_path, banded) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    options = [
        "--model",
        "ast",
        "--clips",
        "8",
        "--batch-size",
        "8",
        "--species",
        "5",
        "--held-out",
        "4",
        "--threads",
        "1",
        "--workers",
        "0",
    ]
    assert command.main([*options, "--out", str(first)]) == 0
    further = ["--lr", "1e-12", "--seed", "8", "--pretrained", str(first), "--out", str(second)]
    assert command.main([*options, *further]) == 0
    before, after = safetensors.torch.load_file(first), safetensors.torch.load_file(second)
    for name in before:
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            torch.testing.assert_close(after[name], before[name], rtol=1e-3, atol=1e-4, msg=name)
    card = second.with_suffix(".md").read_text()
    begun = next(line for line in card.splitlines() if line.startswith("| begun from"))
    assert (
        hashlib.sha256(first.read_bytes()).hexdigest() in begun
        and " after 8 clips of 5 species; made by `python" in begun
        and "--seed 7" in begun
        and str(tmp_path) not in card
    )
    assert "begun from" not in first.with_suffix(".md").read_text()


@pytest.mark.parametrize("option", ["--pretrained", "--teacher"])
def test_a_card_claims_no_innocence_for_weights_without_one(option, tmp_path, banded) -> None:
    words = "--model ast --clips 8 --batch-size 8 --species 5 --held-out 4 --threads 1 --workers 0"
    bare, first, second = (tmp_path / f"{n}.safetensors" for n in ("bare", "first", "second"))
    weights.save_weights(bare, weights.weights_of(build_model("ast", 5, 173)))
    prefix = "ast:" if option == "--teacher" else ""
    for source, out in ((bare, first), (first, second)):
        assert command.main([*words.split(), option, f"{prefix}{source}", "--out", str(out)]) == 0
        card = out.with_suffix(".md").read_text()
        assert hashlib.sha256(source.read_bytes()).hexdigest() in card
        claims = r"(?i)\bcc0\b|No recording of a real|heard only|no rights of others"
        assert not re.search(claims, card)
        assert "license: other" in card and "is not known here" in card
    own = tmp_path / "own.safetensors"
    assert command.main([*words.split(), option, f"{prefix}synthetic", "--out", str(own)]) == 0
    check_front_matter(own.with_suffix(".md").read_text())
    assert "No recording of a real bird was used." in own.with_suffix(".md").read_text()
    shutil.copy(bare, own)  # and leaves the card of others beside it
    assert command.main([*words.split(), option, f"{prefix}{own}", "--out", str(second)]) == 0
    assert "license: other" in second.with_suffix(".md").read_text()


def test_the_card_names_the_profile_and_the_network(tmp_path, banded) -> None:
    profile, out = tmp_path / "small.yaml", tmp_path / "w.safetensors"
    model = "{name: efficientnet_b2, size: tf_efficientnet_lite0, normalisation: standard}"
    profile.write_text(f"runs: {{x: {{model: {model}}}}}")
    words = "--model efficientnet_b2 --clips 8 --batch-size 8 --species 5 --held-out 4 --workers 0"
    options = ["--profile", str(profile), "--out", str(out)]
    assert command.main([*words.split(), "--threads", "1", *options]) == 0
    card = out.with_suffix(".md").read_text()
    assert "w.safetensors: tf_efficientnet_lite0 that has heard only invented birds" in card
    assert "--model efficientnet_b2 --profile small.yaml --species 5" in card
    assert "normalisation `standard`" in card and str(tmp_path) not in card
    again = build_model("efficientnet_b2", 3, 173, str(out), size="tf_efficientnet_lite0")
    named = safetensors.torch.load_file(out)
    stem = again.state_dict()["backbone.conv_stem.weight"]
    torch.testing.assert_close(stem, named["backbone.conv_stem.weight"].float(), rtol=0, atol=0)


def taught(seconds: float = 1.0) -> Pretraining:
    """What learns from the shipped AST."""
    teacher = pretraining.settings_for("ast", pretrained="synthetic")[0].model
    return dataclasses.replace(task(species=3, seconds=seconds, lr=3e-3), teacher=teacher)


def test_a_teachers_embeddings_cost_their_distance(scratch) -> None:
    pretrainer = Pretrainer(taught(), Budget(clips=8), "test", workers=0, held_out=4)
    lms, species = hold(InventedClips(AUDIO, 3, 3, "train", 1.0), 8, 4, 0)
    x = normalise(lms.float(), "noise_floor")
    with torch.no_grad():
        outputs = pretrainer.model(x)
        embedding = build_model("ast", 1, x.shape[2], "synthetic").eval().embed(x).numpy()
        logits, cost = pretrainer.cost(x, outputs, species)
    assert outputs.shape == (8, 3 + 192) and torch.equal(logits, outputs[:, :3])
    spread = np.sqrt(embedding.var(axis=0) + 1e-5)
    apart = outputs[:, 3:].numpy() - (embedding - embedding.mean(axis=0)) / spread
    named = torch.nn.functional.cross_entropy(logits, species, label_smoothing=0.1)
    assert cost.item() == pytest.approx(named.item() + TEACHER_WEIGHT * (apart**2).mean(), rel=1e-4)


def test_a_teachers_embeddings_are_learned(scratch, banded) -> None:
    pretrainer = Pretrainer(taught(4.0), Budget(clips=800), "test", workers=0, held_out=16)
    before = {n: w.clone() for n, w in pretrainer.teacher[0].state_dict().items()}
    rows = pretrainer.run(progress=False)
    assert rows[-1]["val_accuracy"] > 0.8
    assert_same(before, pretrainer.teacher[0].state_dict())
    lms, _ = hold(InventedClips(AUDIO, 3, 3, "validation"), 64, 16, 0)
    x = normalise(lms.float(), "noise_floor")
    with torch.no_grad():
        said = pretrainer.model.eval()(x)[:, 3:].numpy()
        embedding = pretrainer.teacher[0].embed(x).numpy()
    wanted = (embedding - embedding.mean(axis=0)) / embedding.std(axis=0)
    assert ((said - wanted) ** 2).mean() < 0.7  # 1: knows nothing of it


def test_the_card_names_the_teacher(tmp_path, banded, capsys) -> None:
    words = "--model ast --clips 8 --batch-size 8 --species 5 --held-out 4 --threads 1 --workers 0"
    out = tmp_path / "w.safetensors"
    teacher = ["--teacher", "ast", "--out", str(out)]
    assert command.main([*words.split(), *teacher]) == 0
    card, stored = out.with_suffix(".md").read_text(), safetensors.torch.load_file(out)
    line = next(line for line in card.splitlines() if line.startswith("| teacher | ast, "))
    assert hashlib.sha256((weights.SHIPPED / FILES["ast"]).read_bytes()).hexdigest() in line
    assert not any(name.startswith("head.") for name in stored)
    check_card(card, stored, "ast", tmp_path)
    for wrong, said in (("owl", "begin with ast or"), ("ast:gone.safetensors", "gone.safetensors")):
        assert command.main([*words.split(), "--teacher", wrong, "--out", str(out)]) == 2
        assert said in capsys.readouterr().err


def test_a_teacher_bears_a_last_clip_alone_but_no_batches_of_one(scratch, banded) -> None:
    rows, _ = trained(taught(4.0), Budget(clips=9), held_out=4)
    assert rows[-1]["clips"] == 9
    one = dataclasses.replace(taught(), run=pretraining.settings_for("mfcc", batch_size=1)[0])
    with pytest.raises(BirdnbError, match="batches of 2 clips or more"):
        trained(one, Budget(clips=2), held_out=4)


def test_a_teacher_that_hears_otherwise_is_refused(scratch) -> None:
    what = taught()
    other = dataclasses.replace(what.teacher, normalisation="standard")
    with pytest.raises(BirdnbError, match="hears standard, mfcc noise_floor: give a --profile"):
        Pretrainer(
            dataclasses.replace(what, teacher=other), Budget(clips=8), "x", workers=0, held_out=4
        )


@pytest.mark.parametrize("seconds", ["0", "-1", "0.5", "60", "nan", "long"])
def test_clips_have_a_sensible_length(seconds, capsys) -> None:
    with pytest.raises(SystemExit):
        command.main(["--model", "ast", "--clip-seconds", seconds])
    assert f"'{seconds}' is not a number of seconds from 1 to 10" in capsys.readouterr().err


def test_a_try_out_does_not_overwrite_the_shipped_checkpoint(tmp_path, banded, capsys) -> None:
    shipped = (weights.SHIPPED / FILES["ast"]).stat().st_mtime_ns
    words = "--model ast --pretrained false --clips 8 --batch-size 8 --species 5 --held-out 4"
    assert command.main([*words.split(), "--threads", "1", "--workers", "0"]) == 0
    out = tmp_path / "artifacts" / "pretraining" / FILES["ast"]
    assert out.exists() and capsys.readouterr().out.endswith(f"{out}\n")
    assert (weights.SHIPPED / FILES["ast"]).stat().st_mtime_ns == shipped
    with pytest.raises(SystemExit):
        command.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "(default: None)" not in said
        and "(default: False)" not in said
        and said.count("(default: 64)") == 1
    )


def check_card(card: str, stored: dict[str, torch.Tensor], model: str, folder: Path) -> None:
    """Nothing private, nothing wrong."""
    assert str(folder) not in card and str(ROOT) not in card
    assert len(socket.gethostname()) < 6 or socket.gethostname() not in card
    words = next(line.split("`")[1] for line in card.splitlines() if line.startswith("| command"))
    again = folder / "again.safetensors"
    of_machine = ["--workers", "0", "--threads", "1", "--out", str(again)]
    assert command.main([*shlex.split(words)[3:], *of_machine]) == 0
    assert_same(safetensors.torch.load_file(again), stored)
    learned = ("running_mean", "running_var", "num_batches_tracked", "input_scale")
    parameters = sum(value.numel() for name, value in stored.items() if not name.endswith(learned))
    assert f"{parameters / 1e6:.2f} million" in card
    check_front_matter(card)
    assert "chance is\n20.00 %" in card and "| 0 |" in card and "| 8 |" in card and "CC0" in card


def check_front_matter(card: str) -> None:
    """What hubs read of a card says the same as its text."""
    _, front, text = card.split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["license"] == "cc0-1.0" and about["pipeline_tag"] == "audio-classification"
    (model,) = about["model-index"]
    assert text.startswith(f"\n# {model['name']}.safetensors: ")
    (result,) = model["results"]
    (metric,) = result["metrics"]
    assert f"names **{100 * metric['value']:.1f} %** right" in text
    species = re.search(r"of ([\d,]+) invented", result["dataset"]["name"])
    assert species and f"tell {species[1]} invented species apart" in text


@pytest.mark.parametrize("name", FILES.values())
def test_the_shipped_cards_can_be_read_by_hubs(name) -> None:
    check_front_matter((weights.SHIPPED / name).with_suffix(".md").read_text(encoding="utf-8"))


def test_errors_are_one_line(tmp_path, capsys, banded) -> None:
    what = task("ast")
    state = tmp_path / "artifacts" / "pretraining" / f"x-{what.key}.pt"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"not a state")
    options = [
        "--model",
        "ast",
        "--species",
        "4",
        "--batch-size",
        "8",
        "--seed",
        "3",
        "--out",
        str(tmp_path / "x.safetensors"),
    ]
    assert command.main([*options, "--workers", "0"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {state} is damaged")
    for number, value in (
        ("--clips", "0"), ("--seed", "-1"), ("--minutes", "0"), ("--minutes", "-1"),
        ("--minutes", "nan"), ("--workers", "-1"), ("--lr", "nan"), ("--lr", "0"),
    ):  # fmt: skip
        with pytest.raises(SystemExit):
            command.main(["--model", "ast", number, value])
        assert f"argument {number}: '{value}' is no" in capsys.readouterr().err
    with pytest.raises(BirdnbError, match="no run with the model 'resnet'"):
        pretraining.settings_for("resnet")


@pytest.mark.parametrize("name", ["w.md", "weights", "folder.safetensors", "file/w.safetensors"])
def test_where_weights_cannot_go_is_told_before_training(name, tmp_path, capsys) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "file").touch()
    assert command.main(["--model", "ast", "--out", str(tmp_path / name)]) == 2
    assert f"the weights cannot go to {tmp_path / name}" in capsys.readouterr().err
    assert not (tmp_path / "artifacts").exists()
