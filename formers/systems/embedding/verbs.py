"""The verbs of sentence vectors: what they take, what they give."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from formers.errors import ConfigError, on_a_line
from formers.fields import Between, Count, Natural, Part, check
from formers.systems.measure import PLAIN, Measure, measured, or_suite
from formers.systems.similarity_verb import Compare, compared
from formers.systems.system import Event, Progress, Remark, Typed
from formers.systems.texts import Texts
from formers.systems.vectors.encoded import EncodedInputs

if TYPE_CHECKING:
    from formers.systems.embedding.processes import Vectors
    from formers.systems.embedding.system import SentenceEncoder

FileTexts = Annotated[Texts, Typed(source=True)]
Threshold = Annotated[float, Between(-1, 1)]


@dataclass(frozen=True, kw_only=True)
class Encode:
    """What to turn into vectors, and how."""

    texts: Texts
    """What to encode; without it, standard input is read."""
    prompt: str | None = None
    """Put this in front of every text."""
    prompt_name: Annotated[str | None, Typed("NAME")] = None
    """Put the model's prompt of this name in front."""
    dims: Natural | None = None
    """Keep the first N numbers (Matryoshka models)."""
    normalise: Annotated[bool | None, Typed(negatable=True)] = None
    """Vectors of length one (default: as the model does)."""
    drop_empty: bool = False
    """Leave out empty lines, and count them."""
    processes: Natural = 1
    """So many processes encode, on a CPU with many cores."""

    def __post_init__(self) -> None:
        check(self)


def encode(encoder: SentenceEncoder, options: Encode) -> Iterator[Event]:
    """Every text has a vector, so an empty one is refused, or left out."""
    _, texts = yield from filled(options.texts, drop=options.drop_empty)
    vectors = yield from encoded(
        encoder,
        texts,
        prompt=options.prompt,
        prompt_name=options.prompt_name,
        dims=options.dims,
        normalise=options.normalise,
        processes=options.processes,
    )
    yield EncodedInputs(texts, vectors, "text")


def filled(given: Texts, *, drop: bool) -> Generator[Event, None, tuple[list[int], list[str]]]:
    """The lines or rows of the texts that are not empty, and these; how many were left out."""
    texts = Texts([given.all()], given.where)  # standard input comes once
    numbers, kept = texts.filled(drop=drop, what="make a vector of")
    if empty := len(texts.all()) - len(kept):
        yield Remark(f"left out: {empty} empty row(s)")
    return [given.place(number) for number in numbers], kept


def encoded(encoder: SentenceEncoder, texts: Sequence[str], **options: Any) -> Generator[Event, None, Vectors]:
    """The vectors of texts; how far they are, how many there were, how fast, and how many were cut."""
    if encoder.note:
        yield Remark(f"note: {encoder.note}")
    encoding, progress = encoder.encoding(texts, **options), None
    while True:
        try:
            progress = next(encoding)
        except StopIteration as end:
            vectors: Vectors = end.value
            break
        yield Progress(progress.done, progress.total, "encoding")
    if progress is not None:
        speed = progress.done / max(progress.seconds, 1e-9)
        share = f"{progress.cut:,} ({progress.cut / progress.total:.1%}) cut at {encoder.length} tokens"
        yield Remark(
            f"{progress.total:,} text(s), {progress.tokens:,} tokens in {progress.seconds:.1f} s "
            f"({speed:,.0f} texts/s){f'; {share}' if progress.cut else ''}"
        )
    return vectors


def similarity(encoder: SentenceEncoder, options: Compare) -> Iterator[Event]:
    """How alike the vectors of two texts are; every text is encoded once, however many pairs it is in."""
    from formers.systems.embedding.system import similarity

    pairs = options.pairs()
    place = {text: i for i, text in enumerate(dict.fromkeys(text for pair in pairs for text in pair))}
    vectors = yield from encoded(encoder, list(place))
    how = encoder.settings.similarity
    scores = [float(similarity(vectors[place[a]][None], vectors[place[b]][None], how)[0, 0]) for a, b in pairs]
    yield from compared(options, pairs, scores)


@dataclass(frozen=True, kw_only=True)
class Mine:
    """Where to look for pairs, and which."""

    texts: FileTexts
    """A text a line, or a column of .tsv .csv .jsonl .parquet, hf:NAME, builtin:NAME."""
    threshold: Threshold = 0.75
    """Least cosine similarity that counts."""
    top: Count = 100
    """Each text brings in its N nearest at most (0: all)."""
    most: Natural = 500_000
    """Print the N most alike pairs."""
    processes: Natural = 1
    """So many processes encode, on a CPU with many cores."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class MinedPair:
    """Two texts that say the same; rows are lines or rows of the file, from 1."""

    score: float
    row1: int
    row2: int
    text1: str
    text2: str

    def line(self) -> str:
        return f"{self.score:.4f}\t{self.row1}\t{self.row2}\t{on_a_line(self.text1)}\t{on_a_line(self.text2)}"


def mine(encoder: SentenceEncoder, options: Mine) -> Iterator[Event]:
    """The pairs of a file's texts, most alike first; a text that stands twice is a pair of similarity 1."""
    from formers.systems.vectors.mining import mine

    rows, texts = yield from filled(options.texts, drop=True)
    vectors = yield from encoded(encoder, texts, processes=options.processes)
    pairs = yield from mine(vectors, threshold=options.threshold, top=options.top, most=options.most)
    for pair in pairs:
        yield MinedPair(pair.score, rows[pair.first], rows[pair.second], texts[pair.first], texts[pair.second])
    if not pairs:
        yield Remark(f"no pair: lower --threshold (it is {options.threshold:g})")
    yield Remark(f"{len(pairs):,} pair(s) of {len(texts):,} texts at {options.threshold:g} or more")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What to put into groups, and which."""

    texts: FileTexts
    """A text a line, or a column of .tsv .csv .jsonl .parquet, hf:NAME, builtin:NAME."""
    threshold: Threshold = 0.75
    """Least cosine similarity that counts."""
    smallest: Natural = 10
    """Least texts of a group."""
    k: Natural | None = None
    """N groups by k-means instead: every text is in one."""
    seed: int = 0
    """Where k-means begins."""
    processes: Natural = 1
    """So many processes encode, on a CPU with many cores."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Member:
    """A text of a group; the group's number counts from 1, its row is a line or row of the file."""

    group: int
    row: int
    text: str

    def line(self) -> str:
        return f"{self.group}\t{self.row}\t{on_a_line(self.text)}"


def cluster(encoder: SentenceEncoder, options: Cluster) -> Iterator[Event]:
    """Largest group first, and in it the text at its centre; texts like no other are in no group, and counted."""
    from formers.systems.vectors.mining import communities, k_means

    rows, texts = yield from filled(options.texts, drop=True)
    if options.k is not None and options.k > len(texts):
        raise ConfigError(f"--k {options.k}: got {len(texts)} texts, expected at most as many groups")
    vectors = yield from encoded(encoder, texts, processes=options.processes)
    if options.k is None:
        groups = yield from communities(vectors, threshold=options.threshold, smallest=options.smallest)
    else:
        groups = k_means(vectors, options.k, seed=options.seed)
    for number, group in enumerate(groups, 1):
        for text in group:
            yield Member(number, rows[text], texts[text])
    inside = sum(map(len, groups))
    rest = len(texts) - inside
    if not groups:
        lower = f"lower --threshold (it is {options.threshold:g}) or --smallest ({options.smallest})"
        yield Remark(f"no group: {lower}, or give --k N for N groups of all texts")
    yield Remark(f"{len(groups):,} group(s) of {inside:,} of {len(texts):,} texts; {rest:,} in none")


@dataclass(frozen=True, kw_only=True)
class EvaluateVectors:
    """What to measure sentence vectors on."""

    data: Annotated[str, Typed("SOURCE", file=True)] = ""
    """Pairs with a score (default for a run: its test or validation pairs)."""
    first: Annotated[str, Typed("COLUMN")] = ""
    """Column of the first text (scored pairs)."""
    second: Annotated[str, Typed("COLUMN")] = ""
    """Column of the second text (pairs)."""
    score: Annotated[str, Typed("COLUMN")] = ""
    """Column of the score (scored pairs)."""
    measure: Annotated[Measure, Part()] = PLAIN
    """What every encoder's `evaluate` has."""


@or_suite
def evaluate(encoder: SentenceEncoder, options: EvaluateVectors) -> Iterator[Event]:
    """Spearman and Pearson on the scored pairs of --data, or on a run's own."""
    from formers.systems.begin import judged_on
    from formers.systems.embedding.data import LikenessRows

    origin, data = options.measure.origin, options.data
    source, rows = origin.section("data", "embedding"), origin.section("rows", "embedding") or LikenessRows()
    columns = {name: getattr(options, name) or getattr(rows, name) for name in ("first", "second", "score")}
    rows = replace(rows, **columns)
    data = data or (source.test or source.validation if source is not None else "")
    if data or source is None:
        flags = {columns[name]: f"--{name} COLUMN" for name in columns}
        table = judged_on(origin, "embedding", rows, data, options.measure.count, flags)
    else:
        scored = rows.tables(source)[2]
        if scored is None:
            raise ConfigError(f"{origin.name} has no scored pairs to be judged with: give --data SOURCE")
        table = scored
    if encoder.note:
        yield Remark(f"note: {encoder.note}")
    begin = time.perf_counter()
    report = encoder.evaluate(*(table.columns[name] for name in columns.values()))
    yield measured(report, "embedding", origin, table, begin, unit="pairs")
