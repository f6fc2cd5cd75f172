"""Networks as graphs: the same probabilities as torch's, kept by their weights, or done without."""

import re
import shutil
import sys

import numpy as np
import pytest
import torch
from small_study import AUDIO, small_study
from sound_files import noise, write

from birdnb.features.lms import normalise
from birdnb.field.__main__ import main
from birdnb.field.graph import CLOSE, GRAPH, PLAIN, Graph, export, network_of
from birdnb.field.listener import find_run, open_listener
from birdnb.field.windows import Batch
from birdnb.files import BirdnbError
from birdnb.models import build_model
from birdnb.training.runs import load_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def onnx():
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


@pytest.fixture(scope="module")
def clips():
    return small_study().clips("validation").lms[:9].float()


@pytest.fixture
def run(small_run, tmp_path, monkeypatch):
    """Artifacts of their own that hold the run "one"."""
    shutil.copytree(small_run, tmp_path / "artifacts", ignore=shutil.ignore_patterns("graphs"))
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))
    return find_run("one")


@pytest.mark.parametrize("name", ["ast", "efficientnet_b2", "mfcc"])
def test_a_graph_says_what_the_network_says(name, onnx, clips):
    """In batches of any size, other than those it was exported with."""
    pretrained = "synthetic" if name != "mfcc" else False
    model = build_model(name, 7, AUDIO.n_frames, pretrained).eval()
    x = normalise(clips, "noise_floor")
    with torch.inference_mode():
        expected = model(x).softmax(-1)
    graph = Graph(export(model, AUDIO.n_frames))
    for size in (1, 4, 9):
        found = torch.cat([graph(part) for part in x.split(size)]).softmax(-1)
        assert float((found - expected).abs().max()) < CLOSE / 10
    assert float(expected.std(dim=0).max()) > CLOSE  # clips differ: it is no constant answer


def test_graphs_are_kept_by_their_weights(onnx, run, clips):
    batch = Batch(np.arange(9.0), clips.numpy())
    first = open_listener("one")
    (kept,) = (run.parents[2] / "graphs").iterdir()
    assert first.engine == GRAPH and kept.name.startswith(first.weights)
    then = kept.stat().st_mtime_ns
    again = open_listener("one").score(batch)
    assert kept.stat().st_mtime_ns == then
    kept.write_bytes(kept.read_bytes()[:1000])  # damaged: made anew
    np.testing.assert_array_equal(open_listener("one").score(batch), again)
    assert kept.stat().st_size > 1000


def test_graphs_do_not_outlive_their_weights(onnx, run):
    """Weights that are not the run's own are refused, whatever graph there was before."""
    network_of(run, CPU)
    weights = run / "best.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    with pytest.raises(BirdnbError, match="is damaged or of another run"):
        network_of(run, CPU)
    weights.unlink()
    with pytest.raises(BirdnbError, match="holds no network"):
        network_of(run, CPU)


def test_without_onnxruntime_torch_computes(run, clips, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    network, engine = network_of(run, CPU)
    assert re.match(rf"{PLAIN}: onnx(runtime)? is not installed here: .*\[onnx\]", engine)
    x = normalise(clips, "standard")
    with torch.inference_mode():
        assert torch.equal(network(x), load_model(run)(x))
    assert not (run.parents[2] / "graphs").exists()


def test_what_cannot_be_exported_is_told(onnx):
    class Odd(torch.nn.Module):  # goes by the number of clips, which a trace does not follow
        def forward(self, x):
            return x[:, :3, 0] * (1 if len(x) == 2 else 9)

    with pytest.raises(BirdnbError, match="says something else"):
        export(Odd().eval(), AUDIO.n_frames)

    class Torn(torch.nn.Module):
        def forward(self, x):
            raise RuntimeError("torn")

    with pytest.raises(BirdnbError, match=r"cannot be exported \(torn\)"):
        export(Torn().eval(), AUDIO.n_frames)


def test_a_graph_has_as_many_threads_as_torch(onnx, clips):
    """It is opened again when they change, and says the same."""
    model = build_model("mfcc", 3, AUDIO.n_frames).eval()
    graph, before = Graph(export(model, AUDIO.n_frames)), torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found = graph(normalise(clips, "standard"))
            assert graph.threads == threads
            with torch.inference_mode():
                torch.testing.assert_close(found, model(normalise(clips, "standard")))
    finally:
        torch.set_num_threads(before)


def test_the_command_says_what_computed(run, tmp_path, capsys):
    write(tmp_path / "a.wav", noise(7.0))
    engine = open_listener("one").engine
    assert main(["one", str(tmp_path / "a.wav"), "--out", str(tmp_path / "out")]) == 0
    assert f"networks are computed by {engine}" in capsys.readouterr().out
