"""Chat: a language model learns to answer, and is talked with."""

from formers.systems.measure import HELP
from formers.systems.system import System, Verb

SYSTEM = System(
    name="chat",
    title="Chat: language models trained on conversations",
    sizes="CausalSizes",
    data={"train": "builtin:quiz", "held_out": 200},
    rows="ConversationRows",
    task="ChatConfig",
    open="systems.language_model:open_language",
    recipe="language/lora",
    example="chat {}",
    verbs=(
        Verb("chat", "Talk with a language model.", "ChatOptions"),
        Verb("evaluate", HELP, "systems.language_scores:EvaluateLanguage"),
    ),
    lessons="lessons",
    scores={
        "loss": "cross-entropy per token of an answer, nats",
        "row_perplexity": "exp of the loss",
        "accuracy": "share of the tokens of answers that the model finds likeliest",
        "exact_match": "share of whole answers that are given word for word",
    },
)
