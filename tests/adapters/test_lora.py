"""LoRA: what it computes, that it starts and ends as the model itself, several side by side, merging."""

from __future__ import annotations

import pytest
import torch
from adapter_toy import TOKENS, language, learned, run, same, state
from torch import nn

from formers.adapters import bitfit
from formers.adapters.config import AdapterConfig, adapt
from formers.adapters.lora import (
    LoRALinear,
    LowRank,
    activate,
    adapted,
    adapters,
    add_lora,
    attach,
    chosen,
    disabled,
    linears,
    merge,
    merge_into_base,
    plain,
    remove,
    unmerge,
)
from formers.errors import ConfigError
from formers.kernels.weight import packed
from formers.models.transformer import Transformer
from formers.systems.sizes import TransformerSizes


@pytest.mark.parametrize("stabilised", [False, True])
def test_the_formula(stabilised):
    base = nn.Linear(5, 7)
    module = LoRALinear(base)
    part = LowRank(torch.randn(3, 5), torch.randn(7, 3), alpha=6.0, rank_stabilised=stabilised)
    module.adapters["x"], module.active = part, {"x": 1.0}
    x = torch.randn(4, 2, 5)
    scale = 6 / (3**0.5 if stabilised else 3)
    expected = x @ (base.weight + scale * part.b @ part.a).T + base.bias
    torch.testing.assert_close(module(x), expected)
    torch.testing.assert_close(torch.nn.functional.linear(x, module.weight, module.bias), expected)
    assert (module.in_features, module.out_features) == (5, 7)


@pytest.mark.parametrize("form", ["gpt2", "llama"])
def test_an_adapted_model_starts_as_the_model_itself(form):
    model = language(form)
    before, weights = run(model), state(model)
    places = add_lora(model, rank=3, targets=["all-linear"], dropout=0.5)
    assert len(places) == len(adapted(model)) == (14 if form == "llama" else 12)
    assert torch.equal(run(model), before)
    with plain(model):
        assert same(state(model), weights)
    assert all(isinstance(module, LoRALinear) for module in adapted(model).values())


def test_only_the_adapter_learns_and_its_share_is_counted():
    model = language()
    add_lora(model, rank=2)
    assert {name.rpartition("adapters.")[2] for name in bitfit.learning(model)} == {"default.a", "default.b"}
    some, every = bitfit.share(model)
    assert some == 2 * 2 * (2 * 16 + 16 * 2)
    assert every == some + sum(weight.numel() for weight in language().parameters())
    run_loss = model(TOKENS).square().mean()
    run_loss.backward()
    for name, weight in model.named_parameters():
        assert (weight.grad is None) == (".adapters." not in name)
    # at the start only b has a gradient: b is zero, and so is what reaches a
    assert all(part.b.grad.any() and not part.a.grad.any() for part in adapters(model)["default"].values())


def test_the_start_is_drawn_from_the_seed():
    a, b, c = (language() for _ in range(3))
    for model, seed in ((a, 1), (b, 1), (c, 2)):
        add_lora(model, rank=2, seed=seed)
    assert same(state(a), state(b)) and not same(state(a), state(c))
    for part in adapters(a)["default"].values():
        assert part.a.abs().max() <= 16**-0.5 and part.a.std() > 0.1 and not part.b.any()


def test_merged_is_unmerged_and_unmerging_is_exact():
    model = language("llama")
    add_lora(model, rank=3, targets=["q", "v", "down"])
    learned(model)
    with plain(model):
        weights = state(model)
    loose = run(model)
    with disabled(model):
        base = run(model)
    assert (loose - base).abs().max() > 0.05
    merge(model)
    torch.testing.assert_close(run(model), loose, rtol=1e-5, atol=1e-5)
    merge(model)  # a second time changes nothing
    torch.testing.assert_close(run(model), loose, rtol=1e-5, atol=1e-5)
    unmerge(model)
    with plain(model):
        assert same(state(model), weights)
    assert torch.equal(run(model), loose)
    for change in (lambda: activate(model, None), lambda: remove(model, "default"), lambda: add_lora(model, name="x")):
        merge(model)
        with pytest.raises(ConfigError, match="unmerge it first"):
            change()
        unmerge(model)


def test_merging_for_good_leaves_plain_linears():
    model = language()
    names = list(model.state_dict())
    add_lora(model, rank=3, targets=["all-linear"])
    learned(model)
    before = run(model)
    merge_into_base(model)
    assert list(model.state_dict()) == names and not adapted(model)
    torch.testing.assert_close(run(model), before, rtol=1e-5, atol=1e-5)


def test_several_adapters_side_by_side():
    model = language()
    plain_out = run(model)
    add_lora(model, rank=2, targets=["q", "v"], name="formal")
    learned(model, "formal", 1)
    formal = run(model)
    add_lora(model, rank=4, targets=["v", "down"], name="rude")
    assert torch.equal(run(model), plain_out)  # the new one is active, and begins with no change
    learned(model, "rude", 2)
    rude = run(model)
    activate(model, "formal")
    assert torch.equal(run(model), formal)
    activate(model, None)
    assert torch.equal(run(model), plain_out)
    activate(model, {"formal": 1.0, "rude": 1.0})
    both = run(model)
    assert not torch.allclose(both, formal, atol=0.01) and not torch.allclose(both, rude, atol=0.01)
    merge(model)
    torch.testing.assert_close(run(model), both, rtol=1e-5, atol=1e-5)
    unmerge(model)
    activate(model, {"formal": 0.25, "rude": -0.5})
    mixed = run(model)
    values = {place: module.weight for place, module in adapted(model).items()}
    twin = language()
    with torch.no_grad():
        for place, weight in values.items():
            linears(twin)[place].weight.copy_(weight)
    torch.testing.assert_close(run(twin), mixed, rtol=1e-5, atol=1e-5)
    activate(model, "rude")
    remove(model, "formal")
    assert torch.equal(run(model), rude) and set(adapters(model)) == {"rude"}
    assert {place.rpartition(".")[2] for place in adapted(model)} == {"v", "down"}
    remove(model, "rude")
    assert not adapted(model) and torch.equal(run(model), plain_out)


def test_a_model_without_tied_head_can_have_its_head_adapted():
    model = language("llama", tied=False)
    before = run(model)
    add_lora(model, rank=2, targets=["head"])
    assert list(adapted(model)) == ["head"] and torch.equal(run(model), before)
    learned(model)
    loose = run(model)
    assert not torch.allclose(loose, before, atol=0.01)
    merge(model)
    torch.testing.assert_close(run(model), loose, rtol=1e-5, atol=1e-5)


def test_dropout_is_of_training_only():
    model = language()
    add_lora(model, rank=2, dropout=0.5)
    learned(model)
    assert torch.equal(run(model), run(model))
    model.train()
    torch.manual_seed(0)
    assert not torch.equal(run(model), run(model))


def test_targets():
    model = Transformer(TransformerSizes(dim=16, encoder_layers=2, decoder_layers=2, heads=2, hidden=24).config(20))
    assert len(chosen(model, ["q"])) == 6 and len(chosen(model, ["cross_attention.q"])) == 2
    assert chosen(model, ["decoder.blocks.1.attention.v", "encoder.blocks.0.attention.v"]) == [
        "encoder.blocks.0.attention.v",
        "decoder.blocks.1.attention.v",
    ]
    assert chosen(model, [r"encoder\..*\.[qv]"]) == [f"encoder.blocks.{i}.attention.{x}" for i in (0, 1) for x in "qv"]
    assert len(chosen(model, ["all-linear"])) == 2 * 6 + 2 * 10
    with pytest.raises(ConfigError, match=r'target "q_proj" means no linear part of this model; it has: q, k, v, o'):
        chosen(model, ["q", "q_proj"])
    with pytest.raises(ConfigError, match=r'target "\[q" is no regular expression'):
        chosen(model, ["[q"])


def test_faults():
    model = language()
    with pytest.raises(ConfigError, match=r"adapter rank 17 is more than .*attention.q has, which is 16 x 16"):
        add_lora(model, rank=17)
    add_lora(model)
    for name in ("a.b", "", "keys"):
        with pytest.raises(ConfigError, match="cannot be called"):
            attach(model, {}, name)
    with pytest.raises(ConfigError, match='already has an adapter "default"'):
        add_lora(model)
    with pytest.raises(ConfigError, match='no adapter "x"; it has: default'):
        activate(model, "x")
    with pytest.raises(ConfigError, match='no adapter "x"; it has: default'):
        remove(model, "x")


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"kind": "lorra"}, 'did you mean "lora"'),
        ({"rank": 0}, r"adapter.rank \(0\) must be at least 1"),
        ({"alpha": 0.0}, "positive"),
        ({"dropout": 1.0}, r"in \[0, 1\)"),
    ],
)
def test_the_section_refuses(given, part):
    with pytest.raises(ConfigError, match=part):
        AdapterConfig(**given)


def test_adapt_says_what_learns():
    assert adapt(language(), AdapterConfig(kind="lora", rank=2)) == (
        "adapter: LoRA of rank 2 beside 4 matrices: 256 of 4,784 numbers learn (5.35%)"
    )


def test_packs_of_merged_matrices_are_made_anew():
    model = language("llama")
    add_lora(model, rank=3, targets=["q", "v", "down"])
    learned(model)
    expected = run(model)
    with torch.no_grad(), packed(model):
        torch.testing.assert_close(model(TOKENS), expected, rtol=1e-4, atol=1e-5)
    merge(model)
    with torch.no_grad(), packed(model):
        torch.testing.assert_close(model(TOKENS), expected, rtol=1e-4, atol=1e-5)
    unmerge(model)
    activate(model, None)
    with torch.no_grad(), packed(model):
        torch.testing.assert_close(model(TOKENS), run(language("llama")), rtol=1e-4, atol=1e-5)
