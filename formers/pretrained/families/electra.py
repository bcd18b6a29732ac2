"""ELECTRA (Clark et al. 2020): `google/electra-small-discriminator` and `-generator`.

What is particular: embeddings may be narrower than the stream, bodies have no pooler, and the discriminator tells
which tokens are replaced.
"""

from __future__ import annotations

from typing import Any

from formers.models.encoder import EncoderConfig
from formers.models.heads import MaskedWords, MultipleChoice, ReplacedTokens, SequenceClassifier
from formers.pretrained.config_map import Raw
from formers.pretrained.families import bert
from formers.pretrained.layouts import encoder
from formers.pretrained.layouts.encoder import Head, Layout
from formers.pretrained.mapping import Row, Rows

WORDS = encoder.word_rows("generator_predictions.dense", "generator_predictions.LayerNorm", "generator_lm_head.bias")
REPLACED: list[Row] = [
    ("discriminator_predictions.dense.{p}", "dense.{p}"),
    ("discriminator_predictions.dense_prediction.{p}", "out.{p}"),
]
LABEL, CHOICE = encoder.label_row("classifier.out_proj"), encoder.label_row("classifier")
HEADS = (
    Head(MaskedWords, WORDS, tied=("generator_lm_head.weight",), check=encoder.exact_gelu),
    Head(ReplacedTokens, REPLACED),
    Head(SequenceClassifier, LABEL, dense="classifier.dense", activation="gelu"),
    *bert.OF_TOKENS,
    Head(MultipleChoice, CHOICE, dense="sequence_summary.summary", activation="gelu"),
)


def rows(config: EncoderConfig) -> Rows:
    project: list[Row] = [("embeddings_project.{p}", "project.{p}")] if config.embedding_dim else []
    return [*bert.rows(config), *project]


def derived(raw: Raw) -> dict[str, Any]:
    dim = raw["hidden_size"]
    width = raw.get("embedding_size", dim)
    return {**bert.derived(raw), "embedding_dim": None if width == dim else width}


def written(config: EncoderConfig) -> dict[str, Any]:
    return {**bert.written(config), "embedding_size": config.embedding_dim or config.stack.dim}


LAYOUT = Layout(
    model_type="electra",
    prefix="electra.",
    name="Electra",
    names={**encoder.NAMES, "max_position_embeddings": "length"},
    defaults={**encoder.DEFAULTS, "type_vocab_size": 2, "max_position_embeddings": 512, "embedding_size": 128},
    checked={**encoder.CHECKED, "summary_type": "first", "summary_use_proj": True, "summary_activation": "gelu"},
    derived=derived,
    written=written,
    rows=rows,
)
FAMILIES = encoder.families_of(LAYOUT, HEADS)
