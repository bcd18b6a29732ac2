"""Tokens out of a model: the loop (generate), which token (strategies), what is allowed (filters), the writer."""

from formers.decoding.decodable import Decodable
from formers.decoding.filters import Filter
from formers.decoding.generate import Hypothesis, Step, complete, generate, score
from formers.decoding.strategies import Beam, Greedy, Sample, Strategy

__all__ = [
    "generate", "complete", "score", "Greedy", "Sample", "Beam",
    "Hypothesis", "Step", "Filter", "Strategy", "Decodable",
]  # fmt: skip
