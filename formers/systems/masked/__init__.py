"""Masked words: encoders are pre-trained on hidden words, next sentences (BERT) and replaced tokens (ELECTRA)."""

from formers.systems.looks import EVERY
from formers.systems.measure import HELP
from formers.systems.system import System, Verb

SYSTEM = System(
    name="masked",
    title="Masked words: encoders pre-trained on plain text",
    models=("MaskedWords", "Pretraining", "NextSentence", "ReplacedTokens"),
    sizes="EncoderSizes",
    data={"train": "builtin:prose", "held_out": 0.1},
    rows="MaskedRows",
    task="MaskedConfig",
    open="MaskedModel",
    example='fill {} "A [MASK] is an object."',
    verbs=(
        Verb(
            "fill",
            "Say which words fit where a text has [MASK]; of an ELECTRA discriminator: which words were replaced.",
            "Fill",
        ),
        Verb("evaluate", HELP, "EvaluateMasked"),
    ),
    looks=EVERY,
    scores={
        "loss": "masked loss and next loss together (ELECTRA: weighted with the replaced loss)",
        "masked_loss": "cross-entropy of a hidden word, nats",
        "perplexity": "exp of the masked loss",
        "masked_accuracy": "share of the hidden words whose likeliest word is right",
        "next_loss": "cross-entropy of a pair of segments, nats",
        "next_accuracy": "share of the pairs of segments that are judged rightly",
        "replaced_loss": "cross-entropy of a token of the discriminator, nats",
        "replaced_accuracy": "share of the tokens that the discriminator judges rightly",
        "replaced_share": "share of the tokens that are replaced",
        "recall": "share of the replaced tokens that are suspected",
        "precision": "share of the suspected tokens that are replaced",
    },
    lessons="lessons",
)
