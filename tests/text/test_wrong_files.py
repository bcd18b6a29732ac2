"""Wrong tokenizer files: one line that names the file, before any memory is taken; and texts that are none."""

from __future__ import annotations

import base64
import json
import struct

import pytest

from formers.errors import CheckpointError, DataError, FormersError
from formers.text.budget import growth
from formers.text.open import load_tokenizer, train_bpe
from formers.text.reader import Reader
from formers.text.training import LETTERS, characters, train_byte_bpe, train_word_pieces

LINES = ["I ate an apple.", "you see the house", "a small dog walks"] * 4
WORDS = train_word_pieces(LINES, 90)
BYTES = train_byte_bpe(LINES, 270)
RULES = {name: json.loads(each.rules.to_str()) for name, each in (("words", WORDS), ("bytes", BYTES))}
SMALL = {
    "tokenizer_config.json": {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "mask_token": {"content": "[MASK]", "lstrip": True},
        "extra_special_tokens": ["<e>"],
    },
    "special_tokens_map.json": {"pad_token": "[PAD]", "additional_special_tokens": ["<f>"]},
    "added_tokens.json": {"<new>": 95},
}
VALUES = [None, True, -1, 3.5, 2**40, "", "é", "x" * 5000, [], [[None]], {}, {"type": "Nothing"}, {"Regex": "(a+)+$"}]


def replaced(value, path, new):
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return copy


def places(value, path=()):
    """The ways to every value, of long lists and vocabularies to the first ones."""
    if path:
        yield path
    keys = list(value)[:12] if isinstance(value, dict) else range(min(3, len(value))) if isinstance(value, list) else ()
    for key in keys:
        yield from places(value[key], (*path, key))


def used(folder):
    """Whatever is done with a tokenizer; None where its folder is refused in one short line."""
    try:
        tokenizer = load_tokenizer(folder, {"model_type": "bert"})
        for text in ("I ate é!", "[MASK] <new> 漢"):
            [ids] = tokenizer.encode([text])
            tokenizer.decode(ids), tokenizer.pieces(ids)
        Reader(tokenizer, 16).read(["a b"], ["c"])
        tokenizer.files()
    except FormersError as fault:
        assert "\n" not in str(fault) and len(str(fault)) < 600, str(fault)
        return None
    return tokenizer


def write(folder, files):
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value), "utf-8")


@pytest.mark.parametrize("name", ["words", "bytes"])
def test_every_key_of_tokenizer_json_with_wrong_values(name, tmp_path):
    write(tmp_path, SMALL)
    for number, path in enumerate(places(RULES[name])):
        for new in VALUES[number % 2 :: 2]:
            write(tmp_path, {"tokenizer.json": replaced(RULES[name], path, new)})
            used(tmp_path)


@pytest.mark.parametrize("kind", ["tokenizer.json", "vocab.txt", "vocab.json"])
@pytest.mark.parametrize("file", SMALL)
def test_every_key_of_the_small_files_with_wrong_values(kind, file, tmp_path):
    vocab = WORDS.rules.get_vocab()
    if kind == "tokenizer.json":
        write(tmp_path, {kind: RULES["words"]})
    elif kind == "vocab.txt":
        (tmp_path / kind).write_text("\n".join(sorted(vocab, key=vocab.get)))
    else:
        write(tmp_path, {kind: RULES["bytes"]["model"]["vocab"]})
        (tmp_path / "merges.txt").write_text("")
    small = SMALL if kind != "vocab.json" else SMALL | {"tokenizer_config.json": {"do_lower_case": True}}
    write(tmp_path, small)
    assert used(tmp_path) is not None
    for path in places(small[file]):
        for new in VALUES:
            write(tmp_path, {file: replaced(small[file], path, new)})
            used(tmp_path)
    for new in VALUES:
        write(tmp_path, {file: new})
        used(tmp_path)


@pytest.mark.parametrize("value", [[], None, "a", {"a": "b"}, {"a": -1}, {"a": True}, {"a": 1, "b": 1}, {"a": 2**40}])
def test_vocabularies_that_are_none(value, tmp_path):
    write(tmp_path, {"vocab.json": value})
    (tmp_path / "merges.txt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"vocab\.json"):
        load_tokenizer(tmp_path, {})


def test_merges_that_are_none(tmp_path):
    write(tmp_path, {"vocab.json": RULES["bytes"]["model"]["vocab"]})
    for content in (b"\xff\xfe", b"a b c\n", b"x" * 5000):
        (tmp_path / "merges.txt").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"merges\.txt") as fault:
            load_tokenizer(tmp_path, {})
        assert len(str(fault.value)) < 400


def sequence(part, steps):
    inner = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "decoder": "decoders"}[part]
    return {part: {"type": "Sequence", inner: steps}}


def longer(content, pattern="a"):
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
TABLE = base64.b64encode(struct.pack("<I", 2**32 - 4) + bytes(40)).decode()
TEXT, SECOND = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
MARK = {"SpecialToken": {"id": "x", "type_id": 0}}


def template(single, ids=1):
    tokens = {"x": {"id": "x", "ids": [1] * ids, "tokens": ["a"] * ids}}
    about = {"type": "TemplateProcessing", "single": single, "pair": [TEXT, SECOND], "special_tokens": tokens}
    return {"post_processor": about}


BOMBS = {
    "doubled": (sequence("normalizer", [longer("aa")] * 40), "a text longer without bound"),
    "in turns": (sequence("normalizer", [longer("bb"), longer("aa", "b")] * 9), "262,144 times"),
    "long": ({"normalizer": longer("b" * 5000)}, "5,000 times"),
    "everywhere": ({"normalizer": longer("b" * 2000, "")}, "2,002 times"),
    "decoded": (sequence("decoder", [longer("aa")] * 20), "decoded text 1,048,576 times"),
    "bytes": (sequence("pre_tokenizer", [BYTE_LEVEL] * 20), "1,048,576 times"),
    "table": ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": TABLE}}, "no table of characters"),
    "no table": ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "é"}}, "no table of characters"),
    "texts": (template([TEXT] * 500), "post_processor.single must have A once"),
    "no text": (template([SECOND]), "post_processor.single must have A once"),
    "specials": (template([TEXT, *[MARK] * 200], 200), "puts 40,000 ids around a text"),
    "ids": ({"model": {"type": "BPE", "vocab": {"a": 2**31}, "merges": []}}, "the id of 'a' is 2147483648"),
    "twins": ({"model": {"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}}, "'a' and 'b' have the same id"),
    "words": ({"model": RULES["words"]["model"] | {"max_input_chars_per_word": 10**9}}, "expected at most 10,000"),
    "expression": (
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}},
        "retry-limit",
    ),
    "panic": ({"pre_tokenizer": {"type": "FixedLength", "length": 0}}, "chunk size must be non-zero"),
    "decoder": ({"decoder": {"type": "Strip", "content": "a", "start": 0, "stop": 10**6}}, "is not a tokenizer"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_rules_that_blow_a_text_up_are_refused(bomb, tmp_path, capfd):
    rules, message = BOMBS[bomb]
    write(tmp_path, {"tokenizer.json": RULES["bytes"] | rules})
    with pytest.raises(CheckpointError, match=message) as fault:
        load_tokenizer(tmp_path, {})
    assert "tokenizer.json" in str(fault.value) and "\n" not in str(fault.value)
    assert capfd.readouterr().err == ""  # the library prints its panics


def test_padding_and_truncation_of_any_size_are_left_out(tmp_path):
    padding = {"strategy": {"Fixed": 10**12}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0}
    padding |= {"pad_type_id": 0, "pad_token": "a"}
    cut = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 10**9}
    write(tmp_path, {"tokenizer.json": RULES["bytes"] | {"padding": padding, "truncation": cut}})
    assert load_tokenizer(tmp_path, {}).encode(LINES) == BYTES.encode(LINES)


@pytest.mark.parametrize(
    ("steps", "times"),
    [
        ([], 1),
        ([longer("▁", " ")], 1),
        ([longer("..."), longer("b", ".")], 3),
        ([longer("b", "aa")] * 9, 1),
        ([{"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}] * 30, 1),
        ([longer(f"{letter}'", letter) for letter in "bcdefghijklm"], 2),  # each letter by itself
        ([{"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}], 18),
    ],
)
def test_what_published_rules_do_is_little(steps, times):
    assert growth(steps) == times


BROKEN = ["a \udce9", "\ud800", "apple\udfff"]


@pytest.mark.parametrize("text", BROKEN)
def test_text_that_is_no_unicode_is_one_line(text):
    reader = Reader(WORDS, 16)
    calls = [
        lambda: WORDS.encode([text]),
        lambda: BYTES.encode_plain(["a", text]),
        lambda: BYTES.encode_target([text]),
        lambda: WORDS.unknown_share([text]),
        lambda: reader.read([text]),
        lambda: reader.read(["a"], [text], offsets=False),
        lambda: reader.read_words([["a", text]]),
        lambda: reader.windows([text], ["a"], stride=1),
        lambda: reader.windows(["a"], [text], stride=1),
        lambda: reader.text_windows([text], stride=1),
        lambda: train_byte_bpe([text], 300),
        lambda: train_word_pieces([text], 300),
        lambda: train_bpe([text], 300),
        lambda: characters([text]),
    ]
    for call in calls:
        with pytest.raises(DataError, match=r"is not Unicode: character \d is .*; give the text in UTF-8"):
            call()


def test_pieces_read_no_half_characters(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_prefix=str(tmp_path / "spiece"), vocab_size=40, hard_vocab_limit=False,
        minloglevel=2, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
    )  # fmt: skip
    tokenizer = load_tokenizer(tmp_path, {})
    with pytest.raises(DataError, match="is the byte 0xe9, which is not UTF-8"):
        tokenizer.encode(["a \udce9"])


def test_a_text_of_unknown_tokens_is_noted_once(caplog):
    tokenizer = train_word_pieces(LINES, 90)
    tokenizer.encode(["the house"])
    assert not caplog.text
    Reader(tokenizer, 16).read(["漢字 東京 the", "漢"])
    assert (
        "the text '漢字 東京 the' is not what the vocabulary is for: 4 of its 5 tokens (80%) are unknown" in caplog.text
    )
    tokenizer.encode(["東京"])
    assert len(caplog.records) == 1


@pytest.mark.parametrize("word", ["x" * 200_000, "!" * 200_000, " " * 200_000])
def test_long_words_are_cut_where_a_tokenizer_learns(word, caplog):
    for tokenizer in (train_byte_bpe([word], 300), train_bpe([word], 300), train_word_pieces(["a", word], 300)):
        assert max(map(len, tokenizer.rules.get_vocab())) <= LETTERS + 20
    assert f"words of more than {LETTERS:,} letters are cut" in caplog.text or len(caplog.records) == 0


def test_words_that_are_not_long_stay(caplog):
    text = " ".join(["word" * (LETTERS // 4)] * 3)
    train_byte_bpe([text], 300)
    assert not caplog.records


@pytest.mark.parametrize("pattern", ["(x*)*b", "x*x*y", "x*x*x*y", "([xé]+)+$"])
@pytest.mark.parametrize("part", ["pre_tokenizer", "normalizer"])
def test_slow_expressions_are_refused_when_they_are_read(part, pattern, tmp_path):
    regex = {"pattern": {"Regex": pattern}}
    step = (
        {"type": "Split", "behavior": "Isolated", "invert": False} if part == "pre_tokenizer" else {"type": "Replace"}
    )
    content = {"content": " "} if part == "normalizer" else {}
    write(tmp_path, {"tokenizer.json": RULES["bytes"] | {part: {**step, **regex, **content}}})
    with pytest.raises(CheckpointError, match=r"tokenizer\.json.*(takes over 0.5 seconds|retry-limit)"):
        load_tokenizer(tmp_path, {})


def test_published_expressions_are_not_slow(tmp_path):
    pattern = (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
    )
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    write(tmp_path, {"tokenizer.json": RULES["bytes"] | {"pre_tokenizer": split}})
    assert load_tokenizer(tmp_path, {}).encode(["a b"])
