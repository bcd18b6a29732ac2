"""Sentence vectors: texts in, one vector each, whatever else is in their batch and in whatever order they come.

    texts (+ prompt) -> tokens -> sorted by length -> batches of so many tokens -> Encoder -> SentenceHead -> float32

Sorting makes most batches need no padding and no mask. A vector does not depend on its batch but for the order of
additions inside a matrix product, which kernels choose by its number of rows: at most about 1e-6 of unit vectors.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from formers.data.batching import pad
from formers.errors import CheckpointError, ConfigError, DataError, nearest
from formers.files import Content
from formers.metrics.correlation import pearson, spearman
from formers.metrics.retrieval import unit
from formers.models.encoder import Encoder
from formers.models.sentence import SentenceHead
from formers.pretrained.load import save_model
from formers.pretrained.loaded import Loaded
from formers.pretrained.sentence_folder import SIMILARITIES, SentenceSettings, read_sentence_folder, sentence_files
from formers.systems.embedding.processes import EncodingProgress, Vectors, stream
from formers.systems.reading import reader_of, reading
from formers.systems.system import Report, Score, result_of
from formers.text.reader import Reader
from formers.text.tokenizer import Tokenizer

POOL = 16384  # texts that are read and sorted together
TOKENS = 1024  # of a batch on a CPU, where more do not fit its caches (measured: 512 to 2048 alike, 8192 half as fast)
TOKENS_ELSEWHERE = 32768


class SentenceEncoder:
    """An encoder with what makes one vector of a text: what `formers.load` gives for sentence-transformers folders,
    and for any encoder without a head.
    """

    def __init__(
        self,
        model: Encoder,
        tokenizer: Tokenizer | None,
        head: SentenceHead,
        settings: SentenceSettings,
        *,
        family: str | None = None,
        note: str = "",
    ) -> None:
        """note: what the user should know of these vectors."""
        self.model, self.tokenizer, self.family, self.note = model, tokenizer, family, note
        self.head = head.eval().requires_grad_(False)
        self.settings = settings
        self._reader: Reader | None = None

    @property
    def device(self) -> torch.device:
        return self.model.embedding.weight.device

    @property
    def dim(self) -> int:
        """Numbers of a vector."""
        return self.head.width(self.model.config.stack.dim)

    @property
    def length(self) -> int:
        """Most tokens of a text: as the folder says, else its tokenizer, and never more than the encoder sees."""
        asked = self.settings.length
        if asked is None and self.tokenizer is not None:
            asked = vars(self.tokenizer).get("settings", {}).get("model_max_length")
        longest = self.model.config.length
        return min(int(asked), longest) if isinstance(asked, int | float) and asked >= 1 else longest

    @property
    def reader(self) -> Reader:
        """Raises ConfigError for a model without tokenizer files."""
        if self._reader is None:
            lowercase = self.settings.lowercase
            self._reader = reader_of(self.tokenizer, self.model.config, self.length, lowercase=lowercase)
        return self._reader

    def encode(self, texts: str | Sequence[str], **options: Any) -> Vectors:
        """The vector of a text (dim,), or of each of several (texts, dim); options and faults are those of `encoding`.

        A script that gives `processes` needs `if __name__ == "__main__":`.
        """
        vectors = result_of(self.encoding([texts] if isinstance(texts, str) else list(texts), **options))
        return vectors[0] if isinstance(texts, str) else vectors

    def encoding(
        self,
        texts: Sequence[str],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        normalise: bool | None = None,
        dims: int | None = None,
        tokens_per_batch: int = 0,
        processes: int = 1,
        allow_empty: bool = False,
    ) -> Generator[EncodingProgress, None, Vectors]:
        """Yields after every batch how far it is; returns (texts, dim), float32 in the order given.

        prompt: put in front of every text, or the name of one that the model knows (default: its default prompt).
        normalise: to length one (default: as the model does); also after `dims`, the first so many numbers of a model
        trained for that (Matryoshka). tokens_per_batch: padding included (0: what suits the device).
        processes: so many, each with its share of the threads, on a CPU.
        Raises DataError for an empty text without `allow_empty`.
        """
        self.check(texts, allow_empty)
        width = self.dim if dims is None else dims
        if not 1 <= width <= self.dim:
            raise ConfigError(f"dims ({dims}) must be from 1 to the {self.dim} numbers of this model's vectors")
        out = np.empty((len(texts), width), np.float32)
        to_unit = self.head.normalised if normalise is None else normalise
        for rows, vectors, progress in self.stream(
            texts, self.prompt(prompt, prompt_name), tokens_per_batch, processes
        ):
            y = vectors[:, :width]
            if to_unit and (not self.head.normalised or width < self.dim):
                y = unit(y)
            out[rows] = y
            yield progress
        return out

    def stream(
        self, texts: Sequence[str], prompt: str = "", tokens_per_batch: int = 0, processes: int = 1
    ) -> Iterator[tuple[NDArray[np.int64], Vectors, EncodingProgress]]:
        """(which rows, their vectors, progress) batch by batch, as the computation goes on."""
        if processes < 1:
            raise ConfigError(f"processes ({processes}) must be at least 1")
        if processes > 1 and self.device.type != "cpu":
            raise ConfigError(f"processes ({processes}) are for a CPU, but this model is on {self.device}")
        if processes > 1:
            yield from stream(self, texts, prompt, tokens_per_batch, processes)
            return
        begin, done, cut, tokens = time.perf_counter(), 0, 0, 0
        skip = 0 if self.settings.include_prompt or not prompt else self.prompt_tokens(prompt)
        budget = tokens_per_batch or (TOKENS if self.device.type == "cpu" else TOKENS_ELSEWHERE)
        for start in range(0, len(texts), POOL):
            pool = texts[start : start + POOL]
            encodings = self.reader.read([prompt + text for text in pool] if prompt else pool, offsets=False)
            ids = [encoding.ids for encoding in encodings]
            lengths = np.fromiter(map(len, ids), np.int64, len(ids))
            is_cut = np.fromiter((bool(encoding.overflowing) for encoding in encodings), bool, len(ids))
            for rows in batches(lengths, budget):
                vectors = self.vectors([ids[row] for row in rows], skip)
                done, cut = done + len(rows), cut + int(is_cut[rows].sum())
                tokens += int(lengths[rows].sum())
                seconds = time.perf_counter() - begin
                yield rows + start, vectors, EncodingProgress(done, len(texts), cut, tokens, seconds)

    def vectors(self, rows: Sequence[Sequence[int]], skip: int = 0) -> Vectors:
        """(rows, dim) of rows of token ids; the first `skip` tokens are seen but not pooled."""
        tokens, keep = pad(rows, self.reader.pad)
        counted = keep
        if skip:
            real = torch.ones_like(tokens, dtype=torch.bool) if keep is None else keep
            counted = real & (torch.arange(tokens.shape[1]) >= skip)
        keep, counted = (None if mask is None else mask.to(self.device) for mask in (keep, counted))
        with reading(self.model):
            hidden = self.model(tokens.to(self.device), keep=keep)
            return self.head(hidden.float(), counted).cpu().numpy()

    def check(self, texts: Sequence[str], allow_empty: bool) -> None:
        """Refuse what is no text, and empty text unless it may be there."""
        for place, text in enumerate(texts, 1):
            if not isinstance(text, str):
                raise DataError(f"text {place} is {text!r:.60} ({type(text).__name__}), expected a string")
            if not allow_empty and (not text or text.isspace()):
                many = sum(not isinstance(each, str) or not each.strip() for each in texts)
                raise DataError(
                    f"text {place} is empty ({many} of {len(texts)} are): nothing to make a vector of; "
                    "leave it out, or say allow_empty=True"
                )

    def prompt(self, prompt: str | None, name: str | None) -> str:
        """What is put in front of the texts."""
        if prompt is not None and name is not None:
            raise ConfigError("give a prompt or the name of one, not both")
        name = self.settings.default_prompt if name is None else name
        if prompt is not None or name is None:
            return prompt or ""
        if name not in self.settings.prompts:
            known = nearest(name, self.settings.prompts) if self.settings.prompts else "; this model has none"
            raise ConfigError(f'there is no prompt "{name}"{known}')
        return self.settings.prompts[name]

    def prompt_tokens(self, prompt: str) -> int:
        """How many tokens a prompt is, with what stands before a text and without what ends it."""
        (ids,) = (encoding.ids for encoding in self.reader.read([prompt], offsets=False))
        return len(ids) - 1 if ids and ids[-1] in (self.reader.separator, self.reader.tokenizer.eos) else len(ids)

    def similarity(
        self, first: str | Sequence[str] | Vectors, second: str | Sequence[str] | Vectors | None = None
    ) -> Vectors:
        """(first, second): how alike all texts, or vectors, of two lists are; without a second, those of the first."""
        a = self.as_vectors(first)
        return similarity(a, a if second is None else self.as_vectors(second), self.settings.similarity)

    def evaluate(self, firsts: Sequence[str], seconds: Sequence[str], scores: Sequence[float]) -> Report:
        """Spearman and Pearson of the cosines of pairs with the scores that people gave (SBERT reports the first)."""
        places = {text: place for place, text in enumerate(dict.fromkeys([*firsts, *seconds]))}
        x = self.encode(list(places), normalise=True).astype(np.float64)
        u, v = (x[[places[text] for text in side]] for side in (firsts, seconds))
        cosines = np.einsum("nd,nd->n", u, v)
        agreement = [Score("spearman", spearman(cosines, scores)), Score("pearson", pearson(cosines, scores))]
        return Report(agreement, facts={"pairs": len(cosines)})

    def as_vectors(self, given: str | Sequence[str] | Vectors) -> Vectors:
        if isinstance(given, np.ndarray):
            return np.atleast_2d(given).astype(np.float32, copy=False)
        return self.encode([given] if isinstance(given, str) else given)

    def save(self, folder: str | Path) -> None:
        """Write a folder of sentence-transformers, whose encoder is in the Hugging Face layout."""
        save_model(folder, self.model, tokenizer=self.tokenizer, extra=self.head_files(), system="embedding")

    def head_files(self) -> dict[str, Content]:
        """The files that say how a vector is made of the encoder's."""
        settings = replace(self.settings, length=self.length)
        return sentence_files(self.head, self.model.config.stack.dim, settings)


def batches(lengths: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Rows that are computed together, longest first: at most `budget` tokens with padding, at least one row.

    A batch that is half full ends where the next row is shorter: rows of one length need no padding and no mask.
    """
    order = np.argsort(-lengths, kind="stable")
    sizes = lengths[order].tolist()
    start = 0
    while start < len(order):
        width = max(1, sizes[start])
        most = min(len(order), start + max(1, budget // width))
        half = start + max(1, budget // width // 2)
        end = next((i for i in range(half, most) if sizes[i] < sizes[i - 1]), most)
        yield order[start:end]
        start = end


def similarity(a: Vectors, b: Vectors, how: str = "cosine") -> Vectors:
    """(a, b) of (a, dim) and (b, dim): cosine, dot product, or minus the euclidean or manhattan distance."""
    if how not in SIMILARITIES:
        raise ConfigError(f'there is no similarity "{how}"{nearest(how, SIMILARITIES)}')
    x, y = torch.from_numpy(np.ascontiguousarray(a)), torch.from_numpy(np.ascontiguousarray(b))
    if x.shape[-1] != y.shape[-1]:
        raise ConfigError(f"vectors of {x.shape[-1]} and of {y.shape[-1]} numbers cannot be compared")
    if how == "cosine":
        x, y = torch.nn.functional.normalize(x, dim=-1), torch.nn.functional.normalize(y, dim=-1)
    if how in ("cosine", "dot"):
        return (x @ y.T).numpy()
    return -torch.cdist(x, y, p=2.0 if how == "euclidean" else 1.0).numpy()


def open_encoder(loaded: Loaded) -> SentenceEncoder:
    """The system of a loaded checkpoint."""
    if not isinstance(loaded.model, Encoder):
        raise CheckpointError(f"{loaded.folder} is a {type(loaded.model).__name__}, expected an encoder without a head")
    head, settings, note = read_sentence_folder(loaded.folder, loaded.model.config.stack.dim)
    head = head.to(loaded.model.embedding.weight.device)
    return SentenceEncoder(loaded.model, loaded.tokenizer, head, settings, family=loaded.family, note=note)
