"""The smallest task that has everything (dropout, unequal rows, buffers); also a program to be killed."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from formers.training import Loss, Run, TrainConfig, train

VOCAB = 11


class Model(nn.Module):
    def __init__(self, dropout: float = 0.0, batch_norm: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, 8)
        self.norm = nn.LayerNorm(8)
        self.blocks = nn.ModuleList([nn.Linear(8, 16)])
        self.batch_norm = nn.BatchNorm1d(16) if batch_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(16, VOCAB)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = self.blocks[0](self.norm(self.embedding(tokens)))
        return self.output(self.dropout(F.gelu(self.batch_norm(hidden.flatten(0, 1)).view_as(hidden))))


def report(loss: float) -> SimpleNamespace:
    """An evaluation of one score."""
    return SimpleNamespace(scores=[SimpleNamespace(name="loss", value=loss, unit="nats", lower_is_better=True)])


class ToyTask:
    def __init__(self, dropout=0.0, batch_norm=False, metrics=None, slow=0.0) -> None:
        torch.manual_seed(0)
        self.model = Model(dropout, batch_norm)
        self.metrics, self.slow, self.seen = metrics, slow, []
        self.poison: int | None = None
        self.calls = 0

    def loss(self, batch) -> Loss:
        self.calls += 1
        logits = self.model(batch)
        keep = batch[:, 1:] != 0
        losses = F.cross_entropy(logits[:, :-1].transpose(1, 2).float(), batch[:, 1:], reduction="none")
        total = losses[keep].sum()
        if self.poison is not None and self.calls > self.poison:
            total = total * float("nan")
        return Loss(total, keep.sum(), {"tokens": keep.sum(), "twice": 2 * total.detach()})

    def evaluate(self) -> SimpleNamespace:
        torch.rand(7)
        assert not self.model.training and not torch.is_grad_enabled()
        self.seen.append({name: weight.clone() for name, weight in self.model.state_dict().items()})
        if self.metrics is not None:
            return report(self.metrics[min(len(self.seen), len(self.metrics)) - 1])
        return report(float(self.model.output.weight.sum()))

    def sample(self):
        torch.rand(3)
        return [("1 + 1", "2"), ("a cat", b"\x89PNG...")]

    def save(self, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        if self.slow:
            print("saving", flush=True)
            time.sleep(self.slow)
        save_file(self.model.state_dict(), folder / "model.safetensors")
        if self.slow:
            time.sleep(self.slow)

    def set_recompute(self) -> None:
        self.recomputes = True


class ToyBatches:
    """`number` batches of `size` rows of unequal lengths; the last one smaller."""

    def __init__(self, size: int = 4, rows: int = 14) -> None:
        generator = torch.Generator().manual_seed(1)
        self.size = size
        self.rows = [torch.randint(1, VOCAB, (2 + (5 * i) % 7,), generator=generator) for i in range(rows)]

    def epoch(self, epoch: int):
        order = torch.randperm(len(self.rows), generator=torch.Generator().manual_seed(epoch)).tolist()
        return [order[i : i + self.size] for i in range(0, len(order), self.size)]

    def collate(self, rows):
        return nn.utils.rnn.pad_sequence([self.rows[row] for row in rows], batch_first=True)

    def describe(self, rows) -> str:
        return "rows " + ", ".join(map(str, rows))


def config(**changes) -> TrainConfig:
    usual = {"steps": 10, "rate": 0.01, "warmup": 3, "precision": "fp32", "log_every": 1, "evaluate_every": 0}
    return TrainConfig(**usual | {"save_every": 0, "prefetch": 1} | changes)


def run_all(folder, task=None, batches=None, **changes):
    """Train to the end; gives (task, events)."""
    task = task or ToyTask()
    return task, list(train(task, batches or ToyBatches(), config(**changes), Run(folder)))


def final(folder) -> dict[str, torch.Tensor]:
    """All that the latest checkpoint holds, of a model in several folders too."""
    tensors, checkpoint = {}, Run(folder).latest()
    for path in checkpoint.rglob("*.safetensors"):
        place = "" if path.parent == checkpoint else f"{path.parent.name}/"
        tensors |= {f"{place}{name}": value for name, value in load_file(path).items()}
    return tensors


def main() -> None:
    """python training_toy.py FOLDER '{"task": {...}, "config": {...}, "pause": seconds after every event}'"""
    options = json.loads(sys.argv[2])
    torch.set_num_threads(1)
    task, batches = ToyTask(**options.get("task", {})), ToyBatches(**options.get("batches", {}))
    print("ready", flush=True)
    for event in train(task, batches, config(**options["config"]), Run(sys.argv[1])):
        print(event, flush=True)
        time.sleep(options.get("pause", 0))


if __name__ == "__main__":
    main()
