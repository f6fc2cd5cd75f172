"""Measure how near invented song comes to recorded song, by quantiles over spectrograms.

``python -m birdnb.pretraining.song_statistics CORPUS`` prints the table.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.stats import ks_2samp
from tqdm import tqdm

from birdnb.command import command
from birdnb.config import AudioSettings
from birdnb.corpora import open_corpus
from birdnb.features.audio import high_pass, read_audio
from birdnb.features.decoders import AudioError
from birdnb.features.lms import log_mel
from birdnb.synthetic.soundscape import invent_clip
from birdnb.synthetic.species import species_for

FINE = AudioSettings(n_fft=1024, hop_length=128, n_mels=96)  # 6 ms a frame: syllables, not phrases
LONGEST = 60.0  # [s] of a recording looked at
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
MEASURES = {
    "centroid": "spectral centroid of the song [Hz]",
    "bandwidth": "spread around the centroid at a moment [Hz]",
    "range": "spread of the centroid over time [Hz]",
    "rate": "syllables per second",
    "length": "median syllable [ms]",
    "active": "share of the time with song [%]",
    "snr": "song over background while it sounds [dB]",
    "noise_centroid": "spectral centroid of the background [Hz]",
    "noise_slope": "background, 6 kHz over 1.5 kHz [dB]",
}


def song_statistics(waveform: np.ndarray, audio: AudioSettings = FINE) -> dict[str, float]:
    """Compute MEASURES of a waveform's most active clip, high-passed; NaN where no song is."""
    lms = log_mel(waveform, audio)  # (M, T)
    floor = np.quantile(lms, 0.25, axis=1, keepdims=True)
    noise = 10 ** ((floor + 1.5) / 10)  # the quarter quantile of noise lies below its mean
    hertz = _band_hertz(audio)
    power = np.where(lms > floor + 10, 10 ** (lms / 10) - noise, 0.0)  # what stands out of its band
    first = _most_active(power, audio.n_frames)
    power, noise_power = power[:, first : first + audio.n_frames], float(noise.sum())
    level = 10 * np.log10(power.sum(axis=0) + 1e-3 * noise_power)  # (T,)
    active = level > max(np.quantile(level, 0.98) - 15, 10 * np.log10(0.05 * noise_power))
    lengths = _runs(active) * audio.hop_length / audio.sample_rate
    lengths = lengths[lengths > 0.012]
    weight, total = power[:, active], power[:, active].sum()
    if not len(lengths) or total <= 0:
        return dict.fromkeys(MEASURES, np.nan)
    moment = (hertz[:, None] * weight).sum(axis=0) / weight.sum(axis=0)  # (active frames,) [Hz]
    width = np.sqrt(((hertz[:, None] - moment) ** 2 * weight).sum() / total)
    return {
        "centroid": float((hertz @ weight).sum() / total),
        "bandwidth": float(width),
        "range": float(moment.std()),
        "rate": len(lengths) / min(audio.clip_seconds, len(waveform) / audio.sample_rate),
        "length": 1000 * float(np.median(lengths)),
        "active": 100 * float(active.mean()),
        "snr": 10 * float(np.log10(total / active.sum() / noise_power)),
        "noise_centroid": float((hertz[:, None] * noise).sum() / noise_power),
        "noise_slope": float((floor[_near(hertz, 6000)] - floor[_near(hertz, 1500)]).item()),
    }


def corpus_statistics(spec: str | Path, limit: int = 200, jobs: int = -1) -> pd.DataFrame:
    """MEASURES of up to ``limit`` recordings of a corpus, evenly taken; one row a recording."""
    corpus = open_corpus(spec)
    chosen = np.linspace(0, len(corpus.manifest) - 1, min(limit, len(corpus.manifest))).astype(int)
    paths = [corpus.root / path for path in corpus.manifest["path"].iloc[chosen]]
    return _table((delayed(_of_file)(path) for path in paths), len(paths), corpus.name, jobs)


def synthesis_statistics(
    limit: int = 200, namespace: str = "pretraining", jobs: int = -1
) -> pd.DataFrame:
    """MEASURES of ``limit`` synthesised clips, each of another species."""
    return _table(
        (delayed(_of_species)(namespace, index) for index in range(limit)),
        limit,
        "synthesised",
        jobs,
    )


def compare(recorded: pd.DataFrame, synthesised: pd.DataFrame) -> pd.DataFrame:
    """Return quantiles of every measure of both, under the measure that differs most first.

    How much is ``apart``: the distance of Kolmogorov and Smirnov, 0 to 1.
    """
    apart = {
        name: ks_2samp(recorded[name].dropna(), synthesised[name].dropna()).statistic
        for name in MEASURES
    }
    tables = {"recorded": recorded, "synthesised": synthesised}
    rows = {
        (measure, name): table[measure].quantile(list(QUANTILES))
        for measure in sorted(MEASURES, key=lambda name: -apart[name])
        for name, table in tables.items()
    }
    quantiles = pd.DataFrame(rows).T.rename(columns=lambda q: f"{q:.0%}").round(1)
    quantiles["apart"] = [round(apart[measure], 2) for measure, _ in quantiles.index]
    return quantiles


def _of_species(namespace: str, index: int) -> dict[str, float]:
    rng = np.random.default_rng([index, 1])
    others = [
        species_for(namespace, int(i)) for i in rng.integers(10**6, size=rng.choice([0, 0, 1, 2]))
    ]
    clip = invent_clip(
        species_for(namespace, index), rng, FINE.clip_seconds, FINE.sample_rate, others
    ).waveform
    return song_statistics(high_pass(clip, FINE.sample_rate, FINE.high_pass_hz))


def _of_file(path: Path) -> dict[str, Any]:
    try:
        return song_statistics(
            read_audio(path, FINE.sample_rate, FINE.high_pass_hz, seconds=LONGEST)
        )
    except AudioError as error:
        return {"refused": f"{path.name}: {error}"}


def _table(tasks: Iterable[Callable], total: int, name: str, jobs: int) -> pd.DataFrame:
    done = Parallel(n_jobs=jobs, return_as="generator", prefer="threads")(tasks)
    table = pd.DataFrame(
        list(tqdm(done, total=total, desc=name, unit="clip")), columns=[*MEASURES, "refused"]
    )
    for reason in table["refused"].dropna():
        print(f"left out: {reason}", file=sys.stderr)
    return table[list(MEASURES)].astype(float)


def _most_active(power: np.ndarray, n_frames: int) -> int:
    """Return the first frame of the clip with most song, by the cube root of its power."""
    total = np.concatenate([[0.0], np.cumsum(np.cbrt(power.sum(axis=0)))])
    return int(np.argmax(total[n_frames:] - total[:-n_frames])) if len(total) > n_frames else 0


def _runs(active: np.ndarray) -> np.ndarray:
    """Return the lengths of the runs of True in (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], active, [False]])))
    return edges[1::2] - edges[::2]


def _band_hertz(audio: AudioSettings) -> np.ndarray:
    from librosa import mel_frequencies

    return mel_frequencies(audio.n_mels + 2, fmax=audio.sample_rate / 2)[1:-1]


def _near(hertz: np.ndarray, wanted: float) -> int:
    return int(np.argmin(np.abs(hertz - wanted)))


@command("interrupted: nothing was written")
def main(argv: Sequence[str] | None = None) -> int:
    """Command line: compare a corpus with synthesised song."""
    parser = argparse.ArgumentParser(
        prog="python -m birdnb.pretraining.song_statistics",
        description="Compare a corpus with synthesised song: quantiles of measures.",
    )
    parser.add_argument("corpus", help="demo, or a folder with recordings")
    parser.add_argument(
        "--clips",
        type=int,
        default=200,
        help="recordings and synthesised clips looked at (default 200)",
    )
    options = parser.parse_args(argv)
    recorded = corpus_statistics(options.corpus, options.clips)
    table = compare(recorded, synthesis_statistics(options.clips))
    table.index = pd.MultiIndex.from_tuples(
        [(MEASURES[measure], name) for measure, name in table.index]
    )
    print(table.to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
