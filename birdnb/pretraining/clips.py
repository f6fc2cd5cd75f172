"""Make labelled log-mel clips of invented song, without end, when they are asked for."""

import functools
import signal
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import threadpoolctl
import torch
from torch.utils.data import DataLoader, Dataset

from birdnb.config import AudioSettings
from birdnb.features.lms import framed_log_mel, high_pass
from birdnb.split.sides import SIDES
from birdnb.synthetic.soundscape import invent_clip
from birdnb.synthetic.species import Species, species_for

NAMESPACE = "pretraining"  # of the species; the demo corpus uses another one
STRANGERS = 10**6  # other singers are drawn from this many species
OTHERS = (0, 1, 2, 3, 4, 6)  # how many sing along, each as often


@dataclass(frozen=True)
class InventedClips(Dataset):
    """Item i is (LMS (n_mels, T) float16 dB, species number).

    It depends on ``seed``, ``side`` and i, and on nothing else. Every clip has an individual, a
    site, a recorder and a distance of its own; most of them have fainter singers of any other
    species. The sides share the species, not the individuals. There is no last item.
    """

    audio: AudioSettings
    species: int
    seed: int
    side: str = "train"
    seconds: float | None = None  # of a clip; None for as long as the audio settings say

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, SIDES.index(self.side), i]))
        number, audio = int(rng.integers(self.species)), self.audio
        others = [
            _species(int(other))
            for other in rng.integers(STRANGERS, size=rng.choice(OTHERS))
            if other != number
        ]
        # what the outermost frames reach into
        seconds = (self.seconds or audio.clip_seconds) + audio.n_fft / audio.sample_rate
        # several threads add up in another order: other last digits
        with _pools().limit(limits=1, user_api="blas"):
            waveform = invent_clip(
                _species(number), rng, seconds, audio.sample_rate, others
            ).waveform
            lms = framed_log_mel(high_pass(waveform, audio.sample_rate, audio.high_pass_hz), audio)
        return lms.astype(np.float16), number


def batches(
    clips: InventedClips, numbers: Iterable[int], batch_size: int, workers: int
) -> DataLoader:
    """Load batches of these clips in their order, made in ``workers`` processes.

    (LMS (B, n_mels, T) float16 dB, species (B,)), the same whatever the number of workers; 0 makes
    them in this process.
    """
    start = _start_worker if workers else None
    return DataLoader(clips, batch_size, sampler=numbers, num_workers=workers, worker_init_fn=start)  # type: ignore[arg-type]


def hold(
    clips: InventedClips, n: int, batch_size: int, workers: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make the first ``n`` clips: (n, n_mels, T) float16 dB and (n,) species numbers."""
    made = list(batches(clips, range(n), batch_size, workers))
    return torch.cat([lms for lms, _ in made]), torch.cat([species for _, species in made])


@functools.lru_cache(maxsize=4096)
def _species(number: int) -> Species:
    return species_for(NAMESPACE, number)


@functools.cache
def _pools() -> threadpoolctl.ThreadpoolController:
    return threadpoolctl.ThreadpoolController()


def _start_worker(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that trains
