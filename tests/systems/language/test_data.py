"""Text for language models: every token is said once an epoch, packing loses and mixes nothing, the order is pure."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from formers.data.batching import pack
from formers.data.packing import PackedRows
from formers.data.source import Source
from formers.data.sources import Table
from formers.errors import ConfigError, DataError
from formers.models.causal import CausalLM
from formers.systems.language.data import LONG, Corpus, Stream, TextRows, report_on, rows_of
from formers.systems.sizes import CausalSizes
from formers.text.training import characters, train_byte_bpe

START, END = 1, 0


class Letters:
    """A token is a letter, a is 2; "?" is unknown, 99."""

    def encode_plain(self, texts):
        return [[99 if letter == "?" else ord(letter) - 95 for letter in text] for text in texts]


def corpus(texts, start=END):
    return Corpus(Table("t", {"text": list(texts)}), "text", Letters(), start=start, end=END)


def some(number=40, seed=0, most=30):
    random = np.random.default_rng(seed)
    letters = [chr(97 + i) for i in range(26)]
    return ["".join(random.choice(letters, size)) for size in random.integers(1, most, number)]


def said(batches, epoch=0):
    """Every (document's tokens before, label) of an epoch, worked out from the batches alone."""
    found = []
    for rows in batches.epoch(epoch):
        batch = batches.collate(rows)
        for row in range(len(batch.tokens)):
            for at in range(batch.tokens.shape[1]):
                if batch.real is None or batch.real[row, at]:
                    found.append((int(batch.tokens[row, at]), int(batch.labels[row, at])))
    return Counter(found)


@given(st.lists(st.integers(1, 12), max_size=40))
def test_packing_puts_every_piece_in_one_row_that_holds_it(sizes):
    rows = pack(np.array(sizes, np.int64), 12)
    assert sorted(piece for row in rows for piece in row) == list(range(len(sizes)))
    totals = [sum(sizes[piece] for piece in row) for row in rows]
    assert all(0 < total <= 12 for total in totals)
    assert sum(2 * total <= 12 for total in totals) <= 1, "two rows that are half empty would be one"


@pytest.mark.parametrize("start", [END, START])
def test_a_corpus_is_its_documents_from_start_to_end(start):
    whole = corpus(["ab", "c", "", "def"], start)
    documents = [whole.tokens[a : b + 1].tolist() for a, b in zip(whole.first, whole.last, strict=True)]
    assert documents == [[start, 2, 3, END], [start, 4, END], [start, END], [start, 5, 6, 7, END]]
    assert len(whole.tokens) == (11 if start == END else 14)
    assert (whole.labels, whole.characters, whole.sizes.tolist()) == (10, 6, [2, 1, 0, 3])
    assert whole.where(int(whole.first[3]) + 1) == "t, row 4 (token 1)"


@pytest.mark.parametrize("start", [END, START])
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("length", [5, 16, 64])
def test_every_token_of_every_document_is_said_once_an_epoch(start, together, length):
    whole = corpus(some(), start)
    batches = PackedRows(whole, length, 3 * length, seed=4, together=together)
    expected = Counter()
    for a, b in zip(whole.first, whole.last, strict=True):
        expected.update(zip(whole.tokens[a:b].tolist(), whole.tokens[a + 1 : b + 1].tolist(), strict=True))
    for epoch in (0, 1):
        assert said(batches, epoch) == expected
        for rows in batches.epoch(epoch):
            assert batches.collate(rows).tokens.numel() <= 3 * length


@pytest.mark.parametrize("kind", ["documents", "none", "random", "consecutive"])
def test_the_order_is_a_pure_function_of_seed_and_epoch(kind):
    def plan(epoch, seed=1):
        config = TextRows(
            packing=kind if kind in ("documents", "none") else "stream",
            tokens_per_batch=40,
            windows=kind if kind in ("random", "consecutive") else "random",
        )
        return [rows.tolist() for rows in rows_of(corpus(some()), config, 10, seed=seed).epoch(epoch)]

    assert plan(2) == plan(2) and len({str(plan(0)), str(plan(1)), str(plan(0, seed=2))}) == 3


def test_streams_are_windows_of_the_text():
    whole = corpus(["abcdefghij" * 5])
    for windows in ("random", "consecutive"):
        stream = Stream(whole, 7, 21, seed=3, windows=windows)
        assert all(len(rows) <= 3 for rows in stream.epoch(0))
        for rows in stream.epoch(0):
            batch = stream.collate(rows)
            assert batch.real is None and batch.documents is None
            for row, tokens, labels in zip(rows, batch.tokens, batch.labels, strict=True):
                assert tokens.tolist() == whole.tokens[row : row + 7].tolist()
                assert labels.tolist() == whole.tokens[row + 1 : row + 8].tolist()
    starts = sorted(int(row) for rows in stream.epoch(5) for row in rows)
    assert np.diff(starts).tolist() == [7] * 6 and starts[-1] + 7 < len(whole.tokens)
    anywhere = {
        int(row)
        for epoch in range(80)
        for rows in Stream(whole, 7, 21, seed=3, windows="random").epoch(epoch)
        for row in rows
    }
    assert anywhere == set(range(len(whole.tokens) - 7))


def test_evaluation_reads_rows_spread_over_the_text():
    stream = Stream(corpus(["abcdefghij" * 50]), 7, 14, seed=3, windows="consecutive")
    assert np.concatenate(stream.spread(0)).tolist() == [7 * i for i in range(71)]
    assert np.concatenate(stream.spread(3)).tolist() == [0, 245, 490]
    packed = PackedRows(corpus(some()), 16, 32, seed=3, together=True)
    assert np.concatenate(packed.spread(0)).tolist() == list(range(len(packed.rows)))


@pytest.mark.parametrize("form", ["gpt2", "llama"])
def test_packed_documents_do_not_see_each_other(form):
    """The loss of a packed batch is the sum of the losses of its documents, each read alone."""
    torch.manual_seed(2)
    model = CausalLM(CausalSizes(form=form, dim=16, layers=2, heads=2, hidden=24, length=32).config(30)).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    whole = corpus(some(20, most=40))
    packed = PackedRows(whole, 32, 10_000, seed=1, together=True)
    (rows,) = packed.epoch(0)
    batch = packed.collate(rows)
    assert max(len(row) for row in packed.rows) > 2 and packed.cut > 0

    def loss(batch):
        x, labels = model.features(batch.tokens, documents=batch.documents).flatten(0, 1), batch.labels.flatten()
        real = slice(None) if batch.real is None else batch.real.flatten()
        return model.output.cross_entropy(x[real], labels[real])

    alone = PackedRows(whole, 32, 10_000, seed=1, together=False)
    single = torch.stack([loss(alone.collate([row])) for row in range(len(alone.rows))]).sum()
    torch.testing.assert_close(loss(batch), single, rtol=1e-5, atol=1e-3)
    together = torch.stack([loss(alone.collate(rows)) for rows in alone.epoch(0)]).sum()
    torch.testing.assert_close(together, single, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("tokenizer", [lambda t: train_byte_bpe(t, 300), characters], ids=["bytes", "characters"])
def test_a_long_text_has_the_same_tokens_as_in_one_piece(tokenizer):
    text = ("It was a day.\n\n  And  a night\n" * 20_000)[: 4 * LONG]
    tokenizer = tokenizer([text[:2000]])
    long = Corpus(Table("t", {"text": [text]}), "text", tokenizer, start=0, end=0)
    assert long.tokens[1:-1].tolist() == tokenizer.encode_plain([text])[0]


def test_the_report_says_how_the_text_is_used():
    whole = corpus(["a" * 10, "b" * 30, "c?"])
    config = TextRows(tokens_per_batch=32)
    lines = "\n".join(report_on(whole, rows_of(whole, config, 16, seed=1), "text", 99).lines())
    for part in (
        "examples: 3",
        "longest 30 tokens; unknown 2.381%",
        "42 characters, 42 tokens (1.00 characters each)",
        "3 rows of 16 tokens hold 4 pieces",
        "padding 6.2%",
        "cut: 1 of 3 documents (33.3%)",
    ):
        assert part in lines, lines
    alone = PackedRows(whole, 16, 32, seed=1, together=False)
    places = sum(alone.collate(rows).tokens.numel() for rows in alone.epoch(0))
    assert f"padding {1 - 45 / places:.1%}" in alone.notes()[0]
    assert "windows of 16 tokens at random" in Stream(whole, 16, 32, seed=1, windows="random").notes()[0]


def test_error_messages_name_the_place():
    packed = PackedRows(corpus(["ab", "cdefgh"]), 3, 6, seed=1, together=True)
    where = {packed.describe([row]) for row in range(len(packed.rows))}
    assert "t, row 1 (token 0) and 0 more row(s)" in where and "t, row 2 (token 3) and 0 more row(s)" in where
    stream = Stream(corpus(["abcdefghij"]), 4, 8, seed=1, windows="random")
    assert stream.describe([3, 0]) == "t, row 1 (token 3) and 1 more row(s)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"packing": "document"}, r'rows.packing "document" is not known; did you mean "documents"'),
        ({"windows": "rand"}, r'rows.windows "rand" is not known; did you mean "random"'),
        ({"tokens_per_batch": 0}, r"rows.tokens_per_batch \(0\) must be at least 1"),
        ({"length": -1}, r"rows.length \(-1\) must be 0 or more"),
        ({"separator": ""}, "rows.separator is empty"),
    ],
)
def test_impossible_settings_are_refused_by_name(change, message):
    with pytest.raises(ConfigError, match=message):
        TextRows(**change)


def test_text_that_is_too_short_or_not_named():
    with pytest.raises(DataError, match=r"t: 5 tokens are too few for a window of 7.*rows.packing=documents"):
        Stream(corpus(["abcde"]), 7, 7, seed=1, windows="random")
    assert Stream(corpus(["abcdef"]), 7, 7, seed=1, windows="random").number == 1
    with pytest.raises(ConfigError, match=r"data.train is empty.*--set data.train=FILE"):
        tables()
    with pytest.raises(ConfigError, match=r"data.held_out \(1.0\) must be between 0 and 1"):
        tables(train="builtin:prose", held_out=1.0)


def tables(**source):
    whole = Source(**{"held_out": 0.1, **source})
    return whole.tables(**TextRows().reading(whole))


def test_parts_of_the_text(tmp_path):
    book = tmp_path / "book.txt"
    book.write_text("0123456789" * 10, encoding="utf-8")
    train, validation = tables(train=str(book))
    assert train.columns["text"] == ["0123456789" * 9] and validation.columns["text"] == ["0123456789"]
    given, other = tables(train=str(book), validation="builtin:prose")
    assert given.columns["text"] == ["0123456789" * 10] and len(other) > 1
    for source, named in ((str(book), False), ("builtin:prose", True)):
        whole = Source(train=source, held_out=0.1)
        reading = {name: value for name, value in TextRows().reading(whole).items() if name != "set_aside"}
        assert (whole.read("test", **reading) is not None) == named
    assert len(tables(train="builtin:prose", count=3)[0]) == 3
