"""Tagged sentences: what is read, what is refused, where the labels stand."""

import json

import numpy as np
import pytest

from formers.data.builtin import parts
from formers.data.source import Source
from formers.errors import DataError
from formers.systems.tagging.data import NONE, TaggedBatches, TaggedRows
from formers.text.reader import Reader
from formers.text.training import train_word_pieces


def write(folder, rows, name="tagged.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def row(text, tags):
    return {"tokens": text.split(), "tags": tags.split()}


ROWS = TaggedRows()
GOOD = [row("the cat sleeps", "DET NOUN VERB"), row("dogs bark", "NOUN VERB"), row("a dog", "DET NOUN")]


def test_every_fault_is_one_line_with_its_row(tmp_path):
    def refused(rows, **options):
        source = Source(train=write(tmp_path, rows), **options)
        with pytest.raises(DataError) as found:
            table = source.read("train", reader=ROWS.read)
            ROWS.labels(table)
        message = str(found.value)
        assert "\n" not in message
        return message

    assert "line 2: got 2 words (tokens) but 3 tags (tags)" in refused([GOOD[0], row("a b", "X Y Z")])
    assert "line 2: the sentence has no words; remove it" in refused([GOOD[0], {"tokens": [], "tags": []}])
    assert 'column "tags" holds "X Y" (str), expected a list' in refused([{"tokens": ["a", "b"], "tags": "X Y"}])
    assert 'column "tags" holds 3 (int)' in refused([{"tokens": ["a"], "tags": [3]}])
    assert 'have the tag "X", expected at least two' in refused([row("a b", "X X")])
    assert 'no key "tags"' in refused([{"tokens": ["a"]}])
    assert "all 1 sentences are without a word" in refused([{"tokens": [], "tags": []}], drop_empty=True)


def test_a_tag_unseen_in_training_is_named_with_its_word(tmp_path):
    source = Source(train=write(tmp_path, GOOD), validation=write(tmp_path, [row("a cat", "DET NUON")], "v.jsonl"))
    table, held_out = source.tables(reader=ROWS.read)
    with pytest.raises(DataError, match=r'v.jsonl, line 1: word 2 \("cat"\) has the tag "NUON".*did you mean "NOUN"'):
        ROWS.numbers(held_out, ROWS.labels(table))


def test_empty_sentences_are_counted_where_they_may_be_left_out(tmp_path):
    source = Source(train=write(tmp_path, [*GOOD, {"tokens": [], "tags": []}]), drop_empty=True)
    table = source.read("train", reader=ROWS.read)
    assert len(table) == 3 and table.dropped == 1


def test_conll_files_have_a_word_and_its_tag_a_line(tmp_path):
    plain = tmp_path / "a.conll"
    plain.write_text("-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\nPeter NNP B-PER\n", encoding="utf-8")
    table = Source(train=str(plain)).read("train", reader=ROWS.read)
    assert table.columns == {"tokens": [["EU", "rejects"], ["Peter"]], "tags": [["B-ORG", "O"], ["B-PER"]]}
    assert table.where(1) == f"{plain}, line 6"
    full = tmp_path / "b.conllu"
    line = "{}\t{}\t_\t{}\t_\t_\t0\t_\t_\t_\n"
    full.write_text(
        "# text = Don't go\n"
        + line.format("1-2", "Don't", "_")
        + line.format(1, "Do", "AUX")
        + line.format(2, "n't", "PART")
        + line.format("2.1", "x", "X")
        + line.format(3, "go", "VERB"),
        encoding="utf-8",
    )
    assert Source(train=str(full)).read("train", reader=ROWS.read).columns == {
        "tokens": [["Do", "n't", "go"]],
        "tags": [["AUX", "PART", "VERB"]],
    }
    plain.write_text("EU B-ORG\nalone\n", encoding="utf-8")
    with pytest.raises(DataError, match=r'line 2: got "alone", expected a word and its tag'):
        Source(train=str(plain)).read("train", reader=ROWS.read)


def test_labels_stand_on_first_pieces_and_cut_words_are_counted(tmp_path):
    rows = [row("unbelievable cats sleep", "ADJ NOUN VERB"), row("cats", "NOUN")]
    table = Source(train=write(tmp_path, rows)).read("train", reader=ROWS.read)
    labels = ROWS.labels(table)
    assert labels == ("ADJ", "NOUN", "VERB")
    tokenizer = train_word_pieces(["cats sleep un ub ue ul ui uv ua"], 60, min_count=1)
    batches = TaggedBatches(table, Reader(tokenizer, 64), labels, ROWS, seed=1)
    batch = batches.collate([0, 1])
    encoding = batches.reader.read_words([["unbelievable", "cats", "sleep"]])[0]
    firsts = [encoding.word_ids.index(word) for word in range(3)]
    assert len(encoding) > 6  # the first word is several pieces
    assert [place for place, label in enumerate(batch.labels[0].tolist()) if label != NONE] == firsts
    assert batch.labels[0][firsts].tolist() == [0, 1, 2]
    assert batch.labels[1].tolist()[:3] == [NONE, 1, NONE] and batch.inputs.keep[1].sum() == 3
    cut = TaggedBatches(table, Reader(tokenizer, firsts[1] + 1), labels, ROWS, seed=1)
    assert any(
        "cut to" in line and "1 sentences (50.00%)" in line and "2 words (50.00%)" in line
        for line in cut.report.lines()
    )
    assert (cut.collate([0]).labels != NONE).sum() == 1
    covered = np.concatenate(batches.epoch(0))
    assert sorted(covered) == [0, 1]


def test_the_built_in_sentences_are_the_same_every_time_and_new_in_the_test():
    train, test = parts.rows("train", 400), parts.rows("test", 200)
    assert train == parts.rows("train", 400) and train != parts.rows("train", 400, seed=1)
    assert all(len(words) == len(tags) for words, tags in train)
    seen = {tuple(words) for words, _ in train}
    assert not seen & {tuple(words) for words, _ in test}
    kinds = {}
    for words, tags in train:
        for word, tag in zip(words, tags, strict=True):
            kinds.setdefault(word.lower(), set()).add(tag)
    assert {"NOUN", "VERB", "ADJ"} <= kinds["light"] and len([word for word in kinds if len(kinds[word]) > 1]) > 10
    with pytest.raises(DataError, match='split: got "dev"'):
        parts.rows("dev", 1)
