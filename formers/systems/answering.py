"""Answering: the part of a passage that answers a question, or that none does.

question + passage -> windows -> SpanFinder -> a score for every span of every window -> the likeliest
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from formers.data.passages import passage_places
from formers.errors import ConfigError, DataError
from formers.models.heads import SpanFinder
from formers.pretrained.load import save_model
from formers.pretrained.loaded import Loaded
from formers.systems.pieces import of_pieces
from formers.text.reader import Reader
from formers.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from formers.text.reader import Encoding

LONGEST = 30  # tokens of an answer, as usual for SQuAD
GROUP = 256  # questions whose windows are read together
NULL = 0  # the place of a window whose score is that of no answer: its first token


@dataclass(frozen=True)
class Answer:
    """`passage[start:end]`, or nothing: then `text` is "" and both places are 0."""

    text: str
    start: int
    end: int
    score: float
    """Its probability among all spans of the passage and "no answer"."""


class Answerer:
    """An encoder that finds spans, with its tokenizer: what `formers.load` gives for such a model."""

    def __init__(
        self, model: SpanFinder, tokenizer: Tokenizer | None, *, length: int = 0, family: str | None = None
    ) -> None:
        """length: tokens of a window (0: all that the model sees)."""
        self.model, self.tokenizer, self.family = model, tokenizer, family
        c = model.config.encoder
        self.reader = None if tokenizer is None else Reader(tokenizer, length or c.length, segments=c.segments)

    def needs_reader(self) -> Reader:
        if self.reader is None:
            raise ConfigError(
                "this model folder has no tokenizer files, so text cannot be read; add tokenizer.json or vocab.txt"
            )
        return self.reader

    def answer(self, question: str, passage: str, *, top: int = 1, **options: Any) -> Any:
        """The likeliest answer of a passage, or the list of the `top` likeliest; `options` as in `answers`."""
        found = self.answers([question], [passage], top=top, **options)[0]
        return found[0] if top == 1 else found

    def answers(
        self,
        questions: Sequence[str],
        passages: Sequence[str],
        *,
        top: int = 1,
        threshold: float = 0.0,
        longest: int = LONGEST,
        stride: int = 0,
    ) -> list[list[Answer]]:
        """For each pair its `top` likeliest answers, best first, none of which overlaps a better one.

        A passage longer than the model is read in windows that have `stride` tokens in common (0: a quarter of the
        window); a span that several windows hold counts once, with its best score. "No answer" is among the answers,
        and first where its score is at least `threshold` higher than that of the best span (-inf: always, inf: never
        given). longest: most tokens of an answer.
        """
        if top < 1 or longest < 1:
            raise ConfigError(f"top ({top}) and longest ({longest}) must be at least 1")
        reader = self.needs_reader()
        for name, texts in (("question", questions), ("passage", passages)):
            for number, text in enumerate(texts, 1):
                if not text.strip():
                    raise DataError(f"{name} {number} is empty, expected a text")
        found: list[list[Answer]] = []
        for begin in range(0, len(questions), GROUP):
            chosen = slice(begin, begin + GROUP)
            rows = reader.windows(questions[chosen], passages[chosen], stride=stride or reader.length // 4)
            logits = iter(self.logits([each for windows in rows for each in windows]))
            for passage, windows in zip(passages[chosen], rows, strict=True):
                spans = Spans.of(windows, [next(logits) for _ in windows], longest)
                found.append(spans.best(passage, top=top, threshold=threshold))
        return found

    def logits(self, encodings: Sequence[Encoding]) -> list[NDArray[np.float32]]:
        """(length, 2) of each window: the logits of each token to be the first and the last of the answer."""
        return of_pieces(self.model, self.needs_reader(), encodings)

    def save(self, folder: str | Path) -> None:
        """Write a folder in the Hugging Face layout."""
        save_model(folder, self.model, tokenizer=self.tokenizer, family=self.family)


@dataclass(frozen=True)
class Spans:
    """Every span of a passage that may be an answer: characters from `starts` to `ends`, and its score.

    A score is the sum of the logits of its first and its last token; `null` is that of no answer.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    scores: NDArray[np.float64]
    null: float

    @staticmethod
    def of(windows: Sequence[Encoding], logits: Sequence[NDArray[np.float32]], longest: int) -> Spans:
        """The spans of at most `longest` tokens of all windows.

        No answer is as likely as in the window where it is least so: the others may just not hold it (BERT, 4.3).
        """
        parts: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
        null = math.inf
        for window, scores in zip(windows, logits, strict=True):
            null = min(null, float(scores[NULL].sum()))
            kinds = window.sequence_ids
            if 1 not in kinds:
                continue
            first, last = passage_places(window)
            places = np.asarray(window.offsets[first : last + 1], np.int64)
            begin, end = scores[first : last + 1].astype(np.float64).T
            a = np.repeat(np.arange(len(places)), longest)
            b = a + np.tile(np.arange(longest), len(places))
            a, b = a[b < len(places)], b[b < len(places)]
            parts.append((places[a, 0], places[b, 1], begin[a] + end[b]))
        if not parts:
            none = np.empty(0, np.int64)
            return Spans(none, none, np.empty(0), null)
        starts, ends, scores = (np.concatenate(each) for each in zip(*parts, strict=True))
        if len(parts) > 1:  # what two windows hold
            keys, where = np.unique(starts * (int(ends.max()) + 1) + ends, return_inverse=True)
            best = np.full(len(keys), -np.inf)
            np.maximum.at(best, where, scores)
            starts, ends, scores = keys // (int(ends.max()) + 1), keys % (int(ends.max()) + 1), best
        return Spans(starts, ends, scores.astype(np.float64), null)

    def best(self, passage: str, *, top: int, threshold: float) -> list[Answer]:
        """The likeliest answers, "no answer" among them unless `threshold` is infinite."""
        every = np.append(self.scores, self.null)
        high = every.max()
        chances = np.exp(every - high)
        chances /= chances.sum()
        found: list[Answer] = []
        taken: list[tuple[int, int]] = []
        for place in np.argsort(-self.scores, kind="stable"):
            start, end = trimmed(passage, int(self.starts[place]), int(self.ends[place]))
            if start < end and all(end <= a or b <= start for a, b in taken):
                taken.append((start, end))
                found.append(Answer(passage[start:end], start, end, float(chances[place])))
            if len(found) == top:
                break
        if threshold == math.inf and found:
            return found
        none = Answer("", 0, 0, float(chances[-1]))
        if not found or self.null - float(self.scores.max()) >= threshold:
            return [none, *found][:top]
        at = next((i for i, each in enumerate(found[1:], 1) if each.score < none.score), len(found))
        return [*found[:at], none, *found[at:]][:top]


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The same characters without white space around: some tokenizers count the space before a word to it."""
    bare = text[start:end].strip()
    start += text[start:end].find(bare)
    return start, start + len(bare)


def open_answerer(loaded: Loaded) -> Answerer:
    """The system of a loaded checkpoint."""
    assert isinstance(loaded.model, SpanFinder)  # the registry names this opener for families of it only
    return Answerer(loaded.model, loaded.tokenizer, family=loaded.family)
