"""What masked training reads and has to say, row by row, for people to check."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from formers.errors import ConfigError
from formers.systems.lessons import evenly
from formers.systems.masked_tasks import prepare


@dataclass(frozen=True)
class MaskedLesson:
    """One row: its tokens, what the model reads in their place, and which it has to say."""

    title: str
    original: list[str]
    shown: list[str]
    chosen: list[bool]
    follows: bool | None
    """Whether the second segment follows the first; None where there is one text only."""

    @property
    def kinds(self) -> list[str]:
        """Of each token: "" (not chosen), masked, random (another one stands there), kept."""
        return [
            "" if not said else "kept" if was == now else "masked" if now in ("[MASK]", "<mask>") else "random"
            for was, now, said in zip(self.original, self.shown, self.chosen, strict=True)
        ]

    def summary(self) -> str:
        """One line: where it is from, how many tokens are to be said and what stands in their place."""
        kinds = self.kinds
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("masked", "random", "kept") if kind in kinds)
        pair = {None: "", True: "; the second segment follows", False: "; the second segment is of elsewhere"}
        return f"{self.title}: {sum(self.chosen)} of {len(kinds)} tokens to be said ({counts}){pair[self.follows]}"


def masked_lessons(
    sections: dict[str, Any], folder: Path, start: Path | None, *, split: str, count: int
) -> Iterator[MaskedLesson]:
    """`count` rows of "train" or "validation" as the first epoch reads them, evenly over the data."""
    if split == "test":
        raise ConfigError("--show-loss shows what is trained on: --split train, or validation")
    task, rows, _ = prepare(sections, folder, start)
    rows = task.validation if split == "validation" else rows
    tokenizer = task.masked.reader.tokenizer
    for row in evenly(len(rows.plan(0).places), count):
        batch = rows.collate([row])
        yield MaskedLesson(
            rows.describe([row]).removesuffix(" and 0 more row(s)"),
            tokenizer.pieces(batch.original()[0].tolist()),
            tokenizer.pieces(batch.tokens[0].tolist()),
            batch.chosen[0].tolist(),
            None if batch.follows is None else not bool(batch.follows[0]),
        )
