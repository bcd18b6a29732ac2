"""Where training is in its data: two integers, because the order is a pure function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Sequence

from formers.errors import TrainingError
from formers.training.task import Batches, Rows


class Cursor:
    """Walks the batches' plan, epoch after epoch, from (epoch, index): the next batch to give."""

    def __init__(self, batches: Batches, epoch: int = 0, index: int = 0) -> None:
        self.batches, self.epoch, self.index = batches, epoch, index
        self._plan: Sequence[Rows] | None = None

    def take(self, number: int) -> list[Rows]:
        """The row numbers of the next `number` batches; goes on into the next epoch as needed."""
        return [self._next() for _ in range(number)]

    def peek(self) -> Rows:
        """The row numbers of the next batch, without moving."""
        plan = self._load()
        if self.index < len(plan):
            return plan[self.index]
        return Cursor(self.batches, self.epoch + 1).peek()

    def _next(self) -> Rows:
        if self.index >= len(self._load()):
            self.epoch, self.index, self._plan = self.epoch + 1, 0, None
        self.index += 1
        return self._load()[self.index - 1]

    def _load(self) -> Sequence[Rows]:
        if self._plan is None:
            self._plan = self.batches.epoch(self.epoch)
            if not len(self._plan):
                why = "is it empty, or is every row too long?"
                raise TrainingError(f"the data gives no batch in epoch {self.epoch}: {why}")
        return self._plan
