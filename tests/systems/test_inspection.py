"""What is shown of a language model is what it computes: against the formulas, step by step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from formers.decoding.settings import Settings
from formers.errors import CheckpointError, ConfigError
from formers.kernels.weight import quantise
from formers.models.causal import FORMS, CausalConfig, CausalLM
from formers.models.encoder import FORMS as ENCODERS
from formers.models.encoder import Encoder
from formers.models.transformer import Transformer
from formers.systems.inspection import attention_maps, parameter_table, position_tables
from formers.systems.language.inspection import cache_times, lens, likelihoods
from formers.systems.language_model import LanguageModel
from formers.systems.sizes import TransformerSizes
from formers.text.training import train_byte_bpe

SIZES = {"dim": 32, "layers": 3, "heads": 4, "hidden": 48}
CONFIGS = {
    "gpt": replace(FORMS["gpt"], stack=replace(FORMS["gpt"].stack, **SIZES), vocab=50, length=40),
    "gpt2": replace(FORMS["gpt2"], stack=replace(FORMS["gpt2"].stack, **SIZES, dropout=0.5), vocab=50, length=40),
    "llama": replace(FORMS["llama"], stack=replace(FORMS["llama"].stack, **SIZES, kv_heads=2), vocab=50, tied=False),
    "gemma3": CausalConfig(
        stack=replace(FORMS["qwen3"].stack, **SIZES, kv_heads=1, head_dim=8),
        vocab=50,
        length=64,
        block="sandwich",
        windows=(4, 0, 4),
        rotary_base=1e6,
        local_rotary_base=1e4,
        scale_embedding=True,
    ),
}
TOKENS = torch.randint(50, (19,), generator=torch.Generator().manual_seed(3)).tolist()


def model_of(name: str) -> CausalLM:
    """Every weight random, in training mode, as the trainer may hold it."""
    model = CausalLM(CONFIGS[name]).train()
    for key, weight in model.named_parameters():
        nn.init.normal_(weight, mean=1.0 if "norm" in key and key.endswith("weight") else 0.0, std=0.3)
    return model


@pytest.fixture(params=CONFIGS)
def model(request) -> CausalLM:
    return model_of(request.param)


def logits_of(model: CausalLM, tokens: list[int]) -> torch.Tensor:
    was_training = model.training
    with torch.no_grad():
        found = model.eval()(torch.tensor([tokens]))[0]
    model.train(was_training)
    return found


def test_attention_is_a_causal_distribution_of_every_head(model):
    maps = attention_maps(model, TOKENS)["decoder"]
    assert maps.shape == (3, 4, 19, 19) and maps.dtype == np.float32
    np.testing.assert_allclose(maps.sum(-1), 1, atol=1e-5)
    assert (maps[..., np.triu(np.ones((19, 19), dtype=bool), 1)] == 0).all()
    for layer, window in enumerate(model.config.windows):
        far = np.tril(np.ones((19, 19), dtype=bool), -(window or 19))
        assert (maps[layer][:, far] == 0).all()
    assert model.training


def test_attention_is_the_softmax_of_the_scores():
    model = model_of("gpt2").eval()
    block = model.stack.blocks[0]
    x = block.norm_attention(model.features(torch.tensor([TOKENS]), until=0))
    q, k = (part(x).view(19, 4, 8).transpose(0, 1) for part in (block.attention.q, block.attention.k))
    scores = (q @ k.transpose(1, 2) / 8**0.5).masked_fill(torch.ones(19, 19, dtype=torch.bool).triu(1), -torch.inf)
    expected = scores.softmax(-1).detach().numpy()
    np.testing.assert_allclose(attention_maps(model, TOKENS)["decoder"][0], expected, atol=1e-5)


def test_each_row_of_the_lens_is_norm_and_head_of_what_the_layer_made(model):
    found = lens(model, TOKENS, top=5)
    assert found.tokens.shape == (4, 19, 5) and found.answer.shape == (4, 19)
    model.eval()
    for layer in range(4):
        with torch.no_grad():
            x = model.features(torch.tensor([TOKENS]), until=layer)[0]
            shares = model.logits(x if model.stack.norm is None else model.stack.norm(x)).softmax(-1)
        best = shares.topk(5)
        np.testing.assert_allclose(found.probabilities[layer], best.values, atol=1e-5)
        agree = (found.tokens[layer] == best.indices.numpy()) | np.isclose(
            best.values, np.roll(best.values, 1, -1), atol=1e-5
        )
        assert agree.all()
        said = logits_of(model, TOKENS).argmax(-1)
        own = shares.gather(-1, said[:, None])
        np.testing.assert_allclose(found.answer[layer], own[:, 0], atol=1e-5)
        sorted_place = (shares > own + 1e-5).sum(-1) + 1, (shares > own - 1e-5).sum(-1) + 1
        assert (sorted_place[0].numpy() <= found.rank[layer]).all()
        assert (found.rank[layer] <= sorted_place[1].numpy()).all()


def test_the_last_row_of_the_lens_is_what_the_model_says(model):
    found = lens(model, TOKENS)
    expected = logits_of(model, TOKENS).softmax(-1).topk(3)
    np.testing.assert_array_equal(found.tokens[-1], expected.indices)
    np.testing.assert_allclose(found.probabilities[-1], expected.values, atol=1e-5)
    np.testing.assert_array_equal(found.answer[-1], found.probabilities[-1, :, 0])
    assert (found.rank[-1] == 1).all()


def test_the_lens_of_the_last_positions_is_the_end_of_the_whole_one_and_leaves_no_hook(model):
    whole, end = lens(model, TOKENS), lens(model, TOKENS, last=4)
    np.testing.assert_array_equal(whole.tokens[:, -4:], end.tokens)
    np.testing.assert_allclose(whole.probabilities[:, -4:], end.probabilities, atol=1e-6)
    assert lens(model, TOKENS, last=99).tokens.shape == whole.tokens.shape
    assert model.training
    assert not any(block._forward_hooks or block._forward_pre_hooks for block in model.stack.blocks)


def test_probabilities_are_the_softmax(model):
    found = likelihoods(model, TOKENS, top=4)
    shares = logits_of(model, TOKENS[:-1]).softmax(-1)
    own = shares[range(18), TOKENS[1:]]
    assert found.tokens == TOKENS[1:]
    np.testing.assert_allclose(found.probability, own, rtol=1e-4)
    np.testing.assert_allclose(found.surprisal, -own.log2(), rtol=1e-4)
    np.testing.assert_allclose(found.shares, shares.topk(4).values, rtol=1e-4)
    np.testing.assert_array_equal(found.rank, (shares > own[:, None]).sum(-1) + 1)
    assert model.training


def test_a_long_text_is_read_in_pieces_to_the_same_end():
    model = model_of("llama")
    tokens = torch.randint(50, (150,)).tolist()
    shares = logits_of(model, tokens).softmax(-1)
    found = likelihoods(model, tokens)
    np.testing.assert_allclose(found.probability, shares[range(149), tokens[1:]], rtol=1e-3)
    np.testing.assert_allclose(lens(model, tokens).probabilities[-1], shares.topk(3).values, rtol=1e-3)


def test_surprisal_of_what_is_impossible_is_a_number():
    model = model_of("gpt2")
    with torch.no_grad():
        model.embedding.weight *= 1000
    assert np.isfinite(likelihoods(model, TOKENS).surprisal).all()


def test_probabilities_are_those_that_the_model_is_scored_by():
    tokenizer = train_byte_bpe(["one two three", "four five six"], 300)
    model = CausalLM(replace(CONFIGS["llama"], vocab=tokenizer.vocab))
    language = LanguageModel(model, tokenizer, Settings(start=0, stop=(0,), pad=0))
    text = "one five, two six"
    found = likelihoods(model, [language.start, *tokenizer.encode_plain([text])[0]])
    scored = language.score(text)
    assert found.tokens == scored.tokens
    np.testing.assert_allclose(np.log(found.probability), scored.scores, rtol=1e-4)


def test_with_and_without_the_cache_the_same_text_is_written(model):
    found = cache_times(model, TOKENS[:5], count=12, points=4, rounds=2)
    text = TOKENS[:5]
    for _ in range(12):
        text = [*text, int(logits_of(model, text)[-1].argmax())]
    assert found.written == text[5:] and found.same == 12
    assert found.lengths == [5, 9, 12, 16] and all(len(each) == 4 for each in (found.cached, found.uncached))
    assert min(found.cached + found.uncached) > 0
    stack = model.config.stack
    numbers = 2 * stack.layers * (stack.kv_heads or stack.heads) * (stack.head_dim or stack.dim // stack.heads)
    assert found.bytes == [4 * numbers * length for length in found.lengths]
    assert model.training


def test_a_cache_that_forgets_is_noticed(monkeypatch):
    model = model_of("llama")
    real = CausalLM.extend

    def forgetful(self, tokens, cache, *, keep=None):
        for layer in cache.own[1:2] if cache.length else ():
            layer.values.zero_()
        return real(self, tokens, cache, keep=keep)

    monkeypatch.setattr(CausalLM, "extend", forgetful)
    assert cache_times(model, TOKENS, count=20, points=2, rounds=1).same < 20


def test_int8_and_bf16_are_inspected_too():
    for model in (quantise(model_of("llama").eval()), model_of("llama").bfloat16()):
        np.testing.assert_allclose(attention_maps(model, TOKENS)["decoder"].sum(-1), 1, atol=2e-2)
        assert lens(model, TOKENS).tokens.shape == (4, 19, 3)
        assert len(likelihoods(model, TOKENS).tokens) == 18
        assert len(cache_times(model, TOKENS, count=4, points=2, rounds=1).written) == 4


def test_faults():
    model = model_of("gpt2")
    with pytest.raises(ConfigError, match="the text has 1 token, expected at least 2"):
        likelihoods(model, [3])
    with pytest.raises(ConfigError, match="got 0 tokens and 5 to write"):
        cache_times(model, [], count=5)
    with torch.no_grad():
        model.stack.blocks[1].feed_forward.up.weight[0, 0] = torch.nan
    with pytest.raises(CheckpointError, match="no finite numbers: weights are damaged"):
        likelihoods(model, TOKENS)
    with pytest.raises(CheckpointError, match="no finite numbers"):
        lens(model, TOKENS)


def test_positions_are_the_models_own():
    learned = model_of("gpt2")
    (table,) = position_tables(learned, 7).vectors.values()
    np.testing.assert_array_equal(table, learned.positions.weight[:7].detach())
    (table,) = position_tables(model_of("llama"), 7).vectors.values()
    angles = np.arange(7)[:, None] * 10000.0 ** -(np.arange(0, 8, 2) / 8)
    np.testing.assert_allclose(table, np.concatenate([np.cos(angles), np.sin(angles)], 1), atol=1e-5)
    tables = position_tables(model_of("gemma3"), 7).vectors
    assert list(tables) == ["layers that see everything", "layers that see 4 positions"]
    far, near = tables.values()
    assert np.abs(far - near).max() > 0.1


@pytest.mark.parametrize("form", ENCODERS)
def test_every_encoder_shows_its_attention_and_positions(form):
    kind = ENCODERS[form]
    stack = replace(kind.stack, dim=32, layers=3, heads=4, hidden=48)
    narrow = {"embedding_dim": 16, "repeat": 3} if kind.embedding_dim else {}
    model = Encoder(replace(kind, stack=stack, vocab=50, length=40, **narrow)).train()
    maps = attention_maps(model, TOKENS, segments=[0] * 9 + [1] * 10 if kind.segments > 1 else None)
    assert list(maps) == ["encoder"] and maps["encoder"].shape == (3, 4, 19, 19) and model.training
    np.testing.assert_allclose(maps["encoder"].sum(-1), 1, atol=1e-5)
    tables = position_tables(model, 7)
    kinds = {"mpnet": "learned and relative", "roformer": "rotary", "deberta": "relative"}
    assert tables.kind == next((kinds[name] for name in kinds if form.startswith(name)), "learned")
    assert all(len(table) == (14 if "relative places" in name else 7) for name, table in tables.vectors.items())
    assert [bias.shape for bias in tables.biases.values()] == [(4, 15)] * (form == "mpnet")
    assert len({row.name for row in parameter_table(model)}) == len(list(parameter_table(model)))


def test_relative_positions_of_an_encoder_decoder_are_those_of_each_part():
    model = Transformer(TransformerSizes(form="t5", dim=16, heads=2, hidden=32, length=40).config(50))
    tables = position_tables(model, 7)
    assert tables.kind == "relative" and not tables.vectors and list(tables.biases) == ["encoder", "decoder"]
    expected = model.encoder.relative(20, 20)[0, :, 9, 2:17].detach()
    np.testing.assert_array_equal(tables.biases["encoder"], expected)
    assert (tables.biases["decoder"][:, 8:] == 0).all()  # what comes later is never looked at
    split = position_tables(Transformer(TransformerSizes(form="marian", dim=16, heads=2).config(50)), 7)
    assert split.kind == "sinusoidal (split)" and split.vectors[""].shape == (7, 16)


def test_the_lens_of_a_real_model_ends_in_paris(smollm_speaks):
    language = smollm_speaks
    tokens = [*language.opening, *language.tokenizer.encode_plain(["The capital of France is"])[0]]
    seen = lens(language.model, tokens, last=1)
    assert language.tokenizer.pieces([seen.tokens[-1, 0, 0]]) == [" Paris"]
    assert seen.rank[-1, 0] == 1 and seen.rank[0, 0] > 1  # not before the first layer
    assert seen.answer[-1, 0] > seen.answer[15, 0]
