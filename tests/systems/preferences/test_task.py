"""DPO: the loss against its formula, the reference computed once, learning, what it refuses."""

import json
import math

import numpy as np
import pytest
import torch

import formers
from formers import registry
from formers.decoding import log_probabilities
from formers.errors import CheckpointError, ConfigError
from formers.models.causal import CausalLM
from formers.pretrained.load import save_model
from formers.recipe import load_recipe
from formers.systems.preferences import task as preferences
from formers.systems.preferences.data import PreferenceBatch
from formers.systems.preferences.task import PreferenceConfig, PreferenceTask, answer_log_probabilities, preference_loss
from formers.systems.sizes import CausalSizes
from formers.training.events import Evaluated, Reported
from tests.cli.conftest import works
from tests.text.templates import CHATML, byte_tokenizer

QUIET = ["train.save_every=0", "train.precision=fp32", "task.samples=[]", "train.sample_every=0", "data.count=0"]
ROWS = [
    ("What is the sea?", "Water.", "Fire."),
    ("hello", "Hello you.", "Go."),
    ("A lake?", "Less.", "More water."),
    ("Who?", "Me.", "You."),
    ("Late?", "No.", "Yes."),
    ("Sing!", "La la la.", "No."),
    ("Two?", "Two.", "One."),
    ("Salt?", "White.", "Black and red."),
]


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": asked, "chosen": good, "rejected": bad} for asked, good, bad in ROWS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def base(tmp_path):
    """A model folder whose every parameter is random."""
    tokenizer = byte_tokenizer()
    model = CausalLM(CausalSizes(form="llama", dim=32, heads=2, hidden=64, layers=2, length=64).config(tokenizer.vocab))
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name else 0.0, std=0.3)
    save_model(tmp_path / "base", model, tokenizer=tokenizer, extra={"chat_template.jinja": CHATML.encode()})
    return tmp_path / "base"


def prepared(folder, *changes):
    recipe = load_recipe("language/preferences", [*QUIET, *changes])
    ready = registry.prepare(recipe.system, recipe.sections, folder)
    return ready.task, ready.batches, ready.report


def naive(model, ids, spoken):
    """The log-probability of what was spoken, one text alone."""
    scores = model(torch.tensor([ids]))[0].log_softmax(-1)
    return sum(scores[i - 1, ids[i]] for i in range(1, len(ids)) if spoken[i])


@pytest.mark.parametrize("smoothing, likelihood, beta", [(0.0, 0.0, 0.1), (0.2, 0.0, 0.5), (0.1, 0.7, 2.0)])
def test_the_loss_is_the_formula(tmp_path, pairs, base, smoothing, likelihood, beta):
    task, batches, _ = prepared(
        tmp_path / "run",
        f"data.train={pairs}",
        f"data.validation={pairs}",
        f"model.start={base}",
        f"task.label_smoothing={smoothing}",
        f"task.likelihood={likelihood}",
        f"task.beta={beta}",
    )
    reference = formers.load(base).model
    for parameter in task.model.parameters():  # the model has gone on from the reference
        parameter.data += 0.05 * torch.randn_like(parameter)
    task.model.eval()
    expected, right, margins = torch.zeros(()), 0, 0.0
    for asked, good, bad in ROWS:
        gains = []
        for answer in (good, bad):
            turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
            encoded = task.encoder.encode(turns)
            now = naive(task.model, encoded.ids, encoded.spoken)
            gains.append((now, now - naive(reference, encoded.ids, encoded.spoken).detach(), sum(encoded.spoken)))
        margin = beta * (gains[0][1] - gains[1][1])
        expected = expected - (1 - smoothing) * torch.log(torch.sigmoid(margin))
        expected = expected - smoothing * torch.log(torch.sigmoid(-margin)) - likelihood * gains[0][0] / gains[0][2]
        right, margins = right + int(margin > 0), margins + margin.item()
    expected.backward()
    gradients = {name: p.grad.clone() for name, p in task.model.named_parameters()}
    task.model.zero_grad()
    losses = [task.loss(batches.collate(rows)) for rows in batches.epoch(0)]
    sum(loss.total for loss in losses).backward()
    assert sum(loss.total.item() for loss in losses) == pytest.approx(expected.item(), rel=1e-4)
    for name, parameter in task.model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-3, atol=1e-4)
    scores = task.evaluate().values()
    assert scores["loss"] == pytest.approx(expected.item() / len(ROWS), rel=1e-4)
    assert scores["right"] == right / len(ROWS) and scores["margin"] == pytest.approx(margins / len(ROWS), rel=1e-3)


def test_at_the_beginning_nothing_is_preferred(tmp_path, pairs, base):
    task, batches, _ = prepared(tmp_path / "run", f"data.train={pairs}", f"model.start={base}", "task.likelihood=0")
    scores = task.evaluate().values()
    assert scores["preference"] == pytest.approx(math.log(2), abs=1e-4)
    assert scores["margin"] == pytest.approx(0, abs=1e-4)


def test_preference_loss_of_known_margins():
    margin = torch.tensor([-3.0, 0.0, 40.0, -2000.0])
    assert preference_loss(margin).tolist() == pytest.approx([3.0485874, math.log(2), 0, 2000], abs=1e-5)
    smooth = preference_loss(margin, 0.25)
    assert smooth.tolist() == pytest.approx([2.2985874, math.log(2), 10, 1500], abs=1e-5)


def test_the_order_and_padding_of_a_batch_do_not_matter(tmp_path, pairs, base):
    task, batches, _ = prepared(
        tmp_path / "run", f"data.train={pairs}", f"data.validation={pairs}", f"model.start={base}"
    )
    task.model.eval()
    with torch.no_grad():
        whole = answer_log_probabilities(task.model, batches.collate(range(8))).view(2, 8)
        for row in range(8):
            alone = answer_log_probabilities(task.model, batches.collate([row]))
            torch.testing.assert_close(alone, whole[:, row], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(whole.T.numpy(), batches.reference, rtol=1e-4, atol=1e-4)


def test_pieces_of_logits_change_nothing(tmp_path, pairs, base, monkeypatch):
    task, batches, _ = prepared(tmp_path / "run", f"data.train={pairs}", f"model.start={base}")
    batch = batches.collate([0, 1, 2])
    task.model.zero_grad()
    whole = task.loss(batch).total
    whole.backward()
    gradient = task.model.embedding.weight.grad.clone()
    task.model.zero_grad()
    monkeypatch.setattr(log_probabilities, "PIECE", 3 * task.model.config.vocab)
    pieces = task.loss(batch).total
    pieces.backward()
    torch.testing.assert_close(pieces, whole)
    torch.testing.assert_close(task.model.embedding.weight.grad, gradient, rtol=1e-4, atol=1e-5)


def test_the_reference_is_computed_once(tmp_path, pairs, base, monkeypatch):
    calls = []
    real = preferences.reference_of
    monkeypatch.setattr(preferences, "reference_of", lambda model, choices: calls.append(1) or real(model, choices))
    changes = [
        *QUIET,
        f"data.train={pairs}",
        f"model.start={base}",
        "train.warmup=1",
        "train.rate=0.001",
        "train.evaluate_every=2",
    ]
    run = tmp_path / "run"
    events = list(formers.train("language/preferences", [*changes, "train.steps=4"], run=run))
    assert len(calls) == 2  # of the training data, of the validation data
    [line] = [line for line in events[0].lines if line.startswith("reference:")]
    assert "of 16 answers, computed once in" in line
    kept = (run / "reference.npz").read_bytes()
    events = list(formers.train("language/preferences", [*changes, "train.steps=8"], run=run))
    assert len(calls) == 2 and (run / "reference.npz").read_bytes() == kept
    assert isinstance(events[0], Reported) and any("computed before" in line for line in events[0].lines)
    pairs.write_text(pairs.read_text().replace("Fire", "Smoke"))
    prepared(run, f"data.train={pairs}", f"model.start={base}")
    assert len(calls) == 4
    (run / "reference.npz").write_bytes(kept[:100])
    prepared(run, f"data.train={pairs}", f"model.start={base}")
    assert len(calls) == 6


def test_a_run_is_judged_by_its_test_pairs(tmp_path, pairs, base):
    """Their reference is that of the beginning, which is no longer there when the run has ended."""
    judged = tmp_path / "judged.jsonl"
    judged.write_text("".join(pairs.read_text().splitlines(keepends=True)[:3]))
    data = [f"data.train={pairs}", f"model.start={base}"]
    changes = [*QUIET, *data, f"data.test={judged}", "train.steps=4", "train.warmup=1"]
    list(formers.train("language/preferences", changes, run=tmp_path / "run"))
    report = json.loads(works("evaluate", tmp_path / "run", "--json"))
    assert report["data"] == str(judged)
    task, _, _ = prepared(tmp_path / "other", *data, f"data.validation={judged}")
    task.model.load_state_dict(formers.load(tmp_path / "run").model.state_dict())
    expected = task.evaluate().values()
    assert expected["margin"] != pytest.approx(0, abs=1e-6)
    assert {name: report[name] for name in expected} == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_eight_preferences_are_learned(tmp_path, pairs, base):
    events = list(
        formers.train(
            "language/preferences",
            [
                *QUIET,
                f"data.train={pairs}",
                f"data.validation={pairs}",
                f"model.start={base}",
                "task.likelihood=0",
                "train.steps=40",
                "train.rate=0.001",
                "train.warmup=5",
                "train.evaluate_every=40",
            ],
            run=tmp_path / "run",
        )
    )
    found = next(event for event in events if isinstance(event, Evaluated)).metrics
    assert found["right"] == 1 and found["margin"] > 1 and found["preference"] < 0.3


def test_from_scratch_it_learns_to_answer_too(tmp_path, pairs):
    events = list(
        formers.train(
            "language/preferences",
            [
                *QUIET,
                f"data.train={pairs}",
                f"data.validation={pairs}",
                "model.start=",
                "model.dim=64",
                "model.hidden=128",
                "model.layers=2",
                "rows.vocab=300",
                "task.likelihood=1",
                "train.steps=120",
                "train.rate=0.005",
                "train.warmup=10",
                "train.evaluate_every=120",
            ],
            run=tmp_path / "run",
        )
    )
    found = next(event for event in events if isinstance(event, Evaluated)).metrics
    assert found["right"] == 1 and found["likelihood"] > -0.1
    from formers.systems.chat.session import Chat

    assert Chat(formers.load(tmp_path / "run")).answer("What is the sea?") == "Water."


def test_the_recipe_asks_for_the_model_that_it_starts_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="runs/language-instruct: there is no such run yet; train it first"):
        next(formers.train("language/preferences"))


def test_some_validation_rows_only(tmp_path, pairs, base):
    task, _, _ = prepared(
        tmp_path / "run",
        f"data.train={pairs}",
        f"data.validation={pairs}",
        f"model.start={base}",
        "rows.tokens_per_batch=64",
    )
    some = PreferenceTask(task.language, task.encoder, task.validation, PreferenceConfig(evaluated=3))
    read = []
    some.loss = lambda batch, real=some.loss: read.append(batch) or real(batch)
    some.evaluate()
    assert sum(len(batch.tokens) for batch in read) == 6


@pytest.mark.parametrize(
    "field, value",
    [
        ("beta", 0.0),
        ("beta", float("inf")),
        ("label_smoothing", 0.5),
        ("label_smoothing", -0.1),
        ("likelihood", -1.0),
        ("sample_tokens", 0),
    ],
)
def test_settings_that_are_none(field, value):
    with pytest.raises(ConfigError, match=f"task.{field}"):
        PreferenceConfig(**{field: value})


def test_parts_are_sums_over_pairs(tmp_path, pairs, base):
    task, batches, _ = prepared(tmp_path / "run", f"data.train={pairs}", f"model.start={base}")
    batch = batches.collate([0, 1])
    assert isinstance(batch, PreferenceBatch)
    loss = task.loss(batch)
    assert loss.count == 2 and set(loss.parts) == {"tokens", "preference", "right", "margin", "likelihood"}
    assert loss.parts["tokens"] == batch.tokens.numel()
    assert not any(value.requires_grad for value in loss.parts.values() if isinstance(value, torch.Tensor))
