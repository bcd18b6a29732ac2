"""Tokenizers of CLIP and SigLIP: golden ids of the real vocabulary, and odd texts held against the references."""

from __future__ import annotations

import json
import random

import pytest

from formers.errors import CheckpointError
from formers.text.clip_tokenizer import ORIGINAL
from formers.text.open import load_tokenizer
from formers.text.reader import Reader

GOLDEN = {
    "a photo of a cat": [49406, 320, 1125, 539, 320, 2368, 49407],
    "A Photo of 42 cats!": [49406, 320, 1125, 539, 275, 273, 3989, 256, 49407],
    "": [49406, 49407],
}
ODD = [
    "A  photo\tof\n a CAT ",
    "it's 2024: don't, we'll've!!",
    "Zürich ÉLÈVE e\u0301le\u0300ve İ ß",
    "漢字 日本 😀 dog😀cat",
    "½ ＡＢＣ ﬁne 12,345.67",
    "<|startoftext|> a <|endoftext|> b",
    "a\u00a0b\u3000c \x00 \u200b",
    "under_score-dash/slash \\ `~` {}",
    "x" * 90,
    "&amp; &lt;p&gt; &#39;",
    " ",
]


@pytest.fixture(scope="module")
def original(shared, tmp_path_factory):
    """A folder with the authors' own file of pairs."""
    source = shared / "assets" / "clip_bpe.txt.gz"
    if not source.exists():
        pytest.skip(f"{source} is not on this machine")
    folder = tmp_path_factory.mktemp("clip")
    (folder / ORIGINAL).write_bytes(source.read_bytes())
    return folder


@pytest.fixture(scope="module")
def filed(original, tmp_path_factory):
    """The same vocabulary as other libraries file it."""
    folder = tmp_path_factory.mktemp("filed")
    table = json.loads(load_tokenizer(original, {}).rules.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(table["vocab"]))
    merges = "\n".join(map(" ".join, table["merges"]))
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    return folder


def test_golden_ids_in_every_form(original, filed, tmp_path):
    first = load_tokenizer(original, {})
    first.save(tmp_path)
    for tokenizer in (first, load_tokenizer(filed, {"model_type": "clip"}), load_tokenizer(tmp_path, {})):
        assert tokenizer.encode(list(GOLDEN)) == list(GOLDEN.values())
        assert (tokenizer.bos, tokenizer.eos, tokenizer.pad, tokenizer.vocab) == (49406, 49407, 49407, 49408)
        assert tokenizer.decode(GOLDEN["A Photo of 42 cats!"]) == "a photo of 4 2 cats !"
        assert tokenizer.pieces([320, 1125]) == ["a", "photo"]


def test_odd_texts_are_read_as_the_reference_reads_them(filed, tmp_path):
    transformers = pytest.importorskip("transformers")
    vocab, merges = (filed / name for name in ("vocab.json", "merges.txt"))
    theirs = transformers.CLIPTokenizer(str(vocab), str(merges))
    ours = load_tokenizer(filed, {"model_type": "clip"})
    chance = random.Random(0)
    texts = [*ODD, *("".join(chance.choices("ab '’s.é漢1 \t!<&", k=20)) for _ in range(200))]
    assert ours.encode(texts) == theirs(texts)["input_ids"]
    theirs.save_pretrained(tmp_path / "theirs")
    saved = load_tokenizer(tmp_path / "theirs", {"model_type": "clip"})
    assert saved.encode(texts) == ours.encode(texts)
    assert saved.decode(saved.encode(["a cat's tail"])[0]) == ours.decode(ours.encode(["a cat's tail"])[0])
    ours.save(tmp_path)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert again(texts)["input_ids"] == ours.encode(texts)


def test_a_text_that_is_too_long_is_cut_and_keeps_its_end(original):
    reader = Reader(load_tokenizer(original, {}), 9, segments=1)
    inputs = reader.batch(reader.read(["a photo of a cat", "word " * 40]))
    assert inputs.segments is None and inputs.tokens.shape == (2, 9)
    assert inputs.tokens[:, -1].tolist() == [49407, 49407] and inputs.keep.sum(1).tolist() == [7, 9]


def test_open_clip_reads_marks_of_html_as_what_they_stand_for(original, tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / ORIGINAL).write_bytes((original / ORIGINAL).read_bytes())
    (tmp_path / "open" / "open_clip_config.json").write_text("{}")
    tokenizer = load_tokenizer(tmp_path / "open", {"model_type": "clip"})
    tokenizer.save(tmp_path)
    plain = load_tokenizer(original, {}).encode(["a cat & 'a dog'"])
    for ours in (tokenizer, load_tokenizer(tmp_path, {})):
        assert ours.encode(["A cat &amp;amp; &#39;a dog&#39;"]) == plain
        assert [each.ids for each in Reader(ours, 77, segments=1).read(["a cat &amp; &#x27;a dog'"])] == plain
    open_clip = pytest.importorskip("open_clip")
    theirs = open_clip.tokenizer.SimpleTokenizer(str(tmp_path / "open" / ORIGINAL))
    for text in (*GOLDEN, *(text for text in ODD if not any(part in text for part in ("<|", "ＡＢＣ", "\x00")))):
        expected = [id for id in theirs([text])[0].tolist() if id]
        assert tokenizer.encode([text])[0][: len(expected) - 1] == expected[:-1], text


def test_another_file_is_refused(tmp_path):
    (tmp_path / ORIGINAL).write_bytes(b"\x1f\x8b no")
    with pytest.raises(CheckpointError, match="is not CLIP's vocabulary"):
        load_tokenizer(tmp_path, {})


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    """A folder with a small SentencePiece model of the kind that SigLIP has."""
    sentencepiece = pytest.importorskip("sentencepiece")
    folder, chance = tmp_path_factory.mktemp("siglip"), random.Random(0)
    words = "a photo of the cat dog red apple on table house green tree zürich 12 3000 and with in black white".split()
    (folder / "lines").write_text("\n".join(" ".join(chance.choices(words, k=8)) for _ in range(400)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "lines"), model_prefix=str(folder / "spiece"), vocab_size=60, model_type="unigram",
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, pad_piece="<pad>", minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    return folder


def test_siglip_reads_small_letters_without_punctuation(siglip, tmp_path):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.SiglipTokenizer(str(siglip / "spiece.model"))
    ours = load_tokenizer(siglip, {"model_type": "siglip"})
    chance = random.Random(1)
    texts = ["A Photo, of the CAT!", "the  red -- apple", "", " ", "...", "12,3000", "Zürich's", "x-ray", "a\u3000b"]
    texts += ["".join(chance.choices("abcz Ü.,-'12 \t!", k=20)) for _ in range(200)]
    assert ours.encode(texts) == [theirs(text)["input_ids"] for text in texts]
    assert (ours.pad, ours.eos) == (1, 1)
    ours.save(tmp_path)
    assert load_tokenizer(tmp_path, {"model_type": "siglip"}).encode(texts) == ours.encode(texts)
