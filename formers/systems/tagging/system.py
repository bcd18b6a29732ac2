"""Tagging: a label for every word of a text, parts of speech or names.

text -> words -> word pieces (windows) -> TokenClassifier -> the label of each word's first piece -> entities
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from formers.errors import ConfigError
from formers.metrics.spans import is_bio, span_scores, spans
from formers.models.heads import TokenClassifier
from formers.pretrained.load import save_model
from formers.systems.reading import logits_of_windows, reader_of_system
from formers.systems.system import Report, ResultTable, cost, share
from formers.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from formers.text.reader import Encoding

Sentence = str | Sequence[str]  # a text, or its words


@dataclass(frozen=True)
class Tag:
    """A word or an entity of a text, `text[start:end]`, and its label; of a list of words: of them joined by " "."""

    text: str
    label: str
    """"" for a word of which the tokenizer leaves nothing."""
    score: float
    """Probability of the label; of an entity the mean over its words."""
    start: int
    end: int


class Tagger:
    """An encoder that labels tokens, with its tokenizer: what `formers.load` gives for such a model."""

    def __init__(
        self, model: TokenClassifier, tokenizer: Tokenizer | None, *, length: int = 0, family: str | None = None
    ) -> None:
        """length: tokens of a window (0: all that the model sees)."""
        self.model, self.tokenizer, self.length, self.family = model, tokenizer, length, family
        self.labels = model.config.labels
        self.entities = is_bio(self.labels)

    reader = cached_property(reader_of_system)

    def tag(self, text: Sentence, *, join: bool = True, stride: int = 0) -> list[Tag]:
        """The labels of a text, or of the words of one sentence (list of str), in order.

        Plain labels come one for each word. Labels of entities (BIO) are joined: the label of a word is that of its
        first piece, B- begins an entity, I- goes on with one of the same kind and else begins one; words outside are
        left out. join False gives every word as the model labels it. stride: tokens that the windows of a text longer
        than the model have in common (0: a quarter); a word is judged in the window that shows most around it.
        """
        return self.tag_all([text], join=join, stride=stride)[0]

    def tag_all(self, texts: Sequence[Sentence], *, join: bool = True, stride: int = 0) -> list[list[Tag]]:
        """`tag` for each of several texts, batched."""
        tagged = []
        for text, (places, logits) in zip(texts, self.read(texts, stride=stride), strict=True):
            whole = text if isinstance(text, str) else " ".join(text)
            best, scores = logits.argmax(1).tolist(), np.exp(logits.max(1, initial=-np.inf)).tolist()
            words = [
                Tag(whole[start:end], self.labels[at] if score else "", score, start, end)
                for (start, end), at, score in zip(places, best, scores, strict=True)
            ]
            tagged.append(joined(words, whole) if join and self.entities else words)
        return tagged

    def read(
        self, texts: Sequence[Sentence], *, stride: int = 0
    ) -> Iterator[tuple[list[tuple[int, int]], NDArray[np.float32]]]:
        """For each text the places of its words, (start, end) characters, and their log-probabilities (words, labels).

        All are minus infinity for a word of which the tokenizer leaves nothing.
        """
        windows = self.windows(texts, stride)
        every = logits_of_windows(self.model, self.reader, windows)
        for text, row, logits in zip(texts, windows, every, strict=True):
            parts = [torch.from_numpy(window).log_softmax(-1).numpy() for window in logits]
            places = word_places(text, row)
            out = np.full((len(places), len(self.labels)), -np.inf, np.float32)
            for word, (window, piece) in clearest(row).items():
                out[word] = parts[window][piece]
            yield places, out

    def windows(self, texts: Sequence[Sentence], stride: int) -> list[list[Encoding]]:
        """The encodings of each text: one, or overlapping ones where it is longer than the model."""
        room = self.reader.length - self.reader.rules.num_special_tokens_to_add(False)
        if not 0 <= stride < room:
            raise ConfigError(f"stride ({stride}) must be less than the {room} tokens of a window")
        stride = stride or room // 4
        whole = [text for text in texts if isinstance(text, str)]
        split = [text for text in texts if not isinstance(text, str)]
        of_whole = iter(self.reader.text_windows(whole, stride=stride))
        of_split = ([first, *first.overflowing] for first in self.reader.read_words(split, stride=stride))
        return [next(of_whole if isinstance(text, str) else of_split) for text in texts]

    def evaluate(
        self, sentences: Sequence[Sequence[str]], tags: Sequence[Sequence[str]]
    ) -> tuple[Report, list[list[str]]]:
        """Mean negative log-probability of the true tags, the share of words that are right, the F1 of entities; and
        the tags that were predicted ("" for a word of which the tokenizer leaves nothing).

        Sentences longer than the model are read in windows, so that every word counts. A word without a tag is wrong,
        and outside every entity; it has no part in the loss.
        """
        numbers = {label: number for number, label in enumerate(self.labels)}
        predicted: list[list[str]] = []
        right = words = readable = 0
        lost = 0.0
        for (_, logits), true in zip(self.read(sentences), tags, strict=True):
            is_read: NDArray[np.bool_] = np.isfinite(logits[:, 0])
            expected = np.asarray([numbers[tag] for tag in true])
            best = logits.argmax(1)
            lost -= float(logits[is_read, expected[is_read]].sum())
            right, words = right + int((is_read & (best == expected)).sum()), words + len(true)
            readable += int(is_read.sum())
            predicted.append([self.labels[at] if there else "" for at, there in zip(best, is_read, strict=True)])
        scores = [cost("loss", lost / max(1, readable)), share("accuracy", right / words)]
        if self.entities:
            scores += [share(name, value) for name, value in span_scores(predicted, tags).items()]
        facts = {"sentences": len(sentences), "words": words}
        return Report(scores, facts=facts, tables=[tag_table(predicted, tags)]), predicted

    def save(self, folder: str | Path) -> None:
        """Write a folder in the Hugging Face layout."""
        save_model(folder, self.model, tokenizer=self.tokenizer, family=self.family, system="tagging")


def tag_table(predicted: Sequence[Sequence[str]], tags: Sequence[Sequence[str]]) -> ResultTable:
    """For each tag how often it is there, how many were found, how many of those predicted are right, and its rival."""
    pairs = Counter((true, tag) for row in zip(tags, predicted, strict=True) for true, tag in zip(*row, strict=True))
    there, given = Counter[str](), Counter[str]()
    for (true, tag), times in pairs.items():
        there[true] += times
        given[tag] += times
    rows = []
    for tag, times in there.most_common():
        right = pairs[tag, tag]
        rivals = ((count, other) for (true, other), count in pairs.items() if true == tag and other != tag)
        taken, rival = max(rivals, default=(0, ""))
        precision = f"{right / given[tag]:.1%}" if given[tag] else ""
        rows.append(
            (tag, f"{times:,}", f"{right / times:.1%}", precision, f"{rival or '-'} ({taken:,})" if taken else "")
        )
    return ResultTable(
        "tags", ["tag", "words", "found", "right", "most often taken for"], rows, ["words", "found", "right"]
    )


def word_places(text: Sentence, windows: Sequence[Encoding]) -> list[tuple[int, int]]:
    """(start, end) of every word: of those that were given in them joined by " ", else of the tokenizer's own."""
    if not isinstance(text, str):
        ends = np.cumsum([len(word) + 1 for word in text], dtype=int)
        return [(int(end) - 1 - len(word), int(end) - 1) for word, end in zip(text, ends, strict=True)]
    extents: dict[int, tuple[int, int]] = {}
    for window in windows:
        for word, (start, end) in zip(window.word_ids, window.offsets, strict=True):
            if word is not None:
                before = extents.get(word, (start, end))
                extents[word] = min(before[0], start), max(before[1], end)
    places = []
    for word in range(max(extents, default=-1) + 1):
        start, end = extents.get(word, (0, 0))
        bare = text[start:end].strip()  # some tokenizers count the space before a word to it
        start += text[start:end].find(bare)
        places.append((start, start + len(bare)))
    return places


def clearest(windows: Sequence[Encoding]) -> dict[int, tuple[int, int]]:
    """word -> (window, place) of its first piece, in the window with the most pieces on the scarcer side of it."""
    best: dict[int, tuple[tuple[int, int], tuple[int, int]]] = {}
    for number, window in enumerate(windows):
        for place, (word, (start, _)) in enumerate(zip(window.word_ids, window.offsets, strict=True)):
            if word is None:
                continue
            rank = start, -min(place, len(window) - 1 - place)  # a later piece of the word begins further on in it
            if word not in best or rank < best[word][0]:
                best[word] = rank, (number, place)
    return {word: at for word, (_, at) in best.items()}


def joined(words: Sequence[Tag], text: str) -> list[Tag]:
    """The entities that words with BIO labels make."""
    return [
        Tag(
            text[words[s.start].start : words[s.end - 1].end],
            s.kind,
            sum(word.score for word in words[s.start : s.end]) / (s.end - s.start),
            words[s.start].start,
            words[s.end - 1].end,
        )
        for s in spans([word.label for word in words])
    ]
