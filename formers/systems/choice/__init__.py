"""Multiple choice: an encoder says which of several texts answers a question, or continues it."""

from formers.systems.looks import EVERY
from formers.systems.measure import HELP
from formers.systems.system import System, Verb

SYSTEM = System(
    name="choice",
    title="Multiple choice: encoders that choose among answers",
    models=("MultipleChoice",),
    sizes="EncoderSizes",
    data={"train": "builtin:quiz-choices"},
    rows="ChoiceRows",
    task="ChoiceConfig",
    open="Chooser",
    example='choose {} "Which is larger, 4 or 9?" --choices 4.,9.',
    verbs=(
        Verb("choose", "Say which of several choices answers a question.", "systems.choosing:Choose"),
        Verb("evaluate", HELP, "systems.measure:MeasureRows"),
    ),
    looks=EVERY,
    scores={
        "loss": "cross-entropy of the right choice, nats",
        "accuracy": "share of questions that are answered rightly",
        "chance": "what guessing would give",
    },
)
