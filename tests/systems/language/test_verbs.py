"""What verbs of language models give: the same numbers as training, choices, conversations over HTTP."""

import json

import pytest

import formers
from formers.errors import ConfigError, DataError
from formers.registry import locate, system, system_of, verbs_of
from formers.systems.chat.session import Chat
from formers.systems.chat.verbs import ChatOptions, chat
from formers.systems.choosing import Choose
from formers.systems.language.verbs import choose
from formers.systems.system import Piece
from formers.training.events import Evaluated
from tests.cli.conftest import works
from tests.systems.language.toy import language

TINY = [
    "train.steps=2",
    "train.precision=fp32",
    "train.threads=1",
    "train.evaluate_every=2",
    "train.sample_every=0",
    "data.count=40",
    "rows.vocab=300",
    "model.start=",
    "model.layers=1",
    "model.dim=16",
    "model.heads=2",
    "model.hidden=16",
    "model.length=96",
]


@pytest.mark.parametrize("recipe", ["language", "language/instruct", "language/preferences"])
def test_evaluate_shows_what_training_showed(tmp_path, recipe):
    more = ["task.evaluated=8", "data.count=4"] if recipe == "language" else ["data.held_out=20"]
    events = list(formers.train(recipe, [*TINY, *more], run=tmp_path / "run"))
    shown = next(event for event in events if isinstance(event, Evaluated)).metrics
    scores = json.loads(works("evaluate", tmp_path / "run", "--json"))
    assert {name: scores[name] for name in shown} == pytest.approx(dict(shown), rel=1e-4)
    owner = {"language": "language", "language/instruct": "chat"}.get(recipe, "preferences")
    assert system_of(locate(tmp_path / "run")).name == owner
    assert ("perplexity" in scores) == (recipe == "language")


def test_systems_that_open_alike_share_their_verbs():
    names = {"generate", "choose", "chat", "evaluate"}
    for name in ("language", "chat", "preferences"):
        assert set(verbs_of(system(name))) == names
        assert verbs_of(system(name))["evaluate"].run == f"systems.{name}.verbs:evaluate"


def test_choices_have_shares():
    model = language(length=60)
    (answer,) = choose(model, Choose(question="Her name was", choices=("Paris,Lily",)))
    assert answer.place == model.choose("Her name was", ["Paris", "Lily"]).index
    assert sum(answer.probabilities) == pytest.approx(1) and answer.line() == answer.choices[answer.place]


def test_a_conversation_is_answered_in_pieces():
    model = language(length=300, chat=True)
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Lily"},
        {"role": "user", "content": "Once"},
    ]
    *pieces, answer = chat(model, ChatOptions(messages=tuple(messages), system="Be kind."))
    expected = Chat(model, system="Be kind.", messages=messages[:2]).answer("Once")
    assert answer.text == expected == "".join(piece.text for piece in pieces if isinstance(piece, Piece))
    assert answer.message == {"role": "assistant", "content": expected}


@pytest.mark.parametrize("messages", [(), ({"role": "assistant", "content": "a"},), ("Hi",)])
def test_conversations_that_cannot_be_answered(messages):
    with pytest.raises(DataError, match="messages"):
        list(chat(language(chat=True), ChatOptions(messages=messages)))


def test_a_chat_has_one_answer():
    from formers.decoding.options import DecodingOptions

    with pytest.raises(ConfigError, match="a chat has one answer"):
        ChatOptions(decoding=DecodingOptions(samples=2))
