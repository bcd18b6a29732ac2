"""Language models: a decoder learns the next token of plain text (Radford et al. 2018)."""

from formers.systems.looks import EVERY
from formers.systems.measure import HELP
from formers.systems.system import Look, System, Verb

HERE = "systems.language"
SYSTEM = System(
    name="language",
    title="Language models: decoders trained on plain text",
    models=("CausalLM",),
    sizes="systems.sizes:CausalSizes",
    data={"train": "builtin:prose", "held_out": 0.1},
    rows=f"{HERE}.data:TextRows",
    task=f"{HERE}.task:LanguageConfig",
    prepare=f"{HERE}.task:prepare",
    open="systems.language_model:open_language",
    recipe="language/lora",
    example='generate {} "Once upon a time"',
    verbs=(
        Verb(
            "generate",
            "Continue a text with a language model, or begin one.",
            options=f"{HERE}.verbs:Generate",
            run=f"{HERE}.verbs:generate",
        ),
        Verb(
            "choose",
            "Say which of several choices answers a question.",
            options="systems.choosing:Choose",
            run=f"{HERE}.verbs:choose",
        ),
        Verb("evaluate", HELP, "systems.language_scores:EvaluateLanguage", f"{HERE}.verbs:evaluate"),
    ),
    looks=(
        *EVERY[:1],
        Look(
            "lens",
            "What each layer would say if it were the last.",
            options=f"{HERE}.looks:LensLook",
            run=f"{HERE}.looks:lens",
        ),
        Look(
            "probabilities",
            "How likely each token of a text is.",
            options=f"{HERE}.looks:ProbabilitiesLook",
            run=f"{HERE}.looks:probabilities",
        ),
        Look(
            "cache",
            "What remembering keys and values saves.",
            options=f"{HERE}.looks:CacheLook",
            run=f"{HERE}.looks:cache",
        ),
        *EVERY[1:],
    ),
    lessons=f"{HERE}.lessons:lessons",
    scores={
        "loss": "cross-entropy per token of packed rows, nats",
        "row_perplexity": "exp of the loss: each row is read on its own",
        "bits_per_character": "of the validation text, the ends of texts included",
        "perplexity": "of a text read in overlapping windows (formers evaluate)",
        "bits_per_byte": "of the same text; compares models with different tokenizers",
        "accuracy": "share of questions whose right choice is the likeliest (--choices)",
        "accuracy_normalised": "the same, likeliest per byte",
        "chance": "what guessing would give",
    },
)
