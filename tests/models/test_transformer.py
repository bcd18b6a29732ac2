"""The encoder-decoder: its contract, padding, the cache, and the sizes of the 2017 paper."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from formers.blocks.stack import StackConfig
from formers.models.transformer import FORMS, ROWS, Transformer, TransformerConfig
from formers.systems.sizes import TransformerSizes

POSITIONS = ["sinusoidal", "split_sinusoidal", "learned", "relative", "rotary"]
VOCAB, LENGTH = 23, 16


def make(positions="sinusoidal", *, seed=0, stack=(), **changes):
    """A tiny model whose every parameter is random, norms around 1."""
    torch.manual_seed(seed)
    sizes = StackConfig(**{"dim": 16, "layers": 2, "heads": 4, "hidden": 24, **dict(stack)})
    config = TransformerConfig(
        **{"encoder": sizes, "decoder": sizes, "vocab": VOCAB, "length": LENGTH, "positions": positions,
           "scale_embedding": True, "final_norm": True, "logit_bias": True, **changes}
    )  # fmt: skip
    model = Transformer(config)
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, 1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.3)
    nn.init.normal_(model.logit_bias)
    return model.eval()


def tokens(*shape):
    return torch.randint(VOCAB, shape)


@pytest.mark.parametrize("form", FORMS)
def test_the_forward_contract(form):
    config = TransformerSizes(form=form, dim=16, heads=2, hidden=32, encoder_layers=1, decoder_layers=2).config(VOCAB)
    model = Transformer(config)
    source, target = tokens(3, 7), tokens(3, 5)
    logits = model(source, target, source_keep=torch.ones(3, 7, dtype=torch.bool))
    assert logits.shape == (3, 5, VOCAB) and logits.dtype == torch.float32 and logits.isfinite().all()
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert len(model.encoder.blocks) == 1 and len(model.decoder.blocks) == 2


def test_two_vocabularies_and_two_widths():
    narrow = StackConfig(dim=8, layers=1, heads=2, hidden=16)
    model = make(decoder=narrow, target_vocab=11)
    assert model(tokens(2, 4), torch.randint(11, (2, 3))).shape == (2, 3, 11)


def test_a_wrong_shape_is_refused():
    model = make()
    with pytest.raises(Exception, match="source"):
        model(tokens(3, 7).float(), tokens(3, 5))
    with pytest.raises(Exception, match="batch"):
        model(tokens(3, 7), tokens(2, 5))


# Padding


@pytest.mark.parametrize("positions", POSITIONS)
def test_right_padding_changes_nothing(positions):
    model, source, target = make(positions), tokens(3, 8), tokens(3, 6)
    source_keep, target_keep = torch.ones(3, 8, dtype=torch.bool), torch.ones(3, 6, dtype=torch.bool)
    sizes = [(8, 6), (3, 4), (1, 1)]
    for row, (s, t) in enumerate(sizes):
        source_keep[row, s:], target_keep[row, t:] = False, False
    together = model(source, target, source_keep=source_keep, target_keep=target_keep)
    unmarked = model(source, target, source_keep=source_keep)  # causality alone hides padding on the right
    for row, (s, t) in enumerate(sizes):
        alone = model(source[row : row + 1, :s], target[row : row + 1, :t])
        torch.testing.assert_close(together[row : row + 1, :t], alone, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(unmarked[row : row + 1, :t], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("positions", ["relative", "rotary"])
def test_left_padding_changes_nothing_where_only_differences_count(positions):
    model, source, target = make(positions), tokens(2, 8), tokens(2, 6)
    source_keep, target_keep = torch.ones(2, 8, dtype=torch.bool), torch.ones(2, 6, dtype=torch.bool)
    source_keep[1, :5], target_keep[1, :2] = False, False
    together = model(source, target, source_keep=source_keep, target_keep=target_keep)
    assert together.isfinite().all()
    torch.testing.assert_close(together[:1], model(source[:1], target[:1]), atol=1e-4, rtol=1e-4)
    alone = model(source[1:, 5:], target[1:, 2:])
    torch.testing.assert_close(together[1:, 2:], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("positions", POSITIONS)
def test_the_decoder_never_looks_ahead(positions):
    model, source, target = make(positions), tokens(1, 5), tokens(1, 6)
    before = model(source, target)
    for t in range(6):
        changed = target.clone()
        changed[:, t] = (changed[:, t] + 1) % VOCAB
        after = model(source, changed)
        torch.testing.assert_close(after[:, :t], before[:, :t], atol=1e-6, rtol=1e-6)
        assert not torch.allclose(after[:, t], before[:, t])


def test_the_encoder_looks_both_ways():
    model, source, target = make(), tokens(1, 5), tokens(1, 3)
    changed = source.clone()
    changed[:, -1] = (changed[:, -1] + 1) % VOCAB
    assert not torch.allclose(model.encode(source)[:, 0], model.encode(changed)[:, 0])
    assert not torch.allclose(model(source, target)[:, 0], model(changed, target)[:, 0])


# The cache


MODELS = {positions: make(positions) for positions in POSITIONS}


@torch.no_grad()
@given(positions=st.sampled_from(POSITIONS), cuts=st.sets(st.integers(1, 8)), padded=st.booleans())
@settings(max_examples=60)
def test_cached_equals_uncached_for_any_split(positions, cuts, padded):
    model = MODELS[positions]
    torch.manual_seed(1)
    source, target = tokens(2, 5), tokens(2, 9)
    source_keep = torch.tensor([[True] * 5, [True, True, False, False, False]]) if padded else None
    whole = model(source, target, source_keep=source_keep)
    cache = model.begin(source, source_keep, capacity=9)
    ends = [*sorted(cuts), 9]
    for start, end in zip([0, *ends], ends, strict=False):
        logits = model.extend(target[:, start:end], cache)
        torch.testing.assert_close(logits, whole[:, end - 1], atol=1e-4, rtol=1e-4)
        assert cache.length == end


@torch.no_grad()
@pytest.mark.parametrize("positions", ["relative", "rotary"])
def test_cached_equals_uncached_with_prompts_padded_on_the_left(positions):
    model, source, target = make(positions), tokens(2, 5), tokens(2, 7)
    keep = torch.ones(2, 7, dtype=torch.bool)
    keep[1, :2] = False
    whole = model(source, target, target_keep=keep)
    cache = model.begin(source, capacity=7)
    model.extend(target[:, :4], cache, keep=keep[:, :4])
    for t in range(4, 7):
        torch.testing.assert_close(model.extend(target[:, t : t + 1], cache), whole[:, t], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(whole[1, 2:], model(source[1:], target[1:, 2:])[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("lengths", ["ends", "gaps", "nothing"])
def test_rows_encoded_by_length_are_the_rows_encoded_at_once(positions, lengths):
    model, rows, width = make(positions), 2 * ROWS + 3, 11
    source = tokens(rows, width)
    keep = (
        torch.rand(rows, width) < 0.7
        if lengths == "gaps"
        else (torch.arange(width) < torch.randint(1, width, (rows, 1)))
    )
    if lengths == "nothing":
        keep[ROWS] = False
    memory = model.begin(source, keep, capacity=3).memory
    assert memory.shape == (rows, width, 16) and memory.isfinite().all()
    torch.testing.assert_close(memory[keep], model.encode(source, keep)[keep])


@torch.no_grad()
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("hypotheses", [2, 3])
def test_hypotheses_of_a_sentence_read_its_one_memory(positions, hypotheses):
    model, source, target = make(positions), tokens(2, 5), tokens(2 * hypotheses, 6)
    keep = torch.tensor([[True] * 5, [True, True, False, False, False]])
    folded = model.begin(source, keep, capacity=6)
    repeated = model.begin(source.repeat_interleave(hypotheses, 0), keep.repeat_interleave(hypotheses, 0), capacity=6)
    for start, end in [(0, 3), (3, 4), (4, 6)]:
        rows = target[:, start:end]
        torch.testing.assert_close(model.extend(rows, folded), model.extend(rows, repeated), atol=1e-5, rtol=1e-4)
    assert folded.memory.shape[0] == 2


@torch.no_grad()
def test_hypotheses_move_and_sentences_leave():
    model, source, target = make(), tokens(3, 5), tokens(6, 4)
    cache = model.begin(source, capacity=6)
    model.extend(target, cache)
    cache.reorder(torch.tensor([5, 5, 1, 0]))  # sentences 2 and 0 stay, two hypotheses each
    cache.reorder_memory(torch.tensor([2, 0]))
    last = tokens(4, 1)
    seen = torch.cat([target[[5, 5, 1, 0]], last], 1)
    expected = model(source[[2, 2, 0, 0]], seen)[:, -1]
    torch.testing.assert_close(model.extend(last, cache), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_truncate_goes_back():
    model, source, target = make("rotary"), tokens(2, 5), tokens(2, 6)
    cache = model.begin(source, capacity=6)
    first = model.extend(target, cache)
    cache.truncate(4)
    model.extend((target[:, 4:5] + 1) % VOCAB, cache)
    cache.truncate(4)
    torch.testing.assert_close(model.extend(target[:, 4:], cache), first)


@torch.no_grad()
def test_the_memory_is_projected_once():
    model, source = make(), tokens(2, 5)
    calls = []
    model.decoder.blocks[0].cross_attention.k.register_forward_hook(lambda *_: calls.append(1))
    cache = model.begin(source, capacity=3)
    for _ in range(3):
        model.extend(tokens(2, 1), cache)
    assert len(calls) == 1
    with pytest.raises(ValueError, match="cache holds 3 positions, got 4"):
        model.extend(tokens(2, 1), cache)


# Parameters


def test_the_tied_head_is_one_tensor():
    model = make()
    assert model.head is None and model.output.weight is model.embedding.weight
    matrices = [n for n, p in model.named_parameters() if p.shape == (VOCAB, 16)]
    assert matrices == ["embedding.weight"] == [n for n in model.state_dict() if n.endswith("embedding.weight")]
    two = make(target_vocab=11, logit_bias=True)
    assert two.output.weight is two.target_embedding.weight
    untied = make(tied=False)
    assert untied.output.weight is untied.head.weight and untied.output.weight is not untied.embedding.weight


def test_the_head_scale_and_the_logit_bias():
    model, x = make(head_scale=0.5), torch.randn(2, 3, 16)
    torch.testing.assert_close(model.logits(x), 0.5 * x @ model.embedding.weight.T + model.logit_bias)


def test_the_parameters_of_the_2017_base_model():
    dim, layers, hidden, vocab = 512, 6, 2048, 37000
    with torch.device("meta"):
        sizes = TransformerSizes(
            form="original", dim=dim, heads=8, hidden=hidden, encoder_layers=layers, decoder_layers=layers
        )
        model = Transformer(sizes.config(vocab))
    attention, feed_forward, norm = 4 * (dim * dim + dim), 2 * dim * hidden + hidden + dim, 2 * dim
    encoder = attention + feed_forward + 2 * norm
    decoder = 2 * attention + feed_forward + 3 * norm
    count = sum(p.numel() for p in model.parameters())
    assert count == vocab * dim + layers * (encoder + decoder)
    assert count == pytest.approx(65e6, rel=0.05)  # table 3 of the paper


@pytest.mark.parametrize("positions", POSITIONS)
def test_only_learned_positions_grow_with_the_length(positions):
    short, long = (sum(p.numel() for p in make(positions, length=n).parameters()) for n in (10, 50))
    assert long - short == (2 * 40 * 16 if positions == "learned" else 0)


def test_learned_positions_end():
    model = make("learned", length=6, position_offset=2)
    model(tokens(1, 6), tokens(1, 6))
    with pytest.raises(ValueError, match="sequence of 7 positions, but this model has learned 6"):
        model(tokens(1, 7), tokens(1, 2))
    for positions in set(POSITIONS) - {"learned"}:
        assert make(positions, length=6)(tokens(1, 9), tokens(1, 8)).isfinite().all()


# Training


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("positions", ["sinusoidal", "relative", "rotary"])
def test_recompute_gives_the_same_loss_and_gradients(positions, dropout):
    model, source, target = make(positions, stack={"dropout": dropout}).train(), tokens(2, 5), tokens(2, 4)
    results = []
    for recompute in (False, True):
        model.encoder.recompute = model.decoder.recompute = recompute
        model.zero_grad()
        torch.manual_seed(5)
        loss = model(source, target).logsumexp(-1).sum()
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in model.parameters())])
    for plain, again in zip(*results, strict=True):
        torch.testing.assert_close(plain, again)


def test_dropout_is_on_in_training_only():
    model, source, target = make(stack={"dropout": 0.3}), tokens(1, 5), tokens(1, 4)
    assert torch.equal(model(source, target), model(source, target))
    model.train()
    assert not torch.equal(model(source, target), model(source, target))


def test_a_new_model_starts_near_a_uniform_guess():
    for form in FORMS:
        torch.manual_seed(0)
        sizes = TransformerSizes(
            form=form, dim=64, heads=4, hidden=128, encoder_layers=2, decoder_layers=2, dropout=0.0
        )
        logits = Transformer(sizes.config(100))(torch.randint(100, (4, 9)), torch.randint(100, (4, 8)))
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), torch.randint(100, (32,)))
        assert loss.item() < 4.605 + 1.5, form  # ln 100 is knowing nothing


def test_configs_are_values():
    config = make().config
    assert config == dataclasses.replace(config) and hash(config) == hash(dataclasses.replace(config))
