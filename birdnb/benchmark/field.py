"""The field: hours of sound a minute, everything included, beside BirdNET on the same cores."""

import contextlib
import tempfile
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import soundfile
import torch

from birdnb.benchmark.rows import ROUNDS, Row, best_seconds
from birdnb.config import (
    AudioSettings,
    ModelSettings,
    Profile,
    RunSettings,
    SplitSettings,
    TrainSettings,
)
from birdnb.features.audio import Recording
from birdnb.field.detect import detections
from birdnb.field.graph import Graph, export
from birdnb.field.listener import Listener, by_network, joined
from birdnb.field.promise import Promises
from birdnb.field.scores import Heard
from birdnb.field.tables import write_tables
from birdnb.field.windows import Cutter, Wave
from birdnb.field.work import listen_all
from birdnb.files import BirdnbError
from birdnb.models import build_model
from birdnb.models.encoders import Encoder, open_encoder
from birdnb.synthetic.dawn import make_dawn

AUDIO = AudioSettings()
SPECIES = 90
NETWORKS = {"AST tiny": "ast", "EfficientNet-B2": "efficientnet_b2"}
ENSEMBLE = "their ensemble"
BIRDNET = "BirdNET 2.4, 3 s windows"
TOGETHER = 20  # BirdNET's windows at a time


def rows(minutes: float = 10.0, rounds: int = ROUNDS) -> list[Row]:
    """Return the hours of sound heard a minute: each network of the study, and their ensemble.

    From the file to the tables, windows side by side. BirdNET, where its extra is installed, has
    one interpreter a core and writes nothing.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    listeners = _listeners(device)
    if device.type == "cpu":
        with contextlib.suppress(BirdnbError):  # its extra is not installed
            graphs = _listeners(device, graph=True)
            plain = {f"{name}, without graph": one for name, one in listeners.items()}
            listeners = graphs | plain
    encoders = _birdnets()
    with tempfile.TemporaryDirectory(prefix="birdnb-") as folder:
        path, _ = make_dawn(Path(folder) / "dawn", minutes=minutes)
        sound = Heard(path.name, str(path))
        ways: dict[str, Callable[[], Any]] = {
            name: partial(_go, listener, sound, Path(folder))
            for name, listener in listeners.items()
        }
        if encoders:
            ways[BIRDNET] = partial(_birdnet, encoders, sound)
        took = best_seconds(ways, rounds)
    unit, speed = "hours a minute", {name: minutes / took[name] for name in took}
    targets = {"AST tiny": "at least 3", ENSEMBLE: "at least 1"}
    if not encoders:
        return [Row(f"field, {name}", unit, speed[name]) for name in listeners]
    return [
        Row(f"field, {name}", unit, speed[name], speed[BIRDNET], BIRDNET,
            speed[name] / speed[BIRDNET], targets.get(name, ""))
        for name in listeners
    ]  # fmt: skip


def _listeners(device: torch.device, graph: bool = False) -> dict[str, Listener]:
    """Return the networks with new weights, which take as long as learned ones, and their ensemble.

    Raises BirdnbError where they cannot be made graphs.
    """
    found, labels = {}, [f"species {number}" for number in range(SPECIES)]
    for title, name in NETWORKS.items():
        precision: Any = "hardware" if name == "ast" else "auto"  # as the demo's runs
        settings = RunSettings(ModelSettings(name=name), TrainSettings(precision=precision))
        network: Any = build_model(name, SPECIES, AUDIO.n_frames).eval().to(device)
        network = Graph(export(network, AUDIO.n_frames)) if graph else network
        hear = by_network(network, {part: vars(of) for part, of in vars(settings).items()}, device)
        found[title] = Listener(title, Path(), labels, AUDIO, title, hear, device)
    parts = list(found.values())
    return found | {ENSEMBLE: joined("ensemble", Path(), parts, np.ones(len(parts)), 1.2)}


def _go(listener: Listener, sound: Heard, folder: Path) -> None:
    """Listen anew, and write the tables."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        out = Path(name)
        found = listen_all([sound], listener, out, AUDIO.clip_seconds, progress=False)
        heard = [whole for _, path in found if (whole := Heard.load(path))]
        table = detections(heard, listener.labels, Promises(), AUDIO.clip_seconds)
        write_tables([one for one, _ in found], table, listener, out)


def _birdnets() -> list[Encoder]:
    """Open BirdNET once for each core; none where its extra is not installed."""
    profile = Profile("field", AUDIO, SplitSettings(), {})
    try:
        return [open_encoder("birdnet", profile) for _ in range(joblib.cpu_count())]
    except BirdnbError:
        return []


def _birdnet(encoders: list[Encoder], sound: Heard) -> None:
    """Let BirdNET hear a recording in windows side by side, each core some of them."""
    first = encoders[0]
    wave = Wave(first.sample_rate, first.window_samples)
    length = first.window_seconds
    free: deque[Encoder] = deque(encoders)

    def encode(windows: np.ndarray) -> None:
        encoder = free.pop()
        encoder.encode(windows)
        free.append(encoder)

    seconds = soundfile.info(sound.source).duration
    middles = np.arange(length / 2, seconds, length)
    with Recording(sound.source) as recording, ThreadPoolExecutor(len(encoders)) as pool:
        cutter = Cutter(recording.blocks(), recording.sample_rate, wave)
        pieces = np.array_split(middles, max(1, len(middles) // TOGETHER))
        jobs = [pool.submit(encode, cutter.cut(piece)) for piece in pieces]
        for job in jobs:
            job.result()
