"""The Xeno-Canto downloader against an odd server of our own, and against kill -9.

The server answers as oddly as the real one may.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from email.utils import formatdate
from pathlib import Path

import pandas as pd
import pytest
from archive import KEY, Server, record, serving, sound

from birdnb.corpora import open_corpus
from birdnb.corpora.reading import read_table
from birdnb.corpora.xeno_canto import __main__ as xeno_canto
from birdnb.corpora.xeno_canto.api import Unavailable, XenoCantoApi, retry_after
from birdnb.corpora.xeno_canto.choice import Limits, choose, take_turns
from birdnb.corpora.xeno_canto.complete import complete
from birdnb.corpora.xeno_canto.facts import facts_file
from birdnb.corpora.xeno_canto.record import seconds_of
from birdnb.files import BirdnbError

pytestmark = pytest.mark.usefixtures("key")


@pytest.fixture
def server():
    with serving(Server([record(number) for number in range(1, 8)])) as server:
        yield server


def download(server: Server, out: Path, *extra: str, query: str = "grp:birds") -> int:
    return xeno_canto.main(
        ["--query", query, "--out", str(out), "--api", server.api, "--pause", "0", *extra]
    )


def files(out: Path) -> dict[str, bytes]:
    """Every file of a download but the pages (their folder depends on the server's port)."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*"))
            if path.is_file() and "pages" not in path.parts}  # fmt: skip


def skipped(out: Path) -> dict[str, str]:
    table = pd.read_csv(out / "skipped.csv", dtype=str, keep_default_na=False)
    return dict(zip(table["recording_id"], table["reason"], strict=True))


def assert_key_nowhere(*texts: str, folder: Path | None = None) -> None:
    for text in [
        *texts,
        *(
            path.read_bytes().decode(errors="replace")
            for path in (folder.rglob("*") if folder else [])
            if path.is_file()
        ),
    ]:
        assert "s3cr3t" not in text
        assert "0123456789" not in text


class TestDownload:
    def test_a_download_is_a_corpus(self, server, tmp_path, capsys, caplog):
        caplog.set_level(logging.DEBUG)
        server.records[0] |= {"rmk": f"somebody wrote {KEY}"}
        out = tmp_path / "spain"
        assert download(server, out, "--per-page", "3") == 0
        said = capsys.readouterr()
        assert "found 7 recordings of 1 species, chosen 7 of 1" in said.out
        assert "7 downloaded" in said.out
        assert "now holds 7 recordings of 1 species" in said.out
        corpus = open_corpus(out)
        assert corpus.layout == "manifest.csv"
        assert corpus.left_out.empty
        assert corpus.manifest["recording_id"].tolist() == [f"XC{number}" for number in range(1, 8)]
        assert corpus.manifest.loc[2].tolist() == [
            "XC3", "audio/XC3.mp3", "Turdus merula", "Common Blackbird", "Ann 0", "2020-05-01",
            "08:00", "place 3", "42.8", "-8.6",
            "https://creativecommons.org/licenses/by-nc-sa/4.0/", "https://xeno-canto.org/3", "A",
            "Zoom H5, Telinga", "",
        ]  # fmt: skip
        assert all(
            (out / f"audio/XC{number}.mp3").read_bytes() == sound(number) for number in range(1, 8)
        )
        assert len(server.seen) == 3 + 7
        assert sum("key=" in path for path in server.seen) == 3, "files are fetched without the key"
        assert any("HTTP Request" in message for message in caplog.messages), (
            "httpx does log its addresses"
        )
        assert_key_nowhere(said.out, said.err, caplog.text, folder=out)

    def test_twice_does_nothing_twice_and_other_queries_add_up(self, server, tmp_path):
        assert download(server, tmp_path) == 0
        before, asked = files(tmp_path), len(server.seen)
        assert download(server, tmp_path) == 0
        assert len(server.seen) == asked
        assert files(tmp_path) == before
        server.records = [record(number, gen="Parus", sp="major") for number in (3, 100, 20)]
        assert download(server, tmp_path, query="gen:parus") == 0
        manifest = open_corpus(tmp_path).manifest.set_index("recording_id")["species"]
        assert manifest.index.tolist() == [
            *(f"XC{number}" for number in range(1, 8)),
            "XC20",
            "XC100",
        ]
        assert manifest["XC3"] == "Parus major"
        assert len(server.seen) == asked + 1 + 2

    def test_odd_records(self, server, tmp_path, capsys):
        odd = {
            10: {"file": ""}, 11: {"file": None}, 12: {"file": {}},
            13: {"gen": "Mystery", "sp": "mystery"},
            14: {"gen": None, "sp": ""}, 15: {"length": "10:00"}, 16: {"length": None},
            17: {"lic": None, "rec": None, "q": "no score", "also": None, "length": "45"},
            18: {"lon": None, "lng": 2.5, "lat": 1, "loc": "", "grp": None, "group": "birds",
            "id": 18},
            19: {"file": "ftp://127.0.0.1/x"}, 21: {"file-name": "XC21.WAV"},
            22: {"file-name": "../../evil.sh"},
        }  # fmt: skip
        server.records = [record(number, **changes) for number, changes in odd.items()]
        server.records += [
            record(23, id="../../x"),
            record(24, id=None),
            {"id": "25"},
            record(21),
            "nonsense",
        ]
        del server.records[9]["ssp"], server.records[9]["alt"]
        assert download(server, tmp_path, "--max-length", "60") == 0
        corpus = open_corpus(tmp_path)
        assert corpus.manifest["recording_id"].tolist() == ["XC17", "XC18", "XC21", "XC22"]
        assert corpus.manifest["path"].tolist() == [
            "audio/XC17.mp3",
            "audio/XC18.mp3",
            "audio/XC21.wav",
            "audio/XC22.mp3",
        ]
        assert corpus.manifest["locality"].tolist()[1] == "1, 2.5"
        restricted = "restricted: Xeno-Canto gives no file"
        reasons = skipped(tmp_path)
        assert reasons.pop("XC19").startswith("the file's address does not work")
        assert reasons == {
            "": "it has no number", "XC../../x": "its number '../../x' is not a number",
            "XC10": restricted, "XC11": restricted,
            "XC12": restricted, "XC13": "the label 'Mystery mystery' names no species",
            "XC14": "the label '' names no species",
            "XC15": "longer than 60 s", "XC16": "its length is not known",
            "XC25": "the label '' names no species",
        }  # fmt: skip
        assert "3 skipped: restricted" in capsys.readouterr().out
        metadata = pd.read_csv(
            tmp_path / "metadata.csv", dtype=str, keep_default_na=False
        ).set_index("recording_id")
        assert metadata.loc["XC18", ["latitude", "longitude", "group", "seconds"]].tolist() == [
            "1",
            "2.5",
            "birds",
            "30",
        ]

    def test_files_that_are_no_audio(self, server, tmp_path):
        html = b"<!DOCTYPE html><html>Please log in</html>"
        server.odd = {
            "/1/download": [{"status": 200, "body": html, "kind": "text/html; charset=utf-8"}],
            "/2/download": [{"status": 200, "body": b"\n" + html, "kind": "audio/mpeg"}],
            "/3/download": [{"status": 200, "body": b"", "kind": "audio/mpeg"}],
            "/4/download": [{"status": 404, "body": html, "kind": "text/html"}],
            "/5/download": [
                {
                    "status": 200,
                    "body": sound(5)[:100],
                    "kind": "audio/mpeg",
                    "length": len(sound(5)),
                }
            ],
            "/6/download": [{"status": 503, "body": html, "kind": "text/html", "Retry_After": "0"}]
            * 2,
            "/7/download": [
                {"status": 302, "body": b"", "kind": "text/html", "Location": "/7/moved"}
            ],
        }
        assert download(server, tmp_path) == 0
        assert sorted(files(tmp_path)) == [
            *(f"audio/XC{number}.mp3" for number in (5, 6, 7)),
            "manifest.csv",
            "metadata.csv",
            "skipped.csv",
        ]
        assert (tmp_path / "audio/XC5.mp3").read_bytes() == sound(5), (
            "a file cut short is fetched again"
        )
        assert skipped(tmp_path) == {
            "XC1": "the server sent text/html instead of audio",
            "XC2": "the server sent a web page instead of audio",
            "XC3": "the server sent an empty file",
            "XC4": "the server answered 404 instead of audio",
        }
        assert download(server, tmp_path) == 0, "the next run has better luck"
        assert len(open_corpus(tmp_path).manifest) == 7
        assert skipped(tmp_path) == {}

    def test_help_is_plain_text(self, capsys):
        with pytest.raises(SystemExit):
            xeno_canto.main(["--help"])
        said = capsys.readouterr().out
        assert "DIR/manifest.csv" in said and "``" not in said and "::" not in said

    def test_dry_run_writes_nothing(self, server, tmp_path, capsys):
        assert download(server, tmp_path / "new", "--dry-run", "--per-species", "2") == 0
        assert not (tmp_path / "new").exists()
        assert "chosen 2 of 1" in capsys.readouterr().out

    def test_metadata_only(self, server, tmp_path):
        assert download(server, tmp_path, "--metadata-only") == 0
        assert list(files(tmp_path)) == ["metadata.csv"]
        assert len(pd.read_csv(tmp_path / "metadata.csv")) == 7
        assert len(server.seen) == 1

    def test_species_file(self, server, tmp_path):
        server.records += [record(50, gen="Parus", sp="major")]
        (tmp_path / "species.txt").write_text("# wanted\nparus  major\n\n")
        only = ["--species-file", str(tmp_path / "species.txt")]
        assert download(server, tmp_path / "a", *only) == 0
        assert open_corpus(tmp_path / "a").manifest["recording_id"].tolist() == ["XC50"]
        arguments = [
            "--out",
            str(tmp_path / "b"),
            "--api",
            server.api,
            "--pause",
            "0",
            "--species-file",
            str(tmp_path / "species.txt"),
        ]
        assert xeno_canto.main(arguments) == 0
        assert "query=gen%3Aparus+sp%3Amajor" in next(
            path for path in server.seen[::-1] if "query" in path
        )

    def test_pages_change_between_runs(self, server, tmp_path):
        assert download(server, tmp_path) == 0
        server.records.append(record(8))
        old = time.time() - 25 * 3600
        for page in (tmp_path / "pages").rglob("*.json"):
            os.utime(page, (old, old))
        assert download(server, tmp_path) == 0
        assert len(open_corpus(tmp_path).manifest) == 8


class TestPoliteness:
    def test_one_request_a_pause_redirects_included(self, server, tmp_path):
        server.odd = {
            "/1/download": [
                {"status": 302, "body": b"", "kind": "text/html", "Location": "/1/moved"}
            ]
        }
        server.records = server.records[:3]
        assert (
            xeno_canto.main(
                [
                    "--query",
                    "grp:birds",
                    "--out",
                    str(tmp_path),
                    "--api",
                    server.api,
                    "--pause",
                    "0.3",
                ]
            )
            == 0
        )
        gaps = [
            later - earlier for earlier, later in zip(server.times, server.times[1:], strict=False)
        ]
        assert len(gaps) == 4
        assert min(gaps) > 0.15

    @pytest.mark.parametrize(
        "body", [{"message": "maintenance"}, {"numRecordings": "7", "recordings": []}]
    )
    def test_an_answer_without_recordings_is_none(self, server, tmp_path, body):
        odd = {"status": 200, "body": json.dumps(body).encode(), "kind": "application/json"}
        server.odd = {"/api/3/recordings": [odd]}
        assert download(server, tmp_path) == 0
        assert len(read_table(tmp_path / "metadata.csv")) == len(server.records)
        server.odd = {"/api/3/recordings": [odd] * 6}
        with XenoCantoApi(server.api, KEY, 0.0) as api, pytest.raises(Unavailable):
            complete(api, tmp_path / "audio")
        assert not facts_file(tmp_path / "audio").exists()  # nothing is called unknown

    def test_retry_after_is_kept(self, server, tmp_path):
        busy = {
            "status": 429,
            "body": b"<html>slow down</html>",
            "kind": "text/html",
            "Retry_After": "1",
        }
        server.odd = {"/api/3/recordings": [busy]}
        assert download(server, tmp_path) == 0
        assert 0.8 < server.times[1] - server.times[0] < 60

    def test_a_very_long_wait_ends_the_run(self, server, tmp_path, capsys):
        server.odd = {
            "/api/3/recordings": [
                {"status": 503, "body": b"<html>", "kind": "text/html", "Retry_After": "86400"}
            ]
        }
        assert download(server, tmp_path) == 2
        assert "asks to wait 86400 s" in capsys.readouterr().err

    def test_retry_after_header(self):
        assert retry_after("7") == 7
        assert retry_after(formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=2)
        assert retry_after(formatdate(time.time() - 30, usegmt=True)) == 0
        assert retry_after("soon") is None
        assert retry_after("") is None

    def test_the_real_server_is_not_asked_faster_than_once_a_second(self, tmp_path, capsys):
        assert (
            xeno_canto.main(["--query", "grp:birds", "--out", str(tmp_path), "--pause", "0.5"]) == 2
        )
        assert "one request a second" in capsys.readouterr().err

    def test_a_dead_server_ends_the_run_after_five_files(self, server, tmp_path, capsys):
        server.odd = {
            f"/{number}/download": [{"status": 500, "body": b"", "kind": "text/html"}] * 100
            for number in range(3, 8)
        }
        assert download(server, tmp_path) == 2
        assert "five recordings in a row" in capsys.readouterr().err
        assert len(open_corpus(tmp_path).manifest) == 2, "what came is in the manifest"


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "body", "said"),
        [
            (
                401,
                {"error": "x", "message": f"Wrong key {KEY}"},
                "401 (Wrong key [redacted]): check the env",
            ),
            (
                400,
                {"error": {"code": "bad_query", "message": "Unknown tag"}},
                "400 (Unknown tag): check the query",
            ),
            (200, {"error": {"code": "bad_query", "message": None}}, "200 (bad_query)"),
            (403, "<html>", "403 (no reason given): check the environment variable XENO_CANTO_KEY"),
            (404, [], "404 (no reason given)"),
        ],
    )
    def test_what_the_api_refuses_is_said(self, server, tmp_path, capsys, status, body, said):
        text = body if isinstance(body, str) else json.dumps(body)
        server.odd = {
            "/api/3/recordings": [
                {"status": status, "body": text.encode(), "kind": "application/json"}
            ]
        }
        assert download(server, tmp_path) == 2
        error = capsys.readouterr().err
        assert said in error
        assert_key_nowhere(error, folder=tmp_path)
        assert len(server.seen) == 1

    @pytest.mark.parametrize(
        ("status", "body"),
        [(200, b"<html>maintenance</html>"), (503, b"<html>"), (200, b"[1, 2]"), (200, b"")],
    )
    def test_what_passes_is_tried_again(self, server, tmp_path, status, body):
        server.odd = {
            "/api/3/recordings": [{"status": status, "body": body, "kind": "text/html"}] * 3
        }
        assert download(server, tmp_path) == 0
        assert len(open_corpus(tmp_path).manifest) == 7

    def test_a_server_that_is_not_there(self, tmp_path, capsys, caplog):
        caplog.set_level(logging.DEBUG)
        assert (
            xeno_canto.main(
                [
                    "--query",
                    "a:b",
                    "--out",
                    str(tmp_path),
                    "--api",
                    "http://127.0.0.1:9/api",
                    "--pause",
                    "0",
                ]
            )
            == 2
        )
        error = capsys.readouterr().err
        assert "ConnectError" in error
        assert_key_nowhere(error, caplog.text, folder=tmp_path)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--api", "127.0.0.1:9/api"], "give a whole address"),
            (["--pause", "-1"], "give 0 or more seconds"),
        ],
    )
    def test_options_that_cannot_work_are_told_at_once(self, tmp_path, capsys, options, said):
        assert xeno_canto.main(["--query", "a:b", "--out", str(tmp_path), *options]) == 2
        assert said in capsys.readouterr().err

    def test_a_table_of_somebody_else_is_left_alone(self, server, tmp_path, capsys):
        (tmp_path / "manifest.csv").write_text("file,label\na.wav,A\nb.wav,B\n")
        assert download(server, tmp_path) == 2
        assert "was not written by this command" in capsys.readouterr().err and not server.seen
        assert (tmp_path / "manifest.csv").read_text() == "file,label\na.wav,A\nb.wav,B\n"

    def test_a_damaged_page_is_asked_for_again(self, server, tmp_path):
        assert download(server, tmp_path) == 0
        (page,) = tmp_path.glob("pages/*/page-0001.json")
        page.write_text('{"recordings": [')
        assert download(server, tmp_path) == 0

    def test_no_traceback_shows_the_key(self):
        with (
            XenoCantoApi(f"http://127.0.0.1:9/{KEY}", KEY, 0.0) as api,
            pytest.raises(BirdnbError) as caught,
        ):
            api.page("a:b", 1, 500)
        assert_key_nowhere("".join(traceback.format_exception(caught.value)))

    def test_a_redirect_of_the_api_does_not_take_the_key_along(self, server, tmp_path, capsys):
        moved = {
            "status": 301,
            "body": b"",
            "kind": "text/html",
            "Location": f"http://{server.host}/new?key={KEY}",
        }
        server.odd = {"/api/3/recordings": [moved]}
        assert download(server, tmp_path) == 2
        error = capsys.readouterr().err
        assert "has moved to" in error
        assert_key_nowhere(error)
        assert len(server.seen) == 1

    @pytest.mark.parametrize(
        "query", ["blackbird", 'en:common blackbird"', "", "gen:turdus merula"]
    )
    def test_queries_are_tags(self, tmp_path, capsys, query):
        assert xeno_canto.main(["--query", query, "--out", str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert "not made of tags" in error or "nothing to look for" in error

    def test_without_a_key(self, tmp_path, capsys, monkeypatch):
        monkeypatch.delenv("XENO_CANTO_KEY")
        assert xeno_canto.main(["--query", "grp:birds", "--out", str(tmp_path)]) == 2
        assert "XENO_CANTO_KEY" in capsys.readouterr().err

    def test_nothing_found(self, server, tmp_path, capsys):
        server.records = []
        assert download(server, tmp_path) == 2
        assert "no recordings match 'grp:birds'" in capsys.readouterr().err

    def test_a_species_file_of_common_names(self, tmp_path, capsys):
        (tmp_path / "s.txt").write_text("Common Blackbird (male)\n")
        assert (
            xeno_canto.main(["--species-file", str(tmp_path / "s.txt"), "--out", str(tmp_path)])
            == 2
        )
        assert "is no scientific name" in capsys.readouterr().err


class TestChoice:
    def test_recordists_take_turns_best_first(self):
        records = [record(number, rec="Busy", q="A") for number in range(1, 11)]
        records += [
            record(20, rec="Ann", q="B"),
            record(21, rec="Ann", q="A"),
            record(30, rec="Bo", q="no score"),
        ]
        order = [int(r["id"]) for r in take_turns(records)]
        assert order[:3] == [1, 21, 30]
        assert order[3:5] == [2, 20]
        chosen, left = choose(records, Limits(per_species=4))
        assert Counter(r["rec"] for r in chosen) == {"Busy": 2, "Ann": 1, "Bo": 1}
        assert {row["reason"] for row in left} == {"not among the 4 chosen of its species"}
        fewer, _ = choose(records, Limits(per_species=3))
        assert all(r in chosen for r in fewer)
        assert choose(records[::-1], Limits(per_species=4))[0] == chosen

    def test_species_with_too_few(self):
        records = [record(1), record(2), record(3, gen="Parus", sp="major")]
        chosen, left = choose(records, Limits(min_per_species=2))
        assert [r["id"] for r in chosen] == ["1", "2"]
        assert left[0]["reason"] == "the species has fewer than 2 recordings"

    @pytest.mark.parametrize(
        ("length", "seconds"),
        [("0:30", 30), ("1:02", 62), ("1:02:03", 3723), ("45", 45), ("", None), ("x", None)],
    )
    def test_lengths(self, length, seconds):
        assert seconds_of(length) == seconds


def command(server: Server, out: Path) -> list[str]:
    return [sys.executable, "-m", "birdnb.corpora.xeno_canto", "--query", "grp:birds", "--out",
            str(out), "--api", server.api,
            "--pause", "0.01", "--per-page", "10"]  # fmt: skip


class TestSuddenDeath:
    def test_killed_and_begun_again_it_ends_the_same(self, server, tmp_path):
        server.records = [
            record(number, gen="Turdus" if number % 2 else "Parus") for number in range(1, 61)
        ]
        server.odd = {"/9/download": [{"status": 404, "body": b"", "kind": "text/html"}] * 100}
        assert download(server, tmp_path / "calm", "--per-page", "10") == 0
        server.slow = 0.02
        out, kills, came = tmp_path / "killed", 0, []
        for seconds in (0.05, 0.2, 0.35, 0.4):
            asked = len(server.seen)
            process = subprocess.Popen(
                command(server, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            while len(server.seen) == asked and process.poll() is None:
                time.sleep(0.01)
            time.sleep(seconds)
            kills += process.poll() is None
            process.kill()
            process.wait()
            came.append(len(list((out / "audio").glob("XC*"))) if out.exists() else 0)
            assert all(
                path.read_bytes() == sound(path.stem[2:]) for path in (out / "audio").glob("XC*")
            ), "no half files"
            if (out / "manifest.csv").exists():
                open_corpus(out)
        assert kills >= 3
        assert came == sorted(came)
        assert came[-1] > 0
        asked = len(server.seen)
        assert (
            subprocess.run(command(server, out), capture_output=True, check=False).returncode == 0
        )
        assert len(server.seen) - asked < 61, "it went on, it did not begin anew"
        left = {name: content for name, content in files(out).items() if "/.tmp-" not in f"/{name}"}
        assert left == files(tmp_path / "calm")

    def test_what_a_killed_run_left_half_written_is_removed(self, server, tmp_path):
        (tmp_path / "audio").mkdir()
        for name, age in (("old", 7200), ("young", 60)):
            (tmp_path / f"audio/.tmp-{name}.mp3").write_bytes(b"half")
            os.utime(tmp_path / f"audio/.tmp-{name}.mp3", (time.time() - age,) * 2)
        assert download(server, tmp_path) == 0
        assert [path.name for path in (tmp_path / "audio").glob(".tmp-*")] == [".tmp-young.mp3"]

    def test_interrupted_it_says_that_it_goes_on(self, server, tmp_path):
        # it cannot be done before the signal
        server.records, server.slow = ([record(number) for number in range(1, 200)], 0.2)
        process = subprocess.Popen(
            command(server, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        while not any("download" in path for path in server.seen) and process.poll() is None:
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=120)
        assert process.returncode == 130
        assert "interrupted: what came is kept" in error
        assert "Traceback" not in error
        here = len(list((tmp_path / "audio").glob("XC*")))
        assert 0 < here < 199
        assert len(open_corpus(tmp_path).manifest) in (here, here - 1)
        assert_key_nowhere(out, error)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
    def test_a_folder_that_may_not_be_written(self, server, tmp_path, capsys):
        tmp_path.chmod(0o555)
        assert download(server, tmp_path) == 2
        assert "may not write" in capsys.readouterr().err
        tmp_path.chmod(0o755)
