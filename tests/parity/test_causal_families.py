"""Parity of language models: a reference with every parameter random -> our load -> equal logits -> our save -> it
loads; published spellings of config.json; the cache; greedy text."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from formers.blocks.position import Dynamic, Stretch, Yarn
from formers.decoding import Greedy, complete
from formers.errors import CheckpointError
from formers.models.causal import CausalLM
from formers.pretrained.families import family
from formers.pretrained.foreign import settle
from formers.pretrained.load import load_model, save_model
from formers.pretrained.mapping import to_theirs

transformers = pytest.importorskip("transformers")

IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
GPT = IDS | {"vocab_size": 37, "n_embd": 16, "n_layer": 3, "n_head": 4, "n_positions": 32, "resid_pdrop": 0.2}
NEO = IDS | {
    "vocab_size": 37,
    "hidden_size": 16,
    "num_layers": 4,
    "num_heads": 2,
    "max_position_embeddings": 32,
    "attention_types": [[["global", "local"], 2]],
    "window_size": 4,
}
LLAMA = IDS | {
    "vocab_size": 37,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
}
GROUPED = LLAMA | {"num_key_value_heads": 2}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
    "rope_theta": 100.0,
}
LINEAR = {"rope_type": "linear", "factor": 2.5, "rope_theta": 1000.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 100.0}
YARN_TUNED = YARN | {"beta_fast": 2.0, "beta_slow": 0.5, "truncate": False, "attention_factor": 0.7}
DEEPSEEK = YARN | {"mscale": 0.7, "mscale_all_dim": 1.4, "beta_fast": 3}
DYNAMIC = {"rope_type": "dynamic", "factor": 3.0, "rope_theta": 100.0}
GEMMA = GROUPED | {
    "num_hidden_layers": 4,
    "head_dim": 6,
    "sliding_window": 4,
    "query_pre_attn_scalar": 9,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
}
SLIDING = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}

# name: (their class, model_type that saving gives, config)
CASES = {
    "gpt": ("OpenAIGPT", "openai-gpt", GPT),
    "gpt-relu": ("OpenAIGPT", "openai-gpt", GPT | {"afn": "relu"}),
    "gpt2": ("GPT2", "gpt2", GPT),
    "gpt2-inner": ("GPT2", "gpt2", GPT | {"n_inner": 20, "activation_function": "gelu", "layer_norm_epsilon": 1e-3}),
    "gpt2-untied": ("GPT2", "gpt2", GPT | {"tie_word_embeddings": False}),
    "neo": ("GPTNeo", "gpt_neo", NEO),
    "neo-global": ("GPTNeo", "gpt_neo", NEO | {"attention_types": [[["global"], 4]], "intermediate_size": 20}),
    "llama": ("Llama", "llama", LLAMA),
    "llama-tied": ("Llama", "llama", LLAMA | {"tie_word_embeddings": True}),
    "llama-grouped": ("Llama", "llama", GROUPED | {"head_dim": 6, "rms_norm_eps": 1e-3}),
    "llama-biases": ("Llama", "llama", GROUPED | {"attention_bias": True, "mlp_bias": True, "hidden_act": "gelu"}),
    "llama-3": ("Llama", "llama", GROUPED | {"rope_parameters": LLAMA3, "head_dim": 16}),
    "llama-linear": ("Llama", "llama", GROUPED | {"rope_parameters": LINEAR}),
    "llama-yarn": ("Llama", "llama", GROUPED | {"rope_parameters": YARN, "head_dim": 16}),
    "llama-yarn-tuned": ("Llama", "llama", GROUPED | {"rope_parameters": YARN_TUNED, "head_dim": 10}),
    "llama-deepseek": ("Llama", "llama", GROUPED | {"rope_parameters": DEEPSEEK, "head_dim": 16}),
    "llama-dynamic": ("Llama", "llama", GROUPED | {"rope_parameters": DYNAMIC, "max_position_embeddings": 6}),
    "llama-dynamic-short": ("Llama", "llama", GROUPED | {"rope_parameters": DYNAMIC}),
    "mistral": ("Mistral", "mistral", GROUPED | {"sliding_window": 5}),
    "mistral-full": ("Mistral", "mistral", GROUPED | {"sliding_window": None, "head_dim": 6}),
    "qwen2": ("Qwen2", "qwen2", GROUPED),
    "qwen2-windows": ("Qwen2", "qwen2", GROUPED | SLIDING),
    "qwen2-types": (
        "Qwen2",
        "qwen2",
        GROUPED
        | SLIDING
        | {"tie_word_embeddings": True, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    ),
    "qwen2-yarn": ("Qwen2", "qwen2", GROUPED | {"rope_parameters": YARN}),
    "qwen3": ("Qwen3", "qwen3", GROUPED | {"head_dim": 6}),
    "qwen3-dynamic": ("Qwen3", "qwen3", GROUPED | {"rope_parameters": DYNAMIC, "max_position_embeddings": 6}),
    "qwen3-biases": ("Qwen3", "qwen3", GROUPED | SLIDING | {"head_dim": 4, "attention_bias": True}),
    "gemma": ("Gemma3", "gemma3_text", GEMMA),
    "gemma-stretched": (
        "Gemma3",
        "gemma3_text",
        GEMMA
        | {
            "attention_bias": True,
            "rope_parameters": {
                "full_attention": LINEAR,
                "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
            },
        },
    ),
    "gemma-global": (
        "Gemma3",
        "gemma3_text",
        GEMMA | {"layer_types": ["full_attention"] * 4, "tie_word_embeddings": False},
    ),
}
CLASSES = {"OpenAIGPT": "OpenAIGPTLMHeadModel", "GPT2": "GPT2LMHeadModel"}
LEARNED = ("gpt", "neo")


def reference(case):
    kind, _, sizes = CASES[case]
    torch.manual_seed(7)
    config = getattr(transformers, f"{'Gemma3Text' if kind == 'Gemma3' else kind}Config")(**sizes)
    model = getattr(transformers, CLASSES.get(kind, f"{kind}ForCausalLM"))(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = ("norm" in name or "ln_" in name) and name.endswith("weight") and kind != "Gemma3"
            parameter.copy_(torch.randn_like(parameter) * 0.3 + norm)
    return model.eval()


def inputs(padding, case):
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(3, 37, (3, 13), generator=generator)
    keep = torch.arange(13)[None] < torch.tensor([13, 7, 1])[:, None]
    if padding == "left":
        keep = keep.flip(1)
    more = {}
    if case.startswith(LEARNED):  # theirs counts the padding unless told otherwise
        more["position_ids"] = (keep.cumsum(1) - 1).clamp(min=0)
    return tokens, keep, more


def theirs(model, tokens, keep, more):
    with torch.no_grad():
        return model(input_ids=tokens, attention_mask=keep.long(), **more).logits


def edit(folder, **changes):
    """Change config.json; None takes a key out."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def edit_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors), folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("case", CASES)
def test_logits_equal_the_reference_both_ways(case, tmp_path):
    _, model_type, _ = CASES[case]
    original = reference(case)
    original.save_pretrained(tmp_path / "theirs")
    loaded = load_model(tmp_path / "theirs")
    save_model(tmp_path / "ours", loaded.model, generation=IDS)
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["model_type"] == model_type
    again, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert type(again) is type(original)
    assert again.generation_config.eos_token_id == 2 and again.config.pad_token_id == 0
    assert load_model(tmp_path / "ours").model.config == loaded.model.config
    for padding in ("none", "right", "left"):
        tokens, keep, more = inputs(padding, case)
        if padding == "none":
            keep = torch.ones_like(keep)
            more = {}
        with torch.no_grad():
            mine = loaded.model(tokens, keep=None if padding == "none" else keep)
        for model in (original, again.eval()):
            expected = theirs(model, tokens, keep, more)
            assert expected.std() > 0.1
            torch.testing.assert_close(mine[keep], expected[keep], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("case", ["mistral-full", "qwen3", "gemma-global"])
def test_a_family_can_be_demanded(case, tmp_path):
    kind = family(reference(case).config.model_type)
    reference(case).save_pretrained(tmp_path / "theirs")
    save_model(tmp_path / "ours", load_model(tmp_path / "theirs").model, family=kind.model_type)
    assert load_model(tmp_path / "ours").family == kind.model_type


# where the base grows with the text, keys that are remembered were turned by another one
@pytest.mark.parametrize("case", [case for case in CASES if not case.endswith("-dynamic")])
def test_the_cache_changes_nothing(case, tmp_path):
    reference(case).save_pretrained(tmp_path)
    model = load_model(tmp_path).model
    tokens, keep, _ = inputs("left", case)
    for mask in (None, keep):
        with torch.no_grad():
            whole = model(tokens, keep=mask)
        for cuts in ([13], [1] * 13, [6, 1, 1, 5], [3, 10]):
            cache, at = model.begin(capacity=13), 0
            for size in cuts:
                part = None if mask is None else mask[:, at : at + size]
                with torch.no_grad():
                    logits = model.extend(tokens[:, at : at + size], cache, keep=part)
                at += size
                real = torch.ones(3, dtype=torch.bool) if mask is None else mask[:, at - 1]
                torch.testing.assert_close(logits[real], whole[real, at - 1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("case", ["gpt2", "neo", "llama-3", "llama-yarn", "llama-dynamic", "qwen2-windows", "gemma"])
def test_greedy_text_equals_theirs(case, tmp_path):
    original = reference(case)
    original.save_pretrained(tmp_path)
    model = load_model(tmp_path).model
    tokens, keep, _ = inputs("left", case)
    tokens, keep = tokens[:, -7:], keep[:, -7:]
    if case == "llama-dynamic":  # where the base grows, what a remembered key was turned by depends on the padding
        keep = torch.ones_like(keep)
    expected = original.generate(
        input_ids=tokens,
        attention_mask=keep.long(),
        max_new_tokens=12,
        do_sample=False,
        eos_token_id=36,
        pad_token_id=0,
    )[:, 7:].tolist()
    cache = model.begin(capacity=18)
    with torch.no_grad():
        found = complete(model, tokens, cache, Greedy(), stop=[36], limit=12, keep=keep)
    for text, [mine] in zip(expected, found, strict=True):
        assert mine.tokens == text[: text.index(36) if 36 in text else 12]


@pytest.mark.parametrize(
    ("case", "scaling", "expected"),
    [
        ("llama", None, None),
        ("llama-linear", {"type": "linear", "factor": 2.5}, Stretch(2.5)),
        ("llama-3", {key: value for key, value in LLAMA3.items() if key != "rope_theta"}, Stretch(4.0, 16, 1.0, 4.0)),
        (
            "llama-yarn",
            {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
            Yarn(4.0, 16, loudness=0.1 * math.log(4) + 1),
        ),
        ("llama-dynamic", {"type": "dynamic", "factor": 3.0}, Dynamic(3.0, 6)),
        ("mistral", None, None),
        ("qwen3", {"rope_type": "default"}, None),
    ],
)
def test_rotary_positions_as_they_were_spelled(case, scaling, expected, tmp_path):
    model = reference(case)
    model.save_pretrained(tmp_path)
    theta = model.config.rope_parameters["rope_theta"]
    loaded = load_model(tmp_path).model.config
    edit(
        tmp_path,
        rope_parameters=None,
        rope_theta=int(theta),
        rope_scaling=scaling,
        dtype=None,
        torch_dtype="float16",
        transformers_version="4.43.0",
    )
    config = load_model(tmp_path).model.config
    assert config == loaded and config.rotary_base == theta and config.rotary_stretch == expected


def test_scaled_positions_reach_farther_than_the_file_says():
    """Files of Qwen 2.5 name the length before the scaling, others the one after it."""
    fields, scaling = family("qwen2").config, {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    before = fields.to_ours(PUBLISHED["qwen2"] | {"rope_scaling": scaling}, {})
    after = fields.to_ours(PUBLISHED["qwen2"] | {"rope_scaling": scaling, "max_position_embeddings": 131072}, {})
    assert before == after and before.length == 131072
    grown = PUBLISHED["llama"] | {"rope_scaling": {"type": "dynamic", "factor": 2.0}, "max_position_embeddings": 4096}
    assert family("llama").config.to_ours(grown, {}).length == 8192
    implied = {"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 4096}
    config = family("qwen2").config.to_ours(PUBLISHED["qwen2"] | {"rope_scaling": implied}, {})
    assert config.rotary_stretch.factor == 8.0


def test_windows_as_they_were_spelled(tmp_path):
    reference("qwen2-windows").save_pretrained(tmp_path / "qwen2")
    edit(tmp_path / "qwen2", layer_types=None)
    assert load_model(tmp_path / "qwen2").model.config.windows == (0, 4, 4)
    edit(tmp_path / "qwen2", use_sliding_window=False)
    assert load_model(tmp_path / "qwen2").model.config.windows == ()
    reference("gemma-stretched").save_pretrained(tmp_path / "gemma")
    before = load_model(tmp_path / "gemma").model.config
    edit(
        tmp_path / "gemma",
        layer_types=None,
        _sliding_window_pattern=None,
        sliding_window_pattern=3,
        rope_parameters=None,
        rope_theta=1000,
        rope_local_base_freq=50,
        rope_scaling={"rope_type": "linear", "factor": 2.5},
    )
    assert load_model(tmp_path / "gemma").model.config == before
    assert before.windows == (4, 4, 0, 4) and before.local_rotary_base == 50 and before.rotary_stretch == Stretch(2.5)
    reference("neo").save_pretrained(tmp_path / "neo")
    before = load_model(tmp_path / "neo").model.config
    for gone in ("attention_types", "attention_layers"):
        reference("neo").save_pretrained(tmp_path / "neo")
        edit(tmp_path / "neo", **{gone: None})
        assert load_model(tmp_path / "neo").model.config == before
    assert before.windows == (0, 4, 0, 4)


def test_a_window_of_null_is_none_but_an_absent_one_has_4096_positions():
    raw = GROUPED | {"model_type": "mistral"}
    config = family("mistral").config
    assert config.to_ours(raw | {"sliding_window": None}, {}).windows == ()
    assert config.to_ours(raw, {}).windows == (4096,) * 3


# every key of these published files, of the time when they were published
PUBLISHED = {
    "openai-gpt": {
        "afn": "gelu",
        "architectures": ["OpenAIGPTLMHeadModel"],
        "attn_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05,
        "model_type": "openai-gpt",
        "n_ctx": 512,
        "n_embd": 768,
        "n_head": 12,
        "n_layer": 12,
        "n_positions": 512,
        "n_special": 0,
        "predict_special_tokens": True,
        "resid_pdrop": 0.1,
        "summary_activation": None,
        "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True,
        "summary_type": "cls_index",
        "summary_use_proj": True,
        "vocab_size": 40478,
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    },
    "gpt2": {
        "activation_function": "gelu_new",
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.1,
        "bos_token_id": 50256,
        "embd_pdrop": 0.1,
        "eos_token_id": 50256,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05,
        "model_type": "gpt2",
        "n_ctx": 1024,
        "n_embd": 768,
        "n_head": 12,
        "n_layer": 12,
        "n_positions": 1024,
        "resid_pdrop": 0.1,
        "summary_activation": None,
        "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True,
        "summary_type": "cls_index",
        "summary_use_proj": True,
        "vocab_size": 50257,
        "n_inner": None,
    },
    "gpt_neo": {
        "activation_function": "gelu_new",
        "architectures": ["GPTNeoForCausalLM"],
        "attention_dropout": 0,
        "attention_layers": ["global", "local"] * 6,
        "attention_types": [[["global", "local"], 6]],
        "bos_token_id": 50256,
        "embed_dropout": 0,
        "eos_token_id": 50256,
        "gradient_checkpointing": False,
        "hidden_size": 768,
        "initializer_range": 0.02,
        "intermediate_size": None,
        "layer_norm_epsilon": 1e-05,
        "max_position_embeddings": 2048,
        "model_type": "gpt_neo",
        "num_heads": 12,
        "num_layers": 12,
        "resid_dropout": 0,
        "summary_activation": None,
        "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True,
        "summary_type": "cls_index",
        "summary_use_proj": True,
        "transformers_version": "4.9.0.dev0",
        "use_cache": True,
        "vocab_size": 50257,
        "window_size": 256,
    },
    "llama": {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "eos_token_id": [128001, 128008, 128009],
        "hidden_act": "silu",
        "hidden_size": 2048,
        "head_dim": 64,
        "initializer_range": 0.02,
        "intermediate_size": 8192,
        "max_position_embeddings": 131072,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 32,
        "num_hidden_layers": 16,
        "num_key_value_heads": 8,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "rope_scaling": {
            "factor": 32.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "torch_dtype": "bfloat16",
        "transformers_version": "4.45.0.dev0",
        "use_cache": True,
        "vocab_size": 128256,
    },
    "mistral": {
        "architectures": ["MistralForCausalLM"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 4096,
        "initializer_range": 0.02,
        "intermediate_size": 14336,
        "max_position_embeddings": 32768,
        "model_type": "mistral",
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "sliding_window": 4096,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.34.0.dev0",
        "use_cache": True,
        "vocab_size": 32000,
    },
    "qwen2": {
        "architectures": ["Qwen2ForCausalLM"],
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "hidden_act": "silu",
        "hidden_size": 896,
        "initializer_range": 0.02,
        "intermediate_size": 4864,
        "max_position_embeddings": 32768,
        "max_window_layers": 21,
        "model_type": "qwen2",
        "num_attention_heads": 14,
        "num_hidden_layers": 24,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.43.1",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": 151936,
    },
    "qwen3": {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 1024,
        "initializer_range": 0.02,
        "intermediate_size": 3072,
        "max_position_embeddings": 40960,
        "max_window_layers": 28,
        "model_type": "qwen3",
        "num_attention_heads": 16,
        "num_hidden_layers": 28,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.51.0",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": 151936,
    },
    "gemma3_text": {
        "architectures": ["Gemma3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attn_logit_softcapping": None,
        "bos_token_id": 2,
        "cache_implementation": "hybrid",
        "eos_token_id": [1, 106],
        "final_logit_softcapping": None,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": 1152,
        "initializer_range": 0.02,
        "intermediate_size": 6912,
        "max_position_embeddings": 32768,
        "model_type": "gemma3_text",
        "num_attention_heads": 4,
        "num_hidden_layers": 26,
        "num_key_value_heads": 1,
        "pad_token_id": 0,
        "query_pre_attn_scalar": 256,
        "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 10000,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": 512,
        "sliding_window_pattern": 6,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.50.0.dev0",
        "use_cache": True,
        "vocab_size": 262144,
    },
}
# as counted by their publishers, embeddings included; the output head once where it is tied
PARAMETERS = {
    "openai-gpt": 116_534_784,
    "gpt2": 124_439_808,
    "gpt_neo": 125_198_592,
    "llama": 1_235_814_400,
    "mistral": 7_241_732_096,
    "qwen2": 494_032_768,
    "qwen3": 596_049_920,
    "gemma3_text": 999_885_952,
}


@pytest.mark.parametrize("model_type", PUBLISHED)
def test_published_configs(model_type):
    fields = family(model_type).config
    config = fields.to_ours(PUBLISHED[model_type], {})
    assert fields.to_ours(json.loads(json.dumps(fields.to_theirs(config))), {}) == config
    with torch.device("meta"):
        ours = CausalLM(config)
    assert sum(each.numel() for each in ours.parameters()) == PARAMETERS[model_type]
    known = {name: each.shape for name, each in ours.state_dict().items()}
    kind = transformers.AutoConfig.for_model(**PUBLISHED[model_type])
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(kind)
    written = to_theirs(
        {name: torch.empty(shape, device="meta") for name, shape in known.items()}, family(model_type).table(config)
    )
    expected = {name: each.shape for name, each in model.state_dict().items()}
    if config.tied:
        del expected["lm_head.weight"]
    assert {name: each.shape for name, each in written.items()} == expected
    assert config.windows.count(0) == {"gpt_neo": 6, "gemma3_text": 4}.get(model_type, 0)


def test_gpt2_as_published(tmp_path):
    """Without the outer module, with the causal mask in every layer."""
    model = reference("gpt2")
    model.save_pretrained(tmp_path)
    edit(tmp_path, n_ctx=32, tie_word_embeddings=None, n_inner=None)

    def published(tensors):
        masks = {f"h.{i}.attn.bias": torch.ones(1, 1, 32, 32).tril() for i in range(3)}
        masks |= {f"h.{i}.attn.masked_bias": torch.tensor(-1e4) for i in range(3)}
        return {name.removeprefix("transformer."): each for name, each in tensors.items()} | masks

    edit_weights(tmp_path, published)
    loaded = load_model(tmp_path)
    tokens, keep, more = inputs("left", "gpt2")
    assert loaded.prefix == "+transformer."
    torch.testing.assert_close(
        loaded.model(tokens, keep=keep)[keep], theirs(model, tokens, keep, more)[keep], atol=1e-4, rtol=1e-4
    )


def test_gpt_as_published(tmp_path):
    """Without the outer module, but the head lies beside it."""
    model = reference("gpt")
    model.save_pretrained(tmp_path)

    def published(tensors):
        bare = {name.removeprefix("transformer."): each for name, each in tensors.items()}
        return bare | {"lm_head.weight": bare["tokens_embed.weight"].clone()}

    edit_weights(tmp_path, published)
    loaded = load_model(tmp_path)
    tokens, keep, more = inputs("right", "gpt")
    assert loaded.model.config.tied and loaded.prefix == "+transformer."
    torch.testing.assert_close(
        loaded.model(tokens, keep=keep)[keep], theirs(model, tokens, keep, more)[keep], atol=1e-4, rtol=1e-4
    )


def test_old_llama_files_hold_their_frequencies(tmp_path):
    reference("llama").save_pretrained(tmp_path)
    before = load_model(tmp_path).model.state_dict()
    frequencies = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(2) for i in range(3)}
    edit_weights(tmp_path, lambda tensors: tensors | frequencies)
    after = load_model(tmp_path).model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("case", ["gpt2", "llama-tied", "gemma"])
def test_heads(case, tmp_path):
    model = reference(case)
    model.save_pretrained(tmp_path / "tied")
    embedding = model.get_input_embeddings().weight.detach()
    edit_weights(tmp_path / "tied", lambda tensors: tensors | {"lm_head.weight": embedding.clone()})
    assert load_model(tmp_path / "tied").model.config.tied  # stored, but the same
    own = embedding + 0.001
    edit_weights(tmp_path / "tied", lambda tensors: tensors | {"lm_head.weight": own})
    mine = load_model(tmp_path / "tied").model  # the config says tied, the file knows better
    assert not mine.config.tied and torch.equal(mine.head.weight, own)
    save_model(tmp_path / "ours", mine)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    tokens, keep, more = inputs("right", case)
    torch.testing.assert_close(mine(tokens)[keep], theirs(again, tokens, keep, more)[keep], atol=1e-4, rtol=1e-4)
    edit_weights(tmp_path / "ours", lambda tensors: {key: x for key, x in tensors.items() if key != "lm_head.weight"})
    with pytest.raises(CheckpointError, match=r"missing \(1\): - lm_head\.weight"):
        load_model(tmp_path / "ours")


def test_gemma_norms_keep_their_digits(tmp_path):
    """w + 1 is rounded once in fp32, never to the type of the file."""
    model = reference("gemma").to(torch.bfloat16)
    model.save_pretrained(tmp_path / "theirs")
    loaded = load_model(tmp_path / "theirs").model
    stored = load_file(tmp_path / "theirs" / "model.safetensors")["model.norm.weight"]
    assert stored.dtype == torch.bfloat16 and torch.equal(loaded.stack.norm.weight, stored.float() + 1)
    save_model(tmp_path / "ours", loaded)
    torch.testing.assert_close(
        load_file(tmp_path / "ours" / "model.safetensors")["model.norm.weight"], stored.float(), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(
    ("model_type", "change", "message"),
    [
        ("gpt2", {"n_layers": 3}, "unknown key 'n_layers' .* did you mean \"n_layer\""),
        (
            "gpt2",
            {"scale_attn_by_inverse_layer_idx": True},
            "scale_attn_by_inverse_layer_idx = true, but .* false only",
        ),
        ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights = false"),
        ("openai-gpt", {"afn": "mish"}, "afn = 'mish' is not computed here; known: gelu"),
        ("gpt_neo", {"attention_layers": ["global"] * 12}, "attention_layers is not what attention_types says"),
        ("gpt_neo", {"num_layers": 3}, "12 kinds of layers are named, for 3 layers"),
        (
            "gpt_neo",
            {"attention_layers": ["flash"] * 12, "attention_types": None},
            "kind 'flash' are not computed here",
        ),
        ("llama", {"sliding_window": 3}, "unknown key 'sliding_window'"),
        (
            "llama",
            {"rope_scaling": {"type": "longrope", "factor": 2.0}},
            "rope_type 'longrope' is not computed here; kn",
        ),
        ("llama", {"rope_scaling": {"type": "dynamic"}}, "lacks factor"),
        ("llama", {"rope_scaling": {"type": "dynamic", "factor": 2.0, "low_freq_factor": 1.0}}, "with low_freq_factor"),
        ("llama", {"rope_scaling": {"rope_type": "yarn"}}, "lacks factor"),
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 0.0}}, "with factor 0.0 and rope_theta"),
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "beta_fast": -1}}, "must be above 0"),
        ("llama", {"rope_scaling": {"rope_type": "linear"}}, "lacks factor"),
        (
            "llama",
            {"rope_scaling": {"rope_type": "linear", "factor": 2.0, "mscale": 1.0}},
            "'linear' with mscale = 1.0",
        ),
        ("llama", {"rope_scaling": [2.0]}, r"rotary parameters are an object, got \[2.0\]"),
        ("llama", {"rope_parameters": {"rope_theta": 3.0}}, "rope_theta is 3.0 in one place and 500000.0 in another"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5, but this family computes 1.0 only"),
        (
            "llama",
            {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0}},
            "must be below high_freq_factor",
        ),
        ("llama", {"rope_interleaved": True}, "rope_interleaved = true"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("mistral", {"layer_types": ["full_attention"] * 32}, "layer_types differs from sliding_window"),
        ("mistral", {"sliding_window": 0}, "with a window of 0"),
        ("qwen2", {"layer_types": ["chunked_attention"] * 24}, "kind 'chunked_attention' are not computed here"),
        ("qwen2", {"layer_types": ["sliding_attention"] * 24}, "with a window of null"),
        ("qwen2", {"dual_chunk_attention_config": {"chunk_size": 8}}, "unknown key 'dual_chunk_attention_config'"),
        ("gemma3_text", {"final_logit_softcapping": 30.0}, "final_logit_softcapping = 30.0, but .* null only"),
        ("gemma3_text", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ("gemma3_text", {"use_bidirectional_attention": True}, "use_bidirectional_attention = true"),
        ("gemma3_text", {"sliding_window_pattern": 0}, "sliding_window_pattern is 0, expected at least 1"),
        ("gemma3_text", {"hidden_activation": ["gelu"]}, r"hidden_activation = \['gelu'\] is not computed here"),
        ("gemma3_text", {"num_key_value_heads": None}, "lacks num_key_value_heads"),
        (
            "gemma3_text",
            {"rope_parameters": {"rope_theta": 1.0}},
            "rope_parameters has rope_theta; this family has full",
        ),
        (
            "gemma3_text",
            {"rope_parameters": {"sliding_attention": LINEAR}, "rope_local_base_freq": None},
            "scaled rotary positions in sliding_attention layers",
        ),
    ],
)
def test_refusals(model_type, change, message):
    with pytest.raises(CheckpointError, match=message) as told:
        read(PUBLISHED[model_type] | change)
    assert "\n" not in str(told.value)


def read(raw):
    kind = family(raw["model_type"])
    return kind.config.to_ours(settle(raw, kind, (), "config.json")[0], {})


def test_sizes_that_do_not_go_together(tmp_path):
    reference("llama").save_pretrained(tmp_path)
    edit(tmp_path, num_key_value_heads=3)
    with pytest.raises(CheckpointError, match=r"heads \(4\) must be a multiple of kv_heads \(3\)"):
        load_model(tmp_path)


def test_a_dropout_of_our_own_survives_in_families_without_one(tmp_path):
    reference("llama").save_pretrained(tmp_path / "theirs")
    model = load_model(tmp_path / "theirs").model
    config = replace(model.config, stack=replace(model.config.stack, dropout=0.25))
    trained = CausalLM(config)
    save_model(tmp_path / "ours", trained)
    loaded = load_model(tmp_path / "ours")
    assert loaded.family == "llama" and loaded.model.config == config
    transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
