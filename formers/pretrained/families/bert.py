"""BERT (Devlin et al. 2019): `google-bert/bert-base-uncased`, MiniLM and their kin.

What is particular: nothing; the other encoders are told apart from it.
"""

from __future__ import annotations

from typing import Any

from formers.models.encoder import EncoderConfig
from formers.models.heads import (
    MaskedWords,
    MultipleChoice,
    NextSentence,
    Pretraining,
    SequenceClassifier,
    SpanFinder,
    TokenClassifier,
)
from formers.pretrained.config_map import Raw
from formers.pretrained.layouts import encoder
from formers.pretrained.layouts.encoder import Head, Layout
from formers.pretrained.mapping import Row, Rows

WORDS = encoder.word_rows(
    "cls.predictions.transform.dense",
    "cls.predictions.transform.LayerNorm",
    "cls.predictions.bias",
    "cls.predictions.decoder.bias",
)
DECODER = ("cls.predictions.decoder.weight",)
NEXT: list[Row] = [("cls.seq_relationship.{p}", "next.{p}")]
# of a token and of a span: the same in all families
OF_TOKENS = (Head(TokenClassifier, encoder.label_row("classifier")), Head(SpanFinder, encoder.label_row("qa_outputs")))
CHOICE = Head(MultipleChoice, encoder.label_row("classifier"))
HEADS = (
    Head(MaskedWords, WORDS, tied=DECODER),
    Head(Pretraining, [*WORDS, *NEXT], tied=DECODER),
    Head(NextSentence, NEXT),
    Head(SequenceClassifier, encoder.label_row("classifier")),
    *OF_TOKENS,
    CHOICE,
)


def rows(config: EncoderConfig) -> Rows:
    return [*encoder.embeddings(config), *encoder.layer("encoder.layer.{i}")]


def derived(raw: Raw) -> dict[str, Any]:
    if raw["type_vocab_size"] < 1:
        raise ValueError(f"type_vocab_size is {raw['type_vocab_size']}, expected at least 1")
    return {"segments": raw["type_vocab_size"]}


def written(config: EncoderConfig) -> dict[str, Any]:
    return {"type_vocab_size": config.segments, "attention_probs_dropout_prob": 0.0}


LAYOUT = Layout(
    model_type="bert",
    prefix="bert.",
    name="Bert",
    names={**encoder.NAMES, "max_position_embeddings": "length"},
    defaults={**encoder.DEFAULTS, "type_vocab_size": 2, "max_position_embeddings": 512},
    derived=derived,
    written=written,
    rows=rows,
    pooler="pooler.dense",
)
FAMILIES = encoder.families_of(LAYOUT, HEADS)
