"""DistilBERT (Sanh et al. 2019): `distilbert/distilbert-base-uncased`.

What is particular: names and config keys of its own, no segments, no pooler; a dense layer with ReLU is in front of
the label of a text.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from formers.models.encoder import EncoderConfig
from formers.models.heads import MaskedWords, MultipleChoice, SequenceClassifier
from formers.pretrained.config_map import ACTIVATIONS, pairs, words
from formers.pretrained.families import bert
from formers.pretrained.layouts import encoder
from formers.pretrained.layouts.encoder import Head, Layout
from formers.pretrained.mapping import Rows

NAMES: dict[str, Any] = {
    **pairs("""
        dim=stack.dim n_layers=stack.layers n_heads=stack.heads hidden_dim=stack.hidden dropout=stack.dropout
        vocab_size=vocab max_position_embeddings=length
    """),
    "activation": ("stack.activation", ACTIVATIONS),
}
LAYER = (
    "attention.q_lin attention.k_lin attention.v_lin attention.out_lin sa_layer_norm ffn.lin1 ffn.lin2 "
    "output_layer_norm"
)
WORDS = encoder.word_rows("vocab_transform", "vocab_layer_norm", "vocab_projector.bias")
LABEL = Head(SequenceClassifier, encoder.label_row("classifier"), dense="pre_classifier", activation="relu")
HEADS = (
    Head(MaskedWords, WORDS, tied=("vocab_projector.weight",)),
    LABEL,
    *bert.OF_TOKENS,
    replace(LABEL, model=MultipleChoice),
)


def rows(config: EncoderConfig) -> Rows:
    return [*encoder.embeddings(config), *encoder.layer("transformer.layer.{i}", LAYER)]


LAYOUT = Layout(
    model_type="distilbert",
    prefix="distilbert.",
    name="DistilBert",
    names=NAMES,
    fixed={"segments": 0, "stack.norm_eps": 1e-12},
    defaults={"activation": "gelu", "dropout": 0.1, "max_position_embeddings": 512},
    aliases={"hidden_size": "dim", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers"},
    written=lambda config: {"attention_dropout": 0.0},
    # a table of sines is stored like a learned one
    ignored=words("qa_dropout seq_classif_dropout sinusoidal_pos_embds tie_weights_"),
    rows=rows,
)
FAMILIES = encoder.families_of(LAYOUT, HEADS)
