"""The encoder and its heads: contract, published sizes, padding on either side, poolers, bad sizes."""

import pytest
import torch
from torch import nn

from formers.errors import ConfigError
from formers.models.encoder import FORMS, PRESETS, Encoder, preset
from formers.models.heads import HEADS, HeadConfig, MultipleChoice, Pretraining, SequenceClassifier, body
from formers.systems.sizes import EncoderSizes

VOCAB, LENGTH = 23, 12


def make(form, kind=Encoder, **changes):
    """A tiny model whose every parameter is random, norms around 1."""
    torch.manual_seed(0)
    config = EncoderSizes(form=form, dim=16, layers=2, heads=4, hidden=24, length=LENGTH).config(VOCAB)
    model = kind(config) if kind is Encoder else kind(HeadConfig(encoder=config, labels=("a", "b", "c"), **changes))
    for each, parameter in model.named_parameters():
        nn.init.normal_(parameter, 1.0 if "norm" in each and each.endswith("weight") else 0.0, 0.3)
    return model.eval()


def inputs(*shape):
    generator = torch.Generator().manual_seed(3)
    return torch.randint(VOCAB, shape, generator=generator), torch.randint(2, shape, generator=generator)


def padded(x, left, right):
    return nn.functional.pad(x, (left, right))


@pytest.mark.parametrize(("name", "count"), [("bert-base", 109_482_240), ("bert-large", 335_141_888)])
def test_published_sizes(name, count):
    with torch.device("meta"):
        assert sum(each.numel() for each in Encoder(preset(name)).parameters()) == count


def test_every_preset_can_be_made_and_a_wrong_name_is_told():
    for name in PRESETS:
        with torch.device("meta"):
            Encoder(preset(name))
    with pytest.raises(ConfigError, match=r'no size "bert-bas"; did you mean "bert-base"'):
        preset("bert-bas")


@pytest.mark.parametrize("form", FORMS)
def test_padding_on_either_side_changes_nothing(form):
    model = make(form)
    tokens, segments = inputs(2, 7)
    segments %= model.config.segments or 1
    with torch.no_grad():
        alone = model(tokens, segments=segments)
        everything = model(tokens, segments=segments, keep=torch.ones(2, 7, dtype=torch.bool))
        torch.testing.assert_close(everything, alone, atol=1e-5, rtol=1e-5)
        for left, right in ((0, 3), (3, 0), (2, 2)):
            keep = padded(torch.ones(2, 7, dtype=torch.bool), left, right)
            found = model(padded(tokens, left, right), segments=padded(segments, left, right), keep=keep)
            torch.testing.assert_close(found[keep].view(2, 7, -1), alone, atol=1e-5, rtol=1e-5)
            for how in ("first", "mean", "max"):
                torch.testing.assert_close(
                    model.pool(found, keep, how=how), model.pool(alone, how=how), atol=1e-5, rtol=1e-5
                )
        if form in ("roformer", "deberta"):
            return
        longer = model(inputs(2, LENGTH)[0])
    assert longer.shape == (2, LENGTH, 16)
    with pytest.raises(ValueError, match=f"sequence of {LENGTH + 1} positions, but this model has learned {LENGTH}"):
        model(inputs(1, LENGTH + 1)[0])


@pytest.mark.parametrize("form", FORMS)
def test_order_and_segments_are_seen(form):
    model = make(form)
    tokens, segments = inputs(1, 7)
    with torch.no_grad():
        plain = model(tokens)
        assert not torch.allclose(model(tokens.flip(1)).flip(1), plain, atol=1e-2)
        if model.config.segments == 2:
            assert not torch.allclose(model(tokens, segments=segments), plain, atol=1e-2)
            torch.testing.assert_close(model(tokens, segments=torch.zeros_like(tokens)), plain)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("form", ["bert", "albert", "deberta"])
def test_heads_learn_everything_that_they_read(form, kind):
    model = make(form, kind)
    shape = (2, 3, 7) if kind is MultipleChoice else (2, 7)
    tokens, segments = inputs(*shape)
    keep = torch.ones(shape, dtype=torch.bool)
    keep[0, ..., 5:] = False
    found = model(tokens, segments=segments, keep=keep)
    parts = found if kind is Pretraining else (found,)
    last = {
        "MaskedWords": (2, 7, VOCAB),
        "NextSentence": (2, 2),
        "SequenceClassifier": (2, 3),
        "SpanFinder": (2, 7, 2),
        "TokenClassifier": (2, 7, 3),
        "MultipleChoice": (2, 3),
        "ReplacedTokens": (2, 7),
    }
    expected = [(2, 7, VOCAB), (2, 2)] if kind is Pretraining else [last[kind.__name__]]
    assert [tuple(each.shape) for each in parts] == expected
    sum(each.square().sum() for each in parts).backward()
    unread = {name for name, each in model.named_parameters() if each.grad is None}
    of_tokens = kind.__name__ in ("MaskedWords", "TokenClassifier", "SpanFinder", "ReplacedTokens")
    pooler = {"encoder.pooler.weight", "encoder.pooler.bias"} if of_tokens and model.encoder.pooler else set()
    assert unread == pooler and body(model) is model.encoder


def test_the_choice_of_a_row_is_the_score_of_each_alone():
    model = make("bert", MultipleChoice)
    tokens, _ = inputs(2, 3, 7)
    keep = torch.arange(7) < torch.tensor([[7, 4, 2], [3, 7, 1]])[..., None]
    with torch.no_grad():
        scores = model(tokens, keep=keep)
        alone = torch.stack([model(tokens[:, i : i + 1], keep=keep[:, i : i + 1])[:, 0] for i in range(3)], 1)
    torch.testing.assert_close(scores, alone, atol=1e-5, rtol=1e-5)


def test_pooling_of_a_classifier():
    tokens, _ = inputs(2, 7)
    keep = torch.arange(7) < torch.tensor([[7], [4]])
    with torch.no_grad():
        for how in ("first", "mean", "max"):
            model = make("bert", SequenceClassifier, pooling=how)
            hidden = model.encoder(tokens, keep=keep)
            expected = torch.stack(
                [
                    {"first": row[0], "mean": row[:n].mean(0), "max": row[:n].amax(0)}[how]
                    for row, n in zip(hidden, (7, 4), strict=True)
                ]
            )
            expected = model.out(torch.tanh(model.encoder.pooler(expected)))
            torch.testing.assert_close(model(tokens, keep=keep), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"form": "brt"},
        {"dim": 0},
        {"dim": 18, "heads": 4},
        {"length": 0},
        {"embedding_dim": 8},
        {"form": "albert", "embedding_dim": -1},
    ],
)
def test_sizes_that_cannot_be(change):
    with pytest.raises(ConfigError):
        EncoderSizes(**change)
