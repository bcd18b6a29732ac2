"""Tagged sentences as files: columns are parted as the file says, and every line has as many."""

import pytest

from formers.data.bad_rows import leaving_out
from formers.errors import DataError
from formers.systems.tagging.conll import read_conll

HARD = "\u00a0"  # a space that does not break


def rows(tmp_path, content, name="x.conll"):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    table = read_conll(str(path), "tokens", "tags")
    return list(zip(table.columns["tokens"], table.columns["tags"], table.lines, strict=True))


def refused(tmp_path, content, name="x.conll"):
    with pytest.raises(DataError) as caught:
        rows(tmp_path, content, name)
    return str(caught.value).removeprefix(f"{tmp_path / name}, ")


def test_tabs_keep_spaces_inside_words(tmp_path):
    tabs = "New York\tB-LOC\n10 000\tO\n\nEU\tB-ORG\n"
    assert rows(tmp_path, tabs) == [(["New York", "10 000"], ["B-LOC", "O"], 1), (["EU"], ["B-ORG"], 4)]
    assert rows(tmp_path, tabs.replace("\n", "\r\n")) == rows(tmp_path, tabs)
    assert rows(tmp_path, "EU\tNNP\tB-ORG\t\nup\tRB\tO\t\n") == [(["EU", "up"], ["B-ORG", "O"], 1)]


def test_a_hard_space_is_no_separator(tmp_path):
    for sign in (" ", "\t", "  \t "):
        word = f"10{HARD}000"
        assert rows(tmp_path, f"{word}{sign}B-NUM\nEU{sign}O\n") == [([word, "EU"], ["B-NUM", "O"], 1)]
    assert "line 1: got" in refused(tmp_path, f"10{HARD}000\nEU O\n")


def test_spaces_and_tabs_mixed_part_columns_alike(tmp_path):
    assert rows(tmp_path, "EU NNP\tB-ORG\nup  RB O\n") == [(["EU", "up"], ["B-ORG", "O"], 1)]


def test_a_line_with_more_or_fewer_columns_is_named(tmp_path):
    message = refused(tmp_path, "EU NNP B-ORG\nrejects VBZ O\nGerman B-MISC\n")
    assert message.startswith("line 3: got 2 columns between spaces or tabs, expected 3 as in other lines")
    assert "line 2: got 3 columns between tabs, expected 2" in refused(tmp_path, "EU\tB-ORG\nNew\tYork\tB-LOC\n")
    assert "expected a word and its tag" in refused(tmp_path, "EU\tB-ORG\n\tO\n")
    short = "1\tDo\t_\tAUX\t_\t_\t0\t_\t_\t_\n2\tgo\t_\tVERB\n"
    assert "line 2: got 4 columns between tabs, expected 10" in refused(tmp_path, short, "x.conllu")


def test_comments_and_words_that_begin_alike(tmp_path):
    content = "# sent_id = 1\n#\nEU B-ORG\n# O\n#tag O\n-DOCSTART- O\n\nup O\n"
    assert rows(tmp_path, content) == [(["EU", "#", "#tag"], ["B-ORG", "O", "O"], 3), (["up"], ["O"], 8)]


BAD = {
    "one column": ("EU B-ORG\nup O\n\n", "alone\nup O\n", "\nwe O\n"),
    "another width": ("EU B-ORG\nup O\n\n", "up O\nEU NNP B-ORG\n", "\nwe O\n"),
    "another width first": ("", "EU NNP B-ORG\n", "\nEU B-ORG\nup O\n"),
    "a lost tab": ("New York\tB-LOC\n\n", "up O\n", "\nold town\tO\n"),
    "no text": ("EU B-ORG\n\n", "up O\n\udcff O\n", "\nwe O\n"),
    "no text at the end": ("EU B-ORG\n\n", "up O\n\udcff O\n", ""),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_line_costs_its_sentence_where_bad_rows_are_left_out(tmp_path, case):
    before, bad, after = BAD[case]
    path = tmp_path / "x.conll"
    good = [row[:2] for row in rows(tmp_path, before + after)]
    path.write_text(before + bad + after, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DataError, match=r"x\.conll, line \d"):
        read_conll(str(path), "tokens", "tags")
    with leaving_out([]) as faults:
        table = read_conll(str(path), "tokens", "tags")
    assert list(zip(table.columns["tokens"], table.columns["tags"], strict=True)) == good
    assert len(faults) == 1 and f"{path}, line " in str(faults[0])
