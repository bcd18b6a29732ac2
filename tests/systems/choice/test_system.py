"""Choosing with an encoder: the numbers of transformers, whatever stands beside a choice; every fault by name."""

from __future__ import annotations

import pytest
import torch

import formers
from formers.errors import ConfigError, DataError
from formers.pretrained.load import load_model
from formers.registry import open_loaded
from formers.systems.choice.system import Chooser
from formers.text.training import train_word_pieces

transformers = pytest.importorskip("transformers", reason="the reference")

QUESTION = "the man opens the door"
CHOICES = ["he walks into the house", "the sea is blue", "a dog", "the door opens the man and he walks and walks " * 5]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("choice")
    tokenizer = train_word_pieces([QUESTION, *CHOICES], 80)
    config = transformers.BertConfig(
        vocab_size=tokenizer.vocab,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
    )
    reference = transformers.BertForMultipleChoice(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in reference.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.2)
    reference.save_pretrained(folder)
    tokenizer.save(folder)
    return folder


def test_the_numbers_of_the_reference(folder):
    chooser = formers.load(folder)
    assert isinstance(chooser, Chooser)
    theirs = transformers.BertForMultipleChoice.from_pretrained(folder).eval()
    read = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = read(
        [QUESTION] * 4,
        CHOICES,
        padding=True,
        truncation=True,
        max_length=32,
        return_tensors="pt",
        return_token_type_ids=True,
    )
    with torch.no_grad():
        expected = theirs(**{name: each[None] for name, each in inputs.items()}).logits[0]
    found = chooser.choose(QUESTION, CHOICES)
    torch.testing.assert_close(torch.tensor(found.scores), expected, atol=1e-5, rtol=1e-5)
    assert found.place == expected.argmax() and found.choice == CHOICES[found.place]
    assert sum(found.probabilities) == pytest.approx(1) and found.cut == 1
    assert max(found.probabilities) == found.probabilities[found.place]


def test_many_questions_are_each_as_alone(folder):
    chooser = formers.load(folder)
    questions = [(QUESTION, CHOICES[:2]), ("a dog", CHOICES), ("the sea", CHOICES[1:])]
    together = chooser.choose_all(questions, tokens_per_batch=40)
    for question, found in zip(questions, together, strict=True):
        alone = chooser.choose(*question)
        assert (alone.place, alone.choice, alone.cut) == (found.place, found.choice, found.cut)
        torch.testing.assert_close(torch.tensor(alone.scores), torch.tensor(found.scores))
    assert chooser.choose_all([]) == []


def test_saved_and_opened_again(folder, tmp_path):
    chooser = formers.load(folder)
    chooser.save(tmp_path / "out")
    assert formers.load(tmp_path / "out").choose(QUESTION, CHOICES).scores == chooser.choose(QUESTION, CHOICES).scores
    assert transformers.AutoModelForMultipleChoice.from_pretrained(tmp_path / "out").classifier.out_features == 1


@pytest.mark.parametrize("choices", [[], ["one"], ["one", " "], "two"], ids=repr)
def test_choices_that_are_none(folder, choices):
    with pytest.raises(DataError, match=r"question 1 of 1: got the choices .*expected at least two"):
        formers.load(folder).choose(QUESTION, choices)


def test_without_a_tokenizer(folder):
    loaded = load_model(folder)
    with pytest.raises(ConfigError, match="no tokenizer files"):
        Chooser(loaded.model, None).choose("a", ["b", "c"])
    assert isinstance(open_loaded(loaded), Chooser)
