"""Prompts of different lengths in one batch: what each says does not depend on its padding or its batch-mates."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from formers.decoding import Beam, Greedy, Sample, complete
from formers.decoding.filters import minimum_length, no_repeat_ngram, repetition_penalty
from formers.decoding.search import generate, pad_left
from formers.errors import ConfigError
from tests.systems.language.toy import FORMS, network

VOCAB, STOPS, PAD, LENGTH = 31, (3, 11, 17, 25), 5, 18
PROMPTS = [[7, 8, 9, 10, 11, 12, 13, 14, 15, 9, 8], [7], [20, 21, 5], [9, 8, 7, 6, 5, 4], [30] * 5, [8, 9]]
MODELS = {form: network(form, vocab=VOCAB, length=LENGTH, seed=4) for form in FORMS}
FILTERS = [repetition_penalty(1.5), no_repeat_ngram(2), minimum_length(9, STOPS)]


def padded(prompts, side, extra=1):
    """`extra`: columns in which no row has a token."""
    width = max(map(len, prompts)) + extra
    rows, keep = torch.full((len(prompts), width), PAD), torch.zeros(len(prompts), width, dtype=torch.bool)
    for i, prompt in enumerate(prompts):
        place = slice(width - len(prompt), width) if side == "left" else slice(len(prompt))
        rows[i, place], keep[i, place] = torch.tensor(prompt), True
    return rows, keep


def alone(model, prompts, strategy, filters=(), most=12):
    found = []
    for i, prompt in enumerate(prompts):
        own = strategy if not isinstance(strategy, Sample) else Sample(0.9, samples=2, seed=(strategy.seed[i],))
        limit = min(most, LENGTH + 1 - len(prompt))
        cache = model.begin(capacity=len(prompt) + limit)
        found += complete(model, torch.tensor([prompt]), cache, own, stop=STOPS, limit=limit, filters=filters)
    return found


def together(model, prompts, strategy, side, filters=(), most=12):
    tokens, keep = padded(prompts, side)
    limits = [min(most, LENGTH + 1 - len(prompt)) for prompt in prompts]
    cache = model.begin(capacity=tokens.shape[1] + max(limits))
    return complete(model, tokens, cache, strategy, stop=STOPS, limit=limits, filters=filters, keep=keep, pad=PAD)


def strategies(count):
    return [Greedy(), Sample(0.9, samples=2, seed=tuple(range(count))), Beam(3, nbest=2)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("filters", [(), FILTERS], ids=["free", "filtered"])
@pytest.mark.parametrize("strategy", strategies(len(PROMPTS)), ids=["greedy", "sample", "beam"])
def test_a_batch_says_what_its_prompts_say_alone(form, side, filters, strategy):
    found = together(MODELS[form], PROMPTS, strategy, side, filters)
    expected = alone(MODELS[form], PROMPTS, strategy, filters)
    assert [[one.tokens for one in each] for each in found] == [[one.tokens for one in each] for each in expected]
    for many, few in zip(found, expected, strict=True):
        for one, other in zip(many, few, strict=True):
            assert one.scores == pytest.approx(other.scores, abs=1e-5) and one.finished == other.finished
    assert len({len(each[0].tokens) for each in found}) > 1  # they leave the batch at different times


@settings(max_examples=20)
@given(
    some.lists(some.lists(some.integers(0, VOCAB - 1), min_size=1, max_size=LENGTH), min_size=1, max_size=5),
    some.sampled_from(FORMS),
    some.sampled_from(["left", "right"]),
    some.integers(0, 2),
)
def test_any_prompts(prompts, form, side, kind):
    strategy = strategies(len(prompts))[kind]
    found = together(MODELS[form], prompts, strategy, side)
    expected = alone(MODELS[form], prompts, strategy)
    assert [[one.tokens for one in each] for each in found] == [[one.tokens for one in each] for each in expected]


def test_pad_left_keeps_the_order():
    tokens, keep = padded([[1, 2, 3], [4]], "right")
    tokens, keep = pad_left(tokens, keep)
    assert tokens.tolist() == [[PAD, 1, 2, 3], [PAD, PAD, PAD, 4]] and keep.sum(1).tolist() == [3, 1]
    assert pad_left(torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool))[1] is None


def test_faults_are_told_at_once():
    model = MODELS["rotary"]
    tokens, keep = padded([[1, 2], [3]], "left")
    for wrong in (
        {"limit": [3]},
        {"limit": [0, 2]},
        {"limit": 3, "keep": keep & False},
        {"limit": 3, "until": lambda *_: False, "strategy": Beam(2)},
    ):
        options = {"keep": keep, "strategy": Greedy(), **wrong}
        with pytest.raises(ConfigError, match=r"got .*expected"):
            complete(model, tokens, model.begin(capacity=20), stop=STOPS, **options)


def test_until_ends_a_text_with_its_token():
    model = MODELS["rotary"]
    whole = alone(model, PROMPTS, Greedy())
    tokens, keep = padded(PROMPTS, "left")
    asked = []

    def until(place, sample, token):
        asked.append((place, sample, token))
        return sum(each[0] == place for each in asked) == 2

    found = complete(model, tokens, model.begin(capacity=40), Greedy(), stop=STOPS, limit=12, keep=keep, until=until)
    for (one,), (other,) in zip(found, whole, strict=True):
        assert one.tokens == other.tokens[:2] and (not one.finished or len(other.tokens) < 2)
    assert all(token not in STOPS for _, _, token in asked)


def test_filters_see_what_the_cache_has_read():
    model, prompt = MODELS["rotary"], torch.tensor([PROMPTS[0]])

    def texts(cache, new, before):
        steps = generate(model, new, cache, Greedy(), stop=STOPS, limit=6, filters=FILTERS, before=before)
        return [one.tokens for step in steps for found in step.done.values() for one in found]

    whole = texts(model.begin(capacity=30), prompt, None)
    cache = model.begin(capacity=30)
    with torch.no_grad():
        model.extend(prompt[:, :7], cache)
    assert texts(cache, prompt[:, 7:], prompt[:, :7]) == whole
