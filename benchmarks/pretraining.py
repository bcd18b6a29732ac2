"""What pre-training with hidden words is worth: a small encoder fine-tuned on few labels, from it and from nothing.

    python benchmarks/pretraining.py DATA --out FOLDER [--steps 4000] [--labels 500] [--seeds 3]

DATA is a folder with sst2/, trec/ and sentences/ (Parquet files with the columns text and label). The text to
pre-train on is that of sst2/train, trec/train and sentences/*, without labels and without the sentences that are
tested on (compared by their letters). Both sides have the same sizes, tokenizer, labelled texts and fine-tuning; each
seed draws other labelled texts. Stopped and started again it goes on where it was: the runs are kept in FOLDER.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet

import formers
from formers.training.events import Evaluated, Finished

SIZES = ["model.dim=128", "model.layers=2", "model.heads=4", "model.hidden=512", "model.length=64", "model.dropout=0.0"]
TASKS = ("sst2", "trec")
CORPUS = ("sst2/train", "trec/train", "sentences/mr", "sentences/subj", "sentences/cr")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where the runs are kept")
    parser.add_argument("--steps", type=int, default=4000, help="of pre-training, 4,096 tokens each")
    parser.add_argument("--labels", type=int, default=500, help="labelled texts to learn from")
    parser.add_argument("--fine", type=int, default=200, help="steps of fine-tuning")
    parser.add_argument("--rate", type=float, default=5e-4, help="of fine-tuning, on both sides")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    pretrained = pretrain(options.data, options.out, options.steps)
    print(f"pre-training: {time.perf_counter() - begin:.0f} s in this call", flush=True)
    scores: dict[tuple[str, str], list[float]] = {}
    for task in TASKS:
        for seed in range(1, options.seeds + 1):
            sample = labelled(options.data / task / "train.parquet", options.labels, seed, options.out / task)
            for side in ("from nothing", "pre-trained"):
                run = options.out / f"{task}-{side.replace(' ', '-')}-{seed}"
                start = (
                    [f"model.start={pretrained}"]
                    if side == "pre-trained"
                    else [*SIZES, f"rows.tokenizer={pretrained / 'tokenizer'}"]
                )
                fine_tune(
                    run,
                    [
                        *start,
                        f"data.train={sample}",
                        f"train.seed={seed}",
                        f"train.steps={options.fine}",
                        f"train.rate={options.rate}",
                    ],
                )
                value = accuracy(run, options.data / task / "test.parquet")
                scores.setdefault((task, side), []).append(value)
                print(f"{task}, seed {seed}, {side}: {value:.1f}", flush=True)
    print(
        f"\n{options.labels} labelled texts, {options.seeds} seeds, test accuracy in per cent, "
        f"{time.perf_counter() - begin:.0f} s in this call"
    )
    print(f"{'task':6} {'from nothing':>16} {'pre-trained':>16} {'gain':>8}")
    for task in TASKS:
        plain, better = scores[task, "from nothing"], scores[task, "pre-trained"]
        print(
            f"{task:6} {spread(plain):>16} {spread(better):>16} "
            f"{statistics.mean(better) - statistics.mean(plain):>+8.1f}"
        )


def spread(values: list[float]) -> str:
    """Mean and standard deviation over the seeds."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.1f} ± {deviation:.1f}"


def letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).lower()


def column(path: Path, name: str) -> list:
    return parquet.read_table(path, columns=[name]).column(name).to_pylist()


def pretrain(data: Path, out: Path, steps: int) -> Path:
    """Train on hidden words; gives the run's folder."""
    corpus, run = out / "corpus.txt", out / "pretrained"
    if not corpus.is_file():
        held = {
            letters(text)
            for task in TASKS
            for path in sorted((data / task).glob("*.parquet"))
            if path.stem != "train"
            for text in column(path, "text")
        }
        texts = [text for name in CORPUS for text in column(data / f"{name}.parquet", "text")]
        texts = [text for text in dict.fromkeys(texts) if text.strip() and letters(text) not in held]
        order = np.random.default_rng(0).permutation(len(texts)).tolist()
        corpus.write_text("\n".join(texts[row].replace("\n", " ") for row in order) + "\n", encoding="utf-8")
    for event in formers.train(
        "masked",
        [
            *SIZES,
            f"data.train={corpus}",
            "rows.separator=line",
            "rows.next_sentence=false",
            "data.held_out=0.02",
            "rows.vocab=4000",
            "rows.tokens_per_batch=4096",
            "rows.masked=0.3",
            "task.samples=[]",
            f"train.steps={steps}",
            "train.rate=2e-3",
            "train.warmup=400",
            "train.precision=fp32",
            "train.evaluate_every=1000",
            "train.save_every=1000",
            "train.sample_every=0",
            "train.log_every=250",
        ],
        run=run,
    ):
        if isinstance(event, Evaluated | Finished):
            print(
                {key: value for key, value in vars(event).items() if key in ("step", "metrics", "seconds")}, flush=True
            )
    return run


def labelled(path: Path, count: int, seed: int, folder: Path) -> Path:
    """So many labelled texts, drawn anew for each seed."""
    texts, labels = column(path, "text"), column(path, "label")
    rows = np.random.default_rng(seed).permutation(len(texts))[:count].tolist()
    folder.mkdir(exist_ok=True)
    place = folder / f"{count}-{seed}.jsonl"
    lines = [json.dumps({"text": texts[row], "label": int(labels[row])}) for row in rows]
    place.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place


def fine_tune(run: Path, changes: list[str]) -> None:
    for _ in formers.train(
        "classification",
        [
            "data.count=0",
            "data.held_out=50",
            "rows.length=64",
            "rows.tokens_per_batch=1024",
            "task.pooling=mean",
            "task.samples=[]",
            "train.warmup=20",
            "train.precision=fp32",
            "train.evaluate_every=0",
            "train.save_every=0",
            "train.sample_every=0",
            "train.log_every=100",
            "train.weight_decay=0.01",
            *changes,
        ],
        run=run,
    ):
        pass


def accuracy(run: Path, test: Path) -> float:
    """Per cent of the test texts whose label is right; labels are numbers, which the model knows as names."""
    classifier = formers.load(run)
    said = classifier.probabilities(column(test, "text")).argmax(1).tolist()
    names = classifier.labels
    return 100 * float(
        np.mean([names[place] == str(label) for place, label in zip(said, column(test, "label"), strict=True)])
    )


if __name__ == "__main__":
    main()
