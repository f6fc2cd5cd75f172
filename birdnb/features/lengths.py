"""Sound behind the place where a decoder stops: lengths are not believed from headers.

libsndfile stops where a header says so: a WAV whose data size was never filled in, a VBR MP3
without its Info frame, a chained Ogg stream. What tells the truth cheaply is the place in the file
that it has come to: bytes left over there are tags, chunks, padding - or sound.
"""

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

PASSED_OVER = 0.1  # [s] bytes left over that would hold less than this are not looked at
READ_AHEAD = 8192  # bytes that libFLAC has read already and not decoded yet
NEVER_FILLED = 0x7FFF0000  # bytes of sound that a recorder writes who does not know them yet
UNSURE = 0.5  # [s] of FLAC that may hide in its read-ahead before its packets are counted
MOST_TEXT = 2**20  # bytes at the end of a file in which chunks behind the sound are looked for
# an MP3 frame has at most 2,881 bytes
_HOLE = re.compile(rb"(?<!\0)\0{2882,}+(?=[^\0].{0,2880}?\xff[\xe2-\xff])", re.DOTALL)
CHUNKED = {"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF"}
_BEGINNINGS = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        rb"OggS\x00[\x02\x06]", rb"fLaC[\x00\x80]\x00\x00\x22", rb"(?:RIF[FX]|RF64)....WAVE",
        rb"FORM....AIF[FC]", rb"\.snd\x00\x00......\x00\x00\x00[\x01-\x1b]",
        rb"caff\x00\x01\x00.desc", rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb",
        rb"\x00\x00\x00.ftyp[ -~]{4}", rb"0&\xb2u\x8ef\xcf\x11\xa6\xd9\x00\xaa\x00b\xcel",
    )
]  # fmt: skip
_OTHER_CHUNKS = {
    *(b"LIST", b"INFO", b"JUNK", b"bext", b"iXML", b"id3 ", b"ID3 ", b"_PMX", b"cue ", b"guan"),
    *(b"wamd", b"axml", b"smpl", b"PEAK", b"NAME", b"ANNO", b"info"),
}
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free")  # that MP4 files begin with
# what stands before the first packet in Matroska and in ASF
_MEDIA = (b"\x1f\x43\xb6\x75", bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c"))


@dataclass(frozen=True)
class Heard:
    """What libsndfile read from a file: ``frames`` from byte ``start`` to byte ``stop``."""

    container: str  # soundfile's names: "WAV", "FLAC", ...
    subtype: str
    endian: str
    sample_rate: int
    channels: int
    frames: int
    start: int
    stop: int
    told: float = 0.0  # [s] that its header tells

    @property
    def seconds(self) -> float:
        """Return the length of what was read [s]."""
        return self.frames / self.sample_rate

    @property
    def byte_order(self) -> str:
        """Return the byte order of its samples, BIG or LITTLE."""
        usual = "BIG" if self.container in ("AIFF", "AU", "CAF") else "LITTLE"
        return usual if self.endian == "FILE" else self.endian

    def seconds_in(self, size: int) -> float:
        """Estimate the sound [s] in so many bytes, at the rate of those that were read."""
        return size * self.seconds / max(1, self.stop - self.start)


def bytes_unheard(path: Path, heard: Heard) -> int:
    """Count bytes around the samples that may be sound, no tags, zeros or other chunks."""
    before = heard.start if heard.container in CHUNKED else 0  # maybe another chunk of sound
    if _passed_over(heard, path.stat().st_size - heard.stop) and _passed_over(heard, before):
        return 0
    spans = sound_bytes(path, heard)
    size = sum(end - start - _overlap(heard, start, end) for start, end in spans)
    return 0 if _passed_over(heard, size) else size


def bytes_too_many(path: Path, heard: Heard) -> int:
    """Count the bytes of other chunks that were read as samples, as a WAV's size is wrong."""
    if heard.container not in ("WAV", "WAVEX") or _passed_over(heard, heard.stop - heard.start):
        return 0
    with path.open("rb") as file:
        file.seek(heard.start - 4)
        told = int.from_bytes(file.read(4), "big" if heard.byte_order == "BIG" else "little")
    if _passed_over(heard, abs(told - (heard.stop - heard.start))):
        return 0
    spans = sound_bytes(path, heard)
    size = heard.stop - heard.start - sum(_overlap(heard, start, end) for start, end in spans)
    return 0 if _passed_over(heard, size) else size


def sound_bytes(path: Path, heard: Heard) -> list[tuple[int, int]]:
    """Find where the sound of a recording lies: (first byte, byte after it), one or several."""
    begin = {"W64": 40, "CAF": 8}.get(heard.container, 12)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        stop = _before_tags(data, heard.start)
        all_chunks = read_chunks(data, begin, stop, heard.container, heard.endian) or []
        sound = [(start, end) for name, start, end in all_chunks if _is_sound(name)]
        if any(start <= heard.start < end for start, end in sound):
            return [
                (heard.start if start <= heard.start < end else start, end) for start, end in sound
            ]
        chunks = read_chunks(data, heard.stop, stop, heard.container, heard.endian)
        if chunks:
            more = [(start, end) for name, start, end in chunks if _is_sound(name)]
            return [(heard.start, heard.stop), *more]
        stop = _before_chunks(data, heard.start, stop, heard.container, heard.endian)
        if not re.compile(rb"[^\0]").search(data, heard.stop, stop):
            stop = min(stop, heard.stop)  # padding
        return [(heard.start, stop)]


def _passed_over(heard: Heard, size: int) -> bool:
    return size <= 0 or (heard.stop > heard.start and heard.seconds_in(size) < PASSED_OVER)


def _overlap(heard: Heard, start: int, end: int) -> int:
    return max(0, min(end, heard.stop) - max(start, heard.start))


def _before_chunks(data: mmap.mmap, start: int, stop: int, container: str, endian: str) -> int:
    """Find where chunks of other content begin that fill a file to its end."""
    if container not in CHUNKED:
        return stop
    start = max(start, stop - MOST_TEXT)
    for match in re.compile(b"|".join(_OTHER_CHUNKS)).finditer(data, start, stop):
        chunks = read_chunks(data, match.start(), stop, container, endian)
        if chunks and stop - 8 <= chunks[-1][2] <= stop:
            return match.start()
    return stop


def wav_parts(path: Path) -> tuple[bytes, list[tuple[int, int]]] | None:
    """Return a WAV file's format and its sound's place (first byte, byte after), or None."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or data[8:12] != b"WAVE":
            return None
        endian = "BIG" if data[:4] == b"RIFX" else "LITTLE"
        order: Literal["big", "little"] = "big" if endian == "BIG" else "little"
        found = list(_walk(data, 12, len(data), "WAV", order))
        layout = next((data[start:end] for name, start, end in found if name == b"fmt "), None)
        sound = [(start, end) for name, start, end in found if name == b"data" and end > start]
        if layout is None or not sound:
            return None
        if read_chunks(data, 12, len(data), "WAV", endian) is None:
            first = sound[0][0]
            sound = [(first, _before_chunks(data, first, len(data), "WAV", endian))]
        return layout, sound


def wav_texts(path: Path) -> dict[str, bytes]:
    """Read the chunks of a WAV file that hold no sound by name; none where it is no WAV file."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:4] not in (b"RIFF", b"RF64") or data[8:12] != b"WAVE":
                return {}
            return {
                name.decode("latin-1"): data[start : min(end, start + MOST_TEXT)]
                for name, start, end in _walk(data, 12, len(data), "WAV", "little")
                if name in _OTHER_CHUNKS
            }
    except (OSError, ValueError):  # ValueError: an empty file
        return {}


def seconds_cut_off(path: Path) -> float:
    """Return the sound [s] that a WAV file's header tells beyond its end; 0 where it tells none."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
            return 0.0
        rate = 0
        for name, start, end in _walk(data, 12, len(data), "WAV", "little"):
            if name == b"fmt ":
                rate = int.from_bytes(data[start + 8 : start + 12], "little")  # bytes a second
            elif name == b"data" and rate and end - start < NEVER_FILLED:
                return max(0, end - len(data)) / rate
    return 0.0


def beginnings(path: Path) -> list[int]:
    """Find the byte at which each of several recordings in one file begins, the first at 0."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        kind = next((kind for kind in _BEGINNINGS if kind.match(data)), None)
        if kind is None:
            return [0]
        found = [match.start() for match in kind.finditer(data)]
        if data[:4] == b"OggS":  # streams side by side, not one behind the other
            ends = {place + _page_bytes(data, place) for place in found}
            found = [place for place in found if place not in ends]
    return found


def seconds_zeroed(path: Path, seconds: float) -> float:
    """Estimate the sound [s] in an MP3 that zeros replace, where so many ``seconds`` are read."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        stop = _before_tags(data, 0)
        found = [match.span() for match in _HOLE.finditer(data, 0, stop)]
        size = sum(end - start for start, end in found if not _in_tag(data, start))
    return size * seconds / max(1, stop - size)


def _in_tag(data: mmap.mmap, place: int) -> bool:
    """Tell whether a byte belongs to a tag ID3v2, which may hold pictures and padding."""
    tag = data.rfind(b"ID3", 0, place)
    size = 0
    for byte in data[tag + 6 : tag + 10]:  # seven bits each
        size = size << 7 | byte & 0x7F
    return tag >= 0 and place < tag + 10 + size


def index_is_missing(path: Path) -> bool:
    """Tell whether an MP4 file lacks its index, which recorders write last."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data[4:8] in _BOXES and data.find(b"moov") < 0


def media_bytes(file: IO[bytes]) -> int:
    """Count a container's bytes for media: mdat boxes of MP4, else all from the first packet."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[4:8] not in _BOXES:
            return len(data) - max(0, *map(data.find, _MEDIA))
        at = media = 0
        while at + 8 <= len(data):
            size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
            if size == 1:  # then 64 bits follow
                size = int.from_bytes(data[at + 8 : at + 16], "big")
            if size < 8 or not name.isalnum():  # to the end of the file, or no boxes any more
                return media + len(data) - at
            if name == b"mdat":
                media += min(size, len(data) - at)
            at += size
    return media


def read_chunks(
    data: mmap.mmap, start: int, stop: int, container: str, endian: str
) -> list[tuple[bytes, int, int]] | None:
    """List chunks (name, first byte, end) that fill ``start`` to ``stop`` exactly, else None."""
    if container not in CHUNKED - {"AU"}:
        return None
    big = container in ("AIFF", "CAF") or (container in ("WAV", "WAVEX") and endian == "BIG")
    chunks = []
    for name, first, end in _walk(data, start, stop, container, "big" if big else "little"):
        cut_short = end > stop and name not in _OTHER_CHUNKS
        if cut_short or not (name.isascii() and name.decode().isprintable()):
            return None
        chunks.append((name, first, end))
    return chunks


def _walk(
    data: mmap.mmap, at: int, stop: int, container: str, order: Literal["big", "little"]
) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, first byte and end of one chunk after the other, whatever they are."""
    header, size_at = {"W64": (24, 16), "CAF": (12, 4)}.get(container, (8, 4))
    while at + header <= stop:
        size = int.from_bytes(data[at + size_at : at + header], order)
        if size == 2**32 - 1 and data[12:16] == b"ds64":  # where RF64 tells the size of its sound
            size = int.from_bytes(data[28:36], "little") or size
        if container == "W64":  # its size counts the header; chunks begin at multiples of 8
            end = at + max(size, header)
            following = -(-end // 8) * 8
        else:
            end = at + header + size
            padded = container != "CAF" and size % 2 and data[end : end + 1] == b"\0"
            following = end + 1 if padded else end
        yield data[at : at + 4], at + header, end
        at = following


def _is_sound(name: bytes) -> bool:
    """Tell whether a chunk of this name is sound, too, or a recording of its own."""
    return name in (b"data", b"SSND", b"RIFF", b"RIFX", b"RF64", b"FORM", b"riff", b"caff")


def _before_tags(data: mmap.mmap, start: int) -> int:
    """Find the end of the content before the tags of players: ID3, APE, Lyrics3."""
    stop = before = len(data)
    while stop > start:
        if data[stop - 128 : stop - 125] == b"TAG":
            stop -= 128
        elif data[stop - 32 : stop - 24] == b"APETAGEX":
            has_header = data[stop - 9] & 0x80
            stop -= int.from_bytes(data[stop - 20 : stop - 16], "little") + (
                32 if has_header else 0
            )
        elif data[stop - 9 : stop] == b"LYRICS200" and data[stop - 15 : stop - 9].isdigit():
            stop -= int(data[stop - 15 : stop - 9]) + 15
        if stop == before:
            break
        before = stop
    return min(len(data), max(start, stop))  # a header may tell a start beyond the end


def _page_bytes(data: mmap.mmap, start: int) -> int:
    segments = data[start + 26] if start + 26 < len(data) else 0
    return 27 + segments + sum(data[start + 27 : start + 27 + segments])
