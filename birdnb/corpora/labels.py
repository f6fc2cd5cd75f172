"""Read texts that are written in many ways: what is not stated, what names a species, twins."""

import re
import unicodedata
from collections import Counter

import pandas as pd

# fmt: off
NOT_STATED = frozenset([
    "nan", "none", "null", "nil", "na", "n/a", "n.a", "n.a.", "nat", "nd", "n.d.", "n.d", "n.n.",
    "n / a", "n. a.", "n\\a", "\\n", "n/k", "#nv", "#n/d", "tbd", "tba", "missing", "undefined",
    "unnamed", "nodata", "anonym", "anon", "anon.", "unk", "unk.", "undated", "empty", "blank",
    "hidden", "obscured", "redacted", "withheld", "without date", "without locality",
    "unbekannt", "unbek.", "keine angabe", "keine angaben", "k.a.", "k. a.", "ohne datum",
    "ohne angabe", "inconnu", "inconnue", "non renseigné", "s.d.", "s/d", "s.l.", "sine dato",
    "desconocido", "desconocida", "sin datos", "sin fecha", "no aplica", "desconhecido",
    "desconhecida", "sem dados", "sconosciuto", "sconosciuta", "onbekend", "ukjent", "ukendt",
    "okänd", "okänt", "tuntematon", "neznámý", "neznámé", "nieznany", "nieznane", "ismeretlen",
    "неизвестно", "неизвестный", "нет данных", "н/д", "不明", "不详", "未知", "無", "无", "なし",
    "미상",
])
THINGS = (r"recordist|recorder|author|observer|user|person|name|date|time|day|year|place|location|"
          r"locality|site|licen[cs]e|birds?|species|sp|call|song|label|class|info|information|data")
GIVEN = r"known|specified|disclosed|stated|identified|available|recorded|given|provided|set"
UN = rf"un(?:{GIVEN})|unkn?own|anonymous|no|(?:not|none)[ -](?:{GIVEN}|applicable)"
UNSTATED = re.compile(
    rf"(?:{UN})(?: (?:{THINGS})\.?)?|(?:{THINGS}) (?:{UN})|x{{2,}}|-9+(?:\.0+)?"
    r"|#[^\W\d_]+(?:/0)?[!?]|#n/a.*"  # errors of a spreadsheet
)
NO_SPECIES = frozenset([
    "mystery", "mystery mystery", "identity unknown", "sonus naturalis", "bird", "birds", "aves",
    "other", "others", "other bird", "other birds", "other species", "misc", "miscellaneous",
    "various", "mixed", "unsorted", "unlabeled", "unlabelled", "unclassified", "undetermined",
    "unsure", "uncertain", "unid", "uncategorized", "uncategorised", "unidentifiable", "unlisted",
    "rejected", "junk", "trash", "negative", "negatives", "false positive", "false positives",
    "none of the above", "hybrid", "hybrids", "todo", "to sort", "to check", "tmp", "temp",
    # folders that hold species, no species
    "audio", "audios", "sounds", "recordings", "files", "data", "dataset", "wav", "mp3", "flac",
    "ogg", "train", "training", "test", "testing", "val", "valid", "validation", "eval",
    "new folder", "neuer ordner", "nouveau dossier", "nueva carpeta",
])
SOUNDS = frozenset([
    "noise", "noises", "background", "background noise", "background sound", "background sounds",
    "silence", "silent", "nocall", "no call", "no calls", "nobird", "no bird", "no birds",
    "non bird", "nonbird", "nothing", "empty", "ambient", "ambience", "ambient noise",
    "ambient sound", "environment", "environmental", "environmental noise", "environmental sound",
    "wind", "rain", "wind noise", "rain noise", "traffic", "traffic noise", "engine", "siren",
    "gun", "fireworks", "power tools", "human", "human vocal", "human non vocal", "human whistle",
    "human voice", "human speech", "speech", "voice", "voices", "people", "thunder", "thunderstorm",
    "airplane", "aircraft", "vehicle", "vehicles", "car", "cars", "chainsaw", "static", "no event",
    "non event", "no sound", "no signal", "not bird", "not a bird", "no bird call", "nobirds",
    "no birdsong", "bg", "music",
])
# fmt: on
SOUND = re.compile(
    r"(?:noises?|backgrounds?|ambien(?:t|ce)|silence|no ?call)\b.*"
    r"|.* (?:noises?|silence|backgrounds?)"
)
UNSURE = re.compile(
    r".* \(?(?:spp?|ssp|spec|indet|species)\.?\)?(?: \w{1,2})?|spp?\.?"
    r"|.*\?\)?|(?:.* )?\(?\?.*|.* \(?(?:cf|aff)(?:\.| |\)).*|.* nr\. .*"
    r"|(?:un(?:known|identified|id|determined|sure)|mystery|(?:poss|prob)(?:ibl[ey]|abl[ey])?)\b.+"
    r"|.*\((?:possibl|probabl)[ey]\)"
)
BINOMIAL = re.compile(r"[A-Z][a-z]+ [a-z-]{3,}")
INVERTED = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*, [^,]+")  # Thrush, Song
LONGEST = 24  # letters of a text that states nothing
# Cyrillic and Greek letters that look like Latin ones
ALIKE = str.maketrans("асеіјорѕухһԁԛԝѵтмнвкοαινρτυχκ", "aceijopsyxhdqwvtmhbkoaivptuxk")
NEAR = 8  # letters a label needs before one letter more or less is taken for a slip


def is_stated(text: str) -> bool:
    """Tell whether a text states something: not empty, no dashes, no ``nan``, no ``unknown``."""
    if len(text) > LONGEST:
        return True
    plain = label_key(text).strip("()[]<>{}\"' ")
    words = set(re.split(r"[ ,;|]+", plain))  # of "nan nan", and of coordinates "nan, nan"
    parts = words if len(words) == 1 else re.split(r" ?[,;|] ?", plain)
    return any(_says_something(part) for part in parts)


def _says_something(plain: str) -> bool:
    return (
        re.search(r"[^\s?.,;:*_/\\|~#-]", plain) is not None
        and plain not in NOT_STATED
        and not UNSTATED.fullmatch(plain)
    )


def label_key(label: str) -> str:
    """Return a label without what makes no other species.

    That is capitals, ways of writing one letter, invisible characters, kinds and number of blanks
    (an underscore is one) and of dashes.
    """
    plain = label.casefold()
    if not plain.isascii():
        plain = unicodedata.normalize("NFKC", _visible(label)).casefold()
        plain = re.sub(r"[\u2010-\u2015\u2212]", "-", unicodedata.normalize("NFKC", plain))
    return " ".join(plain.replace("_", " ").split())


def label_fault(label: str, known: frozenset[str] | set[str] = frozenset()) -> str:
    """Say why a label names no species; "" when it may. ``known`` are the keys of all labels."""
    key = label_key(label)
    if not key:
        return "the species is empty"
    if re.match(r"\s*[-\u2010-\u2015\u2212]\s*\w", label):
        return f"the label {label!r} begins with a dash: an example of what is not this species"
    # BirdNET writes Noise_Noise
    halves = {label_key(half) for half in label.strip(" _").split("_")} if "_" in label else set()
    words = halves.pop() if len(halves) == 1 else key
    words = words.replace("-", " ")
    bare = re.sub(r"^[\W\d]+|[\W\d]+$", "", words) or words  # 00_background, Noise 2
    if not SOUNDS.isdisjoint((words, bare)) or SOUND.fullmatch(bare):
        return f"background sound, no species: the label {label!r}"
    parts = [key, *(label_key(part) for part in label.split("_") if " " in part)]
    unsure = any(map(UNSURE.fullmatch, parts))
    nothing = not is_stated(bare) and key != "na"  # NA is text, as 007 is
    if nothing or not NO_SPECIES.isdisjoint((words, bare)) or unsure:
        return f"the label {label!r} names no species"
    return f"the label {label!r} names several species" if _several(label, known) else ""


def _several(label: str, known: frozenset[str] | set[str]) -> bool:
    """Tell whether a label is a list of species, which "Thrush, Song" is not."""
    if re.search(r"[;|]|\w ?/ ?\w", label):
        return True
    label = re.sub(r"\(.*?\)|, *\d{4}$", "", label).strip()  # Parus major (Linnaeus, 1758)
    parts = re.split(r",|\+| (?:&|and|und|et) ", label)
    if len(parts) < 2 or not all(label_key(part) for part in parts):
        return False
    listed = "+" in label or ("," in label and not INVERTED.fullmatch(label))
    names = [BINOMIAL.fullmatch(part.strip()) is not None for part in parts]
    both = "," in label and sorted(names) == [False, True]  # Great Tit, Parus major
    return (listed and not both) or all(names) or all(label_key(part) in known for part in parts)


def one_spelling(labels: pd.Series) -> pd.Series:
    """Give labels that ``label_key`` takes for one the spelling that most of them have."""
    counts = Counter(labels.tolist())
    twins: dict[str, list[str]] = {}
    for label in counts:
        twins.setdefault(label_key(label), []).append(label)
    shown: dict[str, str] = {}
    for spellings in twins.values():
        clean: Counter[str] = Counter()
        for label in spellings:
            clean[_clean(label)] += counts[label]
        best = min(clean, key=lambda name: (-clean[name], name.count("_"), _capitals(name), name))
        shown |= {label: best if len(spellings) > 1 else label for label in spellings}
    return labels.map(shown)


def spelling_notes(written: pd.Series, kept: pd.Series) -> list[str]:
    """Say which labels (``written``) became one, and which of those ``kept`` may be one."""
    shown = one_spelling(written.str.strip())
    pairs = pd.DataFrame({"shown": shown, "label": written}).drop_duplicates()
    notes = []
    for name, spellings in pairs[pairs["shown"].isin(set(kept))].groupby("shown")["label"]:
        if others := sorted(set(spellings) - {name}):
            listed = [ascii(other) if _clean(other) != other else repr(other) for other in others]
            notes.append(f"{name!r} is also written {', '.join(listed)}: taken for one species.")
    names = sorted(set(kept))
    same = look_alikes(names)
    notes += [
        f"{one!r} and {other!a} look the same, in letters of two scripts: are they one "
        "species? Then rename one."
        for one, other in same
    ]
    return notes + [
        f"{one!r} and {other!r} differ by one letter: are they one species? Then rename one."
        for one, other in near_twins(names)
        if (one, other) not in same
    ]


def look_alikes(labels: list[str]) -> list[tuple[str, str]]:
    """Return pairs of labels that only scripts tell apart (a, Cyrillic a), the Latin one first."""
    first: dict[str, str] = {}
    found = [(first.setdefault(label_key(name).translate(ALIKE), name), name) for name in labels]
    return [(one, other) for one, other in found if label_key(one) != label_key(other)]


def near_twins(labels: list[str]) -> list[tuple[str, str]]:
    """Return the pairs of labels that one letter changed, lost, added or exchanged tells apart."""
    keys = {label_key(label): label for label in labels}
    keys = {
        key: label for key, label in keys.items() if len(key) >= NEAR and not re.search(r"\d", key)
    }
    seen: dict[tuple[str, int], list[str]] = {}
    pairs = set()
    for key in keys:
        for place in range(len(key)):
            shorter = key[:place] + key[place + 1 :]
            swapped = key[:place] + key[place : place + 2][::-1] + key[place + 2 :]
            found = [shorter, swapped, *seen.setdefault((shorter, place), [])]
            seen[shorter, place].append(key)
            pairs |= {
                tuple(sorted((key, other))) for other in found if other in keys and other != key
            }
    return sorted((keys[one], keys[other]) for one, other in pairs)


def _visible(text: str) -> str:
    """Leave out characters that are not seen: soft hyphens, marks of byte order, zero widths."""
    return "".join(letter for letter in text if unicodedata.category(letter) != "Cf")


def _clean(label: str) -> str:
    return " ".join(unicodedata.normalize("NFC", _visible(label)).split())


def _capitals(name: str) -> tuple[bool, int]:
    """Order spellings: Turdus merula before TURDUS MERULA, Turdus Merula and turdus merula."""
    return not name[:1].isupper(), sum(letter.isupper() for letter in name)
