"""The output part in training: linear head, softmax and cross-entropy in one, in pieces that fit the CPU's cache."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

PIECE = 1 << 22  # logits that exist at a time, 16 MB in fp32,
ROWS = 128  # but of this many tokens at least, or the products with a large head are slow (measured)


class LinearHead(NamedTuple):
    """A model's head as a value: logits = scale * x weight^T + bias."""

    weight: Float[Tensor, "vocab dim"]
    bias: Float[Tensor, " vocab"] | None = None
    scale: float | None = None
    """Factor on x; None: 1."""

    def logits(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        return F.linear(self.scaled(x), self.weight, self.bias)

    def cross_entropy(
        self, x: Float[Tensor, "tokens dim"], targets: Int[Tensor, " tokens"], *, smoothing: float = 0.0
    ) -> Float[Tensor, ""]:
        """As `cross_entropy` of the logits, which never exist whole."""
        return cross_entropy(self.scaled(x), self.weight, targets, bias=self.bias, smoothing=smoothing)

    def scaled(self, x: Tensor) -> Tensor:
        return x if self.scale is None else x * self.scale


def cross_entropy(
    x: Float[Tensor, "tokens dim"],
    weight: Float[Tensor, "vocab dim"],
    targets: Int[Tensor, " tokens"],
    *,
    bias: Float[Tensor, " vocab"] | None = None,
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Sum over tokens of -log softmax(x weight^T + bias)[target], with label smoothing (Szegedy et al. 2016).

    The logits never exist whole, and their gradient is worked out while they are at hand. Equal to
    `F.cross_entropy(x @ weight.T + bias, targets, label_smoothing=smoothing, reduction="sum")`.
    """
    return _CrossEntropy.apply(x, weight, bias, targets, smoothing)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x weight^T. In fp32 on a CPU by oneDNN, which was measured 1.1 to 1.9 times as fast as PyTorch's choice."""
    if x.dtype == torch.float32 and x.device.type == "cpu" and torch.backends.mkldnn.is_available():
        return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return F.linear(x, weight)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float) -> Tensor:
        device = x.device.type
        low = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        want_x, want_weight, want_bias = ctx.needs_input_grad[:3]  # a frozen head is the usual case of adapters
        vocab = weight.shape[0]
        total = torch.zeros((), device=x.device)
        with torch.autocast(device, enabled=False):
            rows, head = x.to(low), weight.to(low)
            gradient_x = torch.empty_like(rows) if want_x else None
            gradient_weight = torch.zeros_like(weight) if want_weight else None
            gradient_bias = torch.zeros_like(bias) if want_bias and bias is not None else None
            size = max(ROWS, PIECE // vocab)
            for start in range(0, len(x), size):
                piece, goal = rows[start : start + size], targets[start : start + size, None]
                logits = product(piece, head).float()
                if bias is not None:
                    logits += bias
                normaliser = logits.logsumexp(-1, keepdim=True)
                right = logits.gather(-1, goal)
                total += ((1 - smoothing) * (normaliser - right)).sum()
                if smoothing:
                    total += smoothing * (normaliser - logits.mean(-1, keepdim=True)).sum()
                if not (want_x or want_weight or want_bias):
                    continue
                delta = logits.sub_(normaliser).exp_()
                if smoothing:
                    delta -= smoothing / vocab
                delta.scatter_add_(-1, goal, torch.full_like(right, smoothing - 1))
                if gradient_bias is not None:
                    gradient_bias += delta.sum(0)
                delta = delta.to(low)
                if gradient_x is not None:
                    gradient_x[start : start + size] = product(delta, head.T)
                if gradient_weight is not None and low == weight.dtype:
                    gradient_weight.addmm_(delta.T, piece)
                elif gradient_weight is not None:
                    gradient_weight += delta.T @ piece
        ctx.save_for_backward(gradient_x, gradient_weight, gradient_bias)
        ctx.kind = x.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        gradient_x, gradient_weight, gradient_bias = ctx.saved_tensors
        (factor,) = upstream
        return (
            None if gradient_x is None else gradient_x.to(ctx.kind) * factor,
            None if gradient_weight is None else gradient_weight * factor,
            None if gradient_bias is None else gradient_bias * factor,
            None,
            None,
        )
