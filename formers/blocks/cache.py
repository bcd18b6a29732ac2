"""What a decoder remembers between steps: the caller's object, handed to each block, never stored on a module."""

from __future__ import annotations

import torch
from torch import Tensor

Storage = tuple[Tensor, Tensor]  # of keys and of values
LEAST = 32  # positions that storage is made for at first; then for half as many again


class LayerCache:
    """Keys and values of one attention, (batch, heads, length, head_dim), for up to `capacity` positions.

    Storage grows with what there is: memory that is never touched is cheap, but touching it thinly is not (measured).

    `complete` marks a memory: filled by the first `append`, then only read.
    """

    def __init__(self, capacity: int = 0, *, memory: bool = False) -> None:
        self.capacity, self.memory, self.length = capacity, memory, 0
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    @property
    def complete(self) -> bool:
        return self.memory and self.keys is not None

    def read(self) -> tuple[Tensor, Tensor]:
        """Everything remembered so far."""
        assert self.keys is not None and self.values is not None
        return self.keys.narrow(2, 0, self.length), self.values.narrow(2, 0, self.length)

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Remember the new positions and give back all of them, old and new."""
        if self.memory:
            self.keys, self.values, self.length = keys.contiguous(), values.contiguous(), keys.shape[2]
            return self.read()
        start, (rows, heads, new, width) = self.length, keys.shape
        to_keys, to_values = self.claim(rows, heads, new, width, like=keys)
        to_keys.narrow(2, start, new).copy_(keys)  # narrow: half the cost of a slice
        to_values.narrow(2, start, new).copy_(values)
        return self.read()

    def claim(self, rows: int, heads: int, new: int, width: int, like: Tensor) -> Storage:
        """The storage of keys and of values; `new` more positions count as remembered, for the caller to fill in."""
        end = self.length + new
        if end > self.capacity:
            raise ValueError(f"cache holds {self.capacity} positions, got {end}; ask for more when it is made")
        if self.keys is None or self.values is None or end > self.keys.shape[2]:
            size = min(self.capacity, max(end + end // 2, LEAST))
            self.keys, self.values = (
                self.moved(part, like.new_empty(rows, heads, size, width)) for part in (self.keys, self.values)
            )
        self.length = end
        return self.keys, self.values

    def moved(self, old: Tensor | None, new: Tensor) -> Tensor:
        """`new` with what is remembered in `old`."""
        if old is not None:
            new.narrow(2, 0, self.length).copy_(old.narrow(2, 0, self.length))
        return new

    def reorder(self, rows: Tensor, spare: Storage | None = None) -> Storage | None:
        """Row i becomes a copy of row rows[i]; the number of rows may change.

        spare: storage that may be written over; what is given back is free from now on.
        """
        if self.keys is None or self.values is None:
            return spare
        free = self.keys, self.values
        self.keys, self.values = (
            picked(part, rows, self.length, into) for part, into in zip(free, spare or (None, None), strict=True)
        )
        return free


def picked(part: Tensor, rows: Tensor, length: int, into: Tensor | None) -> Tensor:
    """These rows of a storage, in one pass into memory that is not new: ten times as fast as an index (measured)."""
    if into is None or into.shape[1:] != part.shape[1:] or len(into) < len(rows):
        into = part.new_empty(len(rows), *part.shape[1:])
    into = into.narrow(0, 0, len(rows))
    torch.index_select(part.narrow(2, 0, length), 0, rows, out=into.narrow(2, 0, length))
    return into


class Cache:
    """One pair per layer: what the block itself has seen, and the encoder's memory if there is one.

    `keep` (batch, positions) marks the real ones of all remembered tokens; None means all are.
    """

    def __init__(
        self, layers: int, capacity: int, *, memory: Tensor | None = None, memory_keep: Tensor | None = None
    ) -> None:
        self.own = [LayerCache(capacity) for _ in range(layers)]
        self.read = [LayerCache(memory=True) for _ in range(layers)] if memory is not None else None
        self.memory, self.memory_keep = memory, memory_keep
        self.keep: Tensor | None = None
        self.capacity = capacity
        self.spare: Storage | None = None  # what `reorder` may write into next: one for all layers, which are alike

    def __getitem__(self, layer: int) -> tuple[LayerCache, LayerCache | None]:
        return self.own[layer], None if self.read is None else self.read[layer]

    @property
    def length(self) -> int:
        """Positions remembered so far."""
        return self.own[0].length

    def extend_keep(self, keep: Tensor | None, rows: int, new: int, device: torch.device) -> Tensor | None:
        """Note which of `new` positions are real and give back (batch, all positions), or None if every one is."""
        if keep is None and self.keep is None:
            return None
        past = self.keep
        if past is None:
            past = torch.ones(rows, self.length, dtype=torch.bool, device=device)
        if keep is None:
            keep = torch.ones(rows, new, dtype=torch.bool, device=device)
        self.keep = torch.cat([past, keep], 1)
        return self.keep

    def reorder(self, rows: Tensor) -> None:
        """Row i becomes a copy of row rows[i]: beam search moves hypotheses, finished rows leave."""
        for layer in self.own:
            self.spare = layer.reorder(rows, self.spare)
        if self.keep is not None:
            self.keep = self.keep[rows]

    def reorder_memory(self, rows: Tensor) -> None:
        """As `reorder`, for the encoder's side."""
        for layer in self.read or ():
            layer.reorder(rows)
        self.memory = None if self.memory is None else self.memory[rows]
        self.memory_keep = None if self.memory_keep is None else self.memory_keep[rows]

    def reserve(self, capacity: int) -> None:
        """Allow for `capacity` positions at least."""
        self.capacity = max(self.capacity, capacity)
        for layer in self.own:
            layer.capacity = self.capacity

    def truncate(self, length: int) -> None:
        """Forget every position from `length` on."""
        for layer in self.own:
            layer.length = min(layer.length, length)
        if self.keep is not None:
            self.keep = self.keep[:, :length]

    def recall(self, length: int) -> None:
        """Count positions up to `length` again that `truncate` has forgotten and nothing has taken the place of."""
        assert self.keep is None and length <= self.capacity
        for layer in self.own:
            layer.length = length
