"""`formers evaluate` for classifiers: accuracy, F1, Matthews' correlation, the table of confusions; of numbers Pearson
and Spearman."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from formers.cli.classify import classifying
from formers.cli.options import is_run
from formers.cli.output import note, short, show_table
from formers.cli.recipes import named
from formers.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from formers.data.labelled import LabelledData
    from formers.data.sources import Table

NAMES = {
    "accuracy": "accuracy",
    "f1": "F1 (macro)",
    "f1_macro": "F1 (macro)",
    "f1_micro": "F1 (micro)",
    "matthews": "Matthews' correlation",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "absolute_error": "mean absolute error",
}
TABLE_MOST = 30  # classes whose confusions fit on a screen


def evaluate_classification(
    model: str,
    opened: Callable[[], Any],
    data: str | None,
    count: int | None,
    columns: dict[str, str | None],
    out: Path | None,
    as_json: bool,
) -> None:
    """Print the scores of a classifier on SOURCE, or on a run's own test data.

    columns: names for "text", "second" and "label" in place of the recipe's. out: the picture of the confusions.
    """
    from formers.metrics.classification import confusion
    from formers.systems.classification_tasks import judged, scores

    config, table = rows(model, data, count, columns)
    classifier = classifying(model, opened())
    classifier.length = config.length or classifier.length
    begin = time.perf_counter()
    logits, answers, cut = judged(classifier, table, config)
    seconds = time.perf_counter() - begin
    found = scores(classifier.kind, logits, answers)
    result: dict[str, Any] = {"model": model, "data": table.name, "examples": len(table), "cut": cut, **found}
    confused = None
    if classifier.kind == "one":
        confused = confusion(logits.argmax(1), answers, classes=len(classifier.labels))
        result |= {"labels": list(classifier.labels), "confusion": confused.tolist()}
    result["examples_per_second"] = len(table) / seconds
    drawn = None if out is None else draw(confused, classifier.labels, table.name, out)
    if as_json:
        note(json.dumps(result, ensure_ascii=False))
        return
    lines = [(NAMES[name], f"{value:.4f}") for name, value in found.items()]
    lines += [
        ("texts that were cut", f"{cut:,} ({cut / len(table):.1%})"),
        ("examples per second", f"{len(table) / seconds:.1f}"),
    ]
    show_table(f"{model}: {len(table):,} examples of {table.name}", ["score", "value"], lines, right=["value"])
    if confused is not None:
        show_confusion(confused, classifier.labels)
    if drawn is not None:
        note(f"picture: {drawn}")


def rows(model: str, data: str | None, count: int | None, columns: dict[str, str | None]) -> tuple[LabelledData, Table]:
    """The rows to judge with: SOURCE, or the test data of a run's recipe (else its validation data)."""
    from formers.data.labelled import LabelledData

    recipe = named(model) if is_run(model) else None
    if recipe is not None and recipe.system != "classification":
        raise ConfigError(f"{model} is a run of the system {recipe.system}, expected classification")
    config = recipe.sections["data"] if recipe else LabelledData()
    given: dict[str, Any] = {name: value for name, value in columns.items() if value is not None}
    config = replace(config, **given, held_out=count or config.held_out, **({"test": data} if data else {}))
    if data is None and recipe is None:
        raise ConfigError(f"{model} is not a run, so it has no test data of its own: give --data SOURCE")
    table = config.read("test") or config.read("validation") or config.tables()[1]
    return config, table.select(range(min(count or len(table), len(table))))


def show_confusion(confused: NDArray[Any], labels: tuple[str, ...]) -> None:
    """Rows: what it is; columns: what the model said."""
    if len(labels) > TABLE_MOST:
        worst = sorted(
            ((int(confused[i, j]), i, j) for i in range(len(labels)) for j in range(len(labels)) if i != j),
            reverse=True,
        )[:TABLE_MOST]
        show_table(
            "most frequent confusions",
            ["is", "taken for", "times"],
            [(labels[i], labels[j], f"{times:,}") for times, i, j in worst if times],
            right=["times"],
        )
        return
    names = [short(label, 20) for label in labels]
    said = [f"said {name}" for name in names]
    lines = [
        (name, *(f"{each:,}" for each in row), f"{row[i] / row.sum():.1%}" if row.sum() else "")
        for i, (name, row) in enumerate(zip(names, confused, strict=True))
    ]
    show_table("confusions", ["is", *said, "found"], lines, right=[*said, "found"])


def draw(confused: NDArray[Any] | None, labels: tuple[str, ...], name: str, out: Path) -> Path:
    """The picture of the confusions, as a file."""
    if confused is None:
        raise ConfigError("--out draws the confusions of one label for each text; this model gives numbers or several")
    from formers.pictures.confusion import draw_confusion
    from formers.pictures.figure import save

    return save(draw_confusion(confused, labels, title=name), out)
