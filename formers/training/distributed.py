"""Many processes as one: `torchrun` starts them, each takes a share of the rows, DDP adds the gradients."""

from __future__ import annotations

import atexit
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from formers.errors import ConfigError, FormersError, PeerFault, TrainingError
from formers.training.task import Loss, Rows, Task

T = TypeVar("T")
PATIENCE = timedelta(hours=12)  # the others wait while rank 0 evaluates and saves
MEETING = timedelta(minutes=10)  # until all processes are there
ALONE = "or unset RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT to train in one process"
LOST = re.compile(r"closed by peer|reset by peer|Broken pipe|remote process|Timed out", re.IGNORECASE)


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

    def together(self, action: Callable[[], T]) -> T:
        """What the action gives, rank 0's before that of the others: they find what it has written.

        A fault of the user's in any process ends all of them: process 0 raises it, the others a PeerFault.
        """
        if self.size == 1:
            return action()
        value, fault = _attempt(action) if self.main else (None, None)
        self._share(fault)
        if not self.main:
            value, fault = _attempt(action)
        self._share(fault)
        return value  # type: ignore[return-value]

    def from_main(self, action: Callable[[], T]) -> T:
        """What the action gives in process 0, plain data, everywhere; so with its fault."""
        if self.size == 1:
            return action()
        value, fault = _attempt(action) if self.main else (None, None)
        self._share(fault)
        return self.broadcast(value)

    def common(self, fault: FormersError) -> FormersError:
        """A fault that every process has seen, as this one should raise it."""
        return fault if self.main else PeerFault(str(fault))

    def _share(self, fault: FormersError | OSError | None) -> None:
        faults: list[str | None] = [None] * self.size
        dist.all_gather_object(faults, None if fault is None else str(fault))
        if any(text is not None for text in faults):
            rank, text = next((rank, text) for rank, text in enumerate(faults) if text is not None)
            if not self.main:
                raise PeerFault(text) from fault
            raise fault if fault is not None else TrainingError(f"process {rank} of {self.size}: {text}")


def _attempt(action: Callable[[], T]) -> tuple[T | None, FormersError | OSError | None]:
    try:
        return action(), None
    except (FormersError, OSError) as fault:
        return None, fault


@contextmanager
def company(world: World) -> Iterator[None]:
    """Makes one line of it when the other processes of a training are gone."""
    try:
        yield
    except RuntimeError as fault:
        if world.size == 1 or not LOST.search(str(fault)):
            raise
        text = f"process {world.rank} of {world.size} ends, because another one has ended: see what that one says"
        raise world.common(TrainingError(text)) from fault


def launched() -> tuple[int, int]:
    """(rank, size) of this process, as a launcher has put them into the environment; (0, 1) where none has.

    Raises ConfigError for variables that are empty, no numbers, or contradict each other.
    """
    numbers: dict[str, int | None] = {}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        text = os.environ.get(name)
        if text is not None and not re.fullmatch(r"[0-9]{1,6}", text):
            raise _badly_launched(f'{name} is "{text:.20}", expected a whole number')
        numbers[name] = None if text is None else int(text)
    rank, size, local = numbers["RANK"], numbers["WORLD_SIZE"], numbers["LOCAL_RANK"]
    if rank is None and size is not None and size > 1:
        raise _badly_launched(f"WORLD_SIZE is {size}, but RANK is not set")
    if rank and size is None:
        raise _badly_launched(f"RANK is {rank}, but WORLD_SIZE is not set")
    rank, size = rank or 0, 1 if size is None else size
    for name, number in (("RANK", rank), ("LOCAL_RANK", local or 0)):
        if number >= size:
            raise _badly_launched(f"{name} is {number}, expected less than WORLD_SIZE, which is {size}")
    if size > 1:
        if not os.environ.get("MASTER_ADDR"):
            raise _badly_launched(f"WORLD_SIZE is {size}, but MASTER_ADDR is not set")
        port = os.environ.get("MASTER_PORT", "")
        if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 2**16:
            raise _badly_launched(f'MASTER_PORT is "{port:.20}", expected a number from 1 to 65535')
    return rank, size


def _badly_launched(what: str) -> ConfigError:
    return ConfigError(f"{what}: start several processes with torchrun, {ALONE}")


def join() -> World:
    """The world that `torchrun` made for this process, if it did; joins the process group the first time.

    Raises ConfigError for a contradicting environment, TrainingError where the processes do not meet in 10 minutes.
    """
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    rank, size = launched()
    if size == 1:
        return World()
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, rank, size = next(dist.rendezvous("env://", timeout=MEETING))
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    except (RuntimeError, ValueError, OSError) as fault:  # RuntimeError: the faults of its network and of its store
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise TrainingError(
            f"process {rank} of {size} cannot meet the others at {place} ({str(fault).splitlines()[0]:.200}); "
            f"start all of them with torchrun, {ALONE}"
        ) from fault
    atexit.register(leave)
    return World(dist.get_rank(), dist.get_world_size())


def leave() -> None:
    """Leave the process group: its threads, met by the end of the process, would end it with an abort."""
    if dist.is_initialized():
        dist.destroy_process_group()


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
