"""Tagging: an encoder gives every word of a text a label, parts of speech or names."""

from formers.systems.looks import EVERY
from formers.systems.measure import HELP
from formers.systems.system import System, Verb

SYSTEM = System(
    name="tagging",
    title="Tagging: encoders that give every word of a text a label",
    models=("TokenClassifier",),
    sizes="EncoderSizes",
    data={"train": "builtin:parts"},
    rows="TaggedRows",
    task="TaggingConfig",
    open="Tagger",
    example='tag {} "They park the old ship near the park."',
    verbs=(Verb("tag", "Give every word of a text its label.", "TagTexts"), Verb("evaluate", HELP, "EvaluateTagger")),
    looks=EVERY,
    scores={
        "loss": "cross-entropy per word, nats",
        "accuracy": "share with the right tag, per word",
        "span_precision": "of entities (tags B-, I-), the share of those found that are there",
        "span_recall": "of entities, the share of those there that are found",
        "span_f1": "of entities, the harmonic mean of both",
    },
)
