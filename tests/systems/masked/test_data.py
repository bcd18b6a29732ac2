"""Hidden words and pairs of segments: the shares of the paper, true neighbours, a pure function of seed and epoch."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from formers.data.masking import Masking, pick_words
from formers.data.sources import Table
from formers.errors import ConfigError, DataError
from formers.systems.masked.data import EPOCH, MaskedBatches, MaskedRows
from formers.systems.masked.task import batches_of
from formers.text.frame import frame_of, ordinary_tokens
from formers.text.reader import Reader
from formers.text.training import train_byte_bpe, train_word_pieces

WORDS = "apple river stone window garden letter morning silver thunder mountain yellow forest bridge candle".split()


def documents(number=40, sentences=12, seed=0):
    """Texts in which every sentence says which it is: d3 s7 ..."""
    dice = random.Random(seed)
    return [
        "\n".join(
            f"doc{d} sent{s} " + " ".join(dice.choices(WORDS, k=dice.randint(3, 9))) + "."
            for s in range(dice.randint(2, sentences))
        )
        for d in range(number)
    ]


def rows(texts, length=32, tokenizer=None, seed=1, **changes) -> MaskedBatches:
    tokenizer = tokenizer or train_word_pieces(texts, 150)
    reader = Reader(tokenizer, length)
    return batches_of(Table("t", {"text": list(texts)}), MaskedRows(length=length, **changes), reader, seed)


def all_batches(made, epochs=1):
    return [made.collate(chosen) for epoch in range(epochs) for chosen in made.epoch(epoch)]


@pytest.fixture(scope="module")
def texts():
    return documents()


@pytest.mark.parametrize("whole", [False, True])
def test_the_shares_are_those_of_the_paper(texts, whole):
    made = rows(texts, whole_word=whole)
    number = said = masked = kept = random_ = 0
    ordinary, mask = set(made.masking.ordinary.tolist()), made.masking.mask
    for batch in all_batches(made, epochs=16):
        before = batch.original()
        real = np.isin(before.numpy(), list(ordinary))
        chosen = batch.hidden.numpy()
        assert not (chosen & ~real).any()  # special tokens and padding are never to be said
        assert (batch.tokens == before)[~batch.hidden].all()
        assert chosen.any(1).all()
        now, was = batch.tokens[batch.hidden], before[batch.hidden]
        number, said = number + real.sum(), said + chosen.sum()
        masked, kept = masked + int((now == mask).sum()), kept + int((now == was).sum())
        other = now[(now != mask) & (now != was)].tolist()
        assert set(other) <= ordinary
        random_ += len(other)
    assert said > 5000
    assert said / number == pytest.approx(0.15, abs=0.012 if whole else 0.004)
    assert masked / said == pytest.approx(0.8, abs=0.02)
    assert kept / said == pytest.approx(0.1, abs=0.015)  # a random token may be the true one, too
    assert random_ / said == pytest.approx(0.1, abs=0.015)


def test_the_share_of_short_rows_is_right_on_average():
    masking = Masking(4, np.arange(5, 100), share=0.15)
    dice = np.random.default_rng(0)
    counts = [masking.hide(np.arange(10, 20), np.ones(10, bool), dice)[1].sum() for _ in range(4000)]
    assert set(counts) == {1, 2} and np.mean(counts) == pytest.approx(1.5, abs=0.03)


def test_whole_words_are_hidden_whole(texts):
    tokenizer = train_word_pieces(texts, 60)
    made = rows(texts, whole_word=True, tokenizer=tokenizer)
    several = 0
    for row in [int(row) for chosen in made.epoch(0) for row in chosen]:
        batch = made.collate([row])
        names, chosen = tokenizer.pieces(batch.original()[0].tolist()), batch.hidden[0].tolist()
        for place, name in enumerate(names):
            if name.startswith("##") and names[place - 1] != "[CLS]" and names[place - 1] != "[SEP]":
                assert chosen[place] == chosen[place - 1], names
                several += chosen[place]
    assert several > 100


def test_a_word_longer_than_the_share_is_hidden_where_there_is_no_other():
    places = np.arange(1, 7)
    begins = np.array([True, True, False, False, True, False, False, True])
    for seed in range(5):
        found = pick_words(places, begins, 1, np.random.default_rng(seed)).tolist()
        assert found in ([1, 2, 3], [4, 5, 6])


def numbers(tokenizer, ids):
    """(document, sentence) pairs that a segment names in full."""
    words = tokenizer.decode(ids).split()
    return [
        (int(a[3:]), int(b[4:]))
        for a, b in itertools.pairwise(words)
        if a.startswith("doc") and b.startswith("sent") and a[3:].isdigit() and b[4:].isdigit()
    ]


def test_half_of_the_pairs_follow_and_the_others_are_of_another_document(texts):
    tokenizer = train_word_pieces(texts, 400)
    made = rows(texts, length=48, tokenizer=tokenizer)
    follows, seen = [], 0
    for batch in all_batches(made, epochs=6):
        for row in range(len(batch.tokens)):
            ids, kinds = batch.original()[row], batch.segments[row]
            real = ids != 0
            first, second = ids[(kinds == 0) & real].tolist(), ids[(kinds == 1) & real].tolist()
            assert first[0] == made.frame.pair[0][0] and first[-1] == second[-1] == made.frame.pair[1][0]
            assert len(first) + len(second) <= 48 and len(first) > 2 and len(second) > 1
            true = batch.follows[row].item() == 0
            follows.append(true)
            a, b = numbers(tokenizer, first), numbers(tokenizer, second)
            if a and b:
                seen += 1
                assert ({d for d, _ in a} == {d for d, _ in b}) == true
                if true:
                    assert max(s for _, s in a) < min(s for _, s in b)
                for part in (a, b):
                    assert [s for _, s in part] == list(range(part[0][1], part[0][1] + len(part)))
    assert np.mean(follows) == pytest.approx(0.5, abs=0.04) and seen > 300


def test_a_tenth_of_the_rows_aims_at_a_shorter_length():
    texts = documents(60, 40)
    full, short = (rows(texts, length=64, short=share).plan(0) for share in (0.0, 0.5))
    near = [np.mean(plan.sizes >= 50) for plan in (full, short)]
    assert near[0] > near[1] + 0.15


def test_an_epoch_is_a_pure_function_of_the_seed(texts):
    one, two = rows(texts), rows(texts)
    for epoch in (0, 3, 1):  # in any order
        ours, theirs = one.epoch(epoch), two.epoch(epoch)
        assert [each.tolist() for each in ours] == [each.tolist() for each in theirs]
        a, b = one.collate(ours[0]), two.collate(theirs[0])
        assert (a.tokens == b.tokens).all() and (a.hidden == b.hidden).all() and (a.follows == b.follows).all()
    two.plan(0), two.plan(1), two.plan(2)
    assert (one.collate([3 * EPOCH + 5]).tokens == two.collate([3 * EPOCH + 5]).tokens).all()
    other = rows(texts, seed=2)
    assert one.plan(0).places.tolist() != other.plan(0).places.tolist()


def test_masks_are_chosen_anew_every_epoch(texts):
    made = rows(texts, next_sentence=False, short=0.0)
    assert made.plan(0).places.tolist() == made.plan(1).places.tolist()  # the same rows
    same = [(made.collate([row]).hidden == made.collate([EPOCH + row]).hidden).all() for row in range(30)]
    assert sum(map(bool, same)) < 3


@pytest.mark.parametrize("length", [6, 16, 200])
def test_without_pairs_every_token_is_read_once(texts, length):
    made = rows(texts, length=length, next_sentence=False)
    places = made.plan(0).places
    order = np.argsort(places[:, 0])
    assert places[order[0], 0] == 0 and places[order[-1], 1] == len(made.sentences.tokens)
    assert (places[order[1:], 0] == places[order[:-1], 1]).all() and made.plan(0).cut == 0
    assert made.plan(0).sizes.max() <= length - 2
    batch = made.collate(made.epoch(0)[0])
    assert batch.follows is None and batch.tokens.shape[1] <= length


def test_what_is_too_long_is_cut_from_the_longer_segment_and_reported():
    texts = [" ".join(WORDS * 4) + ".\n" + WORDS[d] + ".\n" + " ".join(WORDS * 3) + "." for d in range(6)]
    made = rows(texts, length=20, short=0.0)
    plan = made.plan(0)
    assert plan.cut > 0 and plan.sizes.max() == 17
    assert f"{plan.cut / (plan.cut + plan.sizes.sum()):.1%}" in made.report().lines()[-2]


def test_other_tokenizers_have_frames_of_their_own():
    tokenizer = train_byte_bpe(documents(3), 300)
    from tokenizers import processors

    tokenizer.rules.add_special_tokens(["<s>", "</s>", "<mask>"])
    ids = {name: tokenizer.rules.token_to_id(name) for name in ("<s>", "</s>")}
    tokenizer.rules.post_processor = processors.RobertaProcessing(("</s>", ids["</s>"]), ("<s>", ids["<s>"]))
    frame = frame_of(tokenizer.rules)
    assert [part.tolist() for part in frame.pair] == [[ids["<s>"]], [ids["</s>"]] * 2, [ids["</s>"]]]
    assert frame.room(True, 10) == 6 and frame.room(False, 10) == 8
    special = ordinary_tokens(tokenizer.rules, [None])
    assert not {ids["<s>"], ids["</s>"], tokenizer.rules.token_to_id("<mask>")} & set(special.tolist())


def test_what_cannot_be_paired_is_refused_in_one_line():
    with pytest.raises(DataError, match=r"one document.*rows\.next_sentence = false"):
        rows(documents(1))
    with pytest.raises(DataError, match="no document has two sentences"):
        rows(["one text here.", "another text."])
    assert rows(["one text here.", "another text."], next_sentence=False).epoch(0)
    with pytest.raises(ConfigError, match="no room for text"):
        rows(documents(3), length=4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masked": 0.0}, "rows.masked"),
        ({"masked": 1.0}, "rows.masked"),
        ({"short": -0.1}, "rows.short"),
        ({"mask_share": 0.95}, "together at most 1"),
        ({"random_share": -1.0}, "random_share"),
        ({"tokens_per_batch": 0}, "rows.tokens_per_batch"),
        ({"separator": ""}, "rows.separator"),
    ],
)
def test_settings_are_checked(changes, message):
    with pytest.raises(ConfigError, match=message):
        MaskedRows(**changes)


def test_rows_know_where_they_are_from(texts):
    made = rows(texts)
    assert made.describe([int(made.epoch(0)[0][0])]).startswith("t, row ")
    assert made.sentences.where(0) == "t, row 1"
    assert made.sentences.where(len(made.sentences.tokens) - 1) == f"t, row {len(texts)}"
