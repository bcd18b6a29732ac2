"""Text as it comes: whole characters, no part of a stop string, and together what the tokenizer says."""

import pytest
from hypothesis import given
from hypothesis import strategies as some
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from formers.decoding.stream import TextStream
from formers.errors import ConfigError
from formers.text.open import train_bpe
from formers.text.rule_tokenizer import RuleTokenizer
from formers.text.training import train_byte_bpe

SAID = "The café is closed. 東京 is far; naïve 🙂👩‍👩‍👧 people smile. "
BYTES = train_byte_bpe([SAID * 4], 300)
WORDS = train_bpe([SAID * 4], 120)


def byte_fallback() -> RuleTokenizer:
    """As Llama's: words with a mark for their space, bytes for what is no piece; one space at the front is dropped."""
    pieces = ["<unk>", *(f"<0x{i:02X}>" for i in range(256)), "▁", "a", "b", "▁a", "▁ab", "ab"]
    rules = Tokenizer(
        models.BPE(
            {piece: i for i, piece in enumerate(pieces)},
            [("a", "b"), ("▁", "ab"), ("▁", "a")],
            byte_fallback=True,
            unk_token="<unk>",
        )
    )
    rules.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    rules.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return RuleTokenizer(rules, {"unk_token": "<unk>"})


FALLBACK = byte_fallback()


class Letters:
    """Tokens are texts: every way to cut a text into tokens can be tried."""

    def __init__(self, pieces):
        self.all = pieces

    def decode(self, ids, skip_special=True):
        return "".join(self.all[i] for i in ids)


def pieces(stream, tokens):
    out = []
    for token in tokens:
        out.append(stream.add(token))
        if stream.stopped is not None:
            break
    return [*out, stream.end()]


@pytest.mark.parametrize("tokenizer", [BYTES, WORDS, FALLBACK], ids=["bytes", "words", "fallback"])
@given(text=some.text("ab é東🙂", min_size=1, max_size=12), cut=some.integers(0, 40))
def test_the_pieces_are_the_text(tokenizer, text, cut):
    ids = tokenizer.encode_plain([text])[0]
    before, after = ids[:cut], ids[cut:]
    whole, known = tokenizer.decode(ids), tokenizer.decode(before)
    if "\ufffd" in known:  # a prompt that ends within a character
        return
    said = pieces(TextStream(tokenizer, before), after)
    assert known + "".join(said) == whole
    assert not any("\ufffd" in piece for piece in said)


def test_a_character_of_several_tokens_comes_whole():
    stream = TextStream(BYTES)
    assert [stream.add(single(byte)) for byte in "🙂".encode()] == ["", "", "", "🙂"]


def test_what_is_decoded_along_does_not_begin_within_a_character():
    text = "ééé東東🙂é"
    ids = FALLBACK.encode_plain([text])[0]
    assert "".join(pieces(TextStream(FALLBACK, ids[:-2]), ids[-2:])) == "é"


def single(byte):
    """The token of one byte."""
    return BYTES.rules.token_to_id(mapped(byte))


def mapped(byte):
    """GPT-2's printable stand-in for a byte."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return chr(byte) if byte in shown else chr(256 + [b for b in range(256) if b not in shown].index(byte))


def test_bytes_that_are_no_characters_do_not_wait_for_ever():
    stream, bad = TextStream(BYTES), single(0xFF)
    said = [stream.add(bad) for _ in range(40)]
    assert len("".join(said)) >= 30
    begun = [stream.add(single(byte)) for byte in "🙂".encode()]
    assert "".join(begun).endswith("🙂") and "🙂" in begun[-1]
    assert stream.text == "".join(said + begun)


@given(
    text=some.text("abc", max_size=14),
    cuts=some.lists(some.integers(1, 5), max_size=14),
    stop=some.lists(some.text("abc", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_stop_strings_do_not_depend_on_the_tokens(text, cuts, stop):
    """Any way to cut a text into tokens gives what single characters give; no part of a stop string is shown."""
    parts, rest = [], text
    for size in cuts:
        parts, rest = [*parts, rest[:size]], rest[size:]
    parts = [part for part in [*parts, rest] if part]
    streams = TextStream(Letters(parts), (), stop), TextStream(Letters(text), (), stop)
    coarse, fine = pieces(streams[0], range(len(parts))), pieces(streams[1], range(len(text)))
    assert "".join(coarse) == streams[0].text == streams[1].text == "".join(fine)
    assert streams[0].stopped == streams[1].stopped
    ends = [text.find(each) + len(each) for each in stop if each in text]
    if ends:
        assert streams[0].stopped and text[: min(ends)] == streams[0].text + streams[0].stopped
    else:
        assert streams[0].stopped is None and streams[0].text == text


def test_what_may_be_a_stop_string_is_held_back():
    stream = TextStream(Letters(["x", "\n", "\n", "User", ":", "y"]), (), ["\n\nUser:"])
    assert [stream.add(i) for i in range(4)] == ["x", "", "", ""] and stream.stopped is None
    assert stream.add(4) == "" and stream.stopped == "\n\nUser:" and stream.end() == "" and stream.text == "x"
    other = TextStream(Letters(["x", "\n", "y"]), (), ["\n\nUser:"])
    assert [other.add(i) for i in range(3)] == ["x", "", "\ny"]
    last = TextStream(Letters(["x", "\n"]), (), ["\n\n"])
    assert [last.add(0), last.add(1), last.end()] == ["x", "", "\n"] and last.text == "x\n"


def test_an_empty_stop_string_is_refused():
    with pytest.raises(ConfigError, match="a stop string is empty"):
        TextStream(BYTES, (), [""])
