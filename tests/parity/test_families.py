"""Parity: a reference with every parameter random -> our load -> equal logits -> our save -> it loads."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from formers.pretrained.load import load_model, save_model

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
    "t5-gated-silu": ("T5", T5 | {"feed_forward_proj": "gated-silu"}),
}
CLASSES = {"Marian": "MarianMTModel", "Bart": "BartForConditionalGeneration", "T5": "T5ForConditionalGeneration"}


def reference(case):
    kind, sizes = CASES[case]
    config = getattr(transformers, f"{kind}Config")(**sizes)
    model = randomise(getattr(transformers, CLASSES[kind])(config))
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
                continue  # Marian's fixed table
            if tensor.is_floating_point():
                centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3 + centre)
    return model.eval()


def save_reference(model, folder, case):
    model.save_pretrained(folder)
    if case == "t5-v1.1-published":  # as published in 2020: a head of its own, and the config says so
        path = folder / "model.safetensors"
        tensors = load_file(path)
        tensors["lm_head.weight"] = torch.randn(37, 16, generator=torch.Generator().manual_seed(3)) * 0.3
        save_file(tensors, path, {"format": "pt"})
        config = json.loads((folder / "config.json").read_text())
        del config["scale_decoder_outputs"]
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
            input_ids=source,
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
        tmp_path / "ours", loaded.model, generation={"pad_token_id": 1, "eos_token_id": 0, "decoder_start_token_id": 1}
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
        assert config["model_type"] == kind.lower()
