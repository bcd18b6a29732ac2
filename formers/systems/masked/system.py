"""Masked language models: fill in hidden words, say how likely a text is, find words that do not belong.

text with [MASK] -> tokens -> Encoder -> word head at the masks -> the likeliest words
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.decoding.log_probabilities import Scored, in_pieces, token_log_probabilities
from formers.errors import CheckpointError, ConfigError, DataError, TextsError
from formers.models.heads import MaskedWords, NextSentence, Pretraining, ReplacedTokens
from formers.pretrained.express import express
from formers.pretrained.families import families
from formers.pretrained.load import save_model
from formers.systems.reading import logits_of, read_in_order, reader_of, reading
from formers.text.reader import Reader
from formers.text.rule_tokenizer import MASKS
from formers.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from tokenizers import Encoding

READ = 4096  # tokens that are read at a time, in rows beside each other
GENERATOR = "generator"  # the folder of the small model beside an ELECTRA discriminator of ours
Words = MaskedWords | Pretraining


@dataclass(frozen=True)
class Candidate:
    """A word for a mask."""

    probability: float
    word: str
    """The piece of the vocabulary: one that continues a word has its mark (##)."""
    token: int
    text: str
    """The whole text with this word in it; other masks stay."""


@dataclass(frozen=True)
class Suspect:
    """A token, and how probable it is that somebody has put it there."""

    probability: float
    word: str
    start: int
    """Characters of the text."""
    end: int


class MaskedModel:
    """An encoder with a word head, or ELECTRA's discriminator: what `formers.load` gives for them."""

    def __init__(
        self,
        model: Words | NextSentence | ReplacedTokens,
        tokenizer: Tokenizer | None,
        *,
        family: str | None = None,
        generator: MaskedWords | None = None,
    ) -> None:
        """generator: the small model that a discriminator has learned with, saved beside it."""
        self.model, self.tokenizer, self.family, self.generator = model, tokenizer, family, generator

    @property
    def device(self) -> torch.device:
        return self.model.encoder.embedding.weight.device

    @cached_property
    def reader(self) -> Reader:
        return reader_of(self.tokenizer, self.model.config.encoder)

    @property
    def mask(self) -> int:
        """The id of the mask token. Raises ConfigError where the tokenizer has none."""
        if self.reader.mask is None:
            raise ConfigError("the tokenizer of this model has no mask token (mask_token in tokenizer_config.json)")
        return self.reader.mask

    @overload
    def fill(self, texts: str, *, top: int = 5) -> list[list[Candidate]]: ...  # type: ignore[overload-overlap]
    @overload
    def fill(self, texts: Sequence[str], *, top: int = 5) -> list[list[list[Candidate]]]: ...
    def fill(self, texts: str | Sequence[str], *, top: int = 5) -> list[list[Candidate]] | list[list[list[Candidate]]]:
        """The `top` likeliest words for each mask of a text, best first: one list a mask; of several texts, such lists.

        "[MASK]" and "<mask>" both stand for the model's own mask. Several masks are filled independently: each word is
        the likeliest while the other masks are still hidden.
        Raises DataError for a text without a mask, or one that is longer than the model reads.
        """
        model = self.words
        if top < 1:
            raise ConfigError(f"top: got {top}, expected 1 or more")
        listed = [self.own_mask(text) for text in ([texts] if isinstance(texts, str) else texts)]
        if bare := {place: text for place, text in enumerate(listed) if self.mask_text not in text}:
            raise TextsError({place: self.no_mask(text) for place, text in bare.items()})
        encodings = self.encodings(listed)

        def best(rows: NDArray[np.int64]) -> list[list[list[Candidate]]]:
            batch = self.reader.batch([encodings[row] for row in rows]).to(self.device)
            masks = batch.tokens == self.mask
            x = model.words(model.encoder(batch.tokens, segments=batch.segments, keep=batch.keep)[masks])
            gaps: list[tuple[list[float], list[int]]] = []
            for part in in_pieces(x, model.config.vocab):
                likeliest = model.logits(part).float().softmax(-1).topk(min(top, model.config.vocab))
                gaps += zip(likeliest.values.tolist(), likeliest.indices.tolist(), strict=True)
            ends = masks.sum(1).cumsum(0).tolist()
            return [
                [self.candidates(listed[row], gap, *both) for gap, both in enumerate(gaps[start:end])]
                for row, start, end in zip(rows, [0, *ends], ends, strict=False)
            ]

        words = read_in_order(model, [len(encoding.ids) for encoding in encodings], best, tokens=READ)
        return words[0] if isinstance(texts, str) else words

    def candidates(self, text: str, gap: int, values: Sequence[float], ids: Sequence[int]) -> list[Candidate]:
        """The words of one mask, each in its text."""
        parts = text.split(self.mask_text)
        before, after = self.mask_text.join(parts[: gap + 1]), self.mask_text.join(parts[gap + 1 :])
        names = self.reader.tokenizer.pieces(ids)
        return [
            Candidate(value, name.strip() or name, number, joined(before, name, after))
            for value, name, number in zip(values, names, ids, strict=True)
        ]

    def with_mask(self, text: str) -> str:
        """The text with the model's own mask. Raises DataError where there is none."""
        text = self.own_mask(text)
        if self.mask_text not in text:
            raise DataError(self.no_mask(text))
        return text

    def own_mask(self, text: str) -> str:
        """The text, masks of other models written as this one's."""
        for name in MASKS:
            text = text.replace(name, self.mask_text)
        return text

    def no_mask(self, text: str) -> str:
        return f'the text has no {self.mask_text}, so there is nothing to fill in: "{text[:60]}"'

    @cached_property
    def mask_text(self) -> str:
        return str(self.reader.rules.id_to_token(self.mask))

    def encodings(self, texts: Sequence[str]) -> list[Encoding]:
        """The texts as tokens, in whole. Raises TextsError where some are too long."""
        encodings = self.reader.read(texts)
        if long := [place for place, encoding in enumerate(encodings) if encoding.overflowing]:
            reason = f"the text is longer than the {self.reader.length} tokens that this model reads; shorten it"
            raise TextsError(dict.fromkeys(long, reason))
        for text, encoding in zip(texts, encodings, strict=True):
            if self.reader.mask is not None and encoding.ids.count(self.mask) != text.count(self.mask_text):
                raise CheckpointError(
                    f"the tokenizer reads {self.mask_text} as other tokens: its tokenizer.json must "
                    "list it among the added tokens"
                )
        return encodings

    def score(self, text: str) -> Scored:
        """The log-probability of every token of a text, each hidden once while all others are seen.

        Their sum is the pseudo-log-likelihood (Salazar et al. 2020), `perplexity` the pseudo-perplexity; neither
        compares with those of models that read from left to right. Raises DataError as `fill` does.
        """
        model = self.words
        (encoding,) = self.encodings([text])
        places = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
        if not places:
            raise DataError("the text has no token to score")
        batch = self.reader.batch([encoding]).to(self.device)

        def hidden_once(rows: NDArray[np.int64]) -> list[float]:
            each, hidden = torch.arange(len(rows)), torch.tensor(places)[rows]
            tokens = batch.tokens.repeat(len(rows), 1)
            labels = tokens[each, hidden]
            tokens[each, hidden] = self.mask
            segments = None if batch.segments is None else batch.segments.expand(len(rows), -1)
            x = model.words(model.encoder(tokens, segments=segments)[each, hidden])
            return token_log_probabilities(model.logits, x, labels, model.config.vocab).tolist()

        scores = read_in_order(model, [len(encoding.ids)] * len(places), hidden_once, tokens=READ)
        return Scored([encoding.ids[place] for place in places], scores, len(text.encode()))

    def follows(self, first: str, second: str) -> float:
        """The probability that the second text follows the first in its document."""
        if not isinstance(self.model, Pretraining | NextSentence):
            raise ConfigError(
                f"this {type(self.model).__name__} has no next-sentence head; train one with rows.next_sentence = true"
            )
        batch = self.reader.batch(self.reader.read([first], [second])).to(self.device)
        with reading(self.model):
            x = self.model.encoder(batch.tokens, segments=batch.segments, keep=batch.keep)
            logits: Tensor = self.model.next(self.model.encoder.pool(x, batch.keep))
        return float(logits.float().softmax(-1)[0, 0])

    def detect(self, text: str) -> list[Suspect]:
        """For every token of a text, the probability that it is not the original one (ELECTRA's discriminator)."""
        if not isinstance(self.model, ReplacedTokens):
            raise ConfigError(
                f"this {type(self.model).__name__} fills in words; only an ELECTRA discriminator detects replaced ones"
            )
        (encoding,) = self.encodings([text])
        (logits,) = logits_of(self.model, self.reader, [encoding])
        tokens = zip(
            logits.sigmoid().tolist(),
            self.reader.tokenizer.pieces(encoding.ids),
            encoding.offsets,
            encoding.special_tokens_mask,
            strict=True,
        )
        return [Suspect(probability, piece, *span) for probability, piece, span, special in tokens if not special]

    @property
    def words(self) -> Words:
        """The model, if it has a word head. Raises ConfigError otherwise."""
        if isinstance(self.model, ReplacedTokens):
            raise ConfigError(
                "this is an ELECTRA discriminator, which detects replaced words and fills in none; "
                "give a model with a masked-words head, such as its generator"
            )
        if isinstance(self.model, NextSentence):
            raise ConfigError("this model judges next sentences only; give a model with a masked-words head")
        return self.model

    def save(self, folder: str | Path) -> None:
        """Write a folder in the Hugging Face layout; a generator goes into the folder `generator` inside it."""
        save_model(folder, self.model, tokenizer=self.tokenizer, family=self.family, system="masked")
        if self.generator is not None:  # in the layout of the discriminator, where that has a place for all its parts
            kind, _, _ = express(self.model, self.family)
            fits = any(one.express(self.generator) is not None for one in families(kind.model_type))
            save_model(
                Path(folder) / GENERATOR,
                self.generator,
                tokenizer=self.tokenizer,
                family=kind.model_type if fits else None,
                system="masked",
            )


def joined(before: str, word: str, after: str) -> str:
    """A text with a word where its mask was: pieces that continue a word stand close to it."""
    if word.startswith("##"):  # word pieces
        return before.rstrip() + word[2:] + after
    if word.startswith(("▁", " ")):  # SentencePiece and bytes: the space belongs to the word
        return (before.rstrip() + " " + word[1:] + after).lstrip() if before.strip() else word[1:] + after
    return before + word + after
