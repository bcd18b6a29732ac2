"""The batches in their order, the next ones made by a thread of their own while the model learns."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from formers.training.order import Cursor
from formers.training.task import Rows


class MicroBatch(NamedTuple):
    """One batch of the plan as this process sees it."""

    rows: Rows
    """Of all processes."""
    inputs: Any
    weight: float
    """0 where this process has no rows of its own and only keeps in step with the others."""
    after: tuple[int, int]
    """(epoch, index) of the batch that follows."""


class Prefetch:
    """Gives `total` batches from the cursor on. A context, because it ends the thread.

    Batches are pure functions of their rows, so what is made ahead is what would be made in time; where training is in
    its data (`position`) is where the batches that were taken end, so nothing that is made ahead is ever saved.
    """

    def __init__(self, cursor: Cursor, share: Callable[[Rows], tuple[Rows, float]], *, depth: int, total: int) -> None:
        """share: a batch's rows -> those of this process and their weight; depth: batches ahead (0: no thread)."""
        self.cursor, self.share, self.depth, self.left = cursor, share, depth, total
        self.position = (cursor.epoch, cursor.index)
        self.pending: deque[Future[MicroBatch]] = deque()
        self.thread = ThreadPoolExecutor(1, "prefetch") if depth else None

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.thread:
            self.thread.shutdown(cancel_futures=True)

    def take(self) -> MicroBatch:
        """The next batch; what went wrong while it was made is raised here."""
        if self.thread is None:
            batch = self._make()
        else:
            while self.left and len(self.pending) <= self.depth:
                self.pending.append(self.thread.submit(self._make))
                self.left -= 1
            batch = self.pending.popleft().result()
        self.position = batch.after
        return batch

    def _make(self) -> MicroBatch:
        (rows,) = self.cursor.take(1)
        mine, weight = self.share(rows)
        return MicroBatch(rows, self.cursor.batches.collate(mine), weight, (self.cursor.epoch, self.cursor.index))
