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
    with_chunk(path, b"guan", b"GUANO|Version: 1.0\nTimestamp: soon\n")
    assert read_clock(path) == ("2023-05-12T05:00:00", "name")
    assert read_clock(write(tmp_path / "a.flac", noise(3.0))) == ("", "")


def test_a_clock_that_was_never_set_tells_no_time(tmp_path):
    path = write(tmp_path / "SITE_19700101_000312.wav", noise(3.0))
    time, said = read_clock(path)
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
