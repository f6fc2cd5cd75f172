"""Folders as other tools leave them: recognised by what they hold, whatever else lies there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_corpora import put

from birdnb.corpora import open_corpus
from birdnb.files import BirdnbError


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def reasons(corpus) -> dict[str, str]:
    return dict(zip(corpus.left_out["path"], corpus.left_out["reason"], strict=True))


NAMES = [("Alauda", "alba", "White Lark"), ("Parus", "niger", "Black Tit")]
RECORDS = [
    {"id": str(9000 + n), "gen": NAMES[n % 2][0], "sp": NAMES[n % 2][1], "en": NAMES[n % 2][2],
     "rec": f"Person {n}", "date": f"2019-05-0{n + 1}", "loc": "Marsh", "lic": "//cc/by", "q": "A",
     "file-name": f"upload of {n}.mp3", "also": [""]}
    for n in range(6)
]  # fmt: skip
PAGE = {"numRecordings": "6", "page": 1, "numPages": 1, "recordings": RECORDS}
EMPTY = {"numRecordings": "0", "page": 1, "numPages": 1, "recordings": []}
WHOLE = {f"XC{r['id']}": (f"{r['gen']} {r['sp']}", r["rec"]) for r in RECORDS}


def found(corpus) -> dict[str, tuple[str, str]]:
    table = corpus.manifest
    pairs = zip(table["species"], table["recordist"], strict=True)
    return dict(zip(table["recording_id"], pairs, strict=True))


@pytest.mark.parametrize("inside", ["", "dataset", "dataset/audio"])
def test_what_the_package_xeno_canto_leaves(tmp_path, inside):
    for record in RECORDS:
        put(tmp_path, f"dataset/audio/{record['en'].replace(' ', '')}/{record['id']}.mp3")
    write(tmp_path / "dataset/metadata/White_Lark_q_A/page1.json", PAGE)
    corpus = open_corpus(tmp_path / inside, progress=False)
    assert corpus.layout == "Xeno-Canto JSON" and found(corpus) == WHOLE
    assert corpus.left_out.empty


def flat(root: Path) -> Path:
    return put(root, *(f"XC{record['id']}.wav" for record in RECORDS))


def frame(**names: str) -> pd.DataFrame:
    return pd.DataFrame(RECORDS)[["id", "gen", "sp", "rec", "q"]].rename(columns=names)


R_NAMES = {"id": "Recording_ID", "gen": "Genus", "sp": "Specific_epithet", "rec": "Recordist"}
FORMS = {
    "pages": {"a/b/c/p1.json": PAGE, "p2.json": {**EMPTY, "recordings": [{"also": []}]}},
    "a list": {"all.json": RECORDS},
    "a list of pages": {"all.json": [PAGE, EMPTY]},
    "by number": {"all.json": {r["id"]: {**r, "id": None} for r in RECORDS}},
    "in something else": {"all.json": {"query": "x", "results": {"data": RECORDS}}},
    "lines": {"all.jsonl": "\n".join(map(json.dumps, RECORDS))},
    "lines called json": {"all.json": "\n".join(map(json.dumps, RECORDS))},
    "one each": {f"{r['gen']} {r['sp']}/XC{r['id']}.json": r for r in RECORDS},
    "one each, bare": {f"XC{r['id']}.json": {**r, "id": ""} for r in RECORDS},
    "version 2": {"p.json": {"recordings": [{**r, "nr": r["id"], "id": None} for r in RECORDS]}},
    "CSV": {"m.csv": frame().to_csv(index=False)},
    "CSV of pandas": {"m.csv": frame().assign(id=lambda t: t["id"].astype(float)).to_csv()},
    "CSV of warbleR": {"xc.csv": frame(**R_NAMES).to_csv(sep=";", index=False)},
    "CSV of suwo": {
        "m.csv": pd.DataFrame(
            {
                "repository": [*["Xeno-Canto"] * 6, "iNaturalist"],
                "key": [*(r["id"] for r in RECORDS), "9000"],
                "species": [*(f"{r['gen']} {r['sp']}" for r in RECORDS), "Pica pica"],
                "user_name": [*(r["rec"] for r in RECORDS), "Bo"],
            }
        ).to_csv(index=False)
    },
    "CSV of whole names": {
        "m.tsv": frame(id="xc_id")
        .assign(scientific_name=lambda t: t["gen"] + " " + t["sp"])
        .drop(columns=["gen", "sp"])
        .to_csv(sep="\t", index=False)
    },
}


@pytest.mark.parametrize("files", FORMS.values(), ids=FORMS)
def test_records_in_any_form(tmp_path, files):
    root = flat(tmp_path / "birds")
    for name, value in files.items():
        write(root / name, value)
    corpus = open_corpus(root, progress=False)
    assert corpus.layout == "Xeno-Canto JSON" and found(corpus) == WHOLE
    assert corpus.left_out.empty


@pytest.mark.parametrize(
    "name", ["XC{}.wav", "{}.wav", "xc-{}.wav", "Alauda-alba-{}.mp3", "Lark XC{} - Ann 2.wav"]
)
def test_numbers_in_file_names(tmp_path, name):
    root = put(tmp_path / "birds", *(name.format(record["id"]) for record in RECORDS))
    write(root / "p.json", PAGE)
    assert found(open_corpus(root, progress=False)) == WHOLE


def test_files_called_as_they_were_uploaded_and_two_of_one_recording(tmp_path):
    root = put(tmp_path / "birds", "upload of 0.mp3", "XC9001.mp3", "XC9001.wav", "XC1.wav")
    write(root / "p.json", PAGE)
    corpus = open_corpus(root, progress=False)
    assert corpus.manifest["path"].tolist() == ["upload of 0.mp3", "XC9001.mp3"]
    said = reasons(corpus)
    assert said["XC9001.wav"] == "another file of the recording that is here as XC9001.mp3"
    assert said["XC1.wav"] == "not in the table"


OWN = ["Alauda alba/garden 0.wav", "Alauda alba/garden 1.wav", "Parus niger/garden 2.wav"]


@pytest.mark.parametrize(
    "page", [EMPTY, PAGE, [], ["a", "b"], 7, "[" * 99999, {"gen": {"gen": [1]}}, [{"gen": "A"}]]
)
def test_records_of_other_recordings_leave_species_folders_alone(tmp_path, page):
    root = put(tmp_path / "birds", *OWN)
    write(root / "query.json", page)
    corpus = open_corpus(root, progress=False)
    assert corpus.layout == "species folders" and corpus.manifest["path"].tolist() == OWN


def test_the_layout_that_explains_more_of_the_audio_is_taken(tmp_path):
    root = put(tmp_path / "birds", *OWN, "Alauda alba/XC9000.wav", "Parus niger/XC9001.wav")
    write(root / "p.json", PAGE)
    assert open_corpus(root, progress=False).layout == "species folders"
    put(root, "Alauda alba/XC9002.wav")
    assert open_corpus(root, progress=False).layout == "Xeno-Canto JSON"


# --- bystanders ---


def manifest_corpus(root: Path) -> None:
    put(root, "audio/a.wav", "audio/b.wav")
    write(root / "manifest.csv", "recording_id,path,species\na,audio/a.wav,A\nb,audio/b.wav,B\n")


def birdclef_corpus(root: Path) -> None:
    put(root, "train_audio/a/XC1.ogg", "train_audio/b/XC2.ogg")
    write(root / "train_metadata.csv", "primary_label,filename\na,a/XC1.ogg\nb,b/XC2.ogg\n")


def birdset_corpus(root: Path) -> None:
    put(root, "audio/XC1.ogg", "audio/XC2.ogg")
    table = pa.table({"ebird_code": ["a", "b"], "filepath": ["XC1.ogg", "XC2.ogg"]})
    pq.write_table(table, root / "train.parquet")


def xeno_canto_corpus(root: Path) -> None:
    flat(root)
    write(root / "p.json", PAGE)


def species_corpus(root: Path) -> None:
    put(root, "A/1.wav", "B/2.wav")


CORPORA = {
    "manifest.csv": manifest_corpus,
    "BirdCLEF": birdclef_corpus,
    "BirdSet": birdset_corpus,
    "Xeno-Canto JSON": xeno_canto_corpus,
    "species folders": species_corpus,
}


def add_bystanders(root: Path) -> None:
    """What else lies in folders: broken, foreign, endless, hidden, and what systems leave."""
    put(root, "broken.parquet", "Thumbs.db", "desktop.ini", ".DS_Store", "notes.txt")
    pq.write_table(pa.table({"text": ["other"]}), root / "other.parquet")
    write(root / "broken.json", '{"recordings": [')
    write(root / "deep.json", "[" * 99999)
    write(root / "words.json", ["a", "b"])
    write(root / "huge.json", '{"type": "FeatureCollection", "species": [' + "[1, 2]," * 10**6)
    (root / "latin.json").write_bytes('{"gen": "M\u00f6we"}'.encode("latin-1"))
    write(root / "web.csv", "<html>species gen")
    write(root / "other.csv", "species,count\nA,1\n")
    for folder in ("__MACOSX/A", ".ipynb_checkpoints", "$RECYCLE.BIN", "@eaDir", ".Trashes"):
        put(root, f"{folder}/._1.wav", f"{folder}/x.wav")
    first = next(path for path in sorted(root.rglob("*")) if path.suffix in (".wav", ".ogg"))
    put(root, str(first.relative_to(root).with_name(f"._{first.name}")))
    (first.parent / "._alone.wav").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")
    put(root, ".cache/huggingface/x.wav", "empty/.keep")
    for name in ("manifest.csv", "train.csv", "train.parquet", "folder.json"):
        if not (root / name).exists():
            (root / name).mkdir()
    (root / "dead.json").symlink_to(root / "nothing.json")
    (root / "circle.csv").symlink_to(root / "circle.csv")
    (root / "round").symlink_to(root, target_is_directory=True)


@pytest.mark.parametrize(("layout", "build"), CORPORA.items(), ids=CORPORA)
def test_bystanders_stop_no_corpus_and_litter_is_no_recording(tmp_path, monkeypatch, layout, build):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))
    root = tmp_path / "birds"
    root.mkdir()
    build(root)
    alone = open_corpus(root, progress=False)
    assert alone.layout == layout and alone.left_out.empty
    add_bystanders(root)
    corpus = open_corpus(root, progress=False)
    assert corpus.layout == layout
    pd.testing.assert_frame_equal(corpus.manifest, alone.manifest)
    sounds = [path for path in reasons(corpus) if path.endswith((".wav", ".ogg"))]
    assert set(sounds) <= {".cache/huggingface/x.wav"}, "the only one that may be a recording"


PLACES = ["", "A", "train_audio/a", "audio/A", "metadata/q", "__MACOSX", ".cache", "deep/er/est"]
FILES = ["manifest.csv", "train.csv", "train_metadata.csv", "taxonomy.csv", "p.json", "q.jsonl"]
FILES += ["m.csv", "t.tsv", "train.parquet", "b.parquet", "XC1.wav", "1.mp3", "x", "._XC1.wav"]
BROKEN = [b"", b"\0", b"\xff\xfe\0", b"PAR1" + b"\xff" * 50 + b"PAR1", b"null", b"[1, null, {}]"]
BROKEN += [b'"' * 77, b"sep=", b"#\n#", b",,,\n,,", b"a,b\n1,2\n"]
TEXTS = [
    '{"recordings": [null, 1, {"id": null}], "numRecordings": null}',
    '[{"gen": "A", "id": true}]',
    '{"gen": "A", "sp": "b", "also": {"x": 1}, "id": 1.0, "file-name": 5}',
    '{"gen": NaN, "id": 1e400}',
    "recording_id,path,species\n1,XC1.wav,A\n",
    "id,gen,sp\n1,A,b\nx,y,z\n,,\n",
    "xc_id,species\n1,A b\n",
    "primary_label,filename\na,XC1.wav\n,\n",
]
JUNK = [*BROKEN, *(text.encode() for text in TEXTS)]
TREES = st.dictionaries(
    st.tuples(st.sampled_from(PLACES), st.sampled_from(FILES)),
    st.sampled_from([*JUNK, "folder", "link"]),
    max_size=9,
)


@settings(deadline=None, max_examples=80)
@given(tree=TREES)
def test_whatever_lies_in_a_folder_it_is_a_corpus_or_an_error_in_words(tmp_path_factory, tree):
    root = tmp_path_factory.mktemp("any")
    for (place, name), content in tree.items():
        path = root / place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content == "folder":
            path.mkdir()
        elif content == "link":
            path.symlink_to(root if name == "x" else path.name)
        else:
            path.write_bytes(content)
    try:
        corpus = open_corpus(root, progress=False)
    except BirdnbError as error:
        assert str(root) in str(error)
    else:
        assert all((corpus.root / path).is_file() for path in corpus.manifest["path"])


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
@pytest.mark.parametrize("build", CORPORA.values(), ids=CORPORA)
def test_a_folder_that_may_not_be_read_stops_no_corpus(tmp_path, monkeypatch, build):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))
    root = put(tmp_path / "birds", "secret/1.wav", "blind/2.wav")
    build(root)
    (root / "secret").chmod(0o000)
    (root / "blind").chmod(0o444)
    try:
        corpus = open_corpus(root, progress=False)
        assert len(corpus.manifest) >= 2
        if build != birdclef_corpus:  # it looks into train_audio/ alone
            assert {"secret", "blind"} <= set(reasons(corpus))
    finally:
        for name in ("secret", "blind"):
            (root / name).chmod(0o755)


def test_a_manifest_in_capitals(tmp_path):
    root = put(tmp_path / "birds", "a.wav")
    write(root / "Manifest.CSV", "recording_id,path,species\na,a.wav,A\n")
    assert open_corpus(root, progress=False).layout == "manifest.csv"


def test_a_manifest_of_another_tool_is_reported_and_not_read(tmp_path):
    root = put(tmp_path / "birds", *OWN)
    write(root / "manifest.csv", "file,size,md5\nAlauda alba/garden 0.wav,9,77\n")
    corpus = open_corpus(root, progress=False)
    assert corpus.layout == "species folders" and len(corpus.manifest) == 3
    assert reasons(corpus) == {
        "manifest.csv": "not read: it has no column recording_id, path, species or label"
    }


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("id,file,label\n1,a.wav,A\n", "no column 'recording_id'"),
        ("a,Alauda alba/garden 0.wav,A\n", "no header line"),
        ('recording_id,path,species\n1,a.wav,"A\n', "line 2 is not CSV"),
    ],
)
def test_a_manifest_that_is_meant_is_not_passed_over(tmp_path, table, said):
    root = put(tmp_path / "birds", *OWN)
    write(root / "manifest.csv", table)
    with pytest.raises(BirdnbError, match=said):
        open_corpus(root, progress=False)


def test_a_table_of_another_competition(tmp_path):
    root = put(tmp_path / "birds", *OWN, "train_audio/x.ogg")
    write(root / "train.csv", "primary_label,filename\na,a/XC1.ogg\n")
    assert open_corpus(root, progress=False).layout == "species folders"
    alone = put(tmp_path / "alone", "train_audio/x.ogg")
    write(alone / "train.csv", "primary_label,filename\na,a/XC1.ogg\n")
    with pytest.raises(BirdnbError, match="1 x the file is missing; 1 x not in the table"):
        open_corpus(alone, progress=False)


def test_the_table_that_names_audio_is_read(tmp_path):
    root = tmp_path / "birds"
    birdclef_corpus(root)
    (root / "train_metadata.csv").rename(root / "train.csv")
    write(root / "train_metadata.csv", "<html>")
    assert len(open_corpus(root, progress=False).manifest) == 2


def test_damaged_parts_of_birdset_are_named_and_the_others_read(tmp_path, monkeypatch):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))
    root = tmp_path / "HSN"
    root.mkdir()
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for part in "abc":
        sounds = [{"bytes": os.urandom(4000), "path": f"{part}{n}.ogg"} for n in range(3)]
        table = pa.table({"ebird_code": [*"xyx"], "audio": pa.array(sounds, kind)})
        pq.write_table(table, root / f"train-{part}.parquet", use_dictionary=False)
    whole = (root / "train-b.parquet").read_bytes()
    (root / "train-b.parquet").write_bytes(whole[: len(whole) // 2])
    place = whole.index(b"PAR1", 0) + 4
    spoilt = (root / "train-c.parquet").read_bytes()
    (root / "train-c.parquet").write_bytes(spoilt[:place] + b"\xff" * 40 + spoilt[place + 40 :])
    corpus = open_corpus(root, progress=False)
    assert corpus.manifest["species"].tolist() == ["x", "y", "x"]
    said = reasons(corpus)
    assert said["train-b.parquet"] == "not a readable parquet file: fetch it again"
    assert said["train-c.parquet"] == "not a readable parquet file: fetch it again"


def test_a_folder_of_several_corpora_names_them(tmp_path):
    birdclef_corpus(tmp_path / "clef")
    put(tmp_path, "mine/A/1.wav", "mine/B/2.wav")
    with pytest.raises(BirdnbError, match=r"clef/ \(BirdCLEF\) or mine/ \(species folders\)"):
        open_corpus(tmp_path, progress=False)
    put(tmp_path, "table/1.wav", "C/3.wav")
    write(tmp_path / "table/manifest.csv", "recording_id,path,species\n1,1.wav,A\n")
    with pytest.raises(BirdnbError, match=r"clef/ \(BirdCLEF\) or mine/ .* or table/ \(manifest"):
        open_corpus(tmp_path, progress=False)  # most of the audio lies in corpora
    put(tmp_path, "C/4.wav", "C/5.wav", "C/6.wav")
    corpus = open_corpus(tmp_path, progress=False)
    assert corpus.manifest["species"].unique() == ["C"]
    assert reasons(corpus)["table/1.wav"].startswith("lies in a corpus of its own")
