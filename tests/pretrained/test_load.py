"""Loading and saving whole folders of our own, and what is refused."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from formers.blocks.position import sinusoids
from formers.blocks.stack import StackConfig
from formers.errors import CheckpointError
from formers.models.encoder import Encoder, EncoderConfig
from formers.models.heads import HEADS, HeadConfig
from formers.models.transformer import Transformer, TransformerConfig
from formers.pretrained import files
from formers.pretrained.load import load_model, model_class, save_model
from formers.text.open import train_bpe

STACK = StackConfig(dim=16, layers=2, heads=2, hidden=24, activation="relu", norm_first=False, dropout=0.1)
MARIAN = TransformerConfig(
    encoder=STACK,
    decoder=STACK,
    vocab=40,
    length=32,
    positions="split_sinusoidal",
    scale_embedding=True,
    logit_bias=True,
)
NATIVE = dataclasses.replace(MARIAN, positions="rotary", logit_bias=False)
TOKENIZER = train_bpe(["ab ba abba", "aa bb abab"] * 4, 20)


def model_of(config):
    model = Transformer(config).eval()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(torch.randn_like(tensor))
    return model


def change(folder, name, edit):
    table = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(edit(table)))


def change_weights(folder, edit):
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def same(first, second):
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("config", "model_type"), [(MARIAN, "marian"), (NATIVE, "formers-transformer")])
def test_a_model_comes_back(config, model_type, tmp_path):
    model = model_of(config)
    folder = save_model(tmp_path / "m", model, tokenizer=TOKENIZER, extra={"training.json": b"{}"})
    loaded = load_model(folder)
    assert loaded.family == model_type and loaded.model.config == config and not loaded.model.training
    assert same(loaded.model, model) and loaded.prefix == ""
    assert loaded.tokenizer.encode(["abba"]) == TOKENIZER.encode(["abba"]) and loaded.tokenizer.start == 2
    ids = {"pad_token_id": 2, "eos_token_id": 0, "decoder_start_token_id": 2}
    assert ids.items() <= loaded.generation.items()
    assert json.loads((folder / "config.json").read_text())["decoder_start_token_id"] == 2
    assert (folder / "training.json").read_bytes() == b"{}"
    tokens = torch.tensor([[3, 4, 5]])
    assert torch.equal(loaded.model(tokens, tokens), model(tokens, tokens))


def test_the_reference_opens_a_folder_with_a_tokenizer(tmp_path):
    transformers = pytest.importorskip("transformers")
    model = model_of(MARIAN)
    save_model(tmp_path, model, tokenizer=TOKENIZER, generation={"num_beams": 3, "max_length": 9})
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    batch = tokenizer(["abba", "ab"], padding=True, return_tensors="pt")
    assert batch["input_ids"][0].tolist() == TOKENIZER.encode(["abba"])[0]
    target = torch.tensor([[2, 4, 5], [2, 6, 7]])
    with torch.no_grad():
        ours = model(batch["input_ids"], target, source_keep=batch["attention_mask"].bool())
        expected = theirs(**batch, decoder_input_ids=target).logits
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
    assert theirs.generation_config.num_beams == 3 and theirs.generation_config.pad_token_id == 2
    assert theirs.generate(**batch).shape[0] == 2


def test_generation_defaults_survive(tmp_path):
    given = {"num_beams": 5, "decoder_start_token_id": 7, "pad_token_id": 7, "eos_token_id": 0}
    save_model(tmp_path / "a", model_of(MARIAN), generation=given)
    loaded = load_model(tmp_path / "a")
    assert loaded.generation.items() >= given.items() and loaded.tokenizer is None
    save_model(tmp_path / "b", loaded.model, generation=loaded.generation)
    assert load_model(tmp_path / "b").generation == loaded.generation


def test_dtype_of_the_file_and_of_the_model(tmp_path):
    model = model_of(MARIAN).to(torch.bfloat16)
    save_model(tmp_path, model)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    assert {each.dtype for each in load_model(tmp_path).model.state_dict().values()} == {torch.float32}
    assert same(load_model(tmp_path, dtype=torch.bfloat16, device="cpu").model, model)


def test_loaded_models_can_be_trained(tmp_path):
    save_model(tmp_path, model_of(MARIAN))
    model = load_model(tmp_path).model.train()
    tokens = torch.tensor([[3, 4, 5]])
    model(tokens, tokens).sum().backward()
    assert all(each.requires_grad and each.grad is not None for each in model.parameters())


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("extra", torch.zeros(1), r"not known to this model \(1\): \+ extra"),
        ("encoder.layers.0.fc1.bias", None, r"missing \(1\): - model\.encoder\.layers\.0\.fc1\.bias"),
        ("decoder.layers.1.fc2.bias", torch.zeros(3), r"wrong shape \(1\): .*fc2\.bias \(3,\) for .* \(16,\)"),
        ("encoder.layers.5.fc1.bias", torch.zeros(24), r"not known to this model \(1\)"),
        ("encoder.embed_tokens.weight", torch.zeros(40, 16), r"tied but different \(1\)"),
        ("encoder.embed_positions.weight", torch.zeros(32, 16), "computed differently"),
        ("decoder.embed_positions.weight", sinusoids(32, 16), "computed differently"),
    ],
    ids=["extra", "missing", "shape", "extra-layer", "tie", "positions", "interleaved-positions"],
)
def test_weights_that_do_not_fit(name, tensor, message, tmp_path):
    save_model(tmp_path, model_of(MARIAN))
    name = name if name == "extra" else f"model.{name}"
    change_weights(tmp_path, lambda t: t.pop(name) if tensor is None else t.update({name: tensor}))
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path)


def test_what_published_files_may_carry_or_lack(tmp_path):
    model = model_of(MARIAN)
    model.logit_bias.zero_()
    save_model(tmp_path, model)

    def edit(tensors):
        del tensors["final_logits_bias"]
        tensors["model.encoder.embed_positions.weight"] = sinusoids(32, 16, split=True)
        tensors["model.decoder.embed_positions.weight"] = sinusoids(32, 16, split=True).half()
        tensors["lm_head.weight"] = tensors["model.shared.weight"].clone()

    change_weights(tmp_path, edit)
    assert same(load_model(tmp_path).model, model)


def test_weights_without_the_outer_module(tmp_path):
    model = model_of(MARIAN)
    model.logit_bias.zero_()
    save_model(tmp_path, model)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["final_logits_bias"]
    inner = {name.removeprefix("model."): each for name, each in tensors.items()}
    save_file(inner, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path)
    assert same(loaded.model, model) and loaded.prefix == "+model."


def test_config_faults(tmp_path):
    save_model(tmp_path, model_of(MARIAN))
    change(tmp_path, "config.json", lambda raw: raw | {"encoder_layer": 3})
    with pytest.raises(CheckpointError, match=r"unknown key 'encoder_layer' .*did you mean \"encoder_layers\""):
        load_model(tmp_path)
    change(tmp_path, "config.json", lambda raw: {"vocab_size": 3})
    with pytest.raises(CheckpointError, match="has no model_type"):
        load_model(tmp_path)
    change(tmp_path, "config.json", lambda raw: {"model_type": "mamba"})
    with pytest.raises(CheckpointError, match="model_type 'mamba' is not supported"):
        load_model(tmp_path)


def test_a_vocabulary_that_is_too_large(tmp_path):
    config = dataclasses.replace(MARIAN, vocab=5)
    ids = TOKENIZER.vocab
    with pytest.raises(CheckpointError, match=f"the tokenizer has {ids} ids, the model 5"):
        save_model(tmp_path / "a", model_of(config), tokenizer=TOKENIZER)
    save_model(tmp_path / "b", model_of(config))
    TOKENIZER.save(tmp_path / "b")
    with pytest.raises(CheckpointError, match=f"the tokenizer has {ids} ids, the model 5"):
        load_model(tmp_path / "b")


def test_a_demanded_family_is_a_demand(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be written as t5"):
        save_model(tmp_path / "a", model_of(MARIAN), family="t5")
    save_model(tmp_path / "b", model_of(MARIAN), family="formers-transformer")
    assert load_model(tmp_path / "b").family == "formers-transformer"


def test_loading_rolls_no_dice_and_leaves_them_alone(tmp_path):
    model = model_of(MARIAN)
    save_model(tmp_path, model)
    before = torch.get_rng_state()
    assert same(load_model(tmp_path).model, model)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_in_shards(tmp_path):
    model = model_of(MARIAN)
    save_model(tmp_path / "m", model, shard_bytes=4000)
    assert not (tmp_path / "m" / "model.safetensors").exists()
    assert len(list((tmp_path / "m").glob("model-*-of-*.safetensors"))) > 3
    assert same(load_model(tmp_path / "m").model, model)
    save_model(tmp_path / "m", model)
    assert [each.name for each in (tmp_path / "m").glob("*.safetensors*")] == ["model.safetensors"]


def test_the_reference_opens_shards(tmp_path):
    transformers = pytest.importorskip("transformers")
    model = model_of(MARIAN)
    save_model(tmp_path, model, shard_bytes=4000, generation={"pad_token_id": 2, "eos_token_id": 0})
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert torch.equal(theirs.model.shared.weight, model.embedding.weight)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("config", [MARIAN, NATIVE], ids=["marian", "native"])
def test_weights_that_are_no_numbers(config, value, tmp_path):
    save_model(tmp_path, model_of(config))
    name = next(name for name in load_file(tmp_path / "model.safetensors") if "norm" in name)
    change_weights(tmp_path, lambda tensors: tensors[name].__setitem__(3, value))
    with pytest.raises(CheckpointError, match=rf"NaN or infinity inside.* \(1\): {name}") as told:
        load_model(tmp_path)
    assert "\n" not in str(told.value)


def test_large_numbers_whose_sum_is_infinite_are_numbers(tmp_path):
    model = model_of(MARIAN)
    with torch.no_grad():
        model.embedding.weight.fill_(3e38)
    save_model(tmp_path, model)
    assert same(load_model(tmp_path).model, model)


@pytest.mark.parametrize("head", [None, *HEADS], ids=lambda head: "body" if head is None else head.__name__)
@pytest.mark.parametrize("family", [None, "formers-encoder"])
def test_the_class_of_a_model_is_told_without_reading_its_weights(head, family, tmp_path, monkeypatch):
    encoder = EncoderConfig(stack=dataclasses.replace(STACK, activation="gelu"), vocab=20, length=16)
    model = (Encoder(encoder) if head is None else head(HeadConfig(encoder=encoder, labels=("a", "b")))).eval()
    save_model(tmp_path / "m", model, family=family, shard_bytes=10**4)
    save_model(tmp_path / "one", model, family=family)
    expected = type(load_model(tmp_path / "m").model)
    monkeypatch.setattr(files, "load_file", None)
    assert model_class(tmp_path / "m") is model_class(tmp_path / "one") is expected is type(model)


def test_a_config_may_name_a_head_that_the_weights_lack(tmp_path):
    encoder = EncoderConfig(stack=dataclasses.replace(STACK, activation="gelu"), vocab=20, length=16)
    save_model(tmp_path / "m", Encoder(encoder).eval(), family="bert")
    change(tmp_path / "m", "config.json", lambda raw: raw | {"architectures": ["BertForMaskedLM"]})
    assert model_class(tmp_path / "m") is Encoder is type(load_model(tmp_path / "m").model)
    (tmp_path / "m" / "model.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="is truncated or corrupted"):
        model_class(tmp_path / "m")


def test_a_checkpoint_names_its_system(tmp_path):
    folder = save_model(tmp_path / "m", model_of(MARIAN), system="translation")
    assert json.loads((folder / "formers.json").read_text()) == {"system": "translation"}
    assert load_model(folder).system == "translation"
    for text, message in (
        ('{"system": 3}', "system is 3, expected a text"),
        ("{}", "system is missing"),
        ('{"system": "a", "b": 1}', "b is not known"),
    ):
        (folder / "formers.json").write_text(text)
        with pytest.raises(CheckpointError, match=f"formers.json: {message}"):
            load_model(folder)
    save_model(folder, model_of(MARIAN))  # a save replaces all that an older one wrote
    assert load_model(folder).system is None and not (folder / "formers.json").exists()
