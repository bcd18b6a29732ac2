"""`formers evaluate` for language models: how likely a text is to one, which answers it prefers."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from formers.cli.output import note, short, show_table
from formers.cli.recipes import named
from formers.errors import ConfigError

if TYPE_CHECKING:
    from formers.data.questions import ChoiceQuestion
    from formers.systems.choices import Choice
    from formers.systems.language import LanguageModel

SHOWN = 3  # questions that are printed


def evaluate_language(
    model: str,
    opened: Callable[[], LanguageModel],
    text: str | None,
    choices: str | None,
    window: int | None,
    stride: int | None,
    shots: int,
    count: int | None,
    as_json: bool,
) -> None:
    """Measure what is asked for; nothing: the test text of a run."""
    if text is not None and choices is not None:
        raise ConfigError("give --text or --choices, not both")
    if choices is not None:
        multiple_choice(model, opened, choices, shots, count, as_json)
    else:
        perplexity(model, opened, text, window, stride, as_json)


def perplexity(
    model: str,
    opened: Callable[[], LanguageModel],
    text: str | None,
    window: int | None,
    stride: int | None,
    as_json: bool,
) -> None:
    """How likely a text is, or each document of a run's test text."""
    from formers.decoding.log_probabilities import Scored

    name, texts = own_texts(model) if text is None else (text, [whole_text(text)])
    language = opened()
    begin = time.perf_counter()
    found = Scored.joined([language.score(each, window=window, stride=stride) for each in texts])
    seconds = time.perf_counter() - begin
    longest = language.model.config.length if window is None else window
    apart = max(1, longest // 2) if stride is None else stride
    result = {
        "model": model, "text": name, "documents": len(texts), "tokens": len(found.tokens), "bytes": found.bytes,
        "window": longest, "stride": apart, "perplexity": found.perplexity, "bits_per_byte": found.bits_per_byte,
        "tokens_per_second": len(found.tokens) / seconds,
    }  # fmt: skip
    if as_json:
        note(json.dumps(result, ensure_ascii=False))
        return
    rows = [
        ("perplexity", f"{found.perplexity:.3f}", f"per token, in windows of {longest:,} that begin {apart:,} apart"),
        ("bits per byte", f"{found.bits_per_byte:.4f}", f"{found.bytes:,} bytes of UTF-8"),
        ("tokens", f"{len(found.tokens):,}", "counted"),
        ("speed", f"{len(found.tokens) / seconds:,.0f}", "counted tokens per second"),
    ]
    show_table(f"{model}: {name}", ["score", "value", "what"], rows, right=["value"])


def whole_text(name: str) -> str:
    from formers.data.files import fault, read_text

    found = read_text(name)
    if not found:
        raise fault(name, "is empty, expected a text to score")
    return found


def own_texts(model: str) -> tuple[str, list[str]]:
    """The documents that a run's recipe keeps for judging."""
    recipe = named(model)
    assert recipe is not None  # the caller has seen the run
    if recipe.system != "language":
        raise ConfigError(
            f"{model} has learned from {recipe.system} data, not from plain text: give --text FILE or --choices FILE"
        )
    config = recipe.sections["data"]
    table = config.read("test") or config.read("validation") or config.tables()[1]
    return table.name, [each for each in table.columns[config.column] if each]


def multiple_choice(
    model: str, opened: Callable[[], LanguageModel], file: str, shots: int, count: int | None, as_json: bool
) -> None:
    """Which answers are right, by likelihood."""
    from formers.data.questions import read_questions
    from formers.systems.choices import accuracies, judge

    questions = read_questions(file)
    questions = questions if count is None else questions[: shots + count]
    language = opened()
    begin = time.perf_counter()
    judged = list(judge(language.chooser, questions, shots=shots))
    seconds = time.perf_counter() - begin
    scores = accuracies(judged)
    result: dict[str, Any] = {
        "model": model, "choices": file, "questions": len(judged), "shots": shots, **scores,
        "questions_per_second": len(judged) / seconds,
    }  # fmt: skip
    if as_json:
        note(json.dumps(result, ensure_ascii=False))
        return
    error = 100 * math.sqrt(0.25 / len(judged))
    rows = [
        ("accuracy", f"{scores['accuracy']:.1f}", "% whose right answer has the highest log-probability"),
        ("accuracy, normalised", f"{scores['accuracy_normalised']:.1f}", "% ... the highest per byte"),
        ("chance", f"{scores['chance']:.1f}", f"% by guessing; a standard error is at most {error:.1f}"),
        ("speed", f"{len(judged) / seconds:.1f}", "questions per second"),
    ]
    title = f"{model}: {len(judged):,} questions of {file}, {shots} examples before each"
    show_table(title, ["score", "value", "what"], rows, right=["value"])
    show_answers(judged)


def show_answers(judged: Sequence[tuple[ChoiceQuestion, Choice]]) -> None:
    """A few questions from all over the file."""
    rows = []
    for each, choice in judged[:: max(1, len(judged) // SHOWN)][:SHOWN]:
        rows += [("question", short(each.question)), ("said", short(each.choices[choice.index])),
                 ("right", short(each.choices[each.answer])), ("", "")]  # fmt: skip
    show_table("examples", ["", "text"], rows[:-1])
