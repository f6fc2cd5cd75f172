"""From a corpus to what training reads: a table of recordings, and spectrograms as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from birdnb.config import AudioSettings, Profile, SplitSettings, key_of, load_profile
from birdnb.corpora import Corpus, open_corpus
from birdnb.corpora.background import background_matrix
from birdnb.corpora.corrections import DROPPED, apply_to, with_corrections
from birdnb.features.cache import build_cache
from birdnb.features.lms import normalise
from birdnb.features.store import LmsCache
from birdnb.files import BirdnbError
from birdnb.split.sides import SIDES, audit_split, check_species, sessions
from birdnb.split.written import sides_of


@dataclass
class Clips:
    """The clips of one side of the split, in memory: N clips of R recordings."""

    lms: torch.Tensor  # (N, 128, T) float16 dB, not normalised; on the CPU or on the model's device
    target: torch.Tensor  # (N,) int64, on the CPU
    recording: torch.Tensor  # (N,) int64, index into recording_ids, on the CPU
    recording_ids: list[str]  # R names
    shares: torch.Tensor | None = None  # (R, C) label shares; None: all of a label is its species

    def __len__(self) -> int:
        return len(self.target)

    def of_recordings(self, keep: Sequence[int]) -> Clips:
        """Keep only the recordings with these indices, numbered again in the order given."""
        place = torch.full((len(self.recording_ids),), -1, dtype=torch.int64)
        place[torch.as_tensor(keep, dtype=torch.int64)] = torch.arange(len(keep))
        rows = torch.nonzero(place[self.recording] >= 0).squeeze(1)  # (n,)
        lms = self.lms[rows.to(self.lms.device)]
        return Clips(
            lms,
            self.target[rows],
            place[self.recording[rows]],
            [self.recording_ids[i] for i in keep],
            None if self.shares is None else self.shares[list(keep)],
        )

    def labels(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the labels of these clips: class numbers (B,), or shares (B, C) if any."""
        return self.target[rows] if self.shares is None else self.shares[self.recording[rows]]


@dataclass
class StudyData:
    """The recordings, spectrograms, split and labels that notebooks and commands share."""

    corpus: Corpus
    profile: Profile
    seed: int
    cache: LmsCache
    table: pd.DataFrame  # one row a usable recording: the manifest's columns, session, side
    labels: list[str]  # sorted species of the study
    species_report: pd.DataFrame  # species, recordings, groups, decision, reason
    fold: tuple[int, int] | None = None  # (k, K), k from 1; None for the single split
    corrections: pd.DataFrame | None = None  # those applied, and the side of their recording

    def side(self, name: str) -> list[str]:
        """Recording ids of "train", "validation" or "test", in the order of the table."""
        if name not in SIDES:
            raise BirdnbError(f"no side {name!r}: choose one of {', '.join(SIDES)}")
        return self.table.loc[self.table["side"] == name, "recording_id"].tolist()

    @property
    def recordings(self) -> pd.DataFrame:
        """Return the table by recording_id, with the cache's segments, starts and sha256."""
        added = self.cache.index.set_index("recording_id")
        table = self.table.set_index("recording_id")
        return table.join(added[added.columns.difference(table.columns)])

    def targets(self, recording_ids: Sequence[str]) -> np.ndarray:
        """Return the index of each recording's species in ``labels``: (R,) int64."""
        number = {label: i for i, label in enumerate(self.labels)}
        species = self.recordings.loc[list(recording_ids), "species"]
        return species.map(number).to_numpy(dtype=np.int64)

    def shares(self, recording_ids: Sequence[str], background: float) -> torch.Tensor:
        """Return label shares (R, C): ``background`` of each goes to species behind it, if any."""
        rows = self.recordings.loc[list(recording_ids)]
        behind = torch.from_numpy(background_matrix(rows, self.labels)).float()  # (R, C)
        own = torch.eye(len(self.labels))[torch.tensor(self.targets(recording_ids))]  # (R, C)
        count = behind.sum(dim=1, keepdim=True)  # (R, 1)
        mixed = (1 - background) * own + background * behind / count.clamp_min(1)
        return torch.where(count > 0, mixed, own)

    def sessions(self, recording_ids: Sequence[str]) -> list[str]:
        """Return the recording session of each recording, in the order given."""
        return self.recordings.loc[list(recording_ids), "session"].tolist()

    def clips(self, name: str, segments: int | None = None) -> Clips:
        """Return the clips of a side, at most ``segments`` of a recording, most active first."""
        ids = self.side(name)
        if not ids:
            raise BirdnbError(
                f"no recording is on the {name} side: the corpus is too small for this split, add "
                f"recordings"
            )
        lms, owner = self.cache.load_many(ids, segments)  # (N, 128, T) float16, (N,)
        recording = torch.as_tensor(owner, dtype=torch.int64)
        target = torch.from_numpy(self.targets(ids)[owner])
        return Clips(torch.from_numpy(lms), target, recording, ids)

    def noise_bank(self) -> torch.Tensor:
        """Return silent stretches of training recordings, (M, 128, T) float16 dB; M may be 0."""
        return torch.from_numpy(self.cache.noise_bank(self.side("train")))

    def origin(self) -> dict[str, Any]:
        """Return where the data come from, for ``config.json`` and ``reopen_study``."""
        corpus = self.corpus
        return {
            "name": corpus.name,
            "layout": corpus.layout,
            "synthetic": corpus.synthetic,
            "folder": str((corpus.folder or corpus.root).resolve()),
            "corrections": str(corpus.corrections_file) if corpus.before else None,
            "split": asdict(self.profile.split),
        }

    def fingerprint(self) -> str:
        """Return a key of the study's recordings (bytes), species, sides and spectrograms."""
        sound = self.recordings["sha256"].tolist()
        rows = [
            self.table[column].tolist() for column in ("recording_id", "species", "session", "side")
        ]
        return key_of(rows, sound, self.labels, self.cache.folder.name, self.cache.audio)


def open_study(
    corpus: str | Path, profile: str | Path | Profile = "laptop", seed: int = 7,
    fold: tuple[int, int] | None = None, progress: bool = True, dask: str | None = None,
) -> StudyData:  # fmt: skip
    """Open corpus, cache and split, checked for leakage; finished parts are reused.

    ``fold`` is (k, K), k from 1: fold k of K grouped folds instead of the single split. The split
    is a table in ``artifacts/splits/<corpus>/``. Species too rare for the split (for folds: with
    fewer than K sessions) are named in ``species_report``. ``dask``: the address of a scheduler
    whose cluster computes spectrograms. Raises BirdnbError when too little is
    left, or a recording session is on two sides.
    """
    if fold is not None and not 1 <= fold[0] <= fold[1]:
        raise BirdnbError(
            f"fold {fold[0]}/{fold[1]} does not exist: give k/K with k from 1 to K, such as 1/4"
        )
    if not isinstance(profile, Profile):
        profile = load_profile(profile, demo=str(corpus) == "demo")
    found = open_corpus(corpus, progress=progress)
    cache = build_cache(found, profile.audio, progress=progress, dask=dask)
    usable = _usable(found, cache)
    rules = profile.split if fold is None else _rules_for_folds(profile.split, fold[1])
    table, report = check_species(usable.assign(session=sessions(usable)), rules)
    if len(table) < len(usable):  # a recording that is gone joins no sessions
        table = table.assign(session=sessions(table[usable.columns]))
    side = sides_of(table, rules, seed, fold, found)
    audit_split(table, side, rules.group_by)
    table = table.assign(side=table["recording_id"].map(side))
    labels, corrections = sorted(table["species"].unique()), None
    if found.corrections is not None:
        table, corrections = apply_to(table, found.manifest, found.corrections, labels)
    return StudyData(found, profile, seed, cache, table, labels, report, fold, corrections)


def _usable(corpus: Corpus, cache: LmsCache) -> pd.DataFrame:
    """Return the manifest of what is in the cache, uncorrected: corrections move no recording."""
    manifest, usable = (corpus.before or corpus).manifest, set(cache.index["recording_id"])
    dropped = cache.quarantine["reason"].str.startswith(DROPPED)
    usable |= set(cache.quarantine["recording_id"][dropped])
    return manifest[manifest["recording_id"].isin(usable)].reset_index(drop=True)


def reopen_study(config: dict[str, Any], progress: bool = True) -> StudyData:
    """Open the data of a run by its ``config.json``, or raise BirdnbError: moved, or changed."""
    origin, fold = config["corpus"], config["fold"]
    spec = "demo" if origin["synthetic"] else origin.get("folder")
    if spec is None:
        raise BirdnbError(
            f"{config['run']} was made before runs wrote down where their recordings are: train it "
            f"again"
        )
    if spec != "demo" and not Path(spec).is_dir():
        raise BirdnbError(
            f"the recordings that {config['run']} was trained on are not at {spec}: put them there "
            f"again, or train it again"
        )
    audio, split = AudioSettings(**config["audio"]), SplitSettings(**origin.get("split", {}))
    profile = Profile(config["profile"], audio, split, {})
    with with_corrections(origin.get("corrections")):
        data = open_study(spec, profile, config["seed"], tuple(fold) if fold else None, progress)
    if data.fingerprint() != config["split"]:
        raise BirdnbError(
            f"the recordings, their labels or the split at {spec} are others than those that "
            f"{config['run']} was trained on: train it again"
        )
    return data


class AudioSpectrogramDataset(Dataset):
    """Items for a plain DataLoader: (LMS (128, T) float32 normalised, label int).

    ``table`` has recording_id, path and species; ``root`` is the folder the paths are relative to.
    With a cache every cached segment (at most ``segments`` of a recording) is an item. Without one
    the most active clip of each recording is computed when it is asked for, which is slow, and said
    once. Training itself reads ``StudyData.clips`` instead.
    """

    def __init__(
        self, table: pd.DataFrame, labels: Sequence[str], audio: AudioSettings, *, root: Path | str,
        cache: LmsCache | None = None, normalisation: str = "standard", segments: int | None = None,
    ) -> None:  # fmt: skip
        unknown = sorted(set(table["species"]) - set(labels))
        if unknown:
            raise BirdnbError(
                f"species {unknown[0]!r} is not among the {len(labels)} labels: leave its "
                f"recordings out"
            )
        self.audio, self.root = audio, Path(root)
        self.cache, self.normalisation = cache, normalisation
        number = {label: i for i, label in enumerate(labels)}
        self.recordings = [
            (r, p, number[s])
            for r, p, s in zip(table["recording_id"], table["path"], table["species"], strict=True)
        ]
        if cache is None:
            print(
                f"no cache: the spectrograms of {len(table)} recordings are computed when they are "
                f"asked for"
            )
            counts = [1] * len(table)
        else:
            held = cache.index.set_index("recording_id")["segments"]
            counts = held.loc[table["recording_id"]].clip(upper=segments).tolist()
        # (recording, segment)
        self.items = [(i, k) for i, count in enumerate(counts) for k in range(count)]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, int]:
        """Return one clip and its label."""
        i, segment = self.items[item]
        recording, path, label = self.recordings[i]
        held = self.cache.load(recording)[segment] if self.cache else self._compute(path)
        lms = torch.from_numpy(np.array(held, dtype=np.float32))  # (128, T) dB
        return normalise(lms, self.normalisation), label

    def _compute(self, path: str) -> np.ndarray:
        from birdnb.features.extract import extract  # needs the audio libraries; the cache does not

        return extract(self.root / path, self.audio).lms[0]


def _rules_for_folds(rules: SplitSettings, k: int) -> SplitSettings:
    # a species needs a session for each of K folds; check_species names those with fewer
    return replace(
        rules, min_groups=max(rules.min_groups, k), min_recordings=max(rules.min_recordings, k)
    )
