"""Decoders of last resort: what libsndfile does not read to its end, as raw samples in a file.

ffmpeg's libraries decode what libsndfile cannot (AAC, WMA, broken files). Uncompressed samples are
simply copied, from the first to the end of the file, whatever the header says about their number.
Several recordings in one file are joined.
"""

import errno
import os
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import soundfile

from birdnb.corpora.sniff import other_kind
from birdnb.features import ffmpeg, lengths
from birdnb.features.lengths import Heard
from birdnb.files import BirdnbError, temporary_room

BLOCK = 2**18  # samples or bytes copied at a time
# of samples that need no decoding
_RAW = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}


class AudioError(BirdnbError):
    """A recording that cannot be used; the message is its reason: "kind: details"."""


class StopsEarlyError(AudioError):
    """libsndfile did not read a recording to the end of its file; ``heard`` is how far it came."""

    def __init__(self, reason: str, heard: Heard) -> None:
        super().__init__(reason)
        self.heard = heard


class Stream(soundfile.SoundFile):
    """A sound file that does not seek after a read, as MP3 loses a little; ``place``: its byte."""

    def __init__(self, file: Path | IO[bytes], **raw: Any) -> None:
        """Open by descriptor, so that the content decides and not the extension."""
        try:
            self._descriptor = (
                os.open(file, os.O_RDONLY) if isinstance(file, Path) else os.dup(file.fileno())
            )
        except OSError as error:
            raise AudioError(f"cannot be opened: {error.strerror}") from error
        try:
            if os.fstat(self._descriptor).st_size == 0:
                raise AudioError("empty: the file has no bytes")
            super().__init__(self._descriptor, closefd=True, **raw)
        except BaseException:
            _close(self._descriptor)
            raise

    @property
    def goes_back(self) -> bool:
        """Tell whether libsndfile can seek in this format."""
        return super().seekable()

    def seekable(self) -> bool:
        """Deny it, so that soundfile does not seek after a read."""
        return False

    def place(self) -> int:
        """Return the byte of the file that libsndfile has read up to."""
        return os.lseek(self._descriptor, 0, os.SEEK_CUR)


def check_end(path: Path, heard: Heard) -> None:
    """Raise StopsEarlyError when libsndfile has come to its end and left sound behind.

    AudioError for a hole in the middle, whose sound is lost.
    """
    if heard.container == "MP3":
        _refuse_gap(heard.seconds, lengths.seconds_zeroed(path, heard.seconds))
    unheard = lengths.bytes_unheard(path, heard)
    seconds = heard.seconds + heard.seconds_in(unheard)
    if heard.container == "FLAC" and heard.seconds_in(lengths.READ_AHEAD) > lengths.UNSURE:
        seconds, _ = ffmpeg.count_seconds(path)
        unheard = int(seconds > heard.seconds + lengths.PASSED_OVER)
    if unheard:
        found = f"about {seconds:.1f} s" if heard.frames else f"{unheard} bytes more"
        raise StopsEarlyError(
            f"sound missing: {heard.seconds:.1f} s can be read, and in the file are {found}", heard
        )
    if heard.container in ("FLAC", "OGG") and heard.told > heard.seconds + ffmpeg.LOST:
        _check_gaps(path, heard)
    if surplus := lengths.bytes_too_many(path, heard):
        raise StopsEarlyError(
            f"sound length: of the {heard.seconds:.1f} s that its header tells "
            f"{heard.seconds_in(surplus):.1f} s are no sound",
            heard,
        )


def _check_gaps(path: Path, heard: Heard) -> None:
    """Raise AudioError when the times in a file pass over more than can be read from it."""
    import av

    try:
        _, lost = ffmpeg.count_seconds(path)
    except av.error.FFmpegError:
        return  # its times make no sense
    _refuse_gap(heard.seconds, lost)


def _refuse_gap(read: float, lost: float) -> None:
    if lost > ffmpeg.LOST:
        raise AudioError(
            f"sound missing: {read:.1f} s can be read, and about {read + lost:.1f} s were "
            "recorded: the file is damaged in the middle"
        )


@dataclass(frozen=True)
class Decoded:
    """Raw samples in a file without a name, and how they lie in it, in soundfile's words."""

    file: IO[bytes]
    layout: dict[str, Any]

    @property
    def seconds(self) -> float:
        """Return the length [s]."""
        size = os.fstat(self.file.fileno()).st_size
        return size / 4 / self.layout["channels"] / self.layout["samplerate"]


@temporary_room()
def decode(path: Path, reason: str) -> Decoded:
    """Decode all of a recording by ffmpeg. Raises AudioError, which begins with ``reason``.

    BirdnbError where the temporary folder is full.
    """
    import av

    starts = lengths.beginnings(path)
    out = _nameless()
    try:
        if len(starts) > 1:
            return _joined(path, starts, out)
        if tidied := _tidied_wav(path):
            with tidied:
                return _finished(out, _decode_part(tidied, out))
        with path.open("rb") as file:
            return _finished(out, _by_ffmpeg(file, out))
    except (av.error.FFmpegError, ValueError) as error:
        out.close()
        raise AudioError(_why_not(path, f"{reason}; ffmpeg says", error)) from error
    except BaseException:
        out.close()
        raise


def _why_not(path: Path, said_before: str, error: Exception) -> str:
    """Say why a file cannot be decoded: by what it is, else by the words of the decoders."""
    if kind := other_kind(path):
        return f"cannot be decoded: it is {kind}"
    if lengths.index_is_missing(path):
        return (
            "cannot be decoded: the index (moov) that MP4 needs is missing, the file is cut short: "
            "copy it again, or repair it with the recorder's software"
        )
    return f"{said_before} {getattr(error, 'strerror', None) or error}"


def recover(path: Path, heard: Heard, reason: str) -> Decoded:
    """Read all of a recording of which libsndfile read a part, or raise AudioError."""
    uncompressed = heard.container in lengths.CHUNKED and heard.subtype in _RAW
    if uncompressed and len(lengths.beginnings(path)) == 1:
        return _copied(path, heard)
    # these formats mark each of their frames: what is no frame is no sound
    if heard.container in ("MP3", "FLAC", "OGG"):
        decoded = decode(path, reason)
        if heard.container == "MP3":
            _refuse_gap(decoded.seconds, lengths.seconds_zeroed(path, decoded.seconds))
        return decoded
    try:
        decoded = decode(path, reason)
    except AudioError as error:
        raise AudioError(reason) from error
    if lengths.bytes_unheard(path, heard) and decoded.seconds <= heard.seconds + ffmpeg.LOST:
        decoded.file.close()
        raise AudioError(reason)
    return decoded


@temporary_room()
def _copied(path: Path, heard: Heard) -> Decoded:
    out = _nameless()
    with path.open("rb") as file:
        for start, stop in lengths.sound_bytes(path, heard):
            file.seek(start)
            _copy(file, out, stop - start)
    layout = {"samplerate": heard.sample_rate, "channels": heard.channels}
    return _finished(out, layout, heard.subtype, heard.byte_order)


def _tidied_wav(path: Path) -> IO[bytes] | None:
    """Copy a WAV file as decoders expect it, one chunk of sound; None: no WAV, or too large."""
    parts = lengths.wav_parts(path)
    size = sum(end - start for start, end in parts[1]) if parts else 0
    if parts is None or size >= 2**32 - 2**16:
        return None
    layout, sound = parts
    tidied = _nameless()
    with path.open("rb") as file:
        big = file.read(4) == b"RIFX"
        chunk = struct.Struct(">4sI" if big else "<4sI").pack
        tidied.write(chunk(b"RIFX" if big else b"RIFF", size + len(layout) + 20) + b"WAVE")
        tidied.write(chunk(b"fmt ", len(layout)) + layout + chunk(b"data", size))
        for start, end in sound:
            file.seek(start)
            _copy(file, tidied, end - start)
    tidied.flush()
    tidied.seek(0)
    return tidied


def _joined(path: Path, starts: list[int], out: IO[bytes]) -> Decoded:
    """Decode recordings one behind the other in a file. Raises AudioError if they differ."""
    size = path.stat().st_size
    layouts, seconds = [], []
    with path.open("rb") as file:
        for start, stop in zip(starts, [*starts[1:], size], strict=True):
            with _nameless() as part:
                file.seek(start)
                _copy(file, part, stop - start)
                before = out.tell()
                layouts.append(_decode_part(part, out))
            frames = (out.tell() - before) / 4 / layouts[-1]["channels"]
            seconds.append(frames / layouts[-1]["samplerate"])
    if any(layout != layouts[0] for layout in layouts):
        parts = ", then ".join(
            f"{length:.1f} s ({layout['samplerate']} Hz, channels: {layout['channels']})"
            for length, layout in zip(seconds, layouts, strict=True)
        )
        raise AudioError(f"several recordings: {parts}, one behind the other: cut the file there")
    return _finished(out, layouts[0])


def _decode_part(part: IO[bytes], out: IO[bytes]) -> dict[str, Any]:
    part.seek(0)
    try:
        with Stream(part) as stream:
            while len(samples := stream.read(BLOCK // stream.channels, dtype="float32")):
                out.write(samples.tobytes())
            return {"samplerate": stream.samplerate, "channels": stream.channels}
    except soundfile.LibsndfileError:
        part.seek(0)
        return _by_ffmpeg(part, out)


def _by_ffmpeg(file: IO[bytes], out: IO[bytes]) -> dict[str, Any]:
    found = ffmpeg.write_samples(file, out)
    if found.missing > ffmpeg.LOST:
        raise AudioError(
            f"sound missing: {found.seconds:.1f} s can be decoded, "
            f"and in the file are about {found.seconds + found.missing:.1f} s"
        )
    return {"samplerate": found.sample_rate, "channels": found.channels}


def _nameless() -> IO[bytes]:
    return tempfile.TemporaryFile(prefix="birdnb-")


def _copy(file: IO[bytes], out: IO[bytes], size: int) -> None:
    while size > 0 and (data := file.read(min(size, BLOCK))):
        out.write(data)
        size -= len(data)


def _finished(
    out: IO[bytes], layout: dict[str, Any], subtype: str = "FLOAT", endian: str = "LITTLE"
) -> Decoded:
    out.flush()
    out.seek(0)
    return Decoded(out, {**layout, "format": "RAW", "subtype": subtype, "endian": endian})


def _close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError as error:  # libsndfile has closed it already
        if error.errno != errno.EBADF:
            raise
