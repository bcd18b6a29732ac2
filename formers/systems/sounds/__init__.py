"""Sounds: a spectrogram transformer gives sounds a label, several, or a vector."""

from formers.systems.measure import HELP
from formers.systems.sound_looks import SOUND_LOOKS
from formers.systems.system import System, Verb

SYSTEM = System(
    name="sounds",
    title="Sounds: models that give sounds labels or vectors",
    models=("SpectrogramTransformer",),
    sizes="systems.sound_sizes:SoundSizes",
    data={"train": "builtin:dialtones"},
    rows="LabelledSounds",
    task="SoundsConfig",
    open="open_sounds",
    example="classify {} clip.wav",
    verbs=(
        Verb("classify", "Give texts, pairs of texts, pictures or sounds their label or number.", "ClassifySounds"),
        Verb(
            "encode",
            "Turn texts, pictures or sounds into vectors: NumPy, JSONL or Parquet.",
            "EncodeSounds",
            endings=(".npy", ".jsonl", ".parquet"),
        ),
        Verb("evaluate", HELP, "EvaluateSounds"),
    ),
    looks=SOUND_LOOKS,
    scores={
        "loss": "cross-entropy (several: binary)",
        "accuracy": "share of sounds with the right label (several: with all of them)",
        "top5": "share of sounds with the right label among the five likeliest",
        "f1": "macro F1",
        "calibration_error": "how far confidence is from accuracy, in 15 bins",
        "mean_average_precision": "mean over the labels of the area under precision against recall",
        "d_prime": "how far labels stand out, in deviations: 0 is chance, AudioSet's best are near 3",
        "f1_micro": "F1 over all labels of all sounds",
        "f1_macro": "mean F1 of the labels",
        "linear_probe": "accuracy of a logistic regression on the model's vectors",
        "nearest": "accuracy of the 20 nearest training sounds by their vectors",
    },
)
