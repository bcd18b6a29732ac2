"""Language models: a decoder learns the next token of plain text (Radford et al. 2018)."""

from formers.systems.looks import EVERY
from formers.systems.measure import HELP
from formers.systems.system import Look, System, Verb

SYSTEM = System(
    name="language",
    title="Language models: decoders trained on plain text",
    models=("CausalLM",),
    sizes="CausalSizes",
    data={"train": "builtin:prose", "held_out": 0.1},
    rows="TextRows",
    task="LanguageConfig",
    open="systems.language_model:open_language",
    recipe="language/lora",
    example='generate {} "Once upon a time"',
    verbs=(
        Verb("generate", "Continue a text with a language model, or begin one.", "Generate"),
        Verb("choose", "Say which of several choices answers a question.", "systems.choosing:Choose"),
        Verb("evaluate", HELP, "systems.language_scores:EvaluateLanguage"),
    ),
    looks=(
        *EVERY[:1],
        Look("lens", "What each layer would say if it were the last.", "LensLook"),
        Look("probabilities", "How likely each token of a text is.", "ProbabilitiesLook"),
        Look("cache", "What remembering keys and values saves.", "CacheLook"),
        *EVERY[1:],
    ),
    lessons="lessons",
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
