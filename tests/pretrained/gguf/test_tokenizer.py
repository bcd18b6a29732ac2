"""Tokenizers out of GGUF metadata, against the libraries that made their vocabularies."""

from __future__ import annotations

import io
import json

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from formers.errors import CheckpointError
from formers.pretrained.gguf.tokenizer import LLAMA3, PRE, QWEN2, gguf_tokenizer, special_ids

CORPUS = [
    "The cat sat on the mat; the cats don't sit.  Two spaces, 3 cats, 2024 mats and 17 more.",
    "Größe, Straße, naïve café: l'été 1999.\n\nNew lines\n  and tabs\tand more lines.\r\n",
    "def f(x):\n    return x ** 2  # it's 42\n",
    "日本語のテキスト、漢字とかな。",
    "Привет, мир! 12 345",
] * 3
TEXTS = [
    *CORPUS[:5],
    "",
    " ",
    "   ",
    "a  7",
    " lead",
    "trail ",
    "x\n\n\ny",
    "I'LL we'Re",
    "12345678",
    "👩‍👩‍👧 ok",
    "a\u0301e\u0301",
    "\u00a0\u200b",
    "unseen žluťoučký ქართული",
]
BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
WORDS = {
    "gpt-2": [pre_tokenizers.ByteLevel(add_prefix_space=False)],
    "smollm": [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
    "llama-bpe": [pre_tokenizers.Split(Regex(LLAMA3), "isolated"), BYTE_LEVEL],
    "qwen2": [pre_tokenizers.Split(Regex(QWEN2), "isolated"), BYTE_LEVEL],
}


def trained(pre):
    """A byte-level tokenizer made by `tokenizers`, and the metadata that llama.cpp's converter writes for it."""
    original = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    original.pre_tokenizer = pre_tokenizers.Sequence(WORDS[pre])
    if pre == "qwen2":
        original.normalizer = normalizers.NFC()
    original.decoder = decoders.ByteLevel()
    original.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=420,
            special_tokens=["<|bos|>", "<|im_end|>", "<|pad|>"],
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    original.add_tokens(["<think>"])
    table = json.loads(original.to_str())["model"]
    tokens = [original.id_to_token(number) for number in range(original.get_vocab_size())]
    return original, {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] * 3 + [1] * (len(tokens) - 4) + [4],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in table["merges"]],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": "{{ messages }}",
    }


@pytest.mark.parametrize("pre", WORDS)
def test_byte_level_equals_its_original(pre):
    original, metadata = trained(pre)
    ours = gguf_tokenizer(metadata, what="x.gguf")
    for text in [*TEXTS, "a<|im_end|>b", "<|bos|>", "1 <think>2"]:
        ids = ours.encode([text])[0]
        assert ids == original.encode(text).ids, text
        if pre != "qwen2":
            assert ours.decode(ids, skip_special=False) == text
    assert ours.decode(ours.encode(["a<|im_end|>b<think>"])[0]) == "ab<think>"
    assert (ours.bos, ours.eos, ours.pad, ours.unk) == (0, 1, 2, None)
    assert ours.settings["chat_template"] == "{{ messages }}" and ours.settings["eos_token"] == "<|im_end|>"


def test_the_ways_to_cut_words_differ_where_they_should():
    _, metadata = trained("smollm")
    pieces = {}
    for pre in ("gpt-2", "smollm", "llama-bpe", "qwen2"):
        rules = gguf_tokenizer(metadata | {"tokenizer.ggml.pre": pre}, what="x").rules
        pieces[pre] = [piece for piece, _ in rules.pre_tokenizer.pre_tokenize_str("I'LL pay 12345")]
    assert pieces["gpt-2"] == ["I", "'", "LL", "Ġpay", "Ġ12345"]
    assert pieces["smollm"] == ["I", "'", "LL", "Ġpay", "Ġ", "1", "2", "3", "4", "5"]
    assert pieces["llama-bpe"] == ["I", "'LL", "Ġpay", "Ġ", "123", "45"]
    assert pieces["qwen2"] == ["I", "'LL", "Ġpay", "Ġ", "1", "2", "3", "4", "5"]


def test_bos_and_eos_are_put_where_the_file_says():
    _, metadata = trained("llama-bpe")

    def encode(**changes):
        changed = metadata | {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
        changed = {key: value for key, value in changed.items() if value is not None}
        return gguf_tokenizer(changed, what="x").encode(["cat"])[0]

    plain = encode()
    assert encode(add_bos_token=True) == [0, *plain]
    assert encode(add_bos_token=True, add_eos_token=True) == [0, *plain, 1]
    assert encode(add_eos_token=True) == [*plain, 1]
    assert encode(add_bos_token=None) == [0, *plain]  # Llama 3 files that do not say
    assert encode(add_bos_token=None, bos_token_id=None) == plain
    assert encode(add_bos_token=None, pre="gpt-2") == plain
    # a saved folder says the same
    tokenizer = gguf_tokenizer(metadata | {"tokenizer.ggml.add_bos_token": True}, what="x")
    again = Tokenizer.from_str(tokenizer.files()["tokenizer.json"].decode())
    assert (
        again.encode("cat").ids == [0, *plain]
        and json.loads(tokenizer.files()["tokenizer_config.json"])["chat_template"] == "{{ messages }}"
    )


def test_a_file_without_pre_is_cut_as_gpt2_cuts():
    original, metadata = trained("gpt-2")
    del metadata["tokenizer.ggml.pre"]
    ours = gguf_tokenizer(metadata, what="x")
    assert all(ours.encode([text])[0] == original.encode(text).ids for text in TEXTS)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """SentencePiece models by their own library, and their metadata: (processor, metadata) by space prefix."""
    sentencepiece = pytest.importorskip("sentencepiece")
    found = {}
    for prefix in (True, False):
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(line for text in CORPUS for line in text.splitlines() if line),
            model_writer=model,
            model_type="bpe",
            vocab_size=420,
            byte_fallback=True,
            add_dummy_prefix=prefix,
            hard_vocab_limit=False,
            remove_extra_whitespaces=False,
            normalization_rule_name="identity",
            character_coverage=0.98,
            user_defined_symbols=["<think>", "\n"],
            control_symbols=["<|im_end|>"],
            minloglevel=2,
        )
        processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        size = range(processor.get_piece_size())
        kinds = [
            2
            if processor.is_unknown(i)
            else 3
            if processor.is_control(i)
            else 6
            if processor.is_byte(i)
            else 4
            if processor.id_to_piece(i) in ("<think>", "\n")
            else 1
            for i in size
        ]
        found[prefix] = (
            processor,
            {
                "tokenizer.ggml.model": "llama",
                "tokenizer.ggml.pre": "default",
                "tokenizer.ggml.tokens": [processor.id_to_piece(i) for i in size],
                "tokenizer.ggml.scores": [processor.get_score(i) for i in size],
                "tokenizer.ggml.token_type": kinds,
                "tokenizer.ggml.add_space_prefix": prefix,
                "tokenizer.ggml.add_bos_token": False,
            },
        )
    return found


@pytest.mark.parametrize("prefix", [True, False])
def test_scored_pieces_equal_sentencepiece(pieces, prefix):
    processor, metadata = pieces[prefix]
    ours = gguf_tokenizer(metadata, what="x")
    for text in TEXTS:
        ids = ours.encode([text])[0]
        if not (prefix and "\n" in text):  # there a user's token is followed by a space of its own, as in llama.cpp
            assert ids == processor.encode(text), text
        if "\n" not in text:
            assert ours.decode(ids) == text
    assert (ours.unk, ours.bos, ours.eos, ours.pad) == (0, 1, 2, None)
    special = ours.encode_plain(["a<|im_end|>b"])[0]
    assert metadata["tokenizer.ggml.tokens"].index("<|im_end|>") in special


def test_old_files_of_pieces_begin_with_bos(pieces):
    processor, metadata = pieces[True]
    for key in ("add_bos_token", "add_space_prefix"):
        metadata = {name: value for name, value in metadata.items() if not name.endswith(key)}
    assert gguf_tokenizer(metadata, what="x").encode(["cat"])[0] == [1, *processor.encode("cat")]


def test_what_ends_a_turn():
    _, metadata = trained("qwen2")
    assert special_ids(metadata) == {"bos_token_id": 0, "pad_token_id": 2, "eos_token_id": 1}
    base = metadata | {"tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.eot_token_id": 7}
    assert special_ids(base)["eos_token_id"] == [2, 7, 1]  # what the file says, then <|im_end|> by its name
    written = base | {"tokenizer.ggml.token_type": [1] * len(metadata["tokenizer.ggml.tokens"])}
    assert special_ids(written)["eos_token_id"] == [2, 7]  # an ordinary word that looks like one
    assert special_ids({}) == {}


def test_files_without_a_tokenizer():
    assert gguf_tokenizer({}, what="x") is None
    assert gguf_tokenizer({"tokenizer.ggml.model": "no_vocab"}, what="x") is None


def test_what_cannot_be_used_is_refused(pieces):
    _, good = trained("gpt-2")
    _, scored = pieces[True]
    size = len(good["tokenizer.ggml.tokens"])
    tokens = good["tokenizer.ggml.tokens"]
    for metadata, key, value, message in (
        (good, "model", "bert", "tokenizer.ggml.model is 'bert', which is not read here; known: gpt2, llama"),
        (good, "pre", "qwen", "pre 'qwen' is not known, so its texts would be cut wrongly; did you mean \"qwen2\"?"),
        (good, "pre", "falcon", "is not known"),
        (good, "tokens", None, "lacks tokenizer.ggml.tokens"),
        (good, "tokens", [1, 2], "tokens is not a list of str"),
        (good, "tokens", [*tokens[:-1], tokens[5]], f"the token {tokens[5]!r} is in tokenizer.ggml.tokens twice"),
        (good, "merges", None, "lacks tokenizer.ggml.merges"),
        (good, "merges", ["a b c"], "merges[0] 'a b c' is not a merge of two tokens"),
        (good, "merges", ["a"], "merges[0] 'a' is not a merge"),
        (good, "token_type", [1, 1], f"token_type has 2 values for {size} tokens"),
        (good, "bos_token_id", size, f"bos_token_id is {size}, but there are {size} tokens"),
        (good, "eos_token_id", "no", "eos_token_id is 'no'"),
        (scored, "scores", None, "lacks tokenizer.ggml.scores"),
        (scored, "scores", [0.0], "scores has 1 values for"),
    ):
        changed = metadata | {f"tokenizer.ggml.{key}": value}
        if value is None:
            del changed[f"tokenizer.ggml.{key}"]
        with pytest.raises(CheckpointError) as caught:
            gguf_tokenizer(changed, what="model.gguf")
        assert message in str(caught.value) and "model.gguf" in str(caught.value) and "\n" not in str(caught.value)
    no_bos = {key: value for key, value in good.items() if key != "tokenizer.ggml.bos_token_id"}
    with pytest.raises(CheckpointError, match="add_bos_token is set, but bos_token_id is not"):
        gguf_tokenizer(no_bos | {"tokenizer.ggml.add_bos_token": True}, what="x")


def test_every_expression_is_one(pieces):
    for words in PRE.values():
        if words.split is not None:
            cut = pre_tokenizers.Split(Regex(words.split), "isolated").pre_tokenize_str("a 1\n b")
            assert "".join(piece for piece, _ in cut) == "a 1\n b"


PLAIN = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "gpt-2",
    "tokenizer.ggml.tokens": ["a", "b", "ab", "<s>", "</s>"],
    "tokenizer.ggml.token_type": [1, 1, 1, 3, 3],
    "tokenizer.ggml.merges": ["a b"],
    "tokenizer.ggml.bos_token_id": 3,
    "tokenizer.ggml.eos_token_id": 4,
    "tokenizer.ggml.eot_token_id": 4,
    "tokenizer.ggml.add_bos_token": True,
    "tokenizer.chat_template": "a",
}
SCORED = {key: value for key, value in PLAIN.items() if key[15:] not in ("merges", "pre")} | {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.scores": [-1.0, -2.0, -0.5, 0.0, 0.0],
}
WRONG = [
    None,
    True,
    -1,
    3.5,
    float("nan"),
    2**70,
    "",
    "x" * 9000,
    [],
    ["a"],
    [[]],
    {},
    [2**70] * 5,
    ["x" * 60_000, *"abcd"],
]


@pytest.mark.parametrize("metadata", [PLAIN, SCORED], ids=["pairs", "scores"])
def test_every_key_with_wrong_values_is_one_line(metadata):
    for key in metadata:
        for value in WRONG:
            changed = metadata | {key: value}
            try:
                special_ids(changed)
                tokenizer = gguf_tokenizer(changed, what="x.gguf")
                if tokenizer is not None:
                    tokenizer.decode(tokenizer.encode(["a b ab"])[0])
            except CheckpointError as fault:
                assert "\n" not in str(fault) and len(str(fault)) < 600, key
