"""Tables from outside: what spreadsheets, R and old machines write is read, or refused by line."""

from __future__ import annotations

import csv
import io

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from birdnb.corpora.reading import read_table, read_text
from birdnb.files import BirdnbError

NEEDS = ["recording_id", "path", "species"]
HEAD = "recording_id,path,species,locality"
ROWS = ["r0,audio/r0.wav,Alauda alba,Hütte", "r1,audio/r1.wav,Parus niger,by the river"]
PLAIN = [row.split(",") for row in ROWS]


def table(*lines: str, end: str = "\n") -> str:
    return end.join([HEAD, *lines])


def read(folder, content: str | bytes, needs=NEEDS) -> pd.DataFrame:
    path = folder / "manifest.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path, needs)


def test_text_stays_text(tmp_path):
    content = "\ufeffrecording_id,path,species,date\n007,1e5,NA,\nnull,b,1234,nan\n"
    found = read(tmp_path, content)
    assert found.columns.tolist() == ["recording_id", "path", "species", "date"]
    assert found.to_numpy().tolist() == [["007", "1e5", "NA", ""], ["null", "b", "1234", "nan"]]


HABITS = {
    "CRLF": table(*ROWS, end="\r\n"),
    "CR": table(*ROWS, end="\r"),
    "mixed ends": f"{HEAD}\r\n{ROWS[0]}\n{ROWS[1]}\r",
    "sep=,": "sep=,\r\n" + table(*ROWS, end="\r\n"),
    "sep=; quoted": '"sep=;"\n' + table(*ROWS).replace(",", ";"),
    "sep=|, BOM in front": "\ufeffsep=|\n" + table(*ROWS).replace(",", "|"),
    "sep=; and commas": "sep=;\n" + table(*ROWS),
    "semicolons, BOM": "\ufeff" + table(*ROWS).replace(",", ";"),
    "pipes": table(*ROWS).replace(",", "|"),
    "pipes with blanks": table(*ROWS).replace(",", " | "),
    "UTF-16 with tabs": table(*ROWS).replace(",", "\t").encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + table(*ROWS).encode("utf-16-be"),
    "UTF-16 without a mark": table(*ROWS).encode("utf-16-le"),
    "UTF-32": table(*ROWS).encode("utf-32"),
    "a comma behind each row": table(*(row + "," for row in ROWS)),
    "a comma behind every line": "\n".join(line + ",," for line in [HEAD, *ROWS]),
    "capitals": table(*ROWS).replace(HEAD, "Recording_ID,PATH,Species,Locality"),
    "words": table(*ROWS).replace(HEAD, "Recording ID,Path , species,locality"),
    "hyphens, quotes": table(*ROWS).replace(HEAD, '"recording-id","path","species","locality"'),
    "blanks behind commas": table(*ROWS).replace(",", ", "),
    "blanks before commas": table(*ROWS).replace(",", " ,"),
    "empty rows": table(ROWS[0], "", ",,,", ROWS[1], ",,,", "  ", ""),
    "row numbers": "\n".join(["," + HEAD, "0," + ROWS[0], "1," + ROWS[1]]),
    "row numbers of R": "\n".join([HEAD, "1," + ROWS[0], "2," + ROWS[1]]),
    "comments": f'# made by hand, by Ann\n\n#\n{HEAD}\n{ROWS[0]}\n# "later\n{ROWS[1]}',
    "a title above": "My recordings,,,\nof 2023,,,\n,,,\n" + table(*ROWS),
    "a marked header": "#" + table(*ROWS),
    "a line break": table(*ROWS).replace("by the river", '"by the\r\nriver"'),
    "two blank lines first": "\n \n" + table(*ROWS),
    "Ctrl-Z at the end": table(*ROWS) + "\n\x1a",
    "a name with semicolons": table(*ROWS).replace("ity", "ity (a;b;c;d;e)", 1),
}


@pytest.mark.parametrize("content", HABITS.values(), ids=HABITS)
def test_habits_of_spreadsheets_are_read(tmp_path, content):
    assert read(tmp_path, content).to_numpy().tolist() == PLAIN


REFUSED = {
    "nothing": (b"", r"is empty: it needs a header line with at least recording_id"),
    "blanks": (b"\n \n,,\n", "is empty"),
    "cp1252": (table(*ROWS).encode("cp1252"), "line 2 is not UTF-8: save it as CSV UTF.*Hütte"),
    "latin-1 after CR": (table(ROWS[1], ROWS[0], end="\r").encode("latin-1"), "line 3 is not UTF"),
    "half of UTF-16": (table(*ROWS).encode("utf-16")[:-1], "damaged UTF-16"),
    "NUL": (table(ROWS[0], "r1,a\0.wav,x,y"), r"line 3 holds a NUL byte: delete it"),
    "a quote left open": (table(ROWS[0], 'r1,a.wav,"Parus,x', "r2,b.wav,y,z"), "line 3 .*a quote"),
    "a quote that is closed by another": (
        table('r0,a.wav,"Alauda,Ann', "r1,b.wav,Parus,Bo", 'r2,c.wav,Pica",Cy'),
        "line 2 .*a quote",
    ),
    "text behind a quote": (table('r0,a.wav,"Alauda" alba,x'), "line 2 .*a quote"),
    "a comma too many": (table(ROWS[0], ROWS[1] + ", wind"), "line 3 .* 5 fields, the header 4"),
    "a name twice": (b"recording_id,path,species, Species\n", "two columns called 'species'"),
    "no such column": (b"recording_id,file,species\nr,a.wav,S\n", "no column 'path'.*names .*file"),
    "another table": (b"file;size\na.wav;3\n", "no column 'recording_id': it needs .*file, size"),
    "no header": ("\n".join(ROWS), "has no header line: line 1 is a row already"),
    "a web page": (b"\n<!DOCTYPE html><html>", "a web page or XML"),
    "JSON": (b'{"recordings": []}', "JSON"),
    "a workbook": (b"PK\x03\x04\x14\x00", "workbook of Excel .*save it as CSV UTF-8"),
    "an old workbook": (b"\xd0\xcf\x11\xe0\xa1", "workbook of Excel"),
    "gzip": (b"\x1f\x8b\x08", "is compressed"),
    "an LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
}


@pytest.mark.parametrize(("content", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_table_is_said_with_file_line_and_remedy(tmp_path, content, said):
    with pytest.raises(BirdnbError, match=said) as caught:
        read(tmp_path, content)
    assert "manifest.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_not_there_or_a_folder(tmp_path):
    with pytest.raises(BirdnbError, match="is missing"):
        read_table(tmp_path / "m.csv")
    with pytest.raises(BirdnbError, match="cannot be read"):
        read_table(tmp_path)
    (tmp_path / "s.txt").write_bytes("Turdus merula\rParus major".encode("utf-16"))
    assert read_text(tmp_path / "s.txt") == "Turdus merula\nParus major"


def test_short_rows_are_filled_and_columns_without_a_name_dropped(tmp_path):
    assert read(tmp_path, "recording_id,path,species\na,b\n").to_numpy().tolist() == [
        ["a", "b", ""]
    ]
    found = read(tmp_path, "a,,b\n1,2,3\n", needs=())
    assert found.to_dict("list") == {"a": ["1"], "b": ["3"]}


def test_rows_that_all_begin_with_a_hash_are_rows(tmp_path):
    found = read(tmp_path, table("#1,a.wav,A,", "#2,b.wav,B,"))
    assert found["recording_id"].tolist() == ["#1", "#2"]
    assert len(read(tmp_path, table("#1,a.wav,A,", "2,b.wav,B,"))) == 1
    assert read(tmp_path, table("# nothing is decided yet")).empty


def test_lines_of_other_blanks_before_the_header_do_not_count(tmp_path):
    for blank in ("\u00a0", "\f"):
        found = read(tmp_path, f"{blank}\na,b\n1,2\n", needs=())
        assert found.to_dict("list") == {"a": ["1"], "b": ["2"]}


FIELD = st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters="#\ufeff"), min_size=1
)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(st.tuples(FIELD, FIELD, FIELD), min_size=1, max_size=5),
    separator=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_any_program_writes_comes_back(tmp_path_factory, rows, separator, end, encoding):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=end)
    writer.writerows([NEEDS, *rows])
    found = read(tmp_path_factory.mktemp("csv"), text.getvalue().encode(encoding))
    assert found.to_numpy().tolist() == [list(row) for row in rows]
