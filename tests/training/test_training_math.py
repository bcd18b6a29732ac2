"""One true mean, the right decay and rates, an average that is one."""

import itertools
import math

import pytest
import torch
from torch import nn
from training_toy import VOCAB, Model, ToyBatches, ToyTask, config, run_all

from formers.errors import ConfigError
from formers.fields import help_of
from formers.training import TrainConfig
from formers.training.optimizer import Average, adamw, decayed, scale_gradients
from formers.training.precision import decide
from formers.training.schedule import SCHEDULES, rate
from formers.training.state import improves


class InParts(ToyBatches):
    """Each batch of the plan cut into three pieces of unequal size."""

    def epoch(self, epoch):
        cut = []
        for rows in super().epoch(epoch):
            cut += [rows[:1], rows[1:3], rows[3:]]
        return cut


def weights(task):
    return torch.cat([weight.detach().flatten() for weight in task.model.parameters()])


def test_accumulation_is_one_big_batch(tmp_path):
    whole, events = run_all(tmp_path / "whole", batches=ToyBatches(size=7))
    parts, cut = run_all(tmp_path / "parts", batches=InParts(size=7), accumulate=3)
    torch.testing.assert_close(weights(parts), weights(whole), atol=1e-6, rtol=0)
    pairs = [(a, b) for a, b in zip(events, cut, strict=True) if type(a).__name__ == "Stepped"]
    assert len(pairs) == 10
    for a, b in pairs:
        assert a.loss == pytest.approx(b.loss, abs=1e-6) and a.norm == pytest.approx(b.norm, abs=1e-5)
        assert a.parts["twice"] == pytest.approx(2 * a.loss)


def test_the_reported_norm_is_of_the_mean_and_clipping_holds():
    gradients = [torch.full((3, 3), 4.0), torch.full((7,), 4.0)]
    norm = scale_gradients(gradients, 0.5, clip=1.0)
    assert norm.item() == pytest.approx(8.0)
    assert torch.cat([g.flatten() for g in gradients]).norm().item() == pytest.approx(1.0, abs=1e-6)
    gradients = [torch.full((4,), 4.0)]
    assert scale_gradients(gradients, 0.1, clip=1.0).item() == pytest.approx(0.8)
    assert gradients[0].tolist() == pytest.approx([0.4] * 4)
    scale_gradients(gradients, 10.0, clip=0)
    assert gradients[0].tolist() == pytest.approx([4.0] * 4)


def test_decay_only_where_it_belongs():
    assert decayed(Model()) == {"blocks.0.weight", "output.weight"}
    tied = nn.ModuleDict({"tokens": nn.Embedding(5, 4), "output": nn.Linear(4, 5), "inner": nn.Linear(4, 4)})
    tied["output"].weight = tied["tokens"].weight
    assert decayed(tied) == {"inner.weight"}
    groups = adamw(Model(), weight_decay=0.3).param_groups
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]
    assert all(group["fused"] for group in groups)


def test_schedules():
    for name, schedule in SCHEDULES.items():
        assert schedule(50, 100, 1000) == pytest.approx(0.5), name
        assert schedule(100, 100, 1000) == pytest.approx(1.0), name
        assert 0 < schedule(1, 0, 1) <= 1, name
        values = [schedule(step, 100, 1000) for step in range(1, 1001)]
        assert max(values) == pytest.approx(1.0) and values.index(max(values)) == 99, name
        assert all(a >= b for a, b in itertools.pairwise(values[99:])), name
        assert all(0 < value <= 1 for value in values), name
    assert rate("inverse_sqrt", 400, peak=0.2, warmup=100, steps=9) == pytest.approx(0.1)
    noam = [512**-0.5 * min(step**-0.5, step * 4000**-1.5) for step in (1, 4000, 100_000)]
    ours = [rate("inverse_sqrt", step, peak=noam[1], warmup=4000, steps=9) for step in (1, 4000, 100_000)]
    assert ours == pytest.approx(noam)
    assert rate("cosine", 551, peak=1.0, warmup=100, steps=1001) == pytest.approx(0.5, abs=1e-3)
    assert rate("linear", 1001, peak=1.0, warmup=0, steps=1000) == 0
    assert rate("constant", 1001, peak=0.3, warmup=10, steps=1000) == 0.3


def test_a_final_rate_is_where_the_rate_falls_to_and_not_where_it_rises_from():
    for name in ("cosine", "linear"):
        rates = [rate(name, step, peak=1.0, warmup=10, steps=100, final=0.1) for step in range(1, 102)]
        assert rates[4] == pytest.approx(0.5) and rates[9] == pytest.approx(1.0) and rates[100] == pytest.approx(0.1)
        assert min(rates[9:]) >= 0.1 and all(a >= b for a, b in itertools.pairwise(rates[9:])), name
    assert rate("cosine", 551, peak=1.0, warmup=100, steps=1001, final=0.2) == pytest.approx(0.6, abs=1e-3)
    assert rate("constant", 50, peak=0.3, warmup=10, steps=100, final=0.1) == 0.3


def test_average():
    model = nn.Linear(2, 1)
    start = model.weight.detach().clone()
    average = Average(model, 0.5)
    with torch.no_grad():
        model.weight.fill_(3.0)
    average.update(1)  # decay min(0.5, 2 / 11)
    expected = start * 2 / 11 + 3.0 * 9 / 11
    torch.testing.assert_close(average.means["weight"], expected)
    average.update(100)  # decay 0.5
    expected = (expected + 3.0) / 2
    with average.applied():
        torch.testing.assert_close(model.weight.detach(), expected)
    assert model.weight.tolist() == [[3.0, 3.0]]


@pytest.mark.parametrize("wanted", ["auto", "fp32", "bf16"])
def test_the_probe_leaves_no_trace(wanted):
    task, batches = ToyTask(dropout=0.2, batch_norm=True), ToyBatches()
    task.loss(batches.collate([0, 1])).total.backward()
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    gradients = [weight.grad.clone() for weight in task.model.parameters()]
    random = torch.get_rng_state()

    def collate():
        torch.rand(5)
        return batches.collate([2, 3])

    found = decide(wanted, task, collate, torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], value) for name, value in task.model.state_dict().items())
    assert all(torch.equal(a, b.grad) for a, b in zip(gradients, task.model.parameters(), strict=True))
    assert found.seconds.keys() == ({"fp32", "bf16"} if wanted == "auto" else {wanted})
    assert found.name == wanted or wanted == "auto"


def test_bf16_learns(tmp_path):
    _, events = run_all(tmp_path, precision="bf16", steps=40, log_every=40)
    assert events[0].precision == "bf16" and events[1].loss < math.log(VOCAB)


def test_config():
    help_lines = help_of(TrainConfig)
    assert help_lines["clip"].startswith("Largest global norm")
    assert help_lines.keys() == TrainConfig.__dataclass_fields__.keys()
    assert all("\n" not in line for line in help_lines.values())
    with pytest.raises(ConfigError, match=r'train.schedule "cosin" is not known; did you mean "cosine"'):
        config(schedule="cosin")
    with pytest.raises(ConfigError, match=r"train.final_rate \(0.2\) must be in \[0, train.rate = 0.1\]"):
        config(rate=0.1, final_rate=0.2)
    for wrong in ({"steps": 0}, {"average": 1.0}, {"betas": (0.9, 1.0)}, {"rate": -1.0}, {"patience": 2}):
        with pytest.raises(ConfigError, match="must be"):
            config(**wrong)


def test_which_scores_are_better_when_lower():
    lower = {"lower_is_better": True}
    assert improves(1.0, 2.0, **lower) and not improves(2.0, 1.0, **lower)
    assert improves(2.0, 1.0, lower_is_better=False) and not improves(1.0, 2.0, lower_is_better=False)
    assert improves(1.0, None, lower_is_better=False)
    assert not improves(math.nan, None, **lower) and not improves(1.0, 1.0, **lower)
