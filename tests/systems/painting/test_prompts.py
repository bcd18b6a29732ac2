"""Prompts: weights, chunks, learned words, against the reference's text encoder; what does not fit is said."""

import json
from dataclasses import replace

import pytest
import torch

from formers.blocks.stack import StackConfig
from formers.errors import ConfigError
from formers.models.clip import TextTower, TextTowerConfig
from formers.systems.painting.prompts import PromptReader, prompted, weighted
from formers.text.clip_tokenizer import END, byte_letters
from formers.text.open import load_tokenizer

PIECES = [*byte_letters(), *(letter + END for letter in byte_letters()), "re", f"red{END}"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    pieces = [*PIECES, "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text(f"#version: 0.2\nr e\nre d{END}\n")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "CLIPTokenizer"}')
    return load_tokenizer(folder, {"model_type": "clip_text_model"})


@pytest.fixture(scope="module")
def tower(tokenizer):
    torch.manual_seed(1)
    stack = StackConfig(dim=8, layers=2, heads=2, hidden=12, activation="gelu_quick")
    return TextTower(TextTowerConfig(stack=stack, vocab=tokenizer.vocab, length=10, projection=0)).eval()


@pytest.fixture
def reader(tower, tokenizer):
    return PromptReader(tower, tokenizer)


@pytest.mark.parametrize(
    ("prompt", "pieces"),
    [
        ("plain", [("plain", 1)]),
        ("", []),
        ("a (b) c", [("a ", 1), ("b", 1.1), (" c", 1)]),
        ("((a))", [("a", 1.21)]),
        ("[a]", [("a", 1 / 1.1)]),
        ("(a:1.3)", [("a", 1.3)]),
        ("(a (b:2) c:1.5)", [("a ", 1.5), ("b", 3), (" c", 1.5)]),
        (r"\(a\) \[b\] c\\", [(r"(a) [b] c\ "[:-1], 1)]),
        ("(open", [("open", 1.1)]),
        ("closed) b]", [("closed) b]", 1)]),
        ("time: 5:30", [("time: 5:30", 1)]),
        ("(a: b)", [("a: b", 1.1)]),
        ("(a:.5) (b: 2 )", [("a", 0.5), (" ", 1), ("b", 2)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
    ],
)
def test_weights_of_words(prompt, pieces):
    got = weighted(prompt)
    assert [text for text, _ in got] == [text for text, _ in pieces]
    assert [weight for _, weight in got] == pytest.approx([weight for _, weight in pieces])


def test_a_plain_prompt_is_what_the_tower_says(reader, tower, tokenizer):
    numbers = tokenizer.encode(["a red"])[0]
    numbers += [tokenizer.pad] * (10 - len(numbers))
    text, negative = prompted(reader, ["a red", "b"], [""])
    with torch.no_grad():
        torch.testing.assert_close(text[0], tower.hidden(torch.tensor([numbers]))[0], rtol=0, atol=0)
    assert text.shape == negative.shape == (2, 10, 8) and torch.equal(negative[0], negative[1])


def test_weights_multiply_and_the_mean_is_kept(reader):
    plain, heavier = reader.states(["a red b"])[0], reader.states(["a (red:1.5) b"])[0]
    weights = torch.ones(10, 1)
    weights[2] = 1.5
    torch.testing.assert_close(heavier, plain * weights * plain.mean() / (plain * weights).mean())
    assert torch.equal(reader.states([r"a (red:1.0) b"])[0], plain)


def test_a_long_prompt_is_cut_and_that_is_said(reader, caplog):
    states = reader.states(["a b c d e f g h red red"])
    assert "has 10 tokens, of which 8 are read; cut: 'red red' (--chunks reads all)" in caplog.text
    assert torch.equal(states, reader.states(["a b c d e f g h"]))


def test_chunks_are_equally_many(reader, caplog):
    text, negative = prompted(reader, ["a b c d e f g h red red"], ["red"], chunks=True)
    assert text.shape == negative.shape == (1, 20, 8) and not caplog.text
    first, second, empty = (reader.states([part])[0] for part in ("a b c d e f g h", "red red", ""))
    assert torch.equal(text[0], torch.cat([first, second]))
    assert torch.equal(negative[0, 10:], empty)


def test_learned_words(tower, tokenizer, caplog):
    """A word of two vectors is what a tower with two tokens more says of them, as the reference reads it."""
    vectors = torch.randn(2, 8)
    reader = PromptReader(tower, tokenizer, {"<Cat>": vectors})
    wider = TextTower(replace(tower.config, vocab=tokenizer.vocab + 2)).eval()
    wider.load_state_dict(
        {**tower.state_dict(), "embedding.weight": torch.cat([tower.embedding.weight.detach(), vectors])}
    )
    first, red, end = tokenizer.encode(["red"])[0]
    numbers = [first, red, tokenizer.vocab, tokenizer.vocab + 1, red, end]
    numbers += [tokenizer.pad] * 4
    with torch.no_grad():
        expected = wider.hidden(torch.tensor([numbers]))[0]
    torch.testing.assert_close(reader.states(["red <cat> red"])[0], expected)
    reader.states(["red red red red red red red red <cat>"])
    assert "cut: '<cat>'" in caplog.text
    with pytest.raises(ConfigError, match="has vectors of 5 numbers, but this model's text encoder reads 8"):
        PromptReader(tower, tokenizer, {"<cat>": torch.randn(2, 5)})
