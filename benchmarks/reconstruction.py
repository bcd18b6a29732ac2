"""A training step of the deep autoencoder, 784-1000-500-250-30 and back, on 256 pictures, both cores.

    python benchmarks/reconstruction.py [--repeats 5] [--steps 20]

Ours is the trainer's own step: the batch out of the pictures, forward and backward, gradients scaled and clipped,
AdamW, the running average of the weights; in fp32, and in what `train.precision = "auto"` takes here. The plain loop is
what one writes in PyTorch: a DataLoader over a TensorDataset, nn.Sequential, binary cross-entropy, torch.optim.AdamW in
fp32, no average. The first losses of both are compared before anything is timed. Then each in turns, and between them a
large matrix product, whose speed is what the machine gives: the share is the floating-point operations of the step's
products at that speed, beside the time of the whole step.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from formers.data.pictures import read_pictures
from formers.models.autoencoder import Autoencoder
from formers.systems.reconstruction.data import PictureRepairs, ReconstructionRows
from formers.systems.reconstruction.sizes import AutoencoderSizes
from formers.systems.reconstruction.system import Reconstructor
from formers.systems.reconstruction.task import ReconstructionConfig, ReconstructionTask
from formers.training.config import TrainConfig
from formers.training.distributed import join
from formers.training.run import Run
from formers.training.trainer import Training

SIDE, BATCH, PICTURES = 28, 256, 2560
SIZES = [SIDE * SIDE, 1000, 500, 250, 30]
RATE, SQUARE = 1e-3, 2048
COMPARED = 3  # losses
PLAIN = "plain loop, fp32"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="in each turn")
    options = parser.parse_args()
    torch.manual_seed(1)
    rows = ReconstructionRows(grey=True, batch=BATCH)
    table = read_pictures("builtin:shapes", count=PICTURES)
    model = Autoencoder(AutoencoderSizes(height=SIDE).config((1, SIDE, SIDE)))
    pixels = PictureRepairs(table, rows.preprocessor((SIDE, SIDE)), rows, model.config)
    every = pixels.order.pixels.read(range(PICTURES))[1].flatten(1).float() / 255
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        step, losses = plain(weights, every)
        compare_losses(model, pixels, losses)
        model.load_state_dict(weights)
        steps = {
            **{f"formers, {name}": mine(model, pixels, Path(folder) / name, name) for name in ("fp32", "auto")},
            PLAIN: step,
        }
        seconds: dict[str, list[float]] = {name: [] for name in (*steps, "product")}
        for repeat in range(options.repeats + 1):
            for name, step in steps.items():
                taken = timed(step, options.steps) / options.steps
                seconds[name] += [taken] if repeat else []
            seconds["product"].append(timed(product, 3) / 3)
    show(seconds)


def mine(model: Autoencoder, batches: PictureRepairs, folder: Path, precision: Any) -> Callable[[], object]:
    """A step of the trainer."""
    system = Reconstructor(model, batches.order.pixels.preprocessor)
    task = ReconstructionTask(system, batches, ReconstructionConfig())
    config = TrainConfig(steps=10**6, rate=RATE, warmup=0, schedule="constant", precision=precision, average=0.999)
    training = Training(task, batches, config, Run(folder), join())
    training.begin()
    settled = training.prepare()
    print(f"train.precision {precision}: {settled.name}")
    batches_ahead = training.prefetch(settled.seconds[settled.name])
    return lambda: training.step(batches_ahead, False)


def network() -> nn.Sequential:
    layers: list[nn.Module] = []
    for sizes in (SIZES, SIZES[::-1]):
        for place, (before, after) in enumerate(pairwise(sizes)):
            layers += [nn.Linear(before, after), *([nn.GELU()] if place < len(sizes) - 2 else [])]
    return nn.Sequential(*layers)


def plain(weights: dict[str, torch.Tensor], every: torch.Tensor) -> tuple[Callable[[], object], Callable[..., float]]:
    """A step of a plain loop, and the loss of such a step on given pictures."""
    model = network()
    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for own, value in zip(
            (p for layer in linear for p in (layer.weight, layer.bias)), weights.values(), strict=True
        ):
            own.copy_(value)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    loader = DataLoader(TensorDataset(every), batch_size=BATCH, shuffle=True, drop_last=True)

    def endless():
        while True:
            yield from loader

    batches = endless()

    def step(pictures: torch.Tensor | None = None) -> float:
        pictures = next(batches)[0] if pictures is None else pictures
        loss = F.binary_cross_entropy_with_logits(model(pictures), pictures, reduction="sum") / len(pictures)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, step


def compare_losses(model: Autoencoder, batches: PictureRepairs, step: Callable[..., float]) -> None:
    """Both learn from the same pictures, and their losses are the same. The first step of each is not clipped away."""
    system = Reconstructor(model, batches.order.pixels.preprocessor)
    task = ReconstructionTask(system, batches, ReconstructionConfig())
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    for number, rows in enumerate(batches.epoch(0)[:COMPARED]):
        batch = batches.collate(rows)
        loss = task.loss(batch)
        mean = loss.total / loss.count
        optimizer.zero_grad()
        mean.backward()
        optimizer.step()
        other = step(batch.inputs.flatten(1))
        print(f"loss of step {number + 1}: {mean.item():.4f}, of the plain loop {other:.4f}")
        if abs(mean.item() - other) > 1e-3 * other:
            raise SystemExit("the losses differ, so there is nothing to compare")


def timed(function: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        function()
    return time.perf_counter() - start


LEFT, RIGHT = torch.randn(SQUARE, SQUARE), torch.randn(SQUARE, SQUARE)


def product() -> torch.Tensor:
    return LEFT @ RIGHT


def operations() -> float:
    """Of the products of a step: forward, to the weights, and to the inputs but those of the first layer."""
    weights = sum(before * after for before, after in pairwise(SIZES)) * 2
    return 2.0 * BATCH * (3 * weights - SIZES[0] * SIZES[1])


def show(seconds: dict[str, list[float]]) -> None:
    limit = 2.0 * SQUARE**3 / min(seconds["product"])
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}; products: {limit / 1e9:.0f} GFLOP/s")
    for name, own in seconds.items():
        if name != "product":
            median = statistics.median(own)
            ratio = statistics.median(b / a for a, b in zip(own, seconds[PLAIN], strict=True))
            share = f"{operations() / limit / median:.1%} of the fp32 limit"
            print(f"{name:18}{1e3 * median:8.2f} ms a step{BATCH / median:10,.0f} pictures/s  {share}  {ratio:.2f}x")


if __name__ == "__main__":
    main()
