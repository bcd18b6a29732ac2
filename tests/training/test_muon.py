"""Muon: what is made orthogonal, what AdamW does, and that a run with it goes on to the same bits."""

import pytest
import torch
from training_toy import ToyTask, config, final, run_all

from formers.errors import TrainingError
from formers.training.muon import MOMENTUM, SIZE, Muon, orthogonal
from formers.training.optimizer import decayed, make_optimizer


@pytest.mark.parametrize("shape", [(3, 5, 9), (2, 9, 5), (1, 6, 6)])
def test_directions_stay_and_become_equally_long(shape):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64)
    left, _, right = torch.linalg.svd(x, full_matrices=False)
    inside = left.mT @ orthogonal(x) @ right.mT
    lengths = inside.diagonal(dim1=1, dim2=2)
    assert ((lengths > 0.6) & (lengths < 1.3)).all()
    assert torch.allclose(inside, torch.diag_embed(lengths), atol=1e-10)


def test_the_first_update():
    task = ToyTask()
    optimizer = make_optimizer(task.model, config(optimizer="muon", weight_decay=0.5))
    assert isinstance(optimizer, Muon)
    matrices = {id(weight) for group in optimizer.matrices for weight in group["params"]}
    assert matrices == {id(task.model.blocks[0].weight)}  # not the embedding, not the head
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {*map(id, task.model.parameters())}
    weight = task.model.blocks[0].weight
    before, weight.grad = weight.detach().clone(), torch.randn_like(weight)
    gradient = weight.grad.clone()
    for group in optimizer.param_groups:
        group["lr"] = 0.1 * group["share"]
    optimizer.step()
    # the mean has taken in a twentieth of the gradient, and looks a step ahead; the length of it does not matter
    update = orthogonal((gradient * (1 - MOMENTUM + MOMENTUM * (1 - MOMENTUM)))[None])[0] * SIZE * 4 * 0.1
    assert torch.allclose(weight, before * (1 - 0.1 * 0.5) - update, atol=1e-6)
    assert weight.grad is not None
    optimizer.zero_grad(set_to_none=True)
    assert weight.grad is None


def test_convolutions_are_matrices_too():
    model = torch.nn.Module()
    model.stages = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3)))
    assert decayed(model) == {"stages.0.0.weight"}
    optimizer = make_optimizer(model, config(optimizer="muon"))
    weight = model.stages[0][0].weight
    weight.grad = torch.randn_like(weight)
    before = weight.detach().clone()
    optimizer.param_groups[0]["lr"] = 1.0
    optimizer.step()
    moved = torch.linalg.svdvals((weight - before * 0.99).flatten(1).detach())
    assert ((moved > SIZE * 27**0.5 * 0.6) & (moved < SIZE * 27**0.5 * 1.3)).all()


def test_a_run_goes_on_to_the_same_bits(tmp_path):
    usual = {"optimizer": "muon", "schedule": "inverse_sqrt", "save_every": 2, "average": 0.9, "accumulate": 2}
    run_all(tmp_path / "whole", ToyTask(dropout=0.3), **usual)
    run_all(tmp_path / "parts", ToyTask(dropout=0.3), **usual | {"steps": 5})
    run_all(tmp_path / "parts", ToyTask(dropout=0.3), **usual)
    whole, parts = final(tmp_path / "whole"), final(tmp_path / "parts")
    assert whole.keys() == parts.keys() and "optimizer.blocks.0.weight|momentum" in whole
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_model_without_layers_is_refused():
    with pytest.raises(TrainingError, match=r"muon is for the matrices of layers, this Linear has none.*adamw"):
        make_optimizer(torch.nn.Linear(2, 2), config(optimizer="muon"))
