"""Training and decoding speed against `transformers`' MarianMTModel: same sizes, same weights, same inputs, fp32.

    python benchmarks/translation.py [--model RUN_OR_FOLDER] [--data PAIRS] [--repeats 7] [--out FILE.json]

Both sides run in one process and take turns; outputs are compared before anything is timed. Without --model the weights
are random (and end sentences at random lengths); --model takes a trained one, so that lengths are those of real use.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from _turns import compare, show
from transformers import MarianMTModel

import formers
from formers.data.source import Source
from formers.decoding.options import DecodingOptions
from formers.decoding.settings import Settings
from formers.models.transformer import Transformer
from formers.systems.sizes import TransformerSizes
from formers.systems.translation.data import PairBatch, PairBatches, PairRows
from formers.systems.translation.system import Translator
from formers.systems.translation.task import TranslationConfig, TranslationTask
from formers.text.open import train_bpe
from formers.training.optimizer import adamw

LIMIT = 60  # new tokens at most, on both sides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a run or folder; default: random weights at the sizes of the Multi30k recipe")
    parser.add_argument("--data", default="builtin:phrasebook", help="sentence pairs with columns en and de")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, help="also write the results as JSON")
    options = parser.parse_args()
    torch.set_grad_enabled(True)
    ours, batches = prepare(options)
    with tempfile.TemporaryDirectory() as folder:
        ours.save(folder)
        theirs = MarianMTModel.from_pretrained(folder, dtype=torch.float32)
    results = [
        training(ours, theirs, batches, options.repeats),
        decoding(ours, theirs, batches, options.repeats, beams=1),
        decoding(ours, theirs, batches, options.repeats, beams=4),
    ]
    print(f"\n{sum(p.numel() for p in ours.model.parameters()):,} parameters", end="")
    show(results, options.repeats)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def prepare(options: argparse.Namespace) -> tuple[Translator, PairBatches]:
    """The translator, and batches of at most 4,096 tokens."""
    source, rows = Source(train=options.data, count=4000), PairRows(tokens_per_batch=4096)
    table = source.read("train", **rows.reading(source))
    assert table is not None
    if options.model:
        ours = formers.load(options.model)
    else:
        tokenizer = train_bpe(table.columns["en"] + table.columns["de"], 6000)
        torch.manual_seed(0)
        model = Transformer(TransformerSizes(dim=256, hidden=1024, dropout=0.1).config(6000))
        for name, weight in model.named_parameters():
            if "norm" not in name:
                torch.nn.init.normal_(weight, std=0.08)
        assert tokenizer.pad is not None and tokenizer.eos is not None and model.logit_bias is not None
        model.logit_bias[tokenizer.eos] = 3.5
        ours = Translator(
            model,
            tokenizer,
            Settings(start=tokenizer.pad, stop=(tokenizer.eos,), pad=tokenizer.pad, forbidden=(tokenizer.pad,)),
        )
    assert ours.tokenizer is not None
    start, filler = ours.settings.start, ours.settings.pad
    return ours, PairBatches(table, ours.tokenizer, rows, length=256, start=start, filler=filler, seed=1)


def training(ours: Translator, theirs: MarianMTModel, batches: PairBatches, repeats: int) -> dict:
    """Forward, backward and AdamW (fused on both sides); no label smoothing, which theirs does not have."""
    task = TranslationTask(ours, batches, TranslationConfig(label_smoothing=0.0))
    plan = batches.epoch(0)
    plan = [batches.collate(rows) for rows in plan[: min(4, len(plan))]]

    def reference_loss(batch: PairBatch) -> torch.Tensor:
        keep = batch.source_keep if batch.source_keep is not None else torch.ones_like(batch.source, dtype=torch.bool)
        labels = batch.labels if batch.real is None else batch.labels.masked_fill(~batch.real, -100)
        return theirs(
            input_ids=batch.source,
            attention_mask=keep.long(),
            decoder_input_ids=batch.target,
            labels=labels,
            use_cache=False,
        ).loss

    def own_loss(batch: PairBatch) -> torch.Tensor:
        loss = task.loss(batch)
        return loss.total / loss.count

    ours.model.eval(), theirs.eval()
    for batch in plan:
        torch.testing.assert_close(own_loss(batch), reference_loss(batch), rtol=1e-4, atol=1e-4)
    ours.model.train(), theirs.train()
    before = {name: value.clone() for name, value in ours.model.state_dict().items()}
    reference_before = {name: value.clone() for name, value in theirs.state_dict().items()}
    optimizers = (
        adamw(ours.model, weight_decay=0.01, betas=(0.9, 0.98), epsilon=1e-8),
        torch.optim.AdamW(theirs.parameters(), lr=0.0, fused=True),
    )

    def run(loss: Callable[[PairBatch], torch.Tensor], optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            group["lr"] = 1e-5
        for batch in plan:
            loss(batch).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    tokens = sum(int(b.labels.numel() if b.real is None else b.real.sum()) for b in plan)
    row = compare(
        "training, target tokens/s",
        tokens,
        lambda: run(own_loss, optimizers[0]),
        lambda: run(reference_loss, optimizers[1]),
        repeats,
    )
    ours.model.load_state_dict(before)
    theirs.load_state_dict(reference_before)
    return row


def decoding(ours: Translator, theirs: MarianMTModel, batches: PairBatches, repeats: int, *, beams: int) -> dict:
    """64 sentences in one batch; `transformers` gets them as one padded batch too."""
    rows = sorted(range(64), key=lambda i: -len(batches.source[i]))
    ids = [batches.source[i].tolist() for i in rows]
    options = DecodingOptions(beams=beams, length_penalty=1.0, early_stopping=False, max_tokens=LIMIT)
    longest = max(map(len, ids))
    pad = ours.settings.pad
    source = torch.tensor([x + [pad] * (longest - len(x)) for x in ids])
    keep = (torch.arange(longest)[None] < torch.tensor([len(x) for x in ids])[:, None]).long()
    ours.model.eval(), theirs.eval()

    def own() -> list[list[int]]:
        return [texts[0].tokens for texts in ours.write(ids, options, tokens_per_batch=1 << 20)]

    def reference() -> list[list[int]]:
        out = theirs.generate(
            input_ids=source,
            attention_mask=keep,
            num_beams=beams,
            do_sample=False,
            max_new_tokens=LIMIT,
            max_length=None,
            length_penalty=1.0,
            early_stopping=False,
            forced_eos_token_id=None,
            bad_words_ids=[[pad]],
        )
        stop = set(ours.settings.stop)
        return [[t for t in row if t != pad and t not in stop] for row in out.tolist()]

    mine, other = own(), reference()
    different = sum(a != b for a, b in zip(mine, other, strict=True))
    if different > (0 if beams == 1 else 2):  # a beam may tip over where two sums differ by rounding only
        raise SystemExit(f"beams {beams}: {different} of 64 outputs differ")
    print(f"beams {beams}: {64 - different} of 64 outputs are the same; {sum(map(len, mine))} tokens")
    return compare(
        f"{'greedy' if beams == 1 else f'beam {beams}'}, 64 sentences, tokens/s",
        sum(map(len, mine)),
        own,
        reference,
        repeats,
    )


if __name__ == "__main__":
    main()
