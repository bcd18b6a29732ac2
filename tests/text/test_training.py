"""Tokenizers trained on a text: nothing is lost, and what is saved other libraries open."""

from __future__ import annotations

import pytest

from formers.errors import ConfigError
from formers.text.open import load_tokenizer
from formers.text.training import END, WORD_PIECE_SPECIALS, characters, train_byte_bpe, train_word_pieces

TEXTS = ["The cat sat on the mat.\n\n\tThe cat  sat.", "Grüße aus Köln — “hello” 日本", "a\r\nb   c \n"]
NEWS = ["", " ", "\n", "  two  spaces ", "Ωmega 🙂 \x00\x7f", "un\u0301", "x" * 50]


def test_bytes_know_every_text_and_give_it_back():
    tokenizer = train_byte_bpe(TEXTS * 3, 300)
    assert 257 < tokenizer.vocab <= 300 and tokenizer.unk is None
    for text in TEXTS + NEWS:
        (ids,) = tokenizer.encode([text])
        assert ids == tokenizer.encode_plain([text])[0] and 0 not in ids
        assert tokenizer.decode(ids) == text
    assert tokenizer.encode(["The cat"])[0] != tokenizer.encode(["the cat"])[0]
    assert len(tokenizer.encode(["The cat sat"])[0]) < len("The cat sat")


def test_characters_give_every_known_text_back_and_say_what_they_do_not_know():
    tokenizer = characters(TEXTS)
    assert tokenizer.vocab == 2 + len(set("".join(TEXTS)))
    for text in TEXTS:
        (ids,) = tokenizer.encode([text])
        assert len(ids) == len(text) and tokenizer.decode(ids) == text
    (ids,) = tokenizer.encode(["a日Ωq"])
    assert ids[2:] == [tokenizer.unk] * 2 and tokenizer.unk not in ids[:2]
    assert tokenizer.unknown_share(["a日Ωq"]) == 0.5
    assert tokenizer.decode(ids, skip_special=False) == "a日<unk><unk>"


@pytest.mark.parametrize("make", [lambda texts: train_byte_bpe(texts, 280), characters], ids=["bytes", "characters"])
def test_the_end_of_a_text_is_one_token_that_begins_texts_too(make):
    tokenizer = make(TEXTS)
    assert tokenizer.eos == tokenizer.bos == 0
    assert tokenizer.encode([f"a{END}b"])[0][1] == 0 and tokenizer.pieces([0]) == [END]
    assert tokenizer.decode(tokenizer.encode([f"a{END}b"])[0]) == "ab"


@pytest.mark.parametrize("make", [lambda texts: train_byte_bpe(texts, 300), characters], ids=["bytes", "characters"])
def test_the_same_texts_give_the_same_tokenizer_here_and_after_saving(make, tmp_path):
    tokenizer = make(TEXTS * 2)
    assert tokenizer.files() == make(TEXTS * 2).files()
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path, {})
    assert again is not None and again.files() == tokenizer.files()
    assert (again.bos, again.eos, again.unk, again.pad) == (tokenizer.bos, tokenizer.eos, tokenizer.unk, tokenizer.pad)
    assert again.encode(TEXTS + NEWS) == tokenizer.encode(TEXTS + NEWS)


@pytest.mark.parametrize("make", [lambda texts: train_byte_bpe(texts, 300), characters], ids=["bytes", "characters"])
def test_transformers_opens_it(make, tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    tokenizer = make(TEXTS * 2)
    tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert theirs(text)["input_ids"] == tokenizer.encode([text])[0]
        assert theirs.decode(tokenizer.encode([text])[0]) == text
    assert (theirs.bos_token, theirs.eos_token, theirs.eos_token_id) == (END, END, 0)


def test_an_opening_token_comes_before_every_text_here_and_in_transformers(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    both = {"bytes": train_byte_bpe(TEXTS, 300, opening=True), "characters": characters(TEXTS, opening=True)}
    for name, tokenizer in both.items():
        for text in ("The cat", ""):
            assert tokenizer.encode([text])[0] == [0, *tokenizer.encode_plain([text])[0]]
        assert tokenizer.decode(tokenizer.encode(["The cat"])[0]) == "The cat"
        (tmp_path / name).mkdir()
        tokenizer.save(tmp_path / name)
        again = load_tokenizer(tmp_path / name, {})
        assert again is not None and again.encode(TEXTS) == tokenizer.encode(TEXTS)
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / name)
        assert theirs("The cat")["input_ids"] == tokenizer.encode(["The cat"])[0]


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(ConfigError, match=r"vocab \(256\) must be at least 257"):
        train_byte_bpe(TEXTS, 256)
    with pytest.raises(ConfigError, match="not a single character"):
        characters(["", ""])


def test_word_pieces_are_the_same_every_time():
    texts = [f"{a}{b}{c}ing {c}{a}" for a in "bcdfgh" for b in "aeiou" for c in "lmnprst"]
    first, *others = (train_word_pieces(texts, 90).rules.to_str() for _ in range(4))
    assert all(other == first for other in others)
    tokenizer = train_word_pieces(texts, 90)
    assert tokenizer.vocab == 90
    assert [tokenizer.rules.token_to_id(name) for name in WORD_PIECE_SPECIALS.values()] == [0, 1, 2, 3, 4]
    ids = tokenizer.encode(["bating bal"])[0]
    assert ids[0] == 2 and ids[-1] == 3  # [CLS] ... [SEP]
