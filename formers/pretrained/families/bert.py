"""BERT (Devlin et al. 2019): `google-bert/bert-base-uncased`, MiniLM and their kin.

What is particular: nothing; the other encoders are told apart from it.
"""

from __future__ import annotations

from collections.abc import Iterable
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
from formers.pretrained.family import Family
from formers.pretrained.layouts import encoder
from formers.pretrained.layouts.encoder import Head, Layout
from formers.pretrained.mapping import Row, Rule

WORDS = encoder.word_rows(
    "cls.predictions.transform.dense",
    "cls.predictions.transform.LayerNorm",
    "cls.predictions.bias",
    "cls.predictions.decoder.bias",
)
DECODER = ("cls.predictions.decoder.weight",)
NEXT: list[Row] = [("cls.seq_relationship.{p}", "next.{p}")]
# of a token and of a span: the same in all families
OF_TOKENS = (
    Head(model=TokenClassifier, architecture="ForTokenClassification", rows=encoder.label_row("classifier")),
    Head(model=SpanFinder, architecture="ForQuestionAnswering", rows=encoder.label_row("qa_outputs")),
)
CHOICE = Head(model=MultipleChoice, architecture="ForMultipleChoice", rows=encoder.label_row("classifier"), pooled=True)
HEADS = (
    Head(model=MaskedWords, architecture="ForMaskedLM", rows=WORDS, tied=DECODER),
    Head(model=Pretraining, architecture="ForPreTraining", rows=[*WORDS, *NEXT], tied=DECODER, pooled=True),
    Head(model=NextSentence, architecture="ForNextSentencePrediction", rows=NEXT, pooled=True),
    Head(
        model=SequenceClassifier,
        architecture="ForSequenceClassification",
        rows=encoder.label_row("classifier"),
        pooled=True,
    ),
    *OF_TOKENS,
    CHOICE,
)


def rows(config: EncoderConfig) -> list[Row | Iterable[Rule]]:
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


def families() -> list[Family]:
    return encoder.families_of(LAYOUT, HEADS)
