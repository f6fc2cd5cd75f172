"""The kind of a file by its first bytes: audio under any name, or what else it is."""

import codecs
import os
import re
from pathlib import Path

# fmt: off
AUDIO_SUFFIXES = frozenset([
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2",
    ".mpga", ".m4a", ".m4b", ".mp4", ".aac", ".3gp", ".3gpp", ".amr", ".aif", ".aiff", ".aifc",
    ".au", ".snd", ".caf", ".wma", ".asf", ".webm", ".mka",
])
# files that lie beside recordings; those of any other suffix are opened to see what they are
OTHER_SUFFIXES = frozenset([
    ".csv", ".tsv", ".txt", ".json", ".jsonl", ".geojson", ".xml", ".html", ".htm", ".md",
    ".rst", ".pdf", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".log", ".jpg", ".jpeg", ".png",
    ".gif", ".webp", ".svg", ".tif", ".tiff", ".bmp", ".heic", ".ico", ".zip", ".gz", ".tar",
    ".tgz", ".7z", ".rar", ".bz2", ".xz", ".parquet", ".arrow", ".feather", ".db", ".sqlite",
    ".sqlite3", ".npy", ".npz", ".h5", ".hdf5", ".pt", ".pth", ".safetensors", ".py", ".pyc",
    ".ipynb", ".sh", ".xls", ".xlsx", ".ods", ".doc", ".docx", ".odt", ".rds", ".rdata", ".r",
    ".pkf", ".asd", ".reapeaks", ".sfk", ".lock", ".part", ".tmp", ".bak", ".crdownload",
    ".gitignore", ".gitattributes",
])
# fmt: on
HEAD = 512  # bytes that are enough to tell
# third byte of a frame of MPEG audio: neither its bit rate nor its sample rate is a forbidden one
_BIT_RATE = "".join(rf"\x{high:x}0-\x{high:x}b" for high in range(1, 15)).encode()
_AUDIO = re.compile(
    rb"RIF[FX]....WAVE|RF64....WAVE|BW64....WAVE|riff\x2e\x91\xcf\x11|fLaC|OggS\x00|ID3[\x02-\x04]"
    rb"|FORM....(?:AIF[FC]|8SVX|16SV)|\.snd\x00|caff\x00|\x1aE\xdf\xa3|0&\xb2u\x8ef\xcf\x11|#!AMR"
    rb"|\x00...ftyp(?!heic|heix|hevc|mif1|msf1|avif|avis|crx )|\x00...(?:moov|mdat|wide)"
    rb"|\xff[\xe2\xe3\xf2-\xf7\xfa-\xfd][" + _BIT_RATE + rb"]"  # a frame of MPEG audio
    rb"|\xff[\xf0\xf1\xf8\xf9][\x40-\xbf]",  # a frame of AAC
    re.DOTALL,
)
_OTHERS = [
    (rb"version https://git-lfs", "a Git LFS pointer, not the recording itself: run git lfs pull"),
    (
        rb"(?:\.\./)*(?:\.git)?/?annex/objects/",
        "a git-annex pointer, not the recording itself: run git annex get",
    ),
    (
        rb"(?i)\s*(?:<!--.*-->\s*)?<(?:!doctype html|html|head|body)",
        "an HTML page: download the recording again",
    ),
    (rb"\s*<\?xml|\s*<[A-Za-z]", "an XML document: download the recording again"),
    (rb'\s*[\[{]\s*["\[{\]}]', "a JSON document: download the recording again"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP|....ftyp(?:heic|mif1|avif)", "a picture"),
    (rb"%PDF", "a PDF document"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ", "an archive: unpack it"),
    (rb"\x00+\Z", "nothing but zeros at its beginning: download the recording again"),
    (rb"\x00\x05\x16[\x00\x07]", "macOS's notes on a file (AppleDouble), not the recording itself"),
    (rb"WAAC", "a WAC file of Wildlife Acoustics: convert it to WAV with Kaleidoscope"),
    (rb"(?:[\t\n\r\x20-\x7e]|[\xc2-\xf4][\x80-\xbf]+)+\Z", "a text file"),
]
_KINDS = [(re.compile(pattern, re.DOTALL), name) for pattern, name in _OTHERS]


def is_audio(path: Path | str) -> bool:
    """Tell whether a file is audio, by its suffix, else its first bytes; ``.tmp-`` is not."""
    name = os.path.basename(path)
    suffix = os.path.splitext(name)[1].lower()
    if name.startswith(".tmp-") or suffix in OTHER_SUFFIXES:
        return False
    return suffix in AUDIO_SUFFIXES or bool(_AUDIO.match(_head(path)))


def other_kind(path: Path | str) -> str:
    """Say what a file is that is no audio, and what to do: "an HTML page, ..."; "" if unknown."""
    head = _head(path)
    # a character of several bytes may be cut at the end of the head
    text = head.decode("utf-8", errors="ignore").encode() if len(head) == HEAD else head
    text = text.removeprefix(codecs.BOM_UTF8)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = head.decode("utf-16", errors="ignore").encode()
    if not head or _AUDIO.match(head):
        return ""
    return next((name for kind, name in _KINDS if kind.match(text) or kind.match(head)), "")


def _head(path: Path | str) -> bytes:
    try:
        if not os.path.isfile(path):  # a pipe would wait for ever
            return b""
        with open(path, "rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""
