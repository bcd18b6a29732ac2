"""Forms of a matrix for inference on a CPU: packed as its kernels read it, or eight-bit integers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from formers.kernels.compiler import load_loops

FEW_ROWS = 8  # up to here PyTorch's int8 kernel is faster than converting the weight and multiplying in bf16 (measured)
MANY_ROWS = 64  # from here on integers on both sides are faster than bf16 for a matrix twice as wide as its input
LARGE = 1 << 22  # numbers of an fp32 matrix that no cache holds: a loop reads it 1.2 times as fast (measured)
TOGETHER = 256  # vectors that become integers while they are in a near memory: twice as fast (measured)
SAMPLE = 64  # numbers of a weight that tell whether it is still the one that was packed


class PackedMatrix:
    """An fp32 matrix beside its copy in the blocked order that oneDNN's kernels read (made when first multiplied).

    The same products up to the order of additions, 1.3 to 2.4 times as fast for few rows (measured).
    """

    few = 5  # rows up to which compiled blocks are faster (measured)

    def __init__(self, plain: Tensor) -> None:
        self.plain, self.version, self.sample = plain, -1, torch.empty(0)
        self.alone = 2 if plain.numel() >= LARGE else 0
        self.pack: Tensor | None = None
        self.joint: Joint | None = None

    def fresh(self) -> bool:
        """Whether the plain weight is what was packed; `weight.data.copy_()` leaves no trace but other numbers."""
        return self.version == self.plain._version and torch.equal(self.sample, self.some())

    def some(self) -> Tensor:
        flat = self.plain.detach().reshape(-1)
        return flat[:: max(1, len(flat) // SAMPLE)]

    def note(self) -> Tensor:
        """The plain weight, which is remembered as it is now."""
        self.version, self.sample = self.plain._version, self.some().clone()
        return self.plain.detach()

    def linear(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        return few_rows(self, x, bias) if is_few(self, x) else self.product(x, bias)

    def product(self, x: Tensor, bias: Tensor | None, activation: str = "none", kind: str = "") -> Tensor:
        """oneDNN's, which can apply an activation to what it has at hand."""
        if self.pack is None:
            self.pack = torch.ops.mkldnn._reorder_linear_weight(self.note(), 64)
        return torch.ops.mkldnn._linear_pointwise(x, self.pack, bias, activation, [], kind)

    @staticmethod
    def join(forms: Sequence[PackedMatrix]) -> PackedMatrix:
        """All their rows in one pack."""
        joined = PackedMatrix(torch.empty(0))
        joined.pack = torch.ops.mkldnn._reorder_linear_weight(torch.cat([form.note() for form in forms]), 64)
        return joined

    def rows(self, index: Tensor) -> Tensor:
        return F.embedding(index, self.plain)

    def dense(self) -> Tensor:
        return self.plain

    def arrays(self) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Numbers (1, rows, columns) and scale (1, rows)."""
        return self.plain.detach().contiguous().numpy()[None], np.ones((1, len(self.plain)), np.float32)


class Int8:
    """A matrix as integers of -127 to 127 and a scale per row, or per row and `group` columns.

    Activations are bf16, sums fp32. After `choose_columns`, many vectors become integers with a scale each, but for the
    columns whose numbers are large (Dettmers et al. 2022, sections 2 and 3).
    integers: all columns do, at fewer vectors; three times as fast as fp32 (measured), and close enough for encoders
    (a language model's perplexity would be 4% higher).
    """

    few = alone = 8

    def __init__(self, plain: Tensor, group: int = 0, *, integers: bool = False) -> None:
        rows, columns = plain.shape
        self.dtype, self.group = plain.dtype, group or columns
        self.integers = integers
        # without these instructions the kernel's sums of products may overflow
        self.multiplies = self.group == columns and torch.cpu._is_vnni_supported()
        self.pack: Tensor | None = None
        self.large: Tensor | None = None  # the columns whose numbers are large
        self.apart: Tensor | None = None  # what the matrix has there, transposed, made with the pack
        parts = plain.float().unflatten(1, (-1, self.group))  # (rows, groups, group)
        scale = parts.abs().amax(2, keepdim=True).clamp(min=1e-12) / 127
        numbers = (parts / scale).round_().to(torch.int8)
        self.numbers = numbers.transpose(0, 1).contiguous()  # (groups, rows, group)
        self.scale = scale.squeeze(2).T.contiguous()  # (groups, rows), fp32
        self.ones = torch.ones(rows, dtype=torch.bfloat16)
        self.parts = self.split()
        self.joint: Joint | None = None

    def split(self) -> list[tuple[Tensor, Tensor]]:
        """(numbers, scale) of each group, as views that need not be made for every product."""
        return list(zip(self.numbers.unbind(), self.scale.unbind(), strict=True))

    @staticmethod
    def join(forms: Sequence[Int8]) -> Int8:
        """All their rows in one matrix, of which theirs become views."""
        joined = copy.copy(forms[0])
        joined.numbers = torch.cat([form.numbers for form in forms], 1)
        joined.scale = torch.cat([form.scale for form in forms], 1)
        joined.ones = torch.cat([form.ones for form in forms])
        sizes = [form.numbers.shape[1] for form in forms]
        for form, numbers in zip(forms, joined.numbers.split(sizes, 1), strict=True):
            form.numbers = numbers
            form.parts = form.split()
        joined.parts, joined.pack = joined.split(), None
        return joined

    def linear(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        if is_few(self, x):
            return few_rows(self, x, bias)
        flat = x.reshape(-1, x.shape[-1])
        if self.by_integers(len(flat)):
            return self.integer_product(flat.float(), bias).to(x.dtype).view(*x.shape[:-1], -1)
        flat = flat.bfloat16()
        if len(self.parts) == 1:
            ((numbers, scale),) = self.parts
            y = self.product(flat, numbers) * scale
        elif flat.shape[0] > FEW_ROWS:  # one product in bf16: the products of all groups at once would fill memory
            y = F.linear(flat, self.dense().bfloat16())
        else:
            pieces = zip(flat.split(self.group, 1), self.parts, strict=True)
            y = torch.stack([self.product(piece.contiguous(), part) * scale for piece, (part, scale) in pieces]).sum(0)
        y = y if bias is None else y + bias
        return y.to(x.dtype).view(*x.shape[:-1], -1)

    def by_integers(self, rows: int) -> bool:
        """Whether so many vectors become integers too."""
        if self.integers:
            return self.multiplies and rows > FEW_ROWS
        return self.large is not None and rows >= MANY_ROWS and len(self.ones) >= 2 * self.group

    def integer_product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x (rows, columns) with a scale per row, so that a row does not depend on the others."""
        ((numbers, scale),) = self.parts
        if self.pack is None:
            self.pack = torch.ops.onednn.qlinear_prepack(numbers, None)
            self.apart = None if self.large is None else numbers.T.index_select(0, self.large) * scale
        top, whole = x.new_empty(len(x), 1), torch.empty(x.shape, dtype=torch.uint8)
        for part, most, integers in zip(x.split(TOGETHER), top.split(TOGETHER), whole.split(TOGETHER), strict=True):
            rest = part if self.large is None else part.index_fill(1, self.large, 0.0)
            torch.maximum(rest.amax(-1, keepdim=True), -rest.amin(-1, keepdim=True), out=most)
            most.clamp_(min=1e-12).div_(127)
            # -127 to 127 become 1 to 255; by way of int8, which takes 0.4 of the time of a cast to uint8 (measured)
            torch.add((rest * most.reciprocal()).round_().to(torch.int8).view(torch.uint8), 128, out=integers)
        zeros = torch.zeros(len(scale), dtype=torch.int32)
        after: list[Any] = [None, 1.0, 0, torch.float32, "none", [], ""]  # no bias, no activation
        y = torch.ops.onednn.qlinear_pointwise(whole, 1.0, 128, self.pack, scale, zeros, *after)
        y = y.mul_(top)  # one after the other in place: measured faster than addcmul
        if self.large is not None and self.apart is not None:
            y = y.addmm_(x.index_select(1, self.large), self.apart)
        return y if bias is None else y.add_(bias)

    def product(self, x: Tensor, numbers: Tensor) -> Tensor:
        if x.shape[0] <= FEW_ROWS and x.shape[1] % 16 == 0:  # with any other width the kernel reads beyond its memory
            return torch._weight_int8pack_mm(x, numbers, self.ones)
        return F.linear(x, numbers.bfloat16())

    def rows(self, index: Tensor) -> Tensor:
        parts = self.numbers[:, index] * self.scale[:, index, None]  # (groups, *index, group)
        return parts.movedim(0, -2).flatten(-2).to(self.dtype)

    def dense(self) -> Tensor:
        return (self.numbers * self.scale[:, :, None]).transpose(0, 1).flatten(1).to(self.dtype)

    def arrays(self) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Numbers (groups, rows, columns of a group) and scale (groups, rows)."""
        if not self.numbers.is_contiguous():  # a part of several groups that were joined
            self.numbers, self.scale = self.numbers.contiguous(), self.scale.contiguous()
        return self.numbers.numpy(), self.scale.numpy()


Form = PackedMatrix | Int8


def is_few(form: Form, x: Tensor) -> bool:
    """Whether the product of these vectors alone is one for a compiled loop."""
    return (
        x.dtype == torch.float32
        and x.numel() <= form.alone * x.shape[-1]
        and not torch.is_grad_enabled()
        and load_loops() is not None
    )


def few_rows(form: Form, x: Tensor, bias: Tensor | None) -> Tensor:
    """The product as a compiled loop."""
    loops = load_loops()
    assert loops is not None
    numbers, scale = form.arrays()
    flat = x.reshape(-1, x.shape[-1]).contiguous()
    out = flat.new_zeros(len(flat), scale.shape[1])
    out = out if bias is None else out + bias
    with loops.using(torch.get_num_threads(), f"product, {numbers.dtype}"):
        loops.product(flat.numpy(), numbers, scale, out.numpy())
    return out.view(*x.shape[:-1], -1)


@dataclass(frozen=True)
class Joint:
    """Matrices that read the same vectors, as one."""

    forms: tuple[Form, ...]
    joined: Form
    sizes: list[int]
