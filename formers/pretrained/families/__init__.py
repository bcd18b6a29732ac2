"""The families that load and save, by the "model_type" of config.json; one table each, read on demand."""

from __future__ import annotations

import importlib

from formers.errors import CheckpointError, nearest
from formers.pretrained.family import Family

# model_type -> module of this folder; saving tries them in this order, and the native layout last
FAMILIES = {"marian": "marian", "bart": "bart", "t5": "t5", "formers-transformer": "native"}


def family(model_type: str) -> Family:
    """The family of a model_type. Raises CheckpointError for one that is not known here."""
    if model_type not in FAMILIES:
        raise CheckpointError(f"model_type {model_type!r} is not supported{nearest(model_type, FAMILIES)}")
    return importlib.import_module(f"formers.pretrained.families.{FAMILIES[model_type]}").FAMILY


def families() -> list[Family]:
    """All of them, in the order in which saving tries them."""
    return [family(name) for name in FAMILIES]
