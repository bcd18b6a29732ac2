"""Objectives for sentence vectors against naive formulas, and against sentence-transformers."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from formers.errors import ConfigError
from formers.systems.embedding.data import LikenessBatch
from formers.systems.embedding.objective import CONCATENATIONS, EmbeddingConfig, objective
from formers.text.reader import Inputs
from formers.training import contrastive
from formers.training.contrastive import cosent, cosine, matryoshka, softmax, triplet

ROWS, DIM = 5, 6


def cos(a, b):
    return float(a @ b / a.norm() / b.norm())


def in_batch(x, **options):
    return contrastive.in_batch(x[0], x[1:].flatten(0, 1), **options)


def allowed_negatives(batch):
    return contrastive.allowed_negatives(batch.same, batch.groups)


def batch_of(same, groups=None, values=None):
    same = torch.tensor(same)
    groups = torch.arange(same.shape[1]) if groups is None else torch.tensor(groups)
    return LikenessBatch(Inputs(torch.zeros(1, 1, dtype=torch.long), None, None), len(same), same, groups, values)


@pytest.mark.parametrize("concatenation", CONCATENATIONS)
def test_softmax_is_the_cross_entropy_of_the_concatenation(concatenation):
    u, v = torch.randn(2, ROWS, DIM)
    classes = torch.tensor([0, 2, 1, 1, 0])
    made = {"u": u, "v": v, "|u-v|": (u - v).abs(), "u*v": u * v}
    joined = torch.cat([made[part] for part in concatenation.split(",")], 1)
    matrix = nn.Linear(joined.shape[1], 3, bias=False)
    logits = (joined @ matrix.weight.T).detach()
    found = softmax(u, v, classes, matrix, concatenation)
    for row in range(ROWS):
        naive = math.log(sum(math.exp(x) for x in logits[row])) - float(logits[row, classes[row]])
        assert found.each[row].item() == pytest.approx(naive, abs=1e-5)
    assert torch.equal(found.parts["accuracy"], (logits.argmax(1) == classes).float())


def test_cosine_is_the_squared_difference():
    u, v = torch.randn(2, ROWS, DIM)
    scores = torch.rand(ROWS)
    naive = [(cos(a, b) - float(score)) ** 2 for a, b, score in zip(u, v, scores, strict=True)]
    assert cosine(u, v, scores).each.tolist() == pytest.approx(naive, abs=1e-6)


def test_cosent_compares_all_pairs_of_rows():
    u, v = torch.randn(2, ROWS, DIM)
    scores = torch.tensor([0.0, 0.5, 0.5, 1.0, 0.2])
    cosines = [cos(a, b) for a, b in zip(u, v, strict=True)]
    total = 1.0
    for i in range(ROWS):
        for j in range(ROWS):
            if scores[i] > scores[j]:
                total += math.exp(7 * (cosines[j] - cosines[i]))
    assert cosent(u, v, scores, scale=7).each.tolist() == pytest.approx([math.log(total)] * ROWS, abs=1e-4)
    assert cosent(u, v, torch.ones(ROWS)).each.tolist() == [0.0] * ROWS  # no order, nothing to learn


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_triplet_wants_the_positive_nearer_by_the_margin(distance):
    a, p, n = torch.randn(3, ROWS, DIM)
    far = (lambda x, y: float((x - y).norm())) if distance == "euclidean" else lambda x, y: 1 - cos(x, y)
    naive = [max(0.0, far(x, y) - far(x, z) + 0.7) for x, y, z in zip(a, p, n, strict=True)]
    assert triplet(a, p, n, margin=0.7, distance=distance).each.tolist() == pytest.approx(naive, abs=1e-4)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("hard", [0, 1, 2])
def test_in_batch_negatives(hard, symmetric):
    x = torch.randn(2 + hard, ROWS, DIM)
    candidates = [vector for side in x[1:] for vector in side]
    naive = []
    for row in range(ROWS):
        scores = [20 * cos(x[0, row], other) for other in candidates]
        loss = math.log(sum(math.exp(s) for s in scores)) - scores[row]
        if symmetric:
            back = [20 * cos(x[1, row], other) for other in x[0]]
            loss = (loss + math.log(sum(math.exp(s) for s in back)) - back[row]) / 2
        naive.append(loss)
    assert in_batch(x, symmetric=symmetric).each.tolist() == pytest.approx(naive, abs=1e-3)


def test_a_duplicate_is_never_a_negative():
    # rows 0 and 1 have one anchor, rows 2 and 3 one positive, row 4's positive is row 0's anchor, row 5 is alone
    same = [[0, 0, 3, 4, 9, 6], [1, 2, 5, 5, 0, 7]]
    allowed = allowed_negatives(batch_of(same))
    expected = ~torch.eye(6, dtype=torch.bool)
    for row, other in [(0, 1), (1, 0), (0, 4), (1, 4), (2, 3), (3, 2)]:
        expected[row, other] = False
    expected |= torch.eye(6, dtype=torch.bool)
    assert torch.equal(allowed, expected)
    assert allowed_negatives(batch_of([[0, 1], [2, 3]])) is None  # no duplicates, no mask
    # hard negatives: that of row 0 is row 1's positive, that of row 1 is row 0's anchor, row 2's its own positive
    hard = allowed_negatives(batch_of([[0, 1, 2], [3, 4, 5], [4, 0, 5]]))
    forbidden = [tuple(place) for place in (~hard).nonzero().tolist()]
    assert forbidden == [(0, 4), (1, 3), (2, 5)]
    grouped = allowed_negatives(batch_of([[0, 1, 2], [3, 4, 5]], groups=[8, 8, 9]))
    assert [tuple(place) for place in (~grouped).nonzero().tolist()] == [(0, 1), (1, 0)]


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_masked_duplicate_has_no_part_in_the_loss(symmetric):
    x = torch.randn(2, 3, DIM)
    x[1, 1] = x[1, 0]  # one positive of two anchors
    batch = batch_of([[0, 1, 2], [3, 3, 4]])
    config = EmbeddingConfig(symmetric=symmetric)
    found = objective(config, batch, None)(x).each
    for row, others in enumerate([(0, 2), (1, 2), (0, 1, 2)]):
        chosen = list(others)
        alone = in_batch(x[:, chosen], symmetric=False).each[chosen.index(row)]
        if not symmetric:
            naive = float(alone) if row < 2 else None
            if naive is not None:
                assert float(found[row]) == pytest.approx(naive, abs=1e-4)
        elif row < 2:
            both = in_batch(x[:, chosen], symmetric=True).each[chosen.index(row)]
            assert float(found[row]) == pytest.approx(float(both), abs=1e-4)


@pytest.mark.parametrize("name", ["softmax", "cosine", "cosent", "triplet", "in_batch"])
def test_matryoshka_adds_the_objective_on_the_first_numbers(name):
    torch.manual_seed(1)
    x = torch.randn(3 if name == "triplet" else 2, ROWS, DIM)
    scores = torch.rand(ROWS)
    values = {"softmax": torch.tensor([0, 1, 1, 0, 1]), "cosine": scores, "cosent": scores}.get(name)
    batch = batch_of(torch.arange(len(x) * ROWS).view(len(x), ROWS).tolist(), values=values)
    matrix = nn.Linear(3 * DIM, 2, bias=False) if name == "softmax" else None
    plain = objective(EmbeddingConfig(objective=name), batch, matrix)
    nested = objective(EmbeddingConfig(objective=name, dims=(4, 2), weights=(0.5, 0.25)), batch, matrix)
    if name == "softmax":
        u, v = x
        naive = plain(x).each.clone()
        for dim, weight in ((4, 0.5), (2, 0.25)):
            columns = [part * DIM + place for part in range(3) for place in range(dim)]
            logits = torch.cat([u[:, :dim], v[:, :dim], (u - v).abs()[:, :dim]], 1) @ matrix.weight[:, columns].T
            naive = naive + weight * F.cross_entropy(logits, values, reduction="none")
    else:
        naive = plain(x).each + 0.5 * plain(x[..., :4]).each + 0.25 * plain(x[..., :2]).each
    torch.testing.assert_close(nested(x).each, naive)
    assert torch.equal(nested(x).parts["whole"], plain(x).each)
    assert matryoshka(plain, x, (), ()).each.tolist() == plain(x).each.tolist()


def test_the_losses_are_those_of_sentence_transformers():
    losses = pytest.importorskip("sentence_transformers.losses", reason="sentence-transformers is not installed")

    class Given(nn.Module):
        """Stands for a SentenceTransformer whose vectors are given."""

        def forward(self, features):
            return features

        def get_embedding_dimension(self):
            return DIM

        get_sentence_embedding_dimension = get_embedding_dimension

    model = Given()
    x, scores = torch.randn(3, ROWS, DIM), torch.rand(ROWS)
    features = [{"sentence_embedding": side} for side in x]

    def theirs(loss, count, labels=None):
        return float(loss(features[:count], labels))

    def ours(found):
        return pytest.approx(float(found.each.mean()), abs=1e-4)

    assert theirs(losses.CosineSimilarityLoss(model), 2, scores) == ours(cosine(x[0], x[1], scores))
    assert theirs(losses.CoSENTLoss(model), 2, scores) == ours(cosent(x[0], x[1], scores))
    assert theirs(losses.TripletLoss(model, triplet_margin=1), 3) == ours(triplet(*x))
    assert theirs(losses.MultipleNegativesRankingLoss(model), 3) == ours(in_batch(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # new versions have another name for it
        symmetric = losses.MultipleNegativesSymmetricRankingLoss(model)
    assert theirs(symmetric, 2) == ours(in_batch(x[:2], symmetric=True))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"objective": "softmx"}, 'task.objective "softmx" is not known'),
        ({"pooling": "cls"}, 'task.pooling "cls" is not known'),
        ({"concatenation": "u,w"}, 'task.concatenation "u,w" must be some of u, v'),
        ({"concatenation": "u,u"}, "each once"),
        ({"scale": 0.0}, "task.scale (0.0) must be a positive number"),
        ({"dims": (4, 4)}, "task.dims [4, 4] must be different numbers"),
        ({"dims": (4, 2), "weights": (1.0,)}, "task.weights [1.0] must be as many positive numbers"),
        ({"chunk": -1}, "task.chunk (-1) must be 0 or more"),
    ],
)
def test_faults(fields, message):
    with pytest.raises(ConfigError) as fault:
        EmbeddingConfig(**fields)
    assert message in str(fault.value) and "\n" not in str(fault.value)
