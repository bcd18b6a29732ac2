"""Config maps: published config.json files as they are, unknown keys, values that we do not compute."""

from __future__ import annotations

import dataclasses
import json

import pytest

from formers.blocks.position import Stretch
from formers.blocks.stack import StackConfig
from formers.errors import CheckpointError
from formers.models.causal import FORMS, CausalConfig, CausalLM
from formers.models.transformer import Transformer, TransformerConfig
from formers.pretrained.families import FAMILIES, families, family

GENERAL = {
    "architectures": ["X"],
    "transformers_version": "4.22.0",
    "torch_dtype": "float16",
    "use_cache": True,
    "is_encoder_decoder": True,
    "id2label": {"0": "LABEL_0"},
    "label2id": {"LABEL_0": 0},
    "num_beams": 4,
    "pad_token_id": 1,
    "eos_token_id": 0,
    "_name_or_path": "x",
    "max_length": 512,
}
# every key of the published files of these names, from the time when they were published
OPUS = GENERAL | {
    "model_type": "marian",
    "_num_labels": 3,
    "activation_dropout": 0.0,
    "activation_function": "swish",
    "add_bias_logits": False,
    "add_final_layer_norm": False,
    "attention_dropout": 0.0,
    "bad_words_ids": [[58100]],
    "bos_token_id": 0,
    "classif_dropout": 0.0,
    "classifier_dropout": 0.0,
    "d_model": 512,
    "decoder_attention_heads": 8,
    "decoder_ffn_dim": 2048,
    "decoder_layerdrop": 0.0,
    "decoder_layers": 6,
    "decoder_start_token_id": 58100,
    "decoder_vocab_size": 58101,
    "dropout": 0.1,
    "encoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
    "encoder_layerdrop": 0.0,
    "encoder_layers": 6,
    "extra_pos_embeddings": 58101,
    "force_bos_token_to_be_generated": False,
    "forced_eos_token_id": 0,
    "init_std": 0.02,
    "max_position_embeddings": 512,
    "normalize_before": False,
    "normalize_embedding": False,
    "num_hidden_layers": 6,
    "scale_embedding": True,
    "share_encoder_decoder_embeddings": True,
    "static_position_embeddings": True,
    "vocab_size": 58101,
    "gradient_checkpointing": False,
}
BART_CNN = GENERAL | {
    "model_type": "bart",
    "_num_labels": 3,
    "activation_dropout": 0.0,
    "activation_function": "gelu",
    "add_bias_logits": False,
    "add_final_layer_norm": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "classif_dropout": 0.0,
    "classifier_dropout": 0.0,
    "d_model": 1024,
    "decoder_attention_heads": 16,
    "decoder_ffn_dim": 4096,
    "decoder_layerdrop": 0.0,
    "decoder_layers": 12,
    "decoder_start_token_id": 2,
    "dropout": 0.1,
    "early_stopping": True,
    "encoder_attention_heads": 16,
    "encoder_ffn_dim": 4096,
    "encoder_layerdrop": 0.0,
    "encoder_layers": 12,
    "forced_bos_token_id": 0,
    "forced_eos_token_id": 2,
    "gradient_checkpointing": False,
    "init_std": 0.02,
    "length_penalty": 2.0,
    "max_position_embeddings": 1024,
    "min_length": 56,
    "no_repeat_ngram_size": 3,
    "normalize_before": False,
    "normalize_embedding": True,
    "num_hidden_layers": 12,
    "output_past": True,
    "prefix": " ",
    "replacing_rate": 0,
    "scale_embedding": False,
    "static_position_embeddings": False,
    "student_decoder_layers": None,
    "student_encoder_layers": None,
    "task_specific_params": {"summarization": {"num_beams": 4}},
    "vocab_size": 50264,
    "save_step": 12,
    "extra_pos_embeddings": 2,
}
T5_SMALL = GENERAL | {
    "model_type": "t5",
    "d_ff": 2048,
    "d_kv": 64,
    "d_model": 512,
    "decoder_start_token_id": 0,
    "dropout_rate": 0.1,
    "initializer_factor": 1.0,
    "layer_norm_epsilon": 1e-06,
    "n_positions": 512,
    "num_heads": 8,
    "num_layers": 6,
    "output_past": True,
    "relative_attention_num_buckets": 32,
    "task_specific_params": {"summarization": {"prefix": "summarize: "}},
    "vocab_size": 32128,
}
FLAN = T5_SMALL | {
    "d_ff": 1024,
    "num_layers": 8,
    "num_decoder_layers": 8,
    "num_heads": 6,
    "feed_forward_proj": "gated-gelu",
    "dense_act_fn": "gelu_new",
    "is_gated_act": True,
    "tie_word_embeddings": False,
    "relative_attention_max_distance": 128,
    "classifier_dropout": 0.0,
}


def config_of(raw, tensors=None):
    return family(raw["model_type"]).config.to_ours(raw, tensors or {})


def test_published_configs_are_read():
    opus, bart, t5, flan = map(config_of, (OPUS, BART_CNN, T5_SMALL, FLAN))
    assert opus.positions == "split_sinusoidal" and opus.scale_embedding and opus.tied
    assert opus.target_vocab is None
    assert (opus.encoder.dim, opus.encoder.layers, opus.decoder.hidden, opus.vocab) == (512, 6, 2048, 58101)
    assert opus.encoder.activation == "silu" and not opus.encoder.norm_first and opus.logit_bias
    assert (bart.position_offset, bart.embedding_norm, bart.length, bart.decoder.heads) == (2, True, 1024, 16)
    assert t5.head_scale == 512**-0.5 and t5.tied and t5.decoder.layers == 6
    assert t5.encoder.activation == "relu"
    assert flan.head_scale is None and flan.encoder.gated and flan.encoder.activation == "gelu_tanh"
    assert flan.encoder.head_dim == 64 and flan.encoder.scale == 1.0 and flan.encoder.bias == ""


@pytest.mark.parametrize("raw", [OPUS, BART_CNN, T5_SMALL, FLAN], ids=["opus", "bart", "t5", "flan"])
def test_configs_survive_the_way_back(raw):
    config = config_of(raw)
    fields = family(raw["model_type"]).config
    assert fields.to_ours(fields.to_theirs(config), {}) == config


@pytest.mark.parametrize(
    ("raw", "change", "message"),
    [
        (OPUS, {"normalize_before": True}, "normalize_before = true, but this family computes false only"),
        (OPUS, {"static_position_embeddings": False}, "static_position_embeddings = false"),
        (OPUS, {"activation_function": "mish"}, "activation_function = 'mish' is not computed here; known: gelu"),
        (OPUS, {"num_hidden_layers": 3}, "num_hidden_layers = 3, but encoder_layers = 6"),
        (OPUS, {"d_model": None}, "lacks d_model"),
        (OPUS, {"quantization_config": {"bits": 4}}, "quantization_config = .* is not computed here"),
        (OPUS, {"pruned_heads": {"0": [1]}}, "pruned_heads"),
        (BART_CNN, {"normalize_embedding": False}, "normalize_embedding = false"),
        (FLAN, {"dense_act_fn": "relu"}, 'dense_act_fn = "relu", but this family computes "gelu_new"'),
        (T5_SMALL, {"feed_forward_proj": "gated-mish"}, "feed_forward_proj = 'gated-mish' is not computed here"),
        (T5_SMALL, {"num_layers": None}, "lacks num_layers"),
    ],
)
def test_refusals(raw, change, message):
    with pytest.raises(CheckpointError, match=message):
        config_of(raw | change)


def test_empty_pruning_is_none():
    assert config_of(OPUS | {"pruned_heads": {}}) == config_of(OPUS)


def test_unknown_model_type():
    with pytest.raises(CheckpointError, match=r"'marain' is not supported; did you mean \"marian\""):
        family("marain")
    assert list(dict.fromkeys(each.model_type for each in families())) == list(FAMILIES)


def test_native_layout_is_for_what_nobody_else_can_say():
    stack = StackConfig(dim=8, layers=1, heads=2, hidden=16, activation="relu")
    config = TransformerConfig(encoder=stack, decoder=stack, vocab=11, positions="rotary", final_norm=True)
    native = family("formers-transformer")
    raw = json.loads(json.dumps(native.config.to_theirs(config)))
    assert native.config.to_ours(raw, {}) == config
    assert all(each.express(Transformer(config)) is None for each in families() if each is not native)
    with pytest.raises(CheckpointError, match=r'config\.vocabulary is not known; did you mean "vocab"'):
        native.config.to_ours({"config": raw["config"] | {"vocabulary": 3}}, {})
    with pytest.raises(CheckpointError, match="lacks 'config'"):
        native.config.to_ours({}, {})


def test_a_marian_shape_is_written_as_marian():
    stack = StackConfig(dim=8, layers=1, heads=2, hidden=16, activation="relu", norm_first=False)
    config = TransformerConfig(
        encoder=stack, decoder=stack, vocab=11, positions="split_sinusoidal", scale_embedding=True, logit_bias=True
    )
    found = [each.model_type for each in families() if each.express(Transformer(config)) is not None]
    assert found == ["marian", "formers-transformer"]
    uneven = dataclasses.replace(config, decoder=dataclasses.replace(stack, dropout=0.5))
    assert family("marian").express(Transformer(uneven)) is None


STACK = StackConfig(
    dim=8, layers=2, heads=2, hidden=32, norm="rms", activation="silu", gated=True, bias="", feed_forward_bias=False
)
UNTOLD = CausalConfig(
    stack=dataclasses.replace(STACK, bias="qk"),
    vocab=11,
    windows=(0, 3),
    length=64,
    rotary_stretch=Stretch(2.0, 32),
    local_rotary_base=500.0,
)


def test_a_native_language_model_keeps_its_parts():
    """A dataclass that may be absent, and tuples, which JSON has no word for."""
    native = family("formers-causal")
    for config in (UNTOLD, dataclasses.replace(UNTOLD, rotary_stretch=None, windows=())):
        raw = json.loads(json.dumps(native.config.to_theirs(config)))
        found = native.config.to_ours(raw, {})
        assert found == config and type(found.windows) is tuple
    assert [each.model_type for each in families() if each.express(CausalLM(UNTOLD)) is not None] == ["formers-causal"]
    raw["config"]["rotary_stretch"] = {"factor": 2, "originl": 3}
    with pytest.raises(CheckpointError, match=r'rotary_stretch\.originl is not known; did you mean "original"'):
        native.config.to_ours(raw, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab": "11"}, "vocab is '11', expected a whole number"),
        ({"tied": None}, "tied is None, expected true or false"),
        ({"positions": "leaned"}, "positions is 'leaned', expected 'learned' or 'rotary'"),
        ({"windows": 3}, "windows is 3, expected a list"),
        ({"stack": [1]}, r"stack is \[1\], expected an object"),
        ({"rotary_stretch": 2.0}, "rotary_stretch is 2.0, expected an object or null"),
    ],
)
def test_values_of_another_kind(change, message):
    native = family("formers-causal").config
    raw = native.to_theirs(UNTOLD)
    with pytest.raises(CheckpointError, match=message):
        native.to_ours({"config": raw["config"] | change}, {})


@pytest.mark.parametrize(
    ("form", "expected"),
    [("gpt", "openai-gpt"), ("gpt2", "gpt2"), ("llama", "llama"), ("qwen2", "qwen2"), ("qwen3", "qwen3")],
)
def test_every_form_is_written_as_itself(form, expected):
    stack = dataclasses.replace(FORMS[form].stack, dim=16, layers=1, heads=4, hidden=64)
    config = dataclasses.replace(FORMS[form], stack=stack, vocab=11, length=8)
    found = [each.model_type for each in families() if each.express(CausalLM(config)) is not None]
    assert found[0] == expected and found[-1] == "formers-causal"
    for tied in (True, False):  # and with everything that changes nothing spelled out
        spelled = dataclasses.replace(
            config, tied=tied, windows=(0,), stack=dataclasses.replace(stack, kv_heads=4, head_dim=4, scale=0.5)
        )
        model = CausalLM(spelled)
        assert next(each.model_type for each in families() if each.express(model) is not None) == expected
