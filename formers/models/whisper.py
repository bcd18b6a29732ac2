"""Whisper: speech as a spectrogram in, text with times out.

    mels -> convolution -> convolution (half as many frames) + sinusoids -> Stack -> memory
    tokens -> embed + learned positions -> causal Stack reading memory -> logits of the next token

Paper: Radford et al. 2022 "Robust Speech Recognition via Large-Scale Weak Supervision". What is particular:
  * keys have no bias; both stacks normalise first; the head is the embedding.
  * the encoder's sinusoids are fixed, all sines before all cosines, and stored with the weights.
  * published models read 30 seconds, padded with silence; fewer frames are fewer positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from formers.blocks.cache import Cache
from formers.blocks.dropout import dropout
from formers.blocks.embedding import embed
from formers.blocks.output import LinearHead
from formers.blocks.position import Learned, sinusoids
from formers.blocks.stack import Stack, StackConfig


@dataclass(frozen=True, kw_only=True)
class WhisperConfig:
    encoder: StackConfig
    decoder: StackConfig
    vocab: int = 51865
    bands: int = 80
    """Mel bands of a frame (large-v3: 128)."""
    frames: int = 1500
    """Most positions of the encoder, two frames of the spectrogram each."""
    length: int = 448
    """Most tokens, the prompt's included."""


class Whisper(nn.Module):
    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        c = self.config = config
        self.convolutions = nn.ModuleList(
            [
                nn.Conv1d(c.bands, c.encoder.dim, 3, padding=1),
                nn.Conv1d(c.encoder.dim, c.encoder.dim, 3, padding=1, stride=2),
            ]
        )
        self.source_positions = Learned(c.frames, c.encoder.dim)
        self.encoder = Stack(c.encoder)
        self.embedding = nn.Embedding(c.vocab, c.decoder.dim)
        self.target_positions = Learned(c.length, c.decoder.dim)
        self.decoder = Stack(c.decoder, causal=True, memory_dim=c.encoder.dim)
        self.initialise()

    def initialise(self) -> None:
        """Normal matrices and embeddings (deviation 0.02), zero biases; the encoder's positions are not learned."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear | nn.Conv1d) and module.bias is not None:
                nn.init.zeros_(module.bias)
        table = sinusoids(self.config.frames, self.config.encoder.dim, split=True, inclusive=True)
        self.source_positions.weight = nn.Parameter(table.to(self.source_positions.weight.device), requires_grad=False)

    def forward(
        self,
        mels: Float[Tensor, "batch bands frames"],
        tokens: Int[Tensor, "batch length"],
        *,
        keep: Bool[Tensor, "batch length"] | None = None,
    ) -> Float[Tensor, "batch length vocab"]:
        """Logits of the token after each (teacher forcing); keep: True is a real token, padding stands behind."""
        return self.logits(self.features(mels, tokens, keep=keep))

    def features(
        self, mels: Tensor, tokens: Tensor, *, keep: Tensor | None = None
    ) -> Float[Tensor, "batch length dim"]:
        """What the head reads: a loss that needs logits of some positions only takes these."""
        return self.decode(tokens, self.encode(mels), keep=keep)

    def encode(self, mels: Float[Tensor, "batch bands frames"]) -> Float[Tensor, "batch positions dim"]:
        """The memory, one vector for every second frame."""
        x = mels
        for convolution in self.convolutions:
            x = F.gelu(convolution(x))
        x = x.transpose(1, 2)
        x = x + self.source_positions(0, x.shape[1], x)
        return self.encoder(dropout(x, self.config.encoder.dropout, self.training))

    def decode(
        self,
        tokens: Int[Tensor, "rows length"],
        memory: Float[Tensor, "batch positions dim"],
        *,
        keep: Tensor | None = None,
        cache: Cache | None = None,
        last: bool = False,
    ) -> Float[Tensor, "rows asked dim"]:
        """What the head reads; `last`: as in `CausalLM`."""
        start = 0 if cache is None else cache.length
        x = embed(tokens, self.embedding, self.target_positions, scale=1.0, start=start)
        x = dropout(x, self.config.decoder.dropout, self.training)
        return self.decoder(x, keep=keep, memory=memory, cache=cache, last=last)

    def logits(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        return self.output.logits(x)

    @property
    def output(self) -> LinearHead:
        return LinearHead(self.embedding.weight, None, None)

    def begin(self, mels: Float[Tensor, "batch bands frames"], *, capacity: int) -> Cache:
        """Encode, and make the cache that `extend` fills with up to `capacity` tokens."""
        return self.remember(self.encode(mels), capacity=capacity)

    def remember(self, memory: Float[Tensor, "batch positions dim"], *, capacity: int) -> Cache:
        """The cache of a text that is written from this memory."""
        return Cache(self.config.decoder.layers, capacity, memory=memory)

    def extend(self, tokens: Int[Tensor, "rows new"], cache: Cache, *, keep: Tensor | None = None) -> Tensor:
        """Read the next tokens and give the logits (rows, vocab) of the token after the last one."""
        assert cache.memory is not None and keep is None, "prompts of one batch are equally long"
        return self.logits(self.decode(tokens, cache.memory, cache=cache, last=True)[:, -1])

    def extend_all(self, tokens: Int[Tensor, "rows new"], cache: Cache) -> Float[Tensor, "rows new vocab"]:
        """As `extend`, with the logits after each of the tokens."""
        assert cache.memory is not None
        return self.logits(self.decode(tokens, cache.memory, cache=cache))


_SIZES = {"tiny": (4, 384, 6), "base": (6, 512, 8), "small": (12, 768, 12), "medium": (24, 1024, 16)}
_SIZES["large"] = (32, 1280, 20)


def whisper_size(name: str, *, vocab: int, bands: int = 80, decoder_layers: int | None = None) -> WhisperConfig:
    """A published size: tiny, base, small, medium or large (turbo: large with 4 decoder layers, 128 bands)."""
    layers, dim, heads = _SIZES[name]
    encoder = StackConfig(dim=dim, layers=layers, heads=heads, hidden=4 * dim, bias="qvo")
    decoder = StackConfig(dim=dim, layers=decoder_layers or layers, heads=heads, hidden=4 * dim, bias="qvo")
    return WhisperConfig(encoder=encoder, decoder=decoder, vocab=vocab, bands=bands)
