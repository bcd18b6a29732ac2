"""Muon: matrices learn by their momentum with all its directions made equally long; AdamW does the rest."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
# Of the polynomial whose repetition brings every singular value near to one (Jordan 2024), and how often
COEFFICIENTS, TIMES = (3.4445, -4.7750, 2.0315), 5
SIZE = 0.2  # root mean square of an update, so that rates and decays of AdamW serve (Liu et al. 2025, section 2.2)


class Muon:
    """Muon (Jordan 2024) over groups of matrices, convolutions as (out, all else), with AdamW over what else learns.

    The groups and the state of both are one list and one mapping.
    """

    def __init__(self, matrices: list[dict[str, Any]], rest: torch.optim.AdamW) -> None:
        self.rest, self.matrices = rest, [{"lr": 0.0, **group} for group in matrices]
        self.param_groups = [*self.matrices, *rest.param_groups]
        self.state = rest.state

    @torch.no_grad()
    def step(self) -> None:
        """Matrices of one shape are made orthogonal at once."""
        self.rest.step()
        for group in self.matrices:
            alike: dict[tuple[int, ...], list[nn.Parameter]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    alike[len(weight), weight[0].numel()].append(weight)
            for (rows, columns), weights in alike.items():
                moved = orthogonal(torch.stack([self.momentum(weight).flatten(1) for weight in weights]))
                moved *= SIZE * max(rows, columns) ** 0.5 * group["lr"]
                for weight, update in zip(weights, moved.unbind(), strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update.view_as(weight))

    def momentum(self, weight: nn.Parameter) -> Tensor:
        """The running mean of a gradient, which takes the newest in, and looks one step ahead (Nesterov)."""
        assert weight.grad is not None
        state = self.state[weight]
        mean = state.setdefault("momentum", torch.zeros_like(weight)).lerp_(weight.grad, 1 - MOMENTUM)
        return weight.grad.lerp(mean, MOMENTUM)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Of all that learns."""
        for group in self.param_groups:
            for weight in group["params"]:
                weight.grad = None if set_to_none or weight.grad is None else weight.grad.zero_()


def orthogonal(x: Tensor) -> Tensor:
    """(matrices, rows, columns) with the same singular vectors, and singular values of 0.7 to 1.2 but for the least.

    The polynomials are those of x x^T alone, so the longer side of x is multiplied but twice.
    """
    a, b, c = COEFFICIENTS
    wide = x.shape[1] <= x.shape[2]
    x = (x if wide else x.mT) / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    square = x @ x.mT
    one = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    whole = step = a * one + torch.baddbmm(square, square, square, beta=b, alpha=c)
    for _ in range(TIMES - 1):
        square = step @ square @ step
        step = a * one + torch.baddbmm(square, square, square, beta=b, alpha=c)
        whole = step @ whole
    x = whole @ x
    return x if wide else x.mT
