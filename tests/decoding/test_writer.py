"""One writer for all models: an encoder-decoder samples, stops and streams as a language model does."""

from __future__ import annotations

import pytest
import torch

from formers.decoding.options import DecodingOptions
from formers.decoding.settings import Settings
from formers.errors import ConfigError, DataError
from formers.models.transformer import Transformer
from formers.systems.sizes import TransformerSizes
from formers.systems.translation.system import Translator
from formers.text.open import train_bpe

TEXTS = ["I ate an apple", "Do you see the old house?", "We must help the child.", "the house", "an apple, an apple"]
DRAWN = {"temperature": 1.5, "seed": 5, "max_tokens": 16}


@pytest.fixture(scope="module", params=["marian", "bart", "t5", "modern"])
def translator(request) -> Translator:
    tokenizer = train_bpe(TEXTS * 3, 80)
    sizes = TransformerSizes(
        form=request.param, dim=32, encoder_layers=2, decoder_layers=2, heads=2, hidden=48, length=128
    )
    torch.manual_seed(3)
    model = Transformer(sizes.config(tokenizer.vocab)).eval()
    for name, weight in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(weight, std=0.3)
    settings = Settings(
        start=tokenizer.pad, stop=(tokenizer.eos,), pad=tokenizer.pad, forbidden=(tokenizer.pad,), beams=3
    )
    return Translator(model.double(), tokenizer, settings)  # double: the same in any batch


def test_a_seed_gives_the_same_translation_whatever_its_batch(translator):
    together = translator.translate(TEXTS, **DRAWN)
    assert together == [translator.translate(text, **DRAWN) for text in TEXTS]
    assert together == translator.translate(TEXTS[::-1], **DRAWN)[::-1]
    assert together != translator.translate(TEXTS, **{**DRAWN, "seed": 6})
    assert together != translator.translate(TEXTS, max_tokens=16)
    small = [found[0].text for found in translator.candidates(TEXTS, tokens_per_batch=10, **DRAWN)]
    assert small == together


def test_samples_are_several_and_a_batch_of_one_has_the_same(translator):
    together = translator.candidates(TEXTS, samples=3, **DRAWN)
    assert [len(samples) for samples in together] == [3] * len(TEXTS)
    assert len({sample.text for samples in together for sample in samples}) > len(TEXTS)
    alone = translator.candidates(TEXTS[1:2], samples=3, **DRAWN)[0]
    assert [sample.text for sample in alone] == [sample.text for sample in together[1]]


def test_how_far_a_translation_runs_does_not_depend_on_its_batch(translator):
    """Nobody says how many tokens: the limit is a source's own, not that of the longest beside it."""
    short, long = "the house", "We must help the child. " * 3
    alone, beside = translator.candidates([short])[0][0], translator.candidates([short, long])[0][0]
    assert beside.text == alone.text


def test_a_stop_string_ends_a_translation_and_is_no_part_of_it(translator):
    for text in TEXTS:
        whole = translator.translate(text, beams=1, max_tokens=16)
        stop = whole[len(whole) // 2]
        (found,) = translator.candidates([text], stop=stop, max_tokens=16)[0]
        assert found.text == whole[: whole.index(stop)] and found.reason == "stop"
    together = translator.translate(TEXTS, stop="e", max_tokens=16)
    assert together == [text.split("e")[0] for text in translator.translate(TEXTS, beams=1, max_tokens=16)]


@pytest.mark.parametrize("options", [{}, {"seed": 4}, {"stop": "e"}, {"repetition_penalty": 1.5}], ids=str)
@pytest.mark.parametrize("prefix", ["", "the house"])
def test_streaming_gives_the_text_that_is_written(translator, options, prefix):
    for text in TEXTS:
        ((written,),) = translator.candidates([text], beams=1, max_tokens=12, prefix=prefix, **options)
        stream = translator.stream(text, max_tokens=12, prefix=prefix, **options)
        assert "".join(stream) == stream.text == stream.result.text == written.text
        assert stream.result.scores == pytest.approx(written.scores) and stream.result.reason == written.reason
        assert written.text.startswith(prefix)


def test_a_penalty_and_a_mean_log_probability(translator):
    free, held = (translator.translate(TEXTS, beams=1, max_tokens=16, no_repeat_ngram=size) for size in (0, 1))
    ids = [translator.tokenizer.encode_target([text])[0] for text in held]
    assert free != held and all(len(tokens) > 1 for tokens in ids)
    written = translator.write(translator.tokenizer.encode(TEXTS), DecodingOptions(seed=1, max_tokens=9))
    for (one,) in written:
        assert one.mean == pytest.approx(sum(one.scores) / len(one.scores)) == pytest.approx(one.score)


def test_what_does_not_go_together_is_refused(translator):
    for wrong, message in (
        ({"beams": 2, "seed": 1}, r"beams: got 2 with sampling, expected one or the other"),
        ({"nbest": 2, "stop": "a"}, r"nbest: got 2 with stop strings, expected one or the other"),
        ({"samples": 2}, r"translate gives one text"),
        ({"max_tokens": 0}, r"max_tokens \(0\) must be at least 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            translator.translate("the house", **wrong)
    with pytest.raises(ConfigError, match="one sample and one beam"):
        translator.stream("the house", beams=2)
    with pytest.raises(DataError, match="the text is empty"):
        translator.stream(" ")


def test_evaluation_mode_is_put_back(translator):
    translator.model.train()
    translator.translate("the house", max_tokens=2)
    list(translator.stream("the house", max_tokens=2))
    assert translator.model.training
    translator.model.eval()
