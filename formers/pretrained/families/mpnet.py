"""MPNet (Song et al. 2020): `microsoft/mpnet-base`, `sentence-transformers/all-mpnet-base-v2`.

What is particular: T5's learned bias on the scores beside learned positions that are counted from 2; no segments.
"""

from __future__ import annotations

from typing import Any

from formers.models.encoder import EncoderConfig
from formers.pretrained.config_map import Raw
from formers.pretrained.families import roberta
from formers.pretrained.layouts import encoder
from formers.pretrained.layouts.encoder import Layout
from formers.pretrained.mapping import Rows

LAYER = (
    "attention.attn.q attention.attn.k attention.attn.v attention.attn.o attention.LayerNorm intermediate.dense "
    "output.dense output.LayerNorm"
)


def rows(config: EncoderConfig) -> Rows:
    return [
        *encoder.embeddings(config),
        *encoder.layer("encoder.layer.{i}", LAYER),
        ("encoder.relative_attention_bias.weight", "stack.relative.weight"),
    ]


def derived(raw: Raw) -> dict[str, Any]:
    return {"length": raw["max_position_embeddings"] - 2}


def written(config: EncoderConfig) -> dict[str, Any]:
    return {
        "max_position_embeddings": config.length + 2,
        "attention_probs_dropout_prob": 0.0,
        "relative_attention_num_buckets": 32,
    }


LAYOUT = Layout(
    model_type="mpnet",
    prefix="mpnet.",
    name="MPNet",
    fixed={"segments": 0, "position_offset": 2, "relative_buckets": 32, "relative_distance": 128},
    defaults={**encoder.DEFAULTS, "max_position_embeddings": 512},
    # transformers puts distances into 32 buckets and counts positions over the tokens that are not 1, come what may
    checked={**encoder.CHECKED, "relative_attention_num_buckets": 32, "pad_token_id": 1},
    derived=derived,
    written=written,
    rows=rows,
    pooler="pooler.dense",
)
FAMILIES = encoder.families_of(LAYOUT, roberta.HEADS)
