"""SentencePiece tokenizers, held against transformers on small models trained here."""

from __future__ import annotations

import json
import random

import pytest

from formers.errors import CheckpointError, PackageError
from formers.text.open import load_tokenizer

transformers = pytest.importorskip("transformers")
sentencepiece = pytest.importorskip("sentencepiece")

VOCABULARY = (
    "I ate an apple you eat the pear we see a house green small tree reads book walks dog cat under table "
    "friend never always today yesterday 12 345 Äpfel groß über ein Haus"
)
TEXTS = ["I ate an apple.", "  two  spaces ", "Zürich 12", "", "ﬁne ½", "tab\tnew\nline", "Ich über - groß!", "漢字 ok"]


def lines():
    chance = random.Random(0)
    lengths = [chance.randint(3, 9) for _ in range(400)]
    words = VOCABULARY.split()
    return [" ".join(chance.choices(words, k=length)) + chance.choice(".?!") for length in lengths]


def train(prefix, texts, **options):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(prefix),
        vocab_size=120,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return [line.split("\t")[0] for line in prefix.with_suffix(".vocab").read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    folder = tmp_path_factory.mktemp("t5")
    train(folder / "spiece", lines(), pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    return folder


@pytest.fixture(scope="module", params=[False, True], ids=["one-vocabulary", "separate"])
def marian(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("marian")
    source = train(folder / "source", lines()[:200], model_type="bpe")
    sides = [source, train(folder / "target", lines()[200:])]
    for name in ("source", "target"):
        (folder / f"{name}.model").rename(folder / f"{name}.spm")
    # as in published folders, some pieces of the models have no id and must become <unk>
    special = ["</s>", "<unk>", ">>deu<<"]
    vocabularies = [[*special, *side[3:-4], "<pad>"] for side in sides]
    if not request.param:
        vocabularies = [[*special, *sides[0][3:-4], *sides[1][3:-4], "<pad>"]]
    for name, pieces in zip(("vocab.json", "target_vocab.json"), vocabularies, strict=False):
        table = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
        (folder / name).write_text(json.dumps(table), "utf-8")
    about = {"source_lang": "en", "target_lang": "de", "separate_vocabs": request.param}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return folder


@pytest.mark.parametrize("text", [*TEXTS, "The <extra_id_0> walks in <extra_id_1> park", "<extra_id_3>"])
def test_t5_equals_the_reference(t5, text):
    ours, theirs = load_tokenizer(t5, {}), transformers.T5Tokenizer.from_pretrained(t5)
    [ids] = ours.encode([text])
    assert ids == theirs(text)["input_ids"]
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True).strip()
    assert ours.pieces(ids) == theirs.convert_ids_to_tokens(ids)


def test_t5_special_ids(t5):
    tokenizer = load_tokenizer(t5, {"decoder_start_token_id": 0})
    assert (tokenizer.pad, tokenizer.eos, tokenizer.unk, tokenizer.bos, tokenizer.start) == (0, 1, 2, None, 0)
    assert tokenizer.pieces([tokenizer.vocab - 1, tokenizer.vocab - 100, tokenizer.vocab]) == [
        "<extra_id_0>",
        "<extra_id_99>",
        f"<{tokenizer.vocab}>",
    ]


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
@pytest.mark.parametrize("text", [*TEXTS, ">>deu<< I ate", "we >>deu<< see"])
def test_marian_equals_the_reference(marian, text):
    ours, theirs = load_tokenizer(marian, {}), reference_marian(marian)
    [ids], [target] = ours.encode([text]), ours.encode_target([text])
    assert ids == theirs(text)["input_ids"]
    assert target == theirs(text_target=text)["input_ids"]
    assert ours.decode(target) == theirs.decode(target, skip_special_tokens=True)
    assert ours.start == ours.pad == theirs.pad_token_id and ours.eos == 0 and ours.unk == 1


def reference_marian(folder):
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    separate = {"target_vocab_file": str(folder / "target_vocab.json")} if settings["separate_vocabs"] else {}
    return transformers.MarianTokenizer(
        str(folder / "source.spm"),
        str(folder / "target.spm"),
        str(folder / "vocab.json"),
        separate_vocabs=settings["separate_vocabs"],
        **separate,
    )


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
def test_saved_files_load_again_here_and_there(t5, marian, tmp_path):
    for folder, kind in ((t5, "T5Tokenizer"), (marian, "MarianTokenizer")):
        out = tmp_path / kind
        out.mkdir()
        tokenizer = load_tokenizer(folder, {})
        tokenizer.save(out)
        again = load_tokenizer(out, {})
        assert again.files() == tokenizer.files()
        assert again.encode(TEXTS) == tokenizer.encode(TEXTS)
        theirs = transformers.AutoTokenizer.from_pretrained(out)
        assert [theirs(text)["input_ids"] for text in TEXTS] == tokenizer.encode(TEXTS)


def test_unknown_share(t5):
    tokenizer = load_tokenizer(t5, {})
    assert tokenizer.unknown_share(["I ate an apple."]) == 0.0
    assert tokenizer.unknown_share(["漢"]) == pytest.approx(0.5)  # "▁" and one unknown
    assert tokenizer.unknown_share([]) == 0.0


def test_faults_are_told(t5, marian, tmp_path, monkeypatch):
    (tmp_path / "spiece.model").write_bytes(b"not a model")
    with pytest.raises(CheckpointError, match=r"spiece\.model is not a SentencePiece model"):
        load_tokenizer(tmp_path, {})
    pieces = (t5 / "spiece.model").read_bytes()
    (tmp_path / "spiece.model").write_bytes(pieces.replace("▁the".encode(), "▁the".encode()[:-1] + b"\x96"))
    with pytest.raises(CheckpointError, match=r"spiece\.model holds a piece that is no UTF-8"):
        load_tokenizer(tmp_path, {})
    (tmp_path / "spiece.model").unlink()
    for name in ("source.spm", "target.spm"):
        (tmp_path / name).write_bytes((marian / name).read_bytes())
    (tmp_path / "vocab.json").write_text('{"</s>": 0, "<unk>": 1}')
    with pytest.raises(CheckpointError, match="lacks the pieces <pad>"):
        load_tokenizer(tmp_path, {})
    monkeypatch.setitem(__import__("sys").modules, "sentencepiece", None)
    with pytest.raises(PackageError, match=r"pip install \"formers\[sentencepiece\]\""):
        load_tokenizer(t5, {})
