"""Tagging: an encoder gives every word of a text a label, parts of speech or names."""

from formers.systems.looks import EVERY
from formers.systems.system import System, Verb

HERE = "systems.tagging"
SYSTEM = System(
    name="tagging",
    title="Tagging: encoders that give every word of a text a label",
    models=("TokenClassifier",),
    sizes="systems.sizes:EncoderSizes",
    data={"train": "builtin:parts"},
    rows=f"{HERE}.data:TaggedRows",
    task=f"{HERE}.task:TaggingConfig",
    prepare=f"{HERE}.task:prepare",
    open=f"{HERE}.system:open_tagger",
    recipe="tagging",
    example='tag {} "They park the old ship near the park."',
    verbs=(
        Verb("tag", "Give every word of a text its label.", options=f"{HERE}.verbs:TagTexts", run=f"{HERE}.verbs:tag"),
        Verb(
            "evaluate",
            "Measure a model: BLEU of translations, perplexity, accuracy, whatever its system is judged by.",
            options=f"{HERE}.verbs:EvaluateTagger",
            run=f"{HERE}.verbs:evaluate",
        ),
    ),
    looks=EVERY,
    scores={
        "loss": "cross-entropy per word, nats",
        "accuracy": "share of words with the right tag",
        "span_precision": "of entities, where tags are BIO",
        "span_recall": "of entities",
        "span_f1": "of entities",
    },
)
