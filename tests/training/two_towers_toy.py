"""The smallest search: two towers of embeddings, all that contrastive objectives can be asked for; also a program."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from training_toy import ToyBatches, ToyTask, config, report

from formers.training import Run, train
from formers.training.contrastive import allowed_negatives, chunked, in_batch, learnt_scale
from formers.training.distributed import gather


class TwoTowers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.product = nn.Embedding(12, 6), nn.Sequential(nn.Embedding(12, 5), nn.Linear(5, 6))
        self.logarithm = nn.Parameter(torch.tensor(math.log(20.0)))


class TwoTowersTask(ToyTask):
    """Graded pairs with a hard negative; negatives that score high count more; row 7 asks what row 1 asks."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = TwoTowers()

    def loss(self, rows):
        model = self.model
        u = chunked(model.query, 2, rows)
        v = chunked(model.product, 2, torch.cat([rows, (rows + 5) % 12])).unflatten(0, (2, -1))
        (u, own), (v, _), (rows, _) = gather(u), gather(v.transpose(0, 1)), gather(rows)
        same = torch.stack([rows % 6, rows + 20, (rows + 5) % 12 + 20])
        v = v.transpose(0, 1).flatten(0, 1)
        with torch.no_grad():
            weights = (5 * F.normalize(u, dim=-1) @ F.normalize(v, dim=-1).T).softmax(1) * len(v)
            allowed = allowed_negatives(same, rows)
            weights = (weights if allowed is None else weights * allowed).fill_diagonal_(1)
        losses = in_batch(u, v, weights, scale=learnt_scale(model.logarithm), symmetric=True, own=own)
        return losses.sum(1.0 + (rows[own] % 3), tokens=len(rows[own]))

    def evaluate(self):
        return report(float(self.loss(torch.arange(6)).total))


class Numbers(ToyBatches):
    def collate(self, rows):
        return torch.tensor(rows)


def steps(folder):
    settings = {"steps": 8, "rate": 0.03, "accumulate": 2, "evaluate_every": 4, "save_every": 4}
    return train(TwoTowersTask(), Numbers(size=5, rows=11), config(**settings), Run(folder))


if __name__ == "__main__":
    for event in steps(Path(sys.argv[1])):
        print(event, flush=True)
