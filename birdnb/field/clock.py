"""When a recording began, by its own clock: from what recorders write into files and names.

GUANO (https://guano-md.org), the comment of AudioMoth, Wildlife Acoustics' wamd, the Broadcast
Wave chunk, and times in names: ``SITE_20230512_050000.wav``, ``2023-05-12T05-00-00+0200.flac``.
"""

import datetime
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from birdnb.features.lengths import wav_texts
from birdnb.field.scores import Heard
from birdnb.split.dates import YEARS

ZONE = r"(?P<zone>Z|[+-](?:0\d|1[0-4]):?[0-5]\d)?"
NAMED = re.compile(  # SITE2_20230512$050000.wav, 20230512T050000Z, 2023-05-12T05-00-00+0200
    r"(?<!\d)(?P<y>(?:19|20)\d\d)(?P<d1>[-_.]?)(?P<m>\d\d)(?P=d1)(?P<d>\d\d)"
    r"[-_ T$.]?(?P<h>\d\d)(?P<d2>[-_.:]?)(?P<min>\d\d)(?:(?P=d2)(?P<s>\d\d))?(?:[.,]\d+)?"
    rf"{ZONE}(?!\d)"
)
SECONDS = re.compile(r"[5-7][0-9A-F]{7}")  # old AudioMoths: seconds since 1970, as hex
FIRST_AUDIOMOTH = 1451606400  # 2016 in these seconds; eight digits may be a day, 30052023
FIRST_YEAR = 1990  # of recorders with files; what tells an earlier one was never set
UNTIL = re.compile(r"_E|[_ -]?(?:to|until|bis)[_ -]?| - |--| ?[–~] ?")  # between begin and end
AUDIOMOTH = re.compile(
    r"Recorded at (\d\d:\d\d:\d\d)(?:\.\d+)? (\d\d)/(\d\d)/(\d{4}) "
    r"\(UTC(?:([+-])(\d{1,2})(?::(\d\d))?)?\)"
)
WAMD_TIME = 5  # number of the time among the fields of wamd
OVERLAP = 2.0  # [s] by which a recording may begin before the one before it ended


def read_clock(path: Path) -> tuple[str, str]:
    """Return the ISO time at which a recording begins, and where it stands; ("", "") if unknown.

    With the zone where it is told. What a clock that was never set says is no time.
    """
    texts = wav_texts(path)
    for source, time in _told(texts):
        if time is not None:
            return _checked(time, source)
    time = time_in_name(path.name)
    return _checked(time, "name") if time else ("", "")


def time_in_name(name: str) -> datetime.datetime | None:
    """Return the time that stands in a file's name; None where there is none.

    Of several the last one, or the one before it where the name says from when to when.
    """
    stem = Path(name).stem
    if _counts_seconds(stem):
        return datetime.datetime.fromtimestamp(int(stem, 16), datetime.UTC)
    times, ends = [], []
    for match in NAMED.finditer(stem):
        parts = [match[key] or "00" for key in ("y", "m", "d", "h", "min", "s")]
        text = "{}-{}-{}T{}:{}:{}".format(*parts) + (match["zone"] or "").replace("Z", "+00:00")
        if time := _iso(text):
            times.append(time)
            ends.append(match.span())
    if len(times) > 1 and UNTIL.fullmatch(stem[ends[-2][1] : ends[-1][0]]):
        return times[-2]
    return times[-1] if times else None


def check_clocks(heard: Iterable[Heard]) -> list[Heard]:
    """Add to ``clock`` where a recorder's clock goes backwards; same recordings, same order.

    A recorder is a folder and what stands in names beside the time. A number in it is the
    recorder's where most recordings share theirs, and else one that counts recordings.
    """
    given = list(heard)
    timed = sorted((one for one in given if one.begins), key=_by_numbers)
    counts, all_alike = Counter(_recorder(one.recording) for one in timed), Counter[str]()
    sharing = Counter[str]()
    for name, n in counts.items():
        all_alike[_alike(name)] += n
        sharing[_alike(name)] += n if n > 1 else 0
    shared = {name for name, n in all_alike.items() if 2 * sharing[name] > n}
    recorders: dict[str, list[Heard]] = {}
    for one in timed:
        name = _recorder(one.recording)
        recorders.setdefault(name if _alike(name) in shared else _alike(name), []).append(one)
    faults = {
        now.recording: fault
        for those in recorders.values()
        for before, now in itertools.pairwise(those)
        if (fault := _backwards(before, now))
    }
    return [
        replace(one, clock=f"{one.clock}; {faults[one.recording]}")
        if one.recording in faults
        else one
        for one in given
    ]


def _told(texts: dict[str, bytes]) -> Iterator[tuple[str, datetime.datetime | None]]:
    """Yield the times in the chunks of a WAV file, the most trustworthy first."""
    guano = texts.get("guan", b"").decode("utf-8", errors="replace")
    if match := re.search(r"^Timestamp:[ \t]*(.+)", guano, re.MULTILINE):
        yield "GUANO", _iso(match[1])
    if match := AUDIOMOTH.search(texts.get("LIST", b"").decode("utf-8", errors="replace")):
        time, day, month, year, sign, hours, minutes = match.groups()
        zone = f"{sign}{int(hours):02}:{minutes or '00'}" if sign else "+00:00"
        yield "AudioMoth", _iso(f"{year}-{month}-{day}T{time}{zone}")
    if "wamd" in texts:
        yield "wamd", _iso(_wamd(texts["wamd"]).get(WAMD_TIME, ""))
    if len(texts.get("bext", b"")) >= 338:  # after description, originator and its reference
        date, time = texts["bext"][320:330], texts["bext"][330:338]
        text = f"{date.decode('latin-1')}T{time.decode('latin-1')}"
        yield "Broadcast Wave", _iso(re.sub(r"[^\dT]", ":", text).replace(":", "-", 2))


def _wamd(data: bytes) -> dict[int, str]:
    """Return the fields of Wildlife Acoustics' metadata: number, length and text by turns."""
    fields, at = {}, 0
    while at + 6 <= len(data):
        number = int.from_bytes(data[at : at + 2], "little")
        end = at + 6 + int.from_bytes(data[at + 2 : at + 6], "little")
        fields[number] = data[at + 6 : end].decode("utf-8", errors="replace").strip("\0")
        at = end
    return fields


def _iso(text: str) -> datetime.datetime | None:
    """Read a day with a time of day; None for anything else."""
    try:
        return datetime.datetime.fromisoformat(text.strip()) if len(text.strip()) > 10 else None
    except ValueError:
        return None


def _counts_seconds(stem: str) -> bool:
    return SECONDS.fullmatch(stem.upper()) is not None and int(stem, 16) >= FIRST_AUDIOMOTH


def _checked(time: datetime.datetime, source: str) -> tuple[str, str]:
    iso = time.isoformat(timespec="seconds")
    if time.year in YEARS and time.year >= FIRST_YEAR:
        return iso, source
    return "", f"{source}: {iso} is the time of a clock that was never set"


def _by_numbers(one: Heard) -> list[tuple[int, str]]:
    """Order names as people count: dawn 2 before dawn 12."""
    hexadecimal = _counts_seconds(PurePosixPath(one.recording).stem)
    parts = [one.recording] if hexadecimal else re.split(r"([0-9]+)", one.recording)
    return [(int(part), "") if at % 2 else (0, part) for at, part in enumerate(parts)]


def _recorder(recording: str) -> str:
    folder, _, name = recording.rpartition("/")
    stem = Path(name).stem
    return f"{folder}/{'' if _counts_seconds(stem) else NAMED.sub('', stem)}"


def _alike(recorder: str) -> str:
    folder, _, name = recorder.rpartition("/")
    return f"{folder}/{re.sub(r'[0-9]+', '#', name)}"


def _backwards(before: Heard, now: Heard) -> str:
    """Say that a recording begins before the one before it ended; "" where it does not."""
    first, second = map(datetime.datetime.fromisoformat, (before.begins, now.begins))
    if (first.tzinfo is None) != (second.tzinfo is None):
        return ""
    early = (first - second).total_seconds() + before.seconds
    if early <= OVERLAP:
        return ""
    if second < first:
        return f"the clock goes backwards: {before.recording} before it begins at {before.begins}"
    return f"the clock goes backwards: {before.recording} before it ends {early:.0f} s later"
