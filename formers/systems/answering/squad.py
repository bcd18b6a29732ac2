"""SQuAD's own file form: articles of paragraphs of questions, one JSON object (Rajpurkar et al. 2016, 2018)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from formers.data.files import fault, read_text
from formers.data.sources import Table


def is_squad(name: str) -> bool:
    """Whether a .json file begins with an object instead of a list of rows."""
    return read_text(name).lstrip().startswith("{")


def read_squad(name: str, columns: list[str]) -> Table:
    """Rows of (context, question, answers, their starts), named by `columns`.

    Raises DataError, one line, where the file is no JSON or is built otherwise.
    """
    try:
        rows = list(_rows(json.loads(read_text(name))))
    except json.JSONDecodeError as error:
        raise fault(f"{name}, line {error.lineno}, column {error.colno}", f"bad JSON: {error.msg}") from None
    except (KeyError, TypeError) as error:
        raise fault(
            name,
            f"is one object, but not in SQuAD's form (data > paragraphs > qas; missing: {error}); write "
            "a list of objects, or .jsonl",
        ) from None
    if not rows:
        raise fault(name, "there are no questions, expected at least one")
    return Table(name, {column: [row[at] for row in rows] for at, column in enumerate(columns)})


def _rows(whole: Any) -> Iterator[tuple[str, str, list[Any], list[Any]]]:
    for article in whole["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                answers = [] if question.get("is_impossible") else question["answers"]
                yield (
                    paragraph["context"],
                    question["question"],
                    [answer["text"] for answer in answers],
                    [answer["answer_start"] for answer in answers],
                )
