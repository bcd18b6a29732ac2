"""Learning some of a model's own weights: its biases, or what comes last."""

from __future__ import annotations

import pytest
import torch
from adapter_toy import language

from formers.adapters.bitfit import learn_biases, learn_last, learning, share
from formers.errors import ConfigError
from formers.models.transformer import Transformer
from formers.systems.sizes import TransformerSizes


def test_biases_learn_and_nothing_else():
    model = language()
    names = learn_biases(model)
    assert set(names) == set(learning(model)) == {n for n, _ in model.named_parameters() if n.endswith("bias")}
    some, every = share(model)
    assert some == sum(model.get_parameter(name).numel() for name in names) and some < every / 10
    model(torch.zeros(1, 2, dtype=torch.long)).sum().backward()
    assert all((weight.grad is not None) == (name in names) for name, weight in model.named_parameters())


def test_biases_of_some_parts_and_gains_of_norms():
    # the two that matter most in the paper: queries, and the inner layer of the feed-forward
    names = learn_biases(language(), targets=["q", "up"])
    assert names == [f"stack.blocks.{i}.{part}.bias" for i in (0, 1) for part in ("attention.q", "feed_forward.up")]
    with_gains = learn_biases(language(), norms=True)
    assert {"stack.norm.weight", "stack.norm.bias", "stack.blocks.1.norm_attention.weight"} <= set(with_gains)
    assert learn_biases(language("llama"), norms=True) == [
        n for n, _ in language("llama").named_parameters() if "norm" in n
    ]
    with pytest.raises(ConfigError, match=r"has no biases, so BitFit has nothing to learn; .* let the norms learn"):
        learn_biases(language("llama"))
    with pytest.raises(ConfigError, match="has no biases in qq"):
        learn_biases(language(), targets=["qq"])


def test_what_comes_last():
    assert learn_last(language("llama", tied=False)) == ["head.weight"]
    tied = learn_last(language("llama"))
    assert {name.rpartition(".blocks.")[0] or name for name in tied} == {"stack", "stack.norm.weight"}
    assert all(name.startswith("stack.blocks.1.") for name in tied if "blocks" in name)
    both = Transformer(TransformerSizes(dim=16, heads=2, hidden=24).config(20))
    assert all(name.startswith(("decoder.blocks.2.", "decoder.norm.")) for name in learn_last(both))
    assert learn_last(language(), ["stack.norm"]) == ["stack.norm.weight", "stack.norm.bias"]
    with pytest.raises(ConfigError, match="mean no part of this model"):
        learn_last(language(), ["nothing"])
