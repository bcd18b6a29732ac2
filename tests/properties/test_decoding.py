"""What must hold for any model: shown on a toy (logits by table) and on a real Transformer."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor

from formers.blocks.cache import Cache
from formers.blocks.stack import StackConfig
from formers.decoding import Beam, Greedy, Sample, complete, generate, score
from formers.decoding.filters import no_repeat_ngram
from formers.errors import ConfigError
from formers.models.transformer import Transformer, TransformerConfig

VOCAB, STOP, START = 23, 0, 1
STRATEGIES = [Greedy(), Sample(seed=3), Sample(temperature=0.7, top_k=9, top_p=0.9, samples=3, seed=4),
              Beam(1), Beam(3, nbest=3), Beam(4, 0.6, "never", 2), Beam(2, 1.5, True, 2)]  # fmt: skip


class Toy:
    """Logits from every token so far and from the sentence's memory; the cache remembers the tokens."""

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn(40, 24, VOCAB, generator=generator) * 0.8
        self.memory_table = torch.randn(24, VOCAB, generator=generator)
        self.memory_table[:, STOP] += 0.7
        self.rows = 0

    def begin(self, source: Tensor, keep: Tensor | None = None, *, capacity: int) -> Cache:
        return Cache(1, capacity, memory=source)

    def extend(self, tokens: Tensor, cache: Cache, *, keep: Tensor | None = None) -> Tensor:
        self.rows += len(tokens)
        assert len(tokens) % len(cache.memory) == 0
        seen = cache.own[0].append(tokens[:, None, :, None], tokens[:, None, :, None])[0][:, 0, :, 0]
        positions = torch.arange(seen.shape[1], 0, -1) % 40
        memory = self.memory_table[cache.memory].sum(1).repeat_interleave(len(tokens) // len(cache.memory), 0)
        return self.table[positions, seen].sum(1) + memory


def real() -> Transformer:
    torch.manual_seed(1)
    stack = StackConfig(dim=16, layers=2, hidden=24, heads=2)
    config = TransformerConfig(encoder=stack, decoder=stack, vocab=VOCAB, tied=False, final_norm=True, logit_bias=True)
    model = Transformer(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    model.logit_bias[STOP] = 4.1
    return model.eval()


@pytest.fixture(params=["toy", "transformer"])
def model(request):
    return Toy() if request.param == "toy" else real().double()  # double: the same in any batch


SOURCE = torch.randint(2, VOCAB, (9, 4), generator=torch.Generator().manual_seed(0))


def run(model, source, strategy, limit=11, filters=(), prompt=None):
    with torch.no_grad():
        prompt = torch.full((len(source), 1), START) if prompt is None else prompt
        cache = model.begin(source, None, capacity=prompt.shape[1] + limit)
    return complete(model, prompt, cache, strategy, stop=[STOP], limit=limit, filters=filters)


def texts(found):
    return [[one.tokens for one in several] for several in found]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_batched_is_one_by_one(model, strategy):
    together = run(model, SOURCE, strategy)
    alone = [run(model, SOURCE[i : i + 1], strategy)[0] for i in range(len(SOURCE))]
    assert texts(together) == texts(alone)
    for many, one in zip(together, alone, strict=True):
        assert [a.score for a in many] == pytest.approx([b.score for b in one], abs=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
@pytest.mark.parametrize("filters", [(), (no_repeat_ngram(2),)], ids=["free", "filtered"])
def test_scores_are_the_models_own(model, strategy, filters):
    for i, several in enumerate(run(model, SOURCE, strategy, filters=filters)):
        for one in several:
            target = torch.tensor([one.tokens + [STOP] * one.finished])
            assert len(one.scores) == target.shape[1]
            with torch.no_grad():
                cache = model.begin(SOURCE[i : i + 1], None, capacity=12)
            own = score(model, torch.tensor([[START]]), target, cache)
            assert one.total == pytest.approx(own.sum().item(), abs=1e-4)
            assert one.scores == pytest.approx(own[0].tolist(), abs=1e-4)


def test_scores_are_those_of_a_full_forward_pass():
    model = real()
    for i, (best, *_) in enumerate(run(model, SOURCE, Beam(4))):
        target = torch.tensor([[START, *best.tokens] + [STOP] * best.finished])
        with torch.no_grad():
            logits = model(SOURCE[i : i + 1], target[:, :-1])
        own = logits.log_softmax(-1).gather(2, target[:, 1:, None]).sum()
        assert best.total == pytest.approx(own.item(), abs=1e-4)


def test_one_beam_is_greedy(model):
    assert texts(run(model, SOURCE, Beam(1, 0.0))) == texts(run(model, SOURCE, Greedy()))


@pytest.mark.parametrize("strategy", [Sample(temperature=1e-4, seed=1), Sample(top_k=1, seed=1),
                                      Sample(top_p=1e-6), Sample(min_p=1.0)], ids=repr)  # fmt: skip
def test_sampling_the_likeliest_is_greedy(model, strategy):
    assert texts(run(model, SOURCE, strategy)) == texts(run(model, SOURCE, Greedy()))


def test_seeds():
    model = Toy()
    first = run(model, SOURCE, Sample(seed=7, samples=2))
    assert texts(first) == texts(run(model, SOURCE, Sample(seed=7, samples=2)))
    assert texts(first) != texts(run(model, SOURCE, Sample(seed=8, samples=2)))
    shuffled = run(model, SOURCE.flip(0), Sample(seed=7, samples=2))
    assert texts(first) == texts(shuffled)[::-1]
    assert texts(first) == texts(run(model, SOURCE, Sample(seed=(7,) * len(SOURCE), samples=2)))


def test_samples_follow_the_distribution():
    model, count = Toy(), 4000
    found = run(model, SOURCE[:1], Sample(samples=count, seed=11), limit=1)[0]
    drawn = torch.tensor([STOP if one.finished else one.tokens[0] for one in found]).bincount(minlength=VOCAB)
    logits = model.extend(torch.tensor([[START]]), model.begin(SOURCE[:1], capacity=1))[0]
    expected = logits.softmax(-1) * count
    likely = expected >= 5
    chi = ((drawn - expected) ** 2 / expected)[likely].sum().item()
    freedom = int(likely.sum())
    assert chi < freedom + 4 * math.sqrt(2 * freedom)


@settings(max_examples=15, deadline=None)
@given(some.integers(0, 10**6), some.lists(some.integers(1, 4), min_size=1, max_size=5))
def test_any_split_of_the_prompt_gives_the_same(seed, split):
    model, rows = real(), 3
    generator = torch.Generator().manual_seed(seed)
    prompt = torch.randint(1, VOCAB, (rows, sum(split)), generator=generator)
    with torch.no_grad():
        whole = model.extend(prompt, model.begin(SOURCE[:rows], capacity=20))
        cache = model.begin(SOURCE[:rows], capacity=20)
        for part in prompt.split(split, dim=1):
            last = model.extend(part, cache)
        assert torch.allclose(whole, last, atol=1e-5)
        assert torch.allclose(model(SOURCE[:rows], prompt)[:, -1], last, atol=1e-5)


def test_reordering_the_cache_is_reordering_the_batch():
    model, rows = real(), torch.tensor([2, 0, 0, 1])
    prompt = torch.randint(1, VOCAB, (3, 5), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        cache = model.begin(SOURCE[:3], capacity=9)
        model.extend(prompt, cache)
        cache.reorder(rows)
        cache.reorder_memory(rows)
        fresh = model.begin(SOURCE[:3][rows], capacity=9)
        model.extend(prompt[rows], fresh)
        new = torch.tensor([[4], [5], [6], [7]])
        assert torch.allclose(model.extend(new, cache), model.extend(new, fresh), atol=1e-5)


def test_prompts_are_continued(model):
    """What greedy said, given back as the beginning, goes on as before."""
    found = run(model, SOURCE, Greedy(), limit=8)
    sentence = next(i for i, (one,) in enumerate(found) if len(one.tokens) > 4)
    (one,) = found[sentence]
    prompt = torch.tensor([[START, *one.tokens[:3]]])
    ((rest,),) = run(model, SOURCE[sentence : sentence + 1], Greedy(), limit=5, prompt=prompt)
    assert rest.tokens == one.tokens[3:]


def test_finished_sentences_stop_costing():
    model = Toy()
    found = run(model, SOURCE, Greedy())
    lengths = [len(one.scores) for (one,) in found]
    model.rows = 0
    run(model, SOURCE, Greedy())
    assert sum(lengths) <= model.rows < max(lengths) * len(lengths)
    assert model.rows <= sum(lengths) / 0.75 + len(lengths)


def test_streaming_tells_every_token_once():
    model = Toy()
    for strategy in (Greedy(), Sample(samples=3, seed=2)):
        said = {i: [[] for _ in range(strategy.width)] for i in range(len(SOURCE))}
        done, cache = {}, model.begin(SOURCE, capacity=12)
        prompt = torch.full((len(SOURCE), 1), START)
        for step in generate(model, prompt, cache, strategy, stop=[STOP], limit=11):
            assert not set(step.done) & set(done)
            for i, tokens in step.tokens.items():
                assert i not in done
                for text, token in zip(said[i], tokens, strict=True):
                    text += [] if token is None else [token]
            done |= step.done
        assert {i: [one.tokens for one in several] for i, several in done.items()} == said


def test_an_empty_batch_and_nothing_allowed():
    assert run(Toy(), SOURCE[:0], Beam(2)) == []

    def nothing(logits: Tensor, tokens: Tensor) -> Tensor:
        return logits.fill_(-torch.inf) if tokens.shape[1] > 3 else logits

    for strategy in (Greedy(), Sample(seed=1), Beam(3)):
        for several in run(Toy(), SOURCE, strategy, filters=[nothing]):
            assert len(several[0].tokens) <= 3


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Sample(temperature=0.0), lambda: Sample(temperature=math.nan), lambda: Sample(top_p=0.0),
        lambda: Sample(top_p=1.1), lambda: Sample(top_k=-1), lambda: Sample(min_p=2.0), lambda: Beam(0),
        lambda: Sample(samples=0), lambda: Beam(2, nbest=3), lambda: Beam(2, nbest=0),
        lambda: Beam(2, early_stopping="often"), lambda: no_repeat_ngram(0),
        lambda: run(Toy(), SOURCE, Greedy(), limit=0),
        lambda: run(Toy(), SOURCE, Sample(seed=(1, 2))),
        lambda: complete(Toy(), SOURCE, Toy().begin(SOURCE, capacity=5), Greedy(), stop=[0], limit=4),
    ],
)  # fmt: skip
def test_wrong_settings_are_told_at_once(wrong):
    with pytest.raises(ConfigError, match=r"got .*expected"):
        wrong()
