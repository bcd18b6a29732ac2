"""The batches of every built-in system are pure: no global generator is asked, and none is moved."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
import torch

from formers import registry
from formers.recipe import load_recipe
from formers.training.seeding import seed_from

SMALL = ["model.dim=16", "model.heads=2", "model.hidden=16"]
RECIPES = {
    "translation": ["data.count=200", "data.held_out=20", "rows.vocab=300"],
    "language": ["data.count=60", "rows.vocab=300"],
    "language stream": ["data.count=60", "rows.vocab=300", "rows.packing=stream"],
    "language/instruct": ["data.count=100", "data.held_out=10", "rows.vocab=300"],
    "language/preferences": ["data.count=60", "data.held_out=10", "rows.vocab=300", "model.start=", "task.beta=0.1"],
    "masked": ["data.count=40", "rows.vocab=300"],
    "masked words": ["data.count=40", "rows.vocab=300", "rows.whole_word=true", "rows.next_sentence=false"],
    "classification": ["data.count=100", "data.held_out=20", "rows.vocab=100"],
    "tagging": ["data.count=100", "data.held_out=20", "rows.vocab=200"],
    "answering": ["data.count=60", "data.held_out=20", "rows.vocab=200"],
    "embedding": ["data.count=100", "data.held_out=20", "rows.vocab=200"],
}


def tensors(batch) -> list[torch.Tensor | None]:
    """All tensors of a batch, whatever dataclasses and tuples they lie in."""
    if batch is None or isinstance(batch, torch.Tensor):
        return [batch]
    parts = (
        [getattr(batch, field.name) for field in dataclasses.fields(batch)]
        if dataclasses.is_dataclass(batch)
        else batch
    )
    return [] if isinstance(batch, int) else [value for part in parts for value in tensors(part)]


def states() -> tuple:
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


@pytest.mark.parametrize("name", RECIPES)
def test_a_batch_is_a_function_of_its_rows(tmp_path, name):
    recipe = load_recipe(name.split()[0], [*SMALL, *RECIPES[name]])
    batches = registry.prepare(recipe.system, recipe.sections, tmp_path).batches
    plan = [batches.epoch(0)[0], batches.epoch(1)[-1]]
    seed_from(1)
    first = [tensors(batches.collate(rows)) for rows in plan]
    seed_from(2)
    before = states()
    again = [tensors(batches.collate(rows)) for rows in reversed(plan)][::-1]
    assert states() == before
    for one, other in zip(first, again, strict=True):
        assert len(one) == len(other) >= 2
        for a, b in zip(one, other, strict=True):
            assert (a is None and b is None) or torch.equal(a, b)
