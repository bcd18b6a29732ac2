"""Instruction tuning: loss on answers only, from scratch and from a model folder, what it saves and what it refuses."""

import json

import pytest
import torch
import torch.nn.functional as F

import formers
from formers import registry
from formers.errors import CheckpointError, ConfigError, DataError
from formers.models.causal import CausalLM
from formers.pretrained.load import save_model
from formers.recipe import load_recipe
from formers.systems.chat.session import Chat
from formers.systems.sizes import CausalSizes
from formers.training.events import Evaluated, Reported, Sampled
from tests.cli.conftest import works
from tests.text.templates import CHATML, GENERATION, byte_tokenizer

TALKS = [
    ("What is the sea?", "Water."),
    ("And a lake?", "Less water."),
    ("hello", "Hello you."),
    ("Who?", "Me."),
    ("What is salt?", "White."),
    ("One or two?", "Two."),
    ("Is it late?", "No."),
    ("Sing!", "La la la."),
]
SIZES = ["model.dim=64", "model.heads=4", "model.hidden=128", "model.layers=2", "model.length=64", "rows.vocab=300"]
QUIET = ["train.save_every=0", "train.precision=fp32", "task.samples=[]", "train.sample_every=0", "task.answered=0"]


@pytest.fixture
def talks(tmp_path):
    path = tmp_path / "talks.jsonl"
    rows = [[{"role": "user", "content": asked}, {"role": "assistant", "content": said}] for asked, said in TALKS]
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def chatty(tmp_path):
    """A model folder with a ChatML template, whose eos is another token."""
    tokenizer = byte_tokenizer()
    sizes = CausalSizes(form="llama", dim=32, heads=2, hidden=64, layers=1, length=64)
    folder = tmp_path / "base"
    save_model(
        folder,
        CausalLM(sizes.config(tokenizer.vocab)),
        tokenizer=tokenizer,
        extra={"chat_template.jinja": CHATML.encode()},
    )
    return folder


def prepared(tmp_path, *changes):
    recipe = load_recipe("language/instruct", [*SIZES, *QUIET, "data.count=0", *changes])
    ready = registry.prepare(recipe.system, recipe.sections, tmp_path / "run")
    return ready.task, ready.batches, ready.report


def test_a_run_is_judged_by_its_test_conversations(tmp_path, talks, chatty):
    judged = tmp_path / "judged.jsonl"
    judged.write_text("".join(talks.read_text().splitlines(keepends=True)[:3]))
    changes = [*QUIET, f"data.train={talks}", f"data.test={judged}", f"model.start={chatty}", "train.steps=2"]
    list(formers.train("language/instruct", [*changes, "data.count=0", "train.warmup=1"], run=tmp_path / "run"))
    report = json.loads(works("evaluate", tmp_path / "run", "--json"))
    assert report["data"] == str(judged)
    recipe = load_recipe(tmp_path / "run" / "recipe.toml", [f"data.validation={judged}"])
    task = registry.prepare(recipe.system, recipe.sections, tmp_path / "other").task
    task.model.load_state_dict(formers.load(tmp_path / "run").model.state_dict())
    assert report["loss"] == pytest.approx(task.evaluate().value("loss"), rel=1e-4)


def test_a_null_answer_is_nothing_that_is_said(tmp_path, chatty):
    """An assistant that only calls a tool; and every key that other messages have, as tables write them."""
    calls = [{"type": "function", "function": {"name": "sea", "arguments": "{}"}}]
    rows = [
        [
            {"role": "system", "content": "Say.", "tool_calls": None},
            {"role": "user", "content": asked, "tool_calls": None},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "content": "1", "tool_calls": None},
            {"role": "assistant", "content": answer, "tool_calls": None},
        ]
        for asked, answer in TALKS
    ]
    path = tmp_path / "nulls.jsonl"
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    task, batches, _ = prepared(tmp_path, f"data.train={path}", f"data.validation={path}", f"model.start={chatty}")
    corpus = batches.corpus
    text = task.language.tokenizer.decode(corpus.tokens.tolist(), skip_special=False)
    assert "None" not in text and "null" not in text and text.count("<|im_start|>assistant\n<|im_end|>") == len(TALKS)
    chat = Chat(task.language, messages=[{"role": "system", "content": None}], max_tokens=1)
    assert chat.system == "" and chat.messages == []


def test_eight_conversations_are_learned_by_heart(tmp_path, talks):
    events = list(
        formers.train(
            "language/instruct",
            [
                *SIZES,
                *QUIET,
                f"data.train={talks}",
                f"data.validation={talks}",
                "data.count=0",
                "train.steps=120",
                "train.rate=0.005",
                "train.warmup=10",
                "train.evaluate_every=120",
                "train.sample_every=120",
                "task.answered=8",
            ],
            run=tmp_path / "run",
        )
    )
    assert isinstance(events[0], Reported) and any("loss: on" in line for line in events[0].lines)
    found = next(event for event in events if isinstance(event, Evaluated)).metrics
    assert found["loss"] < 0.05 and found["accuracy"] == 1 and found["exact_match"] == 1
    assert found["row_perplexity"] == pytest.approx(torch.tensor(found["loss"]).exp().item())
    sampled = next(event for event in events if isinstance(event, Sampled))
    assert list(map(tuple, sampled.samples)) == TALKS[:2]
    language = formers.load(tmp_path / "run")
    chat = Chat(language)
    assert [chat.answer("What is the sea?"), chat.result.reason] == ["Water.", "stop"]
    raw = json.loads((registry.locate(tmp_path / "run") / "generation_config.json").read_text())
    assert raw["eos_token_id"] == language.tokenizer.eos


def test_the_loss_is_that_of_each_conversation_alone(tmp_path, talks):
    task, rows, _ = prepared(tmp_path, f"data.train={talks}", f"data.validation={talks}")
    for parameter in task.model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    task.model.eval()
    total, count = 0.0, 0
    for asked, said in TALKS:
        messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
        encoded = task.encoder.encode(messages)
        ids, spoken = torch.tensor(encoded.ids), torch.tensor(encoded.spoken)
        logits = task.model(ids[None])[0]
        total += F.cross_entropy(logits[:-1][spoken[1:]], ids[1:][spoken[1:]], reduction="sum").item()
        count += int(spoken.sum())
    losses = [task.loss(rows.collate(batch)) for batch in rows.epoch(0)]
    assert sum(loss.count for loss in losses) == count
    assert sum(loss.total.item() for loss in losses) == pytest.approx(total, rel=1e-4)
    assert task.evaluate().value("loss") == pytest.approx(total / count, rel=1e-4)


def test_answers_and_their_ends_are_all_that_is_learned(tmp_path, talks):
    task, rows, _ = prepared(tmp_path, f"data.train={talks}", f"data.validation={talks}")
    said = ""
    for batch in map(rows.collate, rows.epoch(0)):
        labels = batch.labels.flatten() if batch.real is None else batch.labels[batch.real]
        said += task.language.tokenizer.decode(labels.tolist(), skip_special=False)
    assert sorted(said.split("<|endoftext|>")[:-1]) == sorted(answer for _, answer in TALKS)


def test_from_a_model_with_a_template(tmp_path, talks, chatty):
    task, rows, report = prepared(tmp_path, f"data.train={talks}", f"model.start={chatty}")
    assert f"template: {chatty / 'chat_template.jinja'}; an answer ends with <|im_end|>" in report
    tokenizer = task.language.tokenizer
    batch = rows.collate([0])
    assert "<|im_start|>user\n" in tokenizer.decode(batch.tokens[0].tolist(), skip_special=False)
    end = tokenizer.rules.token_to_id("<|im_end|>")
    assert task.language.settings.stop == (tokenizer.eos, end)
    task.save(tmp_path / "saved")
    assert (tmp_path / "saved" / "chat_template.jinja").read_text() == CHATML
    raw = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert raw["eos_token_id"] == [tokenizer.eos, end]
    assert formers.load(tmp_path / "saved").template.source == CHATML


def test_what_is_saved_is_read_by_transformers_with_its_template(tmp_path, talks, chatty):
    transformers = pytest.importorskip("transformers", reason="the reference is not installed")
    task, _, _ = prepared(tmp_path, f"data.train={talks}", "model.form=llama")
    task.save(tmp_path / "saved")
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    messages = [{"role": "user", "content": "What is the sea?"}]
    ids = reference.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert ids == task.encoder.ids(messages)


def test_another_template(tmp_path, talks, chatty):
    file = tmp_path / "other.jinja"
    file.write_text(GENERATION)
    task, _, report = prepared(tmp_path, f"data.train={talks}", f"model.start={chatty}", f"rows.template={file}")
    assert task.language.template.source == GENERATION
    task, _, report = prepared(tmp_path, f"data.train={talks}", f"rows.template={file}", f"data.validation={talks}")
    lines = "\n".join(report)
    assert "the template writes <|im_start|>, which is no token of this tokenizer" in lines
    assert "an answer ends with no special token" in lines
    task, _, _ = prepared(tmp_path, f"data.train={talks}", f"rows.template={chatty}", "model.length=128")
    assert task.language.template.source == CHATML


def test_the_tokenizer_of_a_run_is_kept(tmp_path, talks):
    first = prepared(tmp_path, f"data.train={talks}")[0].language.tokenizer.files()
    talks.write_text(talks.read_text().replace("sea", "lake of tears"))
    assert prepared(tmp_path, f"data.train={talks}")[0].language.tokenizer.files() == first


def test_builtin_recipe_prepares_and_answers_before_training(tmp_path):
    recipe = load_recipe(
        "language/instruct", [*SIZES, "data.count=60", "data.held_out=10", "task.answered=4", "task.sample_tokens=3"]
    )
    task = registry.prepare(recipe.system, recipe.sections, tmp_path / "run").task
    scores = task.evaluate().values()
    assert set(scores) == {"loss", "row_perplexity", "accuracy", "exact_match"} and 0 <= scores["exact_match"] <= 1
    assert [question for question, _ in task.sample()] == list(recipe.sections["task"].samples)


def test_answers_to_a_conversation_that_is_too_long_are_empty(tmp_path, talks):
    long = json.dumps({"prompt": "sea " * 200, "answer": "Water."})
    path = tmp_path / "long.jsonl"
    path.write_text(long + "\n" + json.dumps({"prompt": "hello", "answer": "Water."}) + "\n")
    task, _, report = prepared(tmp_path, f"data.train={path}", f"data.validation={path}", "task.answered=2")
    assert task.evaluate().value("exact_match") == 0
    assert any("no token of an answer left to learn" in line for line in report)


@pytest.mark.parametrize(
    "changes, error, message",
    [
        (["rows.template=nowhere.jinja"], CheckpointError, "rows.template nowhere.jinja: there is no such file"),
        (["rows.length=65"], ConfigError, r"rows.length \(65\) must not be more than the model's length \(64\)"),
        (["task.sample_tokens=0"], ConfigError, "task.sample_tokens"),
        (["rows.length=2"], DataError, "no token carries loss"),
        (["model.start=nowhere/at/all"], CheckpointError, "nowhere/at/all"),
    ],
)
def test_faults(tmp_path, talks, changes, error, message):
    with pytest.raises(error, match=message):
        prepared(tmp_path, f"data.train={talks}", *changes)
