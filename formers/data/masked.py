"""Text for masked language models: documents in sentences, pairs of segments, hidden words, batches.

    documents -> sentences -> plan of an epoch: [CLS] A [SEP] B [SEP], B follows A or is of another document -> hide

A row is a pure function of (seed, epoch, row): every epoch has pairs and hidden words of its own, a resumed run the
same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.batching import bucket
from formers.data.language import TextData
from formers.data.masking import Frame, Masking
from formers.data.report import DataReport, LengthReport
from formers.data.segments import Ids, SegmentPlan, Sentences, plan_pairs, plan_texts
from formers.data.sources import Table
from formers.errors import ConfigError, DataError

EPOCH = 1 << 32  # a row number says its epoch, too
EVALUATED = 8192  # tokens of a batch that needs no gradients
PAIRS, HIDING = 1, 2  # what dice are thrown for


@dataclass(frozen=True, kw_only=True)
class MaskedData:
    """Where the text comes from, what its tokens are, and how many of them are hidden."""

    train: str = "builtin:prose"
    """Text to learn from: .txt, a pattern or folder of them, .jsonl .csv .parquet, hf:owner/name, builtin:prose."""
    validation: str = ""
    """Text to watch while training; empty: the source's own validation split, or else the end of the training text."""
    test: str = ""
    """Text to judge with in the end (formers evaluate); empty: the source's own test split, or else `validation`."""
    column: str = "text"
    """Column of a table that holds the text, a document in each row."""
    separator: str = "blank"
    """What parts a text file into documents: file (it is one), blank (lines), line, or a mark such as <|endoftext|>."""
    count: int = 0
    """How many training documents to take from the front (0: all there are)."""
    held_out: float = 0.1
    """Share of the training text that is set aside, from its end, where there is no validation text."""
    drop_empty: bool = False
    """Leave out empty documents instead of refusing them."""
    tokenizer: str = ""
    """A folder that has a tokenizer (tokenizer.json or vocab.txt); empty: word pieces are trained on the text now."""
    vocab: int = 8000
    """Word pieces that are trained now."""
    lowercase: bool = True
    """Word pieces that are trained now make no difference between capital and small letters, and have no accents."""
    length: int = 0
    """Tokens of a row (0: the model's length)."""
    tokens_per_batch: int = 4096
    """Most tokens of a batch, padding included, but at least one row."""
    next_sentence: bool = True
    """Rows of two segments: half the time the second follows the first, else it is of another document."""
    short: float = 0.1
    """Share of the rows that aim at a shorter length, drawn anew each time, as texts later have any length."""
    masked: float = 0.15
    """Share of the tokens whose word has to be said; special tokens never are among them."""
    mask_share: float = 0.8
    """Of these, the share that is replaced by the mask token."""
    random_share: float = 0.1
    """Of these, the share that is replaced by a random token; the others stay as they are."""
    whole_word: bool = False
    """Choose whole words instead of single tokens."""
    seed: int = 1
    """Seed of the order of the data, of the pairs and of the hidden words."""

    def __post_init__(self) -> None:
        self.texts()
        if not 0 < self.masked < 1:
            raise ConfigError(f"data.masked ({self.masked}) must be between 0 and 1")
        if not 0 <= self.short <= 1:
            raise ConfigError(f"data.short ({self.short}) must be between 0 and 1")
        if min(self.mask_share, self.random_share) < 0 or self.mask_share + self.random_share > 1 + 1e-9:
            raise ConfigError(
                f"data.mask_share ({self.mask_share}) and data.random_share ({self.random_share}) must "
                "be 0 or more, and together at most 1"
            )

    def texts(self) -> TextData:
        """The same source as a plain text, which reads it and checks what it shares with this."""
        return TextData(
            train=self.train,
            validation=self.validation,
            test=self.test,
            column=self.column,
            separator=self.separator,
            count=self.count,
            held_out=self.held_out,
            vocab=self.vocab,
            length=self.length,
            tokens_per_batch=self.tokens_per_batch,
            drop_empty=self.drop_empty,
            seed=self.seed,
        )

    def read(self, part: str) -> Table | None:
        """The documents of "train", "validation" or "test"; None where not named and the source has none."""
        return self.texts().read(part)

    def tables(self) -> tuple[Table, Table]:
        """Training and validation documents."""
        return self.texts().tables()

    def masking(self, mask: int, ordinary: Ids) -> Masking:
        """What is hidden of a row, given the mask token and the tokens that are no special ones."""
        return Masking(mask, ordinary, self.masked, self.mask_share, self.random_share, self.whole_word)


@dataclass(frozen=True)
class MaskedBatch:
    """Rows as the model reads them, and what it has to say of them.

    tokens, segments, keep and chosen are (rows, length); labels holds the true tokens where `chosen`, row by row, and
    follows (rows,) 0 where the second segment follows the first and 1 where it does not.
    """

    tokens: Tensor
    segments: Tensor | None
    keep: Tensor | None
    chosen: Tensor
    labels: Tensor
    follows: Tensor | None

    def to(self, device: torch.device | str) -> MaskedBatch:
        moved = (None if each is None else each.to(device) for each in vars(self).values())
        return MaskedBatch(*moved)  # type: ignore[arg-type]

    def original(self) -> Tensor:
        """The rows before anything was hidden."""
        return self.tokens.masked_scatter(self.chosen, self.labels)


class MaskedRows:
    """Rows of one text, or of two segments, with hidden words: the trainer's batches."""

    def __init__(
        self,
        sentences: Sentences,
        config: MaskedData,
        frame: Frame,
        masking: Masking,
        length: int,
        *,
        pad: int,
        segments: int,
    ) -> None:
        """length: tokens of a row; segments: kinds that the model tells apart. Raises DataError where no pairs can be
        made, ConfigError where the rows are too short."""
        self.sentences, self.config, self.frame, self.masking = sentences, config, frame, masking
        self.pad, self.segments = pad, segments
        self.room = frame.room(config.next_sentence, length)
        if self.room < 2:
            raise ConfigError(
                f"rows of {length} tokens have no room for text beside their special tokens; raise data.length"
            )
        if config.next_sentence:
            self.check_pairs()
        self.plan = lru_cache(2)(self.plan_of)  # of two epochs; several threads may ask

    def check_pairs(self) -> None:
        name, fix = self.sentences.table.name, "or set data.next_sentence = false"
        if len(self.sentences) < 2:
            raise DataError(
                f"{name}: there is one document here, so no segment of another one can be shown; separate "
                f"documents (data.separator), give more text or data.validation, {fix}"
            )
        if np.diff(self.sentences.first).max() < 2:
            raise DataError(f"{name}: no document has two sentences, so nothing follows anything; {fix}")

    def plan_of(self, epoch: int) -> SegmentPlan:
        """The rows of an epoch: a pure function of (seed, epoch)."""
        dice = np.random.default_rng([self.config.seed, epoch, PAIRS])
        make = plan_pairs if self.config.next_sentence else plan_texts
        return make(self.sentences, self.room, self.config.short, dice)

    def epoch(self, epoch: int) -> list[Ids]:
        """The row numbers of every batch: a pure function of (seed, epoch)."""
        sizes = self.plan(epoch).sizes + sum(map(len, self.around))
        batches = bucket(sizes[:, None], self.config.tokens_per_batch, seed=self.config.seed, epoch=epoch)
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
        made = [self.row(int(row)) for row in rows]
        width = max(len(shown) for shown, *_ in made)
        tokens = np.full((len(made), width), self.pad, np.int64)
        kinds, real, chosen = np.zeros_like(tokens), np.zeros(tokens.shape, bool), np.zeros(tokens.shape, bool)
        for i, (shown, segments, hidden, _, _) in enumerate(made):
            tokens[i, : len(shown)], kinds[i, : len(shown)] = shown, segments
            real[i, : len(shown)], chosen[i, : len(shown)] = True, hidden
        labels = np.concatenate([labels for *_, labels, _ in made])
        follows = np.array([strange for *_, strange in made], np.int64)
        return MaskedBatch(
            torch.from_numpy(tokens),
            torch.from_numpy(kinds) if self.segments > 1 else None,
            None if real.all() else torch.from_numpy(real),
            torch.from_numpy(chosen),
            torch.from_numpy(labels),
            torch.from_numpy(follows) if self.config.next_sentence else None,
        )

    def row(self, row: int) -> tuple[Ids, Ids, NDArray[np.bool_], Ids, int]:
        """(tokens as read, segments, which are to be said, these true tokens, whether B is of elsewhere)."""
        epoch, number = divmod(row, EPOCH)
        plan, text, frame = self.plan(epoch), self.sentences, self.frame
        a, b, c, d = plan.places[number].tolist()
        parts: list[Any]
        kinds: list[Any]
        if self.config.next_sentence:
            before, between, after = frame.pair
            parts = [before, text.tokens[a:b], between, text.tokens[c:d], after]
            kinds = [
                frame.kinds[0],
                [frame.texts[0]] * (b - a),
                frame.kinds[1],
                [frame.texts[1]] * (d - c),
                frame.kinds[2],
            ]
        else:
            parts = [frame.alone[0], text.tokens[a:b], frame.alone[1]]
            kinds = [[0] * len(part) for part in parts]
        ids = np.concatenate(parts).astype(np.int64)
        begins = np.ones(len(ids), bool)
        at = len(parts[0])
        begins[at : at + b - a] = text.begins[a:b]
        if self.config.next_sentence:
            at += b - a + len(parts[2])
            begins[at : at + d - c] = text.begins[c:d]
        dice = np.random.default_rng([self.config.seed, epoch, number, HIDING])
        shown, chosen = self.masking.hide(ids, begins, dice)
        return shown, np.concatenate(kinds).astype(np.int64), chosen, ids[chosen], int(plan.strange[number])

    def describe(self, rows: Sequence[int] | Ids) -> str:
        """The document of the first of these rows, and how many more rows."""
        epoch, number = divmod(int(rows[0]), EPOCH)
        place = self.sentences.where(int(self.plan(epoch).places[number, 0]))
        return f"{place} and {len(rows) - 1} more row(s)"

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
