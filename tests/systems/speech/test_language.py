"""A language model that helps: its words are as likely as it says itself, whatever stands beside them."""

import pytest
import torch

from formers.decoding.settings import Settings
from formers.models.causal import CausalLM
from formers.systems.language_model import LanguageModel
from formers.systems.sizes import CausalSizes
from formers.systems.speech.language import WordsOfLanguage
from formers.text.training import characters


def test_words_are_as_likely_as_in_the_whole_text():
    torch.manual_seed(3)
    tokenizer = characters(["one two three four"])
    sizes = CausalSizes(dim=16, layers=2, heads=2, hidden=32, length=64)
    language = LanguageModel(
        CausalLM(sizes.config(tokenizer.vocab)).eval(), tokenizer, Settings.of({}, tokenizer.vocab)
    )
    with torch.no_grad():
        for weight in language.model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.3)
    words = [("", "two"), ("one two", "three"), ("one", "four"), ("one two three", "one")]
    for (text, word), value in zip(words, WordsOfLanguage(language)(words), strict=True):
        whole = language.score(f"{text} {word}".lstrip()).total
        before = language.score(text).total if text else 0.0
        assert value == pytest.approx(whole - before, abs=1e-4)
