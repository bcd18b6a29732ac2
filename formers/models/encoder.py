"""The encoder: BERT, RoBERTa, DistilBERT, ALBERT, ELECTRA, MPNet, RoFormer, DeBERTa, T5's are sizes and parts of it.

    tokens -> norm(embed + position + segment) (-> project) -> Stack -> hidden states (-> pool: one vector)

Papers: Devlin et al. 2019 (BERT); Liu et al. 2019; Sanh et al. 2019; Lan et al. 2020 (ALBERT); Clark et al. 2020;
Song et al. 2020 (MPNet); Su et al. 2021 (RoFormer); He et al. 2021 (DeBERTa). What is particular:
  * T5's encoder has a bias on the scores alone, and no norm before its blocks but one behind them.
  * ALBERT runs one block many times, and its embeddings are narrower than the stream (ELECTRA's may be, too).
  * RoBERTa and MPNet count learned positions from 2; MPNet adds T5's bias to the scores.
  * RoFormer turns queries and keys and has no positions in its input; DeBERTa has a stack of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from formers.blocks.block import Block
from formers.blocks.disentangled import Disentangled, DisentangledStack
from formers.blocks.dropout import dropout
from formers.blocks.embedding import embed
from formers.blocks.feed_forward import ACTIVATIONS
from formers.blocks.norm import make_norm
from formers.blocks.pooling import Pooling, pool
from formers.blocks.position import Learned, RelativeBias, Rotary, places_of
from formers.blocks.stack import Stack, StackConfig
from formers.errors import ConfigError, nearest


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    stack: StackConfig
    vocab: int
    """Tokens."""
    length: int = 512
    """Longest sequence; binding for learned positions, a promise for the others."""
    positions: Literal["learned", "rotary", "none"] = "learned"
    position_offset: int = 0
    """Unused rows before position 0 in the learned table (RoBERTa, MPNet: 2)."""
    segments: int = 2
    """Kinds of segments that are told apart (0: none are embedded)."""
    embedding_norm: bool = True
    """Normalise the embeddings (T5's encoder does not)."""
    embedding_dim: int | None = None
    """Width of the embeddings, which a matrix brings to dim (ALBERT); None: dim."""
    repeat: int = 1
    """How many layers in a row are one and the same block (ALBERT: all of them)."""
    cycle: int = 1
    """How many neighbouring blocks take turns while they repeat (ALBERT's inner groups)."""
    rotary_value: bool = False
    """Rotary positions turn values too."""
    relative_buckets: int = 0
    """Buckets of a learned bias on the scores, as T5's (MPNet: 32); 0: none."""
    relative_distance: int = 128
    disentangled: Disentangled | None = None
    """DeBERTa's attention in place of the plain one."""
    pooler: Literal["", "tanh", "gelu", "gelu_tanh", "relu", "silu"] = "tanh"
    """Activation of the dense layer that makes one vector of a sequence; "": there is none."""


class Encoder(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        c, s = config, config.stack
        self.config = config
        width = c.embedding_dim or s.dim
        self.embedding = nn.Embedding(c.vocab, width)
        self.positions = Learned(c.length, width, offset=c.position_offset) if c.positions == "learned" else None
        self.segments = nn.Embedding(c.segments, width) if c.segments else None
        self.norm = make_norm(s.norm, width, s.norm_eps) if c.embedding_norm else nn.Identity()
        self.project = nn.Linear(width, s.dim) if c.embedding_dim else None
        self.stack = self.make_stack()
        self.pooler = nn.Linear(s.dim, s.dim) if c.pooler else None
        self.apply(initialise)

    def make_stack(self) -> Stack | DisentangledStack:
        c, s = self.config, self.config.stack
        if c.disentangled is not None:
            return DisentangledStack(s, c.disentangled)
        rotary = Rotary(s.head_dim or s.dim // s.heads) if c.positions == "rotary" else None
        relative = None
        if c.relative_buckets:
            relative = RelativeBias(s.heads, buckets=c.relative_buckets, distance=c.relative_distance)
        return Stack(
            s,
            rotary=rotary,
            relative=relative,
            final_norm=s.norm_first,
            block=partial(Block, rotary_value=c.rotary_value),
            repeat=c.repeat,
            cycle=c.cycle,
        )

    def forward(
        self,
        tokens: Int[Tensor, "batch length"],
        *,
        segments: Int[Tensor, "batch length"] | None = None,
        keep: Bool[Tensor, "batch length"] | None = None,
    ) -> Float[Tensor, "batch length dim"]:
        """Hidden states. segments: 0 for the first text, 1 for the second; keep: True is a real token.

        Positions are counted from the first real token, so padding may be on either side.
        """
        c = self.config
        at = None if keep is None or self.positions is None else places_of(keep, tokens.shape[1])
        kinds = None
        if self.segments is not None:
            kinds = self.segments.weight[None, :1] if segments is None else self.segments(segments)
        x = self.norm(embed(tokens, self.embedding, self.positions, at=at, segments=kinds))
        x = dropout(x, c.stack.dropout, self.training)
        return self.stack(x if self.project is None else self.project(x), keep=keep)

    def pool(
        self,
        x: Float[Tensor, "batch length dim"],
        keep: Bool[Tensor, "batch length"] | None = None,
        *,
        how: Pooling = "first",
    ) -> Float[Tensor, "batch dim"]:
        """One vector of each sequence: its first token, or the mean or maximum of all, through the pooler if any."""
        x = pool(x, keep, how)
        if self.pooler is None:
            return x
        x = self.pooler(x)
        return torch.tanh(x) if self.config.pooler == "tanh" else ACTIVATIONS[self.config.pooler](x)


def initialise(module: nn.Module) -> None:
    """Normal with deviation 0.02, zero biases (BERT)."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


_BERT = StackConfig(dim=768, layers=12, heads=12, hidden=3072, norm_first=False, norm_eps=1e-12, dropout=0.1)
_DEBERTA = replace(_BERT, norm_eps=1e-7)
FORMS: dict[str, EncoderConfig] = {
    "bert": EncoderConfig(stack=_BERT, vocab=30522),
    "roberta": EncoderConfig(stack=replace(_BERT, norm_eps=1e-5), vocab=50265, position_offset=2, segments=1),
    "distilbert": EncoderConfig(stack=replace(_BERT, layers=6), vocab=30522, segments=0, pooler=""),
    "albert": EncoderConfig(
        stack=replace(_BERT, activation="gelu_tanh", dropout=0.0), vocab=30000, embedding_dim=128, repeat=12
    ),
    "electra": EncoderConfig(stack=_BERT, vocab=30522, pooler=""),
    "mpnet": EncoderConfig(
        stack=replace(_BERT, norm_eps=1e-5), vocab=30527, position_offset=2, segments=0, relative_buckets=32
    ),
    "roformer": EncoderConfig(stack=_BERT, vocab=50000, length=1536, positions="rotary", pooler=""),
    "deberta": EncoderConfig(
        stack=_DEBERTA, vocab=128100, positions="none", segments=0, pooler="", disentangled=Disentangled()
    ),
}
# Published sizes by name: form, (layers, dim, heads, hidden), vocabulary, width of the embeddings.
PRESETS: dict[str, tuple[str, tuple[int, int, int, int], int, int | None]] = {
    "bert-tiny": ("bert", (2, 128, 2, 512), 30522, None),  # Turc et al. 2019
    "bert-small": ("bert", (4, 512, 8, 2048), 30522, None),
    "bert-base": ("bert", (12, 768, 12, 3072), 30522, None),
    "bert-large": ("bert", (24, 1024, 16, 4096), 30522, None),
    "roberta-base": ("roberta", (12, 768, 12, 3072), 50265, None),
    "roberta-large": ("roberta", (24, 1024, 16, 4096), 50265, None),
    "distilbert-base": ("distilbert", (6, 768, 12, 3072), 30522, None),
    "albert-base": ("albert", (12, 768, 12, 3072), 30000, 128),
    "albert-large": ("albert", (24, 1024, 16, 4096), 30000, 128),
    "electra-small": ("electra", (12, 256, 4, 1024), 30522, 128),
    "electra-base": ("electra", (12, 768, 12, 3072), 30522, None),
    "mpnet-base": ("mpnet", (12, 768, 12, 3072), 30527, None),
    "roformer-base": ("roformer", (12, 768, 12, 3072), 50000, None),
    "deberta-v3-base": ("deberta", (12, 768, 12, 3072), 128100, None),
}


def preset(name: str) -> EncoderConfig:
    """The config of a published size, such as "bert-base"."""
    if name not in PRESETS:
        raise ConfigError(f'there is no size "{name}"{nearest(name, PRESETS)}')
    form, (layers, dim, heads, hidden), vocab, width = PRESETS[name]
    config = FORMS[form]
    stack = replace(config.stack, layers=layers, dim=dim, heads=heads, hidden=hidden)
    return replace(config, stack=stack, vocab=vocab, embedding_dim=width, repeat=layers if config.repeat > 1 else 1)
