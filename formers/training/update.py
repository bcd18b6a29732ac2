"""One update of the weights: sums over micro-batches and processes, one true mean, clip, AdamW, average."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from formers.errors import TrainingError
from formers.training import schedule
from formers.training.config import TrainConfig
from formers.training.distributed import Replicas, World
from formers.training.optimizer import Average, Optimizer, scale_gradients
from formers.training.precision import Precision
from formers.training.prefetch import MicroBatch
from formers.training.task import Rows

Losses = list[tuple[Rows, Tensor]]


@dataclass(frozen=True)
class Update:
    """What one update did: sums over its targets, everywhere; `stop`: some process was told to."""

    total: float
    count: float
    parts: dict[str, float]
    norm: float
    rate: float
    stop: bool


class Updater:
    """`updater(number, batches)` makes update `number` (1, 2, ...) from these batches, taken one after the other."""

    def __init__(
        self,
        describe: Callable[[Rows], str],
        config: TrainConfig,
        *,
        weights: list[nn.Parameter],
        optimizer: Optimizer,
        average: Average | None,
        replicas: Replicas,
        precision: Precision,
        world: World,
        kept: Callable[[], bool] = lambda: False,
    ) -> None:
        """kept: whether there is a checkpoint."""
        self.describe, self.config, self.weights, self.kept = describe, config, weights, kept
        self.optimizer, self.average, self.replicas = optimizer, average, replicas
        self.precision, self.world = precision, world
        self.device = weights[0].device
        self.exact = torch.float32 if self.device.type == "mps" else torch.float64

    def __call__(self, number: int, batches: Iterable[MicroBatch], stop: bool) -> Update:
        """One read from the device, before the weights change: one that is not finite leaves them alone."""
        config = self.config
        sums, names, losses = self.gradients(batches, stop)
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        if not gradients:
            raise self.world.common(TrainingError(f"step {number}: the loss depends on no weight that learns"))
        mean = (self.world.size / sums[1].clamp(min=1e-12)).float()
        norm = scale_gradients(gradients, mean, config.clip)
        total, count, stops, *parts, norm = torch.cat([sums, norm.reshape(1).to(sums)]).tolist()
        rate = schedule.rate(
            config.schedule, number, peak=config.rate, warmup=config.warmup, steps=config.steps, final=config.final_rate
        )
        if not math.isfinite(total) or (count and not math.isfinite(norm)):
            self.optimizer.zero_grad(set_to_none=True)
            raise self.world.common(TrainingError(self.diagnosis(number, losses, rate, total, norm)))
        if count:  # no targets, nothing learned
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["share"]
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average:
            self.average.update(number)
        return Update(total, count, dict(zip(names, parts, strict=True)), norm, rate, stops > 0)

    def gradients(self, batches: Iterable[MicroBatch], stop: bool) -> tuple[Tensor, list[str], Losses]:
        """Backward through every micro-batch, `accumulate` of them.

        Gives the sums over all processes (losses, counts, stop flags, then each part), the parts' names,
        and the rows and the loss of each own micro-batch.
        """
        totals, counts, parts, losses = [], [], [], []
        for place, (rows, inputs, weight, _) in enumerate(batches, start=1):
            with self.replicas.sync(last=place == self.config.accumulate):
                with self.precision.autocast():
                    loss = self.replicas.loss(inputs, weight)
                (loss.total if weight else loss.total * 0).backward()
            totals.append(loss.total.detach() * weight)
            losses.append((rows, totals[-1]))
            counts.append(loss.count * weight)
            parts.append({name: value * weight for name, value in loss.parts.items()})
        names = sorted(set().union(*parts))
        columns: list[Sequence[float | Tensor]] = [totals, counts, [float(stop)]]
        columns += [[part.get(name, 0.0) for part in parts] for name in names]
        return self.world.sum(torch.stack([self._sum(column) for column in columns])), names, losses

    def diagnosis(self, number: int, losses: Losses, rate: float, total: float, norm: float) -> str:
        """Why the update cannot be made, in one line."""
        bad = [rows for rows, loss in losses if not math.isfinite(loss.item())]
        where = "; ".join(self.describe(rows) for rows in bad or [rows for rows, _ in losses])
        what = f"the norm of the gradient is {norm}" if math.isfinite(total) else f"the loss is {total}"
        fix = "a lower train.rate, a longer train.warmup, a lower train.clip or train.precision=fp32"
        batch = f"{what} at learning rate {rate:.3g}, in the batch {where}"
        intact = "; the last checkpoint is intact" if self.kept() else ""
        return f"step {number}: {batch}{intact}. Look at this data, or try {fix}"

    def _sum(self, values: Sequence[float | Tensor]) -> Tensor:
        """The exact sum, on the device."""
        tensors = [torch.as_tensor(value, device=self.device).detach().to(self.exact) for value in values]
        return tensors[0] if len(tensors) == 1 else torch.stack(tensors).sum()
