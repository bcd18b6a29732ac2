"""Tagging: a label for every word of a text, parts of speech or names; and how that is learned.

text -> words -> word pieces (windows) -> TokenClassifier -> the label of each word's first piece -> entities
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from formers.data.tagged import TaggedBatch, TaggedBatches, TaggedData
from formers.errors import ConfigError
from formers.metrics.spans import is_bio, span_scores, spans
from formers.models.heads import HeadConfig, TokenClassifier
from formers.pretrained.load import save_model
from formers.pretrained.loaded import Loaded
from formers.systems.encoders import begin
from formers.systems.pieces import of_pieces
from formers.systems.report import memory_line, parameters_of
from formers.text.reader import Reader
from formers.text.tokenizer import Tokenizer
from formers.training.task import Loss

if TYPE_CHECKING:
    from formers.data.sources import Table
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
        self.model, self.tokenizer, self.family = model, tokenizer, family
        c = model.config.encoder
        self.labels = model.config.labels
        self.entities = is_bio(self.labels)
        self.reader = None if tokenizer is None else Reader(tokenizer, length or c.length, segments=c.segments)

    def needs_reader(self) -> Reader:
        if self.reader is None:
            raise ConfigError(
                "this model folder has no tokenizer files, so text cannot be read; add tokenizer.json or vocab.txt"
            )
        return self.reader

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
        found = []
        for text, (places, logits) in zip(texts, self.read(texts, stride=stride), strict=True):
            whole = text if isinstance(text, str) else " ".join(text)
            best, scores = logits.argmax(1).tolist(), np.exp(logits.max(1, initial=-np.inf)).tolist()
            words = [
                Tag(whole[start:end], self.labels[at] if score else "", score, start, end)
                for (start, end), at, score in zip(places, best, scores, strict=True)
            ]
            found.append(joined(words, whole) if join and self.entities else words)
        return found

    def read(
        self, texts: Sequence[Sentence], *, stride: int = 0
    ) -> Iterator[tuple[list[tuple[int, int]], NDArray[np.float32]]]:
        """For each text the places of its words, (start, end) characters, and their log-probabilities (words, labels).

        All are minus infinity for a word of which the tokenizer leaves nothing.
        """
        windows = self.windows(texts, stride)
        logits = iter(of_pieces(self.model, self.needs_reader(), [each for row in windows for each in row]))
        for text, row in zip(texts, windows, strict=True):
            parts = [next(logits) for _ in row]
            places = word_places(text, row)
            out = np.full((len(places), len(self.labels)), -np.inf, np.float32)
            for word, (window, piece) in clearest(row).items():
                scores = parts[window][piece]
                top = scores.max()
                out[word] = scores - (top + np.log(np.exp(scores - top).sum()))
            yield places, out

    def windows(self, texts: Sequence[Sentence], stride: int) -> list[list[Encoding]]:
        """The encodings of each text: one, or overlapping ones where it is longer than the model."""
        reader = self.needs_reader()
        room = reader.length - reader.rules.num_special_tokens_to_add(False)
        if not 0 <= stride < room:
            raise ConfigError(f"stride ({stride}) must be less than the {room} tokens of a window")
        stride = stride or room // 4
        plain = [row for row, text in enumerate(texts) if isinstance(text, str)]
        split = [row for row, text in enumerate(texts) if not isinstance(text, str)]
        found: dict[int, list[Encoding]] = {}
        read = reader.text_windows([str(texts[row]) for row in plain], stride=stride)
        found.update(zip(plain, read, strict=True))
        for row, first in zip(split, reader.read_words([texts[row] for row in split], stride=stride), strict=True):
            found[row] = [first, *first.overflowing]
        return [found[row] for row in range(len(texts))]

    def judge(
        self, sentences: Sequence[Sequence[str]], tags: Sequence[Sequence[str]]
    ) -> tuple[dict[str, float], list[list[str]]]:
        """Mean negative log-probability of the true tags, the share of words that are right, the F1 of entities; and
        the tags that were given ("" for a word of which the tokenizer leaves nothing).

        Sentences longer than the model are read in windows, so that every word counts. A word without a tag is wrong,
        and outside every entity; it has no part in the loss.
        """
        place = {label: number for number, label in enumerate(self.labels)}
        said: list[list[str]] = []
        right = words = told = 0
        lost = 0.0
        for (_, logits), true in zip(self.read(sentences), tags, strict=True):
            known: NDArray[np.bool_] = np.isfinite(logits[:, 0])
            numbers = np.asarray([place[tag] for tag in true])
            best = logits.argmax(1)
            lost -= float(logits[known, numbers[known]].sum())
            right, words = right + int((known & (best == numbers)).sum()), words + len(true)
            told += int(known.sum())
            said.append([self.labels[at] if there else "" for at, there in zip(best, known, strict=True)])
        scores = {"loss": lost / max(1, told), "accuracy": right / words}
        return scores | (span_scores(said, tags) if self.entities else {}), said

    def save(self, folder: str | Path) -> None:
        """Write a folder in the Hugging Face layout."""
        save_model(folder, self.model, tokenizer=self.tokenizer, family=self.family)


def word_places(text: Sentence, windows: Sequence[Encoding]) -> list[tuple[int, int]]:
    """(start, end) of every word: of those that were given in them joined by " ", else of the tokenizer's own."""
    if not isinstance(text, str):
        ends = np.cumsum([len(word) + 1 for word in text], dtype=int)
        return [(int(end) - 1 - len(word), int(end) - 1) for word, end in zip(text, ends, strict=True)]
    found: dict[int, tuple[int, int]] = {}
    for window in windows:
        for word, (start, end) in zip(window.word_ids, window.offsets, strict=True):
            if word is not None:
                before = found.get(word, (start, end))
                found[word] = min(before[0], start), max(before[1], end)
    places = []
    for word in range(max(found, default=-1) + 1):
        start, end = found.get(word, (0, 0))
        bare = text[start:end].strip()  # some tokenizers count the space before a word to it
        start += text[start:end].find(bare)
        places.append((start, start + len(bare)))
    return places


def clearest(windows: Sequence[Encoding]) -> dict[int, tuple[int, int]]:
    """word -> (window, place) of its first piece, in the window with the most pieces on the scarcer side of it."""
    found: dict[int, tuple[tuple[int, int], tuple[int, int]]] = {}
    for number, window in enumerate(windows):
        for place, (word, (start, _)) in enumerate(zip(window.word_ids, window.offsets, strict=True)):
            if word is None:
                continue
            rank = start, -min(place, len(window) - 1 - place)  # a later piece of the word begins further on in it
            if word not in found or rank < found[word][0]:
                found[word] = rank, (number, place)
    return {word: at for word, (_, at) in found.items()}


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


def open_tagger(loaded: Loaded) -> Tagger:
    """The system of a loaded checkpoint."""
    assert isinstance(loaded.model, TokenClassifier)  # the registry names this opener for families of it only
    return Tagger(loaded.model, loaded.tokenizer, family=loaded.family)


# ---- learning ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TaggingConfig:
    """How the model is judged while it learns."""

    evaluated: int = 0
    """Validation sentences that are tagged at each evaluation, from the front (0: all)."""
    samples: tuple[str, ...] = ()
    """Texts to tag now and then while training; empty: from the validation data."""

    def __post_init__(self) -> None:
        if self.evaluated < 0:
            raise ConfigError(f"task.evaluated ({self.evaluated}) must be 0 or more")


class TaggingTask:
    """What the trainer sees: the cross-entropy of each word's tag, read from its first piece."""

    def __init__(self, tagger: Tagger, validation: Table, data: TaggedData, config: TaggingConfig) -> None:
        self.tagger, self.config, self.model = tagger, config, tagger.model
        count = config.evaluated or len(validation)
        self.sentences, self.tags = (validation.columns[name][:count] for name in (data.tokens, data.tags))

    def loss(self, batch: TaggedBatch) -> Loss:
        """Summed cross-entropy over the words."""
        device = self.model.out.weight.device
        inputs, labels = batch.inputs.to(device), batch.labels.to(device)
        logits = self.model(inputs.tokens, segments=inputs.segments, keep=inputs.keep)
        real = labels >= 0
        logits, labels = logits[real].float(), labels[real]
        right = (logits.detach().argmax(-1) == labels).sum()
        return Loss(F.cross_entropy(logits, labels, reduction="sum"), labels.numel(), {"accuracy": right})

    def evaluate(self) -> dict[str, float]:
        """Loss and accuracy per word of the validation data; precision, recall and F1 of entities."""
        return self.tagger.judge(self.sentences, self.tags)[0]

    def sample(self) -> list[tuple[str, str]]:
        """Tagged sentences to look at."""
        texts: list[Sentence] = list(self.config.samples) or self.sentences[:2]
        found = self.tagger.tag_all(texts, join=False)
        return [
            (text if isinstance(text, str) else " ".join(text), " ".join(f"{tag.text}/{tag.label}" for tag in tags))
            for text, tags in zip(texts, found, strict=True)
        ]

    def save(self, folder: Path) -> None:
        self.tagger.save(folder)

    def set_recompute(self) -> None:
        self.model.encoder.stack.recompute = True


def prepare(
    sections: dict[str, Any], folder: Path, start: Path | None = None
) -> tuple[TaggingTask, TaggedBatches, list[str]]:
    """Sentences, model and task of a recipe, and the lines of the report on them.

    start: the model folder whose weights to begin with; its head too where it already has every tag.
    """
    sizes, data, config, train = (sections[name] for name in ("model", "data", "task", "train"))
    torch.manual_seed(train.seed)
    table, held_out = data.tables()
    labels = data.labels(table)
    begun = begin(sizes, data, [" ".join(words) for words in table.columns[data.tokens]], folder, start, pooler=False)
    model = begun.model
    if not isinstance(model, TokenClassifier) or not set(labels) <= set(model.config.labels):
        model = TokenClassifier(HeadConfig(encoder=begun.encoder.config, labels=labels)).to(
            begun.encoder.embedding.weight.device
        )
    model.encoder = begun.encoder
    reader = begun.reader(data.length)
    tagger = Tagger(model, begun.tokenizer, length=reader.length, family=begun.family if start else None)
    batches = TaggedBatches(table, reader, tagger.labels, data)
    data.numbers(held_out, tagger.labels)  # a tag that was never learned is a fault of the data, said before training
    task = TaggingTask(tagger, held_out, data, config)
    return (
        task,
        batches,
        [
            f"training data: {table.name}",
            *batches.report.lines(),
            f"validation: {held_out.name}, {len(held_out):,} sentences",
            f"vocabulary: {begun.tokenizer.vocab:,} tokens; model: {parameters_of(model):,} parameters",
            memory_line(model, train, data.tokens_per_batch, len(batches.epoch(0))),
        ],
    )
