"""RoBERTa (Liu et al. 2019), XLM-RoBERTa and CamemBERT: `FacebookAI/roberta-base`, `xlm-roberta-base`.

What is particular: learned positions are counted from the number after that of padding, and the label of a text has
a dense layer of its own.
"""

from __future__ import annotations

from typing import Any

from formers.models.encoder import EncoderConfig
from formers.models.heads import MaskedWords, SequenceClassifier
from formers.pretrained.config_map import Raw
from formers.pretrained.families import bert
from formers.pretrained.family import Family
from formers.pretrained.layouts import encoder
from formers.pretrained.layouts.encoder import Head, Layout

WORDS = encoder.word_rows("lm_head.dense", "lm_head.layer_norm", "lm_head.bias", "lm_head.decoder.bias")
HEADS = (
    Head(MaskedWords, WORDS, tied=("lm_head.decoder.weight",), check=encoder.exact_gelu),
    Head(SequenceClassifier, encoder.label_row("classifier.out_proj"), dense="classifier.dense"),
    *bert.OF_TOKENS,
    bert.CHOICE,
)


def derived(raw: Raw) -> dict[str, Any]:
    pad = raw["pad_token_id"]
    if pad < 0:
        raise ValueError(f"pad_token_id is {pad}, expected at least 0: positions are counted from the next number")
    return {**bert.derived(raw), "position_offset": pad + 1, "length": raw["max_position_embeddings"] - pad - 1}


def written(config: EncoderConfig) -> dict[str, Any]:
    return {
        **bert.written(config),
        "pad_token_id": config.position_offset - 1,
        "max_position_embeddings": config.length + config.position_offset,
    }


def families(model_type: str, name: str) -> list[Family]:
    """Of one of the three, which differ in their names only."""
    layout = Layout(
        model_type=model_type,
        prefix="roberta.",
        name=name,
        defaults={**encoder.DEFAULTS, "type_vocab_size": 2, "max_position_embeddings": 512, "pad_token_id": 1},
        derived=derived,
        written=written,
        rows=bert.rows,
        pooler="pooler.dense",
    )
    return encoder.families_of(layout, HEADS)


ROBERTA = families("roberta", "Roberta")
XLM_ROBERTA = families("xlm-roberta", "XLMRoberta")
CAMEMBERT = families("camembert", "Camembert")
