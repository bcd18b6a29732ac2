"""Sentence vectors from scratch: what the objectives of SBERT learn, the three poolings, the seven concatenations.

    python benchmarks/sentence_vectors.py [--quick] [--steps 200] [--more 70] [--seeds 2] [--pairs 1000] [--out FILE]

1. A new encoder (2 layers, 256 wide, 8,000 word pieces) learns from groups of captions (in-batch negatives), `--steps`
   steps of 64 pairs, with mean, max and first pooling, `--seeds` times each.
2. That of mean pooling goes on, `--more` steps of 64 pairs of SICK: softmax over its three labels with each of the
   seven concatenations, and cosine regression on its scores.

The numbers are Spearman x 100: each year of STS 2012-2016 as one list of pairs, the mean of the five years, and SICK's
validation pairs. NOT COMPARABLE with published averages: the test sets here are not complete (2012 has no MSRvid, 2013
no SMT). Captions are sentences of Flickr30k, and so are some of STS: pairs with a sentence that is in the captions
learned from are left out, and counted; of the others `--pairs` of each set are judged.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import torch

from formers import registry
from formers.data.sources import read_table
from formers.recipe import load_recipe
from formers.systems.embedding.objective import CONCATENATIONS
from formers.systems.embedding.task import EmbeddingTask
from formers.training.run import Run
from formers.training.trainer import train

DATA = Path(__file__).parents[2] / "shared" / "data"
YEARS = ("2012", "2013", "2014", "2015", "2016")
COLUMNS = ("sentence1", "sentence2", "score")
Sets = dict[str, tuple[list[str], list[str], list[float]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps and pairs: does it run?")
    parser.add_argument("--steps", type=int, default=200, help="on captions")
    parser.add_argument("--more", type=int, default=70, help="on SICK: 71 are an epoch")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=1000, help="of each test set, evenly spaced (0: all)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16", help="of training and judging")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also write the results as JSON")
    options = parser.parse_args()
    if options.quick:
        options.steps, options.more, options.seeds, options.pairs = 4, 4, 1, 100
    torch.set_num_threads(options.threads)
    began = time.perf_counter()
    sets = judged(options.pairs)
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        for seed in range(1, options.seeds + 1):
            results += one_seed(options, sets, Path(place), seed)
    show(results, options, time.perf_counter() - began)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def judged(most: int) -> Sets:
    """The pairs to judge with; those with a sentence of the captions that are learned from are left out."""
    captions = read_table(DATA / "captions" / "train.parquet").columns["captions"]
    seen = {key(text) for group in captions for text in group}
    files = {year: DATA / "sts" / f"{year}-test.parquet" for year in YEARS}
    files["SICK"] = DATA / "sick" / "validation.parquet"
    sets: Sets = {}
    for name, file in files.items():
        columns = read_table(file, columns=COLUMNS, text=COLUMNS[:2]).columns
        rows = list(zip(*(columns[each] for each in COLUMNS), strict=True))
        kept = [row for row in rows if key(row[0]) not in seen and key(row[1]) not in seen]
        print(f"{name}: {len(kept):,} of {len(rows):,} pairs, {len(rows) - len(kept):,} with a caption left out")
        if 0 < most < len(kept):
            kept = [kept[number * len(kept) // most] for number in range(most)]
        sets[name] = tuple(list(side) for side in zip(*kept, strict=True))  # type: ignore[assignment]
    return sets


def key(text: str) -> str:
    """A sentence without case, punctuation and spaces."""
    return "".join(filter(str.isalnum, text.lower()))


def one_seed(options: argparse.Namespace, sets: Sets, place: Path, seed: int) -> list[dict[str, Any]]:
    """Everything with one seed; the tokenizer is that of the first run."""
    own, words = place / str(seed), place / "1" / "mean" / "tokenizer"
    results = []
    for pooling in ("mean", "max", "first"):
        changes = [
            f"data.train={DATA}/captions/train.parquet",
            "data.held_out=0",
            f"train.steps={options.steps}",
            f"task.pooling={pooling}",
            f"train.warmup={max(1, options.steps // 10)}",
        ]
        if words.is_dir():
            changes.append(f"rows.tokenizer={words}")
        results += learned(
            f"captions, {pooling}", "captions", changes, sets, own / pooling, options, seed, before=seed == 1
        )
    start = own / "mean" / "model"
    sick = [
        f"data.train={DATA}/sick/train.parquet",
        "data.held_out=0",
        f"model.start={start}",
        f"train.steps={options.more}",
        f"train.warmup={max(1, options.more // 10)}",
        "rows.rows_per_batch=64",
    ]
    results += learned("then SICK scores, cosine", "sts", [*sick, "rows.lowest=1"], sets, own / "scores", options, seed)
    for number, concatenation in enumerate(CONCATENATIONS):
        results += learned(
            f"then SICK labels, {concatenation}",
            "nli",
            [*sick, f"task.concatenation={concatenation}"],
            sets,
            own / f"labels{number}",
            options,
            seed,
        )
    return results


def learned(
    name: str,
    recipe: str,
    changes: list[str],
    sets: Sets,
    folder: Path,
    options: argparse.Namespace,
    seed: int,
    *,
    before: bool = False,
) -> list[dict[str, Any]]:
    """Train one recipe; its numbers at the end, and `before` too."""
    changes = [
        *changes,
        "train.evaluate_every=0",
        "train.save_every=0",
        "train.sample_every=0",
        f"train.precision={options.precision}",
        f"train.threads={options.threads}",
        f"train.seed={seed}",
        f"data.seed={seed}",
    ]
    chosen = load_recipe(f"embedding/{recipe}", changes)
    prepared = registry.prepare(chosen.system, chosen.sections, folder)
    task: Any = prepared.task
    found = [row(f"{name}, before", task, sets, seed, 0.0, options.precision)] if before else []
    began = time.perf_counter()
    for _ in train(task, prepared.batches, chosen.sections["train"], Run(folder)):
        pass
    found.append(row(name, task, sets, seed, time.perf_counter() - began, options.precision))
    task.save(folder / "model")
    return found


def row(name: str, task: EmbeddingTask, sets: Sets, seed: int, seconds: float, precision: str) -> dict[str, Any]:
    """Spearman x 100 on every set."""
    task.model.eval()
    with torch.autocast(task.sentences.device.type, torch.bfloat16, enabled=precision == "bf16"):
        scores = {year: 100 * task.sentences.evaluate(*pairs).value("spearman") for year, pairs in sets.items()}
    scores["STS mean"] = mean(scores[year] for year in YEARS)
    task.model.train()
    found = {"name": name, "seed": seed, "seconds": round(seconds, 1), **{k: round(v, 2) for k, v in scores.items()}}
    print(json.dumps(found), flush=True)
    return found


def show(results: list[dict[str, Any]], options: argparse.Namespace, seconds: float) -> None:
    """The mean of the seeds, with the deviation of the mean of the years."""
    print(
        f"\n{platform.processor() or platform.machine()}, {options.threads} thread(s), torch {torch.__version__}; "
        f"{options.steps} steps on captions, {options.more} on SICK, {options.seeds} seed(s); {seconds:.0f} s in all"
    )
    names = list(dict.fromkeys(each["name"] for each in results))
    columns = [*YEARS, "STS mean", "SICK"]
    print(f"| Spearman x 100 | {' | '.join(columns)} | +- of STS mean | seconds |")
    print("|---" * (len(columns) + 3) + "|")
    for name in names:
        rows = [each for each in results if each["name"] == name]
        cells = [f"{mean(each[column] for each in rows):.1f}" for column in columns]
        spread = pstdev(each["STS mean"] for each in rows)
        print(
            f"| {name.replace('|', chr(92) + '|')} | {' | '.join(cells)} | {spread:.1f} | "
            f"{mean(each['seconds'] for each in rows):.0f} |"
        )


if __name__ == "__main__":
    main()
