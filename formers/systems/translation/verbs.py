"""The verbs of translation: what they take, what they give."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from formers.decoding.options import DecodingOptions
from formers.fields import Natural, Part
from formers.systems.system import NOWHERE, Event, Origin, Texts, Typed

if TYPE_CHECKING:
    from formers.systems.translation.system import Translation, Translator

SHOWN = 3  # sentences of an evaluation that are shown


@dataclass(frozen=True, kw_only=True)
class Translate:
    """How to translate."""

    texts: Texts
    """What to translate; without it, standard input is read."""
    scores: bool = False
    """Print below each translation its tokens and their log-probabilities."""
    prefix: str = ""
    """How every translation must begin."""
    no_split: bool = False
    """Do not split a text into sentences (nor with nbest or samples)."""
    decoding: Annotated[DecodingOptions, Part()] = field(default_factory=DecodingOptions)
    """How the translation is written."""


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
        for part in self.sentences or [self]:
            if part.tokens and part.log_probabilities:
                lines += aligned(part.tokens, [f"{score:.2f}" for score in part.log_probabilities])
        return "\n".join(lines)


def translate(translator: Translator, options: Translate) -> Iterator[Event]:
    """Each text's translation, a group of texts at a time."""
    translator.needs_tokenizer()
    for texts in options.texts:
        how = {"prefix": options.prefix, **vars(options.decoding)}
        if options.decoding.several:
            for text, candidates in zip(texts, translator.candidates(texts, **how), strict=True):
                yield from (described(text, candidate, translator, options) for candidate in candidates)
            continue
        for text, parts in zip(texts, translator.sentences(texts, split=not options.no_split, **how), strict=True):
            translation = "".join(part.text + gap for part, gap in parts)
            scored = [described(text, part, translator, options) for part, _ in parts if part.scores]
            if not options.scores or not scored:
                yield Translated(text, translation)
            elif len(scored) == 1:
                yield replace(scored[0], translation=translation)
            else:
                sentences = [
                    TranslatedSentence(one.translation, one.score or 0.0, one.tokens or [], one.log_probabilities or [])
                    for one in scored
                ]
                tokens = [token for one in sentences for token in one.tokens]
                scores = [score for one in sentences for score in one.log_probabilities]
                yield Translated(text, translation, None, tokens, scores, sentences)


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

    rows, table = judged_rows(options, "translation", PairRows, source=options.source, target=options.target)
    sources, targets = table.columns[rows.source], table.columns[rows.target]
    begin = time.perf_counter()
    report, hypotheses = translator.evaluate(
        sources, targets, beams=options.beams, length_penalty=options.length_penalty
    )
    speed = len(hypotheses) / (time.perf_counter() - begin)

    def write(path: Path) -> None:
        path.write_text("".join(text.replace("\n", " ") + "\n" for text in hypotheses), encoding="utf-8")

    yield replace(
        report,
        title=f"{options.origin.name}: {len(sources):,} sentences of {table.name}, {rows.source} -> {rows.target}",
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
