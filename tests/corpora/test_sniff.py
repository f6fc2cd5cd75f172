"""The content of a file decides whether it is audio, whatever it is called."""

import shutil

import av
import pytest
from sound_files import encode, recording, write

from birdnb.corpora import open_corpus
from birdnb.corpora.sniff import is_audio, other_kind

SOUND = recording(3.0, 0.5, 1.0)
SOUNDFILE = {
    "wav": {"format": "WAV"},
    "rifx": {"format": "WAV", "endian": "BIG"},
    "rf64": {"format": "RF64"},
    "w64": {"format": "W64"},
    "flac": {"format": "FLAC"},
    "vorbis": {"format": "OGG"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {"format": "MP3"},
    "aiff": {"format": "AIFF"},
    "aifc": {"format": "AIFF", "subtype": "ULAW"},
    "au": {"format": "AU"},
    "caf": {"format": "CAF"},
}
PYAV = {
    "m4a": ("ipod", "aac"),
    "mp4": ("mp4", "aac"),
    "3gp": ("3gp", "aac"),
    "aac": ("adts", "aac"),
    "wma": ("asf", "wmav2"),
    "webm": ("webm", "libopus"),
    "mka": ("matroska", "aac"),
    "mp2": ("mp2", "mp2"),
    "mp3 of ffmpeg": ("mp3", "libmp3lame"),
}


def any_kind(path, kind):
    if kind in PYAV:
        return encode(path, SOUND, 24_000, *PYAV[kind])
    return write(path, SOUND, 24_000, **SOUNDFILE[kind])


@pytest.mark.parametrize("kind", [*SOUNDFILE, *PYAV])
def test_audio_is_found_under_any_name(tmp_path, kind):
    original = any_kind(tmp_path / "original", kind)
    for name in ("none", "odd.XYZ", "2023.05", "audio.raw"):
        assert is_audio(shutil.copy(original, tmp_path / name)), name


def test_an_mp3_without_tags_is_found(tmp_path):
    data = encode(tmp_path / "a.mp3", SOUND, 24_000, "mp3", "libmp3lame").read_bytes()
    with av.open(tmp_path / "a.mp3") as file:
        frames = [packet.pos for packet in file.demux() if packet.pos is not None]
    assert len(frames) > 50
    for start in frames:  # a stream may be joined anywhere
        (tmp_path / "x").write_bytes(data[start:])
        assert is_audio(tmp_path / "x")


OTHERS = {
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\n",
    "git-annex": b"/annex/objects/SHA256E-s31390--f50d7ac4.wav\n",
    "HTML": b"\n <!DOCTYPE html>\n<html><head><title>404</title></head></html>",
    "XML": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "JSON": b'{"error": "rate limit exceeded"}',
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "PDF": b"%PDF-1.7\n" + bytes(100),
    "archive": b"PK\x03\x04" + bytes(100),
    "zeros": bytes(3000),
    "AppleDouble": b"\0\x05\x16\x07\0\x02\0\0Mac OS X        " + bytes(4000),
    "Wildlife Acoustics": b"WAAC\1\0" + bytes(range(256)) * 9,
    "a text file": b"404: Not Found",
    "text": "Größe: dear ornithologist, the recordings follow by post\n".encode() * 30,
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_audio_is_called_what_it_is(tmp_path, kind):
    path = tmp_path / "x"
    path.write_bytes(OTHERS[kind])
    assert not is_audio(path) and kind in other_kind(path)


def test_marks_of_the_encoding_and_comments_hide_nothing(tmp_path):
    page = "<!-- served by a proxy -->\n<!DOCTYPE html><html></html>"
    for text, kind in ((page, "HTML"), ('{"error": 404}', "JSON"), ("gone for good", "text")):
        for encoding in ("utf-8", "utf-8-sig", "utf-16"):
            (tmp_path / "x").write_bytes(text.encode(encoding))
            assert kind in other_kind(tmp_path / "x")
            assert not is_audio(tmp_path / "x")


def test_what_lies_beside_recordings_is_not_opened(tmp_path):
    for suffix in (".csv", ".json", ".txt", ".jpg", ".part"):
        assert not is_audio(shutil.copy(write(tmp_path / "a.wav", SOUND), tmp_path / f"a{suffix}"))
    assert not is_audio(tmp_path / "absent")
    assert not is_audio(tmp_path)


def test_listed_and_found_files_are_treated_alike(tmp_path):
    names = ["a", "b.wave", "c.bwf", "d.MPGA", "e.2023", "f.aifc"]
    for root in (tmp_path / "folders", tmp_path / "table"):
        for number, name in enumerate(names):
            write(root / "Parus major" / name, recording(3.0, 1.0, 1.0, seed=number), format="WAV")
        (root / "Parus major" / "notes").write_text("not a recording")
    listed = "".join(f"{name[0]},Parus major/{name},Parus major\n" for name in names)
    (tmp_path / "table" / "manifest.csv").write_text("recording_id,path,species\n" + listed)
    found, table = open_corpus(tmp_path / "folders"), open_corpus(tmp_path / "table")
    assert sorted(found.manifest["path"]) == sorted(table.manifest["path"])
    assert len(found.manifest) == len(names)
    assert found.left_out["reason"].tolist() == ["not an audio file (no suffix)"]
    assert table.left_out.empty
