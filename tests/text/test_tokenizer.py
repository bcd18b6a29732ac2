"""Tokenizers run by the `tokenizers` library: trained here, from a folder, byte level."""

from __future__ import annotations

import json
import random
import unicodedata

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from formers.errors import CheckpointError, ConfigError
from formers.text.open import load_tokenizer, train_bpe

LETTERS = "abcdefghij ÄÖüß.,!?-0123456789"


def lines():
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefghijÄÖüß", k=chance.randint(1, 6))) for _ in range(60)]
    marks = [".", ",", "!", "?", "-", " 12", " 3456", " 7890"]
    return [" ".join(chance.choices(words, k=5)) + chance.choice(marks) for _ in range(500)]


TOKENIZER = train_bpe(lines(), 300)


def test_special_ids_come_first_and_eos_is_appended():
    t = TOKENIZER
    assert (t.eos, t.unk, t.pad, t.start, t.bos) == (0, 1, 2, 2, None)
    assert t.encode([""]) == [[0]]
    assert all(ids[-1] == 0 and 0 not in ids[:-1] for ids in t.encode(lines()))
    assert t.encode_target(["ab"]) == t.encode(["ab"])
    assert 60 < t.vocab == t.target_vocab <= 300


def test_training_is_deterministic():
    assert train_bpe(iter(lines()), 300).files() == TOKENIZER.files()


@given(st.text(LETTERS))
def test_text_comes_back(text):
    text = unicodedata.normalize("NFC", text).lstrip(" ")
    [ids] = TOKENIZER.encode([text])
    assert TOKENIZER.decode(ids) == text
    assert TOKENIZER.unknown_share([text]) == 0.0


def test_decomposed_letters_are_composed():
    assert TOKENIZER.encode(["u\u0308"]) == TOKENIZER.encode(["ü"])


def test_digits_and_punctuation_stand_alone():
    names = TOKENIZER.pieces(TOKENIZER.encode(["ab, 3456."])[0])
    assert names[-1] == "</s>" and {"3", "4", "5", "6", ",", "."} <= {name.strip("▁") for name in names}


def test_unknown_share_counts_text_only():
    assert TOKENIZER.unknown_share(["漢"]) == pytest.approx(0.5)  # "▁" and the unknown one
    assert TOKENIZER.unknown_share([]) == 0.0


def test_training_refuses_what_cannot_work():
    with pytest.raises(ConfigError, match=r"vocab \(3\) must be more than the 3 special tokens"):
        train_bpe(["a"], 3)
    with pytest.raises(ConfigError, match="specials lack </s>"):
        train_bpe(["a"], 30, ("<unk>", "<pad>"))


def test_saved_files_open_here_and_in_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    TOKENIZER.save(tmp_path)
    again = load_tokenizer(tmp_path, {"decoder_start_token_id": 2})
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    texts = lines()[:20]
    assert again.encode(texts) == TOKENIZER.encode(texts) == theirs(texts)["input_ids"]
    assert (again.pad, again.eos, again.unk, again.start) == (2, 0, 1, 2)
    assert (theirs.pad_token_id, theirs.eos_token_id, theirs.unk_token_id) == (2, 0, 1)
    assert theirs.decode(theirs(texts[0])["input_ids"], skip_special_tokens=True) == texts[0]
    assert again.files() == TOKENIZER.files()


def test_config_gives_the_ids_that_the_files_leave_open(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(TOKENIZER.files()["tokenizer.json"])
    tokenizer = load_tokenizer(tmp_path, {"pad_token_id": 2, "eos_token_id": [0, 5], "bos_token_id": None})
    assert (tokenizer.pad, tokenizer.eos, tokenizer.bos, tokenizer.start) == (2, 0, None, None)


def test_padding_and_truncation_of_a_file_are_not_ours(tmp_path):
    rules = tokenizers.Tokenizer.from_buffer(TOKENIZER.files()["tokenizer.json"])
    rules.enable_padding(length=64)
    rules.enable_truncation(3)
    rules.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path, {}).encode(lines()[:3]) == TOKENIZER.encode(lines()[:3])


@pytest.fixture(scope="module", params=["bart", "gpt2"])
def byte_level(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    specials = {"bart": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "gpt2": ["<|endoftext|>"]}[request.param]
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator(lines(), 400, special_tokens=specials, show_progress=False)
    trained.save_model(str(folder))
    kinds = {"bart": "BartTokenizer", "gpt2": "GPT2Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kinds[request.param]}))
    return folder


def test_byte_level_equals_the_reference(byte_level, tmp_path):
    transformers = pytest.importorskip("transformers")
    kind = json.loads((byte_level / "tokenizer_config.json").read_text())["tokenizer_class"]
    theirs = getattr(transformers, kind).from_pretrained(byte_level)
    ours = load_tokenizer(byte_level, {"decoder_start_token_id": 2})
    texts = [*lines()[:10], "", " leading", "漢字 😀", "a  b\n"]
    assert ours.encode(texts) == theirs(texts)["input_ids"]
    for ids in ours.encode(texts):
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
    assert (ours.eos, ours.bos, ours.start) == (theirs.eos_token_id, theirs.bos_token_id, 2)
    assert "".join(ours.pieces(ours.encode(["ab c"])[0])).replace("<s>", "").replace("</s>", "") == "ab c"
    ours.save(tmp_path)
    assert load_tokenizer(tmp_path, {}).encode(texts) == ours.encode(texts)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path)(texts)["input_ids"] == ours.encode(texts)


def test_no_tokenizer_files_is_none(tmp_path):
    assert load_tokenizer(tmp_path, {}) is None
    assert load_tokenizer(tmp_path / "absent", {}) is None


def test_faults_are_told(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not valid JSON"):
        load_tokenizer(tmp_path, {})
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "Nothing"}}')
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not a tokenizer"):
        load_tokenizer(tmp_path, {})
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    with pytest.raises(CheckpointError, match=r"merges\.txt line 2: 'a b' is not a merge"):
        load_tokenizer(tmp_path, {})
    (tmp_path / "vocab.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"it is \[\], expected an object"):
        load_tokenizer(tmp_path, {})
