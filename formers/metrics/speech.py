"""How much of what was said is written down right: word and character errors, and texts as they are compared."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from formers.errors import DataError
from formers.extras import optional

ASIDE = re.compile(r"[<\[][^>\]]*[>\]]|\([^)]*\)")  # what nobody says: [music], (laughs)
FILLERS = re.compile(r"\b(hmm|mm|mhm|mmm|uh|um)\b")
SHORT = {
    r"won't\b": "will not", r"can't\b": "can not", r"let's\b": "let us", r"ain't\b": "aint", r"y'all\b": "you all",
    r"\bgonna\b": "going to", r"\bgotta\b": "got to", r"\bwanna\b": "want to",
    r"\bmr\b": "mister", r"\bmrs\b": "missus", r"\bdr\b": "doctor",
    r"n't\b": " not", r"'re\b": " are", r"'ve\b": " have", r"'ll\b": " will", r"'d\b": " would", r"'m\b": " am",
    r"'s\b": " is",
}  # fmt: skip


class WordErrors(NamedTuple):
    """Of all texts together."""

    wer: float
    """Wrong, missing and additional words for each word of the references."""
    cer: float
    """The same of characters."""
    substitutions: int
    deletions: int
    insertions: int
    words: int
    """Of the references."""


def basic(text: str) -> str:
    """Lower case, no marks and no asides, one blank between words: Whisper's basic normalisation."""
    text = ASIDE.sub("", text.lower())
    kept = (" " if unicodedata.category(char)[0] in "MSP" else char for char in unicodedata.normalize("NFKC", text))
    return " ".join("".join(kept).split())


def english(text: str) -> str:
    """The same after fillers are taken out and short forms written out, as Whisper's English normalisation does; but
    numbers and British spellings stay as they are.
    """
    text = FILLERS.sub("", ASIDE.sub("", text.lower()).replace("’", "'"))
    for short, long in SHORT.items():
        text = re.sub(short, long, text)
    return basic(text)


def word_errors(
    hypotheses: Sequence[str], references: Sequence[str], normalise: Callable[[str], str] = basic
) -> WordErrors:
    """The errors of texts against what was said, as jiwer counts them. Raises DataError where no word was said."""
    jiwer: Any = optional("jiwer", "metrics", "the word error rate")
    pairs = [(normalise(text), normalise(said)) for text, said in zip(hypotheses, references, strict=True)]
    pairs = [pair for pair in pairs if pair[1]]
    if not pairs:
        raise DataError("no reference has a word, so there is no word error rate")
    texts, said = ([pair[side] for pair in pairs] for side in (0, 1))
    words, characters = jiwer.process_words(said, texts), jiwer.process_characters(said, texts)
    count = words.hits + words.substitutions + words.deletions
    return WordErrors(words.wer, characters.cer, words.substitutions, words.deletions, words.insertions, count)
