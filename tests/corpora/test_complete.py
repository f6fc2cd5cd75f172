"""Numbers in file names become sessions: ``--complete`` against a server of our own and kill -9."""

from __future__ import annotations

import hashlib
import logging
import re
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pandas as pd
import pytest
import soundfile
from archive import KEY, Server, record, serving
from hypothesis import given
from hypothesis import strategies as st
from test_xeno_canto import assert_key_nowhere

from birdnb.corpora import open_corpus
from birdnb.corpora.xeno_canto import __main__ as xeno_canto
from birdnb.corpora.xeno_canto.facts import facts_file, number_in
from birdnb.split.sides import session_caveat, sessions

pytestmark = pytest.mark.usefixtures("key")
ROBIN = {"gen": "Erithacus", "sp": "rubecula", "en": "European Robin"}


class Numbers(Server):
    """The API as it answers ``nr:``: the record of that number, or none."""

    def page(self, query: dict) -> dict:
        number = re.fullmatch(r"nr:(\d+)", query["query"][0])[1]
        found = [r for r in self.records if r["id"] == number]
        return {"numRecordings": str(len(found)), "page": 1, "numPages": 1, "recordings": found}


@pytest.fixture
def server():
    records = [record(number, also=["Parus major"]) for number in range(101, 108)]
    with serving(Numbers(records)) as server:
        yield server


def birds(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, [0.1] * 100, 8000, format="WAV")
    return folder


def words(server: Server, folder: Path, pause: str = "0") -> list[str]:
    return ["--complete", str(folder), "--api", server.api, "--pause", pause]


def checksums(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def asked(server: Server) -> list[str]:
    return [re.search(r"nr%3A(\d+)", path)[1] for path in server.seen]


def test_the_next_run_knows_its_sessions(server, tmp_path, capsys, caplog):
    caplog.set_level(logging.DEBUG)
    server.records[0] |= {"rmk": f"somebody wrote {KEY}", "loc": f"a place called {KEY}"}
    server.records[3] |= {"rec": "Ann 1", "loc": "place 1", "date": "2020-05-02"}
    names = [f"Turdus merula/XC{number}.wav" for number in range(101, 108)]
    folder = birds(tmp_path / "my birds", *names, "Parus major/tit.wav", "Parus major/XC999.wav")
    before, table = checksums(folder), open_corpus(folder, progress=False).manifest
    assert sessions(table).nunique() == 9
    caveat = session_caveat(table)
    assert "8 of them are named after numbers of Xeno-Canto" in caveat
    assert "python -m birdnb.corpora.xeno_canto --complete" in caveat
    assert xeno_canto.main(words(server, folder)) == 0
    out, error = capsys.readouterr()
    assert "7 of 8 numbers in file names are known: 3 recordists, 2 days" in out
    assert "not known to Xeno-Canto: XC999" in out
    assert checksums(folder) == before, "nothing in the folder is touched"
    corpus = open_corpus(folder, progress=False)
    rows = corpus.manifest.set_index("recording_id")
    assert rows.loc["XC104", ["recordist", "date", "time", "locality", "license"]].tolist() == [
        "Ann 1", "2020-05-02", "08:00", "place 1",
        "https://creativecommons.org/licenses/by-nc-sa/4.0/",
    ]  # fmt: skip
    assert rows.loc["XC104", ["latitude", "longitude"]].tolist() == ["42.8", "-8.6"]
    assert rows.at["XC104", "background_species"] == "Parus major"
    assert (rows.loc["tit", ["recordist", "date"]] == "").all()
    # 12 places and recordists by their numbers, modulo 4 and 3: nobody shares both but by design
    assert sessions(corpus.manifest).nunique() == 9
    assert corpus.notes[-1] == "7 of 9 recordings were completed from my birds.xeno-canto.csv."
    assert "2 of 9 recordings name neither" in session_caveat(corpus.manifest)
    assert_key_nowhere(out, error, caplog.text, facts_file(folder).read_text(), folder=folder)


def test_what_is_known_is_not_asked_again_and_new_files_are(server, tmp_path):
    folder = birds(tmp_path / "b", "Turdus merula/XC101.wav", "Turdus merula/XC999.wav")
    assert xeno_canto.main(words(server, folder)) == 0
    birds(folder, "Turdus merula/102 Common Blackbird XC102.wav", "Turdus merula/XC101_1.wav")
    assert xeno_canto.main(words(server, folder)) == 0
    assert asked(server) == ["101", "999", "102"]


def test_two_files_of_one_session_are_one_session(server, tmp_path):
    server.records = [record(n, rec="Ann", loc="Kew", date="2020-05-01") for n in (101, 102)]
    folder = birds(tmp_path / "b", "Turdus merula/XC101.wav", "Turdus merula/XC102.wav")
    assert xeno_canto.main(words(server, folder)) == 0
    assert sessions(open_corpus(folder, progress=False).manifest).nunique() == 1


def test_bare_numbers_count_where_the_species_agree(server, tmp_path):
    server.records = [record(1234), record(1235, **ROBIN), record(1236, **ROBIN)]
    folder = birds(
        tmp_path / "b", "Turdus merula/1234.wav", "Turdus merula/1235.wav",
        "european robin/Erithacus-rubecula-1236.wav",
    )  # fmt: skip
    assert xeno_canto.main(words(server, folder)) == 0
    rows = open_corpus(folder, progress=False).manifest.set_index("recording_id")
    assert (rows["recordist"] != "").to_dict() == {
        "1234": True, "1235": False, "Erithacus-rubecula-1236": True,
    }  # fmt: skip


def test_what_the_corpus_says_itself_stays_and_another_species_is_told(server, tmp_path):
    server.records = [record(101), record(102, **ROBIN)]
    folder = birds(tmp_path / "b", "a/XC101.wav", "a/XC102.wav", "a/x.wav")
    (folder / "manifest.csv").write_text(
        "recording_id,path,species,recordist,date\nXC101,a/XC101.wav,Turdus merula,Me,unknown\n"
        "two,a/XC102.wav,Turdus merula,,\nx,a/x.wav,Erithacus rubecula,,\n"
    )
    assert xeno_canto.main(words(server, folder)) == 0
    corpus = open_corpus(folder, progress=False)
    assert corpus.manifest["recordist"].tolist() == ["Me", "Ann 0", ""]
    assert corpus.manifest["date"].tolist() == ["2020-05-01", "2020-05-01", ""]
    assert corpus.manifest["species"].tolist() == ["Turdus merula"] * 2 + ["Erithacus rubecula"]
    assert "names another species for 1 recordings: 'Erithacus rubecula'" in corpus.notes[-1]


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("a/XC109308.mp3", ("109308", True)), ("XC0012-song.wav", ("12", True)),
        ("Turdus merula XC 7 - Ann.mp3", ("7", True)), ("a/109308.mp3", ("109308", False)),
        ("Turdus-merula-109308.mp3", ("109308", False)), ("robin 1.wav", ("", False)),
        ("20230512.wav", ("", False)), ("rec_0.0_1234.5.wav", ("", False)),
        ("fxc12.wav", ("", False)),
    ],
)  # fmt: skip
def test_numbers_in_names(path, number):
    assert number_in(path) == number


@given(st.text(max_size=30), st.integers(1, 10**7))
def test_a_number_with_its_mark_is_found_behind_anything(text, number):
    name = re.sub(r"(?i)xc|/|\d", "", text)
    assert number_in(f"{name} XC{number}.mp3") == (str(number), True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--query", "grp:birds"], "leave --query out"),
        (["--dry-run"], "leave --dry-run out"),
        (["--max-length", "9"], "leave --max-length out"),
        (["--metadata-only"], "leave --metadata-only out"),
        (["--per-species", "3"], "leave --per-species out"),
        (["--pause", "0", "--api", "https://xeno-canto.org/api/3/recordings"], "one request a"),
    ],
)
def test_options_that_make_no_sense(tmp_path, capsys, options, said):
    folder = birds(tmp_path / "b", "a/XC1.wav")
    assert xeno_canto.main(["--complete", str(folder), *options]) == 2
    assert said in capsys.readouterr().err


def test_nothing_to_ask_for(server, tmp_path, capsys):
    folder = birds(tmp_path / "b", "a/robin.wav")
    assert xeno_canto.main(words(server, folder)) == 2
    assert "no audio file" in capsys.readouterr().err
    assert xeno_canto.main(words(server, tmp_path / "nowhere")) == 2
    assert "no such folder" in capsys.readouterr().err
    assert server.seen == []


def test_a_server_that_is_busy_is_asked_again_and_a_refusal_tells_no_key(
    server, tmp_path, capsys, monkeypatch
):
    folder = birds(tmp_path / "b", "a/XC101.wav")
    busy = {"status": 503, "body": b"", "kind": "text/html", "Retry_After": "0"}
    server.odd = {"/api/3/recordings": [busy, busy]}
    assert xeno_canto.main(words(server, folder)) == 0
    assert len(server.seen) == 3
    birds(folder, "a/XC102.wav")
    monkeypatch.setenv("XENO_CANTO_KEY", f"wrong {KEY}")
    try:
        assert xeno_canto.main(words(server, folder)) == 2
    except Exception:
        assert_key_nowhere(traceback.format_exc())
        raise
    out, error = capsys.readouterr()
    assert "check the environment variable XENO_CANTO_KEY" in error
    assert_key_nowhere(out, error)
    assert open_corpus(folder, progress=False).manifest["recordist"].tolist() == ["Ann 2", ""]


def test_it_waits_its_turn(server, tmp_path):
    folder = birds(tmp_path / "b", *(f"a/XC{number}.wav" for number in range(101, 105)))
    assert xeno_canto.main(words(server, folder, "0.4")) == 0
    gaps = pd.Series(server.times).diff().dropna()
    assert len(gaps) == 3 and gaps.min() > 0.2  # a busy machine hears of some late


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_ended_at_once_and_begun_again_nothing_is_asked_twice(server, tmp_path, end):
    numbers = range(1001, 1101)
    server.records, server.slow = [record(number) for number in numbers], 0.01
    folder = birds(tmp_path / "b", *(f"Turdus merula/XC{number}.wav" for number in numbers))
    command = [sys.executable, "-m", "birdnb.corpora.xeno_canto", *words(server, folder, "0.01")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(server.seen) < 60 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(end)
    out, error = process.communicate(timeout=120)
    assert process.returncode == (-9 if end == signal.SIGKILL else 130)
    assert_key_nowhere(out, error)
    here = pd.read_csv(facts_file(folder), dtype=str)
    assert len(here) >= 50
    if end == signal.SIGINT:
        assert "interrupted" in error and "Traceback" not in error
        assert len(here) >= 59, "an interruption loses nothing that came"
    before = len(server.seen)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = asked(server)[before:]
    assert set(again).isdisjoint(here["recording_id"].str.removeprefix("XC"))
    assert set(asked(server)) == set(map(str, numbers))
    assert len(pd.read_csv(facts_file(folder))) == 100
    assert len(list(tmp_path.glob(".tmp-*"))) <= 1
