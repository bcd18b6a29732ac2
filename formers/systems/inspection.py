"""The numbers behind the pictures of a model: attention maps, positions and parameters of any; of a language model
the logit lens, the probabilities of a text, and what the cache saves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from formers.blocks.attention import recording
from formers.blocks.cache import Cache
from formers.blocks.disentangled import DisentangledStack
from formers.blocks.fused import fused
from formers.blocks.mode import inference
from formers.blocks.position import Learned
from formers.blocks.stack import Stack
from formers.errors import CheckpointError, ConfigError
from formers.kernels.matrix import Int8
from formers.kernels.weight import Weight, packed
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


# ---- language models ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lens:
    """The logit lens (nostalgebraist 2020): what the model would say if a layer were its last.

    Row 0 is the embedding, row i what block i made of it; the last row is what the model does say.
    """

    tokens: Ints
    """(layers + 1, positions, top): the likeliest next tokens, best first."""
    probabilities: Floats
    """Of these."""
    answer: Floats
    """(layers + 1, positions): the probability, already there, of the token that is said at the end."""
    rank: Ints
    """Its place among all tokens, 1 for the likeliest."""


@torch.no_grad()
def lens(model: CausalLM, tokens: Sequence[int], *, top: int = 3, last: int | None = None) -> Lens:
    """Final norm and head over what goes into each block and comes out of the last one; the text is read once.

    last: the last so many positions only (all are read).
    """
    seen: list[Tensor] = []
    with inference(model):
        model.features(row_of(model, tokens), seen=seen)
    first = 0 if last is None else max(0, len(tokens) - last)
    norm = model.stack.norm
    opinions = [x[0, first:] if norm is None else norm(x[0, first:]) for x in seen]
    said = torch.cat([probabilities(model, x, "").argmax(-1) for x in opinions[-1].split(PIECE)])[:, None]
    rows = []
    for number, opinion in enumerate(opinions):
        what = f"after layer {number}"
        parts = [
            summary(probabilities(model, x, what), goal, top)
            for x, goal in zip(opinion.split(PIECE), said.split(PIECE), strict=True)
        ]
        rows.append([torch.cat(part) for part in zip(*parts, strict=True)])
    best, shares, answer, rank = (torch.stack(part).cpu().numpy() for part in zip(*rows, strict=True))
    return Lens(best, shares, answer, rank)


@dataclass(frozen=True)
class Likelihoods:
    """How likely each token was after those before it; the first token of the text is given."""

    tokens: list[int]
    probability: Floats
    """(tokens)"""
    rank: Ints
    """Place of the token among all that could have come, 1 for the likeliest."""
    others: Ints
    """(tokens, top): what the model held likeliest there, best first."""
    shares: Floats
    """The probabilities of these."""

    @property
    def surprisal(self) -> Floats:
        """-log2 probability: how many bits each token told."""
        return -np.log2(np.maximum(self.probability, np.finfo(np.float32).tiny))


@torch.no_grad()
def likelihoods(model: CausalLM, tokens: Sequence[int], *, top: int = 3) -> Likelihoods:
    """The probability of every token but the first, with the `top` likeliest in its place."""
    if len(tokens) < 2:
        raise ConfigError(
            f"the text has {len(tokens)} token{'s' * (len(tokens) != 1)}, expected at least 2: the first "
            "follows nothing, so it has no probability"
        )
    with inference(model):
        x = model.features(row_of(model, tokens[:-1]))[0]
    goals = torch.tensor(tokens[1:], device=x.device)[:, None]
    parts = [
        summary(probabilities(model, some, ""), goal, top)
        for some, goal in zip(x.split(PIECE), goals.split(PIECE), strict=True)
    ]
    others, shares, own, rank = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    return Likelihoods(list(tokens[1:]), own, rank, others, shares)


@dataclass(frozen=True)
class CacheTimes:
    """What a new token costs at some lengths of the text (its own included), medians of alternating rounds."""

    lengths: list[int]
    cached: list[float]
    """Seconds when keys and values are remembered: the new token alone is computed."""
    uncached: list[float]
    """Seconds when the whole text is computed again."""
    bytes: list[int]
    """Memory of the keys and values of so many tokens."""
    written: list[int]
    """The tokens that were written with the cache, greedily and past any end."""
    same: int
    """Of these, how many the model says without it too."""


@torch.no_grad()
def cache_times(model: CausalLM, tokens: Sequence[int], *, count: int, points: int = 10, rounds: int = 3) -> CacheTimes:
    """Write `count` tokens after these with a cache, then time one more token at `points` lengths, both ways.

    Both ways take turns at each length, and all lengths in each of the `rounds`, so that what else the machine does
    strikes all of them alike.
    """
    if count < 2 or not tokens:
        raise ConfigError(f"got {len(tokens)} tokens and {count} to write, expected at least 1 and 2")
    with inference(model), packed(model), fused(model):
        text, written = row_of(model, tokens), list[int]()
        cache = model.begin(capacity=len(tokens) + count - 1)
        step = text
        for _ in range(count):
            written.append(int(model.extend(step, cache).argmax()))
            step = torch.tensor([written[-1:]], device=text.device)
        text = torch.cat([text, torch.tensor([written[:-1]], device=text.device)], 1)
        x = model.features(text)[0, len(tokens) - 1 :]
        again = [token for some in x.split(PIECE) for token in model.logits(some).argmax(-1).tolist()]
        lengths = sorted({round(float(length)) for length in np.linspace(len(tokens), text.shape[1], points)})
        sizes: dict[int, int] = {}
        times: dict[int, list[tuple[float, float]]] = {length: [] for length in lengths}
        for number in range(rounds + 1):
            if cache.length < text.shape[1]:
                model.extend(text[:, cache.length :], cache)
            for length in reversed(lengths):  # a cache forgets at its end
                cache.truncate(length)
                sizes[length] = sum(part.nbytes for layer in cache.own for part in layer.read())
                times[length].append(seconds_of(model, text[:, :length], cache, number % 2))
    # the first round is a warm-up
    cached, uncached = ([median(pair[way] for pair in times[length][1:]) for length in lengths] for way in (0, 1))
    same = sum(one == other for one, other in zip(written, again, strict=True))
    return CacheTimes(lengths, cached, uncached, [sizes[length] for length in lengths], written, same)


def seconds_of(model: CausalLM, text: Tensor, cache: Cache, turn: int) -> tuple[float, float]:
    """Seconds for the token after the text with the cache and without it; `turn`: which of them comes first."""

    def remembering() -> Tensor:
        cache.truncate(text.shape[1] - 1)
        return model.extend(text[:, -1:], cache)

    def anew() -> Tensor:
        return model.logits(model.features(text)[:, -1])

    ways: tuple[Callable[[], Tensor], Callable[[], Tensor]] = remembering, anew
    times = [0.0, 0.0]
    for way in (turn, 1 - turn):
        start = time.perf_counter()
        int(ways[way]().argmax())  # the number itself is waited for, on any device
        times[way] = time.perf_counter() - start
    return times[0], times[1]


def row_of(model: Transformer | CausalLM | Encoder, tokens: Sequence[int]) -> Tensor:
    """(1, length) on the model's device."""
    return torch.tensor([list(tokens)], device=model.embedding.weight.device)


def probabilities(model: CausalLM, x: Tensor, what: str) -> Tensor:
    """(positions, dim) -> (positions, vocab), fp32. Raises CheckpointError where they are no numbers."""
    found = model.logits(x).float().softmax(-1)
    if not bool(found.isfinite().all()):
        raise CheckpointError(
            f"the model's logits {what} are no finite numbers".replace("  ", " ")
            + ": weights are damaged (NaN), or too large for this dtype; try fp32"
        )
    return found


def summary(found: Tensor, goal: Tensor, top: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of (positions, vocab): the `top` likeliest and their probabilities, and of `goal` (positions, 1) its
    probability and rank."""
    shares, tokens = found.topk(min(top, found.shape[-1]))
    own = found.gather(-1, goal)
    return tokens, shares, own[:, 0], (found > own).sum(-1) + 1
