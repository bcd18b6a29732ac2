"""Tables as they are in the wild: each is read right, or refused in one line that names the cure."""

import gzip
import json

import pytest

from formers.data.bad_rows import leaving_out
from formers.data.sources import read_table

ROWS = {"text": ["a good film", "bad, very bad", "so so"], "label": ["1", "0", "1"]}
PLAIN = 'text,label\na good film,1\n"bad, very bad",0\nso so,1\n'
COLUMNS = ("text", "label")

FORMS = {
    "semicolons": "text;label\na good film;1\nbad, very bad;0\nso so;1\n",
    "tabs": "text\tlabel\na good film\t1\nbad, very bad\t0\nso so\t1\n",
    "bars": "text|label\na good film|1\nbad, very bad|0\nso so|1\n",
    "a line that says the separator": "sep=;\ntext;label\na good film;1\nbad, very bad;0\nso so;1\n",
    "carriage returns": PLAIN.replace("\n", "\r"),
    "Windows": PLAIN.replace("\n", "\r\n"),
    "all quoted": '"text","label"\n"a good film","1"\n"bad, very bad","0"\n"so so","1"\n',
    "byte order mark": "\ufeff" + PLAIN,
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-16 the other way": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "UTF-32": PLAIN.encode("utf-32"),
    "separators at the end": 'text,label,\na good film,1,\n"bad, very bad",0,\nso so,1,\n',
    "separators at the end of rows": 'text,label\na good film,1,,\n"bad, very bad",0,\nso so,1\n',
    "an index without a name": ',text,label\n0,a good film,1\n1,"bad, very bad",0\n2,so so,1\n',
    "an index that the header leaves out": 'text,label\n1,a good film,1\n2,"bad, very bad",0\n3,so so,1\n',
    "spaces after separators": 'text, label\na good film, 1\n"bad, very bad", 0\nso so, 1\n',
    "spaces around names": PLAIN.replace("text,label", " text ,label "),
    "blank names": 'text,label,,\na good film,1,x,y\n"bad, very bad",0,x,y\nso so,1,x,y\n',
    "names that stand twice": 'text,label,n,n\na good film,1,x,y\n"bad, very bad",0,x,y\nso so,1,x,y\n',
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_csv_is_the_same_table(write, form):
    content = FORMS[form]
    assert read_table(write("x.csv", content), columns=COLUMNS).columns == ROWS
    packed = gzip.compress(content.encode() if isinstance(content, str) else content, mtime=0)
    assert read_table(write("x.csv.gz", packed), columns=COLUMNS).columns == ROWS


@pytest.mark.parametrize("ends", ["\r", "\r\n", "\n"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_line_ends_and_encodings_of_other_forms(write, ends, encoding):
    tsv = "text\tlabel\nso so\t1\n".replace("\n", ends).encode(encoding)
    assert read_table(write("x.tsv.gz", gzip.compress(tsv, mtime=0)), columns=COLUMNS).columns == {
        "text": ["so so"],
        "label": ["1"],
    }
    lines = '{"text": "so so"}\n{"text": "b"}\n'.replace("\n", ends).encode(encoding)
    assert read_table(write("x.jsonl", lines), columns=["text"]).columns == {"text": ["so so", "b"]}


def test_columns_without_names_have_numbers(write, refused):
    table = read_table(write("x.csv", "id,,\n1,a,b\n2,c,d\n"))
    assert table.columns == {"id": ["1", "2"], "column 2": ["a", "c"], "column 3": ["b", "d"]}
    assert 'the column "id" twice' in refused(write("x.csv", "id,id\n1,a\n"))
    table = read_table(write("x.csv", "What a film it was.,5\nI slept through it.,1\n"))
    assert list(table.columns) == ["column 1", "column 2"] and len(table) == 2 and not table.header
    assert list(read_table(write("x.csv", "0,1\na,b\n")).columns) == ["0", "1"]


def test_a_tsv_with_quoted_fields_names_the_cure(write, refused):
    message = refused(write("x.tsv", 'text\tlabel\n"one\ntwo"\t1\n'), columns=COLUMNS)
    assert "line 2: 1 field, expected 2" in message and "let its name end in .csv" in message


# ---- headers -----------------------------------------------------------------------------------------------

HEADERS = [
    ("source,target", "a cat,eine Katze"),
    ("text,label", "great movie,pos"),
    ("English,German", "a cat,eine Katze"),
    ("src_text,tgt_text", "a cat,eine Katze"),
    ("review,sentiment", "I liked it a lot,pos"),
    ("utterance,mood", "I liked it a lot,pos"),
    ("x1,x2", "a cat sat here,5"),
    ("0,1", "a cat sat here,pos"),
]


@pytest.mark.parametrize(("header", "row"), HEADERS)
def test_a_header_with_other_names_is_no_row(write, refused, header, row):
    message = refused(
        write("x.csv", f"{header}\n" + f"{row}\n" * 8),
        columns=("en", "de"),
        settings={"en": "--set rows.source=COLUMN", "de": "--set rows.target=COLUMN"},
    )
    assert f"the columns are {header.replace(',', ', ')}" in message
    assert message.endswith("choose with --set rows.source=COLUMN --set rows.target=COLUMN")


@pytest.mark.parametrize(
    "rows",
    [
        ["a cat,eine Katze", "two dogs,zwei Hunde"],
        ["cat,Katze", "dog,Hund", "house,Haus", "car,Auto"],
        ["Go.,Geh.", "I see you.,Ich sehe dich.", "We are here.,Wir sind da.", "Come to me.,Komm zu mir."],
        ["great,1", "awful,0", "fine,1", "poor,0", "good,1", "bad,0", "ok,1"],
        ["joy,5.0", "grief,1.0", "anger,2.5"],
    ],
)
def test_rows_without_a_header_stay_rows_and_it_is_said(write, rows):
    table = read_table(write("x.csv", "\n".join(rows)), columns=("en", "de"))
    assert len(table) == len(rows) and not table.header
    assert table.described == "x.csv (no header line was seen: its columns are taken as en, de, in order)"
    assert read_table(write("y.csv", "en,de\n" + "\n".join(rows)), columns=("en", "de")).described == "y.csv"


def test_one_column_of_texts_with_and_without_a_name(write):
    rows = ["I saw it twice", "it was far too long", "the end is weak"]
    assert read_table(write("x.csv", "\n".join(rows))).columns == {"column 1": rows}
    assert read_table(write("x.csv", "\n".join(["opinion", *rows]))).columns == {"opinion": rows}
    assert read_table(write("x.csv", "\n".join(["sentence", "yes", "no"]))).columns == {"sentence": ["yes", "no"]}


# ---- what is no table --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("x.csv", b"PK\x03\x04rest", "a zip file or a spreadsheet"),
        ("x.csv", gzip.compress(b"text\na\n", mtime=0), "let its name end in .gz"),
        ("x.csv.gz", gzip.compress(gzip.compress(b"text\na\n", mtime=0), mtime=0), "a gzip file within a gzip file"),
        ("x.jsonl", b"PAR1rest", "let its name end in .parquet"),
        ("x.jsonl", b"<!DOCTYPE html>\n<html>", "a web page"),
        ("x.txt", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        ("x.csv", b"text\na\nb\0c\n", "x.csv, line 3, byte 2: got 0x00"),
        ("x.jsonl", b'[{"text": "a"}]', "a list of objects is a .json file"),
        ("x.jsonl", b'{"text": "a"}\n{"text": {"b": ["\\ud800"]}}\n', "line 2: holds half a character"),
        ("x.csv", b"\xff\xfea", "is no UTF-16"),
    ],
)
def test_what_is_no_table_says_what_it_is(write, refused, name, content, part):
    assert part in refused(write(name, content), columns=["text"], text=())


def test_pipes_and_devices_are_refused(refused, tmp_path):
    import os

    os.mkfifo(tmp_path / "x.jsonl")
    for name in (str(tmp_path / "x.jsonl"), str(tmp_path / "x.csv"), str(tmp_path / "x.parquet")):
        if not os.path.exists(name):
            os.symlink("/dev/zero", name)
        assert "a pipe or a device, expected a file" in refused(name, columns=["text"])


# ---- rows that are broken ----------------------------------------------------------------------------------

BROKEN = {
    "x.csv": ('text,n\na,1\nb\n"c"d,2\ne,3\n"f,4\ng,5\n', ["a", "e", "g"], [2, 5, 7], ["line 3", "line 4", "line 6"]),
    "x.tsv": ("text\tn\na\t1\nb\nc\t2\td\ne\t3\n", ["a", "e"], [2, 5], ["line 3", "line 4"]),
    "x.jsonl": (
        '{"text": "a"}\n{"text": \n["b"]\n{"other": "c"}\n{"text": 5}\n{"text": "d"}\n',
        ["a", "d"],
        [1, 6],
        ["line 2", "line 3", "line 4", "line 5"],
    ),
    "x.json": (
        json.dumps([{"text": "a"}, 7, {"other": "c"}, {"text": ["x"]}, {"text": "d"}]),
        ["a", "d"],
        [1, 5],
        ["row 2", "row 3", "row 4"],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rows_are_left_out_where_that_is_asked_for(write, refused, name):
    content, texts, places, named = BROKEN[name]
    assert any(f"{name}, {place}" in refused(write(name, content), columns=["text"]) for place in named)
    faults = []
    with leaving_out(faults):
        table = read_table(name, columns=["text"])
    assert table.columns == {"text": texts}
    assert [table.where(row).split()[-1] for row in range(len(table))] == [str(place) for place in places]
    assert sorted(str(error).split(", ")[1].split(":")[0] for error in faults) == named
