"""What a LoRA file changes, without its model: for each kind of matrix how many, ranks, scales and norms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from formers.adapters.lora import LowRank
from formers.errors import CheckpointError
from formers.pretrained.mapping import shape_of
from formers.pretrained.peft.adapters import Adapter
from formers.pretrained.peft.lora import FACTOR, OUTER, check
from formers.pretrained.peft.patterns import per_module


@dataclass(frozen=True)
class LowRankGroup:
    """The matrices of one kind (the last word of their name and their shape) that an adapter changes."""

    name: str
    count: int
    shape: str
    ranks: str
    scales: str
    norm: float
    """Mean over them of the Frobenius norm of what is added."""


def summary(raw: Mapping[str, Any], tensors: Mapping[str, Tensor], what: str) -> list[LowRankGroup]:
    """What an adapter file changes, without its model."""
    check(raw, what)
    modules = [match[1] for key in tensors if (match := FACTOR.fullmatch(key.removeprefix(OUTER)))]
    alphas = per_module(raw.get("alpha_pattern"), raw["lora_alpha"], modules, what)
    groups: dict[tuple[str, str], list[tuple[int, float, float]]] = {}  # rank, scale, norm of each
    for key, a in tensors.items():
        match = FACTOR.fullmatch(key.removeprefix(OUTER))
        b = tensors.get(key.replace(".lora_A.", ".lora_B."))
        if match is None or match[2] == "B" or b is None:
            continue
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
            raise CheckpointError(f"{what}: the factors of {match[1]} have shapes {shape_of(a)} and {shape_of(b)}")
        part = LowRank(a.float(), b.float(), alpha=alphas[match[1]], rank_stabilised=bool(raw.get("use_rslora")))
        # |b a|^2 = sum of (b^T b) * (a a^T): the whole matrix never exists
        square = ((part.b.T @ part.b) * (part.a @ part.a.T)).sum().clamp(min=0).item()
        kind = match[1].rpartition(".")[2], f"{b.shape[0]} x {a.shape[1]}"
        groups.setdefault(kind, []).append((part.rank, part.scale, part.scale * square**0.5))
    return [
        LowRankGroup(
            name,
            len(parts),
            shape,
            listed(rank for rank, _, _ in parts),
            listed(scale for _, scale, _ in parts),
            sum(norm for _, _, norm in parts) / len(parts),
        )
        for (name, shape), parts in groups.items()
    ]


def weights_of(adapter: Adapter) -> tuple[str, list[str], list[tuple[Any, ...]], list[str]]:
    """(title, columns, rows, columns of numbers) of a table of what an adapter changes; of LoRA a row for each kind."""
    if adapter.kind == "lora":
        columns = ["matrix", "number", "out x in", "rank", "scale", "mean norm"]
        groups = summary(adapter.raw, adapter.tensors, str(adapter.folder))
        rows = [(row.name, row.count, row.shape, row.ranks, row.scales, f"{row.norm:.4g}") for row in groups]
        return "what is added to each kind of matrix", columns, rows, columns[1:]
    shapes = [(key, " x ".join(map(str, tensor.shape))) for key, tensor in sorted(adapter.tensors.items())]
    return "the weights that learned, in place of the model's own", ["name", "shape"], shapes, ["shape"]


def listed(values: Iterable[float]) -> str:
    """Different values in order."""
    return ", ".join(f"{value:.6g}" for value in sorted(set(values)))
