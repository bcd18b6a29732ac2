"""Preferences: their forms, batches and report, and for every fault one line."""

import json

import numpy as np
import pytest
import torch

from formers.data.source import Source
from formers.errors import DataError
from formers.systems.preferences.data import PreferenceRows, Preferences
from formers.text.chat import ChatEncoder, ChatTemplate
from tests.text.templates import GENERATION, NAMES, TALK, byte_tokenizer

TOKENIZER = byte_tokenizer()
ENCODER = ChatEncoder(ChatTemplate(GENERATION, NAMES), TOKENIZER)
ASKED = [{"role": "user", "content": "hello"}]
GOOD, BAD = ({"role": "assistant", "content": text} for text in ("hello", "Water"))


@pytest.fixture
def put(tmp_path):
    def write(*rows, name="x.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return str(path)

    return write


def read(name, **options):
    return Source(train=name, **options).read("train", **PreferenceRows().reading(Source()))


def of(table, length=64, **options):
    return Preferences(table, ENCODER, PreferenceRows(**options), length=length, filler=TOKENIZER.eos, seed=1)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "hello", "chosen": "hello", "rejected": "Water"},
        {"prompt": ASKED, "chosen": "hello", "rejected": "Water"},
        {"messages": ASKED, "chosen": "hello", "rejected": "Water"},
        {"messages": ASKED, "chosen": [GOOD], "rejected": [BAD]},
        {"messages": ASKED, "chosen": [*ASKED, GOOD], "rejected": [*ASKED, BAD]},
        {"prompt": "hello", "chosen": [*ASKED, GOOD], "rejected": [*ASKED, BAD], "score": 3},
        {"chosen": [*ASKED, GOOD], "rejected": [*ASKED, BAD]},
    ],
)
def test_every_form_is_the_same_pair(put, row):
    table = read(put(row))
    assert table.columns == {"messages": [ASKED], "chosen": [[*ASKED, GOOD]], "rejected": [[*ASKED, BAD]]}


@pytest.mark.parametrize(
    "row, message",
    [
        (
            {"prompt": "a", "chosen": "b"},
            "it has prompt, chosen, but a row needs one of: prompt and chosen and rejected",
        ),
        ({"prompt": "a", "chosen": "b", "rejected": 3}, "line 1: rejected is 3, expected text or a list of messages"),
        ({"prompt": "a", "chosen": "b", "rejected": " "}, 'column "rejected" is empty'),
        ({"prompt": 3, "chosen": "b", "rejected": "c"}, "line 1: got 3, expected a list of messages"),
        ({"chosen": "b", "rejected": "c"}, "line 1: an answer without a question"),
        (
            {"chosen": [*ASKED, GOOD], "rejected": [*TALK[:1], BAD]},
            "line 1: chosen and rejected differ before their last",
        ),
        ({"chosen": ASKED, "rejected": ASKED}, 'the last message of chosen is from "user", expected an assistant'),
        (
            {"messages": ASKED, "chosen": [{"role": "bot", "content": "a"}], "rejected": "b"},
            'the role "bot" is not known',
        ),
        ({"messages": [{"role": "user"}], "chosen": "a", "rejected": "b"}, "its content is None"),
    ],
)
def test_faults_say_where(put, row, message):
    with pytest.raises(DataError) as found:
        read(put(row))
    assert message in str(found.value) and "\n" not in str(found.value)


def test_a_batch_by_hand(put):
    table = read(
        put(
            {"messages": ASKED, "chosen": "hello", "rejected": "Water"},
            {"messages": TALK[:3], "chosen": "hello", "rejected": "hello"},
            {"messages": ASKED, "chosen": "Water, with", "rejected": "hello"},
        )
    )
    choices = of(table)
    assert choices.rows == [0, 2] and choices.dropped["with two equal answers"] == 1
    choices.reference = np.array([[1, 2], [3, 4]], np.float32)
    batch = choices.collate([0, 1])
    assert batch.reference.tolist() == [1, 3, 2, 4]
    for row, answer in enumerate(("hello", "Water, with", "Water", "hello")):
        encoded = ENCODER.encode([*ASKED, {"role": "assistant", "content": answer}])
        size = len(encoded.ids) - 1
        assert batch.tokens[row, :size].tolist() == encoded.ids[:-1]
        assert batch.labels[row, :size].tolist() == encoded.ids[1:]
        assert batch.counted[row].tolist() == encoded.spoken[1:] + [False] * (batch.tokens.shape[1] - size)
        said = batch.labels[row][batch.counted[row]].tolist()
        assert TOKENIZER.decode(said, skip_special=False) == answer + "<|im_end|>"


def test_only_the_last_answer_counts(put):
    choices = of(read(put({"messages": TALK[:3], "chosen": "hello", "rejected": "Water"})))
    batch = choices.collate([0])
    assert TOKENIZER.decode(batch.labels[0][batch.counted[0]].tolist(), skip_special=False) == "hello<|im_end|>"


def test_the_batches_of_an_epoch_hold_every_row_once(put):
    rows = [{"prompt": "hello " * n, "chosen": "hello", "rejected": "Water"} for n in range(1, 30)]
    choices = of(read(put(*rows)), length=200, tokens_per_batch=100)
    epochs = [choices.epoch(0), choices.epoch(0), choices.epoch(1)]
    assert [list(map(list, epoch)) for epoch in epochs[:1]] == [list(map(list, epoch)) for epoch in epochs[1:2]]
    assert all(sorted(np.concatenate(epoch).tolist()) == list(range(29)) for epoch in epochs)
    assert all(choices.collate(rows).tokens.shape[1] * len(rows) <= 100 or len(rows) == 1 for rows in epochs[0])
    assert "x.jsonl, line" in choices.describe(epochs[0][0])


def test_long_rows_are_left_out_and_reported(put):
    table = read(
        put(
            {"prompt": "hello", "chosen": "hello", "rejected": "Water"},
            {"prompt": "hello " * 50, "chosen": "hello", "rejected": "Water"},
        )
    )
    choices = of(table, length=32)
    report = "\n".join(choices.report(TOKENIZER.unk).lines())
    assert choices.rows == [0] and "1 (50.00%) longer than 32 tokens on a side" in report
    assert "chosen:" in report and "rejected:" in report and "loss: on" in report
    with pytest.raises(DataError, match=r"all 2 rows are left out \(2 longer than 3 tokens"):
        of(table, length=3)


def test_empty_answers_can_be_left_out(put):
    full = {"prompt": "hello", "chosen": "hello", "rejected": "Water"}
    name, other = put(full, {**full, "chosen": ""}, full), put(full, name="v.jsonl")
    source = Source(train=name, drop_empty=True, validation=other)
    train, validation = source.tables(**PreferenceRows().reading(source))
    assert (len(train), train.dropped, len(validation)) == (2, 1, 1)
    lists = {"prompt": "hello", "chosen": [{"role": "assistant", "content": " "}], "rejected": "Water"}
    assert len(read(put(full, lists), drop_empty=True)) == 1


def test_dtype_of_tensors(put):
    batch = of(read(put({"prompt": "hello", "chosen": "hello", "rejected": "Water"}))).collate([0])
    assert batch.tokens.dtype == batch.labels.dtype == torch.int64 and batch.counted.dtype == torch.bool
    assert batch.reference is None
