"""Classification: an encoder gives texts, or pairs of texts, a label, several, or a number."""

from formers.systems.looks import EVERY
from formers.systems.measure import HELP
from formers.systems.system import System, Verb

SYSTEM = System(
    name="classification",
    title="Classification: encoders that give texts or pairs of texts labels or numbers",
    models=("SequenceClassifier",),
    sizes="EncoderSizes",
    data={"train": "builtin:opinions"},
    rows="LabelledRows",
    task="ClassificationConfig",
    open="open_classifier",
    example='classify {} "The soup was not bad."',
    verbs=(
        Verb("classify", "Give texts, pairs of texts, or pictures their label or number.", "Classify"),
        Verb("rerank", "Order passages by how well they fit a query, reading both together.", "Rerank"),
        Verb("similarity", "Say how alike two texts are.", "systems.similarity_verb:Compare"),
        Verb("evaluate", HELP, "systems.measure:MeasureColumns"),
    ),
    looks=EVERY,
    scores={
        "loss": "cross-entropy (several: binary; number: squared error)",
        "accuracy": "share of texts with the right label (several: with all of them)",
        "f1": "macro F1",
        "f1_micro": "F1 over all labels of all texts",
        "f1_macro": "mean F1 of the labels",
        "matthews": "Matthews' correlation",
        "pearson": "correlation of numbers",
        "spearman": "correlation of their ranks",
        "absolute_error": "mean absolute error of a number",
    },
)
