"""Reading user data: every form of a source, and for every fault one line: what, where, how to fix it."""

import gzip
import json
import os
import sys
from pathlib import Path

import pytest

from formers.data.sources import BUILTIN, Table, read_table
from formers.errors import DataError, PackageError

DATA = Path(__file__).parents[2].parent / "shared" / "data"
PAIRS = {"en": ["a cat", "two dogs"], "de": ["eine Katze", "zwei Hunde"]}
EN_DE = ("en", "de")


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Write a file into the folder that the test stands in; gives its name."""
    monkeypatch.chdir(tmp_path)

    def write(name, content):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    return write


def parquet(name, columns):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow.parquet import write_table

    Path(name).parent.mkdir(parents=True, exist_ok=True)
    write_table(pyarrow.table(columns), name)
    return name


def fault(source, kind=DataError, **options):
    with pytest.raises(kind) as caught:
        read_table(source, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


# ---- what is read ------------------------------------------------------------------------------------------

TEXTS = {
    "x.tsv": "en\tde\na cat\teine Katze\ntwo dogs\tzwei Hunde\n",
    "x.csv": "en,de\na cat,eine Katze\ntwo dogs,zwei Hunde\n",
    "x.jsonl": '{"en": "a cat", "de": "eine Katze"}\n{"en": "two dogs", "de": "zwei Hunde"}\n',
    "x.ndjson": '{"en": "a cat", "de": "eine Katze"}\n{"en": "two dogs", "de": "zwei Hunde"}\n',
    "x.json": '[{"en": "a cat", "de": "eine Katze"},\n {"en": "two dogs", "de": "zwei Hunde"}]',
}
FIRST = {"x.tsv": "line 2", "x.csv": "line 2", "x.jsonl": "line 1", "x.ndjson": "line 1", "x.json": "row 1"}


@pytest.mark.parametrize("columns", [None, EN_DE])
@pytest.mark.parametrize("name", TEXTS)
def test_every_text_format_gives_the_same_columns(put, name, columns):
    table = read_table(put(name, TEXTS[name]), columns=columns)
    assert table.columns == PAIRS
    assert len(table) == 2
    assert table.where(0) == f"{name}, {FIRST[name]}"
    assert table.dropped == 0


@pytest.mark.parametrize("name", TEXTS)
def test_byte_order_mark_windows_line_ends_gzip_and_capitals_change_nothing(put, name):
    content = b"\xef\xbb\xbf" + TEXTS[name].replace("\n", "\r\n").encode()
    assert read_table(put(name, content), columns=EN_DE).columns == PAIRS
    packed = put(name.upper() + ".GZ", gzip.compress(content))
    assert read_table(packed, columns=EN_DE).columns == PAIRS


def test_parquet(put):
    table = read_table(parquet("x.parquet", PAIRS), columns=EN_DE)
    assert table.columns == PAIRS
    assert table.where(1) == "x.parquet, row 2"


def test_a_path_is_as_good_as_a_name(put):
    path = Path(put("x.tsv", TEXTS["x.tsv"])).resolve()
    table = read_table(path)
    assert table.columns == PAIRS
    assert table.name == str(path)


def test_columns_choose_and_order(put):
    table = read_table(put("x.tsv", "id\ten\tde\n1\ta cat\teine Katze\n"), columns=("de", "en"))
    assert list(table.columns.items()) == [("de", ["eine Katze"]), ("en", ["a cat"])]


@pytest.mark.parametrize(("name", "content"), [("x.tsv", "a cat\teine Katze\ntwo dogs\tzwei Hunde"), ("x.csv", None)])
def test_without_header_the_columns_are_taken_in_order(put, name, content):
    content = content or "a cat,eine Katze\ntwo dogs,zwei Hunde"
    table = read_table(put(name, content), columns=EN_DE)
    assert table.columns == PAIRS
    assert table.where(0) == f"{name}, line 1"


def test_quotes_are_text_in_tsv_and_quoting_in_csv(put):
    tsv = read_table(put("x.tsv", 'en\tde\n"a\t"b" c\n'), columns=EN_DE)
    assert tsv.columns == {"en": ['"a'], "de": ['"b" c']}
    csv = read_table(put("x.csv", 'en,de\n"a, ""b""","c\nd"\ne,f\n'), columns=EN_DE)
    assert csv.columns == {"en": ['a, "b"', "e"], "de": ["c\nd", "f"]}
    assert csv.lines == [2, 4]  # the line on which each record begins


def test_only_line_feeds_end_a_line(put):
    odd = "one\u2028two\x0cthree\x85four"
    put("x.en", f"{odd}\nnext\n")
    put("x.de", "eins\nzwei\n")
    assert read_table("x.en,x.de", columns=EN_DE).columns["en"] == [odd, "next"]


def test_a_pair_of_files(put):
    put("x.en", "a cat\ntwo dogs\n")
    put("x.de", "eine Katze\r\nzwei Hunde")
    for columns in (EN_DE, None):
        table = read_table("x.en, x.de", columns=columns)
        assert table.columns == PAIRS
    assert table.where(1) == "x.en, x.de, line 2"
    assert list(read_table("x.en,x.de", columns=("source", "target")).columns) == ["source", "target"]


def test_one_text_a_line(put):
    put("x.txt", "a cat\ntwo dogs\n")
    assert read_table("x.txt").columns == {"text": PAIRS["en"]}
    assert read_table("x.txt", columns=["en"]).columns == {"en": PAIRS["en"]}


def test_a_comma_in_the_name_of_a_real_file(put):
    assert read_table(put("a,b.tsv", TEXTS["x.tsv"])).columns == PAIRS


def test_a_pattern_reads_all_files_and_knows_each(put):
    parquet("part-0.parquet", PAIRS)
    parquet("part-1.parquet", PAIRS)
    table = read_table("part-*.parquet", columns=EN_DE)
    assert table.columns["en"] == PAIRS["en"] * 2
    assert table.where(3) == "part-1.parquet, row 2"


def test_a_folder_gives_one_split_only(put):
    parquet("set/train-00000-of-00002.parquet", {"text": ["a"]})
    parquet("set/train-00001-of-00002.parquet", {"text": ["b"]})
    parquet("set/test.parquet", {"text": ["c"]})
    assert read_table("set").columns == {"text": ["a", "b"]}
    assert read_table("set", split="test").columns == {"text": ["c"]}


def test_nested_translations_are_flattened(put):
    rows = [{"id": 1, "translation": {"en": "a cat", "de": "eine Katze"}}]
    put("x.jsonl", "\n".join(map(json.dumps, rows)))
    parquet("x.parquet", {"id": [1], "translation": [rows[0]["translation"]]})
    for name in ("x.jsonl", "x.parquet"):
        assert read_table(name, columns=EN_DE).columns == {"en": ["a cat"], "de": ["eine Katze"]}
        assert set(read_table(name).columns) == {"id", "en", "de"}
        whole = read_table(name, columns=["translation"], text=())
        assert whole.columns["translation"] == [rows[0]["translation"]]


def test_columns_that_are_not_text(put):
    put("x.jsonl", '{"text": "good", "label": 1}\n{"text": "bad", "label": 0}')
    table = read_table("x.jsonl", columns=("text", "label"), text=["text"])
    assert table.columns["label"] == [1, 0]


def test_count_takes_the_first_rows(put):
    assert read_table(put("x.tsv", TEXTS["x.tsv"]), count=1).columns == {"en": ["a cat"], "de": ["eine Katze"]}
    assert len(read_table("x.tsv", count=9)) == 2


def test_builtin():
    first = read_table("builtin:phrasebook", count=5, seed=1)
    assert list(first.columns) == ["en", "de"]
    assert len(first) == 5
    assert first == read_table("builtin:phrasebook", columns=EN_DE, count=5, seed=1)
    turned = read_table("builtin:phrasebook", columns=("de", "en"), count=5, seed=1)
    assert turned.columns == first.columns, "the direction is chosen by name, never by position"
    named = read_table("builtin:phrasebook", columns=("source", "target"), count=5, seed=1)
    assert named.columns["target"] == first.columns["de"]
    assert first.where(0) == "builtin:phrasebook, row 1"


def test_a_table_says_where_its_rows_are_from():
    table = Table("x.parquet", {"text": list("abcd")}).select([3, 1])
    assert table.columns == {"text": ["d", "b"]}
    assert table.where(0) == "x.parquet, row 4"
    assert table.select([1]).where(0) == "x.parquet, row 2"
    with pytest.raises(IndexError):
        table.where(2)


# ---- empty rows --------------------------------------------------------------------------------------------

HOLES = {
    "x.tsv": ("en\tde\na\tA\n\nb\t \nc\tC\n", "x.tsv, line 3", ["a", "c"], [2, 5]),
    "x.csv": ("en,de\na,A\n\nb,\nc,C\n", "x.csv, line 3", ["a", "c"], [2, 5]),
    "x.jsonl": (
        '{"en":"a","de":"A"}\n{"en":"b","de":null}\n\n{"en":"c","de":"C"}',
        "x.jsonl, line 2",
        ["a", "c"],
        [1, 4],
    ),
}


@pytest.mark.parametrize("name", HOLES)
def test_an_empty_row_is_an_error_or_dropped(put, name):
    content, where, kept, lines = HOLES[name]
    put(name, content)
    message = fault(name, columns=EN_DE)
    assert message.startswith(f"{where}: column ")
    assert "is empty (the first of 2 such rows of 4)" in message
    assert "data.drop_empty = true" in message
    table = read_table(name, columns=EN_DE, drop_empty=True)
    assert (table.columns["en"], table.lines, table.dropped) == (kept, lines, 2)


def test_dropped_parquet_rows_keep_their_numbers(put):
    parquet("x.parquet", {"text": ["a", None, "b"]})
    assert fault("x.parquet", columns=["text"]).startswith('x.parquet, row 2: column "text" is empty; remove')
    assert read_table("x.parquet", columns=["text"], drop_empty=True).where(1) == "x.parquet, row 3"


def test_an_empty_line_in_a_pair_is_dropped_from_both(put):
    put("x.en", "a\n\nc\n")
    put("x.de", "A\nB\nC\n")
    assert 'x.en,x.de, line 2: column "en" is empty' in fault("x.en,x.de", columns=EN_DE)
    table = read_table("x.en,x.de", columns=EN_DE, drop_empty=True)
    assert table.columns == {"en": ["a", "c"], "de": ["A", "C"]}
    assert table.where(1) == "x.en,x.de, line 3"


def test_without_columns_a_row_is_empty_only_as_a_whole(put):
    put("x.csv", "en,note\na,\n\nb,x\n")
    assert "x.csv, line 3" in fault("x.csv")
    assert read_table("x.csv", drop_empty=True).columns == {"en": ["a", "b"], "note": ["", "x"]}


def test_nothing_but_empty_rows(put):
    assert "all 3 rows are empty" in fault(put("x.txt", "\n \n\n"), drop_empty=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.tsv", ""), ("x.tsv", "en\tde\n"), ("x.csv", ""), ("x.jsonl", ""), ("x.json", "[]"), ("x.json", "")],
)
def test_a_file_without_rows(put, name, content):
    assert fault(put(name, content), columns=EN_DE) == f"{name}: there are no rows, expected at least one"


def test_a_parquet_file_without_rows(put):
    assert "there are no rows" in fault(parquet("x.parquet", {"text": []}))


# ---- faults of files ---------------------------------------------------------------------------------------


def test_a_missing_file_names_the_nearest(put, tmp_path):
    put("data/train.tsv", "x")
    assert 'data/trian.tsv: does not exist; the folder data does and holds "train.tsv"' in fault("data/trian.tsv")
    assert 'there is no "dta"; the folder . does and holds "data": did you mean' in fault("dta/train.tsv")
    assert "does and holds train.tsv" in fault("data/zzz.csv")
    (tmp_path / "hollow").mkdir()
    assert "the folder hollow does and is empty" in fault("hollow/zzz.csv")
    for number in range(40):
        put(f"many/{number}.tsv", "x")
    assert "and 28 more" in fault("many/zzzzzzzz.csv")
    assert "train.tsv cannot be followed: a link to nothing, a file taken" in fault("data/train.tsv/x.tsv")
    assert "does not exist" in fault("a" * 5000 + ".tsv")
    assert "does not exist" in fault("~nobody-of-this-name/x.tsv")


def test_forgotten_prefixes_are_recognised(put):
    assert 'did you mean "builtin:phrasebook"?' in fault("phrasebook")
    assert 'write "hf:wmt/wmt14"' in fault("wmt/wmt14")


def test_a_folder_is_not_a_file(put, tmp_path):
    put("set/other.parquet", "x")
    message = fault("set")
    assert message.startswith("set: a folder without train*.parquet; it holds other.parquet")
    assert os.path.join("set", "*.parquet") in message
    (tmp_path / "set.tsv").mkdir()
    assert "set.tsv: a folder without train*.parquet; it holds nothing" in fault("set.tsv")
    put("x.en", "a\n")
    (tmp_path / "x.de").mkdir()
    assert fault("x.en,x.de", columns=EN_DE) == "x.de: is a folder, expected a file"


@pytest.mark.parametrize(
    ("name", "got"), [("x.xlsx", '".xlsx"'), ("x", "no ending"), ("x.parquet.gz", '".parquet.gz"'), ("x.gz", '".gz"')]
)
def test_an_unknown_ending(put, name, got):
    message = fault(put(name, "x"))
    assert got in message
    assert "expected one of .csv, .json, .jsonl, .ndjson, .parquet, .tsv, .txt" in message


def test_a_pattern_that_matches_nothing_or_what_does_not_fit(put):
    assert fault("no-*.tsv") == "no-*.tsv: no file matches this pattern"
    put("a.tsv", "en\tde\na\tb\n")
    put("b.tsv", "en\tfr\na\tb\n")
    assert "b.tsv has the columns en, fr, but a.tsv has en, de" in fault("?.tsv")
    put("b.json", '[{"en": "a", "de": "b"}]')
    assert "b.json and b.tsv are of different formats" in fault("b.*", columns=["en"])


def test_invalid_utf8_names_line_and_byte(put):
    message = fault(put("x.tsv", b"en\tde\na cat\teine K\xe4tze\n"), columns=EN_DE)
    assert message.startswith("x.tsv, line 2, byte 13: got 0xe4, expected UTF-8")
    assert "save the file as UTF-8" in message
    assert read_table(put("x.txt", "a cat\n".encode("utf-16"))).columns == {"text": ["a cat"]}
    assert "line 1, byte 2: got 0x00" in fault(put("x.txt", "a cat\n".encode("utf-16-le")))
    assert "perhaps it is UTF-16" in fault("x.txt")


def test_broken_gzip(put):
    whole = gzip.compress(TEXTS["x.tsv"].encode())
    for content in (b"plain", whole[:-9], whole[:12] + b"\0\0\0" + whole[15:]):
        assert fault(put("x.tsv.gz", content)).startswith("x.tsv.gz: broken gzip file")


def test_no_permission(put, monkeypatch):
    """Root may read everything: the refusal of the operating system is played."""
    put("x.tsv", TEXTS["x.tsv"])

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert fault("x.tsv") == "x.tsv: no permission to read it; allow it with: chmod u+r"


def test_no_permission_for_a_folder(put, monkeypatch):
    put("set/train.parquet", "x")

    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "listdir", refuse)
    for source in ("set", "set/missing.tsv"):
        assert fault(source) == f"{source}: no permission to read the folder set"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_no_permission_for_real(put):
    os.chmod(put("x.tsv", TEXTS["x.tsv"]), 0)
    assert "no permission" in fault("x.tsv")


def test_a_message_is_one_line_whatever_the_data_holds(put):
    assert "\\n" in fault(put("x.csv", '"e\nn",de\na,b\n'), columns=("xx", "de"))


# ---- faults of tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.tsv", "x.csv", "x.jsonl", "x.json"])
def test_a_missing_column_names_those_there(put, name):
    message = fault(put(name, TEXTS[name]), columns=("en", "deu"))
    assert message.startswith(f"{name}, {'row' if name == 'x.json' else 'line'} 1: no ")
    assert '"deu"; the ' in message
    assert 'are en, de; did you mean "de"?' in message


def test_a_missing_parquet_column(put):
    message = fault(parquet("x.parquet", PAIRS), columns=("en", "deu"))
    assert message == 'x.parquet: no column "deu"; the columns are en, de; did you mean "de"?'


def test_a_header_in_other_letters_is_not_data(put):
    assert 'x.tsv, line 1: no column "en"; the columns are EN, DE' in fault(
        put("x.tsv", "EN\tDE\na\tb\n"), columns=EN_DE
    )


def test_without_header_the_number_of_fields_must_fit(put):
    message = fault(put("x.tsv", "a\tb\tc\n"), columns=EN_DE)
    assert 'x.tsv, line 1: no column "en"; the columns are a, b, c' in message
    assert "a file without a header has 2 fields in each row: en, de" in message


def test_a_header_that_repeats_a_name(put):
    assert 'names the column "en" twice' in fault(put("x.tsv", "en\tde\ten\na\tb\tc\n"), columns=EN_DE)


def test_a_wrong_number_of_fields(put):
    message = fault(put("x.tsv", "en\tde\na\tb\na\tb\tc\n"), columns=EN_DE)
    assert message == "x.tsv, line 3: 3 fields, expected 2 (en, de); look for a missing or extra tab"
    assert "x.csv, line 2: 1 field, expected 2" in fault(put("x.csv", "en,de\na\n"), columns=EN_DE)


def test_broken_quoting(put):
    open_quote = fault(put("x.csv", 'en,de\na,b\n"c,d\ne,f\n'), columns=EN_DE)
    assert open_quote.startswith("x.csv, line 3: unexpected end of data; quote values")
    assert fault(put("x.csv", 'en,de\n"a"b,c\n')).startswith("x.csv, line 2: ")
    assert "longer than 131,072 characters" in fault(put("x.csv", 'en,de\na,"' + "b\n" * 70_000))


def test_unequal_line_counts_name_both(put):
    put("x.en", "a\nb\nc\n")
    put("x.de", "A\nB\n")
    message = fault("x.en,x.de", columns=EN_DE)
    assert "x.en has 3 lines, x.de has 2 lines" in message
    assert "make the counts equal" in message


def test_pairs_of_files_that_do_not_fit_the_columns(put):
    put("x.en", "a\n")
    put("x.de", "A\n")
    assert "write x.de,x.en" in fault("x.en,x.de", columns=("de", "en"))
    assert "2 files, but 3 columns are wanted" in fault("x.en,x.de", columns=("en", "de", "fr"))
    assert "give no distinct column names" in fault("a.txt,b.txt")
    assert "x.tsv is a table" in fault("x.en,x.tsv", columns=EN_DE)
    assert "a .txt file has one column, but 2 are wanted" in fault(put("x.txt", "a\n"), columns=EN_DE)


def test_bad_json(put):
    assert fault(put("x.jsonl", '{"en": "a"}\n{"en": \n')).startswith("x.jsonl, line 2, column 8: bad JSON: ")
    assert fault(put("x.json", '[{"en": "a"},\n {"en" 1}]')).startswith("x.json, line 2, column 8: bad JSON: ")
    assert "name the file .jsonl" in fault(put("x.json", '{"en": "a"}\n{"en": "b"}\n'))
    assert "bad JSON" in fault(put("x.jsonl", "[" * 100_000))
    assert "bad JSON" in fault(put("x.jsonl", '{"en": ' + "1" * 5000 + "}"))


def test_json_that_holds_something_else(put):
    assert fault(put("x.jsonl", '{"en": "a"}\n["b"]\n')).startswith("x.jsonl, line 2: got ['b'], expected an object")
    assert "got an object with the keys data, expected a list" in fault(put("x.json", '{"data": []}'))
    assert fault(put("x.json", '[{"en": "a"}, 3]')) == "x.json, row 2: got 3, expected an object such as {...}"


def test_an_object_that_lacks_a_key_or_has_one_too_many(put):
    put("x.jsonl", '{"en": "a", "de": "A"}\n{"en": "b"}\n')
    for columns in (EN_DE, None):
        assert fault("x.jsonl", columns=columns).startswith('x.jsonl, line 2: no key "de"; the keys are en')
    put("x.jsonl", '{"en": "a"}\n{"en": "b", "de": "B"}\n')
    assert 'line 2: the key "de" is not in the first row; name the columns' in fault("x.jsonl")
    assert read_table("x.jsonl", columns=["en"]).columns == {"en": ["a", "b"]}


def test_what_is_not_text(put):
    message = fault(put("x.jsonl", '{"en": "a"}\n{"en": 3}\n'), columns=["en"])
    assert message.startswith('x.jsonl, line 2: column "en" holds 3 (int), expected text')
    assert "row 1" in fault(parquet("x.parquet", {"label": [1, 2]}), columns=["label"])
    assert "half a character" in fault(put("x.jsonl", '{"en": "a"}\n{"en": "b \\ud83d"}\n'), columns=["en"])


def test_broken_parquet(put):
    whole = Path(parquet("whole.parquet", PAIRS)).read_bytes()
    for content in (b"", b"not parquet", whole[: len(whole) // 2], whole[:4] + b"\0" * 60 + whole[64:]):
        assert fault(put("x.parquet", content), columns=EN_DE).startswith("x.parquet: broken Parquet file")


@pytest.mark.parametrize(
    ("module", "source", "extra"), [("pyarrow", "x.parquet", "parquet"), ("datasets", "hf:owner/name", "hub")]
)
def test_a_missing_library_names_its_extra(put, monkeypatch, module, source, extra):
    put("x.parquet", "x")
    for loaded in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    assert f'needs the package {module}: pip install "formers[{extra}]"' in fault(source, PackageError)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"columns": "en"}, 'got the text "en"'),
        ({"columns": ()}, "got none"),
        ({"columns": ("en", "en")}, "different names, got en, en"),
        ({"columns": ("en",), "text": ("de",)}, 'the text column "de" is not among the columns en'),
        ({"count": 0}, "count (0) must be 1 or more"),
    ],
)
def test_arguments_that_no_source_can_satisfy(put, options, part):
    assert part in fault(put("x.tsv", TEXTS["x.tsv"]), **options)


def test_a_source_that_is_no_name():
    for source in ("", "  ", "a\0b"):
        assert "expected a file, a folder, hf:NAME or builtin:NAME" in fault(source)


def test_faults_of_builtin_data():
    assert 'did you mean "phrasebook"?' in fault("builtin:phrasebok")
    assert "known: " in fault("builtin:xyz")
    assert "the columns are en, de, but en, fr are wanted" in fault("builtin:phrasebook", columns=("en", "fr"))
    assert "the columns are text, but en, de are wanted" in fault("builtin:prose", columns=EN_DE)
    assert all(made.columns for made in BUILTIN.values())


# ---- hub ---------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return datasets


def test_a_local_folder_in_the_layout_of_the_hub(put, hub, tmp_path):
    parquet("set/train.parquet", PAIRS)
    parquet("set/test.parquet", {"en": ["x"], "de": ["y"]})
    source = f"hf:{tmp_path}/set"
    table = read_table(source, columns=("de", "en"))
    assert table.columns == PAIRS
    assert table.where(1) == f"{source}, row 2"
    assert read_table(source, split="test").columns == {"en": ["x"], "de": ["y"]}
    assert 'no column "fr"; the columns are en, de' in fault(source, columns=["fr"])
    assert 'cannot load split "nosplit": ' in fault(source, split="nosplit")


def test_nested_translations_of_the_hub(put, hub, tmp_path):
    rows = [{"translation": {"en": en, "de": de}} for en, de in zip(*PAIRS.values(), strict=True)]
    put("set/train.jsonl", "\n".join(map(json.dumps, rows)))
    assert read_table(f"hf:{tmp_path}/set", columns=EN_DE).columns == PAIRS
    assert read_table(f"hf:{tmp_path}/set").columns == PAIRS
    assert 'row 1: no key "fr"; the keys are en, de' in fault(f"hf:{tmp_path}/set", columns=["fr"])


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("hf:owner/name", {}),
        ("hf:name", {}),
        ("hf:owner/name@v1.0", {"revision": "v1.0"}),
        ("hf:owner/name@refs/convert/parquet", {"revision": "refs/convert/parquet"}),
        ("hf:owner/name:de-en", {"name": "de-en"}),
        ("hf:owner/name@v1:de-en", {"revision": "v1", "name": "de-en"}),
        ("hf:owner/name:de-en@v1", {"revision": "v1", "name": "de-en"}),
    ],
)
def test_names_revisions_and_configs(put, hub, monkeypatch, source, asked):
    calls = []

    def load(path, **options):
        calls.append((path, options))
        return hub.Dataset.from_dict(PAIRS)

    monkeypatch.setattr(hub, "load_dataset", load)
    assert read_table(source, columns=EN_DE, split="validation").columns == PAIRS
    path = source.removeprefix("hf:").partition("@")[0].partition(":")[0]
    assert calls == [(path, {"split": "validation", **asked})]


@pytest.mark.parametrize("source", ["hf:", "hf:a/b/c", "hf:a/b@", "hf:a/b@1@2", "hf:a b"])
def test_names_that_no_hub_has(put, source):
    assert "expected hf:owner/name" in fault(source)


def test_faults_of_the_hub_are_one_line(put, hub, monkeypatch, tmp_path):
    assert "does not exist" in fault(f"hf:{tmp_path}/nothing")
    from huggingface_hub.errors import HTTPError

    for error in (ConnectionError("cannot\nreach it"), HTTPError("timed out"), RuntimeError("a script")):

        def load(path, error=error, **options):
            raise error

        monkeypatch.setattr(hub, "load_dataset", load)
        assert fault("hf:owner/name").startswith('hf:owner/name: cannot load split "train": ')


def test_a_data_set_that_is_a_script_is_not_run(put, hub, tmp_path):
    put("set/set.py", "raise SystemExit('the script was run')")
    assert "cannot load split" in fault(f"hf:{tmp_path}/set")


# ---- real data ---------------------------------------------------------------------------------------------


def test_multi30k():
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    path = DATA / "multi30k" / "train.parquet"
    if not path.exists():
        pytest.skip(f"no real data at {path}")
    table = read_table(path, columns=EN_DE)
    assert len(table) == 29_000
    assert table.columns["en"][0] == "Two young, White males are outside near many bushes."
    assert table.where(16).endswith("train.parquet, row 17")
    assert (
        read_table(DATA / "multi30k", split="validation", columns=EN_DE).where(0).endswith("validation.parquet, row 1")
    )
