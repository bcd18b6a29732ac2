"""Answering: an encoder finds the part of a passage that answers a question (Rajpurkar et al. 2016)."""

from formers.systems.looks import EVERY
from formers.systems.measure import HELP
from formers.systems.system import System, Verb

SYSTEM = System(
    name="answering",
    title="Answering: encoders that find the answer to a question in a passage",
    models=("SpanFinder",),
    sizes="EncoderSizes",
    data={"train": "builtin:facts", "held_out": 500},
    rows="PassageRows",
    task="AnsweringConfig",
    open="Answerer",
    example='answer {} "Where does Ben live?" --passage "Anna lives in Rome. Ben lives in New York."',
    verbs=(
        Verb("answer", "Find the answer to a question in a passage.", "AnswerQuestions"),
        Verb("evaluate", HELP, "systems.measure:MeasureColumns"),
    ),
    looks=EVERY,
    scores={
        "loss": "cross-entropy of the answer's place, nats",
        "exact_match": "share of answers that are a given one, as SQuAD compares them",
        "f1": "mean share of words in common, as SQuAD counts them",
        "exact_match_answered": "the same of questions that have an answer",
        "f1_answered": "the same of questions that have an answer",
        "exact_match_unanswerable": "share of the other questions that get no answer",
        "f1_unanswerable": "the same number",
    },
)
