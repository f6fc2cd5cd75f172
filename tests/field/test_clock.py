"""When recordings began: names and metadata as recorders write them."""

import struct

import pytest
from sound_files import noise, write

from birdnb.field.clock import check_clocks, read_clock, time_in_name
from birdnb.field.scores import Heard


@pytest.mark.parametrize(("name", "time"), [
    ("20230512_050000.WAV", "2023-05-12T05:00:00"),
    ("SITE_20230512_050000.wav", "2023-05-12T05:00:00"),
    ("SITE2_0+1_20230512_050000_000.wav", "2023-05-12T05:00:00"),  # Song Meter SM3
    ("SITE_20230512$050000.wav", "2023-05-12T05:00:00"),  # Song Meter SM2
    ("SMA01234_20230512_050000.wav", "2023-05-12T05:00:00"),
    ("S4A12345_20230512_050000+0200.flac", "2023-05-12T05:00:00+02:00"),
    ("20230512T050000+0200_REC.flac", "2023-05-12T05:00:00+02:00"),  # Frontier Labs BAR
    ("20230512T050000Z.wav", "2023-05-12T05:00:00+00:00"),
    ("site-2023-05-12_05-00-00.ogg", "2023-05-12T05:00:00"),
    ("2023-05-12 05.00.00.m4a", "2023-05-12T05:00:00"),
    ("645DC680.WAV", "2023-05-12T04:54:24+00:00"),  # the first AudioMoths: seconds since 1970
    # begin and end: Frontier Labs, and people
    ("S20240815T091156.982648+1000_E20240815T101156+1000.wav", "2024-08-15T09:11:56+10:00"),
    ("SITE_20230512_230000_to_20230513_050000.wav", "2023-05-12T23:00:00"),
    ("20230512_230000 - 20230513_050000.wav", "2023-05-12T23:00:00"),
    ("20230512_050000_20230512_050500.wav", "2023-05-12T05:05:00"),  # a segment of the first
    ("20230101_120000_survey_20230512_050000.wav", "2023-05-12T05:00:00"),  # of the survey
    ("30052023.wav", None), ("31122022.wav", None), ("40012345.wav", None),  # days and numbers
    ("XC123456.mp3", None), ("dawn chorus 2023.wav", None), ("20231350_050000.wav", None),
    ("20230512_990000.wav", None),
])  # fmt: skip
def test_times_in_names(name, time):
    found = time_in_name(name)
    assert (found and found.isoformat()) == time


def with_chunk(path, name, content):
    """Add a chunk to the end of a WAV file."""
    padded = content + b"\0" * (len(content) % 2)
    with open(path, "r+b") as file:
        file.seek(0, 2)
        file.write(name + struct.pack("<I", len(content)) + padded)
        size = file.tell() - 8
        file.seek(4)
        file.write(struct.pack("<I", size))
    return path


AUDIOMOTH = "Recorded at 05:00:00 12/05/2023 ({}) by AudioMoth 24F31901603682E4 at medium gain"
GUANO = b"GUANO|Version: 1.0\nMake: x\nTimestamp: 2023-05-12T05:00:00+02:00\nLength: 3\n"
BEXT = b"\0" * 320 + b"2023-05-12" + b"05:00:00" + b"\0" * 264


def info(text):
    comment = text.encode() + b"\0"
    return b"INFOICMT" + struct.pack("<I", len(comment)) + comment


@pytest.mark.parametrize(("chunk", "content", "time", "source"), [
    (b"guan", GUANO, "2023-05-12T05:00:00+02:00", "GUANO"),
    # as the reference parser reads it
    (b"guan", GUANO.replace(b"2T", b"2 "), "2023-05-12T05:00:00+02:00", "GUANO"),
    (b"LIST", info(AUDIOMOTH.format("UTC")), "2023-05-12T05:00:00+00:00", "AudioMoth"),
    (b"LIST", info(AUDIOMOTH.format("UTC+5:30")), "2023-05-12T05:00:00+05:30", "AudioMoth"),
    (b"LIST", info(AUDIOMOTH.format("UTC-3")), "2023-05-12T05:00:00-03:00", "AudioMoth"),
    (b"wamd", struct.pack("<HI", 1, 3) + b"SM4" + struct.pack("<HI", 5, 19)
     + b"2023-05-12 05:00:00", "2023-05-12T05:00:00", "wamd"),
    (b"bext", BEXT, "2023-05-12T05:00:00", "Broadcast Wave"),
])  # fmt: skip
def test_times_in_metadata_go_before_those_in_names(tmp_path, chunk, content, time, source):
    path = with_chunk(write(tmp_path / "20200101_000000.wav", noise(3.0)), chunk, content)
    assert read_clock(path) == (time, source)


def test_metadata_that_tells_no_time_leaves_the_name(tmp_path):
    path = write(tmp_path / "20230512_050000.wav", noise(3.0))
    assert read_clock(path) == ("2023-05-12T05:00:00", "name")
    for text in (b"soon", b"2023-05-13", b""):
        with_chunk(path, b"guan", b"GUANO|Version: 1.0\nTimestamp: " + text + b"\n")
        assert read_clock(path) == ("2023-05-12T05:00:00", "name")
        write(path, noise(3.0))
    assert read_clock(write(tmp_path / "a.flac", noise(3.0))) == ("", "")


def test_a_clock_that_was_never_set_tells_no_time(tmp_path):
    for name in ("SITE_19700101_000312.wav", "19700103_050000.wav", "SITE_19800101_000312.wav"):
        time, said = read_clock(write(tmp_path / name, noise(3.0)))
        assert time == "" and "never set" in said


@pytest.mark.parametrize(("names", "told"), [
    # two recorders in one folder, a serial or a site number each: both clocks are good
    (("SITE1_20230512_050000", "SITE1_20230512_060000", "SITE2_20230512_050000"), []),
    (("S4A01_20230512_060000", "S4A02_20230512_050000", "S4A02_20230512_060000"), []),
    (("SITE1_20230512_050000", "SITE1_20230512_050030", "SITE2_20230512_050000"),
     ["SITE1_20230512_050030"]),
    # a number that counts recordings, of one recorder
    (("0001_20230512_050000", "0002_20230511_050000"), ["0002_20230511_050000"]),
    (("0001_20230512_050000", "0001_20230516_050000", "0002_20230513_050000",
      "0003_20230511_050000", "0004_20230514_050000", "0005_20230515_050000"),
     ["0002_20230513_050000", "0003_20230511_050000"]),
    (("645DC680", "645DC6BC", "645DD490"), ["645DC6BC"]),
    # people count dawn 2 before dawn 12
    (("dawn 2 20230512_050000", "dawn 12 20230512_060000"), []),
])  # fmt: skip
def test_a_clock_goes_backwards_only_within_a_recorder(names, told):
    paths = [f"night/{name}.wav" for name in names]
    heard = [
        Heard(path, path, begins=time_in_name(path).isoformat(), clock="name", seconds=120.0)
        for path in paths
    ]
    found = check_clocks(heard)
    assert [one.recording for one in found] == paths
    accused = [one.recording for one in found if "goes backwards" in one.clock]
    assert accused == [f"night/{name}.wav" for name in told]


def test_the_clock_of_a_recording_too_large_for_wav_stands_behind_its_sound(tmp_path):
    """RF64 tells the size of its sound in a chunk of its own (EBU Tech 3306)."""
    path = with_chunk(write(tmp_path / "a.wav", noise(3.0), format="RF64"), b"guan", GUANO)
    data = path.read_bytes()
    assert data[:4] == b"RF64" and data[12:16] == b"ds64"
    assert read_clock(path) == ("2023-05-12T05:00:00+02:00", "GUANO")
