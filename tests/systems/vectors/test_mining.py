"""Pairs, communities and groups of vectors: equal to what all against all gives, and to the reference."""

import sys

import numpy as np
import pytest
import torch

from formers.errors import ConfigError, PackageError
from formers.systems.system import result_of
from formers.systems.vectors import mining
from formers.systems.vectors.mining import Pair, k_means


def mine(*arguments, **options) -> list[Pair]:
    return result_of(mining.mine(*arguments, **options))


def communities(*arguments, **options) -> list[list[int]]:
    return result_of(mining.communities(*arguments, **options))


@pytest.fixture
def vectors() -> np.ndarray:
    """300 vectors around 12 points, some of them twice."""
    dice = np.random.default_rng(0)
    points = dice.normal(size=(12, 24))
    made = points[dice.integers(0, 12, 300)] + 0.6 * dice.normal(size=(300, 24))
    made[17] = made[200]
    return made.astype(np.float32)


@pytest.fixture(params=[1 << 24, 7000])
def cells(request, monkeypatch):
    """Whole, and in blocks of 23 rows."""
    monkeypatch.setattr(mining, "CELLS", request.param)


def all_pairs(vectors: np.ndarray) -> list[Pair]:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = unit @ unit.T
    made = [Pair(float(scores[i, j]), i, j) for i in range(len(unit)) for j in range(i + 1, len(unit))]
    return sorted(made, key=lambda each: -each.score)


def same(found: list[Pair], expected: list[Pair]) -> None:
    np.testing.assert_allclose([p.score for p in found], [p.score for p in expected], atol=1e-6)
    assert {(p.first, p.second) for p in found} == {(p.first, p.second) for p in expected}


def test_pairs_are_those_of_all_against_all(vectors, cells):
    pairs = all_pairs(vectors)
    same(mine(vectors, threshold=0.7, top=0), [p for p in pairs if p.score >= 0.7])
    same(mine(vectors, top=0, most=50), pairs[:50])
    assert (mine(vectors, most=1)[0].first, mine(vectors, most=1)[0].second) == (17, 200)


def test_pairs_are_those_of_the_reference(vectors, cells):
    util = pytest.importorskip("sentence_transformers.util")
    for top, most in ((3, 500_000), (100, 40)):
        expected = [
            Pair(score, min(i, j), max(i, j))
            for score, i, j in util.paraphrase_mining_embeddings(torch.from_numpy(vectors), top_k=top, max_pairs=most)
        ]
        same(mine(vectors, top=top, most=most), expected)


def test_communities_are_those_of_the_reference(vectors, cells):
    util = pytest.importorskip("sentence_transformers.util")
    for threshold, smallest in ((0.7, 5), (0.6, 10), (0.8, 2), (0.9, 1)):
        expected = util.community_detection(vectors, threshold=threshold, min_community_size=smallest)
        found = communities(vectors, threshold=threshold, smallest=smallest)
        assert [group[0] for group in found] == [group[0] for group in expected]
        assert [set(group) for group in found] == [set(group) for group in expected]


def test_every_row_of_a_community_is_like_its_centre(vectors):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    groups = communities(vectors, threshold=0.7, smallest=3)
    rows = [row for group in groups for row in group]
    assert len(rows) == len(set(rows)) > 200
    for group in groups:
        scores = unit[group] @ unit[group[0]]
        assert (scores >= 0.7 - 1e-6).all() and (np.diff(scores[1:]) <= 1e-6).all()


def test_k_means_finds_the_points_and_is_as_good_as_the_reference(vectors, cells):
    cluster = pytest.importorskip("sklearn.cluster")
    groups = k_means(vectors, 12, seed=3)
    assert sorted(row for group in groups for row in group) == list(range(300)) and len(groups) == 12
    assert groups == k_means(vectors, 12, seed=3)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    ours = sum(((unit[g] - unit[g].mean(0)) ** 2).sum() for g in groups)
    assert ours <= 1.02 * cluster.KMeans(12, n_init=4, random_state=0).fit(unit).inertia_


def test_k_means_needs_scikit_learn(vectors, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(sys.modules, "sklearn.cluster", raising=False)
    with pytest.raises(PackageError, match=r'k-means needs the package sklearn: pip install "formers.metrics."'):
        k_means(vectors, 3)


def test_k_means_with_fewer_different_rows_than_groups():
    groups = k_means(np.repeat(np.eye(3, dtype=np.float32), 4, 0), 5)
    assert sorted(row for group in groups for row in group) == list(range(12))


def test_few_rows_and_faults(vectors):
    assert mine(vectors[:1]) == [] and mine(vectors[:0]) == [] and communities(vectors[:0]) == []
    assert communities(vectors[:1], smallest=1) == [[0]]
    with pytest.raises(ConfigError, match=r"k .4. must be from 1 to the 3 texts"):
        k_means(vectors[:3], 4)
    with pytest.raises(ConfigError, match=r"finite"):
        mine(np.full((2, 2), np.nan, np.float32))


def test_progress_ends_at_the_end(vectors, cells):
    for work in (mining.mine, mining.communities):
        seen = [(progress.done, progress.total) for progress in work(vectors)]
        assert seen == sorted(seen) and seen[-1][0] == seen[-1][1]
