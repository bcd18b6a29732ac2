"""Answering: an encoder finds the part of a passage that answers a question (Rajpurkar et al. 2016)."""

from formers.systems.looks import EVERY
from formers.systems.system import System, Verb

HERE = "systems.answering"
SYSTEM = System(
    name="answering",
    title="Answering: encoders that find the answer to a question in a passage",
    models=("SpanFinder",),
    sizes="systems.sizes:EncoderSizes",
    data={"train": "builtin:facts", "held_out": 500},
    rows=f"{HERE}.data:PassageRows",
    task=f"{HERE}.task:AnsweringConfig",
    prepare=f"{HERE}.task:prepare",
    open=f"{HERE}.system:open_answerer",
    recipe="answering",
    example='answer {} "Where does Ben live?" --passage "Anna lives in Rome. Ben lives in New York."',
    verbs=(
        Verb(
            "answer",
            "Find the answer to a question in a passage.",
            options=f"{HERE}.verbs:AnswerQuestions",
            run=f"{HERE}.verbs:answer",
        ),
        Verb(
            "evaluate",
            "Measure a model: BLEU of translations, perplexity, accuracy, whatever its system is judged by.",
            options=f"{HERE}.verbs:EvaluateAnswerer",
            run=f"{HERE}.verbs:evaluate",
        ),
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
