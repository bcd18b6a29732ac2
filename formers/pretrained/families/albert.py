"""ALBERT (Lan et al. 2020): `albert/albert-base-v2`.

What is particular: narrow embeddings, and blocks that run many times ("groups": usually one).
"""

from __future__ import annotations

from typing import Any

from formers.models.encoder import EncoderConfig
from formers.models.heads import MaskedWords, Pretraining, SequenceClassifier
from formers.pretrained.config_map import Raw
from formers.pretrained.families import bert
from formers.pretrained.layouts import encoder
from formers.pretrained.layouts.encoder import Head, Layout
from formers.pretrained.mapping import Row, Rows

LAYER = (
    "attention.query attention.key attention.value attention.dense attention.LayerNorm ffn ffn_output "
    "full_layer_layer_norm"
)
WORDS = encoder.word_rows("predictions.dense", "predictions.LayerNorm", "predictions.bias", "predictions.decoder.bias")
DECODER = ("predictions.decoder.weight",)
ORDER: list[Row] = [("sop_classifier.classifier.{p}", "next.{p}")]
HEADS = (
    Head(MaskedWords, WORDS, tied=DECODER),
    Head(Pretraining, [*WORDS, *ORDER], tied=DECODER),
    Head(SequenceClassifier, encoder.label_row("classifier")),
    *bert.OF_TOKENS,
    bert.CHOICE,
)


def rows(config: EncoderConfig) -> Rows:
    return [
        *encoder.embeddings(config),
        ("encoder.embedding_hidden_mapping_in.{p}", "project.{p}"),
        *encoder.layer("encoder.albert_layer_groups.{i}.albert_layers.0", LAYER),
    ]


def derived(raw: Raw) -> dict[str, Any]:
    layers, groups = raw["num_hidden_layers"], raw["num_hidden_groups"]
    if groups < 1 or layers % groups:
        raise ValueError(f"num_hidden_layers ({layers}) must be a multiple of num_hidden_groups ({groups})")
    return {**bert.derived(raw), "repeat": layers // groups, "embedding_dim": raw["embedding_size"]}


def written(config: EncoderConfig) -> dict[str, Any]:
    return {
        **bert.written(config),
        "embedding_size": config.embedding_dim,
        "inner_group_num": 1,
        "num_hidden_groups": config.stack.layers // config.repeat,
    }


LAYOUT = Layout(
    model_type="albert",
    prefix="albert.",
    name="Albert",
    names={**encoder.NAMES, "max_position_embeddings": "length"},
    defaults={
        **encoder.DEFAULTS,
        "hidden_act": "gelu_new",
        "hidden_dropout_prob": 0.0,
        "type_vocab_size": 2,
        "max_position_embeddings": 512,
        "embedding_size": 128,
        "num_hidden_groups": 1,
    },
    # what its authors tried, in published files
    checked={
        **encoder.CHECKED,
        "inner_group_num": 1,
        "down_scale_factor": 1,
        "gap_size": 0,
        "net_structure_type": 0,
        "num_memory_blocks": 0,
    },
    derived=derived,
    written=written,
    rows=rows,
    pooler="pooler",
)
FAMILIES = encoder.families_of(LAYOUT, HEADS)
