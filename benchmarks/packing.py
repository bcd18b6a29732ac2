"""Training on short texts: documents packed into rows that do not see each other, against padding them.

    python benchmarks/packing.py [--length 256] [--tokens 8192] [--repeats 5]

The texts are the paragraphs of the built-in prose. Each side goes forward and backward through the same paragraphs
once, with the same model; the sums of their losses are compared before anything is timed. A plain loop pads every row
to the longest of its batch, or to the full length; buckets of like length are what `rows.packing = "none"` does.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
import torch
from _turns import compare, show

from formers.data.builtin import prose
from formers.data.sources import Table
from formers.decoding.settings import Settings
from formers.models.causal import CausalLM
from formers.systems.language.data import Corpus, PackedRows, TextBatch
from formers.systems.language.task import LanguageConfig, LanguageTask
from formers.systems.language_model import LanguageModel
from formers.systems.sizes import CausalSizes
from formers.text.training import train_byte_bpe

ROWS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=256, help="tokens of a full row")
    parser.add_argument("--tokens", type=int, default=8192, help="about so many tokens of text are read each time")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    texts = [paragraph for (text,) in prose.rows("train") for paragraph in text.split("\n\n")]
    tokenizer = train_byte_bpe(texts, 2000)
    texts = np.random.default_rng(0).permutation(texts)[: options.tokens // 45].tolist()
    corpus = Corpus(Table("prose", {"text": texts}), "text", tokenizer, start=0, end=0)
    sides = {
        together: PackedRows(corpus, options.length, ROWS * options.length, seed=1, together=together)
        for together in (True, False)
    }
    sizes = CausalSizes(dim=128, layers=4, heads=4, hidden=512, length=options.length)
    model = CausalLM(sizes.config(tokenizer.vocab))
    language = LanguageModel(model, tokenizer, Settings(start=0, stop=(0,), pad=0))
    task = LanguageTask(language, sides[False], LanguageConfig())
    random = np.random.default_rng(1).permutation(len(sides[False].rows))
    padded = [sides[False].collate(random[i : i + ROWS]) for i in range(0, len(random), ROWS)]
    ways = {
        "padded to the longest of the batch": padded,
        f"padded to {options.length}": [widened(batch, options.length) for batch in padded],
        "buckets of like length": [sides[False].collate(rows) for rows in sides[False].epoch(0)],
    }
    packed = [sides[True].collate(rows) for rows in sides[True].epoch(0)]
    print(
        f"{len(texts)} paragraphs, {corpus.labels:,} tokens, mean {corpus.sizes.mean():.0f}, longest "
        f"{corpus.sizes.max()}; packed: {padding(packed, corpus):.1%} padding"
    )
    results = []
    for name, batches in ways.items():
        a, b = passing(task, packed)(), passing(task, batches)()
        assert abs(a / b - 1) < 1e-4, f"losses differ: packed {a}, {name} {b}"
        what = f"{name}, {padding(batches, corpus):.0%} padding"
        found = compare(what, corpus.labels, passing(task, packed), passing(task, batches), options.repeats)
        results.append(found)
    show(results, options.repeats, "padded")
    print("tokens of text per second, forward and backward")


def passing(task: LanguageTask, batches: Sequence[TextBatch]) -> Callable[[], float]:
    """Forward and backward through all batches; gives the sum of the losses."""

    def once() -> float:
        total = 0.0
        for batch in batches:
            task.model.zero_grad(set_to_none=True)
            loss = task.loss(batch)
            loss.total.backward()
            total += loss.total.item()
        return total

    return once


def widened(batch: TextBatch, length: int) -> TextBatch:
    """The batch filled up to the full length."""
    more = length - batch.tokens.shape[1]
    real = torch.ones_like(batch.tokens, dtype=torch.bool) if batch.real is None else batch.real
    tokens, labels, real = (torch.nn.functional.pad(each, (0, more)) for each in (batch.tokens, batch.labels, real))
    return TextBatch(tokens, labels, None, real)


def padding(batches: Sequence[TextBatch], corpus: Corpus) -> float:
    return 1 - corpus.labels / sum(batch.tokens.numel() for batch in batches)


if __name__ == "__main__":
    main()
