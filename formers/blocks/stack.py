"""Blocks plus what they share: the mask, the rotary slice and the relative bias are worked out once, then the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from formers.blocks.block import Block, StackConfig
from formers.blocks.cache import Cache
from formers.blocks.mask import Mask
from formers.blocks.norm import make_norm
from formers.blocks.position import RelativeBias, Rotary

__all__ = ["Stack", "StackConfig"]


class Steps(Protocol):
    """The blocks of a stack for a few vectors at a time."""

    def take(self, x: Tensor, cache: Cache) -> bool:
        """Whether a step of these vectors (rows, new, dim) can go this way."""

    def __call__(self, x: Tensor, cache: Cache) -> Tensor: ...


def run_block(block: nn.Module, *inputs: Any, recompute: bool, **named: Any) -> Tensor:
    """What a block gives; recompute: its activations are computed again in the backward pass (Chen et al. 2016)."""
    return checkpoint(block, *inputs, use_reentrant=False, **named) if recompute else block(*inputs, **named)


class Stack(nn.Module):
    """`causal`: a decoder; `memory_dim`: every block also reads a memory of that width.

    `windows`: how far back each layer looks, its own position included (0: as far as there is); layers with a window
    turn by `local_rotary` where there is one (Gemma 3). `repeat`: every block runs so many times; `cycle`: so many
    neighbours take turns while they do (ALBERT: 0 1 0 1 2 3 2 3 repeats twice in cycles of two).
    """

    def __init__(
        self,
        config: StackConfig,
        *,
        causal: bool = False,
        memory_dim: int | None = None,
        rotary: Rotary | None = None,
        local_rotary: Rotary | None = None,
        relative: RelativeBias | None = None,
        windows: Sequence[int] = (),
        final_norm: bool = True,
        block: Callable[..., nn.Module] = Block,
        repeat: int = 1,
        cycle: int = 1,
    ) -> None:
        super().__init__()
        if config.layers % (repeat * cycle):
            what = f"repeat ({repeat})" if cycle == 1 else f"repeat ({repeat}) times cycle ({cycle})"
            raise ValueError(f"layers ({config.layers}) must be a multiple of {what}")
        if windows and len(windows) != config.layers:
            raise ValueError(f"windows: got {len(windows)}, expected one for each of the {config.layers} layers")
        self.causal, self.rotary, self.local_rotary, self.relative = causal, rotary, local_rotary or rotary, relative
        self.windows = tuple(windows) or (0,) * config.layers
        self.recompute = False  # gradient checkpointing: activations are computed again in the backward pass
        self.repeat, self.cycle = repeat, cycle
        self.steps: Steps | None = None  # the same for a few vectors, where `fused` has put it
        self.blocks = nn.ModuleList(block(config, memory_dim=memory_dim) for _ in range(config.layers // repeat))
        self.norm = make_norm(config.norm, config.dim, config.norm_eps) if final_norm else None

    def forward(
        self,
        x: Float[Tensor, "batch length dim"],
        *,
        keep: Bool[Tensor, "batch keys"] | None = None,
        memory: Float[Tensor, "rows memory_length memory_dim"] | None = None,
        memory_keep: Bool[Tensor, "rows memory_length"] | None = None,
        documents: Int[Tensor, "batch length"] | None = None,
        cache: Cache | None = None,
        shared: Mapping[str, Any] | None = None,
        seen: list[Tensor] | None = None,
        until: int | None = None,
        last: bool = False,
    ) -> Float[Tensor, "batch asked dim"]:
        """keep covers all keys, remembered ones too; documents: as in `Mask`, without a cache.

        shared: what every block takes by these names beyond `Block`'s: the condition of a diffusion model, `keep`
        where a convolution must not see padding. seen: gets what goes into the first block and comes out of each.
        until: stop before this block and skip the final norm. last: only the last vector is asked for, (batch, 1, dim):
        the last block computes no other.
        """
        plain = all(argument is None for argument in (keep, memory_keep, documents, shared, seen, until))
        if plain and cache is not None and self.steps is not None and self.steps.take(x, cache):
            done = self.steps(x, cache)
            return done[:, -1:] if last else done
        new = x.shape[1]
        past = 0 if cache is None else cache.length
        bias = None if self.relative is None else self.relative(new, past + new)
        memory_mask = None
        if memory is not None and memory_keep is not None:
            memory_mask = Mask(keep=memory_keep).resolve(1, memory.shape[1], x.device)
        kinds: dict[int, dict[str, Any]] = {}  # what all layers of one window share
        for window in dict.fromkeys(self.windows):
            mask = Mask(causal=self.causal, keep=keep, bias=bias, window=window or None, documents=documents)
            rotary = self.local_rotary if window else self.rotary
            kinds[window] = {
                "mask": mask.resolve(new, past + new, x.device),
                "memory": memory,
                "memory_mask": memory_mask,
                "rotary": None if rotary is None else rotary.at(past, new, x),
                **(shared or {}),
            }
        if seen is not None:
            seen.append(x)
        windows = self.windows[:until]
        for i, window in enumerate(windows):
            block = self.block(i)
            layer_cache = None if cache is None else cache[i]
            only = last and i == len(windows) - 1
            again = self.recompute and self.training
            x = run_block(block, x, recompute=again, cache=layer_cache, last=only, **kinds[window])
            if seen is not None:
                seen.append(x)
        return x if self.norm is None or until is not None else self.norm(x)

    def block(self, layer: int) -> nn.Module:
        """The block that runs as this layer."""
        return self.blocks[layer // (self.repeat * self.cycle) * self.cycle + layer % self.cycle]
