"""The verb of models that have learned preferences; all others are those of language models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from formers.systems.language_scores import EvaluateLanguage, named_scores, task_report
from formers.systems.system import Event

if TYPE_CHECKING:
    from formers.systems.language_model import LanguageModel


def evaluate(language: LanguageModel, options: EvaluateLanguage) -> Iterator[Event]:
    """--text, --choices, or a run's test pairs, else those that it was watched on."""
    if options.text or options.choices:
        yield from named_scores(language, options)
        return
    from formers.systems.preferences.task import judged_task

    beginning = options.beginning("preferences")
    task = judged_task(language, beginning)
    yield task_report(options, task, task.validation.table.name)
