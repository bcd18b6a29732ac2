"""Search among many vectors: seconds and peak memory of adding, saving, opening and searching an index.

    python benchmarks/search.py [--rows 100000] [--dim 512] [--queries 100] [--top 10] [--threads 2] [--out FILE]

Every step is a process of its own, so that its peak is its own; "above" is what it takes beside a process that has
imported the same and holds nothing. The plain way, numpy with all similarities and a sort, is measured beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from formers.systems.vectors.index import VectorIndex

BATCH = 32  # vectors that are added at once, as `formers search` does
EVERY = 1000  # between saves
MODEL = "0" * 32


def unit(rows: int, dim: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((rows, dim), np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def nothing(folder: Path, o: argparse.Namespace) -> Callable[[], object]:
    """A process that has imported everything."""
    return lambda: None


def add(folder: Path, o: argparse.Namespace) -> Callable[[], object]:
    """All vectors, a batch at a time, saved now and then: what a first search of a folder does beside the model."""

    def work() -> None:
        index, since = VectorIndex(MODEL), 0
        for start in range(0, o.rows, BATCH):
            vectors = unit(min(BATCH, o.rows - start), o.dim, start)
            keys = [f"holiday/2026/IMG_{start + i:08}.jpg" for i in range(len(vectors))]
            index.add(keys, vectors, [[1_700_000_000_000_000_000 + start, 2_000_000, 1]] * len(keys), model=MODEL)
            since += len(keys)
            if since >= EVERY:
                index.save(folder)
                since = 0
        index.save(folder)

    return work


def load(folder: Path, o: argparse.Namespace) -> Callable[[], object]:
    return lambda: VectorIndex.load(folder)


def search(folder: Path, o: argparse.Namespace, count: int = 1) -> Callable[[], object]:
    index, queries = VectorIndex.load(folder), unit(count, o.dim, 10**9)
    return lambda: index.search(queries, o.top, model=MODEL)


def search_many(folder: Path, o: argparse.Namespace) -> Callable[[], object]:
    return search(folder, o, o.queries)


def plain(folder: Path, o: argparse.Namespace) -> Callable[[], object]:
    """What one would write in a notebook."""
    vectors = np.fromfile(folder / "vectors-0.f32", np.float32).reshape(o.rows, o.dim)
    queries = unit(o.queries, o.dim, 10**9)
    return lambda: np.argsort(-(queries @ vectors.T), axis=1)[:, : o.top]


STEPS = {each.__name__: each for each in (nothing, add, load, search, search_many, plain)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, help="also write the results as JSON")
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.step:
        measure(options)
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for step in STEPS:
            command = [sys.executable, __file__, *sys.argv[1:], "--step", step, "--folder", folder]
            results[step] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        files = {path.name: path.stat().st_size for path in Path(folder).iterdir()}
    vectors = 4 * options.rows * options.dim / 2**20
    print(f"{options.rows:,} x {options.dim}: {vectors:.0f} MB of vectors; {options.threads} threads")
    print(f"files: {', '.join(f'{name} {size / 2**20:.1f} MB' for name, size in files.items())}")
    for step, result in results.items():
        above = result["peak"] - results["nothing"]["peak"]
        print(f"{step:12} {result['seconds']:8.3f} s   peak {result['peak']:6.0f} MB, {above:5.0f} above")
    if options.out:
        options.out.write_text(json.dumps({"files": files, "steps": results}, indent=1) + "\n", encoding="utf-8")


def measure(options: argparse.Namespace) -> None:
    """The best of three (of `add` the only one), and the most memory that the process had."""
    work = STEPS[options.step](options.folder, options)
    seconds = []
    for _ in range(1 if options.step == "add" else 3):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": min(seconds), "peak": peak}))


if __name__ == "__main__":
    main()
