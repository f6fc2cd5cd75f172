"""Decode by ffmpeg's libraries, which PyAV brings along, and account for every second."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from birdnb.features import lengths

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

LOST = 0.9  # [s] that may be missing: less than a second
# share of a recording that bytes in no packet make up at least where they are sound, and the bytes
# that a container adds to a packet
UNHEARD, PACKET_HEADER = 0.05, 16
UNHEARD_MP4 = 0.01  # MP4 keeps its packets apart from all else
CLOCKED = ("asf", "matroska", "flac", "ogg")  # containers that tell the time of their packets
GAP = 0.1  # [s] between the times of two packets; less may be rounded


@dataclass
class Tally:
    """Running account of what ffmpeg makes of a file."""

    sample_rate: int = 0
    channels: int = 0
    seconds: float = 0.0  # decoded
    missing: float = 0.0  # seconds that are in the file, but could not be decoded
    passed_over: float = 0.0  # seconds between packets, by their times
    packets: int = 0
    bytes: int = 0  # in these packets
    broke_off: bool = False  # the file could not be followed to its end


class _Clock:
    """Adds up the time ``lost`` [s] between the end of a packet and the beginning of the next."""

    def __init__(self) -> None:
        self.lost = 0.0
        self._end: int | None = None

    def see(self, packet: av.Packet) -> None:
        """Note when a packet begins and ends; those without times tell nothing."""
        if packet.pts is None or not packet.duration:
            return
        gap = 0.0 if self._end is None else float((packet.pts - self._end) * packet.time_base)
        self.lost += gap if gap > GAP else 0.0
        self._end = packet.pts + packet.duration


class _Source:
    """A file for ffmpeg to read; it may look for a place that a damaged one does not have."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.read, self.tell = file, file.read, file.tell

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -1


def write_samples(file: IO[bytes], out: IO[bytes], **options: str) -> Tally:
    """Write all samples of an open sound file to another, as 32-bit floats, channels interleaved.

    Raises av.error.FFmpegError or ValueError when it has no sound that can be decoded.
    """
    import av

    before, tally = out.tell(), Tally()
    # no playlist in an audio file's clothes makes ffmpeg open anything else
    options["protocol_whitelist"] = "none"
    with av.open(_Source(file), "r", options=options, metadata_errors="ignore") as container:
        kind = container.format.name
        _write_all(container, out, tally)
    tally.missing += max(_seconds_unheard(file, kind, tally), tally.passed_over)
    if tally.missing > LOST and kind.startswith("mov") and "ignore_editlist" not in options:
        out.seek(before)
        out.truncate()
        file.seek(0)
        return write_samples(file, out, ignore_editlist="1")
    return tally


def count_seconds(path: Path) -> tuple[float, float]:
    """Sum up the packets of a recording and the gaps between them [s], without decoding them."""
    import av

    clock = _Clock()
    with path.open("rb") as file, av.open(file, "r", metadata_errors="ignore") as container:
        stream = container.streams.audio[0]
        ticks = 0
        for packet in container.demux(stream):
            ticks += packet.duration or 0
            clock.see(packet)
        return float(ticks * (stream.time_base or 0)), clock.lost


def _write_all(container: InputContainer, out: IO[bytes], tally: Tally) -> None:
    """Write the samples of a container's first sound track."""
    import av

    resamplers: dict[Any, av.AudioResampler] = {}
    target: dict[str, Any] = {}
    for frame in _frames(container, tally):
        if not target:
            target = {"format": "flt", "layout": frame.layout, "rate": frame.sample_rate}
            tally.sample_rate, tally.channels = frame.sample_rate, frame.layout.nb_channels
        key = frame.format.name, frame.layout.name, frame.sample_rate
        if key not in resamplers:  # streams joined from others change in the middle
            resamplers[key] = av.AudioResampler(**target)
        frame.pts = None
        for ready in resamplers[key].resample(frame):
            out.write(ready.to_ndarray().tobytes())
            tally.seconds += ready.samples / ready.sample_rate
    if not target:
        raise ValueError("nothing in it can be decoded")


def _frames(container: InputContainer, tally: Tally) -> Iterator[av.AudioFrame]:
    """Yield the decoded frames of a container's first sound track."""
    import av

    if not container.streams.audio:
        raise ValueError("it finds no sound track")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise ValueError(f"it has no decoder for the codec {_codec(container)}")
    failed, clock = 0.0, _Clock()
    for packet in _packets(container, tally):
        if packet.stream is not stream:
            continue
        clock.see(packet)
        if packet.size:  # the last packet of a file that was cut short does not count
            tally.missing += failed
        failed = 0.0
        try:
            yield from packet.decode()  # type: ignore[misc]  # an audio stream has audio frames
        except av.error.FFmpegError:
            failed = float((packet.duration or 0) * (stream.time_base or 0))
    if container.format.name.startswith(CLOCKED):
        tally.passed_over = clock.lost


def _codec(container: InputContainer) -> str:
    """Name the codec of a sound track that has no decoder, or its number in the container."""
    import av

    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)  # its description is a message of ffmpeg's
    described = re.search(r"Audio: ([^,\n]+)", getattr(container, "dumps_format", str)() or "")
    av.logging.set_level(level)
    return described[1] if described else "used here"


def _packets(container: InputContainer, tally: Tally) -> Iterator[av.Packet]:
    """Yield the packets of all tracks, as far as the file can be followed."""
    import av

    packets = container.demux()
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:
            if not tally.seconds:
                raise
            tally.broke_off = True
            return
        if packet.size:
            tally.packets += 1
            tally.bytes += packet.size
        yield packet


def _seconds_unheard(file: IO[bytes], kind: str, tally: Tally) -> float:
    """Estimate the sound [s] in the bytes that are in none of the packets ffmpeg has found."""
    boxed = kind.startswith(("mov", "matroska", "asf"))
    if not tally.bytes or not (boxed or tally.broke_off):
        return 0.0  # other formats mark each of their frames: what is no frame is no sound
    mp4 = kind.startswith("mov")
    share, header = (UNHEARD_MP4, 0) if mp4 else (UNHEARD, PACKET_HEADER)
    unheard = lengths.media_bytes(file) - tally.bytes - header * tally.packets
    seconds = tally.seconds * unheard / tally.bytes
    return seconds if seconds > share * tally.seconds + LOST else 0.0
