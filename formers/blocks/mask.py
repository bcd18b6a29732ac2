"""Who may look at whom: a value built once per forward pass and resolved to what attention understands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Resolved = Tensor | Literal["causal"] | None


@dataclass(frozen=True)
class Mask:
    """causal: no look ahead; keep: (batch, keys), True is a real token; bias: added to scores; window: keys back,
    the query's own included; documents: (batch, length), a number per packed text, which sees itself only.
    """

    causal: bool = False
    keep: Tensor | None = None
    bias: Tensor | None = None
    window: int | None = None
    documents: Tensor | None = None

    def resolve(self, queries: int, keys: int, device: torch.device | None = None) -> Resolved:
        """None (everything), "causal", or an additive float mask that broadcasts to (batch, heads, queries, keys).

        The queries are the last `queries` of the `keys` positions.
        """
        causal = self.causal and queries > 1
        window = None if self.window is None or keys <= self.window else self.window
        if self.keep is None and self.bias is None and window is None and self.documents is None:
            if not causal:
                return None
            if queries == keys:
                return "causal"
        allowed = None
        if causal or window is not None:
            here = torch.arange(keys - queries, keys, device=device)[:, None]
            there = torch.arange(keys, device=device)[None, :]
            allowed = there <= here if self.causal else (there - here).abs() < keys
            if window is not None:
                allowed = allowed & (there > here - window) & (there < here + window)
        if self.keep is not None:
            keep = self.keep[:, None, None, :]
            allowed = keep if allowed is None else allowed & keep
        if self.documents is not None:
            same = (self.documents[:, :, None] == self.documents[:, None, :])[:, None]
            allowed = same if allowed is None else allowed & same
        if allowed is None:
            return self.bias
        # A row without a single key would make softmax NaN: such a row (only padding) looks at everything instead.
        allowed = allowed | ~allowed.any(-1, keepdim=True)
        if self.bias is not None:
            return self.bias.masked_fill(~allowed, -torch.inf)
        return torch.zeros(allowed.shape, device=device).masked_fill_(~allowed, -torch.inf)
