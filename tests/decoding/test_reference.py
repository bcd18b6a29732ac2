"""Our search against transformers' `generate`, token for token, on a tiny random Marian without a cache."""

import pytest
import torch
from torch import Tensor

from formers.blocks.cache import Cache
from formers.decoding import Beam, Greedy, complete
from formers.decoding.filters import forbid, forced, minimum_length, no_repeat_ngram, repetition_penalty

transformers = pytest.importorskip("transformers")

VOCAB, EOS, PAD, START, LIMIT = 60, 0, 59, 59, 14


class Uncached:
    """A Marian as `Decodable`: the cache only remembers the tokens, every step runs the whole model again."""

    def __init__(self, model) -> None:
        self.model = model

    def begin(self, source: Tensor, keep: Tensor, capacity: int) -> Cache:
        return Cache(1, capacity, memory=source, memory_keep=keep)

    def extend(self, tokens: Tensor, cache: Cache, *, keep: Tensor | None = None) -> Tensor:
        seen, _ = cache.own[0].append(tokens[:, None, :, None], tokens[:, None, :, None])
        width = len(tokens) // len(cache.memory)
        source, mask = cache.memory.repeat_interleave(width, 0), cache.memory_keep.repeat_interleave(width, 0)
        found = self.model(input_ids=source, attention_mask=mask.long(), decoder_input_ids=seen[:, 0, :, 0])
        return found.logits[:, -1]


@pytest.fixture(scope="module")
def batch():
    lengths = [3, 7, 5, 9, 4]
    generator = torch.Generator().manual_seed(5)
    source = torch.randint(1, PAD, (5, 9), generator=generator)
    keep = torch.arange(9) < torch.tensor(lengths)[:, None]
    return source.masked_fill(~keep, PAD), keep


@pytest.fixture(scope="module", params=[1, 5])
def marian(request, batch):
    torch.manual_seed(request.param)
    config = transformers.MarianConfig(
        vocab_size=VOCAB, d_model=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=64,
        pad_token_id=PAD, eos_token_id=EOS, decoder_start_token_id=START, forced_eos_token_id=None,
    )  # fmt: skip
    model = transformers.MarianMTModel(config).eval()
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if "norm.weight" in name else 0.0, std=0.5)
    # the gap between the likeliest token and the stop token along texts that never stop: a small quantile
    # of it as a bias makes some texts end early, some late, some not at all
    source, keep = batch
    mask = keep.long()
    text = model.generate(
        input_ids=source, attention_mask=mask, max_new_tokens=LIMIT, do_sample=True, bad_words_ids=[[EOS], [PAD]]
    )
    with torch.no_grad():
        logits = model(input_ids=source, attention_mask=mask, decoder_input_ids=text).logits
    gap = logits.amax(-1) - logits[..., EOS]
    model.final_logits_bias[0, EOS] = gap.quantile(0.15)
    return model


def ours(model, batch, strategy, **settings):
    model, (source, keep) = Uncached(model), batch
    prompt = torch.full((len(source), 1), START)
    cache = model.begin(source, keep, LIMIT)
    return complete(model, prompt, cache, strategy, stop=[EOS], limit=LIMIT, pad=PAD, **settings)


def theirs(model, batch, **settings):
    source, keep = batch
    found = model.generate(
        input_ids=source, attention_mask=keep.long(), max_new_tokens=LIMIT, do_sample=False,
        return_dict_in_generate=True, output_scores=True, **settings,
    )  # fmt: skip
    texts = []
    for row in found.sequences.tolist():
        row = row[1:]
        texts.append(row[: row.index(EOS)] if EOS in row else row)
    return texts, found.get("sequences_scores")


def agree(model, batch, strategy, filters=(), **settings):
    found = ours(model, batch, strategy, filters=filters)
    texts, scores = theirs(model, batch, **settings)
    flat = [hypothesis for several in found for hypothesis in several]
    assert [hypothesis.tokens for hypothesis in flat] == texts
    if scores is not None:
        assert torch.allclose(torch.tensor([one.score for one in flat]), scores, atol=1e-5)
    return flat


def test_greedy(marian, batch):
    flat = agree(marian, batch, Greedy(), num_beams=1)
    assert len({len(one.tokens) for one in flat}) > 1


@pytest.mark.parametrize("early", [False, True, "never"])
@pytest.mark.parametrize("penalty", [0.6, 1.0, 1.5, -1.0])
@pytest.mark.parametrize("width", [2, 4, 5])
def test_beams(marian, batch, width, penalty, early):
    agree(
        marian, batch, Beam(width, penalty, early, width), num_beams=width, length_penalty=penalty,
        early_stopping=early, num_return_sequences=width,
    )  # fmt: skip


def test_the_best_only(marian, batch):
    agree(marian, batch, Beam(4, 0.6), num_beams=4, length_penalty=0.6)


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize(
    ("filters", "settings"),
    [
        ([forbid([PAD, 7])], {"bad_words_ids": [[PAD], [7]]}),
        ([forced({1: 9, LIMIT: EOS})], {"forced_bos_token_id": 9, "forced_eos_token_id": EOS}),
        ([minimum_length(1 + 6, [EOS])], {"min_new_tokens": 6}),
        ([no_repeat_ngram(2)], {"no_repeat_ngram_size": 2}),
        ([no_repeat_ngram(1)], {"no_repeat_ngram_size": 1}),
        ([repetition_penalty(1.4)], {"repetition_penalty": 1.4}),
        ([repetition_penalty(1.2), no_repeat_ngram(3)], {"no_repeat_ngram_size": 3, "repetition_penalty": 1.2}),
    ],
    ids=["forbid", "forced", "minimum", "bigram", "unigram", "penalty", "two"],
)
def test_filters(marian, batch, filters, settings, width):
    strategy = Greedy() if width == 1 else Beam(width, nbest=width)
    agree(marian, batch, strategy, filters, num_beams=width, num_return_sequences=width, **settings)


@pytest.mark.parametrize("stops", [[EOS, 5], [EOS, 5, 11]])
def test_several_stop_tokens(marian, batch, stops):
    model, (source, keep) = Uncached(marian), batch
    found = complete(
        model, torch.full((5, 1), START), model.begin(source, keep, LIMIT), Beam(3, nbest=3), stop=stops,
        limit=LIMIT,
    )  # fmt: skip
    expected = marian.generate(
        input_ids=source, attention_mask=keep.long(), max_new_tokens=LIMIT, num_beams=3,
        num_return_sequences=3, do_sample=False, eos_token_id=stops,
    )[:, 1:].tolist()  # fmt: skip
    for one, row in zip([one for several in found for one in several], expected, strict=True):
        end = next((i for i, token in enumerate(row) if token in stops), len(row))
        assert one.tokens == row[:end]
