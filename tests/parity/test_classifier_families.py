"""Parity of labels that are read from a decoder: a reference with every parameter random -> our load -> equal logits ->
our save -> it loads without a missing weight -> equal again; the classes that are refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from formers.errors import CheckpointError
from formers.models.causal import CausalLM
from formers.models.heads import HeadConfig, SequenceClassifier, TokenClassifier, body, network_of
from formers.models.transformer import Transformer
from formers.pretrained.families import FAMILIES, families
from formers.pretrained.load import load_model, model_class, save_model

transformers = pytest.importorskip("transformers")

LABELS = {0: "no", 1: "yes", 2: "perhaps"}
NUMBER = {"id2label": {0: "score"}, "label2id": {"score": 0}}
PAD, END = 1, 2
LLAMA = {
    "vocab_size": 37,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
}
GPT = {"vocab_size": 37, "n_embd": 16, "n_layer": 3, "n_head": 4, "n_positions": 32}
NEO = {
    "vocab_size": 37,
    "hidden_size": 16,
    "num_layers": 2,
    "num_heads": 2,
    "max_position_embeddings": 32,
    "attention_types": [[["global", "local"], 1]],
    "window_size": 4,
}
BART = {
    "vocab_size": 37,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 24,
    "decoder_start_token_id": 7,
    "forced_eos_token_id": END,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 100.0}
# name: (their class, model_type that saving gives, config)
CASES = {
    "llama": ("Llama", "llama", LLAMA),
    "llama-tied": ("Llama", "llama", LLAMA | {"tie_word_embeddings": True, "rope_parameters": YARN}),
    "llama-number": ("Llama", "llama", LLAMA | NUMBER),
    "llama-several": ("Llama", "llama", LLAMA | {"problem_type": "multi_label_classification"}),
    "mistral": ("Mistral", "mistral", LLAMA | {"sliding_window": 5}),
    "qwen2": ("Qwen2", "qwen2", LLAMA),
    "qwen3": ("Qwen3", "qwen3", LLAMA | {"head_dim": 6}),
    "gemma": ("Gemma3Text", "gemma3_text", LLAMA | {"head_dim": 6, "sliding_window": 4, "num_hidden_layers": 7}),
    "gpt": ("OpenAIGPT", "openai-gpt", GPT),
    "gpt2": ("GPT2", "gpt2", GPT),
    "neo": ("GPTNeo", "gpt_neo", NEO),
    "bart": ("Bart", "bart", BART | {"activation_function": "relu"}),
    "bart-scaled": ("Bart", "bart", BART | {"scale_embedding": True} | NUMBER),
}
CAUSAL = [case for case in CASES if not case.startswith("bart")]


def reference(case):
    kind, _, sizes = CASES[case]
    torch.manual_seed(7)
    labels = {"id2label": LABELS, "label2id": {name: i for i, name in LABELS.items()}}
    config = getattr(transformers, f"{kind}Config")(**labels | sizes, pad_token_id=PAD, eos_token_id=END)
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = ("norm" in name or "ln_" in name) and name.endswith("weight") and kind != "Gemma3Text"
            parameter.copy_(torch.randn_like(parameter) * 0.3 + norm)
    return model.eval()


def inputs(case, padding="right"):
    """Three rows; BART's end with </s>, which stands within them too, as between the texts of a pair."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(3, 37, (3, 13), generator=generator)
    lengths = torch.tensor([13, 7, 4])
    if case.startswith("bart"):
        tokens[torch.arange(3), lengths - 1] = END
        tokens[:, 2] = END
    keep = torch.arange(13)[None] < lengths[:, None]
    if padding == "left":
        tokens = torch.stack([row.roll(13 - int(length)) for row, length in zip(tokens, lengths, strict=True)])
        keep = keep.flip(1)
    return tokens, keep


def both(mine, model, case, padding):
    tokens, keep = inputs(case, padding)
    more = {}
    if case in ("gpt", "gpt2", "neo"):  # theirs counts the padding unless told otherwise
        more["position_ids"] = (keep.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        expected = model(input_ids=torch.where(keep, tokens, PAD), attention_mask=keep.long(), **more).logits
        return mine(tokens, keep=keep), expected


@pytest.mark.parametrize("case", CASES)
def test_logits_equal_the_reference_both_ways(case, tmp_path):
    kind, model_type, sizes = CASES[case]
    original = reference(case)
    original.save_pretrained(tmp_path / "theirs")
    loaded = load_model(tmp_path / "theirs")
    assert type(loaded.model) is SequenceClassifier is model_class(tmp_path / "theirs")
    assert loaded.model.config.labels == tuple(sizes.get("id2label", LABELS).values())
    save_model(tmp_path / "ours", loaded.model, generation={"pad_token_id": PAD, "eos_token_id": END})
    written = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert written["model_type"] == model_type and written["architectures"] == [f"{kind}ForSequenceClassification"]
    again, info = type(original).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert again.config.id2label == original.config.id2label
    assert load_model(tmp_path / "ours").model.config == loaded.model.config
    for padding in ("right", "left") if case in CAUSAL else ("right",):
        for model in (original, again.eval()):
            mine, expected = both(loaded.model, model, case, padding)
            assert expected.std() > 0.1
            torch.testing.assert_close(mine, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("case", ["llama", "bart"])
def test_what_reads_is_below_the_head(case, tmp_path):
    reference(case).save_pretrained(tmp_path)
    model = load_model(tmp_path).model
    assert type(network_of(model)) is {"llama": CausalLM, "bart": Transformer}[case] and body(model) is None
    assert network_of(network_of(model)) is network_of(model)
    with pytest.raises(ValueError, match=r"this head stands on an encoder, got a (Causal|Transformer)Config"):
        TokenClassifier(HeadConfig(encoder=model.config.encoder, labels=("a", "b")))


def test_a_layout_of_ours_holds_what_no_family_has_a_word_for(tmp_path):
    reference("llama").save_pretrained(tmp_path / "theirs")
    config = load_model(tmp_path / "theirs").model.config
    for encoder in (config.encoder, of_two_stacks()):
        made = SequenceClassifier(HeadConfig(encoder=encoder, labels=("a", "b"), pooling="mean")).eval()
        save_model(tmp_path / "ours", made)
        loaded = load_model(tmp_path / "ours")
        assert loaded.family == "formers-encoder" and loaded.model.config == made.config
        assert all(torch.equal(x, made.state_dict()[name]) for name, x in loaded.model.state_dict().items())


def of_two_stacks():
    from formers.systems.sizes import TransformerSizes

    sizes = TransformerSizes(form="bart", dim=8, heads=2, hidden=8, length=9, encoder_layers=1, decoder_layers=1)
    return sizes.config(11)


@pytest.mark.parametrize("case", ["llama", "bart"])
def test_a_classifier_without_its_head_names_what_is_missing(case, tmp_path):
    reference(case).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    last = {"llama": "score.weight", "bart": "classification_head.out_proj.weight"}[case]
    del tensors[last]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"missing \(1\): - {last}"):
        load_model(tmp_path)


@pytest.mark.parametrize("case", ["llama", "bart", "gpt2"])
def test_a_head_that_is_not_built_is_refused_by_its_class(case, tmp_path):
    reference(case).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"architectures": ["SomethingForQuestionAnswering"]}))
    with pytest.raises(CheckpointError, match=r"SomethingForQuestionAnswering of model_type .* known: .*SequenceClass"):
        load_model(tmp_path)


def test_every_language_model_has_a_classifier():
    for model_type in FAMILIES:
        kinds = families(model_type)
        if kinds[0].model is CausalLM and not model_type.startswith("formers"):
            assert [kind.model for kind in kinds] == [CausalLM, SequenceClassifier]
