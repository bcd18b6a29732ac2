"""What systems that give labels share: the loss of logits, what rare labels count for, how often each label occurs,
and how good labels are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from formers.data.labels import Labels
from formers.errors import ConfigError, shortened
from formers.fields import Between, check
from formers.metrics.calibration import calibration_error
from formers.metrics.classification import accuracy, average_precision, confusion, d_prime, f1, top
from formers.systems.ranked_labels import THRESHOLD
from formers.systems.system import Report, ResultTable, Score, cost, share

SHOWN = 12  # classes whose share is shown
UNEVEN = 4  # so many times as often as another is a label that outweighs it
TABLE_MOST = 30  # classes whose confusions fit on a screen


@dataclass(frozen=True, kw_only=True)
class LabelLearning:
    """How labels are learned, whatever has them."""

    kind: Literal["auto", "one", "several"] = "auto"
    """one (of the labels), several (any number of them), auto: what the labels look like."""
    label_smoothing: Annotated[float, Between(0, below=1)] = 0.0
    """Share of the probability that is spread over all labels (one of the labels only)."""
    class_weights: Literal["none", "balanced"] = "none"
    """none; balanced: a label counts for more the rarer it is, all labels together for the same."""

    def __post_init__(self) -> None:
        check(self, "task")

    def weights(self, labels: Labels, rows: NDArray[Any]) -> NDArray[np.float64] | None:
        """How much each label counts; None: all the same."""
        return None if self.class_weights == "none" else balanced_weights(labels, rows)

    def lines(self, labels: Labels, rows: NDArray[Any]) -> list[str]:
        """Of the report: how often each label occurs, and what to do where that is uneven."""
        return [shares(labels, rows), *(uneven(labels, rows) if self.class_weights == "none" else [])]


LABELS = LabelLearning()


def summed_loss(
    kind: str, logits: Tensor, expected: Tensor, *, weights: Tensor | None = None, smoothing: float = 0.0
) -> tuple[Tensor, float]:
    """The loss of logits (rows, labels) summed, and what it is summed over: rows, of several labels these too.

    expected: class numbers, or (rows, labels) the share of each. weights: (labels,) how much each counts; smoothing:
    the share of the probability that is spread over all labels.
    """
    if kind == "number":
        return F.mse_loss(logits.squeeze(-1), expected.float(), reduction="sum"), len(expected)
    if kind == "several":
        total = F.binary_cross_entropy_with_logits(logits, expected.float(), reduction="sum", pos_weight=weights)
        return total, expected.numel()
    total = F.cross_entropy(logits, expected, weight=weights, label_smoothing=smoothing, reduction="sum")
    if weights is None:
        return total, len(expected)
    return total, float((weights[expected] if expected.ndim == 1 else expected * weights).sum())


def confusion_table(confused: NDArray[np.int64], labels: Sequence[str]) -> ResultTable:
    """Rows: the label; columns: what the model said. Of very many labels, those that are confused most."""
    if len(labels) > TABLE_MOST:
        pairs = ((int(confused[i, j]), i, j) for i in range(len(labels)) for j in range(len(labels)) if i != j)
        worst = sorted(pairs, reverse=True)[:TABLE_MOST]
        rows = [(labels[i], labels[j], f"{times:,}") for times, i, j in worst if times]
        return ResultTable("most frequent confusions", ["is", "taken for", "times"], rows, right=["times"])
    names = [shortened(label, 20) for label in labels]
    columns = [f"said {name}" for name in names]
    table = [
        (name, *(f"{count:,}" for count in row), f"{row[i] / row.sum():.1%}" if row.sum() else "")
        for i, (name, row) in enumerate(zip(names, confused, strict=True))
    ]
    return ResultTable("confusions", ["is", *columns, "found"], table, right=[*columns, "found"])


def shares(labels: Labels, expected: NDArray[Any]) -> str:
    """How often each label occurs, or how the numbers lie."""
    if labels.kind == "number":
        low, high, mean, spread = (float(statistic(expected)) for statistic in (np.min, np.max, np.mean, np.std))
        return f"{labels.names[0]}: from {low:g} to {high:g}, mean {mean:.3g}, deviation {spread:.3g}"
    counts = expected.sum(0) if labels.kind == "several" else np.bincount(expected, minlength=len(labels.names))
    order = np.argsort(-counts, kind="stable")
    listed = [f"{labels.names[i]} {counts[i] / len(expected):.1%} ({counts[i]:,})" for i in order[:SHOWN]]
    more = f" and {len(order) - SHOWN} more" if len(order) > SHOWN else ""
    missing = [labels.names[i] for i in order if not counts[i]]
    without = f"; without a row: {', '.join(missing[:SHOWN])}" if missing else ""
    return f"labels ({labels.kind} of {len(labels.names)}): {', '.join(listed)}{more}{without}"


def uneven(labels: Labels, expected: NDArray[Any]) -> list[str]:
    """A line on the cure where some label is far rarer than another."""
    if labels.kind == "number":
        return []
    counts = expected.sum(0) if labels.kind == "several" else np.bincount(expected, minlength=len(labels.names))
    often, rare = int(counts.argmax()), int(np.where(counts, counts, counts.max()).argmin())
    if counts[often] < UNEVEN * counts[rare]:
        return []
    times = f"{labels.names[often]} is {counts[often] / counts[rare]:.0f} times as frequent as {labels.names[rare]}"
    return [f"uneven labels: {times}; --set task.class_weights=balanced lets rare ones count for more"]


def balanced_weights(labels: Labels, rows: NDArray[Any]) -> NDArray[np.float64]:
    """rows / (labels * rows with this label); of several, rows without a label for each row with it."""
    if labels.kind == "number":
        raise ConfigError('task.class_weights "balanced" is for labels, but numbers are learned; set it to none')
    if labels.kind == "several":
        counts = rows.sum(0)
        return (len(rows) - counts) / np.maximum(counts, 1)
    counts = np.bincount(rows, minlength=len(labels.names))
    return len(rows) / (len(labels.names) * np.maximum(counts, 1))


def row_weights(rows: NDArray[Any]) -> NDArray[np.float64]:
    """By how much each row is likelier to be drawn, so that labels come equally often: 1 over the rows with its label,
    the sum for several (Gong et al. 2021), the least for none. rows: class numbers, or (rows, labels) of 0 and 1.
    """
    if rows.ndim == 1:
        return 1 / np.bincount(rows)[rows]
    weights = (rows / np.maximum(rows.sum(0), 1)).sum(1)
    return np.where(weights > 0, weights, weights[weights > 0].min(initial=1.0))


def label_report(
    kind: str, labels: Sequence[str], probabilities: Tensor, expected: NDArray[np.int64], facts: Mapping[str, Any]
) -> Report:
    """The loss (no smoothing, no weights) and the scores of (rows, labels) probabilities; of classes what is confused.

    facts: what else its JSON says.
    """
    logits = probabilities.clamp(min=1e-30).log() if kind == "one" else probabilities.logit(1e-7)
    total, count = summed_loss(kind, logits, torch.from_numpy(expected))
    tables: list[ResultTable] = []
    if kind == "one":
        confused = confusion(logits.argmax(1).numpy(), expected, classes=len(labels))
        facts = {**facts, "labels": list(labels), "confusion": confused.tolist()}
        tables = [confusion_table(confused, labels)]
    loss = cost("loss", float(total) / count)
    return Report([loss, *scores(kind, probabilities.numpy(), expected)], facts=facts, tables=tables)


def confusion_files(report: Report, labels: Sequence[str], title: str) -> dict[str, Callable[[Path], None]]:
    """What writes the picture of what is confused; nothing for several labels."""

    def draw(path: Path) -> None:
        from formers.pictures.confusion import draw_confusion
        from formers.pictures.figure import save

        save(draw_confusion(report.facts["confusion"], labels, title=title), path)

    return dict.fromkeys((".png", ".svg", ".pdf"), draw) if "confusion" in report.facts else {}


def scores(kind: str, probabilities: NDArray[np.float32], expected: NDArray[np.int64]) -> list[Score]:
    """Of classes: top-1, top-5 where there are more, macro F1, calibration; of several labels: all right, mean average
    precision, d', micro and macro F1."""
    if kind == "several":
        predicted = (probabilities >= THRESHOLD).astype(np.int64)
        return [
            share("accuracy", accuracy(predicted, expected)),
            share("mean_average_precision", average_precision(probabilities, expected)),
            Score("d_prime", d_prime(probabilities, expected)),
            share("f1_micro", f1(predicted, expected, average="micro")),
            share("f1_macro", f1(predicted, expected)),
        ]
    best, several = probabilities.argmax(1), probabilities.shape[1] > 5
    return [
        share("accuracy", accuracy(best, expected)),
        *([share("top5", top(probabilities, expected, 5))] if several else []),
        share("f1", f1(best, expected)),
        cost("calibration_error", calibration_error(probabilities, expected), "share"),
    ]
