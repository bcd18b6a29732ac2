"""The numbers behind the pictures of any model: attention maps, positions and parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from formers.blocks.attention import recording
from formers.blocks.disentangled import DisentangledStack
from formers.blocks.mode import inference
from formers.blocks.position import Learned
from formers.blocks.stack import Stack
from formers.kernels.matrix import Int8
from formers.kernels.weight import Weight
from formers.models.causal import CausalLM
from formers.models.encoder import Encoder
from formers.models.heads import MaskedWords, Pretraining
from formers.models.transformer import Transformer

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
PIECE = 64  # positions whose logits exist at a time


@torch.no_grad()
def attention_maps(
    model: Transformer | CausalLM | Encoder,
    tokens: Sequence[int],
    *,
    segments: Sequence[int] | None = None,
    target: Sequence[int] | None = None,
) -> dict[str, Floats]:
    """Who looks at whom while one text is read: each kind -> (layers, heads, queries, keys), whose rows sum to 1.

    The kinds are "encoder" or "decoder", and of an encoder-decoder, which reads `target` too, both and "cross".
    """
    text = row_of(model, tokens)
    with inference(model), recording() as notes:
        if isinstance(model, Transformer):
            model(text, row_of(model, target or ()))
        elif isinstance(model, Encoder):
            model(text, segments=None if segments is None else row_of(model, segments))
        else:
            model.features(text)
    weights = [weights for _, weights in notes.maps]
    if isinstance(model, Transformer):  # every block of the decoder looks at itself, then at the source
        rest = model.config.encoder.layers
        kinds = {"encoder": weights[:rest], "decoder": weights[rest::2], "cross": weights[rest + 1 :: 2]}
    else:
        kinds = {"encoder" if isinstance(model, Encoder) else "decoder": weights}
    return {kind: torch.cat(layers).float().cpu().numpy() for kind, layers in kinds.items()}


class Positions(NamedTuple):
    """What tells positions apart; a name says which layers or which part ("": the whole model)."""

    kind: str
    """In words, such as "learned"; "" where there are none."""
    vectors: dict[str, Floats]
    """name -> (positions, width): vectors, or the cosines and then the sines of rotary angles."""
    biases: dict[str, Floats]
    """name -> (heads, distances): what is added to the scores, distance 0 in the middle."""


@torch.no_grad()
def position_tables(model: Transformer | CausalLM | Encoder, count: int) -> Positions:
    """The first `count` positions as this model tells them apart, and so many distances in each direction."""
    if isinstance(model, Transformer):
        table, stacks = model.source_positions, {"encoder": model.encoder, "decoder": model.decoder}
        stack: Stack | DisentangledStack = model.encoder
    else:
        table, stack = model.positions, model.stack
        stacks = {} if isinstance(stack, DisentangledStack) else {"encoder": stack}
    kinds, vectors = list[str](), dict[str, Floats]()
    if table is not None:
        kinds = ["learned" if isinstance(table, Learned) else "sinusoidal" + " (split)" * table.split]
        vectors = {"": floats(table(0, count, torch.zeros(1)))}
    if isinstance(stack, DisentangledStack):
        span, near = stack.config.span, min(stack.config.span, count)
        places = stack.places if stack.norm_places is None else stack.norm_places(stack.places)
        kinds += ["relative"]
        vectors[f"relative places, from {near} before on"] = floats(places[span - near : span + near])
    elif stack.rotary is not None:
        kinds += ["rotary"]
        vectors |= rotary_tables(stack, count)
    biases = {name: distances(part, count) for name, part in stacks.items() if part.relative is not None}
    kinds += ["relative"] * bool(biases)
    return Positions(" and ".join(kinds), vectors, biases)


def rotary_tables(stack: Stack, count: int) -> dict[str, Floats]:
    """Each kind of layer -> (count, head_dim): the cosines of all pairs at each position, then their sines."""
    rotaries = {"": stack.rotary}
    if stack.local_rotary is not stack.rotary and any(stack.windows):
        near = sorted({window for window in stack.windows if window})
        local = f"layers that see {' or '.join(map(str, near))} positions"
        rotaries = {"layers that see everything": stack.rotary, local: stack.local_rotary}
    tables = {}
    for name, rotary in rotaries.items():
        assert rotary is not None
        turn = rotary.at(0, count, torch.zeros(1))
        half = turn.cos.shape[1] // 2
        tables[name] = floats(torch.cat([turn.cos[:, half:], turn.sin[:, half:]], 1))
    return tables


def distances(stack: Stack, count: int) -> Floats:
    """(heads, 2 count + 1): the bias of each distance."""
    assert stack.relative is not None
    bias = stack.relative(2 * count + 1, 2 * count + 1)[0, :, count]
    if stack.causal:  # what comes later is never looked at
        bias[:, count + 1 :] = 0
    return floats(bias)


def floats(x: Tensor) -> Floats:
    return x.float().cpu().numpy()


class ParameterRow(NamedTuple):
    name: str
    shape: tuple[int, ...]
    numbers: int
    """How many; 0 where they are another row's."""
    note: str


def parameter_table(network: nn.Module) -> Iterator[ParameterRow]:
    """Every weight and every fixed table; what is shared counts once, and the note says with what."""
    first: dict[int, str] = {}
    weights = [*network.named_parameters(remove_duplicate=False), *tied(network)]
    for name, weight in weights:
        owner = first.setdefault(id(weight), name)
        shape = tuple(weight.shape)
        if owner == name:
            yield ParameterRow(name, shape, weight.numel(), "")
        else:
            yield ParameterRow(name, shape, 0, f"shared: is {owner}")
    for name, table in network.named_buffers():
        yield ParameterRow(name, tuple(table.shape), 0, f"{table.numel():,} fixed numbers")


def tied(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What a model does without because it uses another weight: its name, and that weight."""
    if isinstance(network, MaskedWords | Pretraining):
        yield "words.weight", network.encoder.embedding.weight
    if not isinstance(network, Transformer | CausalLM):
        return
    table = network.embedding
    if isinstance(network, Transformer):
        if network.target_embedding is None:
            yield "target_embedding.weight", table.weight
        else:
            table = network.target_embedding
    if network.head is None:
        yield "head.weight", table.weight


def storage(network: nn.Module) -> tuple[int, str]:
    """Bytes of all weights in the form that they are kept in, and the name of that form (of the first one)."""
    total, names = 0, list[str]()
    for weight in network.parameters():
        if isinstance(weight, Weight) and isinstance(weight.form, Int8):
            total += weight.form.numbers.nbytes + weight.form.scale.nbytes
            names.append("int8")
        else:
            total += weight.nbytes
            names.append(str(weight.dtype).removeprefix("torch."))
    return total, names[0]


def row_of(model: Transformer | CausalLM | Encoder, tokens: Sequence[int]) -> Tensor:
    """(1, length) on the model's device."""
    return torch.tensor([list(tokens)], device=model.embedding.weight.device)
