"""Images: a vision transformer or a residual network gives pictures a label, several, or a vector."""

from formers.systems.measure import HELP
from formers.systems.picture_looks import PICTURE_LOOKS
from formers.systems.system import System, Verb

SYSTEM = System(
    name="images",
    title="Images: models that give pictures labels or vectors",
    models=("PictureClassifier", "ViT", "ResNet"),
    sizes="systems.picture_sizes:PictureSizes",
    data={"train": "builtin:shapes"},
    rows="LabelledPictures",
    task="ImagesConfig",
    open="open_pictures",
    example="classify {} picture.jpg",
    verbs=(
        Verb("classify", "Give texts, pairs of texts, or pictures their label or number.", "ClassifyPictures"),
        Verb(
            "encode",
            "Turn texts or pictures into vectors: NumPy, JSONL or Parquet.",
            "EncodePictures",
            endings=(".npy", ".jsonl", ".parquet"),
        ),
        Verb("evaluate", HELP, "EvaluatePictures"),
    ),
    looks=PICTURE_LOOKS,  # parameters and curve
    scores={
        "loss": "cross-entropy (several: binary)",
        "accuracy": "share of pictures with the right label (several: with all of them)",
        "top5": "share of pictures with the right label among the five likeliest",
        "f1": "macro F1",
        "calibration_error": "how far confidence is from accuracy, in 15 bins",
        "mean_average_precision": "mean over the labels of the area under precision against recall",
        "d_prime": "how far labels stand out, in deviations: 0 is chance, AudioSet's best are near 3",
        "f1_micro": "F1 over all labels of all pictures",
        "f1_macro": "mean F1 of the labels",
        "linear_probe": "accuracy of a logistic regression on the model's vectors",
        "nearest": "accuracy of the 20 nearest training pictures by their vectors",
    },
)
