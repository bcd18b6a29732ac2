"""A Conformer with two heads: CTC over its frames, and a decoder that reads them and writes the text.

    features -> ConformerEncoder -> memory -> Linear -> a token or the blank for each frame
                                       tokens -> embed -> causal Stack reading memory -> the next token

Papers: Watanabe et al. 2017 "Hybrid CTC/Attention"; Zhang et al. 2021 (U2). What is particular:
  * Both heads have one vocabulary; the decoder begins and ends with the blank, which a text never has.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from formers.blocks.cache import Cache
from formers.blocks.embedding import embed
from formers.blocks.position import Sinusoidal
from formers.blocks.stack import Stack, StackConfig
from formers.models.conformer import ConformerEncoder, ConformerEncoderConfig, Lengths, keep_of


@dataclass(frozen=True, kw_only=True)
class HybridConfig:
    encoder: ConformerEncoderConfig
    decoder: StackConfig
    vocab: int
    """Letters or pieces, with the blank."""
    blank: int
    """Says nothing in a frame; begins and ends what the decoder writes."""
    length: int = 1024
    """Most tokens of a text."""


class HybridConformer(nn.Module):
    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        c = self.config = config
        self.encoder = ConformerEncoder(c.encoder)
        self.out = nn.Linear(c.encoder.stack.dim, c.vocab)
        self.embedding = nn.Embedding(c.vocab, c.decoder.dim)
        nn.init.normal_(self.embedding.weight, std=c.decoder.dim**-0.5)
        self.positions = Sinusoidal(c.decoder.dim)
        self.decoder = Stack(c.decoder, causal=True, memory_dim=c.encoder.stack.dim)
        self.head = nn.Linear(c.decoder.dim, c.vocab)

    def forward(
        self, features: Float[Tensor, "batch frames *mels"], *, lengths: Lengths | None = None
    ) -> tuple[Float[Tensor, "batch fewer vocab"], Lengths]:
        """The logits of CTC, and how many frames of them each row has; as `Conformer`."""
        x, lengths = self.encoder(features, lengths=lengths)
        return self.out(x), lengths

    def decode(
        self,
        tokens: Int[Tensor, "batch new"],
        memory: Float[Tensor, "batch frames dim"],
        keep: Tensor | None = None,
        *,
        cache: Cache | None = None,
    ) -> Float[Tensor, "batch new vocab"]:
        """The logits of the token after each; memory: what the encoder gives, keep: its real frames."""
        start = 0 if cache is None else cache.length
        x = embed(tokens, self.embedding, self.positions, scale=self.config.decoder.dim**0.5, start=start)
        return self.head(self.decoder(x, memory=memory, memory_keep=keep, cache=cache))

    def begin(self, memory: Tensor, lengths: Lengths, *, capacity: int) -> Cache:
        """A cache for so many tokens of texts whose frames these are; what `extend` fills."""
        keep = keep_of(lengths, memory.shape[1])
        return Cache(self.config.decoder.layers, capacity, memory=memory, memory_keep=None if keep.all() else keep)

    def extend(self, tokens: Int[Tensor, "rows new"], cache: Cache, *, keep: Tensor | None = None) -> Tensor:
        """The logits (rows, vocab) of what follows these tokens."""
        assert cache.memory is not None and keep is None
        return self.decode(tokens, cache.memory, cache.memory_keep, cache=cache)[:, -1]

    def extend_all(self, tokens: Int[Tensor, "rows new"], cache: Cache) -> Tensor:
        """As `extend`, after each of the tokens."""
        assert cache.memory is not None
        return self.decode(tokens, cache.memory, cache.memory_keep, cache=cache)
