"""What a frozen encoder says about every recording: computed once, kept on disk, read by runs.

``artifacts/embeddings/<corpus>/<encoder>-<key>/<recording_id>.npz`` holds ``embeddings`` (W, D) of
the windows of a recording, their ``activity`` (W,), the encoder's own ``answer`` (L,) where it has
one, the ``seconds`` that took and the ``sha256`` of the sound. Each is written atomically, and what
it says depends on the sound and the encoder alone: a killed build goes on, and two at once do no
harm.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import joblib
import numpy as np
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from birdnb.config import Profile, key_of
from birdnb.features.activity import WORTH, Coarse
from birdnb.features.store import LmsCache
from birdnb.files import (
    DAMAGED,
    BirdnbError,
    artifacts_dir,
    atomic_path,
    sweep,
    write_json,
    writing,
)
from birdnb.models.encoders import Encoder, Label, open_encoder
from birdnb.registry import ENCODERS, encoder_id, full_encoder

if TYPE_CHECKING:
    from birdnb.corpora import Corpus
    from birdnb.features.audio import Recording

VERSION = 1  # of the cutting and pooling: a change makes new files
TOGETHER = 20  # windows encoded at a time: a minute of BirdNET's


@dataclass(frozen=True)
class Embedded:
    """A recording of W windows."""

    embeddings: np.ndarray  # (W, D) float32
    activity: np.ndarray  # (W,) float32, of birdnb.features.activity, summed over the window
    answer: np.ndarray  # (L,) float32, the highest logit of each label in any window; (0,): none
    seconds: float = 0.0  # that encoding took, in one process; 0: not known

    @property
    def active(self) -> np.ndarray:
        """Return which windows (W,) hold song; all where none does."""
        return self.activity >= WORTH * self.activity.max()


@dataclass(frozen=True)
class Embeddings:
    """The finished folder of an encoder and a corpus."""

    folder: Path
    encoder: Encoder

    @property
    def labels(self) -> Sequence[Label]:
        """Return what the encoder's own answers are about."""
        return self.encoder.labels

    def load(self, recording_id: str) -> Embedded:
        """Read a recording. Raises BirdnbError when its file is missing or damaged."""
        path = self.folder / f"{recording_id}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                took = float(file["seconds"]) if "seconds" in file else 0.0
                return Embedded(file["embeddings"], file["activity"], file["answer"], took)
        except DAMAGED as error:
            raise BirdnbError(
                f"{path} is missing or damaged ({error}): delete it and run again, it is made again"
            ) from error


@dataclass(frozen=True)
class _Task:
    path: Path
    source: str
    sha256: str
    encoder: str
    profile: Profile


def build_embeddings(
    name: str, corpus: Corpus, cache: LmsCache, profile: Profile, jobs: int | None = None,
    progress: bool = True,
) -> Embeddings:  # fmt: skip
    """Encode the recordings of a cache that are not yet encoded, and open the folder.

    ``jobs`` processes, None for one a core, 1 for this one, which alone knows an encoder that was
    put into the registry as a class or function. Raises BirdnbError as ``open_encoder`` does, and
    when a recording can no longer be read or the folder not be written.
    """
    encoder = open_encoder(name, profile)
    folder = artifacts_dir() / "embeddings" / corpus.name
    first = profile.audio.first_seconds
    key = key_of(encoder.key, encoder.high_pass_hz, VERSION, *([first] if first else []))
    folder /= f"{encoder_id(name)}-{key}"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    write_json(folder / "card.json", {"encoder": name, **dataclasses.asdict(encoder.card)})
    # the longest first: nobody waits for one at the end
    rows = cache.index.sort_values("seconds", ascending=False, kind="stable")
    tasks = [
        _Task(folder / f"{row.recording_id}.npz", f"{corpus.root}/{row.path}", row.sha256, name,
              profile)
        for row in rows.itertuples()
    ]  # fmt: skip
    tasks = [task for task in tasks if not _done(task)]
    if tasks:
        quiet = {} if progress else {"disable": True}  # left out, TQDM_DISABLE decides
        everywhere = isinstance(ENCODERS[full_encoder(name).partition(":")[0]], str)
        done = _embed_all(tasks, jobs if everywhere else 1)
        for _ in tqdm(done, f"{encoder.card.title} hears", len(tasks), unit="recording", **quiet):
            pass
    return Embeddings(folder, encoder)


def _embed_all(tasks: list[_Task], jobs: int | None) -> Iterator[None]:
    if jobs == 1:
        yield from map(_embed_one, tasks)
        return
    how = joblib.parallel_config("loky", inner_max_num_threads=1)
    with how:
        pool = joblib.Parallel(jobs or joblib.cpu_count(), return_as="generator_unordered")
        try:
            yield from pool(joblib.delayed(_embed_one)(task) for task in tasks)
        except TerminatedWorkerError as error:
            raise BirdnbError(
                f"a process died while {tasks[0].encoder} encoded recordings: out of memory? the "
                f"same command goes on from there"
            ) from error


def _done(task: _Task) -> bool:
    try:
        with np.load(task.path, allow_pickle=False) as file:
            return str(file["sha256"]) == task.sha256
    except DAMAGED:
        return False


def _embed_one(task: _Task) -> None:
    from birdnb.features.audio import hear
    from birdnb.features.decoders import AudioError

    encoder = _opened(task)
    began = time.perf_counter()
    try:
        first = task.profile.audio.first_seconds
        found = hear(task.source, lambda sound: embed_recording(sound, encoder, first))
    except (AudioError, OSError) as error:
        raise BirdnbError(
            f"{task.source} can no longer be read ({error}): run again, and it is left out"
        ) from error
    if not (np.isfinite(found.embeddings).all() and np.isfinite(found.answer).all()):
        raise BirdnbError(
            f"{task.source}: the encoder {task.encoder} gives values that are not numbers"
        )
    with atomic_path(task.path) as temporary:
        took = time.perf_counter() - began
        np.savez(temporary, **vars(replace(found, seconds=took)), sha256=np.array(task.sha256))


_OPEN: dict[Path, Encoder] = {}  # of this process, by the folder it fills


def _opened(task: _Task) -> Encoder:
    folder = task.path.parent
    if folder not in _OPEN:
        _OPEN.clear()  # one at a time: each takes some hundred megabytes
        _OPEN[folder] = open_encoder(task.encoder, task.profile)
    return _OPEN[folder]


def embed_recording(
    sound: Recording, encoder: Encoder, first_seconds: float | None = None
) -> Embedded:
    """Encode a recording or its ``first_seconds``, window by window.

    Of hours of sound only a minute is in memory.
    """
    from birdnb.features.extract import survey

    coarse = survey(sound)
    size, rate = encoder.window_samples, encoder.sample_rate
    length = -(-sound.frames * rate // sound.sample_rate)  # [samples]
    if first_seconds:
        length = min(length, round(first_seconds * rate))
        coarse = replace(
            coarse, activity=coarse.activity[: int(first_seconds / coarse.hop_seconds)]
        )
    count = encoder.count(length)
    embeddings, highest = [], []
    for first in range(0, count, TOGETHER):
        last = min(count, first + TOGETHER)
        samples = sound.slice(first * size, last * size, rate, encoder.high_pass_hz)
        if first_seconds:
            after = max(0, last * size - length)
            samples = np.pad(samples[: len(samples) - after], (0, after))
        found = encoder.encode(samples.reshape(-1, size))
        embeddings.append(found.embeddings)
        if found.answers is not None:
            highest.append(found.answers.max(axis=0))
    answer = np.max(highest, axis=0) if highest else np.zeros(0, np.float32)
    return Embedded(np.concatenate(embeddings), activity_of(coarse, encoder, count), answer)


def activity_of(coarse: Coarse, encoder: Encoder, count: int) -> np.ndarray:
    """Add up a recording's activity in each of its first ``count`` windows: (W,) float32."""
    window = np.arange(len(coarse.activity)) * coarse.hop_seconds // encoder.window_seconds
    inside = window < count
    weights = coarse.activity[inside]
    return np.bincount(window[inside].astype(int), weights, count).astype(np.float32)
