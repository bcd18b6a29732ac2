"""The encoder of T5 as what makes sentence vectors: folders of transformers and sentence-transformers, commands."""

import json

import numpy as np
import pytest
import torch

import formers
from formers.data.batching import pad
from formers.models.encoder import Encoder
from formers.text.open import load_tokenizer, train_bpe
from formers.text.reader import Reader
from tests.cli.conftest import works
from tests.systems.classification.toy import TEXTS

transformers = pytest.importorskip("transformers")
SIZES = {"d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 2, "num_heads": 4, "relative_attention_num_buckets": 8}


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(TEXTS, 300)


def saved(folder, tokenizer, name="T5EncoderModel"):
    torch.manual_seed(5)
    kind = getattr(transformers, name)
    model = kind(transformers.T5Config(**SIZES, vocab_size=tokenizer.vocab, pad_token_id=2, decoder_start_token_id=2))
    with torch.no_grad():
        for each, weight in model.named_parameters():
            weight.normal_(float("norm" in each), 0.4)
    model.save_pretrained(folder)
    tokenizer.save(folder)
    return model.eval()


def means(model, tokenizer):
    tokens, keep = pad(tokenizer.encode(TEXTS[:6]), tokenizer.pad)
    with torch.no_grad():
        x = model(input_ids=tokens, attention_mask=keep.long()).last_hidden_state
    return ((x * keep[..., None]).sum(1) / keep.sum(1, keepdim=True)).numpy()


def test_a_folder_of_the_encoder(tokenizer, tmp_path):
    model = saved(tmp_path / "model", tokenizer)
    vectors = formers.load(tmp_path / "model", system="embedding")
    np.testing.assert_allclose(vectors.encode(TEXTS[:6]), means(model, tokenizer), atol=1e-5)
    vectors.save(tmp_path / "ours")
    again = formers.load(tmp_path / "ours", system="embedding")
    np.testing.assert_array_equal(again.encode(TEXTS[:6]), vectors.encode(TEXTS[:6]))
    theirs = transformers.T5EncoderModel.from_pretrained(tmp_path / "ours").eval()
    np.testing.assert_allclose(vectors.encode(TEXTS[:6]), means(theirs, tokenizer), atol=1e-5)
    float(works("similarity", tmp_path / "model", TEXTS[0], TEXTS[1]).split()[0])
    works("inspect", tmp_path / "model", "positions", "--out", tmp_path / "positions.png")
    works("inspect", tmp_path / "model", "attention", TEXTS[0], "--out", tmp_path / "attention.png")


def test_a_folder_with_spiece_model_alone(tmp_path):
    """The rules that encoders read with give the tokens that SentencePiece gives; where a text is cut, too."""
    sentencepiece = pytest.importorskip("sentencepiece")
    specials = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    options = {"vocab_size": 120, "hard_vocab_limit": False, "minloglevel": 2}
    place = tmp_path / "model"
    place.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_prefix=str(place / "spiece"), **specials, **options
    )
    tokenizer = load_tokenizer(place, {})
    model = saved(place, tokenizer)
    texts = [
        *TEXTS[:5],
        "",
        "  two  spaces ",
        "a<extra_id_3> b",
        "Stra\u00dfe \u4e2d \ufb01 </s> <unk>",
        "x " * 9,
        "\u00c5\t1,2",
    ]
    encodings = Reader(tokenizer, 400, segments=1).read(texts)
    assert [each.ids for each in encodings] == tokenizer.encode(texts)
    assert encodings[0].offsets[-2][1] == len(TEXTS[0])
    vectors = formers.load(place, system="embedding")
    np.testing.assert_allclose(vectors.encode(TEXTS[:6]), means(model, tokenizer), atol=1e-5)
    vectors.save(tmp_path / "ours")
    again = formers.load(tmp_path / "ours", system="embedding")
    np.testing.assert_array_equal(again.encode(TEXTS[:6]), vectors.encode(TEXTS[:6]))


def test_a_folder_of_sentence_vectors(tokenizer, tmp_path):
    """sentence-transformers asks for the encoder alone, whatever class config.json names."""
    model = saved(tmp_path, tokenizer)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": ["T5ForConditionalGeneration"]}))
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    modules = [
        {"idx": i, "name": str(i), "path": p, "type": f"sentence_transformers.models.{kind}"}
        for i, (p, kind) in enumerate(kinds)
    ]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    vectors = formers.load(tmp_path)
    expected = means(model, tokenizer)
    assert type(vectors.model) is Encoder
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors.encode(TEXTS[:6]), expected, atol=1e-5)
