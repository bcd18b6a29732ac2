"""Texts as an encoder reads them: alone or in pairs, cut to its length or in overlapping windows, words in sight.

[CLS] first text [SEP]        [CLS] first text [SEP] second text [SEP]        (or as the tokenizer has it)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import normalizers
from torch import Tensor

from formers.errors import ConfigError
from formers.text.encoder_tokenizer import as_rules
from formers.text.faults import reading
from formers.text.piece_tokenizer import PieceTokenizer
from formers.text.rule_tokenizer import FIRSTS, MASKS, SEPARATORS, RuleTokenizer
from formers.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import tokenizers
    from tokenizers import Encoding as Encoding  # what a Reader gives: other parts know it by this name


SOME = 1000  # texts at once that are looked at for unknown tokens: more are a data set, which its report counts


class Row(NamedTuple):
    """What is kept of an `Encoding` where there are many: an eighth of its memory."""

    ids: Sequence[int] | NDArray[np.int32]
    type_ids: Sequence[int] | NDArray[np.int32]


class Inputs(NamedTuple):
    """A batch as the models take it: `model(i.tokens, segments=i.segments, keep=i.keep)`."""

    tokens: Tensor
    """(rows, longest), filled up on the right."""
    segments: Tensor | None
    """(rows, longest): 0 for the first text, 1 for the second; None where the model tells none apart."""
    keep: Tensor | None
    """(rows, longest): True is a real token; None where no row is shorter than another."""

    @property
    def real(self) -> int:
        """Tokens that are no padding."""
        return self.tokens.numel() if self.keep is None else int(self.keep.sum())

    def to(self, device: torch.device | str) -> Inputs:
        return Inputs(*(None if part is None else part.to(device) for part in self))  # type: ignore[arg-type]


class Reader:
    """A tokenizer with an encoder's length. What it gives are the `Encoding`s of the tokenizers library.

    Their `ids`, `type_ids`, `offsets` (characters of the text), `word_ids`, `sequence_ids` (0: first text, 1: second,
    None: a special token); `overflowing` is not empty where a text was cut.
    """

    def __init__(self, tokenizer: Tokenizer, length: int, *, segments: int = 2, lowercase: bool = False) -> None:
        """length: most tokens of a row, special ones included; segments: as in the encoder's config; lowercase: read
        everything in lower case, before whatever the tokenizer does to a text.
        """
        if isinstance(tokenizer, PieceTokenizer):
            tokenizer = as_rules(tokenizer)
        if not isinstance(tokenizer, RuleTokenizer):
            raise ConfigError("encoders read with a tokenizer.json (or vocab.txt); this tokenizer is of another kind")
        self.tokenizer, self.length, self.segments = tokenizer, length, segments
        self.rules = tokenizer.copy()  # cutting is a state of it
        self.side = "left" if tokenizer.settings.get("truncation_side") == "left" else "right"
        if lowercase:
            rest = [] if self.rules.normalizer is None else [self.rules.normalizer]
            self.rules.normalizer = normalizers.Sequence([normalizers.Lowercase(), *rest])
        self.words: tokenizers.Tokenizer | None = None
        self.pad = tokenizer.pad or 0
        self.mask = self.special("mask", MASKS)
        self.first = self.special("cls", FIRSTS)
        self.separator = self.special("sep", SEPARATORS)

    def special(self, kind: str, names: Sequence[str]) -> int | None:
        """The id of a special token: as tokenizer_config.json says, else the first of the usual names."""
        given = self.tokenizer.settings.get(f"{kind}_token")
        ids = (self.rules.token_to_id(name) for name in ([str(given)] if given else names))
        return next((number for number in ids if number is not None), None)

    def room(self, length: int, *, pair: bool = False) -> int:
        """`length`, or the model's. Raises ConfigError where it has no place for one token of each text."""
        length, specials = length or self.length, self.rules.num_special_tokens_to_add(pair)
        if length < specials + 1 + pair:
            raise ConfigError(f"length ({length}) leaves no room for a text: {specials} tokens are special ones")
        return length

    def read(
        self, texts: Sequence[str], seconds: Sequence[str] | None = None, *, length: int = 0, offsets: bool = True
    ) -> list[Encoding]:
        """Texts, or pairs of texts, cut to `length` tokens (0: the model's); of a pair the longer one is cut first.

        offsets False leaves these out, which is faster.
        """
        room, pair = self.room(length, pair=seconds is not None), seconds is not None
        self.rules.enable_truncation(room, strategy="longest_first", direction=self.side)
        rows = list(texts) if seconds is None else list(zip(texts, seconds, strict=True))
        return self._checked(self._encode(rows, offsets=offsets), rows, pair=pair)

    def read_words(self, sentences: Sequence[Sequence[str]], *, length: int = 0, stride: int = 0) -> list[Encoding]:
        """Sentences that are words already; `word_ids` say which word each token is of.

        What is too long goes on in `overflowing`, `stride` tokens said twice.
        """
        if self.words is None:
            self.words = spaced(self.rules)
        self.words.enable_truncation(self.room(length), stride=stride)
        rows = [list(words) for words in sentences]
        with reading(rows):
            encodings = self.words.encode_batch(rows, is_pretokenized=True)
        return self._checked(encodings, rows)

    def windows(
        self, questions: Sequence[str], passages: Sequence[str], *, stride: int, length: int = 0
    ) -> list[list[Encoding]]:
        """For each pair its windows: the question whole, the passage piece by piece, `stride` tokens said twice.

        Raises ConfigError where a question leaves no room for its passage.
        """
        length = self.room(length, pair=True)
        room = length - self.rules.num_special_tokens_to_add(True)
        if stride < 0:
            raise ConfigError(f"windows of {length} tokens cannot overlap by {stride}")
        self.rules.no_truncation()
        for number, encoding in enumerate(self._encode(list(questions), specials=False)):
            if len(encoding) + stride >= room:
                windows = f"with windows of {length} that overlap by {stride}"
                fault = f"question {number + 1} has {len(encoding)} tokens: {windows} there is no room for its passage"
                raise ConfigError(f"{fault}; shorten it or the overlap")
        self.rules.enable_truncation(length, stride=stride, strategy="only_second")
        return self._windows(list(zip(questions, passages, strict=True)), pair=True)

    def text_windows(self, texts: Sequence[str], *, stride: int, length: int = 0) -> list[list[Encoding]]:
        """For each text its windows of `length` tokens (0: the model's), `stride` of them said twice."""
        length = length or self.length
        if not 0 <= stride < length - self.rules.num_special_tokens_to_add(False):
            raise ConfigError(f"windows of {length} tokens cannot overlap by {stride}")
        self.rules.enable_truncation(length, stride=stride)
        return self._windows(list(texts))

    def _windows(self, rows: list[Any], *, pair: bool = False) -> list[list[Encoding]]:
        windows = [[encoding, *encoding.overflowing] for encoding in self._encode(rows)]
        for row, encodings in zip(rows, windows, strict=True):
            self._checked(encodings, [row] * len(encodings), pair=pair)
        return windows

    def _encode(self, rows: list[Any], *, offsets: bool = True, specials: bool = True) -> list[Encoding]:
        encode = self.rules.encode_batch if offsets else self.rules.encode_batch_fast
        with reading(rows):
            return encode(self.tokenizer.cleaned(rows), add_special_tokens=specials)

    def _checked(self, encodings: list[Encoding], rows: Sequence[Any], *, pair: bool = False) -> list[Encoding]:
        """The encodings as they are. Raises DataError for a token that the model does not have."""
        watch = self.tokenizer.watch
        if watch.rows is not None or len(rows) <= SOME:
            around = self.rules.num_special_tokens_to_add(pair)
            watch.checked([encoding.ids for encoding in encodings], rows, around)
        return encodings

    def batch(self, encodings: Sequence[Encoding | Row]) -> Inputs:
        """Rows of unequal length as tensors."""
        ids = [encoding.ids for encoding in encodings]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        real = np.arange(lengths.max(initial=0)) < lengths[:, None]
        tokens = np.full(real.shape, self.pad, np.int64)
        tokens[real] = joined(ids)
        segments = None
        if self.segments > 1:
            segments = np.zeros(real.shape, np.int64)
            segments[real] = joined([encoding.type_ids for encoding in encodings])
        return Inputs(
            torch.from_numpy(tokens),
            None if segments is None else torch.from_numpy(segments),
            None if real.all() else torch.from_numpy(real),
        )


def joined(rows: Sequence[Sequence[int] | NDArray[np.int32]]) -> NDArray[np.int64]:
    """All rows one after the other."""
    return np.concatenate([np.zeros(0, np.int64), *(np.asarray(row, np.int64) for row in rows)])


def spaced(rules: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Rules for words without the spaces between them: byte-level ones put a space before each, as texts have it."""
    table = json.loads(rules.to_str())
    outer = [part for part in (table["pre_tokenizer"], table["post_processor"]) if part]
    inner = [step for part in outer for step in part.get("pretokenizers", ())]
    for part in [*outer, *inner]:
        if part.get("add_prefix_space") is False:
            part["add_prefix_space"] = True
    words = type(rules).from_str(json.dumps(table))
    words.encode_special_tokens = rules.encode_special_tokens
    return words
