"""Word error rates, and texts as they are compared."""

from __future__ import annotations

import pytest

from formers.errors import DataError
from formers.metrics.speech import basic, english, word_errors


def test_errors_are_counted():
    pytest.importorskip("jiwer")
    errors = word_errors(["the cat sat", "hello there"], ["The cat sat down.", "Hello!"])
    assert errors.wer == pytest.approx(2 / 5) and errors[2:] == (0, 1, 1, 5)
    assert word_errors(["A b", "x"], ["a, b", "..."]).wer == 0  # a reference without a word is none
    with pytest.raises(DataError, match="no reference has a word"):
        word_errors(["a"], ["!"])


@pytest.mark.parametrize(
    "text",
    [
        "Ask not: what YOUR country can do -- for you!",
        "[Music] (laughs) It is  déjà-vu, 50% off",
        "um, I uh can't; we'll see. He won't, they've gone, let's go",
        "I'm gonna meet Mr. Smith",
    ],
)
def test_normalisation_is_the_references(text):
    reference = pytest.importorskip("transformers.models.whisper.english_normalizer")
    assert basic(text) == " ".join(reference.BasicTextNormalizer()(text).split())
    if "%" not in text:  # numbers stay as they are
        assert english(text) == reference.EnglishTextNormalizer({})(text).strip()
