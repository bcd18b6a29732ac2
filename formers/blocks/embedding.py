"""From token numbers to vectors: the sum of token, position and segment embeddings."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from formers.blocks.position import Learned, Sinusoidal


def embed(
    tokens: Int[Tensor, "batch length"],
    table: nn.Embedding,
    positions: Sinusoidal | Learned | None = None,
    *,
    scale: float = 1.0,
    start: int = 0,
    at: Int[Tensor, "batch length"] | None = None,
    segments: Float[Tensor, "#batch #length dim"] | None = None,
) -> Float[Tensor, "batch length dim"]:
    """scale * token + position + segment; `start` is the position of the first token, or `at` those of all."""
    x = table(tokens)
    if scale != 1.0:
        x = x * scale
    if positions is not None:
        x = x + positions(start, tokens.shape[1], x, at)
    return x if segments is None else x + segments
