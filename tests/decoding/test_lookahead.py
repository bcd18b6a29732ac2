"""Guessing ahead where a text repeats itself: the same text, in fewer passes."""

from dataclasses import replace

import pytest
import torch

from formers.decoding import Greedy, Sample, generate
from formers.decoding.filters import no_repeat_ngram, repetition_penalty
from formers.decoding.lookahead import Lookahead
from formers.models.causal import FORMS, CausalLM
from formers.models.transformer import Transformer
from formers.systems.sizes import TransformerSizes

VOCAB = 12  # few tokens: a random model soon repeats itself


@pytest.fixture(params=["gpt2", "llama"])
def model(request):
    torch.manual_seed(3)
    form = FORMS[request.param]
    stack = replace(form.stack, dim=16, layers=2, heads=2, hidden=32)
    model = CausalLM(replace(form, stack=stack, vocab=VOCAB, length=64)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


class Counted:
    """A model that knows how often it was asked."""

    def __init__(self, model):
        self.model, self.calls = model, 0

    def extend(self, tokens, cache, *, keep=None):
        self.calls += 1
        return self.model.extend(tokens, cache, keep=keep)

    def extend_all(self, tokens, cache):
        self.calls += 1
        return self.model.extend_all(tokens, cache)


def written(model, strategy, ahead, *, filters=(), limit=40, stop=()):
    counted, cache = Counted(model), model.begin(capacity=3 + limit - 1)
    prompt = torch.tensor([[1, 2, 3]])
    lengths, found = [], None
    for step in generate(counted, prompt, cache, strategy, stop=stop, limit=limit, filters=filters, ahead=ahead):
        lengths.append(cache.length)
        found = step.done.get(0, [found])[0]
    return found, counted.calls, lengths


@pytest.mark.parametrize("strategy", [Greedy(), Sample(seed=5), Sample(seed=6, temperature=0.3)], ids=str)
@pytest.mark.parametrize(
    "filters", [(), (repetition_penalty(1.3),), (no_repeat_ngram(3),)], ids=["none", "penalty", "ngram"]
)
def test_the_text_and_its_scores_stay_the_same(model, strategy, filters):
    plain, _, before = written(model, strategy, 0, filters=filters)
    for ahead in (1, 3, 7):
        found, _, after = written(model, strategy, ahead, filters=filters)
        assert found.tokens == plain.tokens
        torch.testing.assert_close(found.scores, plain.scores, atol=1e-4, rtol=1e-4)
        assert after == before  # at every step the cache holds what was decided on, and nothing else


def test_a_text_that_repeats_itself_takes_fewer_passes(model):
    plain, slow, _ = written(model, Greedy(), 0)
    assert slow == len(plain.tokens) == 40
    assert len(set(plain.tokens[10:])) < VOCAB  # it does repeat itself
    _, fast, _ = written(model, Greedy(), 7)
    assert fast < 0.7 * slow


def test_a_stop_token_ends_a_text_within_a_guess(model):
    whole, _, _ = written(model, Greedy(), 0)
    stop = whole.tokens[17]
    first = whole.tokens.index(stop)
    for ahead in (0, 7):
        found, _, _ = written(model, Greedy(), ahead, stop=(stop,))
        assert found.tokens == whole.tokens[:first] and found.finished


def test_a_translation_is_guessed_ahead_too():
    torch.manual_seed(4)
    model = Transformer(TransformerSizes(dim=16, encoder_layers=1, decoder_layers=2, heads=2, hidden=32).config(VOCAB))
    for parameter in model.eval().parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    texts = []
    for ahead in (0, 7):
        with torch.no_grad():
            cache = model.begin(torch.tensor([[4, 5, 6, 7]]), capacity=30)
        steps = list(generate(model, torch.tensor([[0]]), cache, Greedy(), stop=(), limit=30, ahead=ahead))
        texts.append(steps[-1].done[0][0].tokens)
    assert texts[0] == texts[1]


def test_what_was_read_before_is_guessed_from():
    ahead = Lookahead(None, None, 7, before=[5, 6, 7, 8, 9, 5, 6])
    ahead.size = 7
    assert ahead.draft(100) == [7, 8, 9, 5, 6]
    assert ahead.draft(2) == [7, 8]
    ahead.note([1])
    assert ahead.draft(100) == []  # nothing ended like this before


def test_several_texts_are_not_guessed(model):
    counted, cache = Counted(model), model.begin(capacity=20)
    list(generate(counted, torch.tensor([[1, 2], [3, 4]]), cache, Greedy(), stop=(), limit=15, ahead=7))
    assert counted.calls == 15
