"""The translation system: verbs, scores, prefixes, errors; a saved folder opens again and in transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import formers
from formers.data.source import Source
from formers.decoding.options import DecodingOptions
from formers.decoding.settings import Settings
from formers.errors import ConfigError, DataError
from formers.models.transformer import Transformer
from formers.systems.sizes import TransformerSizes
from formers.systems.translation.data import PairBatches, PairRows
from formers.systems.translation.system import Translator
from formers.systems.translation.task import TranslationConfig, TranslationTask
from formers.text.open import train_bpe

SOURCE = Source(train="builtin:phrasebook", count=300)
ROWS = PairRows(vocab=300, tokens_per_batch=256)
TEXTS = ["I ate an apple", "Do you see the old house?", "We must help the child."]


def untrained(tokenizer, form: str = "marian", length: int = 64) -> Translator:
    torch.manual_seed(3)
    sizes = TransformerSizes(form=form, dim=32, encoder_layers=2, decoder_layers=2, heads=2, hidden=48, length=length)
    model = Transformer(sizes.config(tokenizer.vocab)).eval()
    for name, weight in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(weight, std=0.3)
    settings = Settings(start=tokenizer.pad, stop=(tokenizer.eos,), pad=tokenizer.pad, forbidden=(tokenizer.pad,))
    return Translator(model, tokenizer, settings)


@pytest.fixture(scope="module")
def pairs():
    return SOURCE.read("train", **ROWS.reading(SOURCE))


@pytest.fixture(scope="module")
def tokenizer(pairs):
    table = pairs
    return train_bpe(table.columns["en"] + table.columns["de"], 300)


@pytest.mark.parametrize("form", ["original", "marian", "bart", "t5", "t5_v1_1", "modern"])
def test_saved_and_loaded_translates_the_same(form, tokenizer, tmp_path):
    before = untrained(tokenizer, form)
    before.save(tmp_path / "model")
    after = formers.load(tmp_path / "model")
    assert after.model.config == before.model.config or form == "t5"  # T5's config.json has no length
    assert after.settings == before.settings
    for beams in (1, 3):
        assert after.translate(TEXTS, beams=beams, max_tokens=12) == before.translate(TEXTS, beams=beams, max_tokens=12)


def test_one_text_gives_one_string_and_a_batch_equals_one_by_one(tokenizer):
    translator = untrained(tokenizer)
    together = translator.translate(TEXTS, beams=2, max_tokens=12)
    assert together == [translator.translate(text, beams=2, max_tokens=12) for text in TEXTS]


def test_candidates_are_ranked_and_their_scores_are_the_models_own(tokenizer):
    translator = untrained(tokenizer)
    found = translator.candidates(TEXTS[:1], beams=4, nbest=4, max_tokens=10)[0]
    assert len(found) == 4 and [c.score for c in found] == sorted((c.score for c in found), reverse=True)
    best = translator.write(tokenizer.encode(TEXTS[:1]), DecodingOptions(beams=1, max_tokens=10))[0][0]
    target = [translator.settings.start, *best.tokens]
    with torch.no_grad():
        logits = translator.model(torch.tensor(tokenizer.encode(TEXTS[:1])), torch.tensor([target]))
    own = logits.log_softmax(-1)[0, range(len(best.tokens)), best.tokens]
    assert np.allclose(own, best.scores[: len(best.tokens)], atol=1e-4)


def test_a_prefix_begins_every_translation(tokenizer):
    found = untrained(tokenizer).translate(TEXTS, prefix="Ich habe", beams=2, max_tokens=6)
    assert all(text.startswith("Ich habe") for text in found)


def test_long_texts_are_translated_sentence_by_sentence(tokenizer):
    translator = untrained(tokenizer)
    parts = ["I see the dog.", "We eat bread.", "You sleep."]
    whole = translator.translate(f"{parts[0]} {parts[1]}\n\n{parts[2]}", max_tokens=8)
    alone = translator.translate(parts, max_tokens=8, split=False)
    assert whole == f"{alone[0]} {alone[1]}\n\n{alone[2]}"


def test_empty_texts_stay_empty(tokenizer):
    assert untrained(tokenizer).translate(["", TEXTS[0], "  "], max_tokens=4)[::2] == ["", "  "]


def test_attention_has_a_map_for_every_layer_and_head(tokenizer):
    translator = untrained(tokenizer)
    maps = translator.attention(TEXTS[0], "Ich habe einen Apfel gegessen")
    source, target = len(maps.source), len(maps.target)
    assert maps.encoder.shape == (2, 2, source, source)
    assert maps.decoder.shape == (2, 2, target, target)
    assert maps.cross.shape == (2, 2, target, source)
    assert np.allclose(maps.cross.sum(-1), 1, atol=1e-5)
    assert np.allclose(np.triu(maps.decoder[0, 0], 1), 0)


def test_without_a_tokenizer_the_model_works_and_the_verbs_say_what_is_missing(tokenizer, tmp_path):
    translator = untrained(tokenizer)
    translator.tokenizer = None
    translator.save(tmp_path / "bare")
    bare = formers.load(tmp_path / "bare")
    assert bare.tokenizer is None and bare.model(torch.tensor([[5, 6]]), torch.tensor([[2]])).shape == (1, 1, 300)
    with pytest.raises(ConfigError, match=r"no tokenizer files.*tokenizer\.json"):
        bare.translate("hello")


def test_text_longer_than_the_model_names_both_numbers(tokenizer):
    with pytest.raises(DataError, match=r'text 2: the sentence "I see.*has \d+ tokens.*at most 64'):
        untrained(tokenizer).translate(["short", "I see " * 100], split=False)


@pytest.mark.parametrize("text", ["I see " * 100, "see" * 200, "I see " * 60 + "\n\n" + "x" * 300 + " end"])
def test_a_long_sentence_is_cut_or_split_where_that_is_asked_for(tokenizer, text):
    translator = untrained(tokenizer)
    pieces = translator.pieces(text, "")
    assert "".join(pieces) == text and len(pieces) > 1
    assert all(len(ids) <= 64 for ids in tokenizer.encode(pieces))
    assert all(len(ids) > 32 for ids in tokenizer.encode(pieces[:1]))  # as much as fits
    how = {"split": False, "max_tokens": 4}
    assert translator.translate(text, long="cut", **how) == translator.translate(pieces[0].rstrip(), **how)
    whole = translator.translate(["short", text], long="split", **how)
    parts = [translator.translate(piece.rstrip(), **how) + piece[len(piece.rstrip()) :] for piece in pieces]
    assert whole == [translator.translate("short", **how), "".join(parts)]
    assert translator.translate("short", long="cut", **how) == whole[0]


def test_more_candidates_than_beams_are_refused(tokenizer):
    with pytest.raises(ConfigError, match=r"nbest \(3\) must not be larger than beams \(2\)"):
        untrained(tokenizer).candidates(TEXTS, beams=2, nbest=3)


def test_loss_ignores_padding_and_how_rows_are_batched(pairs, tokenizer):
    translator = untrained(tokenizer)
    batches = PairBatches(pairs, tokenizer, ROWS, seed=1, length=64, start=2, filler=2)
    task = TranslationTask(translator, batches, TranslationConfig(label_smoothing=0.1))
    rows = [0, 1, 2, 3, 4]
    whole = task.loss(batches.collate(rows))
    alone = [task.loss(batches.collate([row])) for row in rows]
    assert whole.count == sum(loss.count for loss in alone)
    torch.testing.assert_close(whole.total, torch.stack([loss.total for loss in alone]).sum(), rtol=1e-5, atol=1e-3)


def test_pairs_that_are_too_long_are_left_out_and_counted(pairs, tokenizer):
    batches = PairBatches(pairs, tokenizer, ROWS, seed=1, length=12, start=2, filler=2)
    (reason, number), *_ = batches.report.dropped.items()
    assert number > 0 and len(batches.rows) + number == 300 and "longer than 12 tokens" in reason
    assert sorted(row for batch in batches.epoch(3) for row in batch) == list(range(len(batches.rows)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"form": "marion"}, r'model.form "marion" is not known; did you mean "marian"'),
        ({"dim": 128, "heads": 3}, r"model.dim \(128\) must be a multiple of model.heads \(3\)"),
        ({"form": "modern", "dim": 12, "heads": 4}, r"multiple of 2 \* model.heads"),
        ({"dropout": 1.0}, r"model.dropout \(1.0\) must be in \[0, 1\)"),
        ({"heads": 0}, r"model.heads \(0\) must be in \[1, "),
    ],
)
def test_impossible_sizes_are_refused_by_name(change, message):
    with pytest.raises(ConfigError, match=message):
        TransformerSizes(**change)


def test_a_device_that_is_not_here_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r'device "gpu" is not here'):
        formers.load(tmp_path, device="gpu")
