"""Text for masked language models: documents in sentences, pairs of segments, hidden words, batches.

    documents -> sentences -> plan of an epoch: [CLS] A [SEP] B [SEP], B follows A or is of another document -> hide

A row is a pure function of (seed, epoch, row): every epoch has pairs and hidden words of its own, a resumed run the
same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.batching import bucket, first_and_more
from formers.data.documents import read_documents
from formers.data.masking import Masking
from formers.data.report import DataReport, LengthReport
from formers.data.segments import Ids, SegmentPlan, Sentences, plan_pairs, plan_texts
from formers.data.source import Source, settings_of
from formers.errors import ConfigError, DataError
from formers.fields import Between, Count, Natural, check
from formers.systems.shuffled import EPOCH
from formers.text.frame import Frame

EVALUATED = 8192  # tokens of a batch that needs no gradients
PAIRS, HIDING = 1, 2  # what dice are thrown for


@dataclass(frozen=True, kw_only=True)
class MaskedRows:
    """The column of the text, its tokens, how rows are filled with them, and how many of them are hidden."""

    column: str = "text"
    """Column of a table that holds the text, a document in each row."""
    separator: str = "blank"
    """What parts a text file into documents: file (it is one), blank (lines), line, or a mark such as <|endoftext|>."""
    tokenizer: str = ""
    """A folder that has a tokenizer (tokenizer.json or vocab.txt); empty: word pieces are trained on the text now."""
    vocab: Natural = 8000
    """Word pieces that are trained now."""
    lowercase: bool = True
    """Word pieces that are trained now make no difference between capital and small letters, and have no accents."""
    length: Count = 0
    """Tokens of a row (0: the model's length)."""
    tokens_per_batch: Natural = 4096
    """Most tokens of a batch, padding included, but at least one row."""
    next_sentence: bool = True
    """Rows of two segments: half the time the second follows the first, else it is of another document."""
    short: Annotated[float, Between(0, 1)] = 0.1
    """Share of the rows that aim at a shorter length, drawn anew each time, as texts later have any length."""
    masked: Annotated[float, Between(above=0, below=1)] = 0.15
    """Share of the tokens whose word has to be said; special tokens never are among them."""
    mask_share: Annotated[float, Between(0)] = 0.8
    """Of these, the share that is replaced by the mask token."""
    random_share: Annotated[float, Between(0)] = 0.1
    """Of these, the share that is replaced by a random token; the others stay as they are."""
    whole_word: bool = False
    """Choose whole words instead of single tokens."""

    def __post_init__(self) -> None:
        check(self, "rows")
        if not self.separator:
            raise ConfigError('rows.separator is empty; say "file", "blank", "line" or a mark in the text')
        if self.mask_share + self.random_share > 1 + 1e-9:
            raise ConfigError(
                f"rows.mask_share ({self.mask_share}) and rows.random_share ({self.random_share}) must be "
                "together at most 1"
            )

    def reading(self, source: Source) -> dict[str, Any]:
        """How `Source` reads the documents, and what it sets aside where there are none to watch."""
        return {
            "reader": read_documents,
            "column": self.column,
            "settings": settings_of(self, "column"),
            "separator": self.separator,
            "set_aside": source.end_of_text(self.column),
        }

    def masking(self, mask: int, ordinary: Ids) -> Masking:
        """What is hidden of a row, given the mask token and the tokens that are no special ones."""
        return Masking(mask, ordinary, self.masked, self.mask_share, self.random_share, self.whole_word)


@dataclass(frozen=True)
class MaskedBatch:
    """Rows as the model reads them, and what it has to say of them.

    tokens, segments, keep and hidden are (rows, length); labels holds the true tokens where `hidden`, row by row, and
    follows (rows,) 0 where the second segment follows the first and 1 where it does not.
    """

    tokens: Tensor
    segments: Tensor | None
    keep: Tensor | None
    hidden: Tensor
    labels: Tensor
    follows: Tensor | None

    def to(self, device: torch.device | str) -> MaskedBatch:
        moved = (None if each is None else each.to(device) for each in vars(self).values())
        return MaskedBatch(*moved)  # type: ignore[arg-type]

    def original(self) -> Tensor:
        """The rows before anything was hidden."""
        return self.tokens.masked_scatter(self.hidden, self.labels)


class MaskedBatches:
    """Rows of one text, or of two segments, with hidden words: the trainer's batches."""

    def __init__(
        self,
        sentences: Sentences,
        config: MaskedRows,
        frame: Frame,
        masking: Masking,
        length: int,
        *,
        pad: int,
        segments: int,
        seed: int,
    ) -> None:
        """length: tokens of a row; segments: kinds that the model tells apart; seed: of order, pairs, hidden words.

        Raises DataError where no pairs can be made, ConfigError where the rows are too short.
        """
        self.sentences, self.config, self.frame, self.masking = sentences, config, frame, masking
        self.pad, self.segments, self.seed = pad, segments, seed
        self.room = frame.room(config.next_sentence, length)
        if self.room < 2:
            raise ConfigError(
                f"rows of {length} tokens have no room for text beside their special tokens; raise rows.length"
            )
        if config.next_sentence:
            self.check_pairs()
        self.plan = lru_cache(2)(self.plan_of)  # of two epochs; several threads may ask

    def check_pairs(self) -> None:
        name, fix = self.sentences.table.name, "or set rows.next_sentence = false"
        if len(self.sentences) < 2:
            raise DataError(
                f"{name}: there is one document here, so no segment of another one can be shown; separate "
                f"documents (rows.separator), give more text or data.validation, {fix}"
            )
        if np.diff(self.sentences.first).max() < 2:
            raise DataError(f"{name}: no document has two sentences, so nothing follows anything; {fix}")

    def plan_of(self, epoch: int) -> SegmentPlan:
        """The rows of an epoch: a pure function of (seed, epoch)."""
        dice = np.random.default_rng([self.seed, epoch, PAIRS])
        make = plan_pairs if self.config.next_sentence else plan_texts
        return make(self.sentences, self.room, self.config.short, dice)

    def epoch(self, epoch: int) -> list[Ids]:
        """The row numbers of every batch: a pure function of (seed, epoch)."""
        sizes = self.plan(epoch).sizes + sum(map(len, self.around))
        batches = bucket(sizes[:, None], self.config.tokens_per_batch, seed=self.seed, epoch=epoch)
        return [rows + epoch * EPOCH for rows in batches]

    @property
    def around(self) -> tuple[Ids, ...]:
        return self.frame.pair if self.config.next_sentence else self.frame.alone

    def spread(self, most: int) -> list[Ids]:
        """About `most` rows (0: all) of epoch 0, evenly over the text, in batches for evaluation."""
        sizes = self.plan(0).sizes
        rows = np.arange(len(sizes))
        if most and most < len(rows):
            rows = np.linspace(0, len(rows) - 1, most).astype(np.int64)
        rows = rows[np.argsort(sizes[rows], kind="stable")]
        width = int(sizes.max()) + sum(map(len, self.around))
        step = max(1, max(self.config.tokens_per_batch, EVALUATED) // width)
        return [rows[start : start + step] for start in range(0, len(rows), step)]

    def collate(self, rows: Sequence[int] | Ids) -> MaskedBatch:
        """The tensors of these rows, as wide as the longest."""
        parts = [self.row(int(row)) for row in rows]
        shape = len(parts), max(len(shown) for shown, *_ in parts)
        tokens, segments = np.full(shape, self.pad, np.int64), np.zeros(shape, np.int64)
        real, hidden = np.zeros(shape, bool), np.zeros(shape, bool)
        for i, (shown, kinds, places, *_) in enumerate(parts):
            at = i, slice(len(shown))
            tokens[at], segments[at], real[at], hidden[at] = shown, kinds, True, places
        labels = np.concatenate([labels for *_, labels, _ in parts])
        follows = np.array([strange for *_, strange in parts], np.int64)
        return MaskedBatch(
            torch.from_numpy(tokens),
            torch.from_numpy(segments) if self.segments > 1 else None,
            None if real.all() else torch.from_numpy(real),
            torch.from_numpy(hidden),
            torch.from_numpy(labels),
            torch.from_numpy(follows) if self.config.next_sentence else None,
        )

    def row(self, row: int) -> tuple[Ids, Ids, NDArray[np.bool_], Ids, int]:
        """(tokens as read, segments, which are to be said, these true tokens, whether B is of elsewhere)."""
        epoch, number = divmod(row, EPOCH)
        plan, text = self.plan(epoch), self.sentences
        a, b, c, d = plan.places[number].tolist()
        pair = self.config.next_sentence
        spans = [slice(a, b), slice(c, d)] if pair else [slice(a, b)]
        kinds = self.frame.segments if pair else (0, 0, 0)
        before, *afters = self.around
        parts: list[NDArray[np.int64 | np.int32]] = [before]
        begins = [np.ones(len(before), bool)]
        for span, after in zip(spans, afters, strict=True):
            parts += [text.tokens[span], after]
            begins += [text.begins[span], np.ones(len(after), bool)]
        segments = [np.broadcast_to(kind, len(part)) for kind, part in zip(kinds, parts, strict=True)]
        tokens = np.concatenate(parts).astype(np.int64)
        dice = np.random.default_rng([self.seed, epoch, number, HIDING])
        shown, hidden = self.masking.hide(tokens, np.concatenate(begins), dice)
        strange = int(plan.strange[number])
        return shown, np.concatenate(segments).astype(np.int64), hidden, tokens[hidden], strange

    def where(self, row: int) -> str:
        """The document of a row."""
        epoch, number = divmod(row, EPOCH)
        return self.sentences.where(int(self.plan(epoch).places[number, 0]))

    def describe(self, rows: Sequence[int] | Ids) -> str:
        """The document of the first of these rows, and how many more rows."""
        return first_and_more(rows, self.where, "row(s)")

    def report(self) -> DataReport:
        """What is in the documents, and how an epoch is filled."""
        text, plan, config = self.sentences, self.plan(0), self.config
        kind = "no pairs"
        if config.next_sentence:
            kind = f"pairs, of which the second segment follows in {1 - plan.strange.mean():.1%}"
        kept = plan.sizes.sum() / (plan.sizes.sum() + plan.cut)
        words = "whole words" if config.whole_word else "tokens"
        return DataReport(
            len(text),
            [LengthReport("sentences", np.diff(text.ends, prepend=0), text.unknown)],
            {
                "empty documents (data.drop_empty)": text.table.dropped,
                "documents without a token": len(text.table) - len(text),
            },
            [
                f"text: {len(text.ends):,} sentences, {len(text.tokens):,} tokens",
                f"rows: {len(plan.places):,} an epoch, {plan.sizes.mean():.1f} tokens of text each; {kind}",
                f"cut: {1 - kept:.1%} of the tokens of an epoch, from rows that were too long; each epoch others",
                f"hidden: {config.masked:.0%} of the tokens, as {words}; {config.mask_share:.0%} of these masked, "
                f"{config.random_share:.0%} random, {max(0.0, 1 - config.mask_share - config.random_share):.0%} kept",
            ],
        )
