"""The verbs of translation: what they take, what they give."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from formers.decoding.options import DecodingOptions
from formers.errors import ConfigError
from formers.fields import Natural, Part, check
from formers.files import replace_file
from formers.systems.system import NOWHERE, Event, Origin, Typed
from formers.systems.texts import Texts

if TYPE_CHECKING:
    from formers.systems.translation.system import Translation, Translator

SHOWN = 3  # sentences of an evaluation that are shown


@dataclass(frozen=True, kw_only=True)
class Translate:
    """How to translate."""

    texts: Texts
    """What to translate; without it, standard input is read."""
    to: Annotated[str, Typed(metavar="LANGUAGE")] = ""
    """Language to write, by the model's own name for it, such as fra_Latn, fr_XX, fr or fra."""
    source_language: Annotated[str, Typed(metavar="LANGUAGE")] = ""
    """Language of the texts, where a model of several is to know it (default: as the model asks)."""
    scores: bool = False
    """Print below each translation its tokens and their log-probabilities."""
    prefix: str = ""
    """How every translation must begin."""
    no_split: bool = False
    """Do not split a text into sentences (nor with nbest or samples)."""
    long: Literal["refuse", "cut", "split"] = "refuse"
    """A sentence that is too long for the model: refuse it, cut it, or split it between words (not with nbest ...)."""
    decoding: Annotated[DecodingOptions, Part()] = field(default_factory=DecodingOptions)
    """How the translation is written."""

    def __post_init__(self) -> None:
        check(self)
        if self.long == "split" and self.decoding.several:
            raise ConfigError("--long split gives one translation of a text: leave out samples and nbest")


@dataclass(frozen=True)
class TranslatedSentence:
    """One sentence of a text."""

    translation: str
    score: float
    tokens: list[str]
    log_probabilities: list[float]


@dataclass(frozen=True)
class Translated:
    """A text and its translation; with `nbest` or `samples` one of its candidates."""

    text: str
    translation: str
    score: float | None = None
    """What ranks candidates."""
    tokens: list[str] | None = None
    log_probabilities: list[float] | None = None
    """Of the tokens, the one that ends the text last."""
    sentences: list[TranslatedSentence] | None = None
    """Of a text that was split, with `scores`: each has tokens and scores of its own."""
    ranked: bool = field(default=False, metadata={"json": False})
    """Whether its line begins with the score."""

    def line(self) -> str:
        lines = [f"{self.score:.4f}\t{self.translation}" if self.ranked else self.translation]
        parts: list[Any] = list(self.sentences or ()) or [self]
        for part in parts:
            if part.tokens and part.log_probabilities:
                lines += aligned(part.tokens, [f"{score:.2f}" for score in part.log_probabilities])
        return "\n".join(lines)


def translate(translator: Translator, options: Translate) -> Iterator[Event]:
    """Each text's translation, a group of texts at a time."""
    translator.needs_tokenizer()
    translator = translator.speaking(to=options.to, source_language=options.source_language)
    how = {"prefix": options.prefix, **vars(options.decoding)}

    def work(texts: Sequence[str]) -> Iterator[Event]:
        if options.decoding.several:
            read = [translator.fitting(text, "", options.long)[0][0] for text in texts]
            several = zip(texts, translator.candidates(read, **how), strict=True)
            return (described(text, candidate, translator, options) for text, each in several for candidate in each)
        parts = translator.sentences(texts, split=not options.no_split, long=options.long, **how)
        return (whole(text, sentences, translator, options) for text, sentences in zip(texts, parts, strict=True))

    yield from options.texts.worked(work)


def whole(
    text: str, sentences: Sequence[tuple[Translation, str]], translator: Translator, options: Translate
) -> Translated:
    """A text of one or several sentences, with the scores of each where they are asked for."""
    translation = "".join(part.text + gap for part, gap in sentences)
    scored = [described(text, part, translator, options) for part, _ in sentences if part.scores]
    if not options.scores or not scored:
        return Translated(text, translation)
    if len(scored) == 1:
        return replace(scored[0], translation=translation)
    each = [
        TranslatedSentence(one.translation, one.score or 0.0, one.tokens or [], one.log_probabilities or [])
        for one in scored
    ]
    tokens = [token for one in each for token in one.tokens]
    return Translated(text, translation, None, tokens, [p for one in each for p in one.log_probabilities], each)


def described(text: str, candidate: Translation, translator: Translator, options: Translate) -> Translated:
    tokens = None
    if options.scores and candidate.scores:
        tokenizer = translator.needs_tokenizer()
        tokens = [*candidate.pieces, *tokenizer.pieces(translator.settings.stop[:1])][: len(candidate.scores)]
    ranked = options.decoding.nbest > 1 and bool(candidate.pieces)
    log_probabilities = candidate.scores if options.scores else None
    return Translated(text, candidate.text, candidate.score, tokens, log_probabilities, ranked=ranked)


def aligned(names: list[str], numbers: list[str]) -> list[str]:
    """Two lines, each number below its name, aligned at the right."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, cell)) for cell in zip(names, numbers, strict=True)]
    return [
        "  " + "  ".join(" " * (width - cell_len(text)) + text for text, width in zip(row, widths, strict=True))
        for row in (names, numbers)
    ]


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """What to measure a translation model on."""

    origin: Origin = NOWHERE
    """The model's own recipe."""
    data: Annotated[str, Typed("SOURCE", file=True)] = ""
    """Rows to measure on (default for a run: its test data)."""
    source: str = ""
    """Column to translate from."""
    target: str = ""
    """Column to translate into."""
    to: Annotated[str, Typed(metavar="LANGUAGE")] = ""
    """Language of that column, by the model's own name for it (default: as the model asks, or rows.to)."""
    source_language: Annotated[str, Typed(metavar="LANGUAGE")] = ""
    """Language of the column to translate from (default: as the model asks, or rows.source_language)."""
    beams: Natural | None = None
    """Beams; 1 is greedy (default: as the model asks)."""
    length_penalty: float | None = None
    """Above 1: longer; below 1: shorter (default: as the model asks)."""
    count: Natural | None = None
    """Only the first N rows."""


def evaluate(translator: Translator, options: Evaluate) -> Iterator[Event]:
    """BLEU, chrF and exact match on the pairs of --data, or on a run's own test data."""
    from formers.systems.begin import judged_rows
    from formers.systems.translation.data import PairRows

    rows, table = judged_rows(options, "translation", PairRows, source="source", target="target")
    sources, targets = table.columns[rows.source], table.columns[rows.target]
    to, source_language = options.to or rows.to, options.source_language or rows.source_language
    translator = translator.speaking(to=to, source_language=source_language)
    begin = time.perf_counter()
    report, hypotheses = translator.evaluate(
        sources, targets, beams=options.beams, length_penalty=options.length_penalty
    )
    speed = len(hypotheses) / (time.perf_counter() - begin)

    def write(path: Path) -> None:
        replace_file(path, "".join(text.replace("\n", " ") + "\n" for text in hypotheses).encode())

    yield replace(
        report,
        title=f"{options.origin.name}: {len(sources):,} sentences of {table.described}, {rows.source} -> {rows.target}",
        facts={"model": options.origin.name, "data": table.name, **report.facts, "sentences_per_second": speed},
        remarks={
            **report.facts["signatures"],
            "exact_match": "of sentences",
            "speed": f"{speed:.1f} sentences per second, scoring included",
        },
        examples=[
            {rows.source: sources[i], "translation": hypotheses[i], rows.target: targets[i]}
            for i in range(0, len(sources), max(1, len(sources) // SHOWN))
        ][:SHOWN],
        files={"": write},
    )
