"""Each filter does exactly what it says."""

import torch

from formers.decoding.filters import (
    forbid,
    forced,
    min_p,
    minimum_length,
    no_repeat_ngram,
    repetition_penalty,
    temperature,
    top_k,
    top_p,
)

LOGITS = torch.tensor([[0.5, 2.0, -1.0, 1.0, 0.0], [3.0, -2.0, 0.1, 0.2, 0.3]])
TOKENS = torch.tensor([[1, 2, 1, 3, 1], [4, 4, 0, 0, 0]])


def allowed(logits):
    return [row.isfinite().nonzero().flatten().tolist() for row in logits]


def test_forbid():
    assert allowed(forbid([2, 4])(LOGITS.clone(), TOKENS)) == [[0, 1, 3]] * 2
    assert allowed(forbid([2], at=5)(LOGITS.clone(), TOKENS)) == [[0, 1, 3, 4]] * 2
    assert torch.equal(forbid([2], at=4)(LOGITS.clone(), TOKENS), LOGITS)


def test_forced():
    assert torch.equal(forced({4: 1})(LOGITS.clone(), TOKENS), LOGITS)
    sure = forced({5: 3})(LOGITS.clone(), TOKENS)
    assert allowed(sure) == [[3], [3]] and sure[:, 3].tolist() == [0, 0]


def test_minimum_length():
    assert allowed(minimum_length(6, [0])(LOGITS.clone(), TOKENS)) == [[1, 2, 3, 4]] * 2
    assert torch.equal(minimum_length(5, [0])(LOGITS.clone(), TOKENS), LOGITS)


def test_no_repeat_ngram_blocks_exactly_the_repeats():
    generator = torch.Generator().manual_seed(0)
    for size in (1, 2, 3, 4):
        tokens = torch.randint(0, 5, (40, 9), generator=generator)
        found = allowed(no_repeat_ngram(size)(torch.zeros(40, 5), tokens))
        for row, permitted in zip(tokens.tolist(), found, strict=True):
            grams = {tuple(row[i : i + size]) for i in range(len(row) - size + 1)}
            begun = row[len(row) - size + 1 :]
            assert permitted == [token for token in range(5) if (*begun, token) not in grams]
    assert torch.equal(no_repeat_ngram(6)(LOGITS.clone(), TOKENS), LOGITS)


def test_repetition_penalty():
    worse = repetition_penalty(2.0)(LOGITS.clone(), TOKENS)
    assert worse[0].tolist() == [0.5, 1.0, -2.0, 0.5, 0.0]
    assert torch.allclose(worse[1], torch.tensor([1.5, -2.0, 0.1, 0.2, 0.15]))


def test_temperature():
    assert torch.equal(temperature(0.5)(LOGITS.clone(), TOKENS), LOGITS * 2)


def test_top_k():
    assert allowed(top_k(2)(LOGITS.clone(), TOKENS)) == [[1, 3], [0, 4]]
    assert torch.equal(top_k(9)(LOGITS.clone(), TOKENS), LOGITS)


def test_top_p_keeps_the_fewest_that_reach_the_mass():
    for vocab in (7, 1000):  # below and above the head that is looked at first
        logits = torch.randn(50, vocab, generator=torch.Generator().manual_seed(vocab))
        for mass in (1e-6, 0.3, 0.9, 0.999, 1.0):
            kept = top_p(mass)(logits.clone(), TOKENS).isfinite()
            for row, keeps in zip(logits.double().softmax(-1), kept, strict=True):
                best, order = row.sort(descending=True)
                count = int(keeps.sum())
                assert keeps[order[:count]].all()
                assert count == len(row) if mass == 1 else best[:count].sum() >= mass - 1e-5
                assert best[: count - 1].sum() < mass + 1e-5


def test_min_p():
    share = LOGITS.softmax(-1) / LOGITS.softmax(-1).amax(-1, keepdim=True)
    for least in (0.0, 0.1, 0.3, 1.0):
        assert torch.equal(min_p(least)(LOGITS.clone(), TOKENS).isfinite(), share >= least)
