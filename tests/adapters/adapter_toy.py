"""A small language model with every weight random, and an adapter that looks trained."""

from __future__ import annotations

from dataclasses import replace

import torch

from formers.adapters.lora import adapters
from formers.models.causal import FORMS, CausalLM

TOKENS = torch.randint(0, 20, (3, 9), generator=torch.Generator().manual_seed(5))


def language(form="gpt2", **changes):
    stack = replace(FORMS[form].stack, dim=16, layers=2, heads=2, hidden=24)
    torch.manual_seed(0)
    return randomise(CausalLM(replace(FORMS[form], stack=stack, vocab=20, length=16, **changes))).eval()


def randomise(model):
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape) * 0.3)
    return model


def learned(model, name="default", seed=1):
    """As after training: no part of the adapter is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in adapters(model)[name].values():
            part.a.copy_(torch.randn(part.a.shape, generator=generator) * 0.2)
            part.b.copy_(torch.randn(part.b.shape, generator=generator) * 0.3)
    return model


def run(model):
    with torch.no_grad():
        return model(TOKENS)


def state(model):
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def same(a, b):
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)
