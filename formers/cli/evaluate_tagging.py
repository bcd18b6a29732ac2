"""`formers evaluate` for taggers: accuracy per word, F1 of entities, and how each tag was told."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from formers.cli.options import is_run
from formers.cli.output import note, show_table
from formers.cli.recipes import named
from formers.errors import ConfigError

if TYPE_CHECKING:
    from formers.systems.tagging import Tagger

NAMES = {
    "accuracy": "accuracy per word",
    "span_precision": "precision of entities",
    "span_recall": "recall of entities",
    "span_f1": "F1 of entities",
    "loss": "loss per word",
}


def evaluate_tagging(
    model: str,
    opened: Callable[[], Tagger],
    data: str | None,
    count: int | None,
    columns: dict[str, str | None],
    out: Path | None,
    as_json: bool,
) -> None:
    """Print the scores of a tagger on SOURCE, or on a run's own test data.

    columns: names for "text" (the words) and "label" (the tags) in place of the recipe's. out: word, true tag and
    given tag, a line each.
    """
    from formers.data.tagged import TaggedData

    recipe = named(model) if is_run(model) else None
    if data is None and recipe is None:
        raise ConfigError(f"{model} is not a run, so it has no test data of its own: give --data SOURCE")
    config = recipe.sections["data"] if recipe else TaggedData()
    config = replace(
        config,
        tokens=columns.get("text") or config.tokens,
        tags=columns.get("label") or config.tags,
        held_out=count or config.held_out,
        test=data or config.test,
    )
    table = config.read("test") or config.read("validation") or config.tables()[1]
    table = table.select(range(min(count or len(table), len(table))))
    tagger = opened()
    config.numbers(table, tagger.labels)
    sentences, tags = table.columns[config.tokens], table.columns[config.tags]
    begin = time.perf_counter()
    scores, said = tagger.judge(sentences, tags)
    seconds = time.perf_counter() - begin
    words = sum(map(len, sentences))
    if out is not None:
        blocks = (
            "".join(f"{word}\t{true}\t{given or '-'}\n" for word, true, given in zip(*row, strict=True))
            for row in zip(sentences, tags, said, strict=True)
        )
        out.write_text("\n".join(blocks), encoding="utf-8")
    result: dict[str, Any] = {
        "model": model,
        "data": table.name,
        "sentences": len(table),
        "words": words,
        **scores,
        "words_per_second": words / seconds,
    }
    if as_json:
        note(json.dumps(result, ensure_ascii=False))
        return
    lines = [(NAMES[name], f"{scores[name]:.4f}") for name in NAMES if name in scores]
    lines.append(("words per second", f"{words / seconds:,.0f}"))
    show_table(
        f"{model}: {len(table):,} sentences, {words:,} words of {table.name}",
        ["score", "value"],
        lines,
        right=["value"],
    )
    show_tags(tags, said)
    if out is not None:
        note(f"words with both tags: {out}")


def show_tags(tags: Sequence[Sequence[str]], said: Sequence[Sequence[str]]) -> None:
    """For each tag how often it is there, how many were found, how many of those given are right, and its rival."""
    pairs = Counter((true, given) for row in zip(tags, said, strict=True) for true, given in zip(*row, strict=True))
    there, given = Counter[str](), Counter[str]()
    for (true, told), times in pairs.items():
        there[true] += times
        given[told] += times
    rows = []
    for tag, times in there.most_common():
        right = pairs[tag, tag]
        rival = max(((n, told) for (true, told), n in pairs.items() if true == tag and told != tag), default=(0, ""))
        rows.append(
            (
                tag,
                f"{times:,}",
                f"{right / times:.1%}",
                f"{right / given[tag]:.1%}" if given[tag] else "",
                f"{rival[1] or '-'} ({rival[0]:,})" if rival[0] else "",
            )
        )
    show_table(
        "tags", ["tag", "words", "found", "right", "most often taken for"], rows, right=["words", "found", "right"]
    )
