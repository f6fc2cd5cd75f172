"""The command: tables that others open, resuming, broken files, clocks; real files, real kills."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sound_files import noise, recording, write

from birdnb.config import AudioSettings
from birdnb.features.extract import extract
from birdnb.field.__main__ import main
from birdnb.field.sounds import find_sounds

pytestmark = pytest.mark.usefixtures("listening")


ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def sounds(tmp_path):
    """Two recordings of a recorder, one of another in a folder of its own."""
    folder = tmp_path / "sounds"
    write(folder / "A_20230512_050000.wav", recording(20.0, 3.0, 9.0))
    write(folder / "A_20230512_060000+0200.flac", recording(11.0, 2.0, 5.0, 48000), 48000)
    write(folder / "b/evening.ogg", recording(7.0, 2.0, 4.0, 32000), 32000)
    (folder / "notes.txt").write_text("not a recording")
    return folder


def field(*words):
    return main([str(word) for word in words])


def test_tables_are_read_by_others(sounds, tmp_path):
    crowsetta = pytest.importorskip("crowsetta")
    assert field("one", sounds, "--out", tmp_path / "out", "--jobs", 1) == 0
    out = tmp_path / "out"
    table = pd.read_csv(out / "detections.csv")
    parquet = pd.read_parquet(out / "detections.parquet")
    pd.testing.assert_frame_equal(table[["recording", "start", "end", "species"]],
                                  parquet[["recording", "start", "end", "species"]])  # fmt: skip
    assert set(table["recording"]) == {"A_20230512_050000.wav", "A_20230512_060000+0200.flac",
                                       "b/evening.ogg"}  # fmt: skip
    assert table["weights"].str.fullmatch("[0-9a-f]{64}").all() and (table["run"] == "one").all()
    assert (table["end"] > table["start"]).all() and table["probability"].between(0, 1).all()
    for name, group in table.groupby("recording"):
        stem = name.replace("/", "_").replace("+", "_").rsplit(".", 1)[0]
        raven = crowsetta.formats.bbox.Raven.from_file(
            out / f"raven/{stem}.selections.txt", annot_col="Species"
        )
        boxes = sorted((box.onset, box.offset, box.label) for box in raven.to_bbox())
        rows = group[["start", "end", "species"]].itertuples(index=False, name=None)
        assert boxes == sorted(rows)
        labels = crowsetta.formats.seq.AudSeq.from_file(
            out / f"audacity/{stem}.labels.txt"
        ).to_seq()
        assert labels.onsets_s.tolist() == pytest.approx(group["start"].tolist(), abs=1e-6)
        assert [label.rsplit(" ", 1)[0] for label in labels.labels] == group["species"].tolist()
    page = (out / "FIELD.html").read_text()
    assert "http" not in page.replace("http-equiv", "") and "data:audio/mpeg;base64" in page


def test_clock_times_are_those_of_names(sounds, tmp_path):
    field("one", sounds, "--out", tmp_path, "--jobs", 1)
    recordings = pd.read_csv(tmp_path / "recordings.csv", keep_default_na=False)
    assert recordings["begins"].tolist() == ["2023-05-12T05:00:00", "2023-05-12T06:00:00+02:00", ""]
    assert recordings["seconds"].tolist() == pytest.approx([20, 11, 7], abs=0.01)
    table = pd.read_csv(tmp_path / "detections.csv", keep_default_na=False)
    first = table[table["recording"] == "A_20230512_050000.wav"].iloc[0]
    assert first["time"] == f"2023-05-12T05:00:{int(first['start']):02}"


def test_what_was_heard_is_not_heard_again(sounds, tmp_path, capsys):
    out = tmp_path / "out"
    field("one", sounds, "--out", out, "--jobs", 1)
    files = {path: path.stat().st_mtime_ns for path in (out / "scores").iterdir()}
    csv = (out / "detections.csv").read_bytes()
    field("one", sounds, "--out", out, "--jobs", 1)
    assert {path: path.stat().st_mtime_ns for path in (out / "scores").iterdir()} == files
    assert (out / "detections.csv").read_bytes() == csv
    field("one", sounds, "--out", out, "--jobs", 1, "--step", 3)  # other windows: all is heard anew
    assert len(list((out / "scores").iterdir())) == 6


def test_workers_hear_the_same(sounds, tmp_path):
    field("one", sounds, "--out", tmp_path / "here", "--jobs", 1)
    field("one", sounds, "--out", tmp_path / "there", "--jobs", 2)
    here, there = (pd.read_csv(tmp_path / name / "detections.csv") for name in ("here", "there"))
    pd.testing.assert_frame_equal(here, there, rtol=1e-4)


def test_a_killed_run_goes_on_and_ends_the_same(tmp_path):
    """Killed for real, with SIGKILL, when some recordings are done and others are not."""
    for number in range(6):
        write(tmp_path / f"sounds/{number}.wav", noise(60.0, seed=number))
    words = ["one", str(tmp_path / "sounds"), "--jobs", "1", "--step", "0.2", "--out"]
    command = [sys.executable, "-m", "birdnb.field", *words, str(tmp_path / "out")]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, env=os.environ)
    while len(list((tmp_path / "out").glob("scores/[0-9]*.npz"))) < 2:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("scores/[0-9]*")}
    assert 2 <= len(before) < 6 and not (tmp_path / "out/detections.csv").exists()
    field(*words, tmp_path / "out")
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    field(*words, tmp_path / "whole")
    first, second = ((tmp_path / name / "detections.csv").read_bytes() for name in ("out", "whole"))
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()


def test_broken_files_are_named_and_cost_no_others(sounds, tmp_path, capsys):
    whole = (sounds / "A_20230512_050000.wav").read_bytes()
    (sounds / "text.wav").write_text("this is no recording " * 50)
    (sounds / "empty.wav").write_bytes(b"")
    write(sounds / "silent.wav", noise(9.0, level=0.0))
    (sounds / "cut.wav").write_bytes(whole[: len(whole) // 2])
    flac = write(tmp_path / "r.flac", noise(40.0)).read_bytes()
    (sounds / "half.flac").write_bytes(flac[: len(flac) // 2])
    damaged = bytearray(flac)
    damaged[len(flac) // 2 : len(flac) // 2 + 60000] = bytes(60000)
    (sounds / "damaged.flac").write_bytes(damaged)
    assert field("one", sounds, "--out", tmp_path / "out", "--jobs", 1) == 1
    table = pd.read_csv(tmp_path / "out/recordings.csv", keep_default_na=False)
    table = table.set_index("recording")
    assert "text file" in table.loc["text.wav", "reason"]
    assert table.loc["empty.wav", "reason"].startswith("empty")
    assert table.loc["silent.wav", "reason"].startswith("silent")
    # half of it is there and was heard
    assert table.loc["cut.wav", "seconds"] == pytest.approx(10, abs=0.1)
    assert table.loc["cut.wav", "note"].startswith("breaks off: its header tells 20.0 s, 10.0 s")
    assert table.loc["half.flac", "note"].startswith("breaks off: its header tells 40.0 s")
    assert table.loc["damaged.flac", "seconds"] > 10
    assert table.loc["damaged.flac", "note"] + table.loc["damaged.flac", "reason"]
    good = table.drop(["text.wav", "empty.wav", "silent.wav", "damaged.flac"])
    assert (good["reason"] == "").all() and len(good) == 5
    said = capsys.readouterr().err
    assert "text.wav: " in said and "silent.wav: silent" in said
    page = (tmp_path / "out/FIELD.html").read_text()
    assert "text.wav" in page and "silent: nothing above" in page


def test_a_clock_that_goes_backwards_is_told(tmp_path, capsys):
    for name in ("r_20230512_050000", "r_20230512_050005", "r_20230512_060000"):
        write(tmp_path / f"sounds/{name}.wav", noise(20.0))
    field("one", tmp_path / "sounds", "--out", tmp_path / "out", "--jobs", 1)
    said = capsys.readouterr().err
    assert "r_20230512_050005.wav: name; the clock goes backwards" in said
    assert said.count("goes backwards") == 1
    assert "goes backwards" in (tmp_path / "out/FIELD.html").read_text()


def test_a_folder_without_sound_and_paths_that_are_not_there(tmp_path, capsys):
    (tmp_path / "none").mkdir()
    (tmp_path / "none/readme.txt").write_text("nothing")
    assert field("one", tmp_path / "none", "--out", tmp_path / "out") == 2
    assert "holds no sound" in capsys.readouterr().err
    assert field("one", tmp_path / "nowhere", "--out", tmp_path / "out") == 2
    assert "is not there" in capsys.readouterr().err
    assert field("two", tmp_path, "--out", tmp_path / "out") == 2
    assert "is no finished run" in capsys.readouterr().err


def test_recordings_with_one_name_have_tables_of_their_own(tmp_path):
    for name in ("a/x.wav", "a_x.wav", "a_x.flac"):
        write(tmp_path / "sounds" / name, noise(4.0))
    field("one", tmp_path / "sounds", "--out", tmp_path / "out", "--jobs", 1)
    assert len(list((tmp_path / "out/raven").iterdir())) == 3
    assert len(list((tmp_path / "out/scores").iterdir())) == 3


def test_long_names_and_dots_have_tables_of_their_own(tmp_path):
    long = "project/" + "x" * 120
    names = [f"{long}/a.wav", f"{long}/b.wav", f"{long}/c.wav", "a.b.flac", "a.b.wav", "a.wav"]
    for number, name in enumerate(names):
        write(tmp_path / "sounds" / name, noise(4.0, seed=number))
    field("one", tmp_path / "sounds", "--out", tmp_path / "out", "--jobs", 1)
    tables = {path.name.split(".selections")[0] for path in (tmp_path / "out/raven").iterdir()}
    assert len(tables) == len(names) and {"a", "a.b", "a.b-2"} < tables


def test_one_file_that_no_library_is_ready_for_costs_no_others(sounds, tmp_path):
    ogg = write(tmp_path / "r.ogg", noise(4.0)).read_bytes()
    (sounds / "stump.ogg").write_bytes(ogg[:7])
    chained = sounds / "chained.ogg"
    chained.write_bytes(ogg + write(tmp_path / "s.ogg", noise(4.0, seed=1)).read_bytes())
    assert field("one", sounds, "--out", tmp_path / "out", "--jobs", 1) == 1
    table = pd.read_csv(tmp_path / "out/recordings.csv", keep_default_na=False)
    table = table.set_index("recording")
    assert table.loc["stump.ogg", "reason"] and len(table) == 5
    assert (table["reason"] == "").sum() == 4
    assert table.loc["chained.ogg", "seconds"] == pytest.approx(8.0, abs=0.1)
    assert table.loc["chained.ogg", "note"] == ""


def test_links_and_what_was_deleted(sounds, tmp_path):
    elsewhere = tmp_path / "disk2"
    write(elsewhere / "20230511_050000.wav", noise(4.0))
    (sounds / "site2").symlink_to(elsewhere)
    (sounds / "latest.wav").symlink_to(sounds / "A_20230512_050000.wav")
    (sounds / "other.wav").symlink_to(elsewhere / "20230511_050000.wav")
    annexed = write(sounds / ".git/annex/objects/x1.wav", noise(4.0))
    (sounds / "annexed.wav").symlink_to(annexed)
    write(sounds / ".Trash-1000/files/20230510_050000.wav", noise(4.0))
    write(sounds / ".trashed-1690-20230510_050000.wav", noise(4.0))
    found = {one.recording: one.reason for one in find_sounds([sounds])}
    assert found.pop("site2").startswith("a link to a folder")
    assert found == dict.fromkeys(
        [
            "A_20230512_050000.wav",
            "A_20230512_060000+0200.flac",
            "annexed.wav",
            "b/evening.ogg",
            "other.wav",
        ],
        "",
    )


def test_tables_of_odd_names_are_truth_again(tmp_path, capsys):
    """Raven's tables of files called alike, or with a tab, lead back to their recordings."""
    names = ["a/x.wav", "b/x.wav", "tab\tname.wav", 'quote"s,comma.wav', "ü ★ 鳥.wav"]
    for number, name in enumerate(names):
        write(tmp_path / "sounds" / name, noise(4.0, seed=number))
    out = tmp_path / "out"
    field("one", tmp_path / "sounds", "--out", out, "--jobs", 1)
    for table in (out / "raven").iterdir():
        lines = table.read_text(encoding="utf-8").splitlines()
        assert {line.count("\t") for line in lines} == {13}
    capsys.readouterr()
    assert field("one", tmp_path / "sounds", "--out", out, "--truth", out / "raven") == 0
    said = capsys.readouterr().out
    assert f"of {len(names)} recordings" in said and "left out" not in said


def test_truth_is_read_before_the_hours_of_listening(sounds, tmp_path, capsys):
    (tmp_path / "t.csv").write_text("start,end,species\n3,2,A\n")
    words = ["--out", tmp_path / "out", "--jobs", 1, "--truth", tmp_path / "t.csv"]
    assert field("one", sounds, *words) == 2
    assert "lasts from 3 to 2 s" in capsys.readouterr().err and not (tmp_path / "out").exists()
    (tmp_path / "t.csv").write_text("start,end,species\n2,3,A\n")
    (tmp_path / "text.wav").write_text("this is no recording " * 50)
    assert field("one", tmp_path / "text.wav", *words) == 2
    assert "none could be read" in capsys.readouterr().err


def test_a_channel_that_cancels_the_other_is_left_out(tmp_path):
    """As in training: the mean of a recording and its mirror image is silence."""
    sung = recording(20.0, 3.0, 9.0)
    write(tmp_path / "sounds/r.wav", np.stack([sung, -0.9 * sung], axis=1))
    field("one", tmp_path / "sounds", "--out", tmp_path / "out", "--jobs", 1)
    trained = extract(tmp_path / "sounds/r.wav", AudioSettings()).channel
    assert pd.read_csv(tmp_path / "out/recordings.csv")["channel"].tolist() == [trained + 1]


def test_a_dask_cluster_hears_the_same(sounds, tmp_path):
    distributed = pytest.importorskip("distributed", reason="dask is not installed")
    (sounds / "text.wav").write_text("this is no recording " * 50)
    field("one", sounds, "--out", tmp_path / "here", "--jobs", 1)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs=60
    ) as cluster:
        address = cluster.scheduler_address
        assert field("one", sounds, "--out", tmp_path / "there", "--dask", address) == 1
    here, there = (pd.read_csv(tmp_path / name / "detections.csv") for name in ("here", "there"))
    pd.testing.assert_frame_equal(here, there, rtol=1e-4)


def test_tables_changed_by_hand_stay_and_are_told(sounds, tmp_path, capsys):
    out = tmp_path / "out"
    field("one", sounds, "--out", out, "--jobs", 1)
    own, other = (out / f"raven/{n}.selections.txt" for n in ("A_20230512_050000", "b_evening"))
    edited = own.read_text() + "99\tSpectrogram 1\t1\t1.0\t2.0\t500\t9000\n"
    own.write_text(edited)
    before = other.read_text()
    assert "changed by hand" not in capsys.readouterr().err
    field("one", sounds, "--out", out, "--jobs", 1, "--step", 3)  # other windows, other tables
    said = capsys.readouterr().err
    assert said.count("changed by hand") == 1 and own.read_text() == edited
    assert "raven/A_20230512_050000.selections.txt was changed by hand and stays as it is" in said
    assert other.read_text() != before
    own.unlink()
    field("one", sounds / "A_20230512_050000.wav", "--out", out, "--jobs", 1)
    said = capsys.readouterr().err
    assert own.exists() and "changed by hand" not in said
    assert "4 tables are of recordings of an earlier call, such as " in said


def test_a_truth_table_of_another_question_is_kept(sounds, tmp_path, capsys):
    """Other annotations, and other windows; the same question once more writes it anew."""
    for name in ("mine", "yours"):
        text = "file,start,end,species\nA_20230512_050000.wav,2,8,species 0\n"
        (tmp_path / f"{name}.csv").write_text(text)
    out, words = tmp_path / "out", ["one", sounds, "--out", tmp_path / "out", "--jobs", 1]
    mine, yours = (["--truth", tmp_path / f"{name}.csv"] for name in ("mine", "yours"))
    for _ in range(2):
        field(*words, *mine)
        assert "it is truth" not in capsys.readouterr().out
    first = (out / "truth.csv").read_bytes()
    field(*words, *yours)
    assert (
        f"truth.csv was about annotations {tmp_path}/mine.csv, run one" in capsys.readouterr().out
    )
    assert (out / "truth-1.csv").read_bytes() == first and (out / "truth_drop-1.csv").exists()
    assert pd.read_csv(out / "truth.csv")["annotations"].str.endswith("yours.csv").all()
    field(*words, *yours, "--step", 3)
    assert "step 1.5: it is truth-2.csv now" in capsys.readouterr().out
    field(*words)
    said = capsys.readouterr().err
    assert f"truth.csv is of an earlier call, about annotations {tmp_path}/yours.csv" in said
