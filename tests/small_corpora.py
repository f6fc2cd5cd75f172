"""Small folders of recordings, and tables of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from birdnb.config import AudioSettings, load_profile
from birdnb.corpora import Corpus, open_corpus
from birdnb.corpora.table import COLUMNS
from birdnb.features.cache import build_cache


def put(root: Path, *names: str) -> Path:
    """Write files that are no sound but each of its own content; return their folder."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"sound of " + os.fsencode(name))
    return root


def reasons(corpus: Corpus) -> dict[str, str]:
    """Return why files are left out, by their path."""
    return dict(zip(corpus.left_out["path"], corpus.left_out["reason"], strict=True))


def manifest_of(**columns: list[str]) -> pd.DataFrame:
    """Return a manifest of r0, r1, ... with these columns, empty texts in the others."""
    n = len(next(iter(columns.values())))
    table = pd.DataFrame(columns).reindex(columns=COLUMNS, fill_value="")
    table["recording_id"] = [f"r{i}" for i in range(n)]
    return table


def whistlers(root: Path, species: dict[str, float], each: int) -> Path:
    """Write so many recordings of 4 s of each species, which whistles at its pitch [Hz]."""
    t = np.arange(4 * 22050) / 22050
    for name, hertz in species.items():
        (root / name).mkdir(parents=True)
        for i in range(each):
            noise = np.random.default_rng(i).normal(size=len(t))
            song = 0.3 * np.sin(2 * np.pi * hertz * t) * (t % 0.5 < 0.25) + 0.003 * noise
            soundfile.write(root / name / f"{name[0]}{i}.wav", song, 22050)
    return root


def extracted(root: Path, audio: AudioSettings | None = None) -> Path:
    """Compute the spectrograms of a corpus here, without workers; return its folder."""
    audio = audio or load_profile("laptop").audio
    build_cache(open_corpus(root, progress=False), audio, jobs=1, progress=False)
    return root
