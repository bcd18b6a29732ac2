"""Labels of texts on a decoder: what makes a classifier of the family of a language model or encoder-decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from formers.models.heads import HeadConfig, SequenceClassifier
from formers.pretrained.config_map import ConfigMap, Raw
from formers.pretrained.family import Family
from formers.pretrained.layouts.encoder import about_labels, moved, names_within, values_within, written_labels
from formers.pretrained.mapping import Rows

SCORE = [("score.weight", "out.weight")]
KEPT = {"encoder.tied": True, "pooling": "last"}  # no output head of its own is left


def classifier(
    kind: Family,
    architecture: str,
    rows: Rows,
    *,
    fixed: Mapping[str, Any],
    derived: Callable[[Raw], Mapping[str, Any]] = lambda raw: {},
    written: Callable[[HeadConfig], Mapping[str, Any]] = lambda config: {},
    defaults: Raw | None = None,
) -> Family:
    """The classifier on what `kind` reads with: its table with the head's `rows` beside it, which are whole on both
    sides. fixed, derived, written: of the whole HeadConfig, over what `kind` says of its own.
    """
    theirs = kind.config
    assert isinstance(theirs, ConfigMap)

    def all_derived(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        inner = values_within(theirs.derived(raw, tensors))
        about = about_labels(raw, tensors, SequenceClassifier, rows)
        return {**inner, **KEPT, **fixed, **derived(raw), **about}

    def all_written(config: HeadConfig) -> dict[str, Any]:
        inner = {key: value for key, value in theirs.written(config.encoder).items() if key != "tie_word_embeddings"}
        return {**inner, **written(config), **written_labels(config, SequenceClassifier)}

    return replace(
        kind,
        model=SequenceClassifier,
        body=theirs.config,
        config=replace(
            theirs,
            config=HeadConfig,
            names=names_within(theirs.names),
            fixed=values_within(theirs.fixed),
            defaults={**theirs.defaults, **(defaults or {})},
            derived=all_derived,
            written=all_written,
            canonical=lambda config: replace(config, encoder=theirs.canonical(config.encoder)),
        ),
        weights=lambda config: [*moved(kind.table(config.encoder), "", "encoder."), *rows],
        architectures=(architecture,),
        also=(),
        generation={},
    )


def with_classifier(kind: Family, architecture: str = "") -> list[Family]:
    """A language model, and the label that is read after a text's last token."""
    (own,) = kind.architectures
    name = architecture or own.replace("ForCausalLM", "").replace("LMHeadModel", "") + "ForSequenceClassification"
    return [kind, classifier(kind, name, SCORE, fixed={"bias": False})]
