"""Multiple choice: an encoder says which of several texts answers a question, or continues it."""

from formers.systems.looks import EVERY
from formers.systems.system import System, Verb

HERE = "systems.choice"
SYSTEM = System(
    name="choice",
    title="Multiple choice: encoders that choose among answers",
    models=("MultipleChoice",),
    sizes="systems.sizes:EncoderSizes",
    data={"train": "builtin:quiz-choices"},
    rows=f"{HERE}.data:ChoiceRows",
    task=f"{HERE}.task:ChoiceConfig",
    prepare=f"{HERE}.task:prepare",
    open=f"{HERE}.system:open_chooser",
    recipe="choice",
    example='choose {} "What comes after Monday?" --choices Tuesday.,Friday.',
    verbs=(
        Verb(
            "choose",
            "Say which of several choices answers a question.",
            options=f"{HERE}.verbs:Choose",
            run=f"{HERE}.verbs:choose",
        ),
        Verb(
            "evaluate",
            "Measure a model: BLEU of translations, perplexity, accuracy, whatever its system is judged by.",
            options=f"{HERE}.verbs:EvaluateChooser",
            run=f"{HERE}.verbs:evaluate",
        ),
    ),
    looks=EVERY,
)
