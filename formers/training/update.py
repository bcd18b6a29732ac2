"""One update of the weights: sums over micro-batches and processes, one true mean, clip, AdamW, average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from formers.errors import TrainingError
from formers.training import schedule
from formers.training.config import TrainConfig
from formers.training.distributed import Replicas, World
from formers.training.optimizer import Average, scale_gradients
from formers.training.precision import Precision
from formers.training.task import Batches

Rows = Sequence[int]


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
    """`updater(number, batches)` makes update `number` (1, 2, ...) from these batches' row numbers."""

    def __init__(
        self,
        batches: Batches,
        config: TrainConfig,
        *,
        weights: list[nn.Parameter],
        optimizer: torch.optim.Optimizer,
        average: Average | None,
        replicas: Replicas,
        precision: Precision,
        world: World,
    ) -> None:
        self.batches, self.config, self.weights = batches, config, weights
        self.optimizer, self.average, self.replicas = optimizer, average, replicas
        self.precision, self.world = precision, world
        self.device = weights[0].device
        self.exact = torch.float32 if self.device.type == "mps" else torch.float64

    def __call__(self, number: int, taken: list[Rows], stop: bool) -> Update:
        """One read from the device, before the weights change: one that is not finite leaves them alone."""
        config = self.config
        sums, names, totals = self.gradients(taken, stop)
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        if not gradients:
            raise TrainingError(f"step {number}: the loss depends on no weight that learns")
        mean = (self.world.size / sums[1].clamp(min=1e-12)).float()
        norm = scale_gradients(gradients, mean, config.clip)
        total, count, told, *parts, norm = torch.cat([sums, norm.reshape(1).to(sums)]).tolist()
        rate = schedule.rate(
            config.schedule, number, peak=config.rate, warmup=config.warmup, steps=config.steps, final=config.final_rate
        )
        if not math.isfinite(total) or (count and not math.isfinite(norm)):
            self.optimizer.zero_grad(set_to_none=True)
            raise TrainingError(self.diagnosis(number, taken, totals, rate, total, norm))
        if count:  # no targets, nothing learned
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["share"]
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average:
            self.average.update(number)
        return Update(total, count, dict(zip(names, parts, strict=True)), norm, rate, told > 0)

    def gradients(self, taken: list[Rows], stop: bool) -> tuple[Tensor, list[str], list[Tensor]]:
        """Backward through every micro-batch.

        Gives the sums over all processes (losses, counts, stop flags, then each part), the parts' names,
        and the loss of each own micro-batch.
        """
        totals, counts, parts = [], [], []
        for place, rows in enumerate(taken, start=1):
            mine, weight = self.world.share(rows)
            batch = self.batches.collate(mine)
            with self.replicas.sync(last=place == len(taken)):
                with self.precision.autocast():
                    loss = self.replicas.loss(batch)
                (loss.total if weight else loss.total * 0).backward()
            totals.append(loss.total.detach() * weight)
            counts.append(loss.count * weight)
            parts.append({name: value * weight for name, value in loss.parts.items()})
        names = sorted(set().union(*parts))
        columns: list[Sequence[float | Tensor]] = [totals, counts, [float(stop)]]
        columns += [[part.get(name, 0.0) for part in parts] for name in names]
        return self.world.sum(torch.stack([self._sum(column) for column in columns])), names, totals

    def diagnosis(
        self, number: int, taken: list[Rows], totals: list[Tensor], rate: float, total: float, norm: float
    ) -> str:
        """Why the update cannot be made, in one line."""
        bad = [rows for rows, loss in zip(taken, totals, strict=True) if not math.isfinite(loss.item())]
        where = "; ".join(self.batches.describe(rows) for rows in bad or taken)
        what = f"the norm of the gradient is {norm}" if math.isfinite(total) else f"the loss is {total}"
        return (
            f"step {number}: {what} at learning rate {rate:.3g}, in the batch {where}; "
            "the last checkpoint is intact. Look at this data, "
            "or try a lower train.rate, a longer train.warmup, a lower train.clip or train.precision=fp32"
        )

    def _sum(self, values: Sequence[float | Tensor]) -> Tensor:
        """The exact sum, on the device."""
        tensors = [torch.as_tensor(value, device=self.device).detach().to(self.exact) for value in values]
        return tensors[0] if len(tensors) == 1 else torch.stack(tensors).sum()
