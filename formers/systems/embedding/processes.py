"""Sentence vectors by several processes, each with its share of the threads: for machines with many cores.

The weights lie in one file that all processes map, so they are in memory once.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.errors import ConfigError
from formers.kernels.matrix import Int8
from formers.kernels.weight import Weight, matrices, quantise
from formers.models.encoder import Encoder, EncoderConfig
from formers.models.sentence import SentenceHead
from formers.pretrained.sentence_folder import SentenceSettings
from formers.text.tokenizer import Tokenizer

PIECE = 1024  # most texts that a process takes at once
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class EncodingProgress:
    """How far an encoding is."""

    done: int
    total: int
    cut: int
    """Texts so far that were longer than the model reads, and lost their end."""
    tokens: int
    """Read so far, padding not counted."""
    seconds: float


class Streaming(Protocol):
    """What is needed of a `SentenceEncoder`."""

    model: Encoder
    tokenizer: Tokenizer | None
    head: SentenceHead
    settings: SentenceSettings

    @property
    def dim(self) -> int: ...

    def stream(
        self, texts: Sequence[str], prompt: str = "", tokens_per_batch: int = 0
    ) -> Iterator[tuple[NDArray[np.int64], Vectors, EncodingProgress]]: ...


@dataclass(frozen=True)
class Quantisation:
    """How the matrices of a model became integers."""

    group: int
    """Columns that share a scale (0: all)."""
    integers: bool
    """Whether activations become integers too."""
    scales: list[Tensor]
    """Of every matrix: found again from plain numbers they could differ in the last bit."""


@dataclass(frozen=True)
class WorkerPlan:
    """What a process needs to encode as the encoder does that it was made of."""

    make: Callable[[Encoder, Tokenizer | None, SentenceHead, SentenceSettings], Streaming]
    config: EncoderConfig
    weights: Path
    int8: Quantisation | None
    """None for plain weights."""
    tokenizer: Tokenizer | None
    head: SentenceHead
    settings: SentenceSettings
    threads: int

    def build(self) -> Streaming:
        with torch.device("meta"):
            model = Encoder(self.config)
        model.load_state_dict(torch.load(self.weights, mmap=True, weights_only=True), assign=True)
        if self.int8 is not None:
            quantise(model, group=self.int8.group, integers=self.int8.integers)
            for form, scale in zip(integer_forms(model), self.int8.scales, strict=True):
                form.scale = scale
                form.parts = form.split()
        return self.make(model.eval(), self.tokenizer, self.head, self.settings)


def plan(encoder: Streaming, weights: Path, processes: int) -> WorkerPlan:
    """Writes the weights, int8 ones as the plain numbers that give the same integers again."""
    forms, quantisation = integer_forms(encoder.model), None
    if forms:
        group = max(form.group if len(form.parts) > 1 else 0 for form in forms)
        quantisation = Quantisation(group, forms[0].integers, [form.scale for form in forms])
    state = {
        name: tensor.form.dense() if isinstance(tensor, Weight) else tensor.detach()
        for name, tensor in encoder.model.state_dict(keep_vars=True).items()
    }
    torch.save(state, weights)
    threads = max(1, torch.get_num_threads() // processes)
    head, settings = encoder.head, encoder.settings
    return WorkerPlan(
        type(encoder), encoder.model.config, weights, quantisation, encoder.tokenizer, head, settings, threads
    )


def integer_forms(model: Encoder) -> list[Int8]:
    """Those of its matrices that are integers."""
    forms = (weight.form for _, weight in matrices(model) if isinstance(weight, Weight))
    return [form for form in forms if isinstance(form, Int8)]


def stream(
    encoder: Streaming, texts: Sequence[str], prompt: str, tokens_per_batch: int, processes: int
) -> Iterator[tuple[NDArray[np.int64], Vectors, EncodingProgress]]:
    """As `SentenceEncoder.stream`; texts of like length (in characters) are pieces of work, the longest first."""
    begin, done, cut, tokens = time.perf_counter(), 0, 0, 0
    order = np.array(sorted(range(len(texts)), key=lambda i: -len(texts[i])), np.int64)
    size = max(1, min(PIECE, -(-len(texts) // (4 * processes))))
    pieces = [order[i : i + size] for i in range(0, len(order), size)]
    with tempfile.TemporaryDirectory(prefix="formers-") as folder:
        worker = plan(encoder, Path(folder) / "weights.pt", processes)
        pool = ProcessPoolExecutor(processes, get_context("spawn"), prepare, (worker,))
        try:
            futures = [pool.submit(work, [texts[i] for i in piece], prompt, tokens_per_batch) for piece in pieces]
            for piece, future in zip(pieces, futures, strict=True):
                vectors, lost, read = future.result()
                done, cut, tokens = done + len(piece), cut + lost, tokens + read
                yield piece, vectors, EncodingProgress(done, len(texts), cut, tokens, time.perf_counter() - begin)
        except BrokenProcessPool as fault:
            raise ConfigError(
                f"one of {processes} processes ended before its work was done: there may be too little "
                "memory for so many, or the script that calls this has no "
                '`if __name__ == "__main__":`'
            ) from fault
        finally:
            pool.shutdown(cancel_futures=True)


_own: list[Streaming] = []  # of a worker process: its encoder


def prepare(worker: WorkerPlan) -> None:
    """The first thing that a process does."""
    os.environ["RAYON_NUM_THREADS"] = str(worker.threads)  # the tokenizer's own threads, which it has not started yet
    torch.set_num_threads(worker.threads)
    _own[:] = [worker.build()]


def work(texts: Sequence[str], prompt: str, tokens_per_batch: int) -> tuple[Vectors, int, int]:
    """The vectors of some texts, how many were cut, how many tokens were read."""
    encoder = _own[0]
    out = np.empty((len(texts), encoder.dim), np.float32)
    cut = tokens = 0
    for rows, vectors, progress in encoder.stream(texts, prompt, tokens_per_batch):
        out[rows] = vectors
        cut, tokens = progress.cut, progress.tokens
    return out, cut, tokens
