"""The sets of the suites: where they may lie in a folder, and their texts, labels and scores.

FOLDER/sst2/train.parquet    FOLDER/sentences/mr.tsv    FOLDER/mr.jsonl    FOLDER/sts/2012-test.parquet
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from formers.data.files import fault, listed
from formers.data.labels import learn_labels
from formers.data.labels import number as number_of
from formers.data.sources import Table, read_table
from formers.errors import ConfigError, DataError, nearest

ENDINGS = (".parquet", ".jsonl", ".csv", ".tsv")
FIRSTS, SECONDS = ("sentence1", "text1", "sentence_A", "a"), ("sentence2", "text2", "sentence_B", "b")
SCORES = ("score", "similarity_score", "relatedness_score")
# How people call the splits of a set.
SPLITS = {
    "train": ("train",),
    "validation": ("validation", "dev", "valid"),
    "test": ("test",),
    "out-of-domain": ("validation-out-of-domain", "out-of-domain"),
}

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts -> (texts, dim): any sentence encoder."""


@dataclass(frozen=True)
class Examples:
    """Texts, or pairs, with class numbers or scores."""

    texts: list[str]
    seconds: list[str] | None
    answers: NDArray[np.int64] | NDArray[np.float64]
    sources: list[str] | None = None
    """Where each came from, in sets that are made of several."""
    dropped: int = 0
    """Rows that were left out because something in them was empty."""

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def sentences(self) -> list[str]:
        """All texts, those of both sides."""
        return self.texts + (self.seconds or [])


@dataclass(frozen=True)
class SetScore:
    """What a set said of a model."""

    set: str
    part: str
    """Which part of it: a year, a split, "10-fold"."""
    scores: dict[str, float]
    """Shares from 0 to 1, correlations from -1 to 1."""
    examples: int
    how: str = ""
    """What the numbers came from."""
    seconds: float = 0.0


@dataclass
class SuiteResults:
    """What a suite found; it grows while the suite goes on."""

    suite: str
    scores: list[SetScore] = field(default_factory=list)
    averages: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """Sets that were not measured, and why."""
    notes: list[str] = field(default_factory=list)
    encoding_seconds: float = 0.0
    sentences: int = 0
    """Different sentences that were encoded."""


Measuring = Generator[SetScore, None, SuiteResults]
"""Yields the score of every set as it is known, returns them all."""


class EncodedOnce:
    """The vectors of sentences, each of which is encoded once; counts sentences and seconds."""

    def __init__(self, encode: Encode, results: SuiteResults) -> None:
        self.encode, self.results = encode, results
        self.places: dict[str, int] = {}
        self.vectors = np.zeros((0, 0), np.float32)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(texts, dim). Raises DataError for vectors that are no finite numbers."""
        new = [text for text in dict.fromkeys(texts) if text not in self.places]
        if new:
            begin = time.perf_counter()
            vectors = np.asarray(self.encode(new), np.float32)
            self.results.encoding_seconds += time.perf_counter() - begin
            self.results.sentences += len(new)
            if vectors.ndim != 2 or len(vectors) != len(new) or not np.isfinite(vectors).all():
                wrong = "holds numbers that are not finite" if vectors.shape[:1] == (len(new),) else "has another shape"
                raise DataError(
                    f"the encoder gave {vectors.shape} for {len(new):,} sentences, which {wrong}; "
                    "its weights may be damaged"
                )
            self.places |= {text: len(self.places) + i for i, text in enumerate(new)}
            self.vectors = vectors if not len(self.vectors) else np.concatenate([self.vectors, vectors])
        return self.vectors[[self.places[text] for text in texts]]


# ---- finding -----------------------------------------------------------------------------------------------


def find(folder: Path, name: str, part: str = "") -> Path | None:
    """The file of a set, or of one of its parts; None where there is none."""
    if part:
        stems = [folder / name / spelling for spelling in SPLITS[part]]
    else:
        stems = [folder / name, folder / "sentences" / name, folder / name / "train"]
    places = (stem.with_name(stem.name + ending) for stem in stems for ending in ENDINGS)
    return next((path for path in places if path.is_file()), None)


def parts(folder: Path, name: str, wanted: Sequence[str]) -> tuple[dict[str, Path], str]:
    """The files of these parts of a set, and what is missing ("": nothing)."""
    paths = {part: path for part in wanted if (path := find(folder, name, part)) is not None}
    gone = [part for part in wanted if part not in paths]
    if not gone:
        return paths, ""
    what = f"no {name} folder" if not (folder / name).is_dir() else f"{name} has no {' or '.join(gone)} file"
    return paths, f"{what} in {folder} (one of {', '.join(ENDINGS)})"


def selected(names: Sequence[str], only: Sequence[str]) -> list[str]:
    """The sets to measure, in order. Raises ConfigError for one that the suite does not have."""
    for name in only:
        if name not in names:
            raise ConfigError(f'this suite has no set "{name}"{nearest(name, names)}')
    return [name for name in names if not only or name in only]


def check_folder(folder: Path) -> Path:
    """Raises ConfigError where it is no folder."""
    if not folder.expanduser().is_dir():
        raise ConfigError(
            f"--data-folder {folder}: there is no such folder; it must hold the sets, such as "
            "sts/2012-test.parquet, sst2/train.parquet, sentences/mr.parquet"
        )
    return folder.expanduser()


def not_empty(results: SuiteResults, folder: Path) -> SuiteResults:
    """The results. Raises ConfigError where no set could be measured."""
    if not results.scores:
        why = "; ".join(f"{name}: {reason}" for name, reason in results.missing.items())
        raise ConfigError(f"no set of the suite {results.suite} could be measured with {folder}: {why}")
    return results


# ---- reading -----------------------------------------------------------------------------------------------


def read_scored(path: Path) -> Examples:
    """Pairs with a score: sentence1, sentence2, score (or a, b, score ...), and their source where there is one."""
    whole = read_table(path)
    first, second, score = (column(whole, names) for names in (FIRSTS, SECONDS, SCORES))
    with_source = "source" in whole.columns
    columns = [first, second, score, *(["source"] if with_source else [])]
    table = read_table(path, columns=columns, text=columns[:2], drop_empty=True)
    scores = np.array([number_of(table, row, score) for row in range(len(table))])
    sources = [str(each) for each in table.columns["source"]] if with_source else None
    return Examples(table.columns[first], table.columns[second], scores, sources, table.dropped)


def read_labelled(path: Path, *, pairs: bool) -> tuple[Table, str, str]:
    """A table of texts or pairs and their label, with the names of the columns (text, second or "")."""
    whole = read_table(path)
    text = column(whole, FIRSTS if pairs else ("text", "sentence", "question"))
    second = column(whole, SECONDS) if pairs else ""
    label = column(whole, ("label",))
    columns = [text, *([second] if pairs else []), label]
    return read_table(path, columns=columns, text=columns[:-1], drop_empty=True), text, second


def read_set(paths: dict[str, Path], *, pairs: bool) -> tuple[dict[str, Examples], tuple[str, ...]]:
    """The labelled parts of a set, the first of which says what labels there are; and the names of these."""
    examples: dict[str, Examples] = {}
    labels = None
    for part, path in paths.items():
        table, text, second = read_labelled(path, pairs=pairs)
        labels = learn_labels(table, "label", "one") if labels is None else labels
        examples[part] = Examples(
            table.columns[text],
            table.columns[second] if second else None,
            labels.answers(table, "label"),
            dropped=table.dropped,
        )
    assert labels is not None  # there is at least one part
    return examples, labels.names


def column(table: Table, names: Sequence[str]) -> str:
    """The first of these columns that the table has. Raises DataError for none."""
    present = next((name for name in names if name in table.columns), None)
    if present is None:
        raise fault(table.name, f"has the columns {listed(table.columns)}, expected one called {' or '.join(names)}")
    return present


def dropped(results: SuiteResults, name: str, examples: Sequence[Examples]) -> None:
    """Say how many rows were left out, if any."""
    count = sum(each.dropped for each in examples)
    if count:
        results.notes.append(f"{name}: {count:,} rows with an empty text or answer were left out")


def by_source(examples: Examples) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Each source with its rows, in the order of the file."""
    sources = np.array(examples.sources or [])
    for source in dict.fromkeys(examples.sources or []):
        yield source, np.flatnonzero(sources == source)
