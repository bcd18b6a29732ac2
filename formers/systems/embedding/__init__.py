"""Sentence vectors: an encoder learns which texts are alike (Reimers and Gurevych 2019), and compares them."""

from formers.systems.looks import EVERY
from formers.systems.measure import HELP
from formers.systems.system import Look, System, Verb

HERE = "systems.embedding"
SYSTEM = System(
    name="embedding",
    title="Sentence vectors: encoders that say which texts are alike",
    models=("Encoder",),
    sizes="systems.sizes:EncoderSizes",
    data={"train": "builtin:paraphrases", "held_out": 200},
    rows=f"{HERE}.data:LikenessRows",
    task=f"{HERE}.objective:EmbeddingConfig",
    prepare=f"{HERE}.task:prepare",
    open=f"{HERE}.system:open_encoder",
    recipe="embedding",
    example='similarity {} "A man is eating." "Someone has a meal."',
    verbs=(
        Verb(
            "encode",
            "Turn texts into vectors: NumPy, JSONL or Parquet.",
            options=f"{HERE}.verbs:Encode",
            run=f"{HERE}.verbs:encode",
            endings=(".npy", ".jsonl", ".parquet"),
        ),
        Verb(
            "similarity",
            "Say how alike two texts are.",
            options="systems.similarity_verb:Compare",
            run=f"{HERE}.verbs:similarity",
        ),
        Verb(
            "mine",
            "Find the pairs of a file that say the same.",
            options=f"{HERE}.verbs:Mine",
            run=f"{HERE}.verbs:mine",
            endings=(".tsv", ".jsonl"),
        ),
        Verb(
            "cluster",
            "Put the texts of a file into groups that say the same.",
            options=f"{HERE}.verbs:Cluster",
            run=f"{HERE}.verbs:cluster",
            endings=(".tsv", ".jsonl"),
        ),
        Verb("evaluate", HELP, f"{HERE}.verbs:EvaluateVectors", f"{HERE}.verbs:evaluate"),
    ),
    looks=(
        *EVERY,
        Look(
            "map",
            "Texts of a file as points, those that are alike near each other.",
            options=f"{HERE}.looks:MapLook",
            run=f"{HERE}.looks:embedding_map",
        ),
    ),
    scores={
        "loss": "of the objective",
        "accuracy": "share of rows whose own partner is the nearest",
        "spearman": "rank correlation of cosines with the given scores",
        "pearson": "their correlation",
    },
)
