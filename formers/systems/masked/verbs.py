"""The verbs of masked words: what they take, what they give."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from formers.errors import DataError, TextsError, on_a_line, shortened
from formers.fields import Natural, Part
from formers.systems.measure import PLAIN, Measure, or_suite
from formers.systems.system import Event, ResultTable, Typed
from formers.systems.texts import Texts

if TYPE_CHECKING:
    from formers.systems.masked.system import Candidate, MaskedModel, Suspect

WIDTH = 100  # most characters of a text that a table shows


@dataclass(frozen=True, kw_only=True)
class Fill:
    """What to fill in."""

    texts: Texts
    """Texts with [MASK]; without them, or for -, standard input is read line by line."""
    top: Natural = 5
    """Words for each mask."""


@dataclass(frozen=True)
class Filled:
    """A text, and for each of its masks the likeliest words."""

    text: str
    masks: Sequence[Sequence[Candidate]]

    def line(self) -> str:
        return "\n".join(f"{word.probability:.4f}\t{word.word}\t{word.text}" for gap in self.masks for word in gap)

    def table(self) -> ResultTable:
        rows = [
            (f"mask {number}", f"{word.probability:.4f}", word.word, shortened(on_a_line(word.text), WIDTH))
            for number, gap in enumerate(self.masks, 1)
            for word in gap
        ]
        several = len(self.masks) > 1  # which mask a word is for needs a column
        columns = ("", "probability", "word", "text")[not several :]
        return ResultTable(
            shortened(on_a_line(self.text), WIDTH), columns, [row[not several :] for row in rows], ["probability"]
        )


@dataclass(frozen=True)
class Detected:
    """A text, and of each of its tokens how probable it is that somebody has replaced it."""

    text: str
    tokens: Sequence[Suspect]

    def line(self) -> str:
        return "\n".join(f"{token.probability:.4f}\t{token.word}" for token in self.tokens)

    def table(self) -> ResultTable:
        rows = [
            (f"{token.probability:.4f}", token.word, "replaced" if token.probability > 0.5 else "")
            for token in self.tokens
        ]
        return ResultTable(shortened(on_a_line(self.text), WIDTH), ("probability", "token", ""), rows, ["probability"])


def fill(masked: MaskedModel, options: Fill) -> Iterator[Event]:
    """The words for each mask of each text; of an ELECTRA discriminator, what it suspects of each token."""
    from formers.models.heads import ReplacedTokens

    detects, any_text = isinstance(masked.model, ReplacedTokens), False

    def work(group: Sequence[str]) -> Iterator[Event]:
        nonlocal any_text
        places = [place for place, text in enumerate(group) if text.strip()]
        texts = [group[place] for place in places]
        any_text = any_text or bool(texts)
        try:
            if detects:
                masked.encodings(texts)  # all are looked at before one is worked on
                return (Detected(text, masked.detect(text)) for text in texts)
            return map(Filled, texts, masked.fill(texts, top=options.top) if texts else ())
        except TextsError as error:
            raise error.among(places) from None

    yield from options.texts.worked(work)
    if not any_text:
        raise DataError("there is no text to fill: give texts, --file, or lines on standard input")


@dataclass(frozen=True, kw_only=True)
class EvaluateMasked:
    """What to measure a masked language model on."""

    text: Annotated[str, Typed("FILE", file=True, plain=True)] = ""
    """A text to read (default: a run's test data, else builtin:prose)."""
    measure: Annotated[Measure, Part()] = PLAIN
    """What every encoder's `evaluate` has."""


@or_suite
def evaluate(masked: MaskedModel, options: EvaluateMasked) -> Iterator[Event]:
    """How well hidden words are said: hidden as the run's recipe says, else as BERT's were, the same every time.

    Next sentences are judged where the model can and the text has documents.
    """
    from formers.data.source import Source
    from formers.models.heads import Pretraining
    from formers.systems.masked import SYSTEM
    from formers.systems.masked.data import MaskedRows
    from formers.systems.masked.task import batches_of, judge
    from formers.systems.reading import reader_of, reading

    words, origin = masked.words, options.measure.origin
    source = origin.section("data", "masked") or Source(**SYSTEM.data)
    rows = origin.section("rows", "masked") or MaskedRows()
    if options.text:
        source = replace(source, test=options.text)
    table = source.test_or_validation(**rows.reading(source) | {"settings": {}})  # no option names another column
    reader = reader_of(masked.tokenizer, words.config.encoder, rows.length)
    judged = isinstance(words, Pretraining)
    try:
        batches = batches_of(table, replace(rows, next_sentence=judged), reader, source.seed)
    except DataError:  # one document, or none with two sentences: no pairs to judge
        if not judged:
            raise
        judged = False
        batches = batches_of(table, replace(rows, next_sentence=False), reader, source.seed)
    begin = time.perf_counter()
    with reading(words):
        report = judge(words, batches, options.measure.count or 0)
    seconds = time.perf_counter() - begin
    number, documents = len(batches.plan(0).places), len(batches.sentences)
    number, unknown = min(options.measure.count or number, number), batches.sentences.unknown
    remarks = {score.name: SYSTEM.scores[score.name] for score in report.scores}
    remarks["unknown"] = f"{unknown:.3%} of the tokens"
    if isinstance(words, Pretraining) and not judged:
        remarks["next accuracy"] = "not judged: the text is one document, or none has two sentences"
    yield replace(
        report,
        title=f"{origin.name}: {number:,} rows of {table.name}, {documents:,} document(s)",
        facts={
            "model": origin.name,
            "text": table.name,
            "documents": documents,
            "rows": number,
            "unknown": unknown,
            "seconds": seconds,
        },
        remarks=remarks,
    )
