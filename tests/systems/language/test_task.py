"""Pre-training of language models: the loss is the model's own, runs resume exactly and open in transformers."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import formers
from formers.decoding.settings import Settings
from formers.errors import ConfigError, DataError
from formers.models.causal import CausalLM
from formers.systems.language.data import Corpus, TextRows, rows_of
from formers.systems.language.task import LanguageConfig, LanguageTask
from formers.systems.language_model import LanguageModel
from formers.systems.sizes import CausalSizes
from formers.text.training import characters
from formers.training.events import Evaluated, Finished, Reported, Sampled, Stepped

EIGHT = [
    "the cat sat on the mat",
    "a dog ran over the hill",
    "we ate an apple",
    "birds sing at dawn",
    "rain falls on green grass",
    "she reads an old book",
    "they swim in the lake",
    "no one saw the moon",
]
SMALL = [
    "model.dim=32",
    "model.heads=2",
    "model.layers=2",
    "model.hidden=48",
    "model.length=48",
    "model.dropout=0.0",
    "rows.tokens_per_batch=192",
    "rows.tokenizer=characters",
    "train.precision=fp32",
    "train.threads=1",
    "train.sample_every=0",
    "train.warmup=5",
    "task.sample_tokens=8",
]


@pytest.fixture
def sentences(tmp_path):
    path = tmp_path / "eight.txt"
    path.write_text("\n".join(EIGHT) + "\n", encoding="utf-8")
    return str(path)


def run(tmp_path, *changes, name="run"):
    return list(formers.train("language", [*SMALL, *changes], run=tmp_path / name))


def task_of(texts, packing="documents", form="gpt2", **config):
    from formers.data.sources import Table

    torch.manual_seed(3)
    tokenizer = characters(texts)
    model = CausalLM(CausalSizes(form=form, dim=16, layers=2, heads=2, hidden=24, length=24).config(tokenizer.vocab))
    for name, weight in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(weight, std=0.3)
    language = LanguageModel(model.eval(), tokenizer, Settings(start=0, stop=(0,), pad=0, bos=0))
    corpus = Corpus(Table("t", {"text": list(texts)}), "text", tokenizer, start=0, end=0)
    data = TextRows(packing=packing, windows="consecutive", tokens_per_batch=72)
    return LanguageTask(language, rows_of(corpus, data, 24, seed=1), LanguageConfig(**config))


@pytest.mark.parametrize("packing", ["documents", "none", "stream"])
@pytest.mark.parametrize("form", ["gpt2", "qwen3"])
def test_the_loss_is_that_of_the_models_logits(packing, form):
    task = task_of(EIGHT, packing, form)
    rows = task.validation
    for chosen in rows.epoch(0):
        batch = rows.collate(chosen)
        logits = task.model(batch.tokens, documents=batch.documents)
        each = F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), reduction="none").view(batch.labels.shape)
        real = torch.ones_like(batch.labels, dtype=torch.bool) if batch.real is None else batch.real
        loss = task.loss(batch)
        assert loss.count == real.sum()
        torch.testing.assert_close(loss.total, each[real].sum(), rtol=1e-5, atol=1e-3)


def test_evaluation_gives_loss_perplexity_and_bits():
    task = task_of(EIGHT, "none")
    scores = task.evaluate().values()
    total = sum(-sum(task.language.score(text).scores) for text in EIGHT if len(text) < 24)  # the end not counted
    count = sum(len(text) + 1 for text in EIGHT)
    assert scores["row_perplexity"] == pytest.approx(math.exp(scores["loss"]))
    assert scores["bits_per_character"] == pytest.approx(scores["loss"] * count / math.log(2) / (count - 8))
    assert total < scores["loss"] * count
    assert task_of(EIGHT, "documents").evaluate().values() == pytest.approx(scores, rel=1e-4)
    assert task_of(EIGHT, "none", evaluated=2).evaluate().value("loss") != scores["loss"]


def test_gradients_of_pieces_of_logits_are_those_of_all():
    task = task_of(EIGHT)
    batch = task.validation.collate(task.validation.epoch(0)[0])
    task.loss(batch).total.backward()
    ours = {name: weight.grad.clone() for name, weight in task.model.named_parameters()}
    task.model.zero_grad()
    x = task.model(batch.tokens, documents=batch.documents)
    real = slice(None) if batch.real is None else batch.real.flatten()
    F.cross_entropy(x.flatten(0, 1)[real], batch.labels.flatten()[real], reduction="sum").backward()
    for name, weight in task.model.named_parameters():
        torch.testing.assert_close(ours[name], weight.grad, rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("packing", ["documents", "stream"])
def test_eight_texts_are_learned_by_heart(tmp_path, sentences, packing):
    events = run(
        tmp_path,
        f"data.train={sentences}",
        f"data.validation={sentences}",
        "rows.separator=line",
        f"rows.packing={packing}",
        "rows.windows=consecutive",
        "train.steps=200",
        "train.rate=0.01",
        "train.final_rate=0.0",
        "train.evaluate_every=200",
        "train.save_every=0",
        "model.dim=48",
    )
    assert isinstance(events[0], Reported) and isinstance(events[-1], Finished)
    loss = next(e for e in events if isinstance(e, Evaluated)).metrics["loss"]
    if packing == "documents":
        assert loss < math.log(8) / 20 + 0.05  # which of the eight it is cannot be known
        model = formers.load(tmp_path / "run")
        assert str(model.generate("we ate", max_tokens=40)) == " an apple"
        assert str(model.generate("birds", max_tokens=40)) == " sing at dawn"
    else:
        assert loss < 0.4


def test_an_interrupted_run_ends_with_the_very_same_weights(tmp_path, sentences):
    changes = [
        f"data.train={sentences}",
        "rows.separator=line",
        "data.held_out=0.3",
        "model.dropout=0.2",
        "train.evaluate_every=0",
        "train.save_every=3",
    ]
    run(tmp_path, *changes, "train.schedule=constant", "train.steps=7", name="whole")
    run(tmp_path, *changes, "train.schedule=constant", "train.steps=3", name="parts")
    run(tmp_path, *changes, "train.schedule=constant", "train.steps=7", name="parts")
    whole, parts = (formers.load(tmp_path / name).model.state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_run_goes_on_from_another_with_its_tokenizer(tmp_path, sentences):
    held_out = f"data.validation={sentences}"
    run(tmp_path, f"data.train={sentences}", held_out, "rows.packing=stream", "train.steps=4")
    first = formers.load(tmp_path / "run")
    events = run(
        tmp_path,
        f"data.train={sentences}",
        f"model.start={tmp_path / 'run'}",
        "rows.tokenizer=bpe",
        held_out,
        "train.steps=1",
        "train.rate=1e-9",
        "train.final_rate=0.0",
        name="second",
    )
    assert f"vocabulary: {first.tokenizer.vocab:,} tokens" in "\n".join(events[0].lines)
    second = formers.load(tmp_path / "second")
    assert second.tokenizer.files() == first.tokenizer.files()
    for name, weight in first.model.state_dict().items():
        torch.testing.assert_close(second.model.state_dict()[name], weight, atol=1e-6, rtol=0)


def test_the_tiny_recipe_runs_reports_and_samples(tmp_path):
    events = list(
        formers.train(
            "language",
            [
                "train.steps=3",
                "train.precision=fp32",
                "train.evaluate_every=3",
                "train.sample_every=3",
                "rows.vocab=400",
                "model.layers=1",
                "model.dim=32",
                "model.heads=2",
                "model.hidden=32",
                "task.evaluated=4",
                "data.count=8",
            ],
            run=tmp_path / "run",
        )
    )
    report = "\n".join(events[0].lines)
    for part in (
        "training data: builtin:prose",
        "examples: 8",
        "padding",
        "cut: ",
        "vocabulary: 400 tokens",
        "parameters",
        "MB for weights",
        "validation: builtin:prose, ",
    ):
        assert part in report
    assert [e.step for e in events if isinstance(e, Stepped)][-1] == 3
    samples = next(e for e in events if isinstance(e, Sampled)).samples
    assert len(samples) >= 2 and all(isinstance(text, str) and text for _, text in samples)
    assert isinstance(str(formers.load(tmp_path / "run").generate("The class", max_tokens=5)), str)


@pytest.mark.parametrize(("form", "kind"), [("gpt2", "GPT2LMHeadModel"), ("llama", "LlamaForCausalLM")])
def test_a_run_opens_in_transformers(tmp_path, sentences, form, kind):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    run(
        tmp_path,
        f"data.train={sentences}",
        f"model.form={form}",
        "model.bias=true",
        "train.steps=2",
        "train.evaluate_every=2",
        "rows.tokenizer=bpe",
        "rows.vocab=300",
    )
    ours = formers.load(tmp_path / "run")
    folder = next((tmp_path / "run" / "checkpoints").glob("0*"))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    assert type(theirs).__name__ == kind
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("the cat  sat\n on", return_tensors="pt")["input_ids"]
    assert ids[0].tolist() == ours.tokenizer.encode(["the cat  sat\n on"])[0]
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, ours.model(ids), atol=1e-4, rtol=1e-4)
    assert theirs.generation_config.eos_token_id == ours.tokenizer.eos == tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (["rows.length=64"], ConfigError, r"rows.length \(64\) must not be more than the model's length \(48\)"),
        (["rows.tokenizer=bpe", "rows.vocab=100"], ConfigError, r"vocab \(100\) must be at least 257"),
        (["rows.tokenizer=nowhere"], ConfigError, 'rows.tokenizer "nowhere": there is no tokenizer here'),
        (["rows.packing=stream", "data.count=1", "rows.separator=line"], DataError, "are too few for a window of 48"),
        (["data.train=no.txt"], DataError, "does not exist"),
        (["task.temperature=-1"], ConfigError, r"task.temperature \(-1.0\) must be 0 or more"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(tmp_path, sentences, changes, error, message):
    with pytest.raises(error, match=message) as caught:
        run(tmp_path, f"data.train={sentences}", *changes)
    assert "\n" not in str(caught.value)


def test_recomputing_gives_the_same_gradients():
    found = []
    for recompute in (False, True):
        task = task_of(EIGHT)
        task.model.train()
        if recompute:
            task.set_recompute()
        task.loss(task.validation.collate(task.validation.epoch(0)[0])).total.backward()
        found.append([weight.grad for weight in task.model.parameters()])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(plain, again)
