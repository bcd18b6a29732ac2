"""Weights in another form: the same products, and plain numbers for everyone else."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from formers.blocks.attention import Attention
from formers.blocks.feed_forward import ACTIVATIONS, FeedForward
from formers.kernels.matrix import MANY_ROWS, Int8, PackedMatrix
from formers.kernels.weight import Weight, choose_columns, matrices, packed, quantise, together
from formers.models.causal import CausalLM
from formers.systems.sizes import CausalSizes

SIZES = {"dim": 64, "layers": 2, "heads": 4, "hidden": 96, "length": 40}


def model(form="llama", **sizes):
    torch.manual_seed(3)
    made = CausalLM(CausalSizes(form=form, **SIZES | sizes).config(101)).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made


@pytest.mark.parametrize("rows", [1, 3, 64, 200])
@pytest.mark.parametrize("bias", [True, False])
def test_packed_products_are_the_plain_ones(rows, bias):
    layer, x = nn.Linear(48, 37, bias=bias), torch.randn(rows, 48)
    with torch.no_grad():
        expected = layer(x)
        with packed(layer):
            assert type(layer.weight) is Weight and isinstance(layer.weight.form, PackedMatrix)
            torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(layer(x[None]), expected[None], atol=1e-5, rtol=1e-5)
    assert type(layer.weight) is nn.Parameter


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("rows", [1, 90])
def test_an_activation_in_the_same_pass_is_the_plain_one(activation, rows):
    part, x = FeedForward(24, 60, activation=activation), 2 * torch.randn(rows, 24)
    nn.init.normal_(part.up.weight, std=0.5)
    with torch.no_grad():
        expected = part(x)
        with packed(part):
            torch.testing.assert_close(part(x), expected, atol=1e-5, rtol=1e-5)
            part.activation = torch.sin  # one of a user's own
            torch.testing.assert_close(part(x), part.down(torch.sin(part.up(x))), atol=1e-5, rtol=1e-5)
        seen = []
        part.up.register_forward_hook(lambda *given: seen.append(1))
        with packed(part):
            part(x)
    assert seen == [1]


@pytest.mark.parametrize("form", ["gpt2", "llama"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_packed_model_says_the_same(form, tied):
    network, tokens = model(form, tied=tied), torch.randint(0, 101, (3, 17))
    names = [name for name, _ in network.named_parameters()]
    with torch.no_grad():
        expected = network(tokens)
        with packed(network):
            torch.testing.assert_close(network(tokens), expected, atol=2e-3, rtol=1e-4)
    assert [name for name, _ in network.named_parameters()] == names
    assert all(type(weight) is nn.Parameter for _, weight in matrices(network))


@pytest.mark.parametrize("change", ["optimizer", "data", "fresh data", "load"])
def test_a_changed_weight_is_packed_again(change):
    layer, x = nn.Linear(40, 30), torch.randn(2, 40)
    with torch.no_grad(), packed(layer):
        layer(x)
    new = torch.randn(30, 40)
    if change == "optimizer":
        with torch.no_grad():
            layer.weight.copy_(new)
    elif change == "data":
        layer.weight.data.copy_(new)  # leaves no new version
    elif change == "fresh data":
        layer.weight.data = new
    else:
        layer.load_state_dict({"weight": new, "bias": layer.bias.detach().clone()})
    with torch.no_grad(), packed(layer):
        torch.testing.assert_close(layer(x), F.linear(x, new, layer.bias), atol=1e-5, rtol=1e-5)


def test_an_unchanged_weight_is_packed_once():
    layer, x = nn.Linear(40, 30), torch.randn(2, 40)
    packs = []
    for _ in range(2):
        with torch.no_grad(), packed(layer):
            layer(x)
            packs.append(layer.weight.form.pack)
    assert packs[0] is packs[1]


def test_nothing_is_packed_where_gradients_are_wanted():
    layer = nn.Linear(8, 8)
    with packed(layer):
        assert type(layer.weight) is nn.Parameter
        layer(torch.randn(2, 8)).sum().backward()
    assert layer.weight.grad is not None
    half = nn.Linear(8, 8).bfloat16()
    with torch.no_grad(), packed(half):
        assert type(half.weight) is nn.Parameter


def test_contexts_may_overlap_in_any_order():
    layer, x = nn.Linear(8, 8), torch.randn(2, 8)
    with torch.no_grad():
        first, second = packed(layer), packed(layer)
        first.__enter__(), second.__enter__()
        first.__exit__(None, None, None)
        layer(x)
        second.__exit__(None, None, None)
    assert type(layer.weight) is nn.Parameter


@pytest.mark.parametrize("group", [0, 16])
@pytest.mark.parametrize("rows", [1, 5, 80])
def test_int8_products_are_those_of_its_own_numbers(group, rows):
    weight, x = torch.randn(50, 64), torch.randn(rows, 64)
    form = Int8(weight, group)
    assert form.numbers.dtype == torch.int8
    step = weight.unflatten(1, (-1, group or 64)).abs().amax(2, keepdim=True) / 127
    assert ((form.dense() - weight).unflatten(1, (-1, group or 64)).abs() <= step / 2 + 1e-6).all()
    expected = F.linear(x.bfloat16().double(), form.dense().double())
    found = form.linear(x)
    assert found.dtype == torch.float32
    assert ((found - expected).norm() / expected.norm()).item() < 5e-3  # results are rounded to bf16
    index = torch.tensor([[3, 4], [0, 49]])
    torch.testing.assert_close(form.rows(index), form.dense()[index])


@pytest.mark.parametrize("columns", [8, 20, 24, 40, 72])
def test_int8_of_any_width(columns):
    """PyTorch's kernel ends the process where the width is no multiple of 16."""
    form, x = Int8(torch.randn(24, columns)), torch.randn(1, columns)
    torch.testing.assert_close(form.linear(x), F.linear(x, form.dense()), atol=0.1, rtol=0.05)
    grouped = Int8(torch.randn(24, 48), 24)
    torch.testing.assert_close(grouped.linear(torch.ones(1, 48)), grouped.dense().sum(1)[None], atol=0.2, rtol=0.05)


def test_a_quantised_model_is_close_and_a_quarter_as_large():
    network, tokens = model("gpt2", dim=128, hidden=512), torch.randint(0, 101, (2, 9))
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.05)
    with torch.no_grad():
        expected = network(tokens)
        quantise(network)
        found = network(tokens)
    assert ((found - expected).norm() / expected.norm()).item() < 0.03
    assert network.output.weight is network.embedding.weight and isinstance(network.embedding.weight.form, Int8)
    assert all(isinstance(weight.form, Int8) for _, weight in matrices(network))
    state = network.state_dict()
    assert state["stack.blocks.0.attention.q.weight"].add(0).dtype == torch.float32  # plain numbers for others


def test_a_finer_group_is_closer():
    torch.manual_seed(0)
    weight = torch.randn(64, 128) * torch.logspace(-2, 0, 128)
    errors = [(Int8(weight, group).dense() - weight).norm().item() for group in (0, 32, 8)]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("form", ["packed", "int8"])
@pytest.mark.parametrize("biases", [(True, True), (True, False), (False, False)])
def test_layers_of_one_input_are_one_product(form, biases):
    torch.manual_seed(1)
    both = nn.ModuleList([nn.Linear(32, 24, bias=biases[0]), nn.Linear(32, 40, bias=biases[1])])
    x = torch.randn(2, 3, 32)
    with torch.no_grad():
        if form == "int8":
            quantise(both)
        expected = [layer(x) for layer in both]
        with packed(both):
            for _ in range(2):
                for found, wanted in zip(together(x, *both), expected, strict=True):
                    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
            for layer, wanted in zip(both, expected, strict=True):  # alone they are what they were
                torch.testing.assert_close(layer(x), wanted, atol=1e-5, rtol=1e-5)


def test_a_joint_product_follows_a_changed_weight():
    both, x = nn.ModuleList([nn.Linear(32, 8), nn.Linear(32, 8)]), torch.randn(2, 32)
    for _ in range(3):
        with torch.no_grad():
            both[1].weight.normal_()
            expected = [layer(x) for layer in both]
            with packed(both):
                for found, wanted in zip(together(x, *both), expected, strict=True):
                    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_a_weight_that_lies_transposed_in_memory_is_packed_too():
    layer, x = nn.Linear(40, 30), torch.randn(2, 40)
    layer.weight = nn.Parameter(torch.randn(40, 30).T)
    with torch.no_grad():
        expected = layer(x)
        for _ in range(2):
            with packed(layer):
                torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="this processor has no VNNI instructions")
class TestIntegers:
    """Activations as integers too."""

    def test_close_to_fp32_and_each_row_by_itself(self):
        torch.manual_seed(0)
        weight, bias = torch.randn(48, 32), torch.randn(48)
        x = torch.randn(40, 32) * torch.logspace(-3, 3, 40)[:, None]  # rows of very different size
        form = Int8(weight, integers=True)
        expected = F.linear(x, weight)
        found = form.linear(x)
        assert ((found - expected).norm(dim=1) / expected.norm(dim=1)).max() < 0.02
        torch.testing.assert_close(form.linear(x, bias), found + bias)
        torch.testing.assert_close(form.linear(x[5:25]), found[5:25], atol=0, rtol=0)
        assert not form.linear(torch.zeros(9, 32)).any()

    def test_large_columns_stay_apart(self):
        torch.manual_seed(0)
        weight, bias, x = torch.randn(128, 64), torch.randn(128), torch.randn(MANY_ROWS, 64)
        x[:, [5, 40]] *= 100
        layer = nn.Linear(64, 128)
        nn.init.constant_(layer.bias, 0.5), layer.weight.data.copy_(weight)
        form = quantise(layer).weight.form
        assert not form.by_integers(MANY_ROWS)
        choose_columns(layer, lambda: layer(x[None]))
        assert form.large.sort().values.tolist() == [5, 40] and not layer._forward_hooks
        assert form.pack is None  # only what a prompt needs is
        assert form.by_integers(MANY_ROWS) and not form.by_integers(MANY_ROWS - 1)
        choose_columns(layer, lambda: layer(x.roll(1, 1)[None]))  # another time: for others
        assert form.large.sort().values.tolist() == [6, 41]
        form.linear(x)
        choose_columns(layer, lambda: [layer(x[None]) for _ in range(2)])
        grouped = quantise(nn.Linear(64, 128), group=32)
        choose_columns(grouped, lambda: pytest.fail("nothing to choose: there is no need to read"))
        for other, group in ((nn.Linear(96, 160), 0), (nn.Linear(64, 128), 32)):
            choose_columns(quantise(other, group=group), lambda other=other: other(torch.randn(2, other.in_features)))
            assert not other.weight.form.by_integers(MANY_ROWS)

        def error(found):
            expected = F.linear(x, form.dense())
            return ((found - expected).norm() / expected.norm()).item(), (found - expected).abs().max()

        share, most = error(form.linear(x))
        assert share < 0.003 and most < 1
        torch.testing.assert_close(form.linear(x, bias), form.linear(x) + bias)
        more = torch.cat([x, 1000 * torch.randn(9, 64)])
        torch.testing.assert_close(form.linear(more)[:MANY_ROWS], form.linear(x))  # a row by itself
        none = Int8(weight, integers=True)
        assert error(none.linear(x))[1] > 3 * most

    def test_a_model_with_matrices_that_read_the_same_vectors(self):
        torch.manual_seed(0)
        model = Attention(32, 4).eval()
        x = torch.randn(3, 20, 32)
        expected = model(x)
        quantise(model, integers=True)
        with torch.no_grad():
            found = model(x)
        assert F.cosine_similarity(found.flatten(0, 1), expected.flatten(0, 1)).min() > 0.99
