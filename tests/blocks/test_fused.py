"""Compiled decoding steps: the numbers of the plain way, whatever the form, and nobody who looks on is passed by."""

import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from formers.blocks.attention import recording
from formers.blocks.fused import fused
from formers.blocks.position import Stretch
from formers.blocks.stack import Stack, StackConfig
from formers.kernels import matrix
from formers.kernels.compiler import load_loops
from formers.kernels.weight import matrices, packed, quantise
from formers.models.causal import CausalConfig, CausalLM
from formers.models.transformer import Transformer
from formers.systems.sizes import TransformerSizes

if load_loops() is None:
    pytest.skip("numba is not installed, or told to compile nothing", allow_module_level=True)

VOCAB = 31
LLAMA = {"norm": "rms", "activation": "silu", "gated": True, "bias": "", "feed_forward_bias": False}
MODELS = {
    "gpt": ({"norm_first": False, "activation": "gelu_tanh"}, {"positions": "learned", "final_norm": False}),
    "gpt2": ({"activation": "gelu_tanh"}, {"positions": "learned", "tied": False}),
    "neo": ({"bias": "o", "scale": 1.0}, {"positions": "learned", "windows": (0, 3, 0)}),
    "relu": ({"activation": "relu"}, {}),
    "quick": ({"activation": "gelu_quick", "gated": True}, {}),
    "llama": (LLAMA | {"kv_heads": 2}, {"rotary_stretch": Stretch(4.0, 8)}),
    "mistral": (LLAMA | {"kv_heads": 1, "head_dim": 6}, {"windows": (4, 4, 4)}),
    "two bases": (LLAMA, {"windows": (3, 0, 3), "local_rotary_base": 50.0}),
    "qwen2": (LLAMA | {"bias": "qkv"}, {}),
    "qwen3": (LLAMA | {"qk_norm": True}, {"tied": False}),
}
UNKNOWN = {"gemma": (LLAMA, {"block": "sandwich"})}


def make(name, form="fp32"):
    torch.manual_seed(0)
    stack, config = (MODELS | UNKNOWN)[name]
    sizes = StackConfig(**{"dim": 16, "layers": 3, "heads": 4, "hidden": 32, **stack})
    model = CausalLM(CausalConfig(stack=sizes, vocab=VOCAB, length=40, **config))
    for each, parameter in model.named_parameters():
        nn.init.normal_(parameter, 1.0 if "norm" in each and each.endswith("weight") else 0.0, 0.3)
    if form != "fp32":
        quantise(model, group=8 if form == "int8 in groups" else 0)
    return model.eval()


def tokens(*shape):
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(3))


def steps(model, *, rows=1, truncate=True):
    """Logits along the way: a prompt, single tokens, some at once, a cache that forgets and moves its rows."""
    cache, text, found = model.begin(capacity=30), tokens(rows, 30), []
    for start, end in ((0, 9), (9, 10), (10, 11), (11, 14)):
        found.append(model.extend_all(text[:, start:end], cache))
    if truncate:
        cache.truncate(12)
    cache.reorder(torch.arange(rows).flip(0))
    found.append(model.extend(text[:, 12:13], cache))
    return found


class Calls:
    """Counts the steps that go through the loops."""

    def __init__(self, monkeypatch):
        self.count, loops = 0, load_loops()
        inner = loops.block

        def block(*given):
            self.count += 1
            return inner(*given)

        monkeypatch.setattr(loops, "block", block)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_steps_are_those_of_the_plain_way(name, rows, monkeypatch):
    model, calls = make(name), Calls(monkeypatch)
    with torch.no_grad():
        expected = steps(model, rows=rows)
        assert calls.count == 0
        with packed(model), fused(model):
            found = steps(model, rows=rows)
    # the prompt has too many tokens, three of two rows as well
    assert calls.count == 3 * (4 if rows == 1 else 3)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("form", ["int8", "int8 in groups"])
def test_integers_are_multiplied_without_rounding_anything_else(form, monkeypatch):
    model, calls = make("llama", form), Calls(monkeypatch)
    plain = make("llama")
    for module, parameter in matrices(plain):
        other = dict(model.named_modules())[next(n for n, m in plain.named_modules() if m is module)]
        parameter.data = other.weight.form.dense()
    with torch.no_grad():
        expected = steps(plain)
        with packed(model), fused(model):
            found = steps(model)
            again = steps(model)
    assert calls.count
    for one, other, twice in zip(found[1:], expected[1:], again[1:], strict=True):
        # the prompt of the fused way was read with bf16 activations
        torch.testing.assert_close(one, other, atol=0.2, rtol=0.05)
        torch.testing.assert_close(one, twice, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("columns", [48, 50])
@pytest.mark.parametrize("group", [0, 8])
@pytest.mark.parametrize("bias", [True, False])
def test_few_rows_of_integers_are_exact(columns, group, bias):
    layer = nn.Linear(columns, 37, bias=bias)
    quantise(layer, group=group)
    dense = layer.weight.form.dense()
    with torch.no_grad():
        for shape in ((1, columns), (2, 3, columns), (columns,)):
            x = torch.randn(shape)
            expected = nn.functional.linear(x, dense, layer.bias)
            torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_few_rows_of_a_large_matrix_are_a_loop(bias, monkeypatch):
    monkeypatch.setattr(matrix, "LARGE", 30 * 40)
    large, small = nn.Linear(40, 30, bias=bias), nn.Linear(40, 29, bias=bias)
    called, loops = [], load_loops()
    product = loops.product
    monkeypatch.setattr(loops, "product", lambda *given: (called.append(1), product(*given)))
    with torch.no_grad():
        for layer, rows, count in ((large, 2, 1), (large, 3, 0), (small, 2, 0)):
            x = torch.randn(rows, 40)
            expected = layer(x)
            with packed(layer):
                torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)
            assert len(called) == count
            called.clear()


def test_an_unknown_block_goes_the_plain_way(monkeypatch):
    model, calls = make("gemma"), Calls(monkeypatch)
    with torch.no_grad():
        expected = steps(model)
        with fused(model):
            assert all(map(torch.equal, steps(model), expected))
    assert calls.count == 0


@pytest.mark.parametrize("part", ["stack.blocks.1", "stack.blocks.1.attention.q", "stack.norm"])
def test_a_hook_is_called(part):
    model, seen = make("llama"), []
    model.get_submodule(part).register_forward_hook(lambda *given: seen.append(1))
    with torch.no_grad(), packed(model), fused(model):
        steps(model)
    assert len(seen) == 5


def test_who_records_attention_sees_every_map():
    model = make("llama")
    with torch.no_grad(), packed(model), fused(model), recording() as seen:
        steps(model)
    assert len(seen.maps) == 5 * 3


def test_padding_gradients_and_training_go_the_plain_way(monkeypatch):
    model, calls = make("llama"), Calls(monkeypatch)
    with fused(model):
        model.extend(tokens(1, 2), model.begin(capacity=4)).sum().backward()
        with torch.no_grad():
            model.extend(tokens(2, 2), model.begin(capacity=4), keep=torch.tensor([[False, True], [True, True]]))
            model.features(tokens(1, 2), cache=model.begin(capacity=4), until=1)
            model.train()
            model.extend(tokens(1, 2), model.begin(capacity=4))
    assert calls.count == 0 and model.stack.blocks[0].attention.q.weight.grad is not None


def test_weights_that_changed_between_two_uses_are_the_new_ones():
    model = make("qwen2")
    with torch.no_grad():
        for _ in range(2):
            with packed(model), fused(model):
                found = steps(model)
            assert all(torch.allclose(*pair, atol=1e-4) for pair in zip(found, steps(model), strict=True))
            for parameter in model.parameters():
                parameter.mul_(1.1)


def test_other_parts_are_left_alone():
    class Doubled(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return 2 * self.inner(x)

    model = make("llama")
    model.stack.blocks[2].feed_forward.up = Doubled(model.stack.blocks[2].feed_forward.up)  # as an adapter would
    with torch.no_grad():
        expected = steps(model)
        with packed(model), fused(model):
            assert model.stack.steps is None
            found = steps(model)
    assert all(torch.allclose(*pair, atol=1e-4) for pair in zip(found, expected, strict=True))


def test_an_encoder_has_no_such_steps():
    stack = Stack(StackConfig(dim=16, layers=1, heads=2, hidden=16))
    with fused(stack):
        assert stack.steps is None


def translator(form):
    torch.manual_seed(0)
    model = Transformer(TransformerSizes(form=form, dim=16, heads=2, hidden=24, length=20).config(VOCAB))
    for each, parameter in model.named_parameters():
        nn.init.normal_(parameter, 1.0 if "norm" in each and each.endswith("weight") else 0.0, 0.3)
    return model.eval()


def written(model, keep=None):
    """Logits along the way: two sentences, the first step of one row each, then two hypotheses of each."""
    cache, text, found = model.begin(tokens(2, 7), keep, capacity=12), tokens(4, 8), []
    found.append(model.extend(text[:2, :3], cache))
    found.append(model.extend(text[:2, 3:4], cache))
    cache.reorder(torch.tensor([1, 0, 0, 1]).sort().values)
    found.append(model.extend(text[:, 4:5], cache))
    cache.reorder_memory(torch.tensor([1]))
    cache.reorder(torch.tensor([3, 2]))
    found.append(model.extend(text[:2, 5:7], cache))
    return found


@pytest.mark.parametrize("form", ["original", "bart", "modern", "t5"])
def test_a_memory_is_read_as_the_plain_way_does(form, monkeypatch):
    model, calls = translator(form), Calls(monkeypatch)
    keep = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    with torch.no_grad():
        expected, padded = written(model), written(model, keep)
        with packed(model), fused(model):
            for one, other in zip(written(model), expected, strict=True):
                torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
            # the first step projects the memory
            assert calls.count == (0 if form == "t5" else 3 * 3)
            for one, other in zip(written(model, keep), padded, strict=True):
                torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert calls.count == (0 if form == "t5" else 3 * 3)  # padding goes the plain way


def test_without_numba_everything_is_there(monkeypatch):
    model = make("llama", "int8")
    with torch.no_grad():
        found = steps(model)
        monkeypatch.setattr(matrix, "load_loops", lambda: None)
        monkeypatch.setattr("formers.blocks.fused.load_loops", lambda: None)
        with packed(model), fused(model):
            assert model.stack.steps is None
            for one, other in zip(steps(model), found, strict=True):
                torch.testing.assert_close(one, other, atol=0.3, rtol=0.05)


def test_the_number_of_threads_stays():
    code = """if True:
        import torch
        torch.set_num_threads(1)
        from formers.kernels.compiler import load_loops
        from formers.kernels.weight import quantise
        layer = torch.nn.Linear(16, 16)
        quantise(layer)
        with torch.no_grad():
            layer(torch.ones(1, 16))
        print(torch.get_num_threads(), load_loops.cache_info().currsize)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1 1\n"  # the loops were there, and left the number alone


def test_who_waits_for_the_compiler_is_told(monkeypatch, caplog):
    loops = load_loops()
    monkeypatch.setattr(loops, "PATIENCE", 0.0)
    for _ in range(2):
        with loops.using(1, "a test"):
            time.sleep(0.2)
    assert [record.message for record in caplog.records] == ["compiling loops for this processor, once (a test)"]
