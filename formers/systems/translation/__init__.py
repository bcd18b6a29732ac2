"""Translation: an encoder-decoder learns from sentence pairs (Vaswani et al. 2017)."""

from formers.systems.looks import EVERY
from formers.systems.system import System, Verb

HERE = "systems.translation"
SYSTEM = System(
    name="translation",
    title="Translation: encoder-decoders trained on sentence pairs",
    models=("Transformer",),
    sizes="systems.sizes:TransformerSizes",
    data={"train": "builtin:phrasebook"},
    rows=f"{HERE}.data:PairRows",
    task=f"{HERE}.task:TranslationConfig",
    prepare=f"{HERE}.task:prepare",
    open=f"{HERE}.system:open_translator",
    recipe="translation",
    example='translate {} "I ate an apple"',
    verbs=(
        Verb(
            "translate",
            "Translate texts, a file, or standard input line by line.",
            options=f"{HERE}.verbs:Translate",
            run=f"{HERE}.verbs:translate",
        ),
        Verb(
            "evaluate",
            "Measure a model: BLEU of translations, perplexity, accuracy, whatever its system is judged by.",
            options=f"{HERE}.verbs:Evaluate",
            run=f"{HERE}.verbs:evaluate",
        ),
    ),
    looks=EVERY,
    scores={
        "loss": "cross-entropy per token, nats",
        "perplexity": "exp of the loss",
        "bleu": "BLEU of sacrebleu, 0 to 100",
        "chrf": "chrF of sacrebleu, 0 to 100",
        "exact_match": "share of sentences that are the reference to the letter",
    },
)
