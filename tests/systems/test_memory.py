"""A recipe whose model has no room on the machine is refused, with the number, before anything of it is made."""

import pytest
import torch

from formers.errors import ConfigError
from formers.models.causal import CausalLM
from formers.recipe import load_recipe
from formers.systems import memory
from formers.systems.memory import machine_memory, new_model
from formers.systems.sizes import CausalSizes

SIZES = CausalSizes(dim=8, layers=2, heads=2, hidden=16, length=9)


def test_a_model_that_has_room_is_the_same():
    torch.manual_seed(3)
    plain = CausalLM(SIZES.config(20))
    torch.manual_seed(3)
    model = new_model(CausalLM, SIZES.config(20))
    assert all(torch.equal(weight, model.state_dict()[name]) for name, weight in plain.state_dict().items())


def test_a_model_without_room():
    large = CausalSizes(dim=2**20, layers=100, heads=2, hidden=2**20, length=9)
    with pytest.raises(
        ConfigError, match=r"parameters with gradients and optimizer take [\d,.]+ GB, .* has [\d,.]+ GB"
    ):
        new_model(CausalLM, large.config(20))


def test_a_container_has_what_it_is_given(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "LIMIT", tmp_path / "memory.max")
    total = machine_memory()
    (tmp_path / "memory.max").write_text("max\n")
    assert machine_memory() == total
    (tmp_path / "memory.max").write_text("1000\n")
    assert machine_memory() == 1000
    with pytest.raises(ConfigError, match=r"has 0\.0 GB of memory"):
        new_model(CausalLM, SIZES.config(20))


@pytest.mark.parametrize(
    "change",
    ["model.layers=1000000", "model.dim=1000000000000", "model.length=1000000000000", "model.hidden=99999999999"],
)
def test_sizes_have_an_end(change):
    with pytest.raises(ConfigError, match=change.split("=")[0]):
        load_recipe("language", [change])
