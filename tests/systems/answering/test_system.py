"""Answering: spans by hand, windows, no answer; learned by heart; folders that the reference opens and writes."""

import json
import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch

import formers
from formers.errors import ConfigError, DataError
from formers.models.heads import HeadConfig, SpanFinder
from formers.systems.answering.system import Answerer, Spans
from formers.systems.sizes import EncoderSizes
from formers.text.training import train_word_pieces
from formers.training.events import Evaluated

PASSAGE = "Anna lives in Rome. Ben lives in New York. The old cat sleeps near the red house."
QUESTION = "Where does Ben live?"


@pytest.fixture(scope="module")
def answerer():
    torch.manual_seed(0)
    tokenizer = train_word_pieces([PASSAGE, QUESTION] * 2, 150)
    config = EncoderSizes(dim=32, layers=2, heads=2, hidden=48, length=48, dropout=0.0).config(tokenizer.vocab)
    model = SpanFinder(HeadConfig(encoder=config))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            torch.nn.init.normal_(weight, mean=1.0 if "norm" in name and name.endswith("weight") else 0.0, std=0.3)
    return Answerer(model.eval(), tokenizer)


def by_hand(answerer, longest, stride=0, length=0):
    """Every span of every window with its best score, and the least score of no answer."""
    reader = answerer.reader
    scores, null = {}, math.inf
    for window in reader.windows([QUESTION], [PASSAGE], stride=stride, length=length)[0]:
        tokens, segments = torch.tensor([window.ids]), torch.tensor([window.type_ids])
        start, end = answerer.model(tokens, segments=segments)[0].T.tolist()
        null = min(null, start[0] + end[0])
        inside = [place for place, kind in enumerate(window.sequence_ids) if kind == 1]
        for a, b in product(inside, inside):
            if a <= b < a + longest:
                span = window.offsets[a][0], window.offsets[b][1]
                scores[span] = max(scores.get(span, -math.inf), start[a] + end[b])
    return scores, null


@pytest.mark.parametrize(("longest", "length", "stride"), [(5, 48, 4), (1, 48, 4), (4, 18, 5)])
def test_the_best_span_of_all_windows_is_found(answerer, longest, length, stride):
    scores, null = by_hand(answerer, longest, stride, length)
    narrow = Answerer(answerer.model, answerer.tokenizer, length=length)
    (start, end), best = max(scores.items(), key=lambda each: each[1])
    found = narrow.answer(QUESTION, PASSAGE, threshold=math.inf, longest=longest, stride=stride)
    assert (found.start, found.end, found.text) == (start, end, PASSAGE[start:end])
    total = sum(math.exp(each) for each in [*scores.values(), null])
    assert found.score == pytest.approx(math.exp(best) / total, rel=1e-4)
    none = narrow.answer(QUESTION, PASSAGE, threshold=-math.inf, longest=longest, stride=stride)
    assert (none.text, none.start, none.end) == ("", 0, 0)
    assert none.score == pytest.approx(math.exp(null) / total, rel=1e-4)
    said = narrow.answer(QUESTION, PASSAGE, threshold=null - best + 0.01, longest=longest, stride=stride)
    assert said == found
    assert narrow.answer(QUESTION, PASSAGE, threshold=null - best - 0.01, longest=longest, stride=stride).text == ""


def test_several_answers_come_best_first_and_do_not_overlap(answerer):
    found = answerer.answer(QUESTION, PASSAGE, top=4, longest=3)
    assert len(found) == 4 and sum(not each.text for each in found) <= 1
    spans = sorted((each.start, each.end) for each in found if each.text)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    answers = [each.score for each in found if each.text]
    assert answers == sorted(answers, reverse=True)
    assert all(each.text == PASSAGE[each.start : each.end] for each in found)


def test_a_batch_says_what_each_alone_says(answerer):
    passages = [PASSAGE, "Rome.", PASSAGE * 3]
    batch = answerer.answers([QUESTION] * 3, passages, threshold=math.inf)
    for passage, found in zip(passages, batch, strict=True):
        alone = answerer.answer(QUESTION, passage, threshold=math.inf)
        assert (found[0].start, found[0].end) == (alone.start, alone.end)
        assert found[0].score == pytest.approx(alone.score, abs=1e-5)


def test_one_line_for_what_cannot_be_asked(answerer):
    with pytest.raises(DataError, match="passage 1 is empty"):
        answerer.answer(QUESTION, " ")
    with pytest.raises(DataError, match="question 2 is empty"):
        answerer.answers([QUESTION, ""], [PASSAGE, PASSAGE])
    with pytest.raises(ConfigError, match="no room for its passage"):
        answerer.answer("Where " * 60, PASSAGE)
    with pytest.raises(ConfigError, match=r"top \(0\)"):
        answerer.answer(QUESTION, PASSAGE, top=0)


def test_reading_puts_training_mode_back_after_a_fault_too(answerer, monkeypatch):
    expected = answerer.answer(QUESTION, PASSAGE, top=3)
    answerer.model.train()
    try:
        assert answerer.answer(QUESTION, PASSAGE, top=3) == expected and answerer.model.training
        modes = []

        def broken(x):
            modes.append(answerer.model.training)
            raise MemoryError

        monkeypatch.setattr(answerer.model.out, "forward", broken)
        with pytest.raises(MemoryError):
            answerer.answer(QUESTION, PASSAGE)
        assert modes == [False] and answerer.model.training
    finally:
        answerer.model.eval()


def test_no_span_at_all_is_no_answer():
    none = np.empty(0, np.int64)
    found = Spans(none, none, np.empty(0), 1.0).best("", top=1, threshold=math.inf)
    assert [(each.text, each.score) for each in found] == [("", 1.0)]


def test_the_reference_opens_our_folder_and_we_open_its(answerer, tmp_path):
    transformers = pytest.importorskip("transformers")
    answerer.save(tmp_path / "ours")
    theirs = transformers.AutoModelForQuestionAnswering.from_pretrained(tmp_path / "ours").eval()
    assert type(theirs).__name__ == "BertForQuestionAnswering"
    reader = answerer.reader
    inputs = reader.batch(reader.read([QUESTION, "Who?"], [PASSAGE, PASSAGE]))
    with torch.no_grad():
        ours = answerer.model(inputs.tokens, segments=inputs.segments, keep=inputs.keep)
        other = theirs(input_ids=inputs.tokens, token_type_ids=inputs.segments, attention_mask=inputs.keep.long())
    other = torch.stack([other.start_logits, other.end_logits], -1)
    torch.testing.assert_close(ours[inputs.keep], other[inputs.keep], atol=1e-4, rtol=1e-4)
    theirs.save_pretrained(tmp_path / "theirs")
    transformers.AutoTokenizer.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    again = formers.load(tmp_path / "theirs")
    assert isinstance(again, Answerer)
    assert again.answer(QUESTION, PASSAGE, top=3) == answerer.answer(QUESTION, PASSAGE, top=3)


def test_eight_questions_are_learned_by_heart(tmp_path):
    rows = []
    for name, place in (("Anna", "Rome"), ("Ben", "New York"), ("Clara", "Oslo"), ("David", "")):
        text = f"{name} sleeps. {name} lives in {place}." if place else f"{name} sleeps."
        rows.append(
            {
                "context": text,
                "question": f"Where does {name} live?",
                "answers": [place] if place else [],
                "answer_starts": [text.index(place)] if place else [],
            }
        )
        rows.append(
            {
                "context": text,
                "question": f"What does {name} do?",
                "answers": ["sleeps"],
                "answer_starts": [text.index("sleeps")],
            }
        )
    path = tmp_path / "eight.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = [
        f"data.train={path}",
        f"data.validation={path}",
        "model.dim=32",
        "model.hidden=64",
        "model.dropout=0.0",
        "model.layers=2",
        "model.heads=2",
        "rows.vocab=100",
        "train.steps=100",
        "train.rate=0.005",
        "train.warmup=10",
        "train.evaluate_every=100",
        "train.precision=fp32",
        "train.sample_every=0",
    ]
    events = list(formers.train("answering", changes, run=tmp_path / "run"))
    metrics = next(each for each in events if isinstance(each, Evaluated)).metrics
    assert metrics["exact_match"] == 1.0 and metrics["f1_unanswerable"] == 1.0 and metrics["loss"] < 0.05
    found = formers.load(tmp_path / "run")
    for row in rows:
        said = found.answer(row["question"], row["context"])
        assert said.text == (row["answers"] or [""])[0] and said.score > 0.5
