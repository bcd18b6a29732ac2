"""What stands on an encoder: words, next sentence, a label of a text, of every token, a span, a choice, a fake.

    hidden states (-> pool) -> dense (-> activation -> norm) -> logits

Every model takes what `Encoder` takes. A label of a text is the encoder's pooled vector and one matrix: RoBERTa,
DistilBERT, ELECTRA and DeBERTa file the dense layer in front of it under the classifier, here it is the pooler.
What a label is read from may also be a decoder (Llama: after its last token), or an encoder-decoder that reads the text
twice (BART, Lewis et al. 2019, section 3.1).
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
from formers.blocks.pooling import Pooling, pool
from formers.blocks.stack import StackConfig
from formers.models.causal import CausalConfig, CausalLM
from formers.models.encoder import Encoder, EncoderConfig, initialise
from formers.models.transformer import Transformer, TransformerConfig

Tokens = Int[Tensor, "batch length"]
Segments = Int[Tensor, "batch length"] | None
Keep = Bool[Tensor, "batch length"] | None


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """An encoder and what its head needs to know."""

    encoder: EncoderConfig | CausalConfig | TransformerConfig
    """What reads the text; of the latter two only a `SequenceClassifier` is made, without their own output head."""
    labels: tuple[str, ...] = ()
    """Names of the classes, in the order of the logits; a number to learn has one name."""
    kind: Literal["one", "several", "number"] = "one"
    """Of a labelled text: one of the labels, any number of them, or one number."""
    pooling: Pooling = "first"
    """Which vector of a text its label is read from."""
    dense: Literal["", "tanh"] = ""
    """Activation of a dense layer of the head's own in front of a label, where what reads has no pooler."""
    bias: bool = True
    """Whether the map to the labels has one."""
    start: int = 0
    """The token that a decoder reads before a text that its encoder has read."""

    @property
    def dim(self) -> int:
        """Width of the hidden states."""
        return stack_of(self).dim

    @property
    def segments(self) -> int:
        return self.encoder.segments

    @property
    def vocab(self) -> int:
        return self.encoder.vocab

    @property
    def length(self) -> int:
        return self.encoder.length


def stack_of(config: HeadConfig) -> StackConfig:
    """The sizes of the blocks that the hidden states come out of."""
    read = config.encoder
    return read.decoder if isinstance(read, TransformerConfig) else read.stack


def encoder_of(config: HeadConfig) -> Encoder:
    """A new encoder. Raises ValueError where a head is to stand on something else."""
    if not isinstance(config.encoder, EncoderConfig):
        raise ValueError(f"this head stands on an encoder, got a {type(config.encoder).__name__}")
    return Encoder(config.encoder)


def reads_of(config: HeadConfig) -> Encoder | CausalLM | Transformer:
    """What a label is read from."""
    if isinstance(config.encoder, CausalConfig):
        return CausalLM(config.encoder)
    return Transformer(config.encoder) if isinstance(config.encoder, TransformerConfig) else encoder_of(config)


def hidden_states(
    network: Encoder | CausalLM | Transformer, tokens: Tokens, *, segments: Segments, keep: Keep, start: int
) -> Float[Tensor, "batch length dim"]:
    """After each token; a decoder that has an encoder reads the same text again, one place later."""
    if isinstance(network, Transformer):
        again = tokens.roll(1, 1)
        again[:, 0] = start
        return network.features(tokens, again, source_keep=keep, target_keep=keep)
    if isinstance(network, CausalLM):
        return network.features(tokens, keep=keep)
    return network(tokens, segments=segments, keep=keep)


def output_map(config: HeadConfig, size: int, *, bias: bool = True) -> nn.Linear:
    """A new map from hidden states to so many numbers."""
    linear = nn.Linear(config.dim, size, bias=bias)
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
        self.config, self.encoder = config, encoder_of(config)
        self.words = WordHead(self.encoder.config)

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
        self.config, self.encoder = config, encoder_of(config)
        self.words = WordHead(self.encoder.config)
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
        self.config, self.encoder = config, encoder_of(config)
        self.next = output_map(config, 2)

    def forward(self, tokens: Tokens, *, segments: Segments = None, keep: Keep = None) -> Float[Tensor, "batch 2"]:
        """Logits of (it follows, it does not)."""
        return self.next(self.encoder.pool(self.encoder(tokens, segments=segments, keep=keep), keep))


class SequenceClassifier(nn.Module):
    """The label of a text or of a pair of texts, several labels, or a number."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config, self.encoder = config, reads_of(config)
        self.dense = output_map(config, config.dim) if config.dense else None
        self.out = output_map(config, len(config.labels), bias=config.bias)

    def forward(self, tokens: Tokens, *, segments: Segments = None, keep: Keep = None) -> Float[Tensor, "batch labels"]:
        c, share = self.config, stack_of(self.config).dropout
        x = hidden_states(self.encoder, tokens, segments=segments, keep=keep, start=c.start)
        if isinstance(self.encoder, Encoder):
            x = self.encoder.pool(x, keep, how=c.pooling)
        else:
            x = pool(x, keep, c.pooling)
        x = dropout(x, share, self.training)
        return self.out(x if self.dense is None else dropout(torch.tanh(self.dense(x)), share, self.training))


class TokenClassifier(nn.Module):
    """The label of every token: parts of speech, names."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder_of(config)
        self.out = output_map(config, len(config.labels))

    def forward(
        self, tokens: Tokens, *, segments: Segments = None, keep: Keep = None
    ) -> Float[Tensor, "batch length labels"]:
        x = self.encoder(tokens, segments=segments, keep=keep)
        return self.out(dropout(x, self.encoder.config.stack.dropout, self.training))


class SpanFinder(nn.Module):
    """Where an answer begins and ends (BERT on SQuAD: a start and an end vector)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder_of(config)
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
        self.config, self.encoder = config, encoder_of(config)
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
        x = dropout(self.encoder.pool(x, flat), self.encoder.config.stack.dropout, self.training)
        return self.out(x).view(tokens.shape[:2])


class ReplacedTokens(nn.Module):
    """Which tokens somebody has replaced: ELECTRA's discriminator."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder_of(config)
        s = self.encoder.config.stack
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


def network_of(model: nn.Module) -> nn.Module:
    """What reads the text: what is below a head, else the model itself."""
    return model.encoder if isinstance(model, HEADS) else model  # type: ignore[return-value]


def body(model: nn.Module) -> Encoder | None:
    """The encoder of any of these models; None for another model, and for a label that is read from a decoder."""
    network = network_of(model)
    return network if isinstance(network, Encoder) else None
