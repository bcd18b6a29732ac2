"""Answering: the part of a passage that answers a question, or that none does.

question + passage -> windows -> SpanFinder -> a score for every span of every window -> the likeliest
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from formers.data.sources import Table
from formers.errors import ConfigError, DataError
from formers.metrics.answers import answer_scores
from formers.models.heads import SpanFinder
from formers.pretrained.load import save_model
from formers.systems.answering.data import PassageRows, first_answer, passage_places, placed, read_windows
from formers.systems.reading import logits_of_windows, reader_of_system
from formers.systems.system import Report, cost, share
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
        self.model, self.tokenizer, self.length, self.family = model, tokenizer, length, family

    reader = cached_property(reader_of_system)

    @overload
    def answer(self, question: str, passage: str, *, top: Literal[1] = ..., **options: Any) -> Answer: ...
    @overload
    def answer(self, question: str, passage: str, *, top: int, **options: Any) -> list[Answer]: ...
    def answer(self, question: str, passage: str, *, top: int = 1, **options: Any) -> Answer | list[Answer]:
        """The likeliest answer of a passage, or the list of the `top` likeliest; `options` as in `answers`."""
        answers = self.answers([question], [passage], top=top, **options)[0]
        return answers[0] if top == 1 else answers

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
        for name, texts in (("question", questions), ("passage", passages)):
            for number, text in enumerate(texts, 1):
                if not text.strip():
                    raise DataError(f"{name} {number} is empty, expected a text")
        answers: list[list[Answer]] = []
        for begin in range(0, len(questions), GROUP):
            group = slice(begin, begin + GROUP)
            rows = self.reader.windows(questions[group], passages[group], stride=stride or self.reader.length // 4)
            every = logits_of_windows(self.model, self.reader, rows)
            for passage, windows, logits in zip(passages[group], rows, every, strict=True):
                spans = Spans.of(windows, logits, longest)
                answers.append(spans.best(passage, top=top, threshold=threshold))
        return answers

    def evaluate(
        self, table: Table, config: PassageRows, *, threshold: float = 0.0, longest: int = LONGEST
    ) -> tuple[Report, list[Answer]]:
        """Mean loss of all windows, exact match and F1 of the answers as SQuAD defines them; and the answers.

        threshold, longest: as of `answers`.
        """
        lost, count = 0.0, 0
        answers: list[Answer] = []
        rows = list(read_windows(table, self.reader, config))
        every = logits_of_windows(self.model, self.reader, rows)
        for row, (windows, logits) in enumerate(zip(rows, every, strict=True)):
            for encoding, scores in zip(windows, logits, strict=True):
                window = placed(encoding, *first_answer(table, config, row))
                for side, place in enumerate((window.start, window.end)):
                    inside = scores[window.first : window.last + 1, side]
                    choices = np.append(inside, scores[window.null, side]).astype(np.float64)
                    high = choices.max()
                    lost += (high + math.log(np.exp(choices - high).sum()) - float(scores[place, side])) / 2
                count += 1
            spans = Spans.of(windows, logits, longest)
            answers += spans.best(table.columns[config.context][row], top=1, threshold=threshold)
        shares = answer_scores([answer.text for answer in answers], table.columns[config.answers])
        report = [cost("loss", lost / count), *(share(name, value) for name, value in shares.items())]
        return Report(report, facts={"questions": len(table)}), answers

    def save(self, folder: str | Path) -> None:
        """Write a folder in the Hugging Face layout."""
        save_model(folder, self.model, tokenizer=self.tokenizer, family=self.family, system="answering")


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
        starts, ends, scores = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
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
        answers: list[Answer] = []
        for place in np.argsort(-self.scores, kind="stable"):
            start, end = trimmed(passage, int(self.starts[place]), int(self.ends[place]))
            if start < end and all(end <= other.start or other.end <= start for other in answers):
                answers.append(Answer(passage[start:end], start, end, float(chances[place])))
            if len(answers) == top:
                break
        if threshold == math.inf and answers:
            return answers
        none = Answer("", 0, 0, float(chances[-1]))
        if not answers or self.null - float(self.scores.max()) >= threshold:
            return [none, *answers][:top]
        at = next((i for i, other in enumerate(answers[1:], 1) if other.score < none.score), len(answers))
        return [*answers[:at], none, *answers[at:]][:top]


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The same characters without white space around: some tokenizers count the space before a word to it."""
    bare = text[start:end].strip()
    start += text[start:end].find(bare)
    return start, start + len(bare)
