"""The section [model] of a recipe: the sizes of a new model, whose form says the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from formers.blocks.stack import StackConfig
from formers.errors import ConfigError
from formers.fields import Between, Count, OneOf, check
from formers.models import causal, encoder, transformer
from formers.models.causal import CausalConfig
from formers.models.encoder import EncoderConfig
from formers.models.transformer import TransformerConfig

Share = Annotated[float, Between(0, below=1)]
Width = Annotated[int, Between(1, 2**24)]
Layers = Annotated[int, Between(1, 1000)]


def check_sizes(sizes: Any, forms: Mapping[str, Any]) -> None:
    """Refuse what the fields' bounds do not allow, and heads that do not share dim evenly."""
    check(sizes, "model")
    pairs = "2 * " if forms[sizes.form].positions == "rotary" else ""  # rotary turns pairs of features
    if sizes.dim % (sizes.heads * (2 if pairs else 1)):
        raise ConfigError(f"model.dim ({sizes.dim}) must be a multiple of {pairs}model.heads ({sizes.heads})")


def of_stack(sizes: Any, *more: str) -> dict[str, Any]:
    """The sizes that every stack has, and others, by their names."""
    return {name: getattr(sizes, name) for name in ("dim", "heads", "hidden", "dropout", *more)}


@dataclass(frozen=True, kw_only=True)
class TransformerSizes:
    """The sizes of a new encoder-decoder; its form says the rest."""

    start: str = ""
    """A run, folder or hub id whose weights and tokenizer to start from; the sizes below are then its own."""
    ignore_keys: tuple[str, ...] = ()
    """Keys of its config.json to take for absent, which are not computed here and are known to change nothing."""
    form: Annotated[str, OneOf(tuple(transformer.FORMS))] = "marian"
    """original (2017), marian, bart, t5, t5_v1_1, or modern (pre-norm, RMS norm, rotary, gated)."""
    dim: Width = 256
    """Width of the residual stream."""
    encoder_layers: Layers = 3
    """Blocks of the encoder."""
    decoder_layers: Layers = 3
    """Blocks of the decoder."""
    heads: Width = 4
    """Attention heads."""
    hidden: Width = 1024
    """Width inside the feed-forward."""
    dropout: Share = 0.1
    """Share of each residual branch and of the embeddings set to zero while training."""
    length: Width = 512
    """Most tokens of a sentence."""

    def __post_init__(self) -> None:
        check_sizes(self, transformer.FORMS)

    def config(self, vocab: int) -> TransformerConfig:
        """The whole config for a vocabulary."""
        published = transformer.FORMS[self.form]
        stack = of_stack(self) | published.stack
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
    ignore_keys: tuple[str, ...] = ()
    """Keys of its config.json to take for absent, which are not computed here and are known to change nothing."""
    form: Annotated[str, OneOf(tuple(causal.FORMS))] = "gpt2"
    """gpt (2018), gpt2, llama, qwen2 or qwen3."""
    dim: Width = 128
    """Width of the residual stream."""
    layers: Layers = 4
    """Blocks."""
    heads: Width = 4
    """Attention heads."""
    kv_heads: Count = 0
    """Key and value heads, fewer for grouped-query attention (0: as many as heads)."""
    hidden: Width = 512
    """Width inside the feed-forward."""
    length: Width = 256
    """Most tokens that the model sees at once."""
    dropout: Share = 0.0
    """Share of each residual branch and of the embeddings set to zero while training."""
    tied: bool = True
    """The output head is the token embedding."""
    bias: bool = True
    """Biases, where the form has some."""

    def __post_init__(self) -> None:
        check_sizes(self, causal.FORMS)
        if self.heads % (self.kv_heads or self.heads):
            raise ConfigError(f"model.heads ({self.heads}) must be a multiple of model.kv_heads ({self.kv_heads})")

    def config(self, vocab: int) -> CausalConfig:
        """The whole config for a vocabulary."""
        form = causal.FORMS[self.form]
        sizes = of_stack(self, "layers") | {"kv_heads": self.kv_heads or None}
        if not self.bias:
            sizes |= {"bias": "", "feed_forward_bias": False}
        return replace(form, stack=replace(form.stack, **sizes), vocab=vocab, length=self.length, tied=self.tied)


@dataclass(frozen=True, kw_only=True)
class EncoderSizes:
    """The sizes of a new encoder; its form says the rest."""

    start: str = ""
    """A run, folder or hub id whose weights and tokenizer to start from; the sizes below are then its own."""
    ignore_keys: tuple[str, ...] = ()
    """Keys of its config.json to take for absent, which are not computed here and are known to change nothing."""
    form: Annotated[str, OneOf(tuple(encoder.FORMS))] = "bert"
    """bert, roberta, distilbert, albert, electra, mpnet, roformer or deberta."""
    dim: Width = 128
    """Width of the residual stream."""
    layers: Layers = 2
    """Blocks (albert: how often its one block runs)."""
    heads: Width = 2
    """Attention heads."""
    hidden: Width = 512
    """Width inside the feed-forward."""
    length: Width = 128
    """Most tokens that the model sees at once."""
    embedding_dim: Annotated[int, Between(0, 2**24)] = 0
    """Width of the embeddings, projected to dim (albert, electra, roformer; 0: dim, or what the form has)."""
    dropout: Share = 0.1
    """Share of each residual branch and of the embeddings set to zero while training."""

    def __post_init__(self) -> None:
        check_sizes(self, encoder.FORMS)
        if self.embedding_dim and self.form not in ("albert", "electra", "roformer"):
            raise ConfigError(
                f"model.embedding_dim ({self.embedding_dim}) is for albert, electra and roformer, "
                f"not for {self.form}; leave it at 0"
            )

    def config(self, vocab: int) -> EncoderConfig:
        """The whole config for a vocabulary."""
        form = encoder.FORMS[self.form]
        return replace(
            form,
            stack=replace(form.stack, **of_stack(self, "layers")),
            vocab=vocab,
            length=self.length,
            embedding_dim=self.embedding_dim or form.embedding_dim,
            repeat=self.layers if form.repeat > 1 else 1,
        )
