"""Tokens out of a model: the loop (generate), which token to take (strategies), what is allowed (filters)."""

from formers.decoding.filters import Filter
from formers.decoding.generate import Decodable, Hypothesis, Step, complete, generate, score
from formers.decoding.strategies import Beam, Greedy, Sample, Strategy

__all__ = [
    "generate", "complete", "score", "Greedy", "Sample", "Beam",
    "Hypothesis", "Step", "Filter", "Strategy", "Decodable",
]  # fmt: skip
