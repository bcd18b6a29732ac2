"""The verbs of language models: what they take, what they give."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from formers.data.bad_rows import refuse
from formers.decoding.options import DecodingOptions
from formers.errors import DataError
from formers.fields import Part
from formers.systems.choosing import Choose, PredictedChoice
from formers.systems.language_scores import EvaluateLanguage, named_scores, task_report, text_report
from formers.systems.system import Event, Piece, Remark, Typed

if TYPE_CHECKING:
    from formers.decoding.writer import Continuation
    from formers.systems.language_model import LanguageModel


@dataclass(frozen=True, kw_only=True)
class Generate:
    """How to go on with a text."""

    prompt: Annotated[str, Typed("PROMPT", positional=True, dash=True)] = ""
    """What to go on with; -: standard input. Without it, the beginning of a text."""
    decoding: Annotated[DecodingOptions, Part()] = field(default_factory=DecodingOptions)
    """How to write."""
    logprobs: bool = False
    """Print below each text its tokens and their log-probabilities."""


@dataclass(frozen=True)
class Generated:
    """A text that goes on from a prompt."""

    prompt: str
    text: str
    reason: Literal["stop", "length"]
    """Whether it ended by itself or a stop string, or had to."""
    tokens: list[str] | None = None
    log_probabilities: list[float] | None = None
    """Of the tokens, of what ended the text last."""
    number: int | None = field(default=None, metadata={"json": False})
    """Of several."""

    def line(self) -> str:
        lines = [self.text] if self.number is None else [f"--- {self.number}", self.text]
        pairs = zip(self.tokens or (), self.log_probabilities or (), strict=True)
        return "\n".join([*lines, *(f"{score:10.4f}  {name!r}" for name, score in pairs)])


def generate(language: LanguageModel, options: Generate) -> Iterator[Event]:
    """A text as it is written, or several when they are there."""
    decoding = options.decoding
    several = (decoding.samples or 1) > 1 or decoding.nbest > 1
    if several or decoding.beam(language.settings).width > 1:
        written = language.generate(options.prompt, **decoding.asked())
        for number, continuation in enumerate(written if decoding.several else [written], 1):
            yield generated(language, options, continuation, number if several else None)
            yield from cut(language, options, continuation)
        return
    writing = language.stream(options.prompt, **decoding.asked())
    for piece in writing:
        yield Piece(piece)
    assert writing.result is not None  # it has come to its end
    yield generated(language, options, writing.result, None)
    yield from cut(language, options, writing.result)


def generated(language: LanguageModel, options: Generate, continuation: Continuation, number: int | None) -> Generated:
    """The result, with its tokens where they are asked for."""
    result = Generated(options.prompt, continuation.text, continuation.reason, number=number)
    if not options.logprobs:
        return result
    names = language.needs_tokenizer().pieces(continuation.tokens)
    names += ["(end)"] * (len(continuation.scores) - len(names))
    return replace(result, tokens=names, log_probabilities=continuation.scores)


def cut(language: LanguageModel, options: Generate, continuation: Continuation) -> Iterator[Remark]:
    """A word on a text that had to end before it was as long as it may be."""
    from formers.decoding.options import MAX_TOKENS

    if continuation.reason == "length" and len(continuation.tokens) < (options.decoding.max_tokens or MAX_TOKENS):
        longest = language.model.config.length
        yield Remark(f"formers: the text has reached the {longest:,} tokens that this model reads")


def choose(language: LanguageModel, options: Choose) -> Iterator[Event]:
    """The likeliest choice of each question, with the share of each in what all choices are likely."""
    chooser = language.chooser()
    for number, (question, choices) in enumerate(options.questions(), 1):
        try:
            verdict = chooser.choose(question, choices, f"question {number}")
        except DataError as error:
            refuse(error)
            continue
        weights = [math.exp(total - max(verdict.totals)) for total in verdict.totals]
        probabilities = [weight / sum(weights) for weight in weights]
        yield PredictedChoice(question, choices[verdict.index], verdict.index, choices, probabilities)


def evaluate(language: LanguageModel, options: EvaluateLanguage) -> Iterator[Event]:
    """--text, --choices, or a run's own text: as training was watched, and by windows on its test documents."""
    if options.text or options.choices:
        yield from named_scores(language, options)
        return
    from formers.systems.language.task import task_of

    beginning = options.beginning("language")
    rows, source = beginning.rows, beginning.source
    reading: dict[str, Any] = rows.reading(source)
    held_out, judged = source.tables(**reading)[1], source.test_or_validation(**reading)
    watched = task_report(options, task_of(language, held_out, beginning), held_out.name)
    likelihood = text_report(language, options, judged.name, [text for text in judged.columns[rows.column] if text])
    rows_of = {score.name: f"of the rows of {held_out.name} that training was watched on" for score in watched.scores}
    yield replace(
        likelihood,
        scores=[*watched.scores, *likelihood.scores],
        facts={**likelihood.facts, "validation": held_out.name},
        remarks={**rows_of, **likelihood.remarks},
    )
