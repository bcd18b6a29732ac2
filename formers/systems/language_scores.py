"""What language models of every training are measured by: the likelihood of a text, the answers they prefer."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from formers.errors import ConfigError
from formers.fields import Count, Natural, check
from formers.systems.system import NOWHERE, Event, Origin, Report, Typed, cost, perplexity

if TYPE_CHECKING:
    from formers.data.questions import ChoiceQuestion
    from formers.systems.begin import Beginning
    from formers.systems.language_model import LanguageModel
    from formers.training.task import Task

SHOWN = 3  # questions that are shown


@dataclass(frozen=True, kw_only=True)
class EvaluateLanguage:
    """What to measure a language model on."""

    origin: Origin = NOWHERE
    """The model's own recipe."""
    text: Annotated[str, Typed(metavar="FILE", file=True, plain=True)] = ""
    """How likely this text is: perplexity, bits per byte (default for a run: its own data)."""
    window: Natural | None = None
    """Tokens that are read at a time (default: all that the model reads)."""
    stride: Natural | None = None
    """Tokens from the beginning of a window to that of the next (default: half a window)."""
    choices: Annotated[str, Typed(metavar="FILE", file=True)] = ""
    """Questions as JSONL: {"question": ..., "choices": [...], "answer": ...} a line."""
    shots: Count = 0
    """The first N questions are examples, which stand before each of the others."""
    count: Natural | None = None
    """Only the first N questions."""

    def __post_init__(self) -> None:
        check(self)
        if self.text and self.choices:
            raise ConfigError("give --text or --choices, not both")
        if self.choices:
            _ = self.questions  # what is wrong with them is said before the model is opened

    @cached_property
    def questions(self) -> list[ChoiceQuestion]:
        """Those of --choices, as many as are asked for."""
        from formers.data.questions import read_questions

        return read_questions(self.choices)[: None if self.count is None else self.shots + self.count]

    def beginning(self, system: str) -> Beginning:
        """What the model's run began with. Raises ConfigError where it is no run of this system."""
        from formers.systems.begin import Beginning

        origin = self.origin
        if origin.sections is None or origin.system != system:
            other = f"is a run of the system {origin.system}, so it has no data for {system} models"
            what = other if origin.system else "is not a run, so it has no data of its own"
            raise ConfigError(f"{origin.name} {what}: give --text FILE or --choices FILE (a language model)")
        return Beginning(origin.sections, Path(origin.name).expanduser())


def named_scores(language: LanguageModel, options: EvaluateLanguage) -> Iterator[Event]:
    """The report on --text or --choices; nothing where neither is given."""
    from formers.data.files import fault, read_text

    if options.choices:
        yield choices_report(language, options)
    elif options.text:
        text = read_text(options.text)
        if not text:
            raise fault(options.text, "is empty, expected a text to score")
        yield text_report(language, options, options.text, [text])


def text_report(language: LanguageModel, options: EvaluateLanguage, name: str, texts: Sequence[str]) -> Report:
    """How likely texts are, read in windows, each from its beginning."""
    from formers.decoding.log_probabilities import Scored

    begin = time.perf_counter()
    scored = Scored.joined([language.score(text, window=options.window, stride=options.stride) for text in texts])
    speed = len(scored.tokens) / (time.perf_counter() - begin)
    window = language.model.config.length if options.window is None else options.window
    stride = max(1, window // 2) if options.stride is None else options.stride
    return Report(
        [perplexity(scored.loss), cost("bits_per_byte", scored.bits_per_byte, "")],
        title=f"{options.origin.name}: {name}",
        facts={
            "model": options.origin.name,
            "text": name,
            "documents": len(texts),
            "tokens": len(scored.tokens),
            "bytes": scored.bytes,
            "window": window,
            "stride": stride,
            "tokens_per_second": speed,
        },
        remarks={
            "perplexity": f"per token, in windows of {window:,} that begin {stride:,} apart",
            "bits_per_byte": f"{scored.bytes:,} bytes of UTF-8",
            "tokens": f"{len(scored.tokens):,} counted",
            "speed": f"{speed:,.0f} counted tokens per second",
        },
    )


def choices_report(language: LanguageModel, options: EvaluateLanguage) -> Report:
    """Which answers are right, by likelihood."""
    from formers.systems.choices import accuracies, judge

    begin = time.perf_counter()
    judged = list(judge(language.chooser, options.questions, shots=options.shots))
    speed = len(judged) / (time.perf_counter() - begin)
    error = math.sqrt(0.25 / len(judged))
    return Report(
        accuracies(judged),
        title=f"{options.origin.name}: {len(judged):,} questions of {options.choices}, "
        f"{options.shots} examples before each",
        facts={
            "model": options.origin.name,
            "choices": options.choices,
            "questions": len(judged),
            "shots": options.shots,
            "questions_per_second": speed,
        },
        remarks={
            "accuracy": "right answer has the highest log-probability",
            "accuracy_normalised": "... the highest per byte",
            "chance": f"by guessing; a standard error is at most {error:.1%}",
            "speed": f"{speed:.1f} questions per second",
        },
        examples=[
            {
                "question": question.question,
                "said": question.choices[choice.index],
                "right": question.choices[question.answer],
            }
            for question, choice in judged[:: max(1, len(judged) // SHOWN)][:SHOWN]
        ],
    )


def task_report(options: EvaluateLanguage, task: Task, data: str) -> Report:
    """What training showed of this model: its task's own evaluation, on the rows that it was watched on."""
    from formers.systems.reading import reading

    with reading(task.model):
        report = task.evaluate()
    assert isinstance(report, Report)
    title = f"{options.origin.name}: {data}"
    return replace(report, title=title, facts={"model": options.origin.name, "data": data, **report.facts})
