"""The section [model] of a recipe: the sizes of a new model, whose form says the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from formers.blocks.stack import StackConfig
from formers.errors import ConfigError, nearest
from formers.models import causal, encoder, transformer
from formers.models.causal import CausalConfig
from formers.models.encoder import EncoderConfig
from formers.models.transformer import TransformerConfig


def check_sizes(sizes: Any, forms: Mapping[str, Any], counts: Sequence[str]) -> None:
    """Refuse an unknown form, a count below 1, heads that do not share dim evenly, an impossible dropout."""
    if sizes.form not in forms:
        raise ConfigError(f'model.form "{sizes.form}" is not known{nearest(sizes.form, forms)}')
    for name in counts:
        if getattr(sizes, name) < 1:
            raise ConfigError(f"model.{name} ({getattr(sizes, name)}) must be at least 1")
    pairs = 2 if forms[sizes.form].positions == "rotary" else 1  # rotary turns pairs of features
    if sizes.dim % (sizes.heads * pairs):
        raise ConfigError(
            f"model.dim ({sizes.dim}) must be a multiple of {'2 * ' if pairs == 2 else ''}model.heads ({sizes.heads})"
        )
    if not 0 <= sizes.dropout < 1:
        raise ConfigError(f"model.dropout ({sizes.dropout}) must be in [0, 1)")


def stack_sizes(sizes: Any) -> dict[str, Any]:
    """What the section says of a model with one stack of blocks."""
    return {name: getattr(sizes, name) for name in ("dim", "layers", "heads", "hidden", "dropout")}


@dataclass(frozen=True, kw_only=True)
class TransformerSizes:
    """The sizes of a new encoder-decoder; its form says the rest."""

    start: str = ""
    """A run, folder or hub id whose weights and tokenizer to start from; the sizes below are then its own."""
    form: str = "marian"
    """original (2017), marian, bart, t5, t5_v1_1, or modern (pre-norm, RMS norm, rotary, gated)."""
    dim: int = 256
    """Width of the residual stream."""
    encoder_layers: int = 3
    """Blocks of the encoder."""
    decoder_layers: int = 3
    """Blocks of the decoder."""
    heads: int = 4
    """Attention heads."""
    hidden: int = 1024
    """Width inside the feed-forward."""
    dropout: float = 0.1
    """Share of each residual branch and of the embeddings set to zero while training."""
    length: int = 512
    """Most tokens of a sentence."""

    def __post_init__(self) -> None:
        check_sizes(self, transformer.FORMS, ("dim", "encoder_layers", "decoder_layers", "heads", "hidden", "length"))

    def config(self, vocab: int) -> TransformerConfig:
        """The whole config for a vocabulary."""
        published = transformer.FORMS[self.form]
        stack: dict[str, Any] = {
            "dim": self.dim,
            "heads": self.heads,
            "hidden": self.hidden,
            "dropout": self.dropout,
            **published.stack,
        }
        rest = dict(published.rest)
        if published.positions == "relative":  # T5: the tied head is scaled
            stack["head_dim"] = self.dim // self.heads
            rest["head_scale"] = self.dim**-0.5 if rest.get("tied", True) else None
        return TransformerConfig(
            encoder=StackConfig(layers=self.encoder_layers, **stack),
            decoder=StackConfig(layers=self.decoder_layers, **stack),
            vocab=vocab,
            positions=published.positions,
            length=self.length,
            **rest,
        )


@dataclass(frozen=True, kw_only=True)
class CausalSizes:
    """The sizes of a new language model; its form says the rest."""

    start: str = ""
    """A run, folder or hub id whose weights and tokenizer to start from; the sizes below are then its own."""
    form: str = "gpt2"
    """gpt (2018), gpt2, llama, qwen2 or qwen3."""
    dim: int = 128
    """Width of the residual stream."""
    layers: int = 4
    """Blocks."""
    heads: int = 4
    """Attention heads."""
    kv_heads: int = 0
    """Key and value heads, fewer for grouped-query attention (0: as many as heads)."""
    hidden: int = 512
    """Width inside the feed-forward."""
    length: int = 256
    """Most tokens that the model sees at once."""
    dropout: float = 0.0
    """Share of each residual branch and of the embeddings set to zero while training."""
    tied: bool = True
    """The output head is the token embedding."""
    bias: bool = True
    """Biases, where the form has some."""

    def __post_init__(self) -> None:
        check_sizes(self, causal.FORMS, ("dim", "layers", "heads", "hidden", "length"))
        if self.kv_heads < 0 or self.heads % (self.kv_heads or self.heads):
            raise ConfigError(f"model.heads ({self.heads}) must be a multiple of model.kv_heads ({self.kv_heads})")

    def config(self, vocab: int) -> CausalConfig:
        """The whole config for a vocabulary."""
        form = causal.FORMS[self.form]
        sizes = stack_sizes(self) | {"kv_heads": self.kv_heads or None}
        if not self.bias:
            sizes |= {"bias": "", "feed_forward_bias": False}
        return replace(form, stack=replace(form.stack, **sizes), vocab=vocab, length=self.length, tied=self.tied)


@dataclass(frozen=True, kw_only=True)
class EncoderSizes:
    """The sizes of a new encoder; its form says the rest."""

    start: str = ""
    """A run, folder or hub id whose weights and tokenizer to start from; the sizes below are then its own."""
    form: str = "bert"
    """bert, roberta, distilbert, albert, electra, mpnet, roformer or deberta."""
    dim: int = 128
    """Width of the residual stream."""
    layers: int = 2
    """Blocks (albert: how often its one block runs)."""
    heads: int = 2
    """Attention heads."""
    hidden: int = 512
    """Width inside the feed-forward."""
    length: int = 128
    """Most tokens that the model sees at once."""
    embedding_dim: int = 0
    """Width of the embeddings, projected to dim (albert, electra, roformer; 0: dim, or what the form has)."""
    dropout: float = 0.1
    """Share of each residual branch and of the embeddings set to zero while training."""

    def __post_init__(self) -> None:
        check_sizes(self, encoder.FORMS, ("dim", "layers", "heads", "hidden", "length"))
        if self.embedding_dim < 0 or (self.embedding_dim and self.form not in ("albert", "electra", "roformer")):
            raise ConfigError(
                f"model.embedding_dim ({self.embedding_dim}) is for albert, electra and roformer, "
                f"not for {self.form}; leave it at 0"
            )

    def config(self, vocab: int) -> EncoderConfig:
        """The whole config for a vocabulary."""
        form = encoder.FORMS[self.form]
        return replace(
            form,
            stack=replace(form.stack, **stack_sizes(self)),
            vocab=vocab,
            length=self.length,
            embedding_dim=self.embedding_dim or form.embedding_dim,
            repeat=self.layers if form.repeat > 1 else 1,
        )
