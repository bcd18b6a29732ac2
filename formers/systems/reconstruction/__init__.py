"""Reconstruction: pictures and documents through a narrow code and back; what was made worse is restored."""

from formers.systems.looks import EVERY
from formers.systems.measure import HELP
from formers.systems.system import Look, System, Verb

SYSTEM = System(
    name="reconstruction",
    title="Reconstruction: autoencoders that compress, restore and colour",
    models=("Autoencoder", "VAE", "TinyVAE"),
    sizes="systems.reconstruction.sizes:AutoencoderSizes",
    parts="systems.reconstruction.sizes:AutoencoderParts",
    data={"train": "builtin:shapes"},
    rows="ReconstructionRows",
    task="ReconstructionConfig",
    open="open_reconstruction",
    comparison="compare",
    example="reconstruct {} picture.png --out restored.png",
    verbs=(
        Verb(
            "reconstruct",
            "Restore pictures: remove noise, fill holes, colour, or through the code and back.",
            "Restore",
        ),
        Verb(
            "encode",
            "Turn texts or pictures into vectors: NumPy, JSONL or Parquet.",
            "EncodeEither",
            endings=(".npy", ".jsonl", ".parquet"),
        ),
        Verb("evaluate", HELP, "EvaluateReconstruction"),
    ),
    looks=(
        Look("walk", "What a grid of codes of two numbers becomes.", "WalkLook"),
        *(look for look in EVERY if look.name in ("parameters", "curve")),
    ),
    scores={
        "loss": "what is learned, of a picture or of a word (cross-entropy in nats, or squared error)",
        "squared_error": "of a picture, summed over its pixels of 0 to 1",
        "rmse": "root of the mean squared error of a pixel",
        "psnr": "peak signal to noise of what comes out",
        "ssim": "structural similarity of what comes out",
        "psnr_before": "of the pictures as they were made worse",
        "ssim_before": "of the pictures as they were made worse",
        "lab_error": "mean distance in L*a*b* of a pixel to its true colour",
        "lab_error_before": "that of grey",
        "colourfulness": "how colourful people find it (0 grey, 45 averagely)",
        "colourfulness_true": "of the true pictures",
        "psnr_of_latents": "the same of what a tiny one makes of its teacher's latents (while training)",
        "perplexity": "of a document's words: among how many equally likely ones a word is",
    },
)
