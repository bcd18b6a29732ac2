"""Sentence vectors by several processes, each with its share of the threads: for machines with many cores.

The weights lie in one file that all processes map, so they are in memory once.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

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
from formers.systems.embedding.system import EncodingProgress, SentenceEncoder, Vectors
from formers.text.tokenizer import Tokenizer

PIECE = 1024  # most texts that a process takes at once


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

    config: EncoderConfig
    weights: Path
    int8: Quantisation | None
    """None for plain weights."""
    tokenizer: Tokenizer | None
    head: SentenceHead
    settings: SentenceSettings
    threads: int

    def build(self) -> SentenceEncoder:
        with torch.device("meta"):
            model = Encoder(self.config)
        model.load_state_dict(torch.load(self.weights, mmap=True, weights_only=True), assign=True)
        if self.int8 is not None:
            quantise(model, group=self.int8.group, integers=self.int8.integers)
            for form, scale in zip(integer_forms(model), self.int8.scales, strict=True):
                form.scale = scale
                form.parts = form.split()
        return SentenceEncoder(model.eval(), self.tokenizer, self.head, self.settings)


def plan(encoder: SentenceEncoder, weights: Path, processes: int) -> WorkerPlan:
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
    return WorkerPlan(
        encoder.model.config, weights, quantisation, encoder.tokenizer, encoder.head, encoder.settings, threads
    )


def integer_forms(model: Encoder) -> list[Int8]:
    """Those of its matrices that are integers."""
    forms = (weight.form for _, weight in matrices(model) if isinstance(weight, Weight))
    return [form for form in forms if isinstance(form, Int8)]


def stream(
    encoder: SentenceEncoder, texts: Sequence[str], prompt: str, tokens_per_batch: int, processes: int
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


_own: list[SentenceEncoder] = []  # of a worker process: its encoder


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
