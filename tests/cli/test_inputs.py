"""One rule for all verbs' --file: lines, a column of a table, standard input; rows that cannot be used."""

import json

import pytest

import formers
from tests.cli.conftest import call, fails, leaves_out, works
from tests.systems.classification.toy import TEXTS, classifier

ROWS = [f"{TEXTS[0]}\nand more", TEXTS[1], f'"{TEXTS[2]}", they said']


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("inputs") / "model"
    classifier().save(place)
    return place


@pytest.fixture
def tables(tmp_path):
    """The same rows in every form of a table."""
    quoted = ['"' + text.replace('"', '""') + '"' for text in ROWS]
    (tmp_path / "x.csv").write_text("id,review\n" + "".join(f"{n},{text}\n" for n, text in enumerate(quoted)))
    (tmp_path / "y.csv").write_text("id;review\n" + "".join(f"{n};{text}\n" for n, text in enumerate(quoted)))
    rows = [{"id": n, "review": text} for n, text in enumerate(ROWS)]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "x.json").write_text(json.dumps(rows))
    return [tmp_path / name for name in ("x.csv", "y.csv", "x.jsonl", "x.json")]


def labels(folder, texts):
    return "".join(f"{each.label}\n" for each in formers.load(folder).classify(texts))


def test_a_table_gives_its_column(folder, tables):
    for table in tables:
        assert works("classify", folder, "--file", table, "--column", "review") == labels(folder, ROWS)
    assert works("classify", folder, "--file", tables[2]) == labels(folder, ROWS)  # the only one of texts
    message = fails("classify", folder, "--file", tables[0], "--column", "text")
    assert 'no column "text"; the columns are id, review' in message
    assert "say which holds the texts: --column NAME" in fails("classify", folder, "--file", tables[0])
    ranked = [row.text for row in formers.load(folder).rerank("soup", ROWS, label="good")]
    shown = works("rerank", folder, "soup", "--label", "good", "--file", tables[1], "--column", "review", "--json")
    assert [json.loads(line)["text"] for line in shown.splitlines()] == ranked


def test_a_table_without_a_header_is_read_whole_and_it_is_said(folder, tmp_path, capfd):
    (tmp_path / "x.csv").write_text("".join(f"{text}.\n" for text in TEXTS[:3]))
    assert works("classify", folder, "--file", tmp_path / "x.csv") == labels(folder, [f"{t}." for t in TEXTS[:3]])
    assert "its first line is no header" in fails("classify", folder, "--file", tmp_path / "x.csv", "--column", "text")


def test_pairs_of_a_table(folder, tmp_path):
    pairs = formers.load(folder).classify(TEXTS[:2], TEXTS[2:4])
    expected = "".join(f"{each.label}\n" for each in pairs)
    lines = f"{TEXTS[0]}\t{TEXTS[2]}\n{TEXTS[1]}\t{TEXTS[3]}\n"
    (tmp_path / "x.tsv").write_text(lines)
    assert works("classify", folder, "--pairs", "--file", tmp_path / "x.tsv") == expected
    (tmp_path / "x.txt").write_text(lines)
    assert works("classify", folder, "--pairs", "--file", tmp_path / "x.txt") == expected
    (tmp_path / "x.tsv").write_text("sentence1\tsentence2\n" + lines)
    assert works("classify", folder, "--pairs", "--file", tmp_path / "x.tsv") == expected
    (tmp_path / "x.csv").write_text(
        "a,n,b\n" + "".join(f"{a},1,{b}\n" for a, b in zip(TEXTS[:2], TEXTS[2:4], strict=True))
    )
    named = ["classify", folder, "--pairs", "--file", tmp_path / "x.csv"]
    assert works(*named, "--column", "a,b") == expected
    assert "choose with --column FIRST,SECOND" in fails(*named)
    assert "expected two: --column FIRST,SECOND" in fails(*named, "--column", "a")


def test_bad_rows_are_named_or_left_out_and_counted(folder, tmp_path):
    expected = labels(folder, [TEXTS[0], TEXTS[1]])

    def counted(count, first, *arguments, stdin=None):
        assert first in fails(*arguments, stdin=stdin)
        done = call(*arguments, "--skip-bad", stdin=stdin)
        assert (done.exit_code, done.stdout) == (0, expected), done.output
        assert f"left out: {count} row(s) that cannot be used; the first: " in done.stderr and first in done.stderr

    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps({"text": TEXTS[0]}) + '\n{"text": \n{"text": ""}\n' + json.dumps({"text": TEXTS[1]}))
    counted(2, "x.jsonl, line 2", "classify", folder, "--file", file, "--column", "text")
    file.write_text(json.dumps({"text": TEXTS[0]}) + '\n{"text": 5}\n{"text": 6}\n' + json.dumps({"text": TEXTS[1]}))
    counted(2, "x.jsonl, line 2", "classify", folder, "--file", file)
    assert 'column "text" holds 5' in fails("classify", folder, "--file", file)
    file = tmp_path / "x.csv"
    file.write_text(f'text,n\n{TEXTS[0]},1\na,b,c\n{TEXTS[1]},2\n"open,3\n')
    counted(2, "x.csv, line 5", "classify", folder, "--file", file, "--column", "text")
    content = TEXTS[0].encode() + b"\nK\xe4se\n\n" + TEXTS[1].encode() + b"\n"
    (tmp_path / "x.txt").write_bytes(content)
    counted(2, "line 2, byte 2", "classify", folder, "--file", tmp_path / "x.txt")
    counted(2, "line 2, byte 2", "classify", folder, stdin=content)
    counted(2, "line 2, byte 2", "classify", folder, "--file", "-", stdin=content)
    assert "--skip-bad is for --file" in fails("classify", folder, "a", "--skip-bad")


def test_standard_input_may_be_any_table_of_rows(folder, tmp_path):
    rows = [{"text": text, "label": "good"} for text in TEXTS[:4]]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "x.jsonl").write_text(lines)
    expected = json.loads(works("evaluate", folder, "--data", tmp_path / "x.jsonl", "--json"))
    forms = [lines, json.dumps(rows), "text\tlabel\n" + "".join(f"{t}\tgood\n" for t in TEXTS[:4])]
    for form in forms:
        shown = json.loads(works("evaluate", folder, "--data", "-", "--json", stdin=form))
        assert shown["accuracy"] == expected["accuracy"] and shown["examples"] == 4
    shown = fails("evaluate", folder, "--data", "-", "--source", "sentence", stdin=lines)
    assert "standard-input.jsonl, line 1" in shown and shown.endswith("choose with --source COLUMN")


def test_the_budget_is_an_option_of_every_verb(folder, tmp_path, monkeypatch):
    from formers.data import limits

    monkeypatch.setattr(limits, "USUAL", limits.Budget(rows=3))
    monkeypatch.setenv(limits.VARIABLE, "")
    (tmp_path / "x.txt").write_text("".join(f"{text}\n" for text in TEXTS[:4]))
    assert "4 rows or more, expected at most 3" in fails("classify", folder, "--file", tmp_path / "x.txt")
    shown = works("classify", folder, "--file", tmp_path / "x.txt", "--budget", 2)
    assert shown == labels(folder, TEXTS[:4])


def test_a_binary_file_and_one_without_a_name(folder, tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b"\x90\0\1\2" * 40)
    assert "it is no text but a binary file" in fails("classify", folder, "--file", tmp_path / "x.jsonl")
    assert "--file has no name" in fails("classify", folder, "--file", "")


def test_rows_that_cannot_be_measured_with_are_left_out_and_counted(folder, tmp_path):
    good = [{"text": text, "label": "good"} for text in TEXTS[:4]]
    bad = [{**good[0], "label": "ugly"}, {**good[0], "text": ""}, {**good[0], "label": None}, {"text": TEXTS[0]}]
    leaves_out(tmp_path / "a.jsonl", good, bad[:1], ': the label "ugly"', "evaluate", folder, "--data")
    leaves_out(tmp_path / "b.jsonl", good, bad[1:3], ': column "', "evaluate", folder, "--data")
    leaves_out(tmp_path / "c.jsonl", good, bad[3:], ': no key "label"', "evaluate", folder, "--data")
