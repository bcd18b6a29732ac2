"""A text into sentences, each with what the text says of the whole: `>>fra<<`, or a task of T5."""

from __future__ import annotations

import re

from formers.data.sentences import split_spans

TAGS = re.compile(r"(?:>>[^<>\s]+<<\s*)+")  # Marian's models of several languages: which one is wanted
TRANSLATE = re.compile(r"translate [\w' -]{1,40} to [\w' -]{1,40}:\s+", re.IGNORECASE)
TASK = re.compile(r"[a-z][\w' -]{0,60}:\s")  # summarize: ...; stsb sentence1: ...


def instruction(text: str, *, tasks: bool) -> str:
    """What the beginning of a text asks for, "" where it asks for nothing. tasks: as in `split_input`."""
    match = TAGS.match(text) or (tasks and (TRANSLATE.match(text) or TASK.match(text)))
    return match[0] if match else ""


def split_input(text: str, *, tasks: bool) -> list[tuple[str, str]]:
    """Pairs of what a model reads for a sentence, and what stands behind that sentence.

    An instruction at the beginning is read with every sentence. tasks: whether the model is told its task in words,
    as T5 is; another task than translating is about the whole text, which then is not split.
    """
    body = text.lstrip()
    lead = text[: len(text) - len(body)]
    found = TAGS.match(body) or (TRANSLATE.match(body) if tasks else None)
    if found is None and tasks and TASK.match(body):
        return [(text, "")]
    if found is None or found.end() == len(body):
        return split_spans(text)
    spans = split_spans(body[found.end() :])
    return [*([("", lead)] if lead else []), *((found[0] + sentence, gap) for sentence, gap in spans)]
