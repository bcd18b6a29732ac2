"""ELECTRA as it is pre-trained: a small generator guesses hidden words, a discriminator finds its guesses.

    tokens with masks -> generator -> words drawn -> discriminator -> which tokens are not the original ones

Paper: Clark et al. 2020. What is particular:
  * Both read the same tables of tokens, positions and segments; the generator is narrower behind them.
  * Nothing flows back through the drawn words: each learns from a loss of its own.
"""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from formers.models.encoder import EncoderConfig
from formers.models.heads import HeadConfig, MaskedWords, ReplacedTokens


def generator_config(config: EncoderConfig, share: float) -> EncoderConfig:
    """A narrower encoder on embeddings of the same width: `share` of the heads and of the feed-forward."""
    s = config.stack
    heads = max(1, round(s.heads * share))
    width = config.embedding_dim or s.dim
    dim = heads * (s.dim // s.heads)
    stack = replace(s, heads=heads, dim=dim, hidden=max(1, round(s.hidden * share)))
    return replace(config, stack=stack, embedding_dim=None if width == dim else width, pooler="")


class ReplacedPretraining(nn.Module):
    """The two models, with one set of embeddings: the discriminator's."""

    def __init__(self, generator: MaskedWords, discriminator: ReplacedTokens) -> None:
        """Raises ValueError where their embeddings are not of one size."""
        super().__init__()
        self.generator, self.discriminator = generator, discriminator
        ours, theirs = discriminator.encoder, generator.encoder
        sizes = [tuple(encoder.embedding.weight.shape) for encoder in (ours, theirs)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"the generator's embeddings {sizes[1]} must be of the discriminator's size {sizes[0]}")
        theirs.embedding, theirs.positions, theirs.segments = ours.embedding, ours.positions, ours.segments


def with_generator(discriminator: ReplacedTokens, share: float) -> ReplacedPretraining:
    """A discriminator with a new generator."""
    config = generator_config(discriminator.encoder.config, share)
    generator = MaskedWords(HeadConfig(encoder=config)).to(discriminator.out.weight.device)
    return ReplacedPretraining(generator, discriminator)
