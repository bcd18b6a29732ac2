"""The verb `similarity`, whatever scores a pair of texts: its options, its results, which pairs there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Annotated

from formers.errors import ConfigError, DataError, on_a_line, shortened
from formers.systems.system import Event, ResultTable, Typed


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Which texts to compare."""

    texts: Annotated[tuple[str, ...], Typed(positional=True, metavar="TEXT")] = ()
    """Two texts, or more: then all are compared with all."""
    file: Annotated[str, Typed(metavar="FILE", file=True)] = ""
    """Compare the pairs of .tsv .csv .jsonl .parquet."""
    first: Annotated[str, Typed(metavar="COLUMN")] = "sentence1"
    """First texts of --file."""
    second: Annotated[str, Typed(metavar="COLUMN")] = "sentence2"
    """Second texts of --file."""

    def __post_init__(self) -> None:
        usage = 'formers similarity MODEL "a" "b"'
        if bool(self.texts) == bool(self.file):
            raise ConfigError(f"give two or more texts after the model, or --file: {usage}")
        if len(self.texts) == 1:
            raise ConfigError(f"got the model and one text, expected two: {usage}")

    def pairs(self) -> list[tuple[str, str]]:
        """All pairs of the texts, or those of the file. Raises DataError for an empty text, or a missing column."""
        if self.file:
            return self.pairs_of_file()
        for number, text in enumerate(self.texts, 1):
            if not text.strip():
                raise DataError(f"text {number} is empty, so there is nothing to compare")
        return list(combinations(self.texts, 2))

    def pairs_of_file(self) -> list[tuple[str, str]]:
        from formers.data.sources import read_table

        flags = {self.first: "--first COLUMN", self.second: "--second COLUMN"}
        table = read_table(self.file, columns=[self.first, self.second], settings=flags)
        return list(zip(table.columns[self.first], table.columns[self.second], strict=True))


@dataclass(frozen=True)
class Similarity:
    """How alike two texts are."""

    score: float
    first: str
    second: str
    alone: bool = field(default=False, metadata={"json": False})
    """Whether its line is the score only."""

    def line(self) -> str:
        score = f"{self.score:.4f}"
        return score if self.alone else "\t".join([score, on_a_line(self.first), on_a_line(self.second)])


@dataclass(frozen=True)
class AllWithAll:
    """Several texts, each compared with each; `pairs` are those of `itertools.combinations`."""

    texts: Sequence[str]
    pairs: Sequence[Similarity]

    def results(self) -> Sequence[Similarity]:
        return self.pairs

    def line(self) -> str:
        return "\n".join(pair.line() for pair in self.pairs)

    def table(self) -> ResultTable:
        """Row and column i: text i."""
        count, names = len(self.texts), [str(i) for i in range(1, len(self.texts) + 1)]
        cells = [[""] * count for _ in names]
        for (i, j), pair in zip(combinations(range(count), 2), self.pairs, strict=True):
            cells[i][j] = cells[j][i] = f"{pair.score:.4f}"
        shown = [shortened(on_a_line(text), 60) for text in self.texts]
        rows = [(name, *row, text) for name, row, text in zip(names, cells, shown, strict=True)]
        return ResultTable("similarity", ["", *names, "text"], rows, right=names)


def compared(options: Compare, pairs: Sequence[tuple[str, str]], scores: Sequence[float]) -> Iterator[Event]:
    """The scores of all pairs of `options`: one, a table, or a line for each pair of a file."""
    two = len(options.texts) == 2
    results = [Similarity(score, a, b, alone=two) for score, (a, b) in zip(scores, pairs, strict=True)]
    if len(options.texts) > 2:
        yield AllWithAll(options.texts, results)
    else:
        yield from results
