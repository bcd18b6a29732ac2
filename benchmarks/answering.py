"""Extractive answering on held-out passages, next to baselines that guess.

    python benchmarks/answering.py ../shared/data/xquad/en.parquet [RUN]

The questions are those of the passages that the recipe answering/xquad sets aside (a fifth; none of them in its
training data), the scores SQuAD's exact match and F1. Every baseline sees what the model sees:
  * a random span: any words of the passage, as many as a random answer of the training data has
  * a random name or number: a random run of words that begin with a capital letter, or of digits
  * the sentence that shares most words with the question
  * that sentence's capitalised words or number which the question does not have
"""

from __future__ import annotations

import random
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import formers
from formers.data.sentences import split_spans
from formers.metrics.answers import answer_scores, normalised
from formers.recipe import load_recipe
from formers.systems.answering.data import PassageRows

SEEDS = 20  # a guess is made so often, and the mean printed
NAME = re.compile(r"[A-Z][\w.'-]*(?: (?:of |the )?[A-Z][\w.'-]*)*|\d[\d.,/%]*")


def random_span(passage: str, draw: random.Random, lengths: list[int]) -> str:
    words = passage.split()
    size = min(draw.choice(lengths), len(words))
    start = draw.randrange(len(words) - size + 1)
    return " ".join(words[start : start + size])


def random_name(passage: str, draw: random.Random) -> str:
    return draw.choice(NAME.findall(passage) or [passage])


def nearest_sentence(question: str, passage: str) -> str:
    asked = set(normalised(question).split())
    return max(
        (sentence for sentence, _ in split_spans(passage)), key=lambda each: len(asked & set(normalised(each).split()))
    )


def name_in_sentence(question: str, passage: str, draw: random.Random) -> str:
    sentence = nearest_sentence(question, passage)
    known = normalised(question)
    news = [name for name in NAME.findall(sentence) if normalised(name) and normalised(name) not in known]
    return draw.choice(news or [sentence])


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(str(__doc__))
    recipe = load_recipe("answering/xquad", [f"data.train={sys.argv[1]}"])
    rows: PassageRows = recipe.sections["rows"]
    table, held_out = recipe.sections["data"].tables(reader=rows.read, set_aside=rows.apart)
    questions, passages, truths = (held_out.columns[name] for name in (rows.question, rows.context, rows.answers))
    lengths = [len(answers[0].split()) for answers in table.columns[rows.answers] if answers]
    print(f"{len(held_out):,} questions on {len(set(passages)):,} held-out passages of {sys.argv[1]}")

    def told(name: str, say: Callable[[str, str, random.Random], str], seeds: int) -> None:
        found = []
        for seed in range(seeds):
            draw = random.Random(seed)
            said = [say(question, passage, draw) for question, passage in zip(questions, passages, strict=True)]
            found.append(answer_scores(said, truths))
        exact, f1 = (100 * sum(each[key] for each in found) / seeds for key in ("exact_match", "f1"))
        print(f"{name:44s} exact match {exact:5.1f}  F1 {f1:5.1f}", flush=True)

    told("random span", lambda _, passage, draw: random_span(passage, draw, lengths), SEEDS)
    told("random name or number", lambda _, passage, draw: random_name(passage, draw), SEEDS)
    told("sentence nearest to the question", lambda question, passage, _: nearest_sentence(question, passage), 1)
    told("name or number in that sentence", name_in_sentence, SEEDS)
    if len(sys.argv) > 2:
        answerer = formers.load(Path(sys.argv[2]))
        begin = time.perf_counter()
        said = answerer.answers(questions, passages, threshold=float("inf"))
        seconds = time.perf_counter() - begin
        scores = answer_scores([each[0].text for each in said], truths)
        print(
            f"{sys.argv[2]:44s} exact match {100 * scores['exact_match']:5.1f}  F1 {100 * scores['f1']:5.1f}  "
            f"({len(questions) / seconds:.1f} questions per second)"
        )


if __name__ == "__main__":
    main()
