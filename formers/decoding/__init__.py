"""Tokens out of a model: how to go on (generate), which token to take (strategies), what is allowed (filters)."""

from formers.decoding.filters import Filter
from formers.decoding.generate import Decodable, Hypothesis, Step, complete, generate, score
from formers.decoding.strategies import Beam, Greedy, Sample, Strategy

__all__ = [
    "Beam", "Decodable", "Filter", "Greedy", "Hypothesis", "Sample", "Step", "Strategy", "complete", "generate", "score",
]
