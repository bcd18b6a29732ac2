"""What every run begins with: seed, device, tokenizer, model, and the lines of the report that all have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from formers.data.source import Source
from formers.data.sources import Table
from formers.errors import ConfigError
from formers.files import Content
from formers.pretrained.files import write_folder
from formers.pretrained.loaded import Loaded
from formers.pretrained.source import load_source
from formers.systems.memory import parameters_of
from formers.systems.system import Origin, resolve
from formers.text.open import load_tokenizer
from formers.text.tokenizer import Tokenizer
from formers.training.task import Batches, Task

MOST_WORDS = 2_000_000  # of a vocabulary
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Prepared:
    """What a recipe comes to: something to learn, and the lines of the report before the first step."""

    task: Task
    batches: Batches
    report: list[str]
    beside: Callable[[], Mapping[str, Content]] = dict
    """What an adapter needs besides weights: how conversations are written, where a text ends, how a vector is made."""
    lora_files: Callable[[], Mapping[str, Content]] | None = None
    """What LoRA learned, of models whose adapters have a file of their own."""


@dataclass(frozen=True)
class Beginning:
    """The sections of a recipe, the run's folder, and the model folder whose weights to begin with (None: new ones)."""

    sections: Mapping[str, Any]
    folder: Path
    start: Path | None = None
    parts: Mapping[str, Path] = field(default_factory=dict)
    """The model folders of what [parts] names."""

    @property
    def sizes(self) -> Any:
        return self.sections["model"]

    def loaded(self) -> Loaded:
        """The model to begin with. Raises CheckpointError."""
        assert self.start is not None
        return load_source(self.start, ignore_keys=self.sizes.ignore_keys)

    @property
    def source(self) -> Source:
        return self.sections["data"]

    @property
    def rows(self) -> Any:
        return self.sections["rows"]

    @property
    def task(self) -> Any:
        return self.sections["task"]

    def tables(self) -> tuple[Any, Any]:
        """The rows to learn from, and those to watch."""
        return self.source.tables(**self.rows.reading(self.source))

    def judged(self) -> Table:
        """The rows of data.test where it is named, else those to watch."""
        if not self.source.test:
            return self.tables()[1]
        return self.source.test_or_validation(**self.rows.reading(self.source))

    def tokenizer(self, train: Callable[[], Tokenizer], *, words: tuple[str, ...] = ("",), files: str) -> Tokenizer:
        """The run's own tokenizer, the one that `rows.tokenizer` names, or one trained now and kept beside the run.

        Going on with a run must not depend on training it again. words: what rows.tokenizer says to train one; files:
        what a folder would have to hold.
        """
        kept, named = self.folder / "tokenizer", self.rows.tokenizer
        if kept.is_dir() or named not in words:
            place = kept if kept.is_dir() else Path(named).expanduser()
            tokenizer = load_tokenizer(place, {}) if place.is_dir() else None
            if tokenizer is None:
                train_one = " or ".join(f'"{word}"' for word in words if word) or "leave it empty"
                raise ConfigError(
                    f'rows.tokenizer "{place}": there is no tokenizer here; give a folder with {files}, or {train_one} '
                    "to train one"
                )
            return tokenizer
        if self.rows.vocab > MOST_WORDS:  # for which the trainer would reserve memory
            raise ConfigError(f"rows.vocab ({self.rows.vocab:,}) must be at most {MOST_WORDS:,}")
        tokenizer = train()
        write_folder(kept, tokenizer.files())
        return tokenizer

    def prepared(
        self,
        task: Task,
        batches: Batches,
        lines: list[str],
        tokenizer: Tokenizer | None = None,
        *,
        besides: str = "",
        tokens: int = 0,
        batch: str = "",
        beside: Callable[[], Mapping[str, Content]] = dict,
    ) -> Prepared:
        """The report with its last lines: sizes, and memory for so many `tokens` a batch, padding included.

        besides: what the line of sizes says after the vocabulary; tokens: where it is not rows.tokens_per_batch; batch:
        what a batch holds where that is no tokens.
        """
        train, batch = self.sections["train"], batch or f"{tokens or self.rows.tokens_per_batch:,} tokens"
        size = parameters_of(task.model)
        copies = 4 + bool(train.average)  # weights, gradients, two moments, the average
        memory = (
            f"memory: {copies * 4 * size / 2**20:,.0f} MB for weights and optimizer, and the activations of {batch}; "
            f"one epoch: {len(batches.epoch(0)) / train.accumulate:,.0f} steps of {train.accumulate} batch(es)"
        )
        vocabulary = "" if tokenizer is None else f"vocabulary: {tokenizer.vocab:,} tokens{besides}; "
        sizes = f"{vocabulary}model: {size:,} parameters"
        return Prepared(task, batches, [*lines, sizes, memory], beside)


def on_device(model: Network) -> Network:
    """The model where training happens: on a GPU if there is one."""
    return model.cuda() if torch.cuda.is_available() else model


def judged_rows(options: Any, system: str, usual: Callable[[], Any], **columns: str) -> tuple[Any, Table]:
    """The section [rows] of the model's run, else the usual one, and the rows that options of `evaluate` ask for.

    columns: field of the section that holds a column -> the option that names another.
    """
    asked = getattr(options, "measure", options)
    rows = asked.origin.section("rows", system) or usual()
    rows = replace(rows, **{name: column for name, option in columns.items() if (column := getattr(options, option))})
    flags = {getattr(rows, name): f"--{option} COLUMN" for name, option in columns.items()}
    return rows, judged_on(asked.origin, system, rows, options.data, asked.count, flags)


def judged_on(
    origin: Origin, system: str, rows: Any, data: str, count: int | None, flags: Mapping[str, str] | None = None
) -> Table:
    """The rows to judge a model with: of `data`, else the test data of its run, else its validation data.

    rows: the section [rows] that reads them; count: only the first so many; flags: column -> the option that names
    another. Raises ConfigError where there are none.
    """
    source = origin.section("data", system)
    if data:
        source = replace(source or Source(**resolve(f"systems.{system}:SYSTEM").data), test=data)
    elif source is None:
        is_other = f"{origin.name} is a run of the system {origin.system}, so its test data are not for {system}"
        bare = f"{origin.name} {origin.no_data}, so it has no test data of its own"
        raise ConfigError(f"{is_other if origin.system else bare}: give --data SOURCE")
    source = replace(source, held_out=count or source.held_out)
    reading = rows.reading(source)
    table = source.test_or_validation(**reading | ({"settings": flags} if flags else {}))
    return table.select(range(min(count or len(table), len(table))))
