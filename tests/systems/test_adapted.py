"""Runs in which few weights learn: what is saved, that it opens, that it goes on to the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

import formers
from formers.adapters.lora import adapters
from formers.errors import CheckpointError, ConfigError
from formers.pretrained.peft.adapters import load_adapter, read_adapter
from formers.recipe import load_recipe
from formers.registry import locate, prepare
from formers.training import Evaluated, Finished, Started, Stepped

DATA = [
    "data.count=300",
    "data.held_out=20",
    "rows.vocab=300",
    "rows.tokens_per_batch=256",
    "task.decoded=0",
    "model.dim=32",
    "model.hidden=64",
    "train.threads=1",
    "train.precision=fp32",
    "train.monitor=loss",
    "train.sample_every=0",
    "train.log_every=5",
    "train.warmup=5",
]
BASE = [*DATA, "train.steps=25", "train.rate=0.01", "train.evaluate_every=0", "train.save_every=0"]
USUAL = [
    *DATA,
    "data.seed=3",
    "train.steps=12",
    "train.save_every=3",
    "train.evaluate_every=6",
    "train.average=0.9",
    "train.epsilon=0.001",
    "model.dropout=0.2",
]
LORA = ["adapter.kind=lora", "adapter.rank=4", "adapter.dropout=0.1"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "run"
    list(formers.train("translation", BASE, run=folder))
    return folder


def settings(base, *more):
    return [*USUAL, f'model.start="{base}"', *more]


def train(folder, base, *more):
    return list(formers.train("translation", settings(base, *more), run=folder))


def checkpoint(run, step=12):
    return run / "checkpoints" / f"{step:06d}"


def scores(system):
    """Log-probabilities of some tokens."""
    tokens = torch.randint(4, 280, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return system.model.eval()(tokens, tokens).log_softmax(-1)


@pytest.mark.parametrize(
    ("more", "files", "most"),
    [
        ((*LORA, 'adapter.targets=["q", "v"]'), {"adapter_config.json", "adapter_model.safetensors"}, 0.15),
        (
            ("adapter.kind=lora", 'adapter.targets=["all-linear"]', "adapter.rank_stabilised=true"),
            {"adapter_config.json", "adapter_model.safetensors"},
            0.6,
        ),
        (("adapter.kind=bitfit",), {"changes.json", "changes.safetensors"}, 0.05),
        (("adapter.kind=head",), {"changes.json", "changes.safetensors"}, 0.3),
    ],
)
def test_a_run_saves_what_learned_and_opens_as_a_whole(base, tmp_path, more, files, most):
    before = scores(formers.load(base))
    events = train(tmp_path / "run", base, *more, "train.rate=0.01", "train.average=0.0", "train.evaluate_every=1")
    started = next(event for event in events if isinstance(event, Started))
    assert 0 < started.trainable < most * started.parameters
    assert events[0].lines[-1].startswith("adapter: ")
    losses = [event.metrics["loss"] for event in events if isinstance(event, Evaluated)]
    assert losses[-1] < losses[0]
    saved = locate(tmp_path / "run")  # the best
    assert {path.name for path in saved.iterdir()} == files | {"training.safetensors", "training.json"}
    named = read_adapter(saved).base
    assert named == str((base / "checkpoints" / "000025").resolve())
    # the folder opens as the whole model, with the tokenizer of the model that it names
    opened = formers.load(tmp_path / "run")
    after = scores(opened)
    assert (after - before).abs().max() > 0.01
    assert opened.translate("I ate an apple", max_tokens=5) is not None
    opened.save(tmp_path / "whole")
    assert torch.equal(scores(formers.load(tmp_path / "whole")), after)
    # and holds exactly what the trainer had
    recipe = load_recipe(tmp_path / "run" / "recipe.toml")
    task = prepare("translation", recipe.sections, tmp_path / "run").task
    parameters = dict(task.model.named_parameters())
    learned = load_file(saved / "training.safetensors")
    learned = {name: value for name, value in learned.items() if name.startswith("weight.")}
    assert {name.removeprefix("weight.") for name in learned} == {
        name for name, weight in parameters.items() if weight.requires_grad
    }
    with torch.no_grad():
        for name, value in learned.items():
            parameters[name.removeprefix("weight.")].copy_(value)
    torch.testing.assert_close(scores(task), after, rtol=1e-5, atol=1e-5)
    if "adapter.kind=lora" not in more:
        assert torch.equal(scores(task), after)


def test_lora_learns_with_a_share_of_the_weights(base, tmp_path):
    pairs = [
        "en\tde",
        "I ate an apple\tIch habe einen Apfel gegessen",
        "The dog sleeps.\tDer Hund schläft.",
        "We see the house.\tWir sehen das Haus.",
        "Do you read?\tLiest du?",
        "She drinks tea.\tSie trinkt Tee.",
        "He is tall.\tEr ist groß.",
        "They go home.\tSie gehen nach Hause.",
        "It rains.\tEs regnet.",
    ]
    (tmp_path / "eight.tsv").write_text("\n".join(pairs) + "\n", encoding="utf-8")
    events = train(
        tmp_path / "run",
        base,
        "adapter.kind=lora",
        'adapter.targets=["all-linear"]',
        "adapter.rank=8",
        f"data.train={tmp_path / 'eight.tsv'}",
        f"data.validation={tmp_path / 'eight.tsv'}",
        "data.count=0",
        "model.dropout=0.0",
        "task.label_smoothing=0.0",
        "train.steps=120",
        "train.rate=0.02",
        "train.evaluate_every=120",
        "train.save_every=0",
        "train.average=0.0",
    )
    started = next(event for event in events if isinstance(event, Started))
    assert started.trainable < 0.45 * started.parameters
    first = next(event for event in events if isinstance(event, Stepped)).loss
    last = next(event for event in events if isinstance(event, Evaluated)).metrics["loss"]
    assert last < first / 2, (first, last)


def test_the_averaged_adapter_is_what_is_saved(base, tmp_path):
    train(tmp_path / "run", base, *LORA)
    tensors = load_file(checkpoint(tmp_path / "run") / "training.safetensors")
    system = formers.load(base)
    load_adapter(system.model, checkpoint(tmp_path / "run"))
    for place, part in adapters(system.model)["default"].items():
        for name, weight in (("a", part.a), ("b", part.b)):
            key = f"{place}.adapters.default.{name}"
            assert torch.equal(weight, tensors[f"average.{key}"])
            assert not torch.equal(weight, tensors[f"weight.{key}"])


def test_stopped_and_resumed_ends_with_the_very_same_adapter(base, tmp_path):
    more = [*LORA, "train.schedule=constant"]  # the others know how many steps there will be
    train(tmp_path / "whole", base, *more)
    train(tmp_path / "parts", base, *more, "train.steps=5")
    torch.manual_seed(99)
    events = train(tmp_path / "parts", base, *more)
    assert isinstance(events[-1], Finished) and events[1].resumed
    for name in ("adapter_model.safetensors", "training.safetensors"):
        whole, parts = (load_file(checkpoint(tmp_path / run) / name) for run in ("whole", "parts"))
        assert whole.keys() == parts.keys() and all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_very_same_adapter(base, tmp_path):
    def command(run):
        changes = [part for each in settings(base, *LORA) for part in ("--set", each)]
        return [sys.executable, "-m", "formers", "train", "translation", "--run", str(run), "--plain", *changes]

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    train(tmp_path / "whole", base, *LORA)
    killed = subprocess.Popen(
        command(tmp_path / "killed"), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 120
    while time.monotonic() < until and not checkpoint(tmp_path / "killed", 3).is_dir():
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not checkpoint(tmp_path / "killed").exists(), "the kill came too late to show anything"
    subprocess.run(command(tmp_path / "killed"), check=True, env=environment, capture_output=True)
    for name in ("adapter_model.safetensors", "training.safetensors"):
        whole, resumed = (load_file(checkpoint(tmp_path / run) / name) for run in ("whole", "killed"))
        assert whole.keys() == resumed.keys() and all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_an_adapter_of_a_run_of_an_adapter(base, tmp_path):
    train(tmp_path / "first", base, *LORA)
    train(tmp_path / "second", tmp_path / "first", *LORA, "train.steps=3")
    raw = json.loads((checkpoint(tmp_path / "second", 3) / "adapter_config.json").read_text())
    assert raw["base_model_name_or_path"] == str(checkpoint(tmp_path / "first").resolve())
    assert (scores(formers.load(tmp_path / "second")) - scores(formers.load(tmp_path / "first"))).abs().max() > 0


def test_a_new_model_cannot_be_adapted(tmp_path):
    with pytest.raises(ConfigError, match=r'adapter.kind "lora" changes a few weights .*model.start'):
        list(formers.train("translation", [*USUAL, *LORA], run=tmp_path / "run"))


def test_another_model_in_its_place_is_noticed(base, tmp_path):
    formers.load(base).save(tmp_path / "base")
    train(tmp_path / "run", tmp_path / "base", *LORA, "train.steps=3")
    weights = load_file(tmp_path / "base" / "model.safetensors")
    save_file(
        {name: weight * 1.01 for name, weight in weights.items()},
        tmp_path / "base" / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(CheckpointError, match="the weights that do not learn differ"):
        train(tmp_path / "run", tmp_path / "base", *LORA)


def test_conversations_are_written_and_ended_as_they_were_learned(tmp_path):
    sizes = [
        "model.dim=32",
        "model.layers=2",
        "model.hidden=48",
        "model.heads=2",
        "train.threads=1",
        "train.precision=fp32",
        "train.evaluate_every=0",
        "train.sample_every=0",
        "train.save_every=0",
    ]
    small = ["data.count=40", "data.held_out=8", "rows.tokens_per_batch=512", "task.answered=0", "train.steps=3"]
    list(formers.train("language", [*sizes, "rows.vocab=300", "train.steps=3"], run=tmp_path / "base"))
    list(
        formers.train(
            "language/instruct", [*sizes, *small, f"model.start={tmp_path / 'base'}", *LORA], run=tmp_path / "run"
        )
    )
    base, opened = formers.load(tmp_path / "base"), formers.load(tmp_path / "run")
    assert base.template is None and "Assistant:" in opened.template.source
    recipe = load_recipe(tmp_path / "run" / "recipe.toml")
    task = prepare("chat", recipe.sections, tmp_path / "again").task
    assert opened.settings == task.task.language.settings
    assert opened.tokenizer.files() == base.tokenizer.files()
    tokens = torch.randint(0, 300, (2, 9))
    with torch.no_grad():
        assert not torch.equal(opened.model(tokens), base.model(tokens))
    # preferences on top: the adapter of the first run is part of the model that the second adapts
    list(
        formers.train(
            "language/preferences",
            [*sizes, "data.count=20", "data.held_out=4", "train.steps=2", *LORA, f"model.start={tmp_path / 'run'}"],
            run=tmp_path / "second",
        )
    )
    assert formers.load(tmp_path / "second").template.source == opened.template.source
