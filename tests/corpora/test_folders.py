"""Opening a corpus: the layouts that need no importer, the demo, and folders that are no corpus."""

from __future__ import annotations

import json
import os

import pandas as pd
import pytest
from small_corpora import put, reasons

from birdnb.corpora import corpus_name, open_corpus
from birdnb.corpora.table import COLUMNS, make_ids
from birdnb.files import BirdnbError
from birdnb.synthetic.demo import make_demo


class TestManifestFolder:
    def test_manifest_with_audio(self, tmp_path):
        root = put(
            tmp_path / "My birds!",
            "audio/robin 1.wav",
            "audio/wren.MP3",
            "audio/stray.ogg",
            "notes.txt",
        )
        table = "\ufeffrecording_id,path,species,recordist,mood\nr1,audio/robin 1.wav,NA,Ann,good\n"
        table += "w,audio/wren.MP3,007,,\nx,no.wav,S,,\n"
        (root / "manifest.csv").write_text(table, encoding="utf-8")
        corpus = open_corpus(root)
        assert (corpus.name, corpus.layout, corpus.synthetic) == ("My_birds", "manifest.csv", False)
        assert corpus.manifest.columns.tolist() == COLUMNS
        assert corpus.manifest["species"].tolist() == ["NA", "007"]
        assert corpus.manifest["recordist"].tolist() == ["Ann", ""]
        assert reasons(corpus) == {
            "no.wav": "the file is missing",
            "audio/stray.ogg": "not in the table",
        }
        assert all((corpus.root / path).is_file() for path in corpus.manifest["path"])

    def test_nothing_survives(self, tmp_path):
        root = put(tmp_path / "c", "a.wav")
        (root / "manifest.csv").write_text("recording_id,path,species\n1,b.wav,S\n2,c.wav,S\n")
        with pytest.raises(
            BirdnbError, match=r"nothing in the corpus .* \(2 x the file is missing; 1 x not in the"
        ):
            open_corpus(root)


class TestSpeciesFolders:
    def test_folders(self, tmp_path):
        root = put(
            tmp_path / "birds", "Turdus merula/XC1.ogg", "Turdus merula/XC2.ogg", "NA/a b'c.WAV",
            "NA/readme.txt",
            "1234/XC1.mp3", "stray.wav", "NA/2019/deep.wav", "NA/.tmp-half.wav", ".cache/x.wav",
            "Mystery/m.wav",
        )  # fmt: skip
        corpus = open_corpus(str(root))
        assert corpus.layout == "species folders"
        found = corpus.manifest.set_index("path")["species"].to_dict()
        assert found == {"1234/XC1.mp3": "1234", "NA/a b'c.WAV": "NA",
                         "Turdus merula/XC1.ogg": "Turdus merula",
                         "Turdus merula/XC2.ogg": "Turdus merula"}  # fmt: skip
        ids = corpus.manifest.set_index("path")["recording_id"]
        assert ids["Turdus merula/XC2.ogg"] == "XC2"
        assert ids["1234/XC1.mp3"].startswith("XC1-")
        assert ids["1234/XC1.mp3"] != ids["Turdus merula/XC1.ogg"]
        assert reasons(corpus) == {
            "NA/readme.txt": "not an audio file (.txt)",
            "stray.wav": "lies beside the species folders: its species is not known",
            "NA/2019/deep.wav": "lies deeper than the species folder: move it up",
            ".cache/x.wav": "hidden (its name begins with a dot)",
            "Mystery/m.wav": "the label 'Mystery' names no species",
        }

    def test_links_out_of_the_corpus(self, tmp_path):
        root = put(tmp_path / "birds", "A/1.wav", "B/2.wav")
        secret = put(tmp_path, "secret.wav") / "secret.wav"
        (root / "A" / "link.wav").symlink_to(secret)
        (root / "B" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
        corpus = open_corpus(root)
        assert len(corpus.manifest) == 2
        assert set(reasons(corpus)) == {"A/link.wav", "B/gone.wav"}
        assert "symbolic link" in reasons(corpus)["A/link.wav"]

    def test_linked_folders_and_names_that_are_no_text_are_reported(self, tmp_path):
        root = put(tmp_path / "birds", "A/1.wav", "B/2.wav")
        (root / "linked").symlink_to(put(tmp_path, "elsewhere/3.wav") / "elsewhere")
        latin = os.fsdecode("Gr\u00fcn.wav".encode("latin-1"))
        try:
            put(root, f"A/{latin}")
        except OSError:
            pytest.skip("this file system takes UTF-8 only")
        said = {
            "linked": "a link to a folder: put the folder itself here",
            "A/Gr\ufffdn.wav": "its name is not UTF-8: rename it",
        }
        corpus = open_corpus(root)
        assert len(corpus.manifest) == 2 and reasons(corpus) == said
        (root / "manifest.csv").write_text("recording_id,path,species\n1,A/1.wav,A\n2,B/2.wav,B\n")
        assert reasons(open_corpus(root)) == {"A/Gr\ufffdn.wav": "its name is not UTF-8: rename it"}

    def test_ids_do_not_change_when_files_come_in_another_order(self):
        paths = ["A/x.wav", "B/X.wav", "B/\u9ce5.wav", "C/y.wav"]
        ids = make_ids(paths)
        assert len({name.casefold() for name in ids}) == 4
        assert ids[3] == "y"
        assert make_ids(paths[::-1]) == ids[::-1]


def test_the_name_of_a_corpus(tmp_path, monkeypatch):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))
    assert corpus_name("demo") == corpus_name(tmp_path / "artifacts/corpora/demo") == "demo"
    assert corpus_name(tmp_path / "demo") == "demo_folder"
    assert corpus_name(tmp_path / "My birds!") == "My_birds"
    names = [corpus_name(tmp_path / name) for name in ("\u9ce5", "\u30d2\u30bf\u30ad")]
    assert names[0] != names[1] and all(name.startswith("unnamed-") for name in names)
    # what is left of a name once its letters are lost is no name
    moscow, kazan = (corpus_name(tmp_path / f"Птицы {x} 2023") for x in ("М", "К"))
    assert moscow != kazan and moscow.startswith("2023-") and kazan.startswith("2023-")
    assert corpus_name(tmp_path / "Vögel 2023") == "Vogel_2023" and corpus_name("2023") == "2023"
    assert corpus_name(tmp_path / "Łódź 2023") == "odz_2023"
    bytes_of_old = (corpus_name(tmp_path / name) for name in ("caf\udce8 1", "caf\udce9 1"))
    assert len(set(bytes_of_old)) == 2


class TestWhatIsNoCorpus:
    def test_unknown_layout_shows_what_was_looked_for(self, tmp_path):
        put(tmp_path / "odd", "a.wav", "b.txt", "deep/er/c.wav")
        with pytest.raises(BirdnbError) as caught:
            open_corpus(tmp_path / "odd")
        for said in (
            str(tmp_path / "odd"),
            "manifest.csv",
            "train_metadata.csv",
            "parquet",
            "XC123.mp3",
            "one folder a species",
            "a.wav, b.txt, deep/",
            "put the recordings of each species into a folder named after it",
        ):
            assert said in str(caught.value)

    def test_missing_folder(self, tmp_path):
        with pytest.raises(BirdnbError, match="does not exist"):
            open_corpus(tmp_path / "nowhere")

    def test_file(self, tmp_path):
        put(tmp_path, "a.wav")
        with pytest.raises(BirdnbError, match="is a file, not a folder"):
            open_corpus(tmp_path / "a.wav")

    def test_empty_folder(self, tmp_path):
        with pytest.raises(BirdnbError, match=r"found nothing$"):
            open_corpus(tmp_path)


class TestDemo:
    def test_demo_is_made_once_and_marked(self, tmp_path, monkeypatch):
        """A smaller one, whose recipe says that it is the whole: that would take a minute."""
        monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))
        root = tmp_path / "artifacts" / "corpora" / "demo"
        make_demo(root, species=2, recordings=2, progress=False, jobs=1)
        recipe = json.loads((root / "recipe.json").read_text())
        whole = recipe | {"species": 12, "recordings": 30}
        (root / "recipe.json").write_text(json.dumps(whole))
        corpus = open_corpus("demo", progress=False)
        assert (corpus.name, corpus.synthetic) == ("demo", True)
        assert corpus.root == root and len(corpus.manifest) < 20
        assert open_corpus(root, progress=False).synthetic

    def test_a_folder_called_demo_is_not_the_demo(self, tmp_path):
        corpus = open_corpus(put(tmp_path / "demo", "A/1.wav"))
        assert corpus.name != "demo"
        assert not corpus.synthetic


FIRST = {
    "id": "1", "gen": "Turdus", "sp": "merula", "en": "Common Blackbird", "rec": "Ann",
    "date": "2020-05-01", "loc": "Kew", "lic": "//creativecommons.org/licenses/by-nc-sa/4.0/",
    "url": "//xeno-canto.org/1", "q": "A", "also": ["", "Parus major"],
}  # fmt: skip
SECOND = {
    "id": 2, "gen": "Parus", "sp": "major", "rec": None, "lat": 1.5, "lng": "2.5", "also": None,
}  # fmt: skip
THIRD, FOURTH = ({"id": "3", "gen": "A", "sp": "b"}, {"id": "4", "gen": "Mystery", "sp": "mystery"})
PAGES = {
    "p1.json": {"numRecordings": "3", "page": 1, "numPages": 2, "recordings": [FIRST, SECOND]},
    "p2.json": {"recordings": [FIRST, THIRD, FOURTH]},
    "other.json": {"settings": 1},
}


class TestXenoCantoDump:
    @pytest.mark.parametrize(
        "text",
        ['{"recordings": 120}', '{"recordings": {"a": 1}}', '{"recordings": []}', "[" * 99999],
    )
    def test_json_that_is_no_page_beside_species_folders(self, tmp_path, text):
        root = put(tmp_path / "birds", "A/1.wav", "B/2.wav")
        (root / "info.json").write_text(text)
        (root / "x.json").mkdir()
        (root / "dead.json").symlink_to(root / "nothing")
        assert open_corpus(root, progress=False).layout == "species folders"

    @pytest.fixture
    def dump(self, tmp_path):
        """Two pages of three recordings, one of them twice, beside audio that they know or not."""
        root = put(
            tmp_path / "xc",
            "XC1.mp3",
            "audio/2.mp3",
            "audio/XC4 - Common Blackbird.ogg",
            "audio/XC99.mp3",
            "audio/song.mp3",
        )
        for name, page in PAGES.items():
            (root / name).write_text(json.dumps(page))
        (root / "broken.json").write_text('{"recordings": [')
        return open_corpus(root)

    def test_pages_beside_audio(self, dump):
        assert dump.layout == "Xeno-Canto JSON"
        rows = dump.manifest.set_index("recording_id")
        assert rows.index.tolist() == ["XC1", "XC2"]
        assert rows.loc["XC1"].tolist() == [
            "XC1.mp3", "Turdus merula", "Common Blackbird", "Ann", "2020-05-01", "", "Kew",
            "", "", "https://creativecommons.org/licenses/by-nc-sa/4.0/",
            "https://xeno-canto.org/1", "A", "", "Parus major",
        ]  # fmt: skip
        found = rows.loc["XC2", ["path", "recordist", "locality"]].tolist()
        assert found == ["audio/2.mp3", "", "1.5, 2.5"]

    def test_what_pages_and_audio_lack_is_left_out_with_the_reason(self, dump):
        left = dump.left_out[["recording_id", "path", "reason"]].to_numpy().tolist()
        assert sorted(left) == sorted([
            ["XC4", "audio/XC4 - Common Blackbird.ogg",
            "the label 'Mystery mystery' names no species"],
            ["XC3", "", "no audio of this number here"],
            ["", "broken.json", "not a page of the Xeno-Canto API"],
            ["", "other.json", "not a page of the Xeno-Canto API"],
            ["", "audio/XC99.mp3", "not in the table"],
            ["", "audio/song.mp3", "not in the table"],
        ])  # fmt: skip


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    """By a stand-in for the question, as the superuser may read everything."""
    root = put(tmp_path / "birds", "0first/1.wav", "B/2.wav")
    allowed = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: path != root / "0first" and allowed(path, mode)
    )
    left = open_corpus(root, progress=False).left_out
    assert (
        left.loc[left["path"] == "0first", "reason"]
        .item()
        .startswith("a folder that may not be read")
    )


def test_left_out_is_a_table_of_text(tmp_path):
    corpus = open_corpus(put(tmp_path / "c", "A/1.wav"))
    assert corpus.left_out.empty
    assert corpus.left_out.columns.tolist() == ["recording_id", "path", "species", "reason"]
    assert isinstance(corpus.manifest.index, pd.RangeIndex)


def test_species_below_orders_and_families_are_found_and_said(tmp_path):
    folder = tmp_path / "Passeriformes" / "Turdidae" / "Turdus merula"
    folder.mkdir(parents=True)
    (folder / "song.wav").write_bytes(b"RIFF    WAVE")
    with pytest.raises(BirdnbError, match="deeper, as in Passeriformes/Turdidae/Turdus merula/"):
        open_corpus(tmp_path, progress=False)
