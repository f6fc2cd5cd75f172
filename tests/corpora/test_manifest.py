"""The manifest: checks of every row, credits."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from small_corpora import manifest_of

from birdnb.corpora import open_corpus
from birdnb.corpora.paths import CorpusFiles
from birdnb.corpora.table import (
    COLUMNS,
    attribution,
    check_manifest,
    credit,
    license_counts,
    short_license,
)
from birdnb.files import BirdnbError


def make_table(root: Path, *rows: tuple[str, str, str]) -> pd.DataFrame:
    """Table of (recording_id, path, species)."""
    return pd.DataFrame(rows, columns=["recording_id", "path", "species"])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name in ["a.wav", "b.wav", "c.wav", 'it\'s "é" 1.WAV']:
        (corpus / name).write_bytes(b"sound")
    (corpus / "folder.wav").mkdir()
    (tmp_path / "secret.wav").write_bytes(b"private")
    (corpus / "out.wav").symlink_to(tmp_path / "secret.wav")
    (corpus / "inside.wav").symlink_to(corpus / "c.wav")
    (corpus / "circle.wav").symlink_to(corpus / "circle.wav")
    (corpus / "dead.wav").symlink_to(corpus / "gone.wav")
    (corpus / "annexed.wav").symlink_to("../.git/annex/objects/SHA256E-s9.wav")
    os.mkfifo(corpus / "pipe.wav")
    return corpus


class TestChecks:
    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            (("../../x", "a.wav", "S"), "not safe"),
            ((".hidden", "a.wav", "S"), "not safe"),
            (("-rf", "a.wav", "S"), "not safe"),
            (("a/b", "a.wav", "S"), "not safe"),
            (("a\\b", "a.wav", "S"), "not safe"),
            (("a\x00b", "a.wav", "S"), "not safe"),
            (("c:d", "a.wav", "S"), "not safe"),
            (("x" * 300, "a.wav", "S"), "not safe"),
            (("", "a.wav", "S"), "recording_id is empty"),
            (("r", "a.wav", ""), "species is empty"),
            (("r", "a.wav", "   "), "species is empty"),
            (("r", "a.wav", "Mystery mystery"), "names no species"),
            (("r", "", "S"), "path is empty"),
            (("r", "/etc/passwd", "S"), "absolute"),
            (("r", "C:\\birds\\a.wav", "S"), "absolute"),
            (("r", "../secret.wav", "S"), "leads out"),
            (("r", "folder.wav/../../secret.wav", "S"), "leads out"),
            (("r", "out.wav", "S"), "symbolic link that leads out"),
            (("r", "circle.wav", "S"), "not there|cannot be followed"),
            (("r", "dead.wav", "S"), "a link to a file that is not there$"),
            (("r", "annexed.wav", "S"), "not there: run git annex get"),
            (("r", "pipe.wav", "S"), "a pipe or a device"),
            (("r", "nothing.wav", "S"), "file is missing"),
            (("r", "folder.wav", "S"), "is a folder"),
            (("r", "a\x00.wav", "S"), "cannot be followed"),
            (("r", "n" * 5000, "S"), "cannot be followed|missing"),
        ],
    )
    def test_each_fault_has_its_reason_and_spares_the_others(self, root, row, reason):
        manifest, left_out = check_manifest(make_table(root, row, ("good", "b.wav", "S")), root)
        assert manifest["recording_id"].tolist() == ["good"]
        assert len(left_out) == 1
        assert pd.Series(left_out["reason"]).str.contains(reason).all(), left_out["reason"].tolist()
        assert left_out["path"].tolist() == [row[1]]

    def test_odd_but_fine(self, root):
        rows = [
            ("a b é", 'it\'s "é" 1.WAV', "NA"),
            ("1234", "inside.wav", "1234"),
            ("x.y-z_1", "./a.wav", "Mysteria's bird"),
        ]
        manifest, left_out = check_manifest(make_table(root, *rows), root)
        assert left_out.empty
        assert manifest["species"].tolist() == ["NA", "1234", "Mysteria's bird"]
        assert manifest.columns.tolist() == COLUMNS
        assert (manifest[COLUMNS[3:]] == "").all(axis=None)

    def test_decimal_commas_are_numbers(self, root):
        table = make_table(root, ("1", "a.wav", "S"), ("2", "b.wav", "S"), ("3", "c.wav", "S"))
        table = table.assign(latitude=["47,1", "-9", "1,234,5"], longitude=["-11,45", "3.5", "N 3"])
        manifest, _ = check_manifest(table, root)
        assert manifest["latitude"].tolist() == ["47.1", "-9", ""]
        assert manifest["longitude"].tolist() == ["-11.45", "3.5", ""]

    def test_repeated_ids_also_in_other_capitals(self, root):
        rows = [("XC1", "a.wav", "S"), ("xc1", "b.wav", "S"), ("XC1", "c.wav", "S")]
        manifest, left_out = check_manifest(make_table(root, *rows), root)
        assert manifest["path"].tolist() == ["a.wav"]
        assert left_out["reason"].str.contains("used already").tolist() == [True, True]

    def test_a_refused_row_does_not_use_up_its_id(self, root):
        manifest, _ = check_manifest(
            make_table(root, ("r", "nothing.wav", "S"), ("r", "a.wav", "S")), root
        )
        assert manifest["path"].tolist() == ["a.wav"]

    def test_same_file_twice(self, root):
        rows = [
            ("1", "a.wav", "S"),
            ("2", "./a.wav", "S"),
            ("3", "c.wav", "S"),
            ("4", "inside.wav", "T"),
            ("5", "b.wav", "T"),
        ]
        manifest, left_out = check_manifest(make_table(root, *rows), root)
        assert manifest["recording_id"].tolist() == ["1", "5"]
        assert dict(zip(left_out["recording_id"], left_out["reason"], strict=True)) == {
            "2": "the same file is listed already (as '1')",
            "3": "label conflict: the same file is listed as S and as T",
            "4": "label conflict: the same file is listed as S and as T",
        }

    def test_a_required_column_is_missed(self, root):
        with pytest.raises(BirdnbError, match="no column 'species'"):
            check_manifest(make_table(root).drop(columns="species"), root)

    def test_a_corpus_behind_a_link_is_fine(self, root, tmp_path):
        (tmp_path / "link").symlink_to(root)
        manifest, left_out = check_manifest(
            make_table(root, ("r", "a.wav", "S")), tmp_path / "link"
        )
        assert len(manifest) == 1
        assert left_out.empty

    def test_missing_values_of_another_reader_are_taken_as_empty(self, root):
        table = make_table(root, ("r", "a.wav", "S")).assign(
            recordist=[None], quality=[float("nan")]
        )
        manifest, _ = check_manifest(table, root)
        assert manifest.loc[0, ["recordist", "quality"]].tolist() == ["", ""]


class TestCredits:
    def test_licences(self):
        licences = [
            "https://creativecommons.org/licenses/by-nc-sa/4.0/",
            "https://creativecommons.org/licenses/by-nc-nd/2.5/",
            "Creative Commons Attribution-NonCommercial-ShareAlike 3.0",
            "Creative Commons Attribution-NonCommercial-NoDerivs 2.5",
            "CC BY 4.0",
            "CC BY-ND 4.0",
            "",
            "",
        ]
        manifest = manifest_of(license=licences)
        counts = license_counts(manifest).set_index("license")
        assert counts.loc["not stated", "recordings"] == 2
        assert counts["recordings"].sum() == 8
        assert counts["no_derivatives"].reindex([*licences[:6], "not stated"]).tolist() == [
            False,
            True,
            False,
            True,
            False,
            True,
            False,
        ]
        assert (
            counts["non_commercial"].reindex([*licences[:6], "not stated"]).tolist()
            == [True, True, True, True] + [False] * 3
        )

    def test_attribution(self):
        manifest = manifest_of(
            species=["S", "T"], recordist=["Ann", "Bo"], license=["CC BY", ""], url=["u", "v"]
        )
        table = attribution(manifest)
        assert table.columns.tolist() == ["recording_id", "species", "recordist", "license", "url"]
        assert table.loc[0].tolist() == ["r0", "S", "Ann", "CC BY", "u"]

    def test_a_line_of_credit_names_people_recordings_and_licences(self):
        by = "Creative Commons Attribution-NonCommercial-ShareAlike 4.0"
        table = pd.DataFrame(
            {
                "recordist": ["Ann", "Bo", "Ann", ""],
                "license": [by, "//creativecommons.org/licenses/by-nc-sa/4.0/", by, ""],
            },
            index=["XC1", "XC2", "XC3", "XC4"],
        )
        assert credit(table) == (
            "Recorded by Ann (XC1, XC3), Bo (XC2): CC BY-NC-SA 4.0; "
            "recordist not stated (XC4): licence not stated"
        )
        assert credit(table.iloc[3:]) == ""

    @pytest.mark.parametrize(
        ("given", "short"),
        [
            ("Creative Commons Attribution-ShareAlike 4.0", "CC BY-SA 4.0"),
            ("Creative Commons Attribution-NonCommercial-NoDerivs 2.5", "CC BY-NC-ND 2.5"),
            ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0 1.0"),
            ("CC0 (synthesised)", "CC0 (synthesised)"),
            ("my own", "my own"),
            ("", ""),
        ],
    )
    def test_licences_are_shortened_for_a_line(self, given, short):
        assert short_license(given) == short


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_entered(root):
    closed = root / "closed"
    closed.mkdir()
    (closed / "a.wav").write_bytes(b"x")
    closed.chmod(0)
    try:
        manifest, left_out = check_manifest(
            make_table(root, ("r", "closed/a.wav", "S"), ("g", "a.wav", "S")), root
        )
        assert manifest["recording_id"].tolist() == ["g"]
        assert len(left_out) == 1
    finally:
        closed.chmod(0o755)


def test_a_path_leads_to_its_file_and_never_out_of_the_corpus(tmp_path):
    root = tmp_path / "corpus"
    for folder in (root / "a/b", tmp_path / "outside"):
        folder.mkdir(parents=True)
        for name in ("x.wav", " y.wav", "c:d.wav"):
            (folder / name).write_text("sound")
    (root / "a/link.wav").symlink_to(root / "a/b/x.wav")
    (root / "a/leak.wav").symlink_to(tmp_path / "outside/x.wav")
    (root / "inner").symlink_to(root / "a/b")
    (root / "outer").symlink_to(tmp_path / "outside")
    (root / "circle").symlink_to(root / "circle")
    there = ["a/b/x.wav", "a/b/ y.wav", "a/b/c:d.wav", "a//b/x.wav", "./a/b/x.wav", "a/link.wav"]
    files = CorpusFiles(root)
    for path in [*there, "inner/x.wav"]:
        assert files.find(path) == (path, str((root / path).resolve()), "")
    for path in (
        "a/b/none.wav",
        "a/b",
        "a/b/",
        "a/b/.",
        "a/../a/b/x.wav",
        "../outside/x.wav",
        "",
        "..\\outside\\x.wav",
        "a/leak.wav",
        "outer/x.wav",
        "circle/x.wav",
        " ",
        "/",
        str(root / "a/b/x.wav"),
        "a\0/x.wav",
        "a/b/x\0.wav",
        "n" * 300 + "/x.wav",
    ):
        found, real, fault = files.find(path)
        assert (found, real) == (path, "")
        assert fault


class TestPathsOfOtherSystems:
    @pytest.mark.parametrize(
        "written",
        [
            "audio\\Grünfink 1.wav",
            "./AUDIO/Grünfink 1.wav",
            "audio/GRÜNFINK 1.WAV",
            " audio/Grünfink 1.wav ",
            "audio/Gru\u0308nfink 1.wav",
            "audio/Grünfink\u00a01.wav",
            ".\\AUDIO\\Grünfink_1.wav",
            "audio//Grünfink  1.wav",
            "audio/Gr%C3%BCnfink%201.wav",
            "\ufeffaudio/Grünfink 1.wav",
        ],
    )
    def test_the_one_file_that_is_meant_is_found(self, tmp_path, written):
        (tmp_path / "audio").mkdir()
        (tmp_path / "audio/Grünfink 1.wav").write_bytes(b"sound")
        manifest, left_out = check_manifest(
            make_table(tmp_path, ("r", written, "Chloris chloris")), tmp_path
        )
        assert manifest["path"].tolist() == ["audio/Grünfink 1.wav"]
        assert left_out.empty
        assert (tmp_path / manifest["path"][0]).is_file()

    def test_a_file_found_so_is_no_stranger_to_the_table_and_counts_once(self, tmp_path):
        (tmp_path / "A").mkdir()
        for name in ("one.wav", "two.wav", "three.wav"):
            (tmp_path / "A" / name).write_bytes(name.encode())
        rows = "1,A\\ONE.wav,S\n2,a/one.wav,S\n3,A\\two.wav,unknown\n"
        (tmp_path / "manifest.csv").write_text("recording_id,path,species\n" + rows)
        corpus = open_corpus(tmp_path, progress=False)
        assert corpus.manifest["path"].tolist() == ["A/one.wav"]
        assert dict(zip(corpus.left_out["path"], corpus.left_out["reason"], strict=True)) == {
            "A/one.wav": "the same file is listed already (as '1')",
            "A/two.wav": "the label 'unknown' names no species",
            "A/three.wav": "not in the table",
        }

    @pytest.mark.parametrize(
        ("written", "hint"),
        [
            ("AUDIO/Robin.wav", "it may be audio/ROBIN.wav or audio/robin.wav: write which"),
            ("other/wren 7.wav", "near it is audio/wren 7.wav"),
            ("audio/wren 7.mp3", "near it is audio/wren 7.wav"),
            ("audio/blackbrid 3.wav", "near it is audio/blackbird 3.wav"),
        ],
    )
    def test_else_a_hint_names_the_near_one(self, tmp_path, written, hint):
        (tmp_path / "audio").mkdir()
        for name in ("robin.wav", "ROBIN.wav", "wren 7.wav", "blackbird 3.wav"):
            (tmp_path / "audio" / name).write_bytes(b"sound")
        _, left_out = check_manifest(make_table(tmp_path, ("r", written, "S")), tmp_path)
        assert left_out["reason"].tolist() == [f"the file is missing; {hint}"]

    def test_another_number_is_no_hint(self, tmp_path):
        (tmp_path / "blackbird 3.wav").write_bytes(b"sound")
        _, left_out = check_manifest(make_table(tmp_path, ("r", "blackbird 4.wav", "S")), tmp_path)
        assert left_out["reason"].tolist() == ["the file is missing"]


@pytest.mark.parametrize(
    "nothing",
    [
        "",
        "nan",
        "NaN",
        "None",
        "NULL",
        "NA",
        "N/A",
        "n/a",
        "<NA>",
        "NaT",
        "unknown",
        "Unknown",
        "-",
        "--",
        "?",
        ".",
        "not specified",
        "undefined",
        " unknown ",
        "(unknown)",
        "—",
    ],
)
def test_a_placeholder_states_nothing_in_any_column(root, nothing):
    optional = COLUMNS[3:]
    table = make_table(root, ("r", "a.wav", "S")).assign(**dict.fromkeys(optional, nothing))
    manifest, _ = check_manifest(table, root)
    assert (manifest[optional] == "").all(axis=None)
    assert license_counts(manifest)["license"].tolist() == ["not stated"]


@pytest.mark.parametrize(
    "text", ["Ann", "Na Li", "Unknown Lake Reserve", "0", "CC BY", "张三", "D", "No Man's Land"]
)
def test_real_values_stay(root, text):
    table = make_table(root, ("nan", "a.wav", "S")).assign(recordist=text, locality=text)
    manifest, _ = check_manifest(table, root)
    assert manifest.loc[0, ["recording_id", "recordist", "locality"]].tolist() == [
        "nan",
        text,
        text,
    ]
