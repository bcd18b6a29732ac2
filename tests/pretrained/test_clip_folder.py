"""A whole folder, model and tokenizer: texts from words to vectors here and in the reference, padding and length."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from formers.blocks.stack import StackConfig
from formers.kernels.weight import packed
from formers.models.clip import CLIP, CLIPConfig, PictureTowerConfig, TextTowerConfig
from formers.models.vit import ViT, ViTConfig
from formers.pretrained.load import load_model, save_model
from formers.registry import in_integers
from formers.text.clip_tokenizer import END, byte_letters
from formers.text.open import load_tokenizer
from formers.text.reader import Reader

STACK = StackConfig(dim=16, layers=2, heads=4, hidden=24, activation="gelu_quick")
PICTURE = torch.linspace(-1, 1, 192).view(1, 3, 8, 8)
TEXTS = ["A cat", "a red, red apple & 12 pears upon a table", ""]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """CLIP's rules over a vocabulary of bytes and two pairs."""
    folder, letters = tmp_path_factory.mktemp("words"), byte_letters()
    pieces = [*letters, *(letter + END for letter in letters), "re", f"red{END}", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text(f"#version: 0.2\nr e\nre d{END}\n")
    return load_tokenizer(folder, {"model_type": "clip"})


def config_of(tokenizer, **text):
    body = ViTConfig(stack=STACK, height=8, width=8, patch=4, patch_bias=False, norm_input=True)
    words = TextTowerConfig(stack=STACK, vocab=tokenizer.vocab, length=20, end=tokenizer.eos, projection=16)
    return CLIPConfig(picture=PictureTowerConfig(body=body, projection=16), text=replace(words, **text))


def siglip(config):
    body = replace(config.picture.body, class_tokens=0, norm_input=False, patch_bias=True, pooler="attention")
    text = replace(config.text, causal=False, end=None, pad=1, projection_bias=True)
    return CLIPConfig(picture=PictureTowerConfig(body=body, projection=0), text=text, bias=True)


def random_model(config):
    model = CLIP(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model


def vectors(loaded, texts):
    reader = Reader(loaded.tokenizer, loaded.model.config.text.length, segments=1)
    inputs = reader.batch(reader.read(texts))
    with torch.no_grad():
        return loaded.model.encode_text(inputs.tokens, inputs.keep)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_from_words_to_vectors_as_in_the_reference(kind, tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = config_of(tokenizer) if kind == "clip" else siglip(config_of(tokenizer))
    save_model(tmp_path, random_model(config), tokenizer=tokenizer)
    loaded = load_model(tmp_path)
    assert loaded.family == kind
    theirs = transformers.AutoModel.from_pretrained(tmp_path).eval()
    words = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert words.model_max_length == 20
    inputs = words(TEXTS, padding="max_length", truncation=True, return_tensors="pt")
    with torch.no_grad():
        out = theirs(**(inputs if kind == "clip" else {"input_ids": inputs["input_ids"]}), pixel_values=PICTURE)
    torch.testing.assert_close(vectors(loaded, TEXTS), out.text_embeds, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(vectors(loaded, TEXTS[:1]), out.text_embeds[:1], atol=1e-5, rtol=1e-4)


def test_the_padding_of_siglip_is_its_tokenizers(tokenizer, tmp_path):
    save_model(tmp_path, random_model(siglip(config_of(tokenizer))), tokenizer=tokenizer)
    loaded = load_model(tmp_path)
    assert loaded.model.config.text.pad == loaded.model.text.config.pad == tokenizer.pad != 1
    save_model(tmp_path / "again", loaded.model)
    assert json.loads((tmp_path / "again" / "config.json").read_text())["text_config"]["pad_token_id"] == tokenizer.pad


def test_a_tower_of_pictures_may_lie_beside_a_tokenizer(tokenizer, tmp_path):
    save_model(tmp_path, ViT(config_of(tokenizer).picture.body), family="clip_vision_model")
    tokenizer.save(tmp_path)
    assert type(load_model(tmp_path).model) is ViT


@pytest.mark.parametrize("kind", ["clip", "siglip"])
@torch.no_grad()
def test_int8_and_packed_weights_of_a_folder(kind, tokenizer, tmp_path):
    config = config_of(tokenizer) if kind == "clip" else siglip(config_of(tokenizer))
    save_model(tmp_path, random_model(config), tokenizer=tokenizer)
    loaded = load_model(tmp_path)
    pictures, texts = loaded.model.encode_picture(PICTURE), vectors(loaded, TEXTS)
    with packed(loaded.model):
        torch.testing.assert_close(loaded.model.encode_picture(PICTURE), pictures, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(vectors(loaded, TEXTS), texts, atol=1e-5, rtol=1e-4)
    in_integers(loaded.model, 0)
    assert (loaded.model.encode_picture(PICTURE) * pictures).sum(-1).min() > 0.99
    assert (vectors(loaded, TEXTS) * texts).sum(-1).min() > 0.99
