"""Text <-> ids: one contract over the `tokenizers` and `sentencepiece` libraries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

EOS, UNK, PAD = "</s>", "<unk>", "<pad>"


class Tokenizer(Protocol):
    """Special ids are None where a vocabulary has no such token; `start` is what a decoder begins with."""

    pad: int | None
    eos: int | None
    bos: int | None
    unk: int | None
    start: int | None

    @property
    def vocab(self) -> int:
        """The highest source id plus one."""

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
