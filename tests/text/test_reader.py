"""Texts as an encoder reads them, held against transformers: pairs, cutting, windows, words, batches, masks."""

from __future__ import annotations

import json

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from formers.errors import ConfigError
from formers.text.open import load_tokenizer, train_bpe
from formers.text.reader import Reader, Row
from formers.text.training import train_word_pieces

transformers = pytest.importorskip("transformers", reason="the reference")

TEXTS = [
    "The cat sat on the mat.",
    "A dog, too!",
    "",
    "Who sat where, and why did the dog sit there all day long?",
    "  naïve Café ",
    "the [MASK] sat",
    "<mask> the <mask> sat",
]
LONG = "The dog sat on the mat and the cat sat there too, all day long, and who knows why it did. " * 4


@pytest.fixture(scope="module", params=["word pieces", "bytes"])
def both(request, tmp_path_factory):
    """Our tokenizer and theirs, of BERT's kind and of RoBERTa's."""
    folder = tmp_path_factory.mktemp("tokenizer")
    if request.param == "word pieces":
        ours = train_word_pieces([*TEXTS, LONG], 90)
        ours.save(folder)
        theirs = transformers.AutoTokenizer.from_pretrained(folder, add_prefix_space=True)
        return ours, theirs, theirs
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    rules = Tokenizer(models.BPE())
    rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=names, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    rules.train_from_iterator([*TEXTS, LONG], trainer)
    rules.model.save(str(folder))
    (folder / "config.json").write_text(json.dumps({"model_type": "roberta"}))
    ours = load_tokenizer(folder, {"model_type": "roberta"})
    mask = transformers.AddedToken("<mask>", lstrip=True, special=True)
    theirs, words = (
        transformers.RobertaTokenizer.from_pretrained(folder, mask_token=mask, add_prefix_space=space)
        for space in (False, True)
    )
    return ours, theirs, words


def same(encoding, reference, row, keys=("ids", "type_ids", "offsets", "word_ids", "sequence_ids")):
    expected = {
        "ids": reference["input_ids"][row],
        "type_ids": reference["token_type_ids"][row],
        "offsets": reference["offset_mapping"][row],
        "word_ids": reference.word_ids(row),
        "sequence_ids": reference.sequence_ids(row),
    }
    for key in keys:
        assert getattr(encoding, key) == expected[key], key


ASK = {"return_offsets_mapping": True, "return_token_type_ids": True}


@pytest.mark.parametrize("length", [7, 12, 40])
def test_texts_and_pairs_are_cut_as_the_reference_does(both, length):
    ours, theirs, _ = both
    reader = Reader(ours, length)
    reference = theirs(TEXTS, truncation=True, max_length=length, **ASK)
    for row, encoding in enumerate(reader.read(TEXTS)):
        same(encoding, reference, row)
    seconds = [*reversed(TEXTS[1:]), LONG]
    reference = theirs(TEXTS, seconds, truncation="longest_first", max_length=length, **ASK)
    for row, encoding in enumerate(reader.read(TEXTS, seconds)):
        same(encoding, reference, row)
        assert len(encoding) <= length
    assert [each.ids for each in reader.read(TEXTS, seconds, offsets=False)] == reference["input_ids"]
    assert reader.read([LONG])[0].overflowing and not reader.read(["dog"])[0].overflowing


def test_a_length_of_one_call_leaves_the_next_alone(both):
    reader = Reader(both[0], 30)
    before = [each.ids for each in reader.read([LONG])]
    assert len(reader.read([LONG], length=9)[0]) == 9
    reader.text_windows([LONG], stride=3, length=10)
    reader.windows(["a dog"], [LONG], stride=3, length=20)
    assert [each.ids for each in reader.read([LONG])] == before
    # nor is the tokenizer itself changed
    assert len(both[0].encode([LONG])[0]) > 30


def test_windows_over_a_passage(both):
    ours, theirs, _ = both
    questions, passages = ["Who sat there?", "why"], [LONG, "The cat."]
    found = Reader(ours, 100).windows(questions, passages, stride=5, length=24)
    reference = theirs(
        questions, passages, truncation="only_second", max_length=24, stride=5, return_overflowing_tokens=True, **ASK
    )
    flat = [encoding for windows in found for encoding in windows]
    assert len(flat) == len(reference["input_ids"]) and len(found[0]) > 4 and len(found[1]) == 1
    for row, encoding in enumerate(flat):
        same(encoding, reference, row)
    # every letter of the passage is in some window, five tokens are in two
    seen = set()
    for window in found[0]:
        places = [offset for offset, of in zip(window.offsets, window.sequence_ids, strict=True) if of == 1]
        seen.update(letter for start, end in places for letter in range(start, end))
    assert {number for number, letter in enumerate(LONG) if letter != " "} <= seen
    first, second = (
        [offset for offset, of in zip(each.offsets, each.sequence_ids, strict=True) if of == 1] for each in found[0][:2]
    )
    assert first[-5:] == second[:5] and first[-6] not in second


def test_windows_over_a_text(both):
    ours, theirs, _ = both
    found = Reader(ours, 16).text_windows([LONG, "dog"], stride=4)
    reference = theirs([LONG, "dog"], truncation=True, max_length=16, stride=4, return_overflowing_tokens=True, **ASK)
    flat = [encoding for windows in found for encoding in windows]
    assert len(found[1]) == 1 and len(flat) == len(reference["input_ids"])
    for row, encoding in enumerate(flat):
        same(encoding, reference, row)


def test_windows_without_room(both):
    reader = Reader(both[0], 20)
    with pytest.raises(ConfigError, match=r"question 2 has \d+ tokens: with windows of 20 that overlap by 5"):
        reader.windows(["why", LONG], ["The cat.", LONG], stride=5)
    for stride in (-1, 18, 30):
        with pytest.raises(ConfigError, match=r"windows of 20 tokens cannot overlap by -?\d+"):
            reader.text_windows([LONG], stride=stride)
    with pytest.raises(ConfigError, match="cannot overlap by -1"):
        reader.windows(["why"], [LONG], stride=-1)


@pytest.mark.parametrize("length", [0, 1, 2])
def test_a_length_without_room(both, length):
    reader = Reader(both[0], 20)
    if length:
        with pytest.raises(ConfigError, match=rf"length \({length}\) leaves no room"):
            reader.read(["a dog"], length=length)
        with pytest.raises(ConfigError, match="leaves no room"):
            reader.read_words([["a"]], length=length)
    assert len(reader.read(["a dog"], length=3)[0]) == 3
    with pytest.raises(ConfigError, match="leaves no room"):
        reader.read(["a dog"], ["a cat"], length=3)


def test_words_know_their_tokens(both):
    ours, _, theirs = both
    sentences = [["The", "cats", "sat", "there"], ["Who", ",", "naïve", "dog-like"], ["a"], LONG.split()]
    reference = theirs(sentences, is_split_into_words=True, truncation=True, max_length=18, **ASK)
    reader = Reader(ours, 18)
    for row, encoding in enumerate(reader.read_words(sentences)):
        same(encoding, reference, row, keys=("ids", "type_ids", "word_ids", "sequence_ids"))
    # a word is read as it would be within a text
    [words], [text] = reader.read_words([["and", "the", "dog"]]), reader.read(["Yes and the dog"])
    assert words.ids[1:-1] == text.ids[-len(words.ids[1:-1]) - 1 : -1]
    [cut] = reader.read_words([LONG.split()], stride=4)
    assert cut.overflowing and cut.ids[-5:-1] == cut.overflowing[0].ids[1:5]
    # reading words leaves reading texts alone
    assert reader.read(["dog"])[0].ids == Reader(ours, 18).read(["dog"])[0].ids


def test_special_tokens_by_their_names(both):
    ours, theirs, _ = both
    reader = Reader(ours, 20)
    assert (reader.pad, reader.mask, reader.first, reader.separator) == (
        theirs.pad_token_id,
        theirs.mask_token_id,
        theirs.cls_token_id,
        theirs.sep_token_id,
    )
    [encoding] = reader.read([f"the {theirs.mask_token} sat"])
    assert encoding.ids.count(reader.mask) == 1
    assert encoding.special_tokens_mask[0] == 1 and encoding.ids[0] == reader.first
    start, end = encoding.offsets[encoding.ids.index(reader.mask)]
    assert f"the {theirs.mask_token} sat"[start:end].strip() == theirs.mask_token
    # without the settings the usual names are found
    bare = type(ours)(Tokenizer.from_str(ours.rules.to_str()), {})
    again = Reader(bare, 20)
    assert (again.mask, again.first, again.separator) == (reader.mask, reader.first, reader.separator)


@pytest.mark.parametrize("segments", [0, 1, 2])
def test_batches(both, segments):
    ours, theirs, _ = both
    reader = Reader(ours, 24, segments=segments)
    seconds = list(reversed(TEXTS))
    encodings = reader.read(TEXTS, seconds)
    inputs = reader.batch(encodings)
    reference = theirs(
        TEXTS, seconds, truncation=True, max_length=24, padding=True, return_tensors="pt", return_token_type_ids=True
    )
    assert torch.equal(inputs.tokens, reference["input_ids"])
    assert torch.equal(inputs.keep, reference["attention_mask"].bool())
    if segments < 2:
        assert inputs.segments is None
    else:
        assert torch.equal(inputs.segments, reference["token_type_ids"])
    rows = [Row(each.ids, each.type_ids) for each in encodings]
    for one, other in zip(reader.batch(rows), inputs, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)
    equal = reader.batch(reader.read(["the dog", "the dog"]))
    assert equal.keep is None and equal.tokens.shape[0] == 2
    moved = inputs.to("cpu")
    assert torch.equal(moved.tokens, inputs.tokens)
    assert reader.batch([]).tokens.shape == (0, 0)


def test_another_kind_of_tokenizer():
    with pytest.raises(ConfigError, match="another kind"):
        Reader(object(), 20)
    assert Reader(train_bpe(["a cat sat"], 30), 20).mask is None


def test_lower_case_comes_first(both):
    ours, _, _ = both
    assert Reader(ours, 20, lowercase=True).read(["The CAT"])[0].ids == Reader(ours, 20).read(["the cat"])[0].ids


def test_word_pieces_open_in_transformers(tmp_path):
    for lowercase in (True, False):
        tokenizer = train_word_pieces([*TEXTS, LONG], 80, lowercase=lowercase)
        tokenizer.save(tmp_path)
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
        for text in [*TEXTS, "Ünknown 漢字 😀", LONG]:
            assert theirs(text)["input_ids"] == tokenizer.encode([text])[0]
            assert theirs(text, "the dog")["input_ids"] == Reader(tokenizer, 500).read([text], ["the dog"])[0].ids
        names = (theirs.cls_token, theirs.sep_token, theirs.mask_token, theirs.pad_token, theirs.unk_token)
        assert names == ("[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]")
        [ids] = tokenizer.encode(["The cat sat on the mat."])
        assert theirs.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids)
        assert tokenizer.decode(ids).startswith("the cat" if lowercase else "The cat")
