"""From a corpus to what training reads: a table of recordings, and spectrograms as tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from birdnb import __version__
from birdnb.config import AudioSettings, Profile, SplitSettings, key_of, load_profile
from birdnb.corpora import Corpus, open_corpus
from birdnb.features.cache import build_cache
from birdnb.features.lms import normalise
from birdnb.features.store import LmsCache
from birdnb.files import BirdnbError, artifacts_dir, write_text
from birdnb.split.shuffling import shuffled_sides
from birdnb.split.sides import SIDES, audit_split, check_species, make_folds, make_split, sessions


@dataclass
class Clips:
    """The clips of one side of the split, in memory: N clips of R recordings."""

    lms: torch.Tensor  # (N, 128, T) float16 dB, not normalised; on the CPU or on the model's device
    target: torch.Tensor  # (N,) int64, on the CPU
    recording: torch.Tensor  # (N,) int64, index into recording_ids, on the CPU
    recording_ids: list[str]  # R names

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
        )


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
    corpus: str | Path,
    profile: str | Path | Profile = "laptop",
    seed: int = 7,
    fold: tuple[int, int] | None = None,
    progress: bool = True,
    dask: str | None = None,
) -> StudyData:
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
    profile = (
        profile
        if isinstance(profile, Profile)
        else load_profile(profile, demo=str(corpus) == "demo")
    )
    found = open_corpus(corpus, progress=progress)
    cache = build_cache(found, profile.audio, progress=progress, dask=dask)
    usable = found.manifest[
        found.manifest["recording_id"].isin(set(cache.index["recording_id"]))
    ].reset_index(drop=True)
    rules = profile.split if fold is None else _rules_for_folds(profile.split, fold[1])
    table, report = check_species(usable.assign(session=sessions(usable)), rules)
    if len(table) < len(usable):  # a recording that is gone joins no sessions
        table = table.assign(session=sessions(table[usable.columns]))
    side = _sides(table, rules, seed, fold, found)
    audit_split(table, side, rules.group_by)
    table = table.assign(side=table["recording_id"].map(side))
    return StudyData(
        found, profile, seed, cache, table, sorted(table["species"].unique()), report, fold
    )


def reopen_study(config: dict[str, Any], progress: bool = True) -> StudyData:
    """Open the data that a run was trained on, from its ``config.json``.

    Raises BirdnbError when the recordings are no longer where they were, or no longer the same.
    """
    origin, fold = config["corpus"], config["fold"]
    spec = "demo" if origin["synthetic"] else origin.get("folder", "(unknown)")
    if spec != "demo" and not Path(spec).is_dir():
        raise BirdnbError(
            f"the recordings that {config['run']} was trained on are not at {spec}: put them there "
            f"again, or train it again"
        )
    audio, split = AudioSettings(**config["audio"]), SplitSettings(**origin.get("split", {}))
    profile = Profile(config["profile"], audio, split, {})
    data = open_study(spec, profile, config["seed"], tuple(fold) if fold else None, progress)
    if data.fingerprint() != config["split"]:
        raise BirdnbError(
            f"the recordings or the split at {spec} are others than those that {config['run']} was "
            f"trained on: train it again"
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
        self,
        table: pd.DataFrame,
        labels: Sequence[str],
        audio: AudioSettings,
        *,
        root: Path | str,
        cache: LmsCache | None = None,
        normalisation: str = "standard",
        segments: int | None = None,
    ) -> None:
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


def _sides(
    table: pd.DataFrame,
    rules: SplitSettings,
    seed: int,
    fold: tuple[int, int] | None,
    corpus: Corpus,
) -> pd.Series:
    """Return the side of each recording: as in the artifacts, or made now and written there."""
    columns = ["recording_id", "species", "recordist", "session"]
    shuffled = rules.shuffle_seed is not None and not fold
    rows = pd.util.hash_pandas_object(table[columns], index=False).to_numpy().tobytes()
    what = [hashlib.sha256(rows).hexdigest(), rules, seed, fold[1] if fold else None, __version__]
    what += [corpus.manifest["recordist"].tolist()] if shuffled else []
    folder = artifacts_dir() / "splits" / corpus.name
    names = [f"fold-{k}-of-{fold[1]}" for k in range(1, fold[1] + 1)] if fold else ["split"]
    paths = [folder / f"seed{seed}-{key_of(*what)}" / f"{name}.csv" for name in names]
    path = paths[fold[0] - 1 if fold else 0]
    if not path.exists():
        if fold:
            splits = make_folds(table, rules, seed, fold[1])
        elif shuffled:
            splits = [shuffled_sides(table, rules, corpus.manifest)]
        else:
            splits = [make_split(table, rules, seed)]
        for target, side in zip(paths, splits, strict=True):
            rows = table[["recording_id", "species", "session"]].assign(
                side=table["recording_id"].map(side)
            )
            write_text(target, rows.to_csv(index=False, lineterminator="\n"))
    written = pd.read_csv(path, dtype=str, keep_default_na=False)
    whole = {"recording_id", "side"} <= set(written) and written["side"].isin(SIDES).all()
    if not whole or list(written["recording_id"]) != list(table["recording_id"]):
        raise BirdnbError(f"{path} is damaged: delete it, the split is made again")
    return written.set_index("recording_id")["side"]
