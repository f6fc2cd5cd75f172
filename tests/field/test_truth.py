"""Reading annotations: Raven, Audacity and CSV as programs write them; held against crowsetta."""

from __future__ import annotations

import pandas as pd
import pytest

from birdnb.field.truth import read_annotations, read_truth, recording_named
from birdnb.files import BirdnbError

RAVEN = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"
    """\tSpecies
1\tWaveform 1\t1\t1.5\t4.0\t0.0\t11000.0\tEATO
1\tSpectrogram 1\t1\t1.5\t4.0\t500.0\t4000.0\tEATO
2\tSpectrogram 1\t1\t12\t13\t500.0\t4000.0\tWOTH
"""
)
AUDACITY = "1.500000\t4.000000\tEATO\n\\\t500.0\t4000.0\n12.000000\t13.000000\tWOTH\n"
BIRDSET = """Filename,Start Time (s),End Time (s),Low Freq (Hz),High Freq (Hz),Species eBird Code
a.wav,1.5,4.0,500,4000,EATO
a.wav,12,13,500,4000,WOTH
"""
GENERIC = """label,onset_s,offset_s,notated_path
EATO,1.5,4.0,sounds/a.wav
WOTH,12,13,sounds/a.wav
"""


@pytest.fixture
def place(tmp_path):
    def put(name, text):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return put


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.Table.1.selections.txt", RAVEN),
        ("a.txt", AUDACITY),
        ("a.txt", AUDACITY.replace(".", ",").replace("WOTH", " WOTH ")),
        ("all.csv", BIRDSET),
        ("all.csv", BIRDSET.replace(",", ";").replace(".", ",").replace("a,wav", "a.wav")),
        ("crowsetta.csv", GENERIC),
    ],
)
def test_every_kind_tells_the_same(name, text, place):
    table, annotated, _ = read_truth(place(name, text), ["site/a.wav", "site/b.wav"])
    assert table.drop(columns="file").values.tolist() == [
        ["site/a.wav", 1.5, 4.0, "EATO"],
        ["site/a.wav", 12.0, 13.0, "WOTH"],
    ]
    assert annotated == ["site/a.wav"]


def test_raven_and_audacity_are_read_as_crowsetta_reads_them(place):
    formats = pytest.importorskip("crowsetta").formats
    boxes = formats.bbox.Raven.from_file(place("a.txt", RAVEN), annot_col="Species").to_bbox()
    ours = read_annotations(place("a.txt", RAVEN))
    theirs = {(box.onset, box.offset, box.label) for box in boxes}
    assert set(zip(ours["start"], ours["end"], ours["species"], strict=True)) == theirs
    plain = "".join(line + "\n" for line in AUDACITY.splitlines() if line[0] != "\\")
    track = formats.seq.AudSeq.from_file(place("b.txt", plain)).to_seq()
    ours = read_annotations(place("b.txt", plain))
    assert [*ours["start"], *ours["end"]] == pytest.approx([*track.onsets_s, *track.offsets_s])
    assert list(ours["species"]) == list(track.labels)


def test_a_table_through_several_files_has_times_within_the_file(place):
    text = (
        "Selection\tBegin Time (s)\tEnd Time (s)\tFile Offset (s)\tBegin File\tSpecies\n"
        "1\t10\t12\t10\ta.wav\tEATO\n2\t605\t606\t5\tb.wav\tEATO\n"
    )
    table, *_ = read_truth(place("both.txt", text), ["a.wav", "b.wav"])
    assert table[["recording", "start", "end"]].values.tolist() == [
        ["a.wav", 10, 12],
        ["b.wav", 5, 6],
    ]


def test_a_row_about_another_recording_stays_no_matter_what_the_table_is_called(place):
    text = (
        "Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\tSpecies\n"
        "1\t1\t2\tr1.wav\tEATO\n2\t5\t7\tr2.wav\tWOTH\n3\t8\t9\tr3.wav\tEATO\n"
    )
    path = place("r1.Table.1.selections.txt", text)
    table, annotated, lost = read_truth(path, ["r1.wav", "r3.wav"])
    assert table[["recording", "start"]].values.tolist() == [["r1.wav", 1], ["r3.wav", 8]]
    assert annotated == ["r1.wav", "r3.wav"] and lost == ["r2.wav"]
    # heard only elsewhere: nobody says that r1 was listened to
    others = place("r1.Table.2.selections.txt", text.replace("r1.wav", "r3.wav"))
    assert read_truth(others, ["r1.wav", "r3.wav"])[1:] == (["r3.wav"], ["r2.wav"])
    # two recordings of one name: the table is called after one of them
    both = ["north/r1.wav", "south/r1.wav"]
    one = place("south_r1.labels.txt", text)
    table, annotated, lost = read_truth(one, both)
    assert table[["recording", "start"]].values.tolist() == [["south/r1.wav", 1]]
    assert annotated == ["south/r1.wav"] and lost == ["r2.wav", "r3.wav"]


def test_a_recording_without_a_bird_counts_and_strangers_to_the_folder_do_not(place, tmp_path):
    place("a.selections.txt", RAVEN.splitlines()[0] + "\n")
    place("b.txt", "")
    place("c.csv", BIRDSET.replace("a.wav", "c.wav"))
    table, annotated, lost = read_truth(tmp_path, ["a.wav", "b.wav"])
    assert lost == ["c.wav"]
    assert table.empty and annotated == ["a.wav", "b.wav"]
    with pytest.raises(BirdnbError, match=r"no annotation belongs to the recordings .*d\.wav"):
        read_truth(tmp_path / "c.csv", ["d.wav"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("start,end\n1,2\n", r"no column 'species' .* it names start, end"),
        ("species,end\nA,2\n", r"no column 'begin_time_\(s\)'"),
        ("start,end,species\n1,2,A\nx,3,B\n", r"annotation 2: start is 'x': give seconds"),
        ("start,end,species\n3,2,A\n", r"'A' lasts from 3 to 2 s"),
    ],
)
def test_what_cannot_be_understood_is_named(text, message, place):
    with pytest.raises(BirdnbError, match=message):
        read_annotations(place("a.csv", text))


def test_nothing_there(tmp_path):
    with pytest.raises(BirdnbError, match="are not there: give a file or a folder"):
        read_truth(tmp_path / "none", ["a.wav"])
    with pytest.raises(BirdnbError, match=r"holds no annotations: give \.txt, \.csv, \.tsv"):
        read_truth(tmp_path, ["a.wav"])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("x/a.wav", "x/a.wav"),
        ("C:\\sounds\\b.wav", "y/b.wav"),
        ("b.flac", "y/b.wav"),
        ("b", "y/b.wav"),
        ("b.Table.1.selections.txt", "y/b.wav"),
        ("b.2.Table.1.selections.txt", "y/b.2.wav"),
        ("C:\\sounds\\x\\a.wav", "x/a.wav"),
        ("x_a.labels.txt", "x/a.wav"),  # as our own tables are called
        ("a.wav", None),  # in x/ and in y/
        ("other.txt", None),
        ("", None),
    ],
)
def test_which_recording_a_name_means(name, meant):
    assert recording_named(name, ["x/a.wav", "y/a.wav", "y/b.wav", "y/b.2.wav"]) == meant


def test_pandas_reads_what_we_read(place):
    path = place("all.csv", BIRDSET)
    assert read_annotations(path)["start"].tolist() == pd.read_csv(path)["Start Time (s)"].tolist()
