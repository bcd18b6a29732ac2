"""The weight table engine: both directions, and everything that it refuses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from formers.errors import CheckpointError
from formers.pretrained.mapping import ROW, TRANSPOSED, Op, Rule, constant, dropped, tied, to_ours, to_theirs

# a 1x1 convolution <-> a Linear
POINTWISE = Op(
    "pointwise", lambda x: x.flatten(1) if x.ndim == 4 else x, lambda x: x[..., None, None] if x.ndim == 2 else x
)
TABLE = [
    ("wte.weight", "embedding.weight"),
    ("h.{i}.ln.{p}", "blocks.{i}.norm.{p}"),
    ("h.{i}.attn.{p}", "blocks.{i}.attention.[q,k,v].{p}", TRANSPOSED),
    ("down.{a}.parts.{b}.to.{c}.conv.{p}", "unet.{a}.{b}.inner.{c}.linear.{p}", POINTWISE),
    ("bias_row", "bias", ROW),
]
INDEX = st.integers(0, 30)
SEGMENT = st.sampled_from(["weight", "bias"])
NAMES = st.one_of(
    st.just("wte.weight"),
    st.just("bias_row"),
    st.builds("h.{}.ln.{}".format, INDEX, SEGMENT),
    st.builds("h.{}.attn.{}".format, INDEX, SEGMENT),
    st.builds("down.{}.parts.{}.to.{}.conv.{}".format, INDEX, INDEX, INDEX, SEGMENT),
)


def tensor_for(name):
    if name == "bias_row":
        return torch.randn(1, 5)
    if name.endswith(".bias"):
        return torch.randn(6)
    if "attn" in name:
        return torch.randn(4, 6)  # (in, out), and out falls into three parts
    return torch.randn(3, 2, 1, 1) if "conv" in name else torch.randn(3, 2)


@given(st.lists(NAMES, unique=True, max_size=12))
def test_there_and_back(names):
    stored = {name: tensor_for(name) for name in names}
    ours = to_ours(stored, TABLE).state
    back = to_theirs(ours, TABLE)
    assert back.keys() == stored.keys()
    assert all(torch.equal(back[name], stored[name]) for name in names)


def test_parts_are_equal_slices_with_their_own_memory():
    stored = torch.arange(24.0).view(4, 6)
    state = to_ours({"h.3.attn.weight": stored}, TABLE).state
    assert list(state) == [f"blocks.3.attention.{x}.weight" for x in "qkv"]
    assert torch.equal(torch.cat(list(state.values())), stored.T)
    assert len({each.untyped_storage().data_ptr() for each in state.values()}) == 3


def test_everything_that_does_not_fit_is_told_at_once():
    table = [*TABLE, ("h.{i}.attn.weight", "other.{i}"), tied("embedding.weight", "lm_head.weight")]
    stored = {f"extra.{i}": torch.zeros(1) for i in range(10)}
    stored |= {"h.0.attn.weight": torch.zeros(2, 3), "wte.weight": torch.zeros(3, 2)}
    stored |= {"h.1.attn.bias": torch.zeros(4), "lm_head.weight": torch.ones(3, 2)}
    stored |= {"bias_row": torch.zeros(1, 4)}
    shapes = {"embedding.weight": (3, 2), "bias": (5,), "blocks.0.norm.weight": (2,)}
    with pytest.raises(CheckpointError) as told:
        to_ours(stored, table, shapes, what="folder X")
    message = str(told.value)
    assert message.startswith("folder X does not fit: ") and "\n" not in message
    assert "not known to this model (10): + extra.0, + extra.1" in message and "and 2 more" in message
    assert "missing (1): - h.0.ln.weight" in message
    assert "matched by two rules (1): + h.0.attn.weight" in message
    assert "wrong shape (1): bias_row (4,) for bias (5,)" in message
    assert "tied but different (1)" in message and "lm_head.weight" in message
    assert "cannot be split into 3 equal parts (1): h.1.attn.bias (4,)" in message


def test_a_weight_that_the_model_has_no_place_for():
    with pytest.raises(CheckpointError, match=r"not known to this model \(1\): \+ h\.7\.ln\.weight"):
        to_ours({"h.7.ln.weight": torch.zeros(2)}, TABLE, {})


def test_any_of_the_tied_names_suffices_and_the_first_is_written():
    table, value = [tied("e", "shared", "head")], torch.randn(2, 2)
    for names in (["shared"], ["head"], ["head", "shared"]):
        assert torch.equal(to_ours({name: value for name in names}, table, {"e": (2, 2)}).state["e"], value)
    assert list(to_theirs({"e": value}, table)) == ["shared"]
    assert list(to_theirs({"e": value}, [tied("e", "shared", "head", every=True)])) == ["shared", "head"]


def test_a_constant_is_compared_and_not_written():
    table = [constant("positions", lambda stored: torch.arange(float(len(stored))))]
    assert to_ours({"positions": torch.arange(4.0)}, table, {}).state == {}
    assert to_ours({"positions": torch.arange(4.0).half()}, table, {}).state == {}
    with pytest.raises(CheckpointError, match=r"stored but computed differently here \(1\): positions"):
        to_ours({"positions": torch.arange(4.0) + 1}, table, {})


def test_dropped_and_zeros():
    table = [*dropped("mask.{i}"), Rule(("row",), "bias", ROW, zeros=True)]
    absent = to_ours({"mask.0": torch.ones(1)}, table, {"bias": (3,)}).state
    stored = to_ours({"row": torch.ones(1, 3)}, table, {"bias": (3,)}).state
    assert torch.equal(absent["bias"], torch.zeros(3)) and torch.equal(stored["bias"], torch.ones(3))
    assert to_theirs({"bias": torch.ones(3)}, table)["row"].shape == (1, 3)


def test_declared_prefixes_are_tried_and_reported():
    plain = {"wte.weight": torch.zeros(3, 2), "h.0.ln.weight": torch.zeros(2)}
    assert to_ours(plain, TABLE, prefixes=["-transformer.", "+x."]).prefix == ""
    outer = {f"transformer.{name}": value for name, value in plain.items()}
    loaded = to_ours(outer, TABLE, prefixes=["-transformer."])
    assert loaded.prefix == "-transformer." and "blocks.0.norm.weight" in loaded.state
    longer = [("model.wte.weight", "embedding.weight"), ("model.h.{i}.ln.{p}", "norm.{i}.{p}")]
    assert to_ours(plain, longer, prefixes=["+model."]).prefix == "+model."
    with pytest.raises(CheckpointError, match="not known"):
        to_ours(outer, TABLE)


def test_ours_without_a_row_is_refused():
    with pytest.raises(CheckpointError, match=r"has no rule \(1\): \+ strange"):
        to_theirs({"strange": torch.zeros(1)}, TABLE)
    with pytest.raises(CheckpointError, match=r"missing \(1\): - blocks\.0\.attention\.v\.weight"):
        to_theirs({f"blocks.0.attention.{x}.weight": torch.zeros(2, 2) for x in "qk"}, TABLE)
