"""What stands on an encoder: words, next sentence, a label of a text, of every token, a span, a choice, a fake.

    hidden states (-> pool) -> dense (-> activation -> norm) -> logits

Every model takes what `Encoder` takes. A label of a text is the encoder's pooled vector and one matrix: RoBERTa,
DistilBERT, ELECTRA and DeBERTa file the dense layer in front of it under the classifier, here it is the pooler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from formers.blocks.dropout import dropout
from formers.blocks.feed_forward import ACTIVATIONS
from formers.blocks.norm import make_norm
from formers.blocks.output import LinearHead
from formers.blocks.pooling import Pooling
from formers.models.encoder import Encoder, EncoderConfig, initialise

Tokens = Int[Tensor, "batch length"]
Segments = Int[Tensor, "batch length"] | None
Keep = Bool[Tensor, "batch length"] | None


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """An encoder and what its head needs to know."""

    encoder: EncoderConfig
    labels: tuple[str, ...] = ()
    """Names of the classes, in the order of the logits; a number to learn has one name."""
    kind: Literal["one", "several", "number"] = "one"
    """Of a labelled text: one of the labels, any number of them, or one number."""
    pooling: Pooling = "first"
    """Which vector of a text its label is read from."""

    @property
    def vocab(self) -> int:
        return self.encoder.vocab

    @property
    def length(self) -> int:
        return self.encoder.length


def output_map(config: HeadConfig, size: int) -> nn.Linear:
    """A new map from hidden states to so many numbers."""
    linear = nn.Linear(config.encoder.stack.dim, size)
    initialise(linear)
    return linear


class WordHead(nn.Module):
    """norm(activation(dense(x))), and a bias per word; the matrix is the token embedding."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        c, s = config, config.stack
        width = c.embedding_dim or s.dim
        self.dense = nn.Linear(s.dim, width)
        self.activation = ACTIVATIONS[s.activation]
        self.norm = make_norm(s.norm, width, s.norm_eps)
        self.bias = nn.Parameter(torch.zeros(c.vocab))
        self.apply(initialise)

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch width"]:
        """What the embedding is multiplied with: a loss that needs some positions only takes these."""
        return self.norm(self.activation(self.dense(x)))


class MaskedWords(nn.Module):
    """Which word stands at each place: BERT's masked language model."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config, self.encoder, self.words = config, Encoder(config.encoder), WordHead(config.encoder)

    def forward(
        self, tokens: Tokens, *, segments: Segments = None, keep: Keep = None
    ) -> Float[Tensor, "batch length vocab"]:
        return self.logits(self.words(self.encoder(tokens, segments=segments, keep=keep)))

    @property
    def output(self) -> LinearHead:
        return LinearHead(self.encoder.embedding.weight, self.words.bias)

    def logits(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch vocab"]:
        return self.output.logits(x)


class Pretraining(nn.Module):
    """BERT as it is pre-trained: masked words, and whether the second text follows the first (ALBERT: their order)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config, self.encoder, self.words = config, Encoder(config.encoder), WordHead(config.encoder)
        self.next = output_map(config, 2)

    def forward(
        self, tokens: Tokens, *, segments: Segments = None, keep: Keep = None
    ) -> tuple[Float[Tensor, "batch length vocab"], Float[Tensor, "batch 2"]]:
        """Logits of the word at each place, and of (it follows, it does not)."""
        x = self.encoder(tokens, segments=segments, keep=keep)
        return self.logits(self.words(x)), self.next(self.encoder.pool(x, keep))

    @property
    def output(self) -> LinearHead:
        return LinearHead(self.encoder.embedding.weight, self.words.bias)

    def logits(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch vocab"]:
        return self.output.logits(x)


class NextSentence(nn.Module):
    """Whether the second text follows the first, alone."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config, self.encoder = config, Encoder(config.encoder)
        self.next = output_map(config, 2)

    def forward(self, tokens: Tokens, *, segments: Segments = None, keep: Keep = None) -> Float[Tensor, "batch 2"]:
        """Logits of (it follows, it does not)."""
        return self.next(self.encoder.pool(self.encoder(tokens, segments=segments, keep=keep), keep))


class SequenceClassifier(nn.Module):
    """The label of a text or of a pair of texts, several labels, or a number."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config, self.encoder = config, Encoder(config.encoder)
        self.out = output_map(config, len(config.labels))

    def forward(self, tokens: Tokens, *, segments: Segments = None, keep: Keep = None) -> Float[Tensor, "batch labels"]:
        x = self.encoder(tokens, segments=segments, keep=keep)
        x = self.encoder.pool(x, keep, how=self.config.pooling)
        return self.out(dropout(x, self.config.encoder.stack.dropout, self.training))


class TokenClassifier(nn.Module):
    """The label of every token: parts of speech, names."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config, self.encoder = config, Encoder(config.encoder)
        self.out = output_map(config, len(config.labels))

    def forward(
        self, tokens: Tokens, *, segments: Segments = None, keep: Keep = None
    ) -> Float[Tensor, "batch length labels"]:
        x = self.encoder(tokens, segments=segments, keep=keep)
        return self.out(dropout(x, self.config.encoder.stack.dropout, self.training))


class SpanFinder(nn.Module):
    """Where an answer begins and ends (BERT on SQuAD: a start and an end vector)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config, self.encoder = config, Encoder(config.encoder)
        self.out = output_map(config, 2)

    def forward(
        self, tokens: Tokens, *, segments: Segments = None, keep: Keep = None
    ) -> Float[Tensor, "batch length 2"]:
        """Logits of each token to be the first, and to be the last of the answer."""
        return self.out(self.encoder(tokens, segments=segments, keep=keep))


class MultipleChoice(nn.Module):
    """Which of several texts fits: a score for each, compared."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config, self.encoder = config, Encoder(config.encoder)
        self.out = output_map(config, 1)

    def forward(
        self,
        tokens: Int[Tensor, "batch choices length"],
        *,
        segments: Int[Tensor, "batch choices length"] | None = None,
        keep: Bool[Tensor, "batch choices length"] | None = None,
    ) -> Float[Tensor, "batch choices"]:
        flat = None if keep is None else keep.flatten(0, 1)
        x = self.encoder(tokens.flatten(0, 1), keep=flat, segments=None if segments is None else segments.flatten(0, 1))
        x = dropout(self.encoder.pool(x, flat), self.config.encoder.stack.dropout, self.training)
        return self.out(x).view(tokens.shape[:2])


class ReplacedTokens(nn.Module):
    """Which tokens somebody has replaced: ELECTRA's discriminator."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        s = config.encoder.stack
        self.config, self.encoder = config, Encoder(config.encoder)
        self.dense, self.out = nn.Linear(s.dim, s.dim), nn.Linear(s.dim, 1)
        self.activation = ACTIVATIONS[s.activation]
        self.dense.apply(initialise)
        self.out.apply(initialise)

    def forward(self, tokens: Tokens, *, segments: Segments = None, keep: Keep = None) -> Float[Tensor, "batch length"]:
        """Logits of each token to be a replaced one."""
        x = self.encoder(tokens, segments=segments, keep=keep)
        return self.out(self.activation(self.dense(x))).squeeze(-1)


HEADS: tuple[type[nn.Module], ...] = (
    MaskedWords,
    Pretraining,
    NextSentence,
    SequenceClassifier,
    TokenClassifier,
    SpanFinder,
    MultipleChoice,
    ReplacedTokens,
)


def body(model: nn.Module) -> Encoder | None:
    """The encoder of any of these models; None for another model."""
    if isinstance(model, Encoder):
        return model
    found = model.encoder if isinstance(model, HEADS) else None
    return found if isinstance(found, Encoder) else None
