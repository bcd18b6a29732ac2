"""What must hold for every model with a cache: padding on either side and the split of the steps change nothing."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from formers.blocks.stack import StackConfig
from formers.models import causal, transformer
from formers.models.causal import CausalConfig, CausalLM
from formers.models.transformer import Transformer, TransformerConfig

VOCAB, LENGTH, WIDTH, SOURCE = 23, 16, 9, 7
CAUSAL = {form: (config.stack, config) for form, config in causal.FORMS.items()}
WINDOWS = {"norm": "rms", "gated": True, "qk_norm": True, "scale": 0.5}
FORMS = [*(f"decoder {form}" for form in [*CAUSAL, "windows", "sandwich"]), *transformer.FORMS]


def make(form):
    """A tiny model of a form whose every parameter is random, norms around 1."""
    torch.manual_seed(0)
    sizes = {"dim": 16, "layers": 2, "heads": 4, "hidden": 24}
    kind, _, name = form.rpartition(" ")
    if kind and name in CAUSAL:
        stack, config = CAUSAL[name]
        small = {"stack": StackConfig(**vars(stack) | sizes), "vocab": VOCAB, "length": LENGTH}
        model = CausalLM(CausalConfig(**vars(config) | small))
    elif kind:
        block = {"block": "sandwich", "local_rotary_base": 50.0} if name == "sandwich" else {"positions": "learned"}
        stack = StackConfig(**sizes, **WINDOWS)
        model = CausalLM(CausalConfig(stack=stack, vocab=VOCAB, length=LENGTH, windows=(3, 0), **block))
    else:
        published = transformer.FORMS[name]
        stack = StackConfig(**sizes, **published.stack)
        rest = {"positions": published.positions, "length": LENGTH, **published.rest}
        model = Transformer(TransformerConfig(encoder=stack, decoder=stack, vocab=VOCAB, **rest))
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, 1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.3)
    return model.eval()


MODELS = {form: make(form) for form in FORMS}


def padded(lengths, sides, width):
    """Random rows of these lengths, and which of their places are real."""
    places = torch.arange(width)
    keep = torch.stack(
        [places >= width - length if left else places < length for length, left in zip(lengths, sides, strict=True)]
    )
    return torch.randint(VOCAB, keep.shape), keep


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


rows = st.lists(st.tuples(st.integers(1, WIDTH), st.booleans(), st.integers(1, SOURCE)), min_size=1)


@pytest.mark.parametrize("form", FORMS)
@given(rows=rows.filter(lambda rows: len(rows) < 4), cuts=st.sets(st.integers(1, WIDTH - 1)))
@settings(max_examples=8)
@torch.no_grad()
def test_padding_and_steps_change_nothing(form, rows, cuts):
    """Each row of a padded batch, whole and in steps, gives what it gives alone; sources are padded on the right."""
    model = MODELS[form]
    lengths, sides, sources = zip(*rows, strict=True)
    tokens, keep = padded(lengths, sides, WIDTH)
    source, source_keep = padded(sources, [False] * len(rows), SOURCE)
    if isinstance(model, Transformer):
        whole = model(source, tokens, source_keep=source_keep, target_keep=keep)
        alone = [model(source[i : i + 1, source_keep[i]], tokens[i : i + 1, keep[i]])[0] for i in range(len(rows))]
        caches = [model.begin(source, source_keep, capacity=WIDTH) for _ in range(2)]
    else:
        whole = model(tokens, keep=keep)
        alone = [model(tokens[i : i + 1, keep[i]])[0] for i in range(len(rows))]
        caches = [model.begin(capacity=WIDTH) for _ in range(2)]
    for i, expected in enumerate(alone):
        close(whole[i, keep[i]], expected)
    for start, end in pairwise([0, *sorted(cuts), WIDTH]):
        logits = model.extend(tokens[:, start:end], caches[0], keep=keep[:, start:end])
        real = keep[:, end - 1]
        close(logits[real], whole[real, end - 1])
    if all(sides):  # what follows a padded prompt is real in every row
        model.extend(tokens[:, :-2], caches[1], keep=keep[:, :-2])
        if keep[:, -2:].all():
            close(model.extend_all(tokens[:, -2:], caches[1]), whole[:, -2:])


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_padding_does_not_count_as_length(form):
    """As many real tokens as there are positions fit beside any padding; one more is refused if they are learned."""
    model = MODELS[form]
    tokens, keep = padded([LENGTH, 3], [True, False], LENGTH + 4)
    more = keep.clone()
    more[0, 3] = True

    def logits(keep):
        if isinstance(model, Transformer):
            return model(tokens[:, :5], tokens, target_keep=keep)
        return model(tokens, keep=keep)

    assert logits(keep)[keep].isfinite().all()
    if model.config.positions == "learned":
        with pytest.raises(ValueError, match="sequence of 17 positions, but this model has learned 16"):
            logits(more)
