"""Tokenizers of many languages, held against transformers: rules (NLLB, mBART), pieces (M2M-100, mBART), Marian."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer as Rules
from tokenizers import models, pre_tokenizers, trainers

from formers.errors import CheckpointError, ConfigError
from formers.text.language_tokenizer import LanguageTokenizer
from formers.text.open import load_tokenizer

transformers = pytest.importorskip("transformers")
sentencepiece = pytest.importorskip("sentencepiece")

LINES = [
    f"{a} {b} {c}." for a in ("I", "you", "we") for b in ("ate", "saw", "had") for c in ("bread", "a pear", "12 cats")
]
TEXTS = ["I ate bread.", " you  saw a pear", "", "we had 12 dogs", "über Brot"]
NLLB = ["deu_Latn", "eng_Latn", "fra_Latn", "zho_Hans"]
MANY = ["ar_AR", "de_DE", "en_XX", "ro_RO"]
M2M = [f"__{code}__" for code in ("de", "en", "fr", "ast")]
FIRST = ["<s>", "<pad>", "</s>", "<unk>"]


@pytest.fixture(scope="module")
def nllb(tmp_path_factory):
    """As facebook/nllb-200 is published: tokenizer.json, whose own template is of the first releases."""
    folder = tmp_path_factory.mktemp("nllb")
    rules = Rules(models.BPE(unk_token="<unk>"))
    rules.pre_tokenizer = pre_tokenizers.Metaspace()
    rules.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=90, special_tokens=FIRST, show_progress=False))
    table = json.loads(rules.to_str())["model"]
    made = transformers.NllbTokenizer(
        vocab=table["vocab"], merges=[tuple(pair) for pair in table["merges"]], additional_special_tokens=NLLB
    )
    made.save_pretrained(folder)
    return folder


def pieces_folder(folder, codes, class_name, *, ids: bool):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 4),
        model_prefix=str(folder / "x"),
        vocab_size=50,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / "x.model").rename(folder / "sentencepiece.bpe.model")
    names = [line.split("\t")[0] for line in (folder / "x.vocab").read_text("utf-8").splitlines()]
    (folder / "x.vocab").unlink()
    if ids:
        vocab = {name: number for number, name in enumerate([*FIRST, *names[3:]])}
        (folder / "vocab.json").write_text(json.dumps(vocab), "utf-8")
    settings = {"tokenizer_class": class_name, "additional_special_tokens": codes, "src_lang": None, "tgt_lang": None}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def m2m(tmp_path_factory):
    codes = transformers.models.m2m_100.tokenization_m2m_100.FAIRSEQ_LANGUAGE_CODES["m2m100"]
    folder = tmp_path_factory.mktemp("m2m")
    return pieces_folder(folder, [f"__{code}__" for code in codes], "M2M100Tokenizer", ids=True)


@pytest.fixture(scope="module")
def mbart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mbart")
    scores = [(name, 0.0) for name in FIRST] + [("▁", -2.0)]
    scores += [(piece, -3.0) for piece in "▁I ▁ate ▁bread . ▁you ▁saw ▁a ▁pear ▁we ▁had ▁12 ▁cats e a r o".split()]
    codes = transformers.models.mbart.tokenization_mbart.FAIRSEQ_LANGUAGE_CODES
    scores += [(code, 0.0) for code in codes] + [("<mask>", 0.0)]
    transformers.MBartTokenizer(vocab=scores, src_lang="en_XX").save_pretrained(folder)
    return folder


def check(ours, theirs, source, target):
    theirs.src_lang, theirs.tgt_lang = source[0], target[0]
    spoken = ours.speaking(source=source[1], target=target[1])
    assert spoken.encode(TEXTS) == theirs(TEXTS)["input_ids"]
    assert spoken.encode_target(TEXTS) == theirs(text_target=TEXTS)["input_ids"]
    for row in spoken.encode(TEXTS):
        assert spoken.decode(row) == theirs.decode(row, skip_special_tokens=True).strip()
    (begun,) = spoken.encode_target([TEXTS[0]])
    assert spoken.beginning(TEXTS[0]) == begun[: begun.index(spoken.eos)]


@pytest.mark.parametrize("legacy", [False, True])
def test_nllb(nllb, legacy, tmp_path):
    for entry in nllb.iterdir():
        (tmp_path / entry.name).write_bytes(entry.read_bytes())
    settings = json.loads((nllb / "tokenizer_config.json").read_text()) | {"legacy_behaviour": legacy}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    ours = load_tokenizer(tmp_path, {"model_type": "m2m_100"})
    theirs = transformers.NllbTokenizer.from_pretrained(tmp_path)
    assert isinstance(ours, LanguageTokenizer) and sorted(ours.languages.ids) == NLLB
    assert ours.languages.source == "eng_Latn" and ours.languages.target == ""
    for pair in (("eng_Latn", "fra_Latn"), ("zho_Hans", "deu_Latn")):
        check(ours, theirs, (pair[0], pair[0]), (pair[1], pair[1]))


def test_mbart(mbart):
    ours, theirs = load_tokenizer(mbart, {"model_type": "mbart"}), transformers.MBartTokenizer.from_pretrained(mbart)
    assert len(ours.languages.ids) == 25 and ours.languages.place == "behind"
    check(ours, theirs, ("en_XX", "en_XX"), ("ro_RO", "ro_RO"))
    check(ours, theirs, ("de_DE", "de_DE"), ("ar_AR", "ar_AR"))


def test_m2m(m2m):
    ours = load_tokenizer(m2m, {"model_type": "m2m_100"})
    theirs = transformers.M2M100Tokenizer.from_pretrained(m2m)
    assert len(ours.languages.ids) == 100 and ours.languages.source == "en"
    check(ours, theirs, ("en", "en"), ("fr", "fr"))
    check(ours, theirs, ("ast", "ast"), ("de", "de"))


def test_pieces_of_fairseq(tmp_path):
    """As facebook/mbart-large-50 is published: no vocab.json, ids are those of the pieces after fairseq's four."""
    codes = [*MANY, "af_ZA"]
    ours = load_tokenizer(pieces_folder(tmp_path, codes, "MBart50Tokenizer", ids=False), {"model_type": "mbart"})
    model = sentencepiece.SentencePieceProcessor(str(tmp_path / "sentencepiece.bpe.model"))
    size = model.get_piece_size()
    spoken = ours.speaking(source="de_DE", target="af_ZA")
    own = [number + 1 if number > 2 else 3 for number in model.encode(TEXTS[0])]
    assert spoken.encode([TEXTS[0]]) == [[size + 2, *own, 2]]
    assert spoken.encode_target([TEXTS[0]]) == [[size + 5, *own, 2]] and spoken.vocab == size + 7
    assert spoken.decode([2, size + 5, *own, 2]) == TEXTS[0]


def test_marian_is_asked(tmp_path):
    folder = pieces_folder(tmp_path, [], "MarianTokenizer", ids=True)
    (folder / "sentencepiece.bpe.model").rename(folder / "source.spm")
    (folder / "target.spm").write_bytes((folder / "source.spm").read_bytes())
    vocab = json.loads((folder / "vocab.json").read_text("utf-8"))
    (folder / "vocab.json").write_text(json.dumps(vocab | {">>fra<<": 60, ">>por_BR<<": 61}))
    ours = load_tokenizer(folder, {"model_type": "marian"})
    assert list(ours.languages.ids) == ["fra", "por_BR"]
    assert ours.speaking(target="fra").encode(TEXTS) == ours.encode([f">>fra<< {text}" for text in TEXTS])
    assert ours.speaking(target="fra").encode_target(TEXTS) == ours.encode(TEXTS) == ours.inner.encode(TEXTS)
    with pytest.raises(ConfigError, match=r'a text says nothing of its language to this model; leave "fra" out'):
        ours.speaking(source="fra")


@pytest.mark.parametrize("name", ["nllb", "mbart", "m2m"])
def test_what_is_saved_is_read_back(name, request, tmp_path):
    folder = request.getfixturevalue(name)
    config = {"model_type": "mbart" if name == "mbart" else "m2m_100"}
    ours = load_tokenizer(folder, config)
    source, target = list(ours.languages.ids)[2:4]
    spoken = ours.speaking(source=source, target=target)
    spoken.save(tmp_path)
    again = load_tokenizer(tmp_path, {})
    assert again.languages == spoken.languages
    assert again.encode(TEXTS) == spoken.encode(TEXTS) and again.encode_target(TEXTS) == spoken.encode_target(TEXTS)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(TEXTS)["input_ids"] == spoken.encode(TEXTS)


def test_the_language_of_a_config_is_the_one_to_write(nllb):
    ours = load_tokenizer(nllb, {"model_type": "m2m_100"})
    told = load_tokenizer(nllb, {"model_type": "m2m_100", "forced_bos_token_id": ours.languages.ids["fra_Latn"]})
    assert told.languages.target == "fra_Latn" and told.target_code == ours.languages.ids["fra_Latn"]


def test_faults(nllb, tmp_path):
    ours = load_tokenizer(nllb, {"model_type": "m2m_100"})
    with pytest.raises(ConfigError, match='there is no language "fra_Lat"; did you mean "fra_Latn"'):
        ours.speaking(target="fra_Lat")
    with pytest.raises(ConfigError, match=r"this model writes 4 languages \(.*\); say which one \(--to"):
        ours.languages.check_target()
    (tmp_path / "tokenizer.json").write_bytes((nllb / "tokenizer.json").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"src_lang": "english"}))
    with pytest.raises(CheckpointError, match="src_lang is 'english', which is none of its 4 languages"):
        load_tokenizer(tmp_path, {"model_type": "m2m_100"})
    place = tmp_path / "pieces"
    place.mkdir()
    folder = pieces_folder(place, [], "", ids=True)
    with pytest.raises(CheckpointError, match="has no tokens of languages; name them in their order"):
        load_tokenizer(folder, {"model_type": "m2m_100"})
