"""Regular expressions of adapters: what they match, and that they end."""

import pytest

from formers.errors import CheckpointError
from formers.pretrained.peft import patterns
from formers.pretrained.peft.patterns import matches, per_module

NAMES = ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj", "lm_head", "model.layers.10.mlp.up_proj"]


def test_the_whole_of_a_name_is_matched():
    queries = r".*\.[01]\.self_attn\.(q|v)_proj"
    hits = matches([queries, "lm_head", "q_proj"], NAMES, "it")
    assert hits == {queries: set(NAMES[:2]), "lm_head": {"lm_head"}, "q_proj": set()}


def test_the_first_pattern_that_the_end_of_a_name_matches():
    values = {"layers.1.self_attn.q_proj": 1, "q_proj": 2, r"layers\.\d+\.mlp\..*": 3}
    assert per_module(values, 9, NAMES, "it") == dict(zip(NAMES, (2, 1, 9, 3), strict=True))
    assert per_module(None, 9, NAMES, "it") == dict.fromkeys(NAMES, 9)


@pytest.mark.parametrize("pattern", [r"(\w+\.?)+!", r"(.*.*)*!", r"(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)!"])
def test_one_that_does_not_end_is_refused(pattern, monkeypatch):
    monkeypatch.setattr(patterns, "SECONDS", 1)
    names = [f"{name}_{'x' * 60}" for name in NAMES]  # for which it would run for years on any machine
    with pytest.raises(CheckpointError, match=r"it: the regular expressions .* take more than 1 seconds for 4 names"):
        matches([pattern], names, "it")


@pytest.mark.parametrize("pattern", ["(", "*", "(" * 9000, "a" * 10_001, "a{99999999999}", r"\1"])
def test_what_is_none(pattern):
    with pytest.raises(CheckpointError, match="is no regular expression of modules") as fault:
        matches([pattern], NAMES, "it")
    assert len(str(fault.value)) < 300
