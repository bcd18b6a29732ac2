"""The position-wise feed-forward network, plain (max(0, x W1) W2 in the 2017 paper) or gated (Shazeer 2020)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from formers.kernels.weight import activated, hooked, together

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "gelu_quick": lambda x: x * (1.702 * x).sigmoid(),  # CLIP's approximation
    "silu": F.silu,
}
IN_PLACE: dict[str | None, Callable[[Tensor], Tensor]] = {  # where no gradient needs what went in
    "relu": F.relu_,
    "gelu": torch.ops.aten.gelu_,
    "gelu_tanh": partial(torch.ops.aten.gelu_, approximate="tanh"),
    "gelu_quick": lambda x: x.mul_((1.702 * x).sigmoid_()),
    "silu": partial(F.silu, inplace=True),
}


class FeedForward(nn.Module):
    """dim -> hidden -> dim; gated: down(activation(gate(x)) * up(x)), else down(activation(up(x)))."""

    def __init__(
        self, dim: int, hidden: int, *, activation: str = "gelu", gated: bool = False, bias: bool = True
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.up = nn.Linear(dim, hidden, bias=bias)
        self.gate = nn.Linear(dim, hidden, bias=bias) if gated else None
        self.down = nn.Linear(hidden, dim, bias=bias)

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        if self.gate is None:
            name = self.activation_name()
            inner = activated(x, self.up, name)
            if inner is None:
                alone = torch.is_grad_enabled() or hooked(self.up)
                inner = (self.activation if alone else IN_PLACE.get(name, self.activation))(self.up(x))
        else:
            gate, up = together(x, self.gate, self.up)
            inner = self.activation(gate)
            inner = inner * up if torch.is_grad_enabled() else inner.mul_(up)
        return self.down(inner)

    def activation_name(self) -> str | None:
        """The name of the activation, if it is one of ours."""
        return next((name for name, activation in ACTIVATIONS.items() if activation is self.activation), None)
