"""What a text says of the whole is read with every sentence of it."""

import pytest

from formers.systems.translation.instructions import split_input
from formers.text.open import train_bpe
from tests.systems.translation.test_system import ROWS, SOURCE, untrained

BODY = "I see. You eat!\n\nWe go."
PARTS = ["I see.", "You eat!", "We go."]


def joined(spans, instruction=""):
    """The text that the spans were."""
    return "".join(sentence.removeprefix(instruction) + gap for sentence, gap in spans)


@pytest.mark.parametrize(
    "instruction",
    [">>fra<< ", ">>fra<<", ">>cmn_Hans<< >>x<<\n", "translate English to German: ", "Translate to to English: "],
)
def test_an_instruction_is_read_with_every_sentence(instruction):
    spans = split_input(instruction + BODY, tasks=True)
    assert [sentence for sentence, _ in spans] == [instruction + part for part in PARTS]
    assert joined(spans, instruction) == BODY
    spans = split_input(f"\n  {instruction}{BODY}", tasks=True)
    assert [sentence for sentence, _ in spans if sentence] == [instruction + part for part in PARTS]
    assert joined(spans, instruction) == "\n  " + BODY


@pytest.mark.parametrize("task", ["summarize: ", "stsb sentence1: ", "question: "])
def test_another_task_is_about_the_whole(task):
    assert split_input(task + BODY, tasks=True) == [(task + BODY, "")]


@pytest.mark.parametrize("text", [BODY, "", "  ", ">>fra<<", "translate English to German: ", "He said: " + BODY])
@pytest.mark.parametrize("tasks", [False, True])
def test_nothing_else_is_changed(text, tasks):
    if not (tasks and text.startswith("translate")):
        assert joined(split_input(text, tasks=tasks)) == text
    if text == "He said: " + BODY:
        assert [sentence for sentence, _ in split_input(text, tasks=tasks)] == ["He said: I see.", *PARTS[1:]]


def test_only_models_that_are_told_their_task_read_it_so():
    text = "translate English to German: " + BODY
    assert [sentence for sentence, _ in split_input(text, tasks=False)][1:] == PARTS[1:]


@pytest.fixture(scope="module")
def tokenizer():
    columns = SOURCE.read("train", **ROWS.reading(SOURCE)).columns
    return train_bpe(columns["en"] + columns["de"], 300)


@pytest.mark.parametrize(
    ("family", "instruction"), [("marian", ">>fra<< "), ("t5", "translate English to German: "), ("mt5", ">>fra<< ")]
)
def test_a_translator_reads_it_with_every_sentence(tokenizer, family, instruction):
    translator = untrained(tokenizer)
    translator.family = family
    alone = translator.translate([instruction + part for part in PARTS], split=False, max_tokens=8)
    whole = translator.translate(instruction + BODY, max_tokens=8)
    assert whole == f"{alone[0]} {alone[1]}\n\n{alone[2]}"
    assert whole != translator.translate(BODY, max_tokens=8)


@pytest.mark.parametrize(
    ("family", "instruction"), [("marian", ">>fra<< "), ("t5", "translate English to German: "), ("t5", "summarize: ")]
)
@pytest.mark.parametrize("split", [False, True])
def test_every_piece_of_a_long_sentence_begins_with_it(tokenizer, family, instruction, split):
    translator = untrained(tokenizer)
    translator.family = family
    text = instruction + "I see " * 80
    pieces = translator.pieces(text, instruction)
    assert len(pieces) > 1 and all(piece.startswith(instruction) for piece in pieces)
    assert all(len(ids) <= 64 for ids in tokenizer.encode(pieces))
    assert "".join(piece.removeprefix(instruction) for piece in pieces) == text.removeprefix(instruction)
    how = {"split": split, "max_tokens": 4}
    parts = [translator.translate(piece.rstrip(), **how) for piece in pieces]
    assert translator.translate(text, long="split", **how).rstrip() == " ".join(parts)


def test_a_forced_first_token_stands_before_a_prefix(tokenizer):
    """A language that every translation begins with comes before how this one begins."""
    from dataclasses import replace

    translator = untrained(tokenizer)
    translator.settings = replace(translator.settings, forced_first=7)
    assert translator.forced("Ich")[0] == 7 and translator.forced("") == []
    assert translator.translate("I see", prefix="Ich", max_tokens=4, beams=1) != ""
