"""`formers classify`: the label or number of texts, a file, or standard input line by line; a line out for each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from formers.cli.options import AllowBin, Device, Dtype, Model, Offline, open_model
from formers.cli.output import note
from formers.cli.translate import lines_of
from formers.errors import ConfigError, DataError

if TYPE_CHECKING:
    from formers.systems.classification import Classification, Classifier


def run(
    model: Model,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT]...", help="What to classify; without it, standard input is read.", show_default=False
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="Classify the lines of a file (pairs: text, tab, second text)."),
    ] = None,
    second: Annotated[
        list[str] | None,
        typer.Option("--second", metavar="TEXT", help="Second text of a pair; once for each text, or once for all."),
    ] = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Every line of --file or standard input is a pair: text, tab, second text.")
    ] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Print the probability of every label, likeliest first.")
    ] = False,
    threshold: Annotated[
        float,
        typer.Option("--threshold", metavar="X", help="How likely each label must be, where there may be several."),
    ] = 0.5,
    windows: Annotated[
        bool,
        typer.Option("--windows", help="Read long texts in overlapping windows, averaged, instead of cutting them."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each text.")] = False,
    allow_bin: AllowBin = False,
    offline: Offline = False,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Give texts, or pairs of texts, their label or number."""
    if texts and file:
        raise ConfigError("give texts or --file, not both")
    if second and not texts:
        raise ConfigError("--second is the second text of a TEXT; lines of pairs hold both: text, tab, second text")
    if second and len(second) not in (1, len(texts or ())):
        raise ConfigError(f"{len(texts or ())} texts, but {len(second)} times --second: give it once for each, or once")
    groups = lines_of(texts, file)
    classifier = classifying(
        model,
        open_model(model, system="classification", allow_bin=allow_bin, offline=offline, dtype=dtype, device=device),
    )
    done = 0
    for group in groups:
        firsts, others = group, second and (second * len(group) if len(second) == 1 else second)
        if pairs:
            firsts, others = split_pairs(group, done)
        if not texts:
            check_lines(firsts, done)
        for text, found in zip(
            group, classifier.classify(firsts, others or None, threshold=threshold, windows=windows), strict=True
        ):
            for line in shown(text, found, probabilities, as_json):
                note(line)
        done += len(group)


def classifying(model: str, found: Any) -> Classifier:
    """What was opened, if it gives labels: a model that chooses between answers is of the same system."""
    from formers.systems.classification import Classifier

    if not isinstance(found, Classifier):
        raise ConfigError(
            f"{model} chooses between answers (MultipleChoice), expected one that gives texts a label; "
            "try: formers.load(MODEL).choose"
        )
    return found


def split_pairs(lines: list[str], before: int) -> tuple[list[str], list[str]]:
    """The two texts of each line."""
    parts = [line.split("\t") for line in lines]
    for number, part in enumerate(parts, before + 1):
        if len(part) != 2:
            raise DataError(
                f"line {number}: got {len(part)} text(s) between tabs, expected a pair: text, tab, second text"
            )
    return [part[0] for part in parts], [part[1] for part in parts]


def check_lines(texts: list[str], before: int) -> None:
    """Every line in has a line out, so an empty one cannot be passed over."""
    for number, text in enumerate(texts, before + 1):
        if not text.strip():
            raise DataError(f"line {number}: it is empty, so there is nothing to classify; remove it")


def shown(text: str, found: Classification, probabilities: bool, as_json: bool) -> Iterator[str]:
    """The lines of one text."""
    if as_json:
        result = {
            "text": text,
            "label": found.label,
            "labels": list(found.labels),
            "probabilities": found.probabilities,
            "number": found.number,
        }
        yield json.dumps({key: value for key, value in result.items() if value not in (None, {})}, ensure_ascii=False)
    elif probabilities and found.probabilities:
        order = sorted(found.probabilities.items(), key=lambda each: -each[1])
        yield "\t".join(f"{label} {share:.4f}" for label, share in order)
    else:
        yield found.label or "(none)"
