"""Weights that cannot be had: without a hub, in a copy of birdnb that ships none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from birdnb.models.ast import HUB_ID

PACKAGE = Path(__file__).resolve().parents[2] / "birdnb"
BUILD = """
import json, sys
from birdnb.files import BirdnbError
from birdnb.models import build_model
said = []
for name, pretrained in json.loads(sys.argv[1]):
    try:
        build_model(name, 12, 173, pretrained, size="base" if pretrained is True else "tiny")
        said.append("")
    except BirdnbError as error:
        said.append(str(error))
print(json.dumps(said))
"""
ASKED = [(name, pretrained) for name in ("ast", "efficientnet_b2")
         for pretrained in (True, "someone/else", "synthetic")]  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each is told, by a process of its own: the hub's client reads its variables once."""
    folder = tmp_path_factory.mktemp("copy")
    no_weights = shutil.ignore_patterns("*.safetensors", "__pycache__")
    shutil.copytree(PACKAGE, folder / "birdnb", ignore=no_weights)
    env = os.environ | {
        "PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub"),
    }  # fmt: skip
    command = [sys.executable, "-c", BUILD, json.dumps(ASKED)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return dict(zip(ASKED, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize("pretrained", [True, "someone/else"])
@pytest.mark.parametrize("name", ["ast", "efficientnet_b2"])
def test_without_a_hub_the_remedies_are_told_in_one_line(name, pretrained, said):
    message = said[name, pretrained]
    asked = {"ast": HUB_ID, "efficientnet_b2": "efficientnet_b2"}[name]
    assert (asked if pretrained is True else pretrained) in message and "\n" not in message
    for remedy in ("local folder", "HF_HOME", "pretrained=false"):
        assert remedy in message


@pytest.mark.parametrize(
    ("name", "file"), [("ast", "ast_tiny"), ("efficientnet_b2", "efficientnet_b2")]
)
def test_a_copy_may_ship_no_weights(name, file, said):
    message = said[name, "synthetic"]
    assert f"{file}.safetensors is not shipped" in message and "pretrained=false" in message
