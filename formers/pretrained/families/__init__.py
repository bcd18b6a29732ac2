"""The families that load and save, by the "model_type" of config.json; one table each, read on demand."""

from __future__ import annotations

import importlib

from formers.errors import CheckpointError, nearest
from formers.pretrained.family import Family

# model_type -> module of this folder and name in it; saving tries them in this order, and the native layouts last
FAMILIES = {
    "marian": "marian:FAMILY", "bart": "bart:FAMILY", "t5": "t5:FAMILY",
    "gpt2": "gpt:GPT2", "openai-gpt": "gpt:GPT", "gpt_neo": "gpt:NEO",
    "llama": "llama:LLAMA", "mistral": "llama:MISTRAL", "qwen2": "llama:QWEN2", "qwen3": "llama:QWEN3",
    "gemma3_text": "gemma:FAMILY",
    "formers-causal": "native:CAUSAL", "formers-transformer": "native:TRANSFORMER",
}


def family(model_type: str) -> Family:
    """The family of a model_type. Raises CheckpointError for one that is not known here."""
    if model_type not in FAMILIES:
        raise CheckpointError(f"model_type {model_type!r} is not supported{nearest(model_type, FAMILIES)}")
    module, _, name = FAMILIES[model_type].partition(":")
    return getattr(importlib.import_module(f"formers.pretrained.families.{module}"), name)


def families() -> list[Family]:
    """All of them, in the order in which saving tries them."""
    return [family(name) for name in FAMILIES]
