"""Sentence vectors: an encoder learns which texts are alike (Reimers and Gurevych 2019), and compares them."""

from formers.systems.looks import EVERY
from formers.systems.measure import HELP
from formers.systems.system import Look, System, Verb

SYSTEM = System(
    name="embedding",
    title="Sentence vectors: encoders that say which texts are alike",
    models=("Encoder",),
    sizes="EncoderSizes",
    data={"train": "builtin:paraphrases", "held_out": 200},
    rows="LikenessRows",
    task="systems.embedding.objective:EmbeddingConfig",
    open="open_encoder",
    example='similarity {} "A man is eating." "Someone has a meal."',
    verbs=(
        Verb(
            "encode",
            "Turn texts or pictures into vectors: NumPy, JSONL or Parquet.",
            "Encode",
            endings=(".npy", ".jsonl", ".parquet"),
        ),
        Verb("similarity", "Say how alike two texts are.", "systems.similarity_verb:Compare"),
        Verb("mine", "Find the pairs of a file that say the same.", "Mine", endings=(".tsv", ".jsonl")),
        Verb(
            "cluster", "Put the texts of a file into groups that say the same.", "Cluster", endings=(".tsv", ".jsonl")
        ),
        Verb("evaluate", HELP, "EvaluateVectors"),
    ),
    looks=(
        *EVERY,
        Look("map", "Texts of a file as points, those that are alike near each other.", "MapLook", "embedding_map"),
    ),
    scores={
        "loss": "of the objective",
        "accuracy": "share of rows whose own partner is the nearest",
        "spearman": "rank correlation of cosines with the given scores",
        "pearson": "their correlation",
    },
)
