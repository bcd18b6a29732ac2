"""`formers evaluate` for models that answer from passages: exact match and F1, as SQuAD defines them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from formers.cli.options import is_run
from formers.cli.output import note, short, show_table
from formers.cli.recipes import named
from formers.errors import ConfigError

if TYPE_CHECKING:
    from formers.systems.answering import Answerer

NAMES = {
    "exact_match": "exact match",
    "f1": "F1",
    "exact_match_answered": "exact match, questions with an answer",
    "f1_answered": "F1, questions with an answer",
    "exact_match_unanswerable": "exact match, questions without",
    "f1_unanswerable": "F1, questions without",
    "loss": "loss per window",
}
SHOWN = 4  # questions that are printed


def evaluate_answering(
    model: str,
    opened: Callable[[], Answerer],
    data: str | None,
    count: int | None,
    columns: dict[str, str | None],
    out: Path | None,
    as_json: bool,
) -> None:
    """Print the scores of a model on SOURCE, or on a run's own test data.

    columns: names for "text" (the passage), "second" (the question) and "label" (the answers) in place of the
    recipe's. out: question, answer and true answers as JSONL.
    """
    from formers.data.passages import PassageData
    from formers.metrics.answers import answer_scores
    from formers.systems.answering_tasks import AnsweringConfig, AnsweringTask
    from formers.text.reader import Reader

    recipe = named(model) if is_run(model) else None
    if data is None and recipe is None:
        raise ConfigError(f"{model} is not a run, so it has no test data of its own: give --data SOURCE")
    config = recipe.sections["data"] if recipe else PassageData()
    config = replace(
        config,
        context=columns.get("text") or config.context,
        question=columns.get("second") or config.question,
        answers=columns.get("label") or config.answers,
        held_out=count or config.held_out,
        test=data or config.test,
    )
    table = config.read("test") or config.read("validation") or config.tables()[1]
    table = table.select(range(min(count or len(table), len(table))))
    answerer = opened()
    reader = answerer.needs_reader()
    answerer.reader = Reader(reader.tokenizer, config.length or reader.length, segments=reader.segments)
    task = AnsweringTask(answerer, table, config, recipe.sections["task"] if recipe else AnsweringConfig())
    begin = time.perf_counter()
    loss, said = task.judge(task.everything)
    seconds = time.perf_counter() - begin
    questions, truths = table.columns[config.question], table.columns[config.answers]
    scores = {"loss": loss, **answer_scores([each.text for each in said], truths)}
    if out is not None:
        rows = (
            {"question": question, **asdict(each), "answers": true}
            for question, each, true in zip(questions, said, truths, strict=True)
        )
        out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    result: dict[str, Any] = {
        "model": model,
        "data": table.name,
        "questions": len(table),
        **scores,
        "questions_per_second": len(table) / seconds,
    }
    if as_json:
        note(json.dumps(result, ensure_ascii=False))
        return
    lines = [(NAMES[name], f"{scores[name]:.4f}") for name in NAMES if name in scores]
    lines.append(("questions per second", f"{len(table) / seconds:.1f}"))
    passages = len(set(table.columns[config.context]))
    show_table(
        f"{model}: {len(table):,} questions on {passages:,} passages of {table.name}",
        ["score", "value"],
        lines,
        right=["value"],
    )
    shown = []
    for row in range(0, len(table), max(1, len(table) // SHOWN))[:SHOWN]:
        shown += [
            ("question", short(questions[row])),
            ("said", short(said[row].text or "(no answer)")),
            ("right", short(truths[row][0] if truths[row] else "(no answer)")),
            ("", ""),
        ]
    show_table("examples", ["", "text"], shown[:-1])
    if out is not None:
        note(f"answers: {out}")
