"""Many processes as one: `torchrun` starts them, each takes a share of the rows, DDP adds the gradients."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from formers.training.task import Loss, Rows, Task

PATIENCE = timedelta(hours=12)  # the others wait while rank 0 evaluates and saves


class World:
    """This process among its peers; alone, everything here is the identity."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def main(self) -> bool:
        """Whether this process writes, evaluates and speaks."""
        return self.rank == 0

    def share(self, rows: Rows) -> tuple[Rows, float]:
        """This process's rows and their weight.

        With fewer rows than processes some get a row at weight 0, to keep in step with the others.
        """
        if self.size == 1:
            return rows, 1.0
        mine = rows[self.rank :: self.size]
        return (mine, 1.0) if len(mine) else (rows[:1], 0.0)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def broadcast(self, value: Any) -> Any:
        """Rank 0's value, everywhere (plain data; the others wait for it)."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


def join(device: torch.device) -> World:
    """The world that `torchrun` made for this process, if it did; joins the process group the first time."""
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return World()
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    return World(dist.get_rank(), dist.get_world_size())


_weight: ContextVar[float | None] = ContextVar("weight of this process's rows in the step that is made", default=None)


def gather(rows: Tensor) -> tuple[Tensor, slice]:
    """The rows (rows, ...) of all processes, and where this process's own are among them; gradients come back.

    Every process has to call it as often as the others. So it is the identity outside a step of several processes:
    alone, and where one process evaluates or measures. Rows that only keep in step (weight 0) are seen by nobody else.
    """
    weight = _weight.get()
    if weight is None:
        return rows, slice(None)
    sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([len(rows) if weight else 0], device=rows.device))
    counts = torch.cat(sizes).tolist()
    start = sum(counts[: dist.get_rank()]) if weight else sum(counts)
    return _Gather.apply(rows, counts, start), slice(start, start + len(rows))


class _Gather(torch.autograd.Function):
    """Forward: the rows of all processes in turn, then own ones that do not count. Backward: the sums over all."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int], start: int) -> Tensor:
        ctx.own, ctx.all = slice(start, start + len(rows)), sum(counts)
        most, mine = max(counts), rows[: counts[dist.get_rank()]]
        padded = rows.new_zeros(most, *rows.shape[1:])
        padded[: len(mine)] = mine
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        whole = [part[:count] for part, count in zip(parts, counts, strict=True)]
        return torch.cat([*whole, rows[len(mine) :]])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient[: ctx.all])
        return gradient[ctx.own], None, None


class LossModule(nn.Module):
    """The task's model with the task's loss as its forward pass: what DDP wraps, for its hooks to run."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model = task.model
        self._loss = task.loss

    def forward(self, batch: Any) -> tuple[Tensor, int | float | Tensor, dict[str, float | Tensor]]:
        loss = self._loss(batch)
        return loss.total, loss.count, dict(loss.parts)


class Replicas:
    """The task's loss; the last backward pass of a step adds up the gradients of all processes."""

    def __init__(self, task: Task, world: World, unused: bool) -> None:
        self._task = task
        self._wrapped: DistributedDataParallel | None = None
        if world.size > 1:
            self._wrapped = DistributedDataParallel(
                LossModule(task), find_unused_parameters=unused, gradient_as_bucket_view=True
            )

    def sync(self, last: bool) -> AbstractContextManager[Any]:
        """The context of a micro-batch's forward and backward."""
        return nullcontext() if last or self._wrapped is None else self._wrapped.no_sync()

    def loss(self, batch: Any, weight: float = 1.0) -> Loss:
        """The loss of one micro-batch, this process's rows; weight: theirs, as `World.share` gives it."""
        if self._wrapped is None:
            return self._task.loss(batch)
        before = _weight.set(weight)
        try:
            return Loss(*self._wrapped(batch))
        finally:
            _weight.reset(before)
