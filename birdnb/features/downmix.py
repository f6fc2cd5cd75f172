"""Whether the mean of the channels keeps the song, or its channels cancel each other.

A cable or a recorder with one pole swapped makes two channels each other's mirror image, and two
microphones a little apart let the notes cancel whose half wave fits between them. Where the song
stands out in a channel the mean of N channels has at least 1/N of their mean power, unless they
cancel: with independent channels, and with song in one of them, it is 1/N, with equal channels 1.
"""

import numpy as np

from birdnb.features.activity import CHUNK, NOISE_DB, coarse_bands, prominence

# [dB] of that 1/N: two microphones far apart have -3 on average over all notes, seldom -12
CANCELLED_DB = -14.0
# ... or this little, and less than this share of the best channel's activity is left in the mean
WEAKENED_DB, KEPT = -6.0, 0.5
DEEPEST_DB = -20.0  # no single note counts for more
EVERY = 4  # coarse frames: one in so many is enough for a verdict on the whole recording
RECORDED_DB = -100.0  # [dB] per band; below, nothing was recorded that could cancel


class Downmix:
    """Listens to the blocks of a recording with several channels and then says what to take."""

    def __init__(self, channels: int, sample_rate: int) -> None:
        self.channels, self.sample_rate = channels, sample_rate
        # of (1 + channels, frames, bands) [dB], the mean first
        self._waiting: list[np.ndarray] = []
        self._song = np.zeros(2)  # sum of weights, and of weighted ratios [dB], where there is song
        self._all = np.zeros(2)  # the same over everything that was recorded
        self._kept = 0.0  # activity of the mean
        self._activity, self._power = np.zeros(channels), np.zeros(channels)

    def add(self, mean: np.ndarray, several: np.ndarray) -> None:
        """Listen to a block: the mean (samples,) of its channels, and these (samples, channels)."""
        heard = [mean, *several.T]
        bands = np.stack([coarse_bands(one, self.sample_rate, EVERY) for one in heard])
        self._waiting.append(bands[:, np.isfinite(bands).all(axis=(0, 2))])
        if sum(bands.shape[1] for bands in self._waiting) >= CHUNK // EVERY:
            self._weigh()

    def choice(self) -> int | None:
        """Say which channel to take (from 0) as they cancel; None: their mean keeps the song."""
        if self._waiting:
            self._weigh()
        weight, total = self._song if self._song[0] > 0 else self._all
        ratio = total / weight if weight else 0.0
        lost = self._song[0] > 0 and self._kept < KEPT * self._activity.max()
        if ratio > (WEAKENED_DB if lost else CANCELLED_DB):
            return None
        return int(np.argmax(self._activity if self._activity.any() else self._power))

    def _weigh(self) -> None:
        together = np.concatenate(self._waiting, axis=1)
        self._waiting = []
        if not together.shape[1]:
            return
        mean, several = together[0], together[1:]  # (frames, bands), (channels, frames, bands)
        power = (10.0 ** (several / 10.0)).mean(axis=0)
        ratio = mean - 10.0 * np.log10(power) + 10.0 * np.log10(self.channels)
        ratio = np.maximum(ratio, DEEPEST_DB)
        prominent = np.stack([prominence(bands) for bands in together])
        prominent *= (prominent.sum(axis=2) > NOISE_DB)[:, :, None]  # (channels, frames, 1)
        kept, prominent = prominent[0], prominent[1:]
        song = prominent.max(axis=0)
        recorded = 10.0 * np.log10(power) > RECORDED_DB
        self._song += [song.sum(), (song * ratio).sum()]
        self._all += [recorded.sum(), (recorded * ratio).sum()]
        self._kept += kept.sum()
        self._activity += prominent.sum(axis=(1, 2))
        self._power += (10.0 ** (several / 10.0)).sum(axis=(1, 2))
