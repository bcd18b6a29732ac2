"""RoFormer (Su et al. 2021): `junnyu/roformer_chinese_base`.

What is particular: rotary positions that turn neighbouring pairs, so rows of q and k are put into our order (all
first members of the pairs of a head, then all second ones); with `rotary_value` those of v too, and the columns of o
that read them. No pooler. The vector of a choice is the last one of
its text unless the config says "first", which is the only one computed here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from formers.blocks.position import sinusoids
from formers.models.encoder import EncoderConfig
from formers.models.heads import MaskedWords, MultipleChoice, SequenceClassifier
from formers.pretrained.config_map import ACTIVATIONS, Raw
from formers.pretrained.families import bert, electra
from formers.pretrained.families.marian import positions
from formers.pretrained.layouts import encoder
from formers.pretrained.layouts.encoder import Head, Layout
from formers.pretrained.mapping import Op, Rows, Rule


def halves(size: int) -> Op:
    """Rows of heads of a size, and their biases: pairs (0, 1), (2, 3) ... <-> halves (0, 2 ...), (1, 3 ...)."""

    def order(x: Tensor, *shape: int) -> Tensor:
        return x.reshape(-1, *shape, *x.shape[1:]).transpose(1, 2).reshape(x.shape)

    return Op(f"halves of {size}", lambda x: order(x, size // 2, 2), lambda x: order(x, 2, size // 2))


def columns(op: Op) -> Op:
    """The same of what a matrix reads; a bias stays."""

    def way(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda x: change(x.T).T.contiguous() if x.ndim == 2 else x

    return Op(f"columns in {op.name}", way(op.forward), way(op.backward))


def rows(config: EncoderConfig) -> Rows:
    size = config.stack.head_dim or config.stack.dim // config.stack.heads
    op, read = halves(size), columns(halves(size))
    ops = {"q": op, "k": op, **({"v": op, "o": read} if config.rotary_value else {})}
    turned = {f"stack.blocks.{{i}}.attention.{part}.{{p}}": way for part, way in ops.items()}
    return [
        *(replace(rule, op=turned.get(rule.ours or "", rule.op)) for rule in encoder.as_rules(electra.rows(config))),
        # which transformers calls missing where it is not written
        Rule(
            ("encoder.embed_positions.weight",),
            None,
            expected=positions,
            computed=lambda: sinusoids(config.length, size, split=True),
        ),
    ]


def summary(raw: Raw) -> str:
    """The activation of the dense layer in front of a choice, "" where there is none."""
    if raw.get("summary_type", "last") != "first":
        raise ValueError(f"summary_type = {raw.get('summary_type', 'last')!r} is not computed here; known: first")
    name = raw.get("summary_activation")
    if name is None and not raw.get("summary_use_proj", False):
        return ""
    if not raw.get("summary_use_proj", False):
        raise ValueError(f"summary_activation = {name!r} without summary_use_proj is not computed here")
    if name not in SUMMARIES:
        raise ValueError(f"summary_activation = {name!r} is not computed here; known: {', '.join(SUMMARIES)}")
    return SUMMARIES[name]


def written_summary(config: EncoderConfig) -> dict[str, Any]:
    name = next((theirs for theirs, ours in SUMMARIES.items() if ours == config.pooler), None)
    return {"summary_type": "first", "summary_use_proj": bool(config.pooler), "summary_activation": name}


def activation(raw: Raw) -> str:
    return ACTIVATIONS[raw["hidden_act"]]


SUMMARIES = {"tanh": "tanh", **ACTIVATIONS}
LABEL = Head(
    SequenceClassifier, encoder.label_row("classifier.out_proj"), dense="classifier.dense", activation=activation
)
CHOICE = Head(
    MultipleChoice,
    encoder.label_row("classifier"),
    dense="sequence_summary.summary",
    activation=summary,
    written=written_summary,
)
HEADS = (Head(MaskedWords, bert.WORDS, tied=bert.DECODER), LABEL, *bert.OF_TOKENS, CHOICE)
LAYOUT = Layout(
    model_type="roformer",
    prefix="roformer.",
    name="RoFormer",
    names={**encoder.NAMES, "max_position_embeddings": "length", "rotary_value": "rotary_value"},
    fixed={"positions": "rotary"},
    defaults={**encoder.DEFAULTS, "type_vocab_size": 2, "max_position_embeddings": 1536, "rotary_value": False},
    reads=("embedding_size", "summary_type", "summary_use_proj", "summary_activation"),
    derived=electra.derived,
    written=electra.written,
    rows=rows,
)
FAMILIES = encoder.families_of(LAYOUT, HEADS)
