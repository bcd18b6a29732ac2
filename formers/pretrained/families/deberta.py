"""DeBERTa-v2 and v3 (He et al. 2021): `microsoft/deberta-v3-base`, `microsoft/deberta-v2-xlarge`.

What is particular: disentangled attention, whose table of places belongs to the stack; v2 has a convolution beside
its first layer. Word heads have two layouts ("legacy" and that of the authors), which compute the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from formers.blocks.disentangled import Disentangled
from formers.models.encoder import EncoderConfig
from formers.models.heads import MaskedWords, MultipleChoice, SequenceClassifier
from formers.pretrained.config_map import ACTIVATIONS, Raw, words
from formers.pretrained.families import bert
from formers.pretrained.layouts import encoder
from formers.pretrained.layouts.encoder import Head, Layout
from formers.pretrained.mapping import Rows, dropped, tied

POOLERS = {"tanh": "tanh", **ACTIVATIONS}
CONVOLUTIONS = ("tanh", "gelu", "relu")
LAYER = (
    "attention.self.query_proj attention.self.key_proj attention.self.value_proj attention.output.dense "
    "attention.output.LayerNorm intermediate.dense output.dense output.LayerNorm"
)
LEGACY, NEW = "cls.predictions", "lm_predictions.lm_head"
WORDS: Rows = [
    *[tied(f"words.dense.{p}", f"{LEGACY}.transform.dense.{p}", f"{NEW}.dense.{p}") for p in ("weight", "bias")],
    *[tied(f"words.norm.{p}", f"{LEGACY}.transform.LayerNorm.{p}", f"{NEW}.LayerNorm.{p}") for p in ("weight", "bias")],
    tied("words.bias", f"{LEGACY}.bias", f"{LEGACY}.decoder.bias", f"{NEW}.bias"),
]


def activation(raw: Raw) -> str:
    name = raw["pooler_hidden_act"]
    if name not in POOLERS:
        raise ValueError(f"pooler_hidden_act = {name!r} is not computed here; known: {', '.join(POOLERS)}")
    return POOLERS[name]


LABEL = Head(SequenceClassifier, encoder.label_row("classifier"), dense="pooler.dense", activation=activation)
HEADS = (
    Head(MaskedWords, WORDS, tied=(f"{LEGACY}.decoder.weight",)),
    LABEL,
    *bert.OF_TOKENS,
    replace(LABEL, model=MultipleChoice),
)


def rows(config: EncoderConfig) -> Rows:
    places: Rows = [
        ("encoder.rel_embeddings.weight", "stack.places"),
        encoder.norm("encoder.LayerNorm", "stack.norm_places"),
        ("encoder.layer.{i}.attention.self.pos_key_proj.{p}", "stack.blocks.{i}.attention.place_k.{p}"),
        ("encoder.layer.{i}.attention.self.pos_query_proj.{p}", "stack.blocks.{i}.attention.place_q.{p}"),
        ("encoder.conv.conv.{p}", "stack.convolution.convolution.{p}"),
        encoder.norm("encoder.conv.LayerNorm", "stack.convolution.norm"),
    ]
    unused = [] if config.positions == "learned" else [dropped("embeddings.position_embeddings.weight")]
    return [*encoder.embeddings(config), *encoder.layer("encoder.layer.{i}", LAYER), *places, *unused]


def derived(raw: Raw) -> dict[str, Any]:
    terms = raw["pos_att_type"]
    terms = [term.strip() for term in terms.lower().split("|") if term.strip()] if isinstance(terms, str) else terms
    if strange := sorted(set(terms) - {"c2p", "p2c"}):
        raise ValueError(f"pos_att_type {strange[0]!r} is not computed here; known: c2p, p2c")
    if (normed := raw["norm_rel_ebd"]) not in ("none", "layer_norm"):
        raise ValueError(f"norm_rel_ebd = {normed!r} is not computed here; known: none, layer_norm")
    if (kernel := raw["conv_kernel_size"]) and not kernel % 2:
        raise ValueError(f"conv_kernel_size is {kernel}, expected an odd number, or 0 for no convolution")
    if kernel and raw["conv_act"] not in CONVOLUTIONS:
        raise ValueError(f"conv_act = {raw['conv_act']!r} is not computed here; known: {', '.join(CONVOLUTIONS)}")
    distance = raw["max_relative_positions"]
    places = Disentangled(
        distance=raw["max_position_embeddings"] if distance < 1 else distance,
        buckets=max(raw["position_buckets"], 0),
        content_to_position="c2p" in terms,
        position_to_content="p2c" in terms,
        shared=raw["share_att_key"],
        norm=normed == "layer_norm",
        kernel=kernel,
        convolution_groups=raw["conv_groups"] if kernel else 1,
        convolution_activation=raw["conv_act"] if kernel else "tanh",
    )
    return {
        "disentangled": places,
        "segments": raw["type_vocab_size"],
        "positions": "learned" if raw["position_biased_input"] else "none",
    }


def written(config: EncoderConfig) -> dict[str, Any]:
    d = config.disentangled
    keys: dict[str, Any] = {
        "type_vocab_size": config.segments,
        "position_biased_input": config.positions == "learned",
        "relative_attention": d is not None,
        "attention_probs_dropout_prob": 0.0,
        "legacy": True,
        "pooler_hidden_size": config.stack.dim,
        "pooler_dropout": 0.0,
        "pooler_hidden_act": next((theirs for theirs, ours in POOLERS.items() if ours == config.pooler), "gelu"),
    }
    if d is None:
        return keys
    terms = [("c2p", d.content_to_position), ("p2c", d.position_to_content)]
    keys |= {
        "max_relative_positions": d.distance,
        "position_buckets": d.buckets or -1,
        "share_att_key": d.shared,
        "pos_att_type": [name for name, there in terms if there],
        "norm_rel_ebd": "layer_norm" if d.norm else "none",
    }
    if d.kernel:
        keys |= {
            "conv_kernel_size": d.kernel,
            "conv_groups": d.convolution_groups,
            "conv_act": d.convolution_activation,
        }
    return keys


LAYOUT = Layout(
    model_type="deberta-v2",
    prefix="deberta.",
    name="DebertaV2",
    names={**encoder.NAMES, "max_position_embeddings": "length"},
    defaults={
        **encoder.DEFAULTS,
        "layer_norm_eps": 1e-7,
        "type_vocab_size": 0,
        "max_position_embeddings": 512,
        "max_relative_positions": -1,
        "position_buckets": -1,
        "share_att_key": False,
        "pos_att_type": (),
        "norm_rel_ebd": "none",
        "position_biased_input": True,
        "pooler_hidden_act": "gelu",
        "conv_kernel_size": 0,
        "conv_act": "tanh",
        "conv_groups": 1,
        "relative_attention": False,
    },
    checked={
        **encoder.CHECKED,
        "relative_attention": lambda raw: True,
        "talking_head": False,
        "embedding_size": lambda raw: raw["hidden_size"],
        "pooler_hidden_size": lambda raw: raw["hidden_size"],
        "attention_head_size": lambda raw: raw["hidden_size"] // raw["num_attention_heads"],
    },
    derived=derived,
    written=written,
    ignored=words("cls_dropout legacy padding_idx pooler_dropout z_steps"),
    rows=rows,
    strays=("mask_predictions.{name*}",),  # the discriminator of v3
)
FAMILIES = encoder.families_of(LAYOUT, HEADS)
