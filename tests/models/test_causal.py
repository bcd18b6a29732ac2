"""The decoder language model: its contract, sizes, causality, padding, packed documents, windows and the cache."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from formers.blocks.fused import fused
from formers.blocks.position import Stretch
from formers.blocks.stack import StackConfig
from formers.errors import ConfigError
from formers.models.causal import FORMS, PRESETS, CausalConfig, CausalLM, preset
from formers.systems.sizes import CausalSizes

VOCAB, LENGTH = 23, 24
LLAMA = {"norm": "rms", "activation": "silu", "gated": True, "bias": "", "feed_forward_bias": False}
MODELS = {
    "gpt": ({"norm_first": False}, {"positions": "learned", "final_norm": False}),
    "gpt2": ({}, {"positions": "learned", "tied": False}),
    "neo": ({"bias": "o", "scale": 1.0}, {"positions": "learned", "windows": (0, 3, 0)}),
    "llama": (LLAMA | {"kv_heads": 2}, {"rotary_stretch": Stretch(4.0, 8)}),
    "mistral": (LLAMA | {"kv_heads": 1, "head_dim": 6}, {"windows": (4, 4, 4)}),
    "qwen3": (LLAMA | {"qk_norm": True}, {"tied": False}),
    "gemma": (
        LLAMA | {"qk_norm": True, "activation": "gelu_tanh", "scale": 0.5},
        {"block": "sandwich", "scale_embedding": True, "windows": (3, 0, 3), "local_rotary_base": 50.0},
    ),
}


def make(name, **changes):
    """A tiny model whose every parameter is random, norms around 1."""
    torch.manual_seed(0)
    stack, config = MODELS[name]
    sizes = StackConfig(**{"dim": 16, "layers": 3, "heads": 4, "hidden": 24, **stack})
    model = CausalLM(CausalConfig(**{"stack": sizes, "vocab": VOCAB, "length": LENGTH, **config, **changes}))
    for each, parameter in model.named_parameters():
        nn.init.normal_(parameter, 1.0 if "norm" in each and each.endswith("weight") else 0.0, 0.3)
    return model.eval()


def tokens(*shape):
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(3))


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("gpt", 116_534_784),
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
        ("gpt3-175b", 174_604_259_328),
    ],
)
def test_published_sizes(name, count):
    with torch.device("meta"):
        assert sum(each.numel() for each in CausalLM(preset(name)).parameters()) == count


def test_every_preset_can_be_made_and_a_wrong_name_is_told():
    for name in PRESETS:
        config = preset(name)
        assert config.stack.dim % config.stack.heads == 0 and config.stack.hidden == 4 * config.stack.dim
    with pytest.raises(ConfigError, match=r'no size "gpt2-xxl"; did you mean "gpt2-xl"'):
        preset("gpt2-xxl")


@pytest.mark.parametrize("form", FORMS)
def test_the_forward_contract(form):
    sizes = CausalSizes(form=form, dim=16, layers=2, heads=4, kv_heads=2, hidden=24, length=LENGTH)
    model = CausalLM(sizes.config(VOCAB))
    logits = model(tokens(3, 7), keep=torch.ones(3, 7, dtype=torch.bool))
    assert logits.shape == (3, 7, VOCAB) and logits.dtype == torch.float32
    logits.sum().backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in model.parameters())
    assert model.head is None and model.output.weight is model.embedding.weight


@pytest.mark.parametrize(
    "change",
    [{"form": "lama"}, {"dim": 0}, {"dim": 18}, {"form": "llama", "dim": 12}, {"kv_heads": 3}, {"dropout": 1.0}],
)
def test_sizes_that_cannot_be(change):
    with pytest.raises(ConfigError, match=r"model\.") as told:
        CausalSizes(**{"dim": 16, "heads": 4, **change})
    assert "\n" not in str(told.value)


def test_a_new_model_expects_every_token_equally():
    """Small logits at the start: the loss is that of guessing."""
    for form in FORMS:
        model = CausalLM(CausalSizes(form=form).config(1000))
        loss = nn.functional.cross_entropy(
            model(torch.randint(1000, (4, 32))).flatten(0, 1), torch.randint(1000, (128,))
        )
        assert abs(loss.item() - torch.tensor(1000.0).log().item()) < 0.2


@pytest.mark.parametrize("name", MODELS)
def test_no_token_sees_a_later_one(name):
    model, line = make(name), tokens(1, 12)
    before = model(line)
    for at in (1, 5, 11):
        changed = line.clone()
        changed[0, at] = (changed[0, at] + 1) % VOCAB
        after = model(changed)
        close(after[:, :at], before[:, :at])
        assert not torch.allclose(after[:, at], before[:, at], atol=1e-3)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", MODELS)
def test_padding_changes_nothing(name, side):
    model, rows = make(name), [tokens(1, 12), tokens(1, 5) + 1, tokens(1, 1)]
    batch, keep = torch.zeros(3, 12, dtype=torch.long), torch.zeros(3, 12, dtype=torch.bool)
    for i, row in enumerate(rows):
        place = slice(12 - row.shape[1], 12) if side == "left" else slice(row.shape[1])
        batch[i, place], keep[i, place] = row % VOCAB, True
    logits = model(batch, keep=keep)
    assert logits.isfinite().all()
    for i, row in enumerate(rows):
        close(logits[i][keep[i]], model(row % VOCAB)[0])


@pytest.mark.parametrize("name", MODELS)
def test_packed_documents_are_alone(name):
    """One row of several texts gives what each gives in a row of its own: learned positions begin again."""
    model = make(name)
    texts = [tokens(5), tokens(1), tokens(9), tokens(6)]
    packed = torch.cat(texts)[None]
    documents = torch.repeat_interleave(torch.tensor([4, 2, 7, 3]), torch.tensor([5, 1, 9, 6]))[None]
    alone = torch.cat([model(text[None])[0] for text in texts])
    close(model(packed, documents=documents)[0], alone)
    assert not torch.allclose(model(packed)[0, 6:], alone[6:], atol=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_packed_documents_with_padding_behind(name):
    model, line = make(name), tokens(1, 10)
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1, 2, 2]])
    keep = documents < 2
    logits = model(line, keep=keep, documents=documents)
    close(logits[:, :3], model(line[:, :3]))
    close(logits[:, 3:8], model(line[:, 3:8]))


@pytest.mark.parametrize("window", [1, 2, 4])
def test_a_window_counts_the_query_itself(window):
    model = make("llama", windows=(window,) * 3)
    line = tokens(1, 16)
    before = model(line)
    changed = line.clone()
    changed[0, 0] = (changed[0, 0] + 1) % VOCAB
    difference = (model(changed) - before).abs().amax(-1)[0]
    reach = 3 * (window - 1)  # what three layers pass on
    assert (difference[: reach + 1] > 1e-5).all() and (difference[reach + 1 :] < 1e-5).all()


def test_local_layers_turn_by_their_own_base():
    line, model = tokens(1, 12), make("gemma")
    assert model.stack.local_rotary.base == 50.0 and model.stack.rotary.base == 10000.0
    same = make("gemma", local_rotary_base=None)
    assert not torch.allclose(model(line), same(line), atol=1e-3)
    close(make("gemma", local_rotary_base=10000.0)(line), same(line))


@settings(max_examples=40)
@given(name=st.sampled_from(sorted(MODELS)), cuts=st.sets(st.integers(1, 11)), padded=st.booleans())
def test_the_cache_at_any_split(name, cuts, padded):
    model, line = make(name), tokens(2, 12)
    keep = (torch.arange(12) >= torch.tensor([[0], [4]])) if padded else None
    whole, cache = model(line, keep=keep), model.begin(capacity=12)
    edges = [0, *sorted(cuts), 12]
    for start, end in pairwise(edges):
        part = None if keep is None else keep[:, start:end]
        logits = model.extend(line[:, start:end], cache, keep=part)
        real = slice(None) if keep is None else keep[:, end - 1]
        close(logits[real], whole[real, end - 1])
    assert cache.length == 12


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_last_block_computes_only_what_is_asked_for(name):
    model, line, widths = make(name), tokens(2, 9), []
    expected = model.features(line)[:, -1:]
    last = model.stack.blocks[-1].feed_forward
    with last.register_forward_pre_hook(lambda _, given: widths.append(given[0].shape[1])):
        close(model.features(line, last=True), expected)
        cache = model.begin(capacity=9)
        model.extend(line, cache)
    assert widths == [1, 1] and cache.own[-1].length == 9


@pytest.mark.parametrize("name", sorted(MODELS))
def test_vectors_in_place_of_tokens(name):
    """The embeddings of tokens, with those of something else among them, padding, and a cache."""
    model, line = make(name), tokens(2, 9)
    keep = torch.arange(9) >= torch.tensor([[0], [4]])
    vectors = model.embed(line)
    close(model(embedded=vectors), model(line))
    close(model(embedded=vectors, keep=keep)[keep], model(line, keep=keep)[keep])
    picture = torch.cat([vectors[:, :5], torch.randn(2, 2, 16), vectors[:, 5:]], 1)
    whole, cache = model(embedded=picture), model.begin(capacity=11)
    model.features(embedded=picture[:, :7], cache=cache)
    close(model.extend_all(line[:, 5:], cache), whole[:, 7:])
    for wrong, count in (({}, "neither"), ({"tokens": line, "embedded": vectors}, "both")):
        with pytest.raises(ValueError, match=f"got {count}, expected tokens or embedded"):
            model(**wrong)


def test_what_every_layer_gives_is_seen_in_a_step_too():
    model, line, seen, steps = make("gemma"), tokens(1, 6), [], []
    model.features(line, seen=seen)
    cache = model.begin(capacity=6)
    with fused(model), torch.no_grad():
        model.features(line[:, :5], cache=cache, seen=steps)
        model.features(line[:, 5:], cache=cache, seen=steps)
    for whole, start, step in zip(seen, steps[:4], steps[4:], strict=True):
        close(torch.cat([start, step], 1), whole)


def test_recomputing_gives_the_same_gradients():
    model, line = make("gemma").train(), tokens(2, 8)
    model(line).square().mean().backward()
    plain = [each.grad.clone() for each in model.parameters()]
    model.zero_grad()
    model.stack.recompute = True
    model(line).square().mean().backward()
    for each, expected in zip(model.parameters(), plain, strict=True):
        close(each.grad, expected)


def test_learned_positions_end():
    model = make("gpt2")
    with pytest.raises(ValueError, match="sequence of 25 positions, but this model has learned 24"):
        model(tokens(1, 25))


def test_a_wrong_number_of_windows():
    with pytest.raises(ValueError, match="got 2, expected one for each of the 3 layers"):
        make("llama", windows=(1, 2))


def test_dropout_only_in_training():
    config = CausalSizes(dim=16, heads=2, hidden=32, layers=1, dropout=0.5).config(VOCAB)
    model, line = CausalLM(config), tokens(2, 6)
    assert not torch.equal(model(line), model(line))
    assert torch.equal(model.eval()(line), model(line))
