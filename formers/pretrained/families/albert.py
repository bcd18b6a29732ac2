"""ALBERT (Lan et al. 2020): `albert/albert-base-v2`.

What is particular: narrow embeddings, and blocks that run many times ("groups": usually one). A group may have
several blocks that take turns; each of `num_hidden_layers` runs them all.
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
        *(
            rule
            for group in range(groups_of(config))
            for inner in range(config.cycle)
            for rule in encoder.layer(
                f"encoder.albert_layer_groups.{group}.albert_layers.{inner}",
                LAYER,
                f"stack.blocks.{group * config.cycle + inner}",
            )
        ),
    ]


def groups_of(config: EncoderConfig) -> int:
    return config.stack.layers // (config.repeat * config.cycle)


def derived(raw: Raw) -> dict[str, Any]:
    layers, groups, inner = raw["num_hidden_layers"], raw["num_hidden_groups"], raw["inner_group_num"]
    if inner < 1:
        raise ValueError(f"inner_group_num is {inner}, expected at least 1")
    if groups < 1 or layers % groups:
        raise ValueError(f"num_hidden_layers ({layers}) must be a multiple of num_hidden_groups ({groups})")
    return {
        **bert.derived(raw),
        "stack.layers": layers * inner,
        "repeat": layers // groups,
        "cycle": inner,
        "embedding_dim": raw["embedding_size"],
    }


def written(config: EncoderConfig) -> dict[str, Any]:
    return {
        **bert.written(config),
        "embedding_size": config.embedding_dim,
        "inner_group_num": config.cycle,
        "num_hidden_layers": config.stack.layers // config.cycle,
        "num_hidden_groups": groups_of(config),
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
        "inner_group_num": 1,
    },
    # what its authors tried, in published files
    checked={**encoder.CHECKED, "down_scale_factor": 1, "gap_size": 0, "net_structure_type": 0, "num_memory_blocks": 0},
    derived=derived,
    written=written,
    rows=rows,
    pooler="pooler",
)
FAMILIES = encoder.families_of(LAYOUT, HEADS)
