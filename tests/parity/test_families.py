"""Parity: a reference with every parameter random -> our load -> equal logits -> our save -> it loads."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from formers.errors import CheckpointError
from formers.models.encoder import Encoder
from formers.models.transformer import Transformer
from formers.pretrained.families import family
from formers.pretrained.load import load_model, model_class, save_model

transformers = pytest.importorskip("transformers")

SEQ2SEQ = {
    "vocab_size": 37,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 24,
    "pad_token_id": 1,
    "eos_token_id": 0,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": 0,
}
SEPARATE = {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 29}
T5 = {
    "vocab_size": 37,
    "d_model": 16,
    "d_kv": 6,
    "d_ff": 24,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 10,
}
V11 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}

CASES = {
    "marian": ("Marian", SEQ2SEQ | {"scale_embedding": True, "activation_function": "swish"}),
    "marian-gelu-unscaled": ("Marian", SEQ2SEQ | {"activation_function": "gelu"}),
    "marian-shared-own-head": ("Marian", SEQ2SEQ | {"tie_word_embeddings": False}),
    "marian-separate": ("Marian", SEQ2SEQ | SEPARATE | {"activation_function": "relu"}),
    "marian-separate-own-head": ("Marian", SEQ2SEQ | SEPARATE | {"tie_word_embeddings": False}),
    "bart": ("Bart", SEQ2SEQ | {"activation_function": "gelu"}),
    "bart-scaled": ("Bart", SEQ2SEQ | {"activation_function": "gelu_new", "scale_embedding": True}),
    "bart-own-head": ("Bart", SEQ2SEQ | {"tie_word_embeddings": False}),
    "t5": ("T5", T5),
    "t5-v1.1-tied": ("T5", T5 | V11),
    "t5-v1.1-published": ("T5", T5 | V11),
    "mbart": ("MBart", SEQ2SEQ | {"activation_function": "gelu", "scale_embedding": True}),
    "mbart-relu": ("MBart", SEQ2SEQ | {"activation_function": "relu"}),
    "mbart-own-head": ("MBart", SEQ2SEQ | {"tie_word_embeddings": False}),
    "m2m": ("M2M100", SEQ2SEQ),
    "m2m-unscaled": ("M2M100", SEQ2SEQ | {"scale_embedding": False, "activation_function": "gelu"}),
    "m2m-odd": ("M2M100", SEQ2SEQ | {"d_model": 14, "encoder_attention_heads": 2}),
    "mt5": ("MT5", T5),
    "mt5-published": ("MT5", T5 | V11),
    "mt5-relu": ("MT5", T5 | {"feed_forward_proj": "relu"}),
    "t5-gated-silu": ("T5", T5 | {"feed_forward_proj": "gated-silu"}),
}
CLASSES = {"Marian": "MarianMTModel"}
TYPES = {"M2M100": "m2m_100"}


def reference(case):
    kind, sizes = CASES[case]
    config = getattr(transformers, f"{kind}Config")(**sizes)
    model = randomise(getattr(transformers, CLASSES.get(kind, f"{kind}ForConditionalGeneration"))(config))
    if case.endswith("-own-head") and "separate" not in case:  # one embedding beside a head of its own
        with torch.no_grad():
            for side in (model.model.encoder, model.model.decoder):
                side.embed_tokens.weight.copy_(model.model.shared.weight)
    return model


def randomise(model):
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if "embed_positions" in name and not tensor.requires_grad:
                continue  # a fixed table
            if tensor.is_floating_point():
                centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3 + centre)
    return model.eval()


def save_reference(model, folder, case):
    model.save_pretrained(folder)
    if case in (
        "t5-v1.1-published",
        "mt5-published",
    ):  # as published in 2020: a head of its own, and the config says so
        path = folder / "model.safetensors"
        tensors = load_file(path)
        tensors["lm_head.weight"] = torch.randn(37, 16, generator=torch.Generator().manual_seed(3)) * 0.3
        save_file(tensors, path, {"format": "pt"})
        config = json.loads((folder / "config.json").read_text())
        config.pop("scale_decoder_outputs", None)
        (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))


def inputs(padding, target_vocab):
    generator = torch.Generator().manual_seed(1)
    source = torch.randint(2, 37, (3, 13), generator=generator)
    target = torch.randint(2, target_vocab, (3, 7), generator=generator)
    lengths, target_lengths = torch.tensor([13, 5, 1]), torch.tensor([7, 3, 1])
    source_keep = torch.arange(13)[None] < lengths[:, None]
    target_keep = torch.arange(7)[None] < target_lengths[:, None]
    if padding == "left":
        source_keep = source_keep.flip(1)
    return source, target, source_keep, target_keep


def theirs(model, source, target, source_keep, target_keep):
    with torch.no_grad():
        return model(
            input_ids=torch.where(source_keep, source, 1),  # M2M-100 counts positions over what is not padding
            attention_mask=source_keep.long(),
            decoder_input_ids=target,
            decoder_attention_mask=target_keep.long(),
            use_cache=False,
        ).logits


@pytest.mark.parametrize("case", CASES)
def test_logits_equal_the_reference_both_ways(case, tmp_path):
    original = reference(case)
    save_reference(original, tmp_path / "theirs", case)
    kind = type(original)
    original = kind.from_pretrained(tmp_path / "theirs").eval()
    loaded = load_model(tmp_path / "theirs")
    save_model(
        tmp_path / "ours",
        loaded.model,
        generation={"pad_token_id": 1, "eos_token_id": 0, "decoder_start_token_id": 1},
        family=loaded.family,
    )
    again, info = kind.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    automatic = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "ours")
    assert type(automatic) is kind and automatic.generation_config.decoder_start_token_id == 1
    assert load_model(tmp_path / "ours").model.config == loaded.model.config
    for padding in ("right", "left"):
        target_vocab = CASES[case][1].get("decoder_vocab_size", 37)
        source, target, source_keep, target_keep = inputs(padding, target_vocab)
        with torch.no_grad():
            mine = loaded.model(source, target, source_keep=source_keep, target_keep=target_keep)
        for model in (original, again.eval()):
            expected = theirs(model, source, target, source_keep, target_keep)
            assert expected.std() > 0.1
            torch.testing.assert_close(mine[target_keep], expected[target_keep], atol=1e-4, rtol=1e-4)


def test_every_family_saves_as_itself(tmp_path):
    for case, (kind, _) in CASES.items():
        save_reference(reference(case), tmp_path / case, case)
        loaded = load_model(tmp_path / case)
        save_model(tmp_path / f"{case}-out", loaded.model)
        config = json.loads((tmp_path / f"{case}-out" / "config.json").read_text())
        assert loaded.family == TYPES.get(kind, kind.lower())
        assert config["model_type"] == loaded.family


ENCODERS = {
    "t5": ("T5", T5),
    "t5-gated": ("T5", T5 | V11),
    "mt5": ("MT5", T5),
    "mt5-relu": ("MT5", T5 | {"feed_forward_proj": "relu"}),
}


def encoder_reference(case):
    kind, sizes = ENCODERS[case]
    model = getattr(transformers, f"{kind}EncoderModel")(getattr(transformers, f"{kind}Config")(**sizes))
    return randomise(model)


def hidden(model, source, keep):
    with torch.no_grad():
        return model(input_ids=source, attention_mask=keep.long()).last_hidden_state


@pytest.mark.parametrize("case", ENCODERS)
def test_an_encoder_alone_both_ways(case, tmp_path):
    kind, _ = ENCODERS[case]
    original = encoder_reference(case)
    original.save_pretrained(tmp_path / "theirs")
    loaded = load_model(tmp_path / "theirs")
    assert type(loaded.model) is Encoder and loaded.family == kind.lower()
    save_model(tmp_path / "ours", loaded.model, family=loaded.family)
    again, info = type(original).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert load_model(tmp_path / "ours").model.config == loaded.model.config
    for padding in ("right", "left"):
        source, _, keep, _ = inputs(padding, 37)
        with torch.no_grad():
            mine = loaded.model(source, keep=keep)
        for model in (original, again.eval()):
            expected = hidden(model, source, keep)
            assert expected.std() > 0.1
            torch.testing.assert_close(mine[keep], expected[keep], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("case", ["t5-v1.1-published", "mt5-published"])
def test_the_encoder_of_a_whole_model(case, tmp_path):
    """Asked for by its class, or by a folder of sentence vectors; without a class the decoder is not lost."""
    save_reference(reference(case), tmp_path, case)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    del config["architectures"]
    path.write_text(json.dumps(config))
    assert model_class(tmp_path) is Transformer and type(load_model(tmp_path).model) is Transformer
    kind = CASES[case][0]
    path.write_text(json.dumps(config | {"architectures": [f"{kind}EncoderModel"]}))
    loaded = load_model(tmp_path).model
    assert model_class(tmp_path) is Encoder and type(loaded) is Encoder
    source, _, keep, _ = inputs("right", 37)
    original = getattr(transformers, f"{kind}EncoderModel").from_pretrained(tmp_path).eval()
    torch.testing.assert_close(loaded(source, keep=keep)[keep], hidden(original, source, keep)[keep], atol=1e-4, rtol=0)


def test_positions_of_fairseq_that_were_stored(tmp_path):
    """Files of 2020 hold the table; another one is refused, and another padding moves the positions."""
    original = reference("m2m")
    original.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    table = original.model.encoder.embed_positions.weights.clone()
    for factor in (1.0, 1.1):
        stored = {f"model.{side}.embed_positions.weights": table.clone() * factor for side in ("encoder", "decoder")}
        save_file({**tensors, **stored}, tmp_path / "model.safetensors", {"format": "pt"})
        if factor == 1.0:
            assert load_model(tmp_path).model.config.position_offset == 2
            continue
        with pytest.raises(CheckpointError, match="stored but computed differently here"):
            load_model(tmp_path)


@pytest.mark.parametrize("padding", [-1, 37])
def test_positions_behind_a_padding_that_is_no_token(padding):
    raw = {"model_type": "m2m_100", **SEQ2SEQ, "pad_token_id": padding}
    with pytest.raises(CheckpointError, match=f"pad_token_id is {padding}, expected one of the 37 tokens"):
        family("m2m_100").config.to_ours(raw, {})
