"""Tokens out of a model: the loop (search), which token (strategies), what is allowed (filters), the writer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from formers.decoding.decodable import Decodable
    from formers.decoding.filters import Filter
    from formers.decoding.search import Hypothesis, Step, complete, generate, score
    from formers.decoding.strategies import Beam, Greedy, Sample, Strategy

__all__ = [
    "generate", "complete", "score", "Greedy", "Sample", "Beam",
    "Hypothesis", "Step", "Filter", "Strategy", "Decodable",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import on first use: the options, which help texts are made of, cost nothing."""
    from importlib import import_module

    if name in __all__:
        for module in ("decodable", "filters", "search", "strategies"):
            if name in vars(place := import_module(f"formers.decoding.{module}")):
                return vars(place)[name]
    raise AttributeError(f"module 'formers.decoding' has no attribute {name!r}")
