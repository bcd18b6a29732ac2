"""Every key of config.json and generation_config.json with values of the wrong kind: read, or one clear line."""

from __future__ import annotations

import json
import resource
import typing

import pytest
import torch

from formers.decoding.settings import Settings
from formers.errors import CheckpointError, FormersError
from formers.models.causal import CausalLM
from formers.models.heads import HeadConfig, SequenceClassifier
from formers.models.transformer import Transformer
from formers.pretrained.config_map import ConfigMap
from formers.pretrained.families import families
from formers.pretrained.keys import GENERATION, ConfigShape, GenerationShape
from formers.pretrained.load import load_model, save_model
from formers.systems.sizes import CausalSizes, EncoderSizes, TransformerSizes

LABELS = ("a", "b", "c")
WRONG = (
    *(
        True,
        False,
        -1,
        0,
        1,
        3,
        10**9,
        2**62,
        10**30,
        -0.5,
        1e300,
        "",
        "x",
        "9" * 300,
        [],
        {},
        [1],
        ["x"],
        [[]],
        [None],
    ),
    *({"a": 1}, {"1": "a"}, {"x": "a"}, {"0": None, "1": [1]}, [[["x"], 10**9]], {"rope_type": "llama3", "factor": 8}),
    *({"rope_type": 5}, {"type": "linear", "factor": 0}, {"full_attention": 3}, ["full_attention"] * 2),
)
OFTEN = """
    architectures attention_types auto_map eos_token_id id2label label2id layer_types model_type num_labels
    partial_rotary_factor pos_att_type problem_type pruned_heads quantization_config rope_parameters rope_scaling
    sbert_ce_default_activation_function sentence_transformers sliding_window
""".split()


def make(name):
    form = name.removeprefix("native-")
    if form in ("bart", "t5"):
        sizes = TransformerSizes(form=form, dim=8, encoder_layers=1, decoder_layers=1, heads=2, hidden=8, length=9)
        return Transformer(sizes.config(20))
    if form in ("gpt2", "qwen3"):
        return CausalLM(CausalSizes(form=form, dim=8, layers=2, heads=2, hidden=8, length=9).config(20))
    config = EncoderSizes(form=form, dim=8, heads=2, hidden=8, length=9).config(20)
    return SequenceClassifier(HeadConfig(encoder=config, labels=LABELS))


def save(folder, name):
    native = {"native-qwen3": "formers-causal", "native-deberta": "formers-encoder"}.get(name)
    save_model(folder, make(name), generation={"pad_token_id": 0, "eos_token_id": 1}, family=native)


def opened(folder):
    """Open it and use it; gives the message where it is refused."""
    try:
        loaded = load_model(folder)
        Settings.of(loaded.config)
    except FormersError as refused:
        return str(refused)
    tokens = torch.tensor([[2, 3]])
    with torch.no_grad():
        loaded.model(*[tokens] * (2 if isinstance(loaded.model, Transformer) else 1))
    return ""


def leaves(tree, before=()):
    """The places of all values in nested objects."""
    for key, value in tree.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from leaves(value, (*before, key))


def with_value(raw, place, value):
    changed = json.loads(json.dumps(raw))
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return json.dumps(changed)


@pytest.mark.parametrize("name", ["bert", "roberta", "bart", "t5", "gpt2", "qwen3", "native-qwen3", "native-deberta"])
def test_values_of_the_wrong_kind(name, tmp_path):
    save(tmp_path, name)
    path = tmp_path / "config.json"
    raw = json.loads(path.read_text())
    places = list(leaves(raw)) + [(key,) for key in OFTEN if key not in raw]
    refused = 0
    for at, place in enumerate(places):
        for value in WRONG[at % 5 :: 5]:
            path.write_text(with_value(raw, place, value))
            message = opened(tmp_path)
            assert "\n" not in message and len(message) < 1500, (place, value, message)
            refused += bool(message)
    assert refused > len(places) / 2


def test_settings_of_generation_of_the_wrong_kind(tmp_path):
    save(tmp_path, "qwen3")
    for name in ("generation_config.json", "config.json"):
        path = tmp_path / name
        raw = json.loads(path.read_text())
        for at, key in enumerate(sorted(GENERATION)):
            for value in WRONG[at % 5 :: 5]:
                path.write_text(with_value(raw, (key,), value))
                assert "\n" not in opened(tmp_path), (key, value)
        path.write_text(json.dumps(raw))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("bert", {"hidden_size": "8"}, "config.json: hidden_size is '8', expected a whole number"),
        ("bert", {"num_attention_heads": 0}, r"num_attention_heads is 0, expected in \[1, "),
        ("bert", {"hidden_dropout_prob": -0.5}, r"hidden_dropout_prob is -0.5, expected in \[0, 1\]"),
        ("bert", {"id2label": ["a"]}, r"id2label is \['a'\], expected an object"),
        ("bert", {"id2label": {"a": "x"}}, "numbers a label 'a', expected a whole"),
        ("bert", {"architectures": "BertModel"}, "architectures is 'BertModel', expected a list of texts"),
        ("bert", {"model_type": 5}, "model_type is 5, expected a text"),
        ("bert", {"is_decoder": "no"}, "is_decoder is 'no', expected true or false"),
        ("qwen3", {"rope_scaling": {"factor": "2"}}, "rope_scaling.factor is '2', expected a number"),
        ("qwen3", {"eos_token_id": [1, "2"]}, r"eos_token_id\[1\] is '2', expected a whole number"),
    ],
)
def test_what_is_said(name, change, message, tmp_path):
    save(tmp_path, name)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("bert", {"hidden_size": 2**26, "num_attention_heads": 2}, "wrong shape"),
        ("bert", {"vocab_size": 2**28}, r"wrong shape \(1\): .*\(268435456, 8\)"),
        ("bert", {"num_hidden_layers": 1000}, "says 1,000 layers, but there are"),
        ("bert", {"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, expected in"),
        ("gpt2", {"n_positions": 2**28, "n_inner": 2**28}, "wrong shape"),
        ("bart", {"decoder_ffn_dim": 2**28, "max_position_embeddings": 2**28}, "wrong shape"),
        ("native-qwen3", {"vocab": 2**40}, "wrong shape"),
        ("native-qwen3", {"vocab": 10**30}, "config.json of"),
    ],
)
def test_sizes_are_compared_before_they_take_memory(name, change, message, tmp_path):
    save(tmp_path, name)
    path = tmp_path / "config.json"
    raw = json.loads(path.read_text())
    raw = {**raw, "config": raw["config"] | change} if "config" in raw else raw | change
    path.write_text(json.dumps(raw))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # kilobytes


def test_every_key_that_is_read_has_a_kind():
    kinds = typing.get_type_hints(ConfigShape)
    for kind in families():
        if isinstance(kind.config, ConfigMap):
            missing = kind.config.read - kinds.keys()
            assert not missing, f"{kind.model_type} reads {sorted(missing)}: name their kinds in pretrained/keys.py"
    assert typing.get_type_hints(GenerationShape).keys() == GENERATION <= kinds.keys()
