"""Blocks plus what they share: the mask, the rotary slice and the relative bias are worked out once, then the loop."""

from __future__ import annotations

from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from formers.blocks.block import Block, StackConfig
from formers.blocks.cache import Cache
from formers.blocks.mask import Mask
from formers.blocks.norm import make_norm
from formers.blocks.position import RelativeBias, Rotary

__all__ = ["Stack", "StackConfig"]


class Stack(nn.Module):
    """`causal`: a decoder; `memory_dim`: every block also reads a memory of that width."""

    def __init__(
        self,
        config: StackConfig,
        *,
        causal: bool = False,
        memory_dim: int | None = None,
        rotary: Rotary | None = None,
        relative: RelativeBias | None = None,
        final_norm: bool = True,
    ) -> None:
        super().__init__()
        self.causal, self.rotary, self.relative = causal, rotary, relative
        self.recompute = False  # gradient checkpointing: activations are computed again in the backward pass
        self.blocks = nn.ModuleList(Block(config, memory_dim=memory_dim) for _ in range(config.layers))
        self.norm = make_norm(config.norm, config.dim, config.norm_eps) if final_norm else None

    def forward(
        self,
        x: Float[Tensor, "batch length dim"],
        *,
        keep: Bool[Tensor, "batch keys"] | None = None,
        memory: Float[Tensor, "rows memory_length memory_dim"] | None = None,
        memory_keep: Bool[Tensor, "rows memory_length"] | None = None,
        cache: Cache | None = None,
        until: int | None = None,
    ) -> Float[Tensor, "batch length dim"]:
        """keep covers all keys, remembered ones too. until: stop before this block and skip the final norm."""
        new = x.shape[1]
        past = 0 if cache is None else cache.length
        bias = None if self.relative is None else self.relative(new, past + new)
        mask = Mask(causal=self.causal, keep=keep, bias=bias).resolve(new, past + new, x.device)
        rotary = None if self.rotary is None else self.rotary.at(past, new, x)
        memory_mask = None
        if memory is not None and memory_keep is not None:
            memory_mask = Mask(keep=memory_keep).resolve(1, memory.shape[1], x.device)
        for i, block in enumerate(self.blocks[:until]):
            shared: dict[str, Any] = {"mask": mask, "rotary": rotary, "memory": memory, "memory_mask": memory_mask,
                                      "cache": None if cache is None else cache[i]}
            if self.recompute and self.training:
                x = checkpoint(block, x, use_reentrant=False, **shared)
            else:
                x = block(x, **shared)
        return x if self.norm is None or until is not None else self.norm(x)
