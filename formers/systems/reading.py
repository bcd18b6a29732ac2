"""A model over many inputs: alike in length together, in evaluation mode, packed, the results back in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from formers.blocks.mode import inference
from formers.data.batching import chunks
from formers.errors import ConfigError
from formers.kernels.weight import packed
from formers.text.reader import Inputs, Reader
from formers.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from formers.data.encoded import EncodedRows
    from formers.text.reader import Encoding, Row

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def reading(model: nn.Module) -> Iterator[None]:
    """Inside, a model is read with: no dropout, no gradients, matrices in the order that products read them."""
    with inference(model), torch.no_grad(), packed(model):
        yield


def read_in_order(
    model: nn.Module, lengths: Sequence[int], compute: Callable[[NDArray[np.int64]], Sequence[T]], *, tokens: int = 4096
) -> list[T]:
    """`compute` of the rows of each batch, one result a row, in the order of the rows.

    tokens: most in a batch, padding included.
    """
    results: dict[int, T] = {}
    with reading(model):
        for rows in chunks(lengths, tokens):
            results.update(zip(rows.tolist(), compute(rows), strict=True))
    return [results[row] for row in range(len(lengths))]


def logits_of(
    model: nn.Module,
    reader: Reader,
    encodings: Sequence[Encoding | Row] | EncodedRows,
    *,
    tokens: int = 4096,
    call: Callable[[Inputs], Tensor] | None = None,
) -> list[Tensor]:
    """What a model makes of each encoding, on the CPU in fp32: (its length, labels) or (labels,).

    call: how the model reads a batch; else tokens, segments and keep.
    """
    device = next(model.parameters()).device

    def compute(rows: NDArray[np.int64]) -> list[Tensor]:
        inputs = reader.batch([encodings[row] for row in rows]).to(device)
        logits = (
            model(inputs.tokens, segments=inputs.segments, keep=inputs.keep) if call is None else call(inputs)
        ).float()
        per_token = logits.dim() == 3
        return [
            row_logits[: len(encodings[row].ids)] if per_token else row_logits
            for row, row_logits in zip(rows, logits.cpu(), strict=True)
        ]

    lengths = [len(encodings[row].ids) for row in range(len(encodings))]
    return read_in_order(model, lengths, compute, tokens=tokens)


def logits_of_windows(
    model: nn.Module, reader: Reader, rows: Sequence[Sequence[Encoding]]
) -> Iterator[list[NDArray[np.float32]]]:
    """The same of the windows of each text, all of which are read together."""
    logits = iter(logits_of(model, reader, [window for windows in rows for window in windows]))
    return ([next(logits).numpy() for _ in windows] for windows in rows)


class Reads(Protocol):
    """What a config says of the texts that its model reads."""

    @property
    def length(self) -> int: ...
    @property
    def segments(self) -> int: ...


def read_by(preprocessor: R | None, what: str) -> R:
    """What a model folder says of how `what`, pictures or sounds, are read. Raises ConfigError for one without."""
    if preprocessor is None:
        got = f"this model folder has no preprocessor_config.json, so {what} cannot be read"
        raise ConfigError(f"{got}; put the one of its publication beside config.json")
    return preprocessor


def reader_of(tokenizer: Tokenizer | None, config: Reads, length: int = 0, *, lowercase: bool = False) -> Reader:
    """What reads texts for a model of this config, at most `length` tokens (0: all that it sees).

    Raises ConfigError for a model without tokenizer files.
    """
    if tokenizer is None:
        raise ConfigError(
            "this model folder has no tokenizer files, so text cannot be read; add tokenizer.json or vocab.txt"
        )
    return Reader(tokenizer, length or config.length, segments=config.segments, lowercase=lowercase)


def reader_of_system(system: Any) -> Reader:
    """What reads texts for a loaded system with an encoder, at most `system.length` tokens.

    Raises ConfigError for a model without tokenizer files.
    """
    return reader_of(system.tokenizer, system.model.config.encoder, system.length)
