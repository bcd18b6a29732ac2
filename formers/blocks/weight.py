"""Weights in another form, for inference on a CPU: packed as its kernels read them, or as eight-bit integers.

A `Weight` stands in a module where its plain tensor was: `linear` and embedding lookups use the form, and any other
operation sees the plain numbers. No model knows of it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache as once
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

PACKED_MOST = 4 << 30  # bytes of one model that are packed: packs lie beside the plain weights
FEW_ROWS = 8  # up to here PyTorch's int8 kernel is faster than converting the weight and multiplying in bf16 (measured)
MANY_ROWS = 64  # from here on integers on both sides are faster than bf16 for a matrix twice as wide as its input
APART = 32  # of so many columns, one stays as it is: perplexity is then nearly that of bf16 (both measured)
ACTIVATED = {"relu": ("relu", ""), "gelu": ("gelu", "none"), "gelu_tanh": ("gelu", "tanh")}  # as oneDNN calls them
LARGE = 1 << 22  # numbers of an fp32 matrix that no cache holds: a loop reads it 1.2 times as fast (measured)
SAMPLE = 64  # numbers of a weight that tell whether it is still the one that was packed


@once
def compiled() -> ModuleType | None:
    """The loops for a few rows, where numba is there to compile them (NUMBA_DISABLE_JIT=1: nowhere)."""
    try:
        from numba import config, get_num_threads

        from formers.blocks import compiled as loops
    except (ImportError, RuntimeError):  # RuntimeError: there is no folder where numba could keep what it compiled
        return None
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return None
    threads = torch.get_num_threads()
    get_num_threads()  # starts numba's threads, which are PyTorch's too, and sets their number for both
    torch.set_num_threads(threads)
    return loops


class Packed:
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
    def join(forms: Sequence[Packed]) -> Packed:
        """All their rows in one pack."""
        joined = Packed(torch.empty(0))
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
        rest = x if self.large is None else x.index_fill(1, self.large, 0.0)
        top = torch.maximum(rest.amax(-1, keepdim=True), -rest.amin(-1, keepdim=True)).clamp_(min=1e-12).div_(127)
        # -127 to 127 become 1 to 255; by way of int8, which takes 0.4 of the time of a cast to uint8 (measured)
        whole = (rest * top.reciprocal()).round_().to(torch.int8).view(torch.uint8).add_(128)
        y = torch.ops.onednn.qlinear_pointwise(
            whole,
            1.0,
            128,
            self.pack,
            scale,
            torch.zeros(len(scale), dtype=torch.int32),
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        y = y.mul_(top)  # one after the other in place: measured faster than addcmul
        if self.large is not None and self.apart is not None:
            y = y.addmm_(x.index_select(1, self.large), self.apart)
        return y if bias is None else y.add_(bias)

    def product(self, x: Tensor, numbers: Tensor) -> Tensor:
        if x.shape[0] <= FEW_ROWS and x.shape[1] % 16 == 0:  # with any other width the kernel reads beyond its memory
            return torch._weight_int8pack_mm(x, numbers, self.ones)
        return F.linear(x, numbers.bfloat16())

    def rows(self, index: Tensor) -> Tensor:
        found = self.numbers[:, index] * self.scale[:, index, None]  # (groups, *index, group)
        return found.movedim(0, -2).flatten(-2).to(self.dtype)

    def dense(self) -> Tensor:
        return (self.numbers * self.scale[:, :, None]).transpose(0, 1).flatten(1).to(self.dtype)

    def arrays(self) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Numbers (groups, rows, columns of a group) and scale (groups, rows)."""
        if not self.numbers.is_contiguous():  # a part of several groups that were joined
            self.numbers, self.scale = self.numbers.contiguous(), self.scale.contiguous()
        return self.numbers.numpy(), self.scale.numpy()


Form = Packed | Int8


def is_few(form: Form, x: Tensor) -> bool:
    """Whether the product of these vectors alone is one for a compiled loop."""
    return (
        x.dtype == torch.float32
        and x.numel() <= form.alone * x.shape[-1]
        and not torch.is_grad_enabled()
        and compiled() is not None
    )


def few_rows(form: Form, x: Tensor, bias: Tensor | None) -> Tensor:
    """The product as a compiled loop."""
    loops = compiled()
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


def hooked(module: nn.Module) -> bool:
    """Whether somebody wants to be told when the module runs."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def form_of(layer: nn.Module) -> Form | None:
    """The form of a linear map's weight, where the map may be computed without calling the module."""
    if type(layer) is nn.Linear and type(layer.weight) is Weight and not hooked(layer):
        return layer.weight.form
    return None


def together(x: Tensor, *layers: nn.Module) -> Sequence[Tensor]:
    """What each layer makes of x. Linears whose weights have a form are one product: fewer and larger ones."""
    forms = tuple(form for form in map(form_of, layers) if form is not None)
    if len(forms) < len(layers) or is_few(forms[0], x):
        return [layer(x) for layer in layers]
    joint = forms[0].joint
    if joint is None or joint.forms != forms:  # forms are compared as objects: a changed weight gets a new one
        sizes = [layer.out_features for layer in layers]
        joint = forms[0].joint = Joint(forms, type(forms[0]).join(forms), sizes)  # type: ignore[arg-type]
    given = [layer.bias for layer in layers]
    bias = None
    if any(each is not None for each in given):
        bias = torch.cat(
            [
                x.new_zeros(size) if each is None else each  # type: ignore[misc]
                for each, size in zip(given, joint.sizes, strict=True)
            ]
        )
    return joint.joined.linear(x, bias).split(joint.sizes, -1)


def activated(x: Tensor, layer: nn.Module, activation: str | None) -> Tensor | None:
    """What the activation makes of layer(x), in one pass over memory; None where that cannot be."""
    form = form_of(layer)
    if activation not in ACTIVATED or not isinstance(form, Packed) or is_few(form, x):
        return None
    return form.product(x, layer.bias, *ACTIVATED[activation])  # type: ignore[arg-type]


class Weight(torch.Tensor):
    """A matrix that is kept in some form; PyTorch's way to do that is a tensor of its own kind."""

    form: Form

    @staticmethod
    def __new__(cls, form: Form, like: Tensor) -> Weight:
        made: Weight = torch.Tensor._make_wrapper_subclass(
            cls, like.shape, dtype=like.dtype, device=like.device, requires_grad=False
        )
        made.form = form
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"Weight({type(self.form).__name__}, {tuple(self.shape)})"

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear and type(args[1]) is cls:
            return args[1].form.linear(args[0], *args[2:], **(kwargs or {}))
        if func is F.embedding and type(args[1]) is cls:
            return args[1].form.rows(args[0])
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten.detach.default:  # what becomes a Parameter is detached first
            return cls(args[0].form, args[0])
        args, kwargs = tree_map_only(cls, lambda weight: weight.form.dense(), (args, kwargs or {}))
        return func(*args, **kwargs)


def matrices(model: nn.Module) -> Iterator[tuple[nn.Module, Tensor]]:
    """The modules whose `weight` is a matrix that is multiplied or looked up; a tied one comes twice."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            yield module, module.weight


def put(module: nn.Module, weight: Tensor) -> None:
    """Let `weight` stand in the module, whatever kind of tensor it is."""
    module._parameters["weight"] = weight  # type: ignore[assignment]


@contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Inside, the matrices of an fp32 model on the CPU are multiplied from packs, which are kept for the next time.

    For inference only. Anything else is left as it is: other devices and types, very large models.
    """
    plain = {id(weight): weight for _, weight in matrices(model) if type(weight) is not Weight}
    ready = torch.backends.mkldnn.is_available() and not torch.is_grad_enabled()
    fits = all(weight.dtype == torch.float32 and weight.device.type == "cpu" for weight in plain.values())
    if not (ready and fits) or sum(weight.nbytes for weight in plain.values()) > PACKED_MOST:
        yield
        return
    places = [(module, weight) for module, weight in matrices(model) if id(weight) in plain]
    try:
        for module, weight in places:
            put(module, pack_of(weight))
        yield
    finally:
        for module, weight in places:
            put(module, weight)


def pack_of(weight: Tensor) -> Weight:
    """The packed form of a parameter, from the last time if the weight is still the same."""
    last: Weight | None = getattr(weight, "packed", None)
    if last is not None and isinstance(last.form, Packed) and last.form.fresh():
        return last
    weight.packed = Weight(Packed(weight), weight)  # type: ignore[attr-defined]
    return weight.packed  # type: ignore[attr-defined]


def quantise(model: nn.Module, *, group: int = 0, integers: bool = False) -> nn.Module:
    """Every matrix of the model as `Int8`, in place: for inference only, a quarter of the memory.

    group: columns that share a scale (0: all); where it does not divide a matrix, that one has a scale per row.
    integers: as in `Int8`.
    """
    made: dict[int, Tensor] = {}
    for module, weight in matrices(model):
        if id(weight) not in made:
            fits = group and weight.shape[1] % group == 0
            form = Int8(weight.detach(), group if fits else 0, integers=integers)
            made[id(weight)] = nn.Parameter(Weight(form, weight), requires_grad=False)
        put(module, made[id(weight)])
    return model.requires_grad_(False)


def choose_columns(model: nn.Module, read: Callable[[], object]) -> None:
    """In every `Int8` of a linear map, let those columns stay apart whose inputs are largest while `read` runs.

    They belong to the model and not to what it reads (Dettmers et al. 2022, section 4).
    """

    def choose(layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        most = given[0].abs().reshape(-1, given[0].shape[-1]).amax(0)
        form: Any = layer.weight.form  # type: ignore[union-attr]
        form.large = most.topk(max(1, len(most) // APART)).indices
        form.pack = form.joint = None

    forms = ((module, form_of(module)) for module in model.modules())
    layers = [module for module, form in forms if isinstance(form, Int8) and form.multiplies]
    if not layers:
        return
    hooks = [layer.register_forward_hook(choose) for layer in layers]  # after: nothing is packed that is not joined yet
    try:
        with torch.no_grad():
            read()
    finally:
        for hook in hooks:
            hook.remove()
