"""Text <-> ids: one contract over the `tokenizers` and `sentencepiece` libraries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from formers.errors import DataError, shown
from formers.notes import note

EOS, UNK, PAD = "</s>", "<unk>", "<pad>"
MOSTLY = 0.5  # the share of unknown tokens from which on a text is said not to be read


class Watch:
    """What is looked at in the ids of every text: whether the model has a row for each, whether they say anything."""

    def __init__(self, unknown: int | None) -> None:
        self.unknown = unknown
        self.rows: int | None = None
        """The rows of a model that has fewer than there are tokens."""

    def checked(self, ids: list[list[int]], texts: Iterable[object], around: int = 0) -> list[list[int]]:
        """The ids as they are; one note in a tokenizer's life of a text that is mostly unknown.

        around: how many of a row are special tokens, which say nothing. Raises DataError for a token that the model
        does not have.
        """
        if self.rows is None and self.unknown is None:
            return ids
        for row, text in zip(ids, texts, strict=False):
            if self.rows is not None and max(row, default=0) >= self.rows:
                number = next(id for id in row if id >= self.rows)
                raise DataError(
                    f"the text {shown(text)} has the token {number}, but the model has only {self.rows} rows"
                )
            if self.unknown is not None and (missed := row.count(self.unknown)) >= MOSTLY * (len(row) - around) > 0:
                self.unknown = None
                share = f"{missed} of its {len(row) - around} tokens ({missed / (len(row) - around):.0%}) are unknown"
                note(f"the text {shown(text)} is not what the vocabulary is for: {share}")
        return ids


class Tokenizer(Protocol):
    """Special ids are None where a vocabulary has no such token; `start` is what a decoder begins with."""

    pad: int | None
    eos: int | None
    bos: int | None
    unk: int | None
    start: int | None
    watch: Watch

    @property
    def vocab(self) -> int:
        """The highest source id plus one."""

    @property
    def own_vocab(self) -> int:
        """The same without the tokens that were added to the vocabulary, of the larger side."""

    @property
    def target_vocab(self) -> int:
        """The same of the target side, where that has a vocabulary of its own."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids with the special tokens that the model expects around them."""

    def encode_plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of the text alone; the names of special tokens in it are still read as those tokens."""

    def encode_target(self, texts: Sequence[str]) -> list[list[int]]:
        """The same for the target side."""

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of target ids."""

    def pieces(self, ids: Sequence[int], *, source: bool = False) -> list[str]:
        """A readable name per id, for pictures."""

    def unknown_share(self, texts: Iterable[str]) -> float:
        """Share of tokens that are unknown, special tokens aside: 0 when the vocabulary covers the texts."""

    def files(self) -> dict[str, bytes]:
        """The files that a model folder needs for this tokenizer."""

    def save(self, folder: str | Path) -> None:
        """Write `files` into a folder."""


def share(ids: Iterable[Sequence[int]], unknown: int | None) -> float:
    """How much of the ids is `unknown`; 0 for no ids at all."""
    total = missed = 0
    for row in ids:
        total += len(row)
        missed += sum(id == unknown for id in row)
    return missed / total if total else 0.0
