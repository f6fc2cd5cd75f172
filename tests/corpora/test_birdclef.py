"""BirdCLEF through the years, and BirdSet parquet."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_corpora import put, reasons

from birdnb.corpora import open_corpus
from birdnb.corpora.birdclef import parse_list
from birdnb.files import BirdnbError


def test_names_as_windows_writes_them(tmp_path):
    root = put(tmp_path / "birdclef", "train_audio/acafly/XC1.ogg", "train_audio/norcar/XC2.ogg")
    (root / "train_metadata.csv").write_text(
        "primary_label,filename,author\nacafly,acafly\\XC1.ogg,nan\nnorcar,XC2.OGG,Bo\n"
    )
    corpus = open_corpus(root)
    assert corpus.manifest["path"].tolist() == [
        "train_audio/acafly/XC1.ogg",
        "train_audio/norcar/XC2.ogg",
    ]
    assert corpus.manifest["recordist"].tolist() == ["", "Bo"]
    assert corpus.left_out.empty


def test_2021_bare_names_and_dates(tmp_path):
    root = put(tmp_path / "birdclef-2021", "train_short_audio/acafly/XC1.ogg",
               "train_short_audio/norcar/XC2.ogg",
               "train_short_audio/norcar/XC3.ogg", "train_soundscapes/long.ogg")  # fmt: skip
    (root / "train_metadata.csv").write_text(
        "primary_label,secondary_labels,type,latitude,longitude,scientific_name,common_name,author,date,filename,license,rating,"
        "time,url\n"
        "acafly,\"['norcar', 'xyz1']\",[],35.3,-82.9,Empidonax virescens,Acadian "
        "Flycatcher,Ann,2012-08-12,XC1.ogg,CC,2.5,,u\n"
        "norcar,[],['song'],1,2,Cardinalis cardinalis,Northern "
        "Cardinal,Bo,2012-08-13,XC2.ogg,CC,5,,v\n"
        "norcar,[],['song'],,2,Cardinalis cardinalis,Northern "
        "Cardinal,Bo,2012-08-13,XC9.ogg,CC,5,,v\n"
    )
    corpus = open_corpus(root)
    assert (corpus.layout, corpus.name) == ("BirdCLEF", "birdclef-2021")
    row = corpus.manifest.loc[0].to_dict()
    assert row == {
        "recording_id": "XC1", "path": "train_short_audio/acafly/XC1.ogg",
        "species": "Empidonax virescens",
        "common_name": "Acadian Flycatcher", "recordist": "Ann", "date": "2012-08-12",
        "time": "", "locality": "35.3, -82.9", "latitude": "35.3", "longitude": "-82.9",
        "license": "CC", "url": "u", "quality": "2.5", "equipment": "",
        "background_species": "Cardinalis cardinalis; xyz1",
    }  # fmt: skip
    folder = "train_short_audio/norcar"
    assert reasons(corpus) == {
        f"{folder}/XC9.ogg": "the file is missing",
        f"{folder}/XC3.ogg": "not in the table",
    }


def test_2023_prefixed_names_without_date(tmp_path):
    root = put(tmp_path / "b", "train_audio/abethr1/XC1.ogg", "train_audio/fatrav1/XC2.ogg")
    (root / "train_metadata.csv").write_text(
        "primary_label,secondary_labels,type,latitude,longitude,scientific_name,common_name,author,license,rating,url,filename\n"
        "abethr1,[],['song'],4.3,38.2,Turdus tephronotus,African Bare-eyed "
        "Thrush,Rolf,CC,4.0,u,abethr1/XC1.ogg\n"
        "fatrav1,['abethr1'],['song'],4.3,38.2,Corvus rhipidurus,Fan-tailed "
        "Raven,Rolf,CC,4.0,u,fatrav1/XC2.ogg\n"
    )
    corpus = open_corpus(root)
    assert corpus.manifest["species"].tolist() == ["Turdus tephronotus", "Corvus rhipidurus"]
    assert corpus.manifest["date"].tolist() == ["", ""]
    assert corpus.manifest["background_species"].tolist() == ["", "Turdus tephronotus"]
    assert corpus.left_out.empty


def test_2025_numbers_and_taxonomy(tmp_path):
    files = ["1139490/CSA36385.ogg", "007/iNat1.ogg", "yehcar1/XC3.ogg", "two1/XC4.ogg"]
    files += ["two2/XC5.ogg", "two1/XC3.ogg"]
    root = put(tmp_path / "b", *(f"train_audio/{file}" for file in files))
    (root / "train.csv").write_text(
        "primary_label,secondary_labels,type,filename,collection,rating,url,latitude,longitude,author,license\n"
        "1139490,[''],[''],1139490/CSA36385.ogg,CSA,0.0,u,7.3,-73.8,Fabio,CC\n"
        "007,\"['1139490', '']\",[''],007/iNat1.ogg,iNat,0.0,u,,,,CC\n"
        "yehcar1,[],[''],yehcar1/XC3.ogg,XC,4.5,u,7.3,-73.8,Ann,CC\n"
        "two1,broken [list,[''],two1/XC4.ogg,XC,4.5,u,7.3,-73.8,Ann,CC\n"
        "two2,[],[''],two2/XC5.ogg,XC,4.5,u,7.3,-73.8,Ann,CC\n"
        "two1,[],[''],two1/XC3.ogg,XC,4.5,u,7.3,-73.8,Ann,CC\n"
    )
    (root / "taxonomy.csv").write_text(
        "primary_label,inat_taxon_id,scientific_name,common_name,class_name\n"
        "1139490,1139490,Ragoniella pulchella,Ragoniella pulchella,Insecta\n"
        "yehcar1,1,Milvago chimachima,Yellow-headed Caracara,Aves\n"
        "two1,2,Same name,One,Aves\n"
        "two2,3,Same name,Two,Aves\n"
    )
    corpus = open_corpus(root)
    assert corpus.left_out.empty
    assert corpus.manifest["species"].tolist() == [
        "Ragoniella pulchella",
        "007",
        "Milvago chimachima",
        "two1",
        "two2",
        "two1",
    ]
    assert corpus.manifest["common_name"].tolist()[3:5] == ["One", "Two"]
    assert corpus.manifest["background_species"].tolist()[1] == "Ragoniella pulchella"
    assert corpus.manifest["background_species"].tolist()[3] == "broken [list"
    assert corpus.manifest["recording_id"].tolist()[:2] == ["CSA36385", "iNat1"]
    assert corpus.manifest["recording_id"].str.casefold().is_unique
    assert corpus.manifest["recordist"].tolist()[1] == ""


def test_a_table_without_labels(tmp_path):
    root = put(tmp_path / "b", "train_audio/a/XC1.ogg")
    (root / "train.csv").write_text("filename,author\na/XC1.ogg,Ann\n")
    with pytest.raises(BirdnbError, match="no column 'primary_label'"):
        open_corpus(root)


def test_a_filename_that_leads_out(tmp_path):
    root = put(tmp_path / "b", "train_audio/a/XC1.ogg")
    put(tmp_path, "secret.ogg")
    (root / "train.csv").write_text(
        "primary_label,filename\na,a/XC1.ogg\na,../../secret.ogg\na,/etc/passwd\n"
    )
    corpus = open_corpus(root)
    assert corpus.manifest["recording_id"].tolist() == ["XC1"]
    assert len(corpus.left_out) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("['a', 'b']", ["a", "b"]),
        ("[]", []),
        ("", []),
        ("['']", []),
        ("[1, 2]", ["1", "2"]),
        ("abc", ["abc"]),
        ("['a", ["['a"]),
        ("(5)", ["5"]),
        ("('abc')", ["abc"]),
        ("[__import__('os')]", ["[__import__('os')]"]),
    ],
)
def test_lists_are_literals_and_never_run(text, expected):
    assert parse_list(text) == expected


def birdset_table(
    labels: list, *, embedded: bool, names: list[str] | None = None, start: int = 0
) -> pa.Table:
    n = len(labels)
    paths = [f"XC{start + i}.ogg" for i in range(n)]
    sounds = [
        {"bytes": f"OggS {path}".encode() if embedded else None, "path": path} for path in paths
    ]
    table = pa.table({
        "audio": pa.array(sounds, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        "filepath": paths,
        "ebird_code": labels,
        "ebird_code_secondary": [["blujay"]] + [None] * (n - 1),
        "recordist": ["Ann"] + [None] * (n - 1),
        "license": ["//creativecommons.org/licenses/by-nc-sa/4.0/"] * n,
        "source": ["https://xeno-canto.org/1"] * n,
        "quality": ["A"] * n,
        "lat": [1.5] * n,
        "long": [None] * (n - 1) + [2.5],
        "local_time": ["08:30:00"] * (n - 1) + ["2020-05-01T08:00"],
    })  # fmt: skip
    if names:
        info = {"info": {"features": {"ebird_code": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    return table


@pytest.fixture
def artifacts(tmp_path, monkeypatch):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))
    return tmp_path / "artifacts"


NAMES = ["amerob", "blujay", "houfin"]


@pytest.fixture
def inside(tmp_path, artifacts):
    """A BirdSet part whose table holds the sound, in two files for training and one for tests."""
    root = tmp_path / "HSN"
    root.mkdir()
    parts = {
        "train-00000-of-00002": birdset_table([0, 2, 1, None, 0], embedded=True, names=NAMES),
        "train-00001-of-00002": birdset_table([2, 2], embedded=True, names=NAMES, start=4),
        "test-00000-of-00001": birdset_table([1], embedded=True, names=NAMES),
    }
    for name, table in parts.items():
        pq.write_table(table, root / f"{name}.parquet", row_group_size=2)
    return root


def test_birdset_with_sound_inside(inside, artifacts):
    corpus = open_corpus(inside, progress=False)
    assert (corpus.layout, corpus.name) == ("BirdSet", "HSN")
    assert corpus.root.parent == artifacts / "corpora"
    assert corpus.manifest["species"].tolist() == [
        "amerob", "houfin", "blujay", "amerob", "houfin", "houfin",
    ]  # fmt: skip
    assert corpus.manifest["recording_id"].is_unique
    contents = [(corpus.root / path).read_text() for path in corpus.manifest["path"]]
    assert contents == [f"OggS XC{number}.ogg" for number in (0, 1, 2, 4, 4, 5)]
    first = corpus.manifest.loc[0, ["recordist", "background_species", "date", "quality"]]
    assert first.tolist() == ["Ann", "blujay", "", "A"]
    left = ["not BirdSet's training part", "the species is empty"]
    assert sorted(corpus.left_out["reason"]) == left


def test_an_import_of_birdset_is_completed_and_made_anew_for_other_tables(inside):
    corpus = open_corpus(inside, progress=False)
    kept = corpus.root / corpus.manifest["path"][0]
    before = kept.stat().st_mtime_ns
    (corpus.root / corpus.manifest["path"][2]).unlink()  # as a killed import leaves it
    again = open_corpus(inside, progress=False)
    pd.testing.assert_frame_equal(again.manifest, corpus.manifest)
    assert kept.stat().st_mtime_ns == before
    table = birdset_table([1], embedded=True, names=NAMES)
    pq.write_table(table, inside / "train-00001-of-00002.parquet")
    assert open_corpus(inside, progress=False).root != corpus.root


def test_birdset_with_sound_beside(tmp_path, artifacts):
    root = put(tmp_path / "POW", "audio/XC0.ogg", "XC1.ogg", "audio/XC77.ogg")
    pq.write_table(
        birdset_table(["amerob", "NA", "blujay"], embedded=False), root / "train.parquet"
    )
    corpus = open_corpus(root, progress=False)
    assert corpus.root == root
    assert corpus.manifest.set_index("path")["species"].to_dict() == {
        "audio/XC0.ogg": "amerob",
        "XC1.ogg": "NA",
    }
    assert reasons(corpus) == {
        "XC2.ogg": "the file is missing",
        "audio/XC77.ogg": "not in the table",
    }
    assert not artifacts.exists()


def test_birdset_numbers_without_names_and_hostile_paths(tmp_path, artifacts):
    root = tmp_path / "X"
    root.mkdir()
    table = birdset_table([7, 7], embedded=True)
    sounds = [
        {"bytes": b"OggS 1", "path": "../../../evil.ogg"},
        {"bytes": b"OggS 2", "path": "/abs/evil.sh"},
    ]
    pq.write_table(
        table.set_column(0, "audio", pa.array(sounds, table.schema.field("audio").type)),
        root / "a.parquet",
    )
    corpus = open_corpus(root, progress=False)
    assert corpus.manifest["species"].tolist() == ["7", "7"]
    written = [
        Path(folder) / name
        for folder, _, names in os.walk(tmp_path)
        for name in names
        if "evil" in name
    ]
    assert len(written) == 2
    assert all(path.parent == corpus.root / "audio" and path.suffix == ".ogg" for path in written)


def test_a_broken_parquet_file(tmp_path, artifacts):
    put(tmp_path / "X", "a.parquet")
    with pytest.raises(BirdnbError, match="not a readable parquet"):
        open_corpus(tmp_path / "X", progress=False)
