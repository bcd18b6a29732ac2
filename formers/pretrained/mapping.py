"""The weight table engine: their tensor names <-> ours, one list of rows read in both directions.

    theirs                                ours                                          perhaps an Op
    ("encoder.layers.{i}.fc1.{p}",        "encoder.blocks.{i}.feed_forward.up.{p}")
    ("h.{i}.attn.c_attn.{p}",             "blocks.{i}.attention.[q,k,v].{p}",           TRANSPOSED)

`{name}` is one dotted segment, `{name*}` any number of them; `[q,k,v]` are equal parts along dim 0. Whatever
does not fit - a weight that no row or two match, a wrong shape, a missing parameter - is refused at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from formers.errors import CheckpointError

SHOWN = 8  # names of one kind that an error shows


@dataclass(frozen=True)
class Op:
    """What happens to a tensor between their file and our model; `backward` undoes `forward`."""

    name: str
    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor], Tensor]
    wide: bool = False
    """`forward` gives more digits than a narrow type of numbers holds: it follows the cast, and stays fp32."""


def _transpose(x: Tensor) -> Tensor:
    return x.mT.contiguous() if x.ndim == 2 else x


SAME = Op("same", lambda x: x, lambda x: x)
TRANSPOSED = Op("transposed", _transpose, _transpose)  # GPT-2 keeps (in, out); biases stay as they are
CONVOLUTION = Op(  # of size 1, to a matrix; biases stay as they are
    "convolution", lambda x: x.flatten(1) if x.ndim == 4 else x, lambda x: x[..., None, None] if x.ndim == 2 else x
)
ROW = Op("row", lambda x: x.reshape(-1), lambda x: x.reshape(1, -1))  # (1, n) <-> (n,)


@dataclass(frozen=True)
class Rule:
    """One row. `theirs` are names of the same tensor: any one suffices, several must be equal."""

    theirs: tuple[str, ...]
    ours: str | None  # None: nothing of ours, the tensor is dropped (after a check against `expected`)
    op: Op = SAME
    expected: Callable[[Tensor], Tensor] | None = None
    zeros: bool = False  # absent in some published files, where it means zeros
    every: bool = False  # write the tensor under every name of theirs, not under the first only
    unread: bool = False  # dropped, though it was learned: a part that this model does not have
    computed: Callable[[], Tensor] | None = None  # nothing of ours, but readers of the file want it: what is written

    @cached_property
    def patterns(self) -> tuple[re.Pattern[str], ...]:
        return tuple(compile_pattern(name) for name in self.theirs)

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Our name, or one per part of `[q,k,v]`."""
        if self.ours is None:
            return ()
        parts = re.search(r"\[([^\]]+)\]", self.ours)
        if parts is None:
            return (self.ours,)
        return tuple(self.ours.replace(parts[0], part.strip()) for part in parts[1].split(","))

    @cached_property
    def target_patterns(self) -> tuple[re.Pattern[str], ...]:
        return tuple(compile_pattern(name) for name in self.targets)


Row = Rule | tuple[str, str] | tuple[str, str, Op]
Rows = Sequence[Row | Iterable[Rule]]


def tied(ours: str, *theirs: str, every: bool = False) -> Rule:
    """Several of their names for one tensor of ours; `every`: readers of the file want it under each."""
    return Rule(theirs, ours, every=every)


def dropped(*theirs: str) -> Iterable[Rule]:
    """Tensors that carry nothing (a stored mask, a version number)."""
    return [Rule((name,), None) for name in theirs]


def unread(*theirs: str) -> Iterable[Rule]:
    """Tensors of a head that this model does not have, which whoever opens the file is told."""
    return [Rule((name,), None, unread=True) for name in theirs]


def constant(theirs: str, expected: Callable[[Tensor], Tensor]) -> Rule:
    """A stored tensor that our model computes: it must equal `expected(stored)`, and is not written."""
    return Rule((theirs,), None, expected=expected)


def compile_pattern(name: str) -> re.Pattern[str]:
    """A name with placeholders as a regular expression; a repeated placeholder must repeat its value."""
    seen: set[str] = set()

    def group(match: re.Match[str]) -> str:
        placeholder, many = match[1], match[2]
        if placeholder in seen:
            return f"(?P={placeholder})"
        seen.add(placeholder)
        return f"(?P<{placeholder}>{'.+' if many else '[^.]+'})"

    pieces = re.split(r"(\{\w+\*?\})", name)
    return re.compile(
        "".join(
            re.sub(r"\{(\w+)(\*?)\}", group, piece) if i % 2 else re.escape(piece) for i, piece in enumerate(pieces)
        )
    )


def fill(name: str, values: Mapping[str, str]) -> str:
    """Put values where the placeholders of `name` are."""
    return re.sub(r"\{(\w+)\*?\}", lambda match: values[match[1]], name)


def as_rules(rows: Rows) -> list[Rule]:
    """Rows of a table, spelled as tuples or rules, as rules."""
    rules: list[Rule] = []
    for row in rows:
        if isinstance(row, Rule):
            rules.append(row)
        elif isinstance(row, tuple):
            theirs, ours, *op = row
            rules.append(Rule((theirs,), ours, *op))
        else:
            rules += row
    return rules


@dataclass
class Faults:
    """Everything that does not fit, told at once."""

    kinds: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, name: str) -> None:
        self.kinds.setdefault(kind, []).append(name)

    def refuse(self, what: str) -> None:
        """Raise one CheckpointError when anything was added."""
        if not self.kinds:
            return
        lines = []
        for kind, names in self.kinds.items():
            names.sort()
            more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            lines.append(f"{kind} ({len(names)}): {', '.join(names[:SHOWN])}{more}")
        raise CheckpointError(f"{what} does not fit: " + "; ".join(lines))


MISSING, EXTRA, BROKEN = "missing", "not known to this model", "NaN or infinity inside, get the file again"


@dataclass(frozen=True)
class MappedState:
    """Tensors under our names."""

    state: dict[str, Tensor]
    prefix: str
    """The declared prefix change that was needed: "+model." put before names, "-bert." taken off, "" none."""
    unread: tuple[str, ...] = ()
    """Names of learned tensors that this model has no place for."""


def to_ours(
    tensors: Mapping[str, Tensor],
    rows: Rows,
    shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    prefixes: Sequence[str] = (),
    what: str = "the checkpoint",
) -> MappedState:
    """Their tensors under our names; `shapes` are those of our model, and then nothing may be missing.

    Raises one CheckpointError for all faults: unknown, ambiguous, missing or broken weights, shapes, unequal ties.
    """
    rules, faults, left = as_rules(rows), Faults(), []
    tensors, prefix = rename(tensors, rules, prefixes)
    state: dict[str, Tensor] = {}
    found: dict[str, str] = {}  # our name -> the name it came from
    for name, tensor in tensors.items():
        hits = [(rule, match) for rule in rules for pattern in rule.patterns if (match := pattern.fullmatch(name))]
        if len(hits) != 1:
            faults.add("matched by two rules" if hits else EXTRA, f"+ {name}")
            continue
        rule, match = hits[0]
        if rule.unread:
            left.append(name)
        if rule.targets and not finite(tensor):
            faults.add(BROKEN, name)
        if rule.expected is not None and not close(tensor, rule.expected(tensor)):
            faults.add("stored but computed differently here", name)
        try:
            parts = split(rule.op.forward(tensor), len(rule.targets)) if rule.targets else []
        except RuntimeError:  # sizes of heads that the tensor does not have
            parts = None
        if parts is None:
            kind = f"be split into {len(rule.targets)} equal parts" if len(rule.targets) > 1 else "be put in order"
            faults.add(f"cannot {kind}", f"{name} {shape_of(tensor)}")
            found.update({fill(target, match.groupdict()): name for target in rule.targets})
            continue
        for target, part in zip(rule.targets, parts, strict=True):
            ours = fill(target, match.groupdict())
            if ours in state:
                if not torch.equal(state[ours], part):
                    faults.add("tied but different", f"{found[ours]} and {name}")
                continue
            state[ours], found[ours] = part, name
    if shapes is not None:
        compare(state, shapes, found, rules, faults)
    faults.refuse(what)
    return MappedState(state, prefix, tuple(left))


def compare(
    state: dict[str, Tensor],
    shapes: Mapping[str, Sequence[int]],
    found: Mapping[str, str],
    rules: list[Rule],
    faults: Faults,
) -> None:
    """Note parameters that are missing, have another shape or do not exist; fill in those that mean zeros."""
    for ours, shape in shapes.items():
        if ours not in found:
            hits = rules_of(ours, rules)
            if hits and hits[0][0].zeros:
                state[ours] = torch.zeros(tuple(shape))
            else:
                faults.add(MISSING, f"- {theirs_for(ours, rules)}")
        elif ours in state and tuple(state[ours].shape) != tuple(shape):
            faults.add("wrong shape", f"{found[ours]} {shape_of(state[ours])} for {ours} {tuple(shape)}")
    for ours in state.keys() - shapes.keys():
        faults.add(EXTRA, f"+ {found[ours]}")


def to_theirs(state: Mapping[str, Tensor], rows: Rows, *, what: str = "the model") -> dict[str, Tensor]:
    """Our tensors under their names: the same table read from right to left.

    Raises CheckpointError when a tensor of ours has no row, or when a part of `[q,k,v]` is missing.
    """
    rules, faults, tensors = as_rules(rows), Faults(), {}
    for name in state:
        hits = rules_of(name, rules)
        if len(hits) != 1:
            faults.add("matched by two rules" if hits else "has no rule", f"+ {name}")
            continue
        rule, part, match = hits[0]
        if part:  # written with the first part
            continue
        names = [fill(target, match.groupdict()) for target in rule.targets]
        if absent := [part for part in names if part not in state]:
            faults.add(MISSING, f"- {', '.join(absent)}")
            continue
        whole = state[name] if len(names) == 1 else torch.cat([state[part] for part in names])
        for theirs in rule.theirs if rule.every else rule.theirs[:1]:
            tensor = rule.op.backward(whole)
            tensors[fill(theirs, match.groupdict())] = tensor.clone() if rule.every else tensor
    faults.refuse(what)
    return tensors


def rename(
    tensors: Mapping[str, Tensor], rules: list[Rule], prefixes: Sequence[str]
) -> tuple[Mapping[str, Tensor], str]:
    """The first declared prefix change under which most names are known; none when that does as well.

    Names that are known as they are stay: GPT-1 is stored without its outer module, but its head lies beside that.
    """
    patterns = [pattern for rule in rules for pattern in rule.patterns]

    def is_known(name: str) -> bool:
        return any(pattern.fullmatch(name) for pattern in patterns)

    best, most, best_prefix = tensors, -1, ""
    at_home = {name for name in tensors if is_known(name)}
    for prefix in ("", *prefixes):
        change, text = prefix[:1], prefix[1:]
        names = {name: text + name if change == "+" else name.removeprefix(text) for name in tensors}
        names |= {name: name for name in at_home}
        count = sum(map(is_known, names.values()))
        if count > most and len(set(names.values())) == len(names):
            best, most, best_prefix = {new: tensors[old] for old, new in names.items()}, count, prefix
    return best, best_prefix


def rules_of(ours: str, rules: Iterable[Rule]) -> list[tuple[Rule, int, re.Match[str]]]:
    """The rows that name a tensor of ours, which of their targets it is, and its placeholders."""
    return [
        (rule, part, match)
        for rule in rules
        for part, pattern in enumerate(rule.target_patterns)
        if (match := pattern.fullmatch(ours))
    ]


def theirs_for(ours: str, rules: list[Rule]) -> str:
    """What they call a tensor of ours, for the reader of a message."""
    for rule, _, match in rules_of(ours, rules):
        return fill(rule.theirs[0], match.groupdict())
    return ours


def split(tensor: Tensor, parts: int) -> list[Tensor] | None:
    """Equal parts along dim 0, each with its own memory; None when they cannot be equal."""
    if parts == 1:
        return [tensor]
    if tensor.ndim == 0 or tensor.shape[0] % parts:
        return None
    return [part.clone() for part in tensor.chunk(parts)]


def finite(tensor: Tensor) -> bool:
    """No NaN and no infinity; one pass, a second only where the sum of sound numbers is too large itself."""
    if not tensor.is_floating_point() or tensor.sum().isfinite():  # summed in another dtype it would be copied
        return True
    return bool(tensor.isfinite().all())


def close(stored: Tensor, expected: Tensor) -> bool:
    """Equal up to the roundings of the type that the file is stored in."""
    if stored.shape != expected.shape:
        return False
    tolerance = 1e-4 if stored.dtype in (torch.float32, torch.float64) else 1e-2
    return torch.allclose(stored.float(), expected.float(), atol=tolerance, rtol=0)


def shape_of(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape)
