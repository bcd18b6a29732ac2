"""CLIP: pictures and texts in one space, learned from captions (Radford et al. 2021)."""

from formers.systems.measure import HELP
from formers.systems.picture_looks import CLIP_LOOKS
from formers.systems.system import System, Verb

SYSTEM = System(
    name="clip",
    title="Pictures and texts in one space: search by words, labels that nobody trained",
    models=("CLIP",),
    sizes="systems.clip.sizes:ClipSizes",
    data={"train": "builtin:captioned-shapes", "held_out": 500},
    rows="CaptionedPictures",
    task="ContrastConfig",
    open="open_towers",
    example='classify {} picture.jpg --labels "cat,dog"',
    verbs=(
        Verb("classify", "Give texts, pairs of texts, or pictures their label or number.", "ClassifyByWords"),
        Verb(
            "encode",
            "Turn texts or pictures into vectors: NumPy, JSONL or Parquet.",
            "EncodeEither",
            endings=(".npy", ".jsonl", ".parquet"),
        ),
        Verb("evaluate", HELP, "EvaluateTowers"),
    ),
    looks=CLIP_LOOKS,
    scores={
        "loss": "of finding each one's own in its batch (sigmoid: of every pair)",
        **{f"text_recall_{most}": f"pictures with their caption among the {most} nearest" for most in (1, 5, 10)},
        **{f"picture_recall_{most}": f"captions with their picture among the {most} nearest" for most in (1, 5, 10)},
        "zero_shot": "pictures whose label is the nearest of all labels, written as captions",
    },
)
