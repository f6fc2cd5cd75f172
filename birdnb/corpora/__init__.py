"""Corpora: ``open_corpus`` turns a folder into a checked manifest, and says what it left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pandas as pd

from birdnb.corpora import birdclef, birdset, folders
from birdnb.corpora.corrections import applicable, corrected, corrections_file, read_corrections
from birdnb.corpora.labels import spelling_notes
from birdnb.corpora.sniff import is_audio
from birdnb.corpora.table import UNLISTED, check_manifest
from birdnb.corpora.walking import walk
from birdnb.corpora.xeno_canto import dump as xeno_canto_dump
from birdnb.corpora.xeno_canto.facts import with_facts
from birdnb.files import BirdnbError, artifacts_dir, distinct_name, user_path, whole_path


@dataclass(frozen=True)
class Corpus:
    """Recordings to learn from, and what was left out of their table."""

    name: str  # safe as a file name
    root: Path  # the manifest's paths are relative to it
    manifest: pd.DataFrame  # checked, a row a recording, text, missing = ""; columns: table.COLUMNS
    left_out: pd.DataFrame  # refused already from the table: recording_id, path, species, reason
    layout: str  # "manifest.csv", "BirdCLEF", ...
    synthetic: bool = False  # True: invented songs, results say nothing about real birds
    notes: tuple[str, ...] = ()  # sentences on labels, and on what was filled in
    folder: Path | None = None  # that was opened; another than root where sound had to be unpacked
    before: Corpus | None = None  # as the folder says it, where corrections were applied
    corrections: pd.DataFrame | None = None  # those that were: corrections.COLUMNS
    corrections_file: Path | None = None  # where they stand


@dataclass(frozen=True)
class Layout:
    """A kind of folder: what it is called, what to look for, how to tell, and how to read it."""

    name: str
    looked_for: str
    recognise: Callable[[Path], bool]
    read: Callable[[Path, bool], folders.Source]


LAYOUTS = [  # the first that recognises a folder reads it
    Layout("manifest.csv", "manifest.csv", folders.is_manifest, folders.read_manifest_folder),
    Layout(
        "BEANS CBI",
        "train.csv with ebird_code, recordist and sci_name beside train_audio/",
        birdclef.is_cbi,
        birdclef.read_birdclef,
    ),
    Layout(
        "BirdCLEF",
        "train_metadata.csv or train.csv beside train_audio/ or train_short_audio/",
        birdclef.is_birdclef,
        birdclef.read_birdclef,
    ),
    Layout(
        "BirdSet", "*.parquet with the column ebird_code", birdset.is_birdset, birdset.read_birdset
    ),
    Layout(
        "Xeno-Canto JSON",
        "*.json pages or *.csv tables of Xeno-Canto's records beside XC123.mp3 or 123.mp3",
        xeno_canto_dump.is_dump,
        xeno_canto_dump.read_dump,
    ),
    Layout(
        "species folders",
        "one folder a species with audio files in it",
        folders.is_species_folders,
        folders.read_species_folders,
    ),
]


def open_corpus(spec: str | Path, progress: bool = True) -> Corpus:
    """Open a folder, whose layout is recognised, or ``demo``, which is synthesised on the spot.

    The corpus is called after its folder. Corrections that the command was told to apply are
    applied, and it is called ``<folder>-corrected``. Raises BirdnbError when there is no such
    folder, when its layout is none of the known ones, or when nothing in it can be used.
    """
    corpus, path = _open(spec, progress), corrections_file()
    if path is None:
        return corpus
    corrections = read_corrections(path)
    manifest, gone, notes = corrected(corpus.manifest, corrections)
    return replace(
        corpus, name=corpus_name(spec), manifest=manifest, before=corpus,
        left_out=pd.concat([corpus.left_out, gone], ignore_index=True),
        notes=(*corpus.notes, *notes), corrections=applicable(corpus.manifest, corrections),
        corrections_file=path,
    )  # fmt: skip


def _open(spec: str | Path, progress: bool) -> Corpus:
    name = _plain_name(spec)
    if name == "demo":
        from birdnb.synthetic.demo import make_demo

        demo = artifacts_dir() / "corpora" / "demo"
        make_demo(demo, progress=progress)
        return _open_folder(demo, name, progress, synthetic=True)
    root = user_path(spec)
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise BirdnbError(
            f"the corpus {str(spec)!r} {what} (looked for {root.absolute()}): give a folder, or "
            f"demo"
        )
    return _open_folder(root, name, progress)


def corpus_name(spec: str | Path) -> str:
    """Return the name of a corpus: ``demo``, or that of its folder made safe as a file name.

    Where letters are lost, names are told apart by digits of their hash. With corrections it
    is another corpus, ``demo-corrected``, so that results before and after stand side by side.
    """
    return _plain_name(spec) + ("-corrected" if corrections_file() else "")


def _plain_name(spec: str | Path) -> str:
    if str(spec) == "demo" or whole_path(spec) == (artifacts_dir() / "corpora" / "demo").resolve():
        return "demo"
    folder = whole_path(spec).name
    name = distinct_name(folder)
    return "demo_folder" if name == "demo" else name


def _open_folder(root: Path, name: str, progress: bool, synthetic: bool = False) -> Corpus:
    layout = _layout_of(root)
    source = layout.read(root, progress)
    table, found = with_facts(source.table, root)
    manifest, refused = check_manifest(table, source.root)
    # a file found under another spelling of its path was no stranger to the table
    named = source.left_out["path"].isin({*manifest["path"], *refused["path"]})
    others = source.left_out[~(named & (source.left_out["reason"] == UNLISTED))]
    left_out = pd.concat([refused, others], ignore_index=True)
    if manifest.empty:
        counts = left_out["reason"].value_counts().head(5)
        summary = "; ".join(f"{count} x {reason}" for reason, count in counts.items()) or "no rows"
        raise BirdnbError(f"nothing in the corpus {root} can be used ({summary})")
    notes = (*spelling_notes(table["species"], manifest["species"]), *found)
    return Corpus(name, source.root, manifest, left_out, layout.name, synthetic, notes, root)


def _layout_of(root: Path) -> Layout:
    for layout in LAYOUTS:
        if layout.recognise(root):
            return layout
    looked = "".join(f"\n  {layout.name}: {layout.looked_for}" for layout in LAYOUTS)
    try:
        names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in root.iterdir())
    except OSError as error:
        raise BirdnbError(
            f"{root} may not be read ({error.strerror}): give yourself the right to"
        ) from error
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    there = ", ".join(names[:8]) + more if names else "nothing"
    raise BirdnbError(
        f"{root} is no corpus of a kind known here. Looked in it for:{looked}\nbut found "
        f"{there}{_advice(root, names)}"
    )


def _advice(root: Path, names: list[str]) -> str:
    """Return what to do with a folder of no known layout; "" if nobody knows."""
    inside = [
        f"{name} ({layout.name})"
        for name in [name for name in names if name.endswith("/") and name[0] != "."][:20]
        for layout in [next((one for one in LAYOUTS if one.recognise(root / name)), None)]
        if layout
    ]
    advice = [f"\ngive a folder in it, which is a corpus: {' or '.join(inside)}"] if inside else []
    if any(is_audio(root / name) for name in names):
        advice.append(
            "\nput the recordings of each species into a folder named after it, such as "
            "Turdus merula/"
        )
    if not advice and (deep := _first_with_audio(root)):
        advice = [
            f"\nrecordings lie deeper, as in {deep}/: give the folder around it, or move the "
            "species folders up, directly into the folder given"
        ]
    return "".join(advice)


def _first_with_audio(root: Path) -> str:
    """Return a folder under ``root`` that holds audio; "" if none of the first thousand does."""
    for parent, _, names in islice(walk(root), 1000):
        if any(is_audio(f"{parent}/{name}") for name in names):
            return Path(parent).relative_to(root).as_posix()
    return ""
