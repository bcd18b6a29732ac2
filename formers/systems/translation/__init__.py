"""Translation: an encoder-decoder learns from sentence pairs (Vaswani et al. 2017)."""

from formers.systems.looks import EVERY
from formers.systems.measure import HELP
from formers.systems.system import System, Verb

SYSTEM = System(
    name="translation",
    title="Translation: encoder-decoders trained on sentence pairs",
    models=("Transformer",),
    sizes="TransformerSizes",
    data={"train": "builtin:phrasebook"},
    rows="PairRows",
    task="TranslationConfig",
    open="open_translator",
    example='translate {} "I ate an apple"',
    verbs=(
        Verb("translate", "Translate texts, a file, or standard input line by line.", "Translate"),
        Verb("evaluate", HELP, "Evaluate"),
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
