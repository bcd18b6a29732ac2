"""SQuAD's own file form: articles of paragraphs of questions, one JSON object (Rajpurkar et al. 2016, 2018)."""

# Annotations are no strings here: NotRequired is seen only when the class is made.
from collections.abc import Iterator
from typing import Annotated, NotRequired, TypedDict, cast

from formers import shapes
from formers.data.files import fault, quoted, read_text
from formers.data.limits import budget
from formers.data.objects import parsed, size_of
from formers.data.sources import Table
from formers.fields import Between


class SquadAnswer(TypedDict):
    text: str
    answer_start: Annotated[int, Between(0)]


class SquadQuestion(TypedDict):
    question: str
    answers: NotRequired[list[SquadAnswer]]
    is_impossible: NotRequired[bool]


class SquadParagraph(TypedDict):
    context: str
    qas: list[SquadQuestion]


class SquadArticle(TypedDict):
    paragraphs: list[SquadParagraph]


class SquadFile(TypedDict):
    data: list[SquadArticle]


def is_squad(name: str) -> bool:
    """Whether a .json file begins with an object instead of a list of rows."""
    return read_text(name).lstrip().startswith("{")


def read_squad(name: str, columns: list[str]) -> Table:
    """Rows of (context, question, answers, their starts), named by `columns`.

    Raises DataError, one line, where the file is no JSON or is built otherwise.
    """
    text = read_text(name)
    budget().check(name, values=size_of(text))
    whole = parsed(name, text, 0)
    if message := shapes.fault(whole, SquadFile):
        form = "is one object, but not in SQuAD's form (data > paragraphs > qas)"
        raise fault(name, f"{form}: {message}; write a list of objects, or .jsonl")
    rows = list(_rows(name, cast(SquadFile, whole)))
    if not rows:
        raise fault(name, "there are no questions, expected at least one")
    return Table(name, {column: [row[at] for row in rows] for at, column in enumerate(columns)})


def _rows(name: str, whole: SquadFile) -> Iterator[tuple[str, str, list[str], list[int]]]:
    for article in whole["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                # of an unanswerable question SQuAD 2.0 names answers that only seem to be some elsewhere
                answers = [] if question.get("is_impossible") else question.get("answers")
                if answers is None:
                    asked = quoted(question["question"])
                    raise fault(name, f'the question {asked} has no "answers", nor is it marked as is_impossible')
                yield (
                    paragraph["context"],
                    question["question"],
                    [answer["text"] for answer in answers],
                    [answer["answer_start"] for answer in answers],
                )
