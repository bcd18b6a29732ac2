"""The small files beside a vocabulary: ids equal to the reference's, whatever they say, or refused by name."""

from __future__ import annotations

import json
import shutil

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from formers.errors import CheckpointError
from formers.text.open import load_tokenizer
from formers.text.reader import Reader
from formers.text.training import train_byte_bpe, train_word_pieces

transformers = pytest.importorskip("transformers", reason="the reference")
sentencepiece = pytest.importorskip("sentencepiece", reason="trains the small models of these tests")

LINES = [
    "I ate an apple.",
    "The dog sees élève naïve, Zürich.",
    "we see 12 small trees: 漢字!",
    "book cat under table",
] * 9
TEXTS = [
    "I ate an apple.",
    "  two  spaces ",
    "Zürich ÉLÈVE the",
    "漢字 THE dog",
    "the <new> ate<new2> [NEW] dog[NEW]",
    "a [PAD] [MASK], </s> <pad> dog",
    "",
]
SPECIALS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
MASK = {"content": "<mask>", "lstrip": True, "normalized": False}


def word_pieces(folder):
    vocab = train_word_pieces(LINES, 150, lowercase=False).rules.get_vocab()
    (folder / "vocab.txt").write_text("\n".join(sorted(vocab, key=vocab.get)) + "\n", "utf-8")
    return "bert", "BertTokenizer"


def pairs(folder, specials=("<|endoftext|>",)):
    rules = train_byte_bpe(LINES, 300).rules
    table = json.loads(rules.to_str())["model"]
    names = [*specials, *(name for name in table["vocab"] if name != "<|endoftext|>")]
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}), "utf-8")
    (folder / "merges.txt").write_text("\n".join(" ".join(pair) for pair in table["merges"]), "utf-8")
    return "gpt2", "GPT2Tokenizer"


def roberta(folder):
    pairs(folder, ("<s>", "<pad>", "</s>", "<unk>", "<mask>"))
    return "roberta", "RobertaTokenizer"


def unigrams(folder, name, **options):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_prefix=str(folder / name),
        vocab_size=90,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    (folder / f"{name}.vocab").unlink()


def t5(folder):
    unigrams(folder, "spiece", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    return "t5", "T5Tokenizer"


def albert(folder):
    names = ["[CLS]", "[SEP]", "[MASK]"]
    unigrams(folder, "spiece", pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, control_symbols=names)
    return "albert", "AlbertTokenizer"


def deberta(folder):
    pieces = dict(zip(("pad_piece", "bos_piece", "eos_piece", "unk_piece"), SPECIALS, strict=True))
    unigrams(folder, "spm", pad_id=0, bos_id=1, eos_id=2, unk_id=3, **pieces)
    return "deberta-v2", "DebertaV2Tokenizer"


def marian(folder):
    for name in ("source", "target"):
        unigrams(folder, name)
        (folder / f"{name}.model").rename(folder / f"{name}.spm")
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
    pieces = ["</s>", "<unk>", *(model.id_to_piece(i) for i in range(3, model.get_piece_size())), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}), "utf-8")
    return "marian", "MarianTokenizer"


RAW = {each.__name__: each for each in (word_pieces, pairs, roberta, t5, albert, deberta, marian)}
WITH_RULES = ("word_pieces", "pairs", "roberta", "t5", "albert")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each kind of vocabulary, and of most the same as a tokenizer.json."""
    places = {}
    for name, make in RAW.items():
        folder = places[name] = tmp_path_factory.mktemp(name)
        model_type, kind = make(folder)
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
        mask = {"mask_token": {"__type": "AddedToken", **MASK}} if name == "roberta" else {}
        about = {"tokenizer_class": kind, **mask}
        (folder / "tokenizer_config.json").write_text(json.dumps(about))
        if name in WITH_RULES:
            rules = places[f"{name}-rules"] = tmp_path_factory.mktemp(f"{name}-rules")
            transformers.AutoTokenizer.from_pretrained(folder)._tokenizer.save(str(rules / "tokenizer.json"))
            for file in ("config.json", "tokenizer_config.json"):
                shutil.copy(folder / file, rules / file)
    return places


PLACES = [*RAW, *(f"{name}-rules" for name in WITH_RULES)]
CHANGES = {
    "small letters": {"tokenizer_config": {"do_lower_case": True}},
    "letters as they are": {"tokenizer_config": {"do_lower_case": False}},
    "accents off": {"tokenizer_config": {"do_lower_case": False, "strip_accents": True}},
    "accents kept": {"tokenizer_config": {"strip_accents": False}},
    "chinese words": {"tokenizer_config": {"tokenize_chinese_chars": False}},
    "space before": {"tokenizer_config": {"add_prefix_space": True}},
    "no space before": {"tokenizer_config": {"add_prefix_space": False}},
    "specials split": {"tokenizer_config": {"split_special_tokens": True}},
    "extra": {"tokenizer_config": {"extra_special_tokens": ["<new>", "[NEW]"]}},
    "extra, old key": {"tokenizer_config": {"additional_special_tokens": ["<new>"]}},
    "extra, named": {"tokenizer_config": {"image_token": "<new>"}},
    "special": {"tokenizer_config": {"pad_token": "[NEW]"}},
    "special, twice": {"tokenizer_config": {"pad_token": "<new>"}, "special_tokens_map": {"pad_token": "[NEW]"}},
    "special of the map": {"special_tokens_map": {"mask_token": MASK | {"content": "<new>"}}},
    "added": {"added_tokens": {"<new>": 0, "[NEW]": 1}},
    "added and special": {"added_tokens": {"[NEW]": 0, "<new>": 1}, "special_tokens_map": {"pad_token": "[NEW]"}},
    "added, flags": {"decoder": [{"content": "<new>", "lstrip": True, "rstrip": True, "special": True}]},
    "added, two": {"decoder": [{"content": "[NEW]"}, {"content": "<new>", "normalized": False, "special": True}]},
}


def changed(folder, change, size, out):
    """A copy of a folder with other small files; ids of added tokens begin at the size of the vocabulary."""
    shutil.copytree(folder, out, dirs_exist_ok=True)
    about = json.loads((out / "tokenizer_config.json").read_text()) | change.get("tokenizer_config", {})
    if "decoder" in change:
        about["added_tokens_decoder"] = {str(size + i): token for i, token in enumerate(change["decoder"])}
    (out / "tokenizer_config.json").write_text(json.dumps(about))
    if "special_tokens_map" in change:
        (out / "special_tokens_map.json").write_text(json.dumps(change["special_tokens_map"]))
    if "added_tokens" in change:
        added = {name: size + i for name, i in change["added_tokens"].items()}
        (out / "added_tokens.json").write_text(json.dumps(added))
    return out


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("place", PLACES)
def test_ids_are_the_reference_s(folders, place, change, tmp_path):
    config = json.loads((folders[place] / "config.json").read_text())
    folder = changed(folders[place], CHANGES[change], load_tokenizer(folders[place], config).vocab, tmp_path / "it")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    try:
        ours = load_tokenizer(folder, config)
    except CheckpointError as fault:
        refused = {"albert-rules": "do_lower_case", "t5": "split_special_tokens"}  # each by its name
        assert refused.get(place, "nothing") in str(fault)
        return
    # where spaces are kept, DeBERTa's are as its SentencePiece model has them, which the reference does in its own way
    texts = [text for text in TEXTS if (place, change) != ("deberta", "no space before") or text == text.strip()]
    for text in texts:
        assert ours.encode([text])[0] == theirs(text)["input_ids"], text
    assert (ours.pad, ours.unk) == (theirs.pad_token_id, theirs.unk_token_id)
    ours.save(tmp_path)
    assert load_tokenizer(tmp_path, config).encode(TEXTS) == ours.encode(TEXTS)


def test_rules_alone_count_for_a_class_that_adds_nothing(folders, tmp_path):
    settings = {"tokenizer_config": {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False}}
    folder = changed(folders["word_pieces-rules"], settings, 0, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert load_tokenizer(folder, {"model_type": "bert"}).encode(TEXTS) == theirs(TEXTS)["input_ids"]


@pytest.mark.parametrize("space", [True, False])
def test_the_space_before_a_text_of_llama(space, tmp_path):
    rules = Tokenizer(models.BPE({"▁": 0, "a": 1, "b": 2, "▁a": 3}, [("▁", "a")]))
    steps = [normalizers.Replace(" ", "▁")]
    rules.normalizer = normalizers.Sequence([*([] if space else [normalizers.Prepend("▁")]), *steps])
    rules.save(str(tmp_path / "tokenizer.json"))
    about = {"tokenizer_class": "LlamaTokenizer", "add_prefix_space": space}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(about))
    assert load_tokenizer(tmp_path, {}).encode_plain(["a b"]) == ([[3, 0, 2]] if space else [[1, 0, 2]])


def test_bos_and_eos_of_byte_pairs(folders, tmp_path):
    asked = {"tokenizer_config": {"add_bos_token": True, "add_eos_token": True}}
    folder = changed(folders["pairs"], asked, 0, tmp_path)
    ours, theirs = load_tokenizer(folder, {}), transformers.AutoTokenizer.from_pretrained(folder)
    assert ours.encode(TEXTS) == theirs(TEXTS)["input_ids"]
    assert ours.rules.encode("a", "b").ids == theirs("a", "b")["input_ids"]


def test_a_text_is_cut_on_the_side_that_the_settings_say(folders, tmp_path):
    folder = changed(folders["word_pieces"], {"tokenizer_config": {"truncation_side": "left"}}, 0, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    [encoding] = Reader(load_tokenizer(folder, {}), 6).read([LINES[1]])
    assert encoding.ids == theirs(LINES[1], truncation=True, max_length=6)["input_ids"]


def test_an_added_token_with_another_id_is_noted(folders, tmp_path, caplog):
    changed(folders["pairs"], {"decoder": [{"content": "<new>"}]}, 900, tmp_path)
    load_tokenizer(tmp_path, {})
    assert "the added token '<new>' has the id 300, though its files say 900" in caplog.text


@pytest.mark.parametrize(
    ("place", "settings", "message"),
    [
        ("word_pieces", {"tokenizer_class": "BertJapaneseTokenizer"}, "'BertJapaneseTokenizer' is not read here"),
        ("pairs", {"tokenizer_class": "WhisperTokenizer"}, "vocab.json and merges.txt of the tokenizer_class 'Whisper"),
        ("t5", {"tokenizer_class": "XLNetTokenizer"}, "put the model's tokenizer.json beside it"),
        ("albert-rules", {"do_lower_case": False}, "do_lower_case beside it contradicts"),
        ("albert-rules", {"keep_accents": True}, "keep_accents beside it contradicts"),
        ("word_pieces-rules", {"cls_token": "[first]"}, "is not what post_processor puts around"),
        ("pairs", {"do_lower_case": "yes"}, "do_lower_case is 'yes', expected true or false"),
        ("pairs", {"bos_token": {"lstrip": True}}, "bos_token.content is missing"),
        ("pairs", {"added_tokens_decoder": {"x": {"content": "a"}}}, "has the id 'x', expected a number"),
        ("pairs", {"added_tokens_decoder": [1]}, r"added_tokens_decoder is \[1\], expected an object"),
        ("t5", {"extra_ids": 10**9}, "extra_ids is 1000000000"),
        ("pairs", {"additional_special_tokens": [3]}, r"additional_special_tokens\[0\] is 3"),
    ],
)
def test_what_is_refused(folders, place, settings, message, tmp_path):
    folder = changed(folders[place], {"tokenizer_config": settings}, 0, tmp_path)
    with pytest.raises(CheckpointError, match=message) as fault:
        load_tokenizer(folder, json.loads((folder / "config.json").read_text()))
    assert "\n" not in str(fault.value) and str(folder) in str(fault.value)


def test_marks_around_a_text_keep_their_places(tmp_path):
    """A tokenizer.json whose class knows nothing of bos keeps its own template, as in the reference."""
    rules = train_byte_bpe(LINES, 270).rules
    rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rules.post_processor = processors.TemplateProcessing("<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    rules.save(str(tmp_path / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": False, "bos_token": "<|endoftext|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(about))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert load_tokenizer(tmp_path, {}).encode(TEXTS) == theirs(TEXTS)["input_ids"]
