"""LoRA (Hu et al. 2021): a frozen matrix and, beside it, two thin ones that learn: y = W x + scale * b (a x).

What is particular:
  * b starts at zero, so that an adapted model starts as the very model it adapts.
  * scale = alpha / rank, or alpha / sqrt(rank) rank-stabilised (Kalajdzievski 2023).
  * `merge` keeps the matrix as it was and `unmerge` puts it back: exact, at the price of its memory while merged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from formers.errors import ConfigError

ALL = "all-linear"  # as a target: every Linear but the output head
HEAD = "head"
NAME = re.compile(r"[A-Za-z0-9_-]+")
PLAIN = re.compile(r"[\w.-]+")  # a target with any other character is a regular expression


class LowRank(nn.Module):
    """What is added to one Linear: scale * b a, with a (rank, in) and b (out, rank).

    Of a convolution a is one too, (rank, in, height, width); such an adapter is merged, it does not stand beside.
    """

    def __init__(
        self, a: Tensor, b: Tensor, *, alpha: float, rank_stabilised: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(a), nn.Parameter(b)
        self.alpha, self.rank_stabilised, self.dropout = alpha, rank_stabilised, dropout

    @property
    def rank(self) -> int:
        return self.a.shape[0]

    @property
    def scale(self) -> float:
        return self.alpha / (self.rank**0.5 if self.rank_stabilised else self.rank)

    def forward(self, x: Float[Tensor, "*batch inside"]) -> Float[Tensor, "*batch outside"]:
        return F.linear(F.linear(F.dropout(x, self.dropout, self.training), self.a) * self.scale, self.b)

    def delta(self) -> Float[Tensor, "outside inside *kernel"]:
        """The whole matrix that is added."""
        return (self.b @ self.a.flatten(1) * self.scale).unflatten(1, self.a.shape[1:])


class LoRALinear(nn.Module):
    """A Linear with adapters beside it, of which those in `active` (name -> share, usually 1) are added.

    Reading `weight` gives what is in effect, for a model that multiplies with a matrix of its own accord.
    """

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.adapters = nn.ModuleDict()
        self.active: dict[str, float] = {}
        self.original: Tensor | None = None  # while merged: the matrix of `base` as it was
        self.in_features, self.out_features = base.in_features, base.out_features

    def parts(self) -> Iterator[tuple[float, LowRank]]:
        """(share, adapter) of the active ones."""
        for name, share in self.active.items():
            adapter = self.adapters[name]
            assert isinstance(adapter, LowRank)
            yield share, adapter

    @property
    def weight(self) -> Tensor:
        if self.original is not None or not self.active:
            return self.base.weight
        return self.base.weight + sum(share * adapter.delta() for share, adapter in self.parts())

    @property
    def bias(self) -> Tensor | None:
        return self.base.bias

    def forward(self, x: Float[Tensor, "*batch inside"]) -> Float[Tensor, "*batch outside"]:
        y = self.base(x)
        if self.original is None:
            for share, adapter in self.parts():
                y = y + (adapter(x) if share == 1 else share * adapter(x))
        return y

    @torch.no_grad()
    def merge(self) -> None:
        """Put what is active into the matrix itself: as fast as without adapters."""
        if self.original is None:
            original = self.base.weight.detach().clone()
            added = sum((share * adapter.delta().float() for share, adapter in self.parts()), torch.zeros(()))
            self.base.weight.copy_(original.float() + added)
            self.original = original

    @torch.no_grad()
    def unmerge(self) -> None:
        """The matrix as it was, to the bit."""
        if self.original is not None:
            self.base.weight.copy_(self.original)
            self.original = None


def linears(model: nn.Module) -> dict[str, nn.Linear]:
    """name -> Linear, adapted ones under the name that they had before."""
    parts = {}
    for name, module in model.named_modules():
        if isinstance(module, LoRALinear):
            parts[name] = module.base
        elif isinstance(module, nn.Linear) and not name.endswith(".base"):
            parts[name] = module
    return parts


def adapted(model: nn.Module) -> dict[str, LoRALinear]:
    """name -> module, of those that have adapters beside them."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}


def adapters(model: nn.Module) -> dict[str, dict[str, LowRank]]:
    """adapter -> the name of each Linear that it changes -> how."""
    parts: dict[str, dict[str, LowRank]] = {}
    for place, module in adapted(model).items():
        for name, adapter in module.adapters.items():
            assert isinstance(adapter, LowRank)
            parts.setdefault(name, {})[place] = adapter
    return parts


def chosen(model: nn.Module, targets: Sequence[str], without: Collection[str] = ()) -> list[str]:
    """The names of the Linears that `targets` mean, in the model's order.

    A target is the end of a name ("q", "cross_attention.q"), "all-linear", or a regular expression of the whole
    name (anything that no name could be: "decoder.*[qv]"). Raises ConfigError for one that means nothing.
    """
    names = [name for name in linears(model) if name not in without]
    meant: set[str] = set()
    for target in targets:
        hits = {name for name in names if _meant(target)(name)}
        if not hits:
            kinds = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in names))
            expected = f"it has: {kinds} (or {ALL}, or a regular expression)"
            raise ConfigError(f'adapter target "{target}" means no linear part of this model; {expected}')
        meant |= hits
    return [name for name in names if name in meant]


def ends_in(name: str, targets: Iterable[str]) -> bool:
    """Whether one of these names is the end of a module's name, or all of it."""
    return any(name == target or name.endswith("." + target) for target in targets)


def _meant(target: str) -> Callable[[str], bool]:
    if target == ALL:
        return lambda name: name != HEAD
    if PLAIN.fullmatch(target):
        return lambda name: ends_in(name, (target,))
    try:
        pattern = re.compile(target)
    except re.error as fault:
        raise ConfigError(f'adapter target "{target}" is no regular expression: {fault}') from fault
    return lambda name: pattern.fullmatch(name) is not None


def add_lora(
    model: nn.Module,
    *,
    rank: int = 8,
    alpha: float = 16.0,
    dropout: float = 0.0,
    targets: Sequence[str] = ("q", "v"),
    rank_stabilised: bool = False,
    name: str = "default",
    seed: int = 0,
    without: Collection[str] = (),
) -> list[str]:
    """Freeze the model and put a new adapter beside `targets`, which alone learns; gives their names.

    without: Linears that are never adapted, such as a new head, which learns whole.
    a is uniform in +-1/sqrt(in), drawn from `seed` (what `peft` does; the paper draws from a normal), b is zero.
    """
    generator = torch.Generator().manual_seed(seed)
    every, parts = linears(model), {}
    for place in chosen(model, targets, without):
        base = every[place]
        if rank > min(base.in_features, base.out_features):
            size = f"{base.out_features} x {base.in_features}: use a smaller rank or other targets"
            raise ConfigError(f"adapter rank {rank} is more than {place} has, which is {size}")
        a = torch.empty(rank, base.in_features).uniform_(-1, 1, generator=generator) * base.in_features**-0.5
        b = torch.zeros(base.out_features, rank)
        parts[place] = LowRank(a, b, alpha=alpha, rank_stabilised=rank_stabilised, dropout=dropout)
    model.requires_grad_(False)
    attach(model, parts, name)
    return list(parts)


def attach(model: nn.Module, parts: Mapping[str, LowRank], name: str = "default") -> None:
    """Put an adapter beside the Linears of these names, beside others that may be there; it becomes the active one."""
    if not NAME.fullmatch(name) or name in dir(nn.ModuleDict):
        raise ConfigError(f'an adapter cannot be called "{name}": use letters, digits, - and _')
    if name in adapters(model):
        raise ConfigError(f'this model already has an adapter "{name}": remove it, or give the new one another name')
    _refuse_merged(model, "adding an adapter")
    modules, every = adapted(model), linears(model)
    for place, part in parts.items():
        if place not in modules:
            modules[place] = LoRALinear(every[place])
            modules[place].train(every[place].training)
            model.set_submodule(place, modules[place])
        part.train(every[place].training)
        modules[place].adapters[name] = part.to(every[place].weight)
    activate(model, name)


def activate(model: nn.Module, shares: str | Mapping[str, float] | None) -> None:
    """Switch: one adapter by name, several as a weighted sum (name -> share), or none of them (None)."""
    wanted = {} if shares is None else {shares: 1.0} if isinstance(shares, str) else dict(shares)
    _refuse_missing(model, *wanted)
    _refuse_merged(model, "switching adapters")
    for module in adapted(model).values():
        module.active = {name: share for name, share in wanted.items() if name in module.adapters}


@contextmanager
def disabled(model: nn.Module) -> Iterator[None]:
    """Inside, the model computes what it did before it was adapted."""
    modules = adapted(model).values()
    _refuse_merged(model, "disabling adapters")
    before = [module.active for module in modules]
    try:
        for module in modules:
            module.active = {}
        yield
    finally:
        for module, active in zip(modules, before, strict=True):
            module.active = active


def merge(model: nn.Module) -> None:
    """Put the active adapters into the matrices. Exact to undo: `unmerge`."""
    for module in adapted(model).values():
        module.merge()


def unmerge(model: nn.Module) -> None:
    """Take merged adapters out again: the matrices are as they were, bit for bit."""
    for module in adapted(model).values():
        module.unmerge()


def merge_into_base(model: nn.Module) -> None:
    """Put the active adapters into the matrices for good: plain Linears under their own names are left."""
    for place, module in adapted(model).items():
        module.merge()
        model.set_submodule(place, module.base)


@torch.no_grad()
def add(model: nn.Module, parts: Mapping[str, LowRank], share: float = 1.0) -> dict[str, Tensor]:
    """Put a share of an adapter into the plain model for good, convolutions too; gives the matrices as they were."""
    before = {}
    for place, part in parts.items():
        weight = model.get_parameter(f"{place}.weight")
        before[place] = weight.data  # kept and not copied: what lies in a file costs no memory
        delta = part.to(weight.device).delta().float()
        weight.data = torch.add(weight.float(), delta, alpha=share).to(weight.dtype)
    return before


def put_back(model: nn.Module, before: Mapping[str, Tensor]) -> None:
    """The matrices that `add` gave, to the bit."""
    for place, weight in before.items():
        model.get_parameter(f"{place}.weight").data = weight


def remove(model: nn.Module, name: str) -> None:
    """Take an adapter away; a Linear that has no other is again the plain one. What was frozen stays so."""
    _refuse_missing(model, name)
    _refuse_merged(model, "removing an adapter")
    for place, module in adapted(model).items():
        if name in module.adapters:
            del module.adapters[name]
            module.active.pop(name, None)
        if not module.adapters:
            model.set_submodule(place, module.base)


@contextmanager
def plain(model: nn.Module) -> Iterator[None]:
    """Inside, the model has its plain Linears, under their own names: for saving it. Merged ones are merged."""
    modules = adapted(model)
    try:
        for place, module in modules.items():
            model.set_submodule(place, module.base)
        yield
    finally:
        for place, module in modules.items():
            model.set_submodule(place, module)


def _refuse_missing(model: nn.Module, *names: str) -> None:
    there = adapters(model)
    for name in names:
        if name not in there:
            raise ConfigError(f'this model has no adapter "{name}"; it has: {", ".join(there) or "none"}')


def _refuse_merged(model: nn.Module, what: str) -> None:
    if any(module.original is not None for module in adapted(model).values()):
        raise ConfigError(f"{what} of a model whose adapters are merged: unmerge it first")
