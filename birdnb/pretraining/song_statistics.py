"""Measure how near invented song comes to recorded song, by quantiles over spectrograms.

``python -m birdnb.pretraining.song_statistics CORPUS`` prints the table; with ``--blind`` it draws
both for eyes to tell apart.
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.stats import ks_2samp
from tqdm import tqdm

from birdnb.command import command, parse_seed, positive
from birdnb.config import AudioSettings
from birdnb.corpora import open_corpus
from birdnb.features.audio import read_audio
from birdnb.features.decoders import AudioError
from birdnb.features.lms import high_pass, log_mel
from birdnb.files import BirdnbError, user_path, write_text
from birdnb.plots.sound import spectrogram_grid
from birdnb.plots.style import save
from birdnb.pretraining.clips import NAMESPACE, OTHERS
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
    lms, floor = _most_active(log_mel(waveform, audio), audio.n_frames)  # (M, T), (M, 1)
    power, noise = _above(lms, floor)
    hertz, noise_power = _band_hertz(audio), float(noise.sum())
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
    limit: int = 200, namespace: str = NAMESPACE, jobs: int = -1
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


def blind_test(spec: str | Path, path: Path, seed: int = 7, pairs: int = 12) -> Path:
    """Draw recorded and invented clips in a random order to a PNG, and their names to a CSV beside.

    ``pairs`` of each, as log-mel spectrograms over the floor of their bands: who names every one
    right sees what still gives invented song away. Raises BirdnbError for a corpus of fewer files.
    """
    corpus, rng = open_corpus(spec), np.random.default_rng(seed)
    files = (corpus.root / file for file in rng.permutation(corpus.manifest["path"]))
    clips = list(itertools.islice(_long_enough(files), pairs))
    if len(clips) < pairs:
        raise BirdnbError(
            f"{corpus.name} has {len(clips)} recordings of {FINE.clip_seconds:g} s or more: "
            f"{pairs} are needed"
        )
    numbers = rng.choice(10**6, pairs, replace=False)
    clips += [(f"invented species {number}", _invent(NAMESPACE, int(number))) for number in numbers]
    clips = [clips[i] for i in rng.permutation(len(clips))]
    shown = [_most_active(log_mel(clip, FINE), FINE.n_frames) for _, clip in clips]
    titles = [f"{number}" for number in range(1, len(clips) + 1)]
    figure = spectrogram_grid([np.maximum(lms - floor, 0) for lms, floor in shown], titles, FINE)
    answers = pd.DataFrame({"number": titles, "what": [name for name, _ in clips]})
    write_text(path.with_suffix(".csv"), answers.to_csv(index=False))
    return save(figure, path.with_suffix(".png"))


def _long_enough(files: Iterable[Path]) -> Iterator[tuple[str, np.ndarray]]:
    """Read the files that fill a clip: (name, waveform); shorter ones would be known by that."""
    for file in files:
        try:
            waveform = _read(file)
        except AudioError as error:
            print(f"left out: {file.name}: {error}", file=sys.stderr)
        else:
            if len(waveform) >= FINE.clip_seconds * FINE.sample_rate:
                yield file.name, waveform


def _of_species(namespace: str, index: int) -> dict[str, float]:
    return song_statistics(_invent(namespace, index))


def _invent(namespace: str, index: int) -> np.ndarray:
    """Return a high-passed clip of a species with others."""
    rng = np.random.default_rng([index, 1])
    others = [species_for(namespace, int(i)) for i in rng.integers(10**6, size=rng.choice(OTHERS))]
    clip = invent_clip(
        species_for(namespace, index), rng, FINE.clip_seconds, FINE.sample_rate, others
    ).waveform
    return high_pass(clip, FINE.sample_rate, FINE.high_pass_hz)


def _read(path: Path) -> np.ndarray:
    return read_audio(path, FINE.sample_rate, FINE.high_pass_hz, seconds=LONGEST)


def _of_file(path: Path) -> dict[str, Any]:
    try:
        return song_statistics(_read(path))
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


def _most_active(lms: np.ndarray, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the clip with most song, by the cube root of its power, and the floor of each band."""
    floor = np.quantile(lms, 0.25, axis=1, keepdims=True)
    total = np.concatenate([[0.0], np.cumsum(np.cbrt(_above(lms, floor)[0].sum(axis=0)))])
    first = int(np.argmax(total[n_frames:] - total[:-n_frames])) if len(total) > n_frames else 0
    return lms[:, first : first + n_frames], floor


def _above(lms: np.ndarray, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the power (M, T) of what stands out of its band, and that of the noise (M, 1)."""
    noise = 10 ** ((floor + 1.5) / 10)  # the quarter quantile of noise lies below its mean
    return np.where(lms > floor + 10, 10 ** (lms / 10) - noise, 0.0), noise


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
        type=positive,
        default=200,
        help="recordings and synthesised clips looked at (default 200)",
    )
    parser.add_argument(
        "--blind",
        type=user_path,
        metavar="PNG",
        help="instead draw twelve recorded and twelve invented clips in a random order, "
        "with the answers in a CSV beside: which are which?",
    )
    parser.add_argument("--seed", type=parse_seed, default=7, help="of that order (default 7)")
    options = parser.parse_args(argv)
    if options.blind:
        print(blind_test(options.corpus, options.blind, options.seed))
        return 0
    recorded = corpus_statistics(options.corpus, options.clips)
    table = compare(recorded, synthesis_statistics(options.clips))
    table.index = pd.MultiIndex.from_tuples(
        [(MEASURES[measure], name) for measure, name in table.index]
    )
    print(table.to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
