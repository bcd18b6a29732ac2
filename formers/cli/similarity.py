"""`formers similarity`: how alike two texts are, or all of several, or the pairs of a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from formers.cli.options import AllowBin, Device, Dtype, Model, Offline, open_model
from formers.cli.output import note, short, show_table
from formers.cli.texts import Int8, Out, encoded, lines_file, number_format, write_lines
from formers.errors import ConfigError, DataError

if TYPE_CHECKING:
    from formers.systems.encoding import SentenceEncoder


def run(
    model: Model,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT]...", help="Two texts, or more: then all are compared with all.", show_default=False
        ),
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="FILE", help="Compare the pairs of .tsv .csv .jsonl .parquet.")
    ] = None,
    first: Annotated[str, typer.Option("--first", metavar="COLUMN", help="First texts of --file.")] = "sentence1",
    second: Annotated[str, typer.Option("--second", metavar="COLUMN", help="Second texts of --file.")] = "sentence2",
    out: Out = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each pair.")] = False,
    int8: Int8 = False,
    dtype: Dtype = None,
    device: Device = None,
    allow_bin: AllowBin = False,
    offline: Offline = False,
) -> None:
    """Say how alike two texts are.

    By their vectors; by a model that reads both together, its score of the pair.
    """
    if bool(texts) == bool(file):
        raise ConfigError('give two or more texts after the model, or --file: formers similarity MODEL "a" "b"')
    if texts and len(texts) < 2:
        raise ConfigError(f'got the model {model} and one text, expected two: formers similarity MODEL "a" "b"')
    lines_file(out)
    pairs = (
        file_pairs(file, first, second)
        if file
        else [(a, b) for i, a in enumerate(texts or ()) for b in (texts or ())[i + 1 :]]
    )
    if empty := [number for number, pair in enumerate(pairs, 1) if not all(text.strip() for text in pair)]:
        raise DataError(f"a text of pair {empty[0]} is empty, so there is nothing to compare")
    opened = open_model(model, allow_bin=allow_bin, offline=offline, dtype=number_format(dtype, int8), device=device)
    scores = scored(opened, pairs, model)
    if texts and len(texts) > 2 and not as_json and out is None:
        show_all(texts, scores)
    elif texts and not as_json and out is None:
        note(f"{scores[0]:.4f}")
    else:
        write_lines(out, rows(pairs, scores), as_json=as_json)


def file_pairs(file: str, first: str, second: str) -> list[tuple[str, str]]:
    from formers.data.sources import read_table

    try:
        table = read_table(file, columns=[first, second])
    except DataError as error:
        fault = str(error).replace(" or set data.drop_empty = true", "")
        raise DataError(f"{fault} (the columns are those that --first and --second name)") from error
    return list(zip(table.columns[first], table.columns[second], strict=True))


def scored(opened: Any, pairs: Sequence[tuple[str, str]], model: str) -> list[float]:
    """The similarity of each pair."""
    from formers.systems.classification.system import Classifier
    from formers.systems.encoding import SentenceEncoder

    if isinstance(opened, SentenceEncoder):
        return by_vectors(opened, pairs)
    if not isinstance(opened, Classifier):
        raise ConfigError(
            f"{model} is a {type(opened.model).__name__}, expected an encoder without a head, or one that scores pairs"
        )
    return [float(score) for score in opened.score(pairs)]


def by_vectors(encoder: SentenceEncoder, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Every text is encoded once, however many pairs it is in."""
    from formers.systems.encoding import similarity

    place = {text: i for i, text in enumerate(dict.fromkeys(text for pair in pairs for text in pair))}
    vectors = encoded(encoder, list(place))
    how = encoder.settings.similarity
    return [float(similarity(vectors[place[a]][None], vectors[place[b]][None], how)[0, 0]) for a, b in pairs]


def rows(pairs: Sequence[tuple[str, str]], scores: Sequence[float]) -> Iterator[dict[str, Any]]:
    return ({"score": score, "first": a, "second": b} for (a, b), score in zip(pairs, scores, strict=True))


def show_all(texts: Sequence[str], scores: Sequence[float]) -> None:
    """The table of all against all; scores are of the pairs in order, each once."""
    known = iter(scores)
    table = {(i, j): next(known) for i in range(len(texts)) for j in range(i + 1, len(texts))}
    names = [str(i) for i in range(1, len(texts) + 1)]
    body = [
        [
            str(i + 1),
            *("" if i == j else f"{table[min(i, j), max(i, j)]:.4f}" for j in range(len(texts))),
            short(text, 60),
        ]
        for i, text in enumerate(texts)
    ]
    show_table("similarity", ["", *names, "text"], body, right=names)
