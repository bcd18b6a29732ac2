"""A matrix in another form, standing where a module's plain parameter was.

`linear` and embedding lookups use the form of a `Weight`; any other operation sees the plain numbers. No model knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from formers.kernels.matrix import Form, Int8, Joint, PackedMatrix, is_few

PACKED_MOST = 4 << 30  # bytes of one model that are packed: packs lie beside the plain weights
APART = 32  # of so many columns, one stays as it is: perplexity is then nearly that of bf16 (both measured)
ACTIVATED = {"relu": ("relu", ""), "gelu": ("gelu", "none"), "gelu_tanh": ("gelu", "tanh")}  # as oneDNN calls them


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
        rows: list[Any] = [layer.out_features for layer in layers]
        joint = forms[0].joint = Joint(forms, type(forms[0]).join(forms), rows)  # type: ignore[arg-type]
    biases: list[Any] = [layer.bias for layer in layers]
    bias = None
    if any(part is not None for part in biases):
        sizes = zip(biases, joint.sizes, strict=True)
        bias = torch.cat([x.new_zeros(size) if part is None else part for part, size in sizes])
    return joint.joined.linear(x, bias).split(joint.sizes, -1)


def activated(x: Tensor, layer: nn.Module, activation: str | None) -> Tensor | None:
    """What the activation makes of layer(x), in one pass over memory; None where that cannot be."""
    form = form_of(layer)
    if activation not in ACTIVATED or not isinstance(form, PackedMatrix) or is_few(form, x):
        return None
    return form.product(x, layer.bias, *ACTIVATED[activation])  # type: ignore[arg-type]


class Weight(torch.Tensor):
    """A matrix that is kept in some form; PyTorch's way to do that is a tensor of its own kind."""

    form: Form

    @staticmethod
    def __new__(cls, form: Form, like: Tensor) -> Weight:
        weight: Weight = torch.Tensor._make_wrapper_subclass(
            cls, like.shape, dtype=like.dtype, device=like.device, requires_grad=False
        )
        weight.form = form
        return weight

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
def packed(model: nn.Module, most: int = PACKED_MOST) -> Iterator[None]:
    """Inside, the matrices of an fp32 model on the CPU are multiplied from packs, which are kept for the next time.

    most: bytes of matrices; of a model with more none is packed. For inference only. Anything else is left as it is:
    other devices and types, autocast, very large models.
    """
    plain = {id(weight): weight for _, weight in matrices(model) if type(weight) is not Weight}
    ready = torch.backends.mkldnn.is_available() and not torch.is_grad_enabled()
    ready = ready and not torch.is_autocast_enabled("cpu")  # whose products are of other types
    fits = all(weight.dtype == torch.float32 and weight.device.type == "cpu" for weight in plain.values())
    if not (ready and fits) or sum(weight.nbytes for weight in plain.values()) > most:
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
    if last is not None and isinstance(last.form, PackedMatrix) and last.form.fresh():
        return last
    weight.packed = Weight(PackedMatrix(weight), weight)  # type: ignore[attr-defined]
    return weight.packed  # type: ignore[attr-defined]


def quantise(model: nn.Module, *, group: int = 0, integers: bool = False) -> nn.Module:
    """Every matrix of the model as `Int8`, in place: for inference only, a quarter of the memory.

    group: columns that share a scale (0: all); where it does not divide a matrix, that one has a scale per row.
    integers: as in `Int8`.
    """
    quantised: dict[int, Tensor] = {}
    for module, weight in matrices(model):
        if id(weight) not in quantised:
            fits = group and weight.shape[1] % group == 0
            form = Int8(weight.detach(), group if fits else 0, integers=integers)
            quantised[id(weight)] = nn.Parameter(Weight(form, weight), requires_grad=False)
        put(module, quantised[id(weight)])
    return model.requires_grad_(False)


def choose_columns(model: nn.Module, read: Callable[[], object]) -> None:
    """In every `Int8` of a linear map, let those columns stay apart whose inputs are largest while `read` runs.

    They belong to the model and not to what it reads (Dettmers et al. 2022, section 4).
    """

    def choose(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        most = inputs[0].abs().reshape(-1, inputs[0].shape[-1]).amax(0)
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
