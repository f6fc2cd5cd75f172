"""Tell by their names which files come from one recording: other formats, copies, pieces.

``XC7.mp3`` beside ``XC7.wav``; ``XC7_1.wav`` and ``XC7_2.wav``; the segments that BirdNET cuts. The
rules are careful: ``robin 1.wav`` and ``robin 2.wav`` are two recordings.
"""

import os
import posixpath
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd

from birdnb.corpora.sniff import AUDIO_SUFFIXES

# Xeno-Canto, Macaulay Library, iNaturalist, Colombian Sound Archive
ARCHIVES = re.compile(
    r"(?<![a-z0-9])(?:(xc|inat|csa)(?:uralist)?[ _-]?(\d+)|(ml)[ _-]?(\d{4,}))(?!\d)"
)
ADDRESSES = {
    "xc": re.compile(r"xeno-canto\.org/(\d+)"),
    "ml": re.compile(r"macaulaylibrary\.org/(?:asset|audio)/(\d+)"),
    "inat": re.compile(r"inaturalist\.\w+/observations/(\d+)"),
}
# 123456.mp3 and warbleR's Genus-species-123456.mp3 may be XC123456.mp3
BARE = re.compile(r"(?:[a-z]+[-_ ][a-z]+[-_ ])?([1-9]\d{4,8})")
# what stands for one recording in whatever folder the file lies: a day with a time, a long number
MOMENT = r"(?:19|20)\d\d-?\d\d-?\d\d[-_t ]{0,3}\d\d[-.h]?\d\d(?:[-.m]?\d\d)?"
OWN = re.compile(rf"(?<!\d)(?>{MOMENT}|[1-9]\d{{5,6}}|[1-9]\d{{8,}})(?!\d)")

_SEC = r"\d+(?:[.,]\d+)?"
_WORD = r"(?:chunk|part|piece|seg|segment|snippet|slice|split|excerpt|fragment|teil)"
_COPY = r"(?:copy|kopie|copie|copia)"
_RATE = r"(?:8|11|12|16|22|24|32|44|48|96)(?:[.,]\d+)? ?khz"
_DONE = (
    r"mono(?:\d+k)?|stereo|filtered|denoised|noisy|resampled|converted|cleaned|clean|edited|edit|"
    r"trimmed|trim|cropped|clipped|processed|amplified|enhanced|compressed|boosted|isolated|"
    r"shifted|stretched|slowed|slow|normali[sz]ed|norm|final|original|raw|backup|bak|louder|loud|"
    r"aug\w*|pitch\w*|noise[ _-]?reduc\w*|(?:high|low|band)[ _-]?pass(?:ed)?|[hlb]pf|v\d+|\d+k|"
    rf"{_RATE}|(?:16000|22050|32000|44100|48000)(?:hz)?"
)
PIECES = [re.compile(pattern) for pattern in (
    rf"[01][.,]\d+_\d+_(?P<of>.+)_{_SEC}s?_{_SEC}s?",  # BirdNET: confidence, number, file, seconds
    rf"(?P<of>.+?)[ _@-]+[(\[]?(?:{_SEC} ?m?s?(?:ec)?[ _-]+)?{_SEC} ?m?s(?:ec)?[)\]]?",  # rec_0-5s
    r"(?P<of>.+?)[ _-]+\d+[.,]\d+[ _-]+\d+[.,]\d+",  # rec_0.0_5.0
    r"(?P<of>.+?)[ _-]+\d+m\d+s[ _-]+\d+m\d+s",  # rec_00m00s__00m05s
    rf"(?P<of>.+?)[ _-]+start[ _-]?{_SEC}s?[ _-]+end[ _-]?{_SEC}s?",
    rf"(?P<of>.+?)[ ._-]*{_WORD}[ _-]?\(?\d+\)?(?:[ _-]?of[ _-]?\d+)?",
    rf"{_WORD}[ _-]?\d+[ _-]+(?P<of>.+)",
    r"(?P<of>.+?)[ ._-]+\d+[ _-]?of[ _-]?\d+",
    r"(?P<of>.*\d.*?)[ _-]+(?:clip|cut|crop|window|win|frame)[ _-]?\d+",
    r"(?P<of>.+?)[ _-]+(?:left|right|l|r|lr|tr\d+|trlr|ch(?:annel)?[ _-]?\d)",
    rf"(?P<of>.+?)[ _-]+{_RATE}",
    rf"(?P<of>.+?)(?: - |[ _-]){_COPY}(?: ?\(?\d+\)?)?",
    rf"(?P<of>.+?) \((?:\w+ )?{_COPY}\)",  # robin (another copy), robin (3rd copy)
    rf"{_COPY} (?:of|von|de) (?P<of>.+)",
)]  # fmt: skip
# pieces, copies and versions only where the name in front is a recording's own, or a file here
AFTER_OWN = [
    re.compile(pattern)
    for pattern in (r"(?P<of>.+?) ?\(\d+\)", rf"(?P<of>.+)[ ._-]+(?:{_DONE})", r"(?P<of>.+)~\d+")
]
NUMBERED = re.compile(rf"(?P<of>.*(?:{OWN.pattern}))[ _-](?:\d{{1,3}}|[a-z])")
INTERVAL = re.compile(r"(?P<of>.+?)[ _-](\d+)[ _-](\d+)")


@dataclass(frozen=True)
class _File:
    """Where a file lies and what it is called, in one way of writing."""

    folder: str
    stem: str
    suffix: str
    species: str
    place: str
    numbers: frozenset[str]  # of archives


def source_links(manifest: pd.DataFrame) -> list[tuple[int, str]]:
    """Return (row number, key) pairs: rows that share a key are of one recording.

    Only keys that several rows share come back. ``manifest`` has recording_id, path, species, url
    and locality; numbers of archives are looked for in the id and the address, too.
    """
    files = _files(manifest)
    links = [(row, number) for row, file in enumerate(files) for number in sorted(file.numbers)]
    named = {row: file for row, file in enumerate(files) if file.stem and not file.numbers}
    here = {(file.folder, file.stem) for file in files}
    bases = {row: _base(file.folder, file.stem, here) for row, file in named.items()}
    for row, base in bases.items():
        own = OWN.search(base)
        place = files[row].place if own else files[row].folder
        links.append((row, f"{place}/{_digits_of_moments(base) if own else base}"))
        if number := BARE.fullmatch(base):
            links += [(row, archive + number[1]) for archive in ADDRESSES]
    links += _other_folders(named, bases) + _intervals(named)
    shared = Counter(key for _, key in links)
    return [(row, key) for row, key in links if shared[key] > 1]


def archive_numbers(manifest: pd.DataFrame) -> list[dict[str, set[int]]]:
    """Return each row's numbers in archives ("xc", "ml", "inat", "csa"), by name and address.

    ``manifest`` has the columns of ``source_links``. A bare number in a file's name is no archive's
    as long as nothing says so.
    """
    found: list[dict[str, set[int]]] = []
    for file in _files(manifest):
        numbers: dict[str, set[int]] = {}
        for text in file.numbers:
            archive = text.rstrip("0123456789")
            numbers.setdefault(archive, set()).add(int(text[len(archive) :]))
        found.append(numbers)
    return found


def _files(manifest: pd.DataFrame) -> list[_File]:
    columns = ("path", "species", "locality", "recording_id", "url")
    return [_file(*row) for row in zip(*(manifest[name] for name in columns), strict=True)]


@lru_cache(maxsize=2**18)
def _file(path: str, species: str, place: str, name: str, url: str) -> _File:
    plain = posixpath.normpath(path) if "./" in path or "//" in path else path
    folder, _, stem = _plain(plain).rpartition("/")
    suffixes = []
    while (suffix := os.path.splitext(stem)[1]) in AUDIO_SUFFIXES:  # robin.wav.mp3
        suffixes.append(suffix)
        stem = stem.removesuffix(suffix)
    return _File(
        folder, stem, "".join(suffixes), _plain(species), _plain(place),
        frozenset(_archive_numbers(f"{stem} | {_plain(name)}", url)),
    )  # fmt: skip


def _digits_of_moments(base: str) -> str:
    """Write moments in one way: 2023-05-12 05-00-00 and 20230512T050000Z are 20230512050000."""
    return re.sub(rf"{MOMENT}z?", lambda moment: re.sub(r"\D", "", moment[0]), base)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().strip()


def _archive_numbers(names: str, url: str) -> set[str]:
    found = {
        f"{match[1] or match[3]}{int(match[2] or match[4])}" for match in ARCHIVES.finditer(names)
    }
    for archive, pattern in ADDRESSES.items():
        found |= {f"{archive}{int(match[1])}" for match in pattern.finditer(url.casefold())}
    return found


def _base(folder: str, stem: str, here: set[tuple[str, str]]) -> str:
    """Return what a file's name says without the words that mark a piece, a copy or a version."""
    while True:
        found = [
            of for of, sure in _shorter(stem) if sure or OWN.search(of) or (folder, of) in here
        ]
        if not found:
            return stem
        stem = found[0]


@lru_cache(maxsize=2**18)
def _shorter(stem: str) -> tuple[tuple[str, bool], ...]:
    """Return what a name may be a piece of, and whether that is sure by the name alone."""
    found = [
        (match["of"].strip(" ._-"), pattern not in AFTER_OWN)
        for pattern in [*PIECES, NUMBERED, *AFTER_OWN]
        if (match := pattern.fullmatch(stem))
    ]
    for of in [of for of, sure in found if of and not sure]:
        found += [(further, False) for further, _ in _shorter(of)]  # robin_denoised_16k
    return tuple(pair for pair in found if pair[0])


def _other_folders(named: dict[int, _File], bases: dict[int, str]) -> list[tuple[int, str]]:
    """Link files of one name and species in different formats, each format once: mp3/a, wav/a."""
    groups: dict[tuple[str, str], list[int]] = {}
    for row, file in named.items():
        groups.setdefault((file.species, bases[row]), []).append(row)
    return [
        (row, f"{species}: {base} in several formats")
        for (species, base), rows in groups.items()
        if 1 < len(rows) == len({named[row].suffix for row in rows})
        for row in rows
    ]


def _intervals(named: dict[int, _File]) -> list[tuple[int, str]]:
    """Link files whose names end in numbers that follow on one another: rec_0_5, rec_5_10."""
    groups: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    for row, file in named.items():
        if match := INTERVAL.fullmatch(file.stem):
            group = groups.setdefault((file.folder, match["of"]), [])
            group.append((int(match[2]), int(match[3]), row))
    links = []
    for (folder, base), spans in groups.items():
        lengths = {end - start for start, end, _ in spans}
        starts = {start for start, _, _ in spans}
        follow = any(end in starts for _, end, _ in spans)
        if len(lengths) == 1 and min(lengths) > 1 and follow:
            links += [(row, f"{folder}/{base} in spans") for _, _, row in spans]
    return links
