"""The demo corpus: invented birds, recorded by invented people, as real audio files."""

import contextlib
import csv
import datetime
import io
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from joblib import Parallel, delayed
from tqdm import tqdm

from birdnb.files import BirdnbError, atomic_path, sweep, write_json, write_text
from birdnb.synthetic.soundscape import Recorder, Site, invent_recorder, invent_site, perform
from birdnb.synthetic.species import FAMILY, Species, individual, species_for

# raise it when the same seed gives other samples: corpora made before are then made anew
VERSION = 6
NAMESPACE = "demo"  # of the species; pretraining uses another one
# founders of six families in it: every way of singing, four families in the same range
CHOSEN = (6, 26, 24, 4, 8, 2)
COLUMNS = (
    "recording_id", "path", "species", "common_name", "recordist", "date", "locality", "license",
    "url", "quality",
    "background_species",
)  # fmt: skip
NAMES = (
    "Amber Quibbet", "Dusk Quibbet", "Bog Tillow", "Fen Tillow", "Chalk Whirret", "Slate Whirret",
    "Ember Zinglet", "Glass Zinglet", "Juniper Plonder", "Kelp Plonder", "Hollow Rasket",
    "Lantern Rasket",
)  # fmt: skip
# what species beyond these are called: siblings share a noun, which counts in syllables
FIRST = ("Ashen", "Silver", "Russet", "Pale", "Ivory", "Copper", "Misty", "Golden")
SYLLABLES = ("ba", "dro", "fi", "gu", "ke", "la", "mo", "nu", "pi", "ra", "so", "ti", "vu", "ze")
RECORDISTS = (
    "Ada Fernhill", "Bo Lindqvale", "Cleo Marrowby", "Dov Heathering", "Esi Quartzman",
    "Finn Oatley-Moss",
    "Gia Thistlewick", "Hal Brackenbury", "Ines Dellacove", "Jun Harborough", "Kit Sallowfield",
    "Lev Undermere",
)  # fmt: skip
LOCALITIES = (
    "Mossgate Wood", "Lake Ondrell", "Pell Ridge", "Saltwick Marsh", "Upper Yarrowdale",
    "Ninefold Orchard",
)  # fmt: skip
RATES = (22050, 32000, 44100, 48000)
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
DEFECTS = ("empty", "truncated", "silent", "too_short", "short", "not_audio")


@dataclass(frozen=True)
class Visit:
    """A recordist at a place on a date: one site, and one individual of each species."""

    number: int
    recordist: int
    locality: str
    date: str


@dataclass(frozen=True)
class Take:
    """One recording to be made."""

    number: int
    species: int
    background: tuple[int, ...]  # species faintly heard
    visit: Visit
    snr: float  # [dB]
    seconds: float
    sample_rate: int
    channels: int
    suffix: str
    defect: str = ""  # one of DEFECTS, or none

    @property
    def recording_id(self) -> str:
        """Unique, and safe as a file name."""
        return f"DEMO{self.number:04d}"


def make_demo(
    root: Path, seed: int = 7, progress: bool = True, *, species: int = 12, recordings: int = 30,
    jobs: int = -1,
) -> None:  # fmt: skip
    """Write the demo corpus under ``root``: ``audio/*`` and, last of all, ``manifest.csv``.

    The same arguments give the same samples. Files that are already there are kept, so that a
    killed call can be repeated; a finished corpus of the same recipe is left as it is. Raises
    BirdnbError when ``root`` holds something else, or for no species or recordings.
    """
    if species < 1 or recordings < 1:
        raise BirdnbError(
            f"a demo corpus of {species} species with {recordings} recordings each is empty: give "
            f"1 or more of both"
        )
    root = Path(root)
    recipe = {"birdnb_demo": VERSION, "seed": seed, "species": species, "recordings": recordings}
    if _prepare(root, recipe):
        return
    takes = plan(seed, species, recordings)
    missing = [take for take in takes if not (root / _path(take)).exists()]
    work = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=4)(
        delayed(_make)(root, take, seed) for take in missing
    )
    quiet = {} if progress else {"disable": True}  # left out, TQDM_DISABLE decides
    for _ in tqdm(work, total=len(missing), desc="Demo corpus", unit="file", **quiet):
        pass
    sweep(root, "audio")
    write_text(root / "manifest.csv", _manifest(takes))


def demo_species(index: int) -> Species:
    """Return the invented species of a number from 0 on; 0 and 1, 2 and 3, ... are siblings."""
    family, place = divmod(index, FAMILY)
    if family < len(CHOSEN):
        return species_for(NAMESPACE, CHOSEN[family] + place)
    others = (founder for founder in itertools.count(0, FAMILY) if founder not in CHOSEN)
    founder = next(itertools.islice(others, family - len(CHOSEN), None))
    return species_for(NAMESPACE, founder + place)


def demo_name(index: int) -> str:
    """Return what the invented species of a number is called; no two have the same name."""
    if index < len(NAMES):
        return NAMES[index]
    family, place = divmod(index - len(NAMES), FAMILY)
    noun, left = "", family + len(SYLLABLES)  # two syllables or more
    while left:
        left, syllable = divmod(left, len(SYLLABLES))
        noun = SYLLABLES[syllable] + noun
    return f"{FIRST[(FAMILY * family + place) % len(FIRST)]} {noun.capitalize()}rin"


def plan(seed: int, species: int, recordings: int) -> list[Take]:
    """Plan who records what, where and how: ``species * recordings`` takes, one a defect more."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0]))
    # (species, recordings): an individual is recorded once or twice in a visit
    encounters: list[tuple[int, int]] = []
    for bird in range(species):
        left = recordings
        while left:
            encounters.append((bird, min(left, int(rng.integers(1, 3)))))
            left -= encounters[-1][1]
    takes: list[Take] = []
    visits, stay = _visits(rng), 0
    for i in rng.permutation(len(encounters)):
        if stay == 0:
            visit, stay = next(visits), int(rng.integers(1, 3))
        bird, times = encounters[i]
        takes += [_take(rng, len(takes) + k, bird, visit, species) for k in range(times)]
        stay -= 1
    for defect in DEFECTS:
        takes.append(
            _take(rng, len(takes), int(rng.integers(species)), next(visits), species, defect)
        )
    return takes


def _visits(rng: np.random.Generator) -> Iterator[Visit]:
    number = 0
    while True:
        recordist = int(rng.integers(len(RECORDISTS)))
        locality = LOCALITIES[(recordist + int(rng.integers(3))) % len(LOCALITIES)]
        # two visits a day, at different places
        day = datetime.date(2023, 4, 1) + datetime.timedelta(days=number // 2)
        yield Visit(number, recordist, f"{locality} {number % 2 + 1}", day.isoformat())
        number += 1


def _take(
    rng: np.random.Generator, number: int, bird: int, visit: Visit, species: int, defect: str = ""
) -> Take:
    others = [int(b) for b in rng.permutation(species)[: rng.choice([0, 1, 1, 2])] if b != bird]
    suffix = {"truncated": "flac", "empty": "wav", "not_audio": "ogg", "silent": "ogg"}.get(
        defect, str(rng.choice(list(FORMATS), p=[0.25, 0.25, 0.3, 0.2]))
    )
    seconds = {"too_short": 0.3, "short": 2.0}.get(defect, 4 + min(float(rng.exponential(4)), 16))
    return Take(
        number, bird, tuple(others), visit, float(rng.uniform(0, 24)), round(seconds, 2),
        sample_rate=int(rng.choice(RATES)), channels=int(rng.integers(1, 3)), suffix=suffix,
        defect=defect,
    )  # fmt: skip


def _make(root: Path, take: Take, seed: int) -> None:
    with atomic_path(root / _path(take)) as temporary:
        if take.defect == "empty":
            return
        if take.defect == "not_audio":
            temporary.write_bytes(b"This is a note about a recording, not a recording.\n" * 40)
            return
        _write(temporary, _scene(take, seed), take)
        if take.defect == "truncated":
            # within the header: no decoder makes anything of it
            temporary.write_bytes(temporary.read_bytes()[:32])


def _scene(take: Take, seed: int) -> np.ndarray:
    """Return the samples (n, channels) of a take."""
    if take.defect == "silent":
        return np.zeros((round(take.seconds * take.sample_rate), take.channels), np.float32)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1, take.number]))
    site, recorder = _place(seed, take.visit)
    birds = [_resident(seed, take.visit, bird) for bird in (take.species, *take.background)]
    waveform = perform(
        birds, site, recorder, rng, take.seconds, take.sample_rate, take.snr
    ).waveform
    if take.channels == 1:
        return waveform[:, None]
    balance = rng.uniform(0.6, 1.0, 2).astype(np.float32)
    # (n, 2)
    return np.stack([waveform, np.roll(waveform, int(rng.integers(0, 10)))], axis=1) * balance


def _resident(seed: int, visit: Visit, bird: int) -> Species:
    """Return the individual of a species that is heard throughout a visit."""
    return individual(
        demo_species(bird),
        np.random.default_rng(np.random.SeedSequence([seed, 2, visit.number, bird])),
    )


def _place(seed: int, visit: Visit) -> tuple[Site, Recorder]:
    site = invent_site(np.random.default_rng(np.random.SeedSequence([seed, 3, visit.number])))
    return site, invent_recorder(
        np.random.default_rng(np.random.SeedSequence([seed, 4, visit.recordist]))
    )


def _write(path: Path, samples: np.ndarray, take: Take) -> None:
    kind, subtype = FORMATS[take.suffix]
    second = take.sample_rate
    with (
        sound_written(path),
        soundfile.SoundFile(path, "w", second, take.channels, subtype, format=kind) as file,
    ):
        # libsndfile overflows its stack on long Ogg and MP3 blocks
        for start in range(0, len(samples), second):
            file.write(samples[start : start + second])


@contextlib.contextmanager
def sound_written(path: Path) -> Iterator[None]:
    """Raise BirdnbError when libsndfile cannot write into the folder of ``path``."""
    try:
        yield
    except soundfile.LibsndfileError as error:
        raise BirdnbError(
            f"no sound can be written into {path.parent} ({error.error_string}): is the disk full?"
        ) from error


def _path(take: Take) -> Path:
    return Path("audio") / f"{take.recording_id}.{take.suffix}"


def _prepare(root: Path, recipe: dict) -> bool:
    """Tell whether the corpus is finished, or make ``root`` ready, other recipes' files gone."""
    known = root / "recipe.json"
    if not known.exists():
        there = root.iterdir() if root.is_dir() else [root] if root.exists() else []
        if any(not path.name.startswith(".tmp-") for path in there):
            raise BirdnbError(f"{root} is not the demo corpus, nor empty: choose another folder")
        write_json(known, recipe)
        return False
    with contextlib.suppress(ValueError):  # a recipe that was damaged is another one
        if json.loads(known.read_bytes()) == recipe:
            return (root / "manifest.csv").exists()
    (root / "manifest.csv").unlink(missing_ok=True)
    for old in (root / "audio").glob("DEMO*"):
        old.unlink()
    write_json(known, recipe)
    return False


def _manifest(takes: list[Take]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for take in takes:
        name = demo_name(take.species)
        quality = "EDCBA"[int(np.clip(take.snr / 5, 0, 4))]
        others = ";".join(demo_name(b) for b in take.background)
        table.writerow([
            take.recording_id, _path(take).as_posix(), name, name, RECORDISTS[take.visit.recordist],
            take.visit.date,
            take.visit.locality, "CC0 (synthesised)", "", quality, others,
        ])  # fmt: skip
    return text.getvalue()
