"""Conversations: their forms, which tokens carry loss, packing, and for every fault one line."""

import json

import numpy as np
import pytest

from formers.data.packing import PackedRows
from formers.data.source import Source
from formers.errors import ConfigError, DataError
from formers.systems.chat.data import ConversationRows, Conversations
from formers.text.chat import ChatEncoder, ChatTemplate
from tests.text.templates import CHATML, GENERATION, NAMES, TALK, THINKING, byte_tokenizer

TOKENIZER = byte_tokenizer()
ENCODER = ChatEncoder(ChatTemplate(GENERATION, NAMES), TOKENIZER)
ROWS = ConversationRows()
SHORT = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hello"}]


@pytest.fixture
def put(tmp_path):
    def write(*rows, name="x.jsonl"):
        path = tmp_path / name
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
        return str(path)

    return write


def tables(**source):
    return Source(**source).tables(**ROWS.reading(Source()))


def read(name, **options):
    return Source(train=name, **options).read("train", **ROWS.reading(Source()))


def of(table, encoder=ENCODER, length=64, last_only=False, drop_long=False):
    return Conversations(table, encoder, length=length, last_only=last_only, drop_long=drop_long)


# ---- forms -------------------------------------------------------------------------------------------------


def test_every_form_is_the_same_conversation(put):
    sharegpt = [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "hello"}]
    for row in (
        {"messages": SHORT},
        {"prompt": "hello", "answer": "hello"},
        {"prompt": SHORT[:1], "answer": "hello"},
        {"conversations": sharegpt},
        {"conversations": SHORT},
        {"messages": SHORT, "id": 3},
    ):
        assert read(put(row)).columns["messages"] == [SHORT]


def test_rows_may_have_more_keys_than_the_first_and_blank_lines_before(put):
    name = put("", {"messages": SHORT}, {"messages": SHORT, "source": "x"})
    assert len(read(name, drop_empty=True)) == 2


def test_parquet_and_count(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow.parquet import write_table

    write_table(pyarrow.table({"messages": [SHORT, TALK, SHORT]}), tmp_path / "x.parquet")
    table = read(str(tmp_path / "x.parquet"), count=2)
    assert [len(messages) for messages in table.columns["messages"]] == [2, 4]
    assert table.columns["messages"][1] == TALK


def test_json_lists_and_patterns(put):
    put({"messages": SHORT}, name="a-1.jsonl"), put({"messages": TALK}, name="a-2.jsonl")
    name = put(json.dumps([{"messages": SHORT}]), name="b.json")
    assert read(name).columns["messages"] == [SHORT]
    assert len(read(name.replace("b.json", "a-*.jsonl"))) == 2


def test_a_part_is_set_aside(put):
    name = put(*({"prompt": str(i), "answer": str(i)} for i in range(40)))
    train, held_out = tables(train=name, held_out=200)
    said = [messages[0]["content"] for table in (train, held_out) for messages in table.columns["messages"]]
    assert (len(train), len(held_out)) == (38, 2) and sorted(said, key=int) == [str(i) for i in range(40)]
    with pytest.raises(DataError, match="expected at least 2 to set one aside"):
        tables(train=put({"messages": SHORT}, name="one.jsonl"))
    both = tables(train=name, validation=put({"messages": SHORT}, name="v.jsonl"))
    assert list(map(len, both)) == [40, 1]


@pytest.mark.parametrize(
    "row, message",
    [
        ({"messages": "hello"}, "x.jsonl, line 2: got 'hello', expected a list of messages"),
        ({"messages": []}, "x.jsonl, line 2: got [], expected a list of messages"),
        ({"messages": [{"content": "a"}]}, "x.jsonl, line 2, message 1: it has no role"),
        ({"messages": [{"role": "bot", "content": "a"}]}, 'x.jsonl, line 2, message 1: the role "bot" is not known'),
        (
            {"messages": [*SHORT, {"role": "assistant", "content": ""}]},
            "x.jsonl, line 2, message 3: the answer is empty",
        ),
        ({"messages": [{"role": "user", "content": 3}]}, "x.jsonl, line 2, message 1: its content is 3 (int)"),
        ({"messages": SHORT[:1]}, "x.jsonl, line 2: no assistant turn among the 1 messages"),
        ({"message": SHORT}, 'x.jsonl, line 2: no key "messages"'),
        ('{"messages": [', "x.jsonl, line 2, column 15: bad JSON"),
    ],
)
def test_faults_say_where(put, row, message):
    with pytest.raises(DataError) as found:
        read(put({"messages": SHORT}, row))
    assert message in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize(
    "row, message",
    [
        ({"text": "hello"}, "it has text, but a row needs one of: messages; prompt and answer; conversations"),
        ({"prompt": "hello"}, "it has prompt, but"),
        ({"prompt": 3, "answer": "a"}, "line 1: got 3, expected a list of messages"),
        ({"prompt": "hello", "answer": 3}, "message 2: its content is 3 (int), expected text"),
        ({"prompt": "hello", "answer": ""}, 'column "answer" is empty'),
        ({"conversations": "hello"}, 'line 1: got "hello", expected a list of {"from": ..., "value": ...}'),
        ({"conversations": [{"from": "bot", "value": "a"}]}, 'the role "bot" is not known'),
        ({"conversations": [{"from": "human"}]}, "its content is None"),
    ],
)
def test_faults_of_the_first_row(put, row, message):
    with pytest.raises(DataError) as found:
        read(put(row))
    assert message in str(found.value) and "\n" not in str(found.value)


def test_empty_answers_can_be_left_out(put):
    empty = [*SHORT[:1], {"role": "assistant", "content": " "}]
    table = read(put({"messages": empty}, {"messages": SHORT}), drop_empty=True)
    assert (table.columns["messages"], table.dropped, table.where(0)[-6:]) == ([SHORT], 1, "line 2")
    table = read(put({"prompt": "a", "answer": ""}, {"prompt": "hello", "answer": "hello"}), drop_empty=True)
    assert (table.columns["messages"], table.dropped) == ([SHORT], 1)
    with pytest.raises(DataError, match="none of the 1 rows has an answer"):
        read(put({"messages": empty}), drop_empty=True)
    with pytest.raises(DataError, match="line 1, message 1: it has no role"):  # which is no empty answer
        read(put({"messages": [{"content": ""}]}), drop_empty=True)


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("answers", "first", 'rows.answers "first" is not known; known: all, last'),
        ("packing", "stream", "rows.packing"),
        ("too_long", "keep", "rows.too_long"),
        ("tokens_per_batch", 0, "rows.tokens_per_batch"),
    ],
)
def test_settings_that_are_none(field, value, message):
    with pytest.raises(ConfigError, match=message):
        ConversationRows(**{field: value})


def test_no_source():
    with pytest.raises(ConfigError, match=r"data.train is empty"):
        tables()


# ---- tokens ------------------------------------------------------------------------------------------------


def table_of(put, *conversations):
    return read(put(*({"messages": messages} for messages in conversations)))


def test_labels_and_loss_of_a_row_by_hand(put):
    found = of(table_of(put, SHORT, SHORT))
    rows = PackedRows(found, 64, 64, seed=1, together=True)
    [row] = [rows.collate(batch) for batch in rows.epoch(0)]
    names = [
        "<|im_start|>",
        "user",
        "\n",
        "hello",
        "<|im_end|>",
        "\n",
        "<|im_start|>",
        "assistant",
        "\n",
        "hello",
        "<|im_end|>",
        "\n",
    ]
    assert TOKENIZER.pieces(row.tokens[0].tolist()) == names[:-1] * 2
    assert TOKENIZER.pieces(row.labels[0].tolist()) == names[1:] * 2
    assert row.documents.tolist() == [[0] * 11 + [1] * 11]
    learned = [name for name, real in zip(names[1:] * 2, row.real[0].tolist(), strict=True) if real]
    assert learned == ["hello", "<|im_end|>"] * 2


def test_rows_are_as_wide_as_the_fullest_and_a_batch_holds_more_of_them(put):
    found = of(table_of(put, *[TALK] * 6), length=96)
    size = int(found.sizes[0]) - 1  # a label for every token but the first
    assert 48 < size < 96  # no two share a row
    rows = PackedRows(found, 96, 3 * size, seed=1, together=True)
    assert [len(batch) for batch in rows.epoch(0)] == [3, 3]
    assert f"6 rows of {size} tokens hold 6 pieces, none of which sees another; padding 0.0%" in rows.notes()[0]


def test_rows_that_are_mostly_padding_say_so(put):
    found = of(table_of(put, TALK, *[SHORT] * 7), length=96)
    rows = PackedRows(found, 96, 96, seed=1, together=True)
    rows.rows = [[piece] for piece in range(8)]  # as badly as it could be packed
    assert "most of a batch: set rows.length so that rows are fuller" in rows.notes()[0]


@pytest.mark.parametrize("together", [True, False])
def test_every_spoken_token_is_a_label_once(put, together):
    table = table_of(put, *[TALK, SHORT, TALK[:2]] * 5)
    found = of(table, length=96)
    rows = PackedRows(found, 96, 200, seed=1, together=together)
    got = np.zeros(TOKENIZER.vocab, int)
    for batch in rows.epoch(0):
        tensors = rows.collate(batch)
        np.add.at(got, tensors.labels[tensors.real].numpy(), 1)
    expected = np.zeros(TOKENIZER.vocab, int)
    for messages in table.columns["messages"]:
        encoded = ENCODER.encode(messages)
        np.add.at(expected, np.array(encoded.ids)[encoded.spoken], 1)
    assert (got == expected).all() and got.sum() == found.counted.sum()


def test_long_conversations_are_cut_or_dropped_and_reported(put):
    table = table_of(put, SHORT, TALK)
    size = len(ENCODER.encode(TALK).ids)
    whole = of(table, length=size - 1)  # the last token is only said
    assert whole.cut == 0 and whole.sizes.tolist() == [12, size]
    found = of(table, length=size - 2)
    assert found.cut == 1 and found.sizes.tolist() == [12, size - 1]
    assert (found.tokens[12:] == whole.tokens[12:-1]).all() and (found.counted[12:] == whole.counted[12:-1]).all()
    dropped = of(table, length=size - 2, drop_long=True)
    assert dropped.sizes.tolist() == [12] and dropped.rows == [0]
    rows = PackedRows(dropped, size - 2, 64, seed=1, together=True)
    report = "\n".join(dropped.report(rows, None).lines())
    assert f"left out: 1 (50.00%) longer than {size - 2} tokens (rows.too_long)" in report
    assert "loss: on 2 of 12 tokens (16.7%), those of answers" in report
    rows = PackedRows(found, size - 2, 64, seed=1, together=True)
    assert "cut: 1 conversations end before their end" in "\n".join(found.report(rows, None).lines())


def test_no_loss_is_refused(put):
    with pytest.raises(DataError, match=r"no token carries loss: all 2 conversations are left out.*--show-loss.*5 tok"):
        of(table_of(put, SHORT, SHORT), length=5)
    half = of(table_of(put, SHORT, [{"role": "user", "content": "hello " * 30}, SHORT[1]]), length=20)
    assert half.dropped["with no token of an answer left to learn"] == 1


def test_only_the_last_answer(put):
    encoder = ChatEncoder(ChatTemplate(THINKING, NAMES), TOKENIZER)
    table = table_of(put, SHORT, TALK)
    with pytest.raises(DataError, match=r'x.jsonl, line 2: .* message 2 differently .*rows.answers = "last"'):
        of(table, encoder)
    found = of(table, encoder, last_only=True)
    assert found.counted.sum() == sum(sum(encoder.encode(m, last_only=True).spoken) for m in (SHORT, TALK))


def test_a_template_that_refuses_names_the_row(put):
    picky = ChatTemplate("{% if messages|length > 2 %}{{ raise_exception('too many') }}{% endif %}" + CHATML, NAMES)
    with pytest.raises(DataError, match=r"x.jsonl, line 2: the chat template refuses these messages: too many"):
        of(table_of(put, SHORT, TALK), ChatEncoder(picky, TOKENIZER))


def test_places_are_described(put):
    found = of(table_of(put, SHORT, TALK))
    rows = PackedRows(found, 64, 64, seed=1, together=False)
    assert found.where(13).endswith("x.jsonl, line 2 (token 1)")
    assert "x.jsonl, line" in rows.describe([0])
    assert found.messages(1) == TALK
