"""The manifest: checks of every row, credits."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from birdnb.corpora import table
from birdnb.corpora.table import COLUMNS, attribution, check_manifest, license_counts
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
    return corpus


def manifest_of(**columns: list[str]) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    table = pd.DataFrame(columns).reindex(columns=COLUMNS, fill_value="")
    table["recording_id"] = [f"r{i}" for i in range(n)]
    return table


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
            (("r", "circle.wav", "S"), "missing|cannot be followed"),
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
        credit = attribution(manifest)
        assert credit.columns.tolist() == ["recording_id", "species", "recordist", "license", "url"]
        assert credit.loc[0].tolist() == ["r0", "S", "Ann", "CC BY", "u"]


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


def test_the_quick_look_at_a_path_agrees_with_the_close_one(tmp_path):
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
    folders: dict[str, str] = {}
    ordinary = {}
    for path in ("a/b/none.wav", "a/b/x.wav", "a/b/ y.wav", "a/b/c:d.wav", "a/b", "a/b/", "a/b/.", "a//b/x.wav", "./a/b/x.wav",
                 "a/../a/b/x.wav", "../outside/x.wav", "a/link.wav", "a/leak.wav", "inner/x.wav", "outer/x.wav", "circle/x.wav",
                 str(root / "a/b/x.wav"), "", " ", "a\0/x.wav", "a/b/x\0.wav", "n" * 300 + "/x.wav", "/"):  # fmt: skip
        if found := table._ordinary_file(path, root.resolve(), folders):
            assert table.path_fault(path, root.resolve()) == ""
            assert found == str((root / path).resolve())
            ordinary[path] = found
    assert {"a/b/x.wav", "a/b/ y.wav", "a//b/x.wav", "./a/b/x.wav", "inner/x.wav"} == set(ordinary)
