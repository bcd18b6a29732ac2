"""Painting: pictures out of noise and words (latent diffusion, Rombach et al. 2022)."""

from formers.systems.looks import EVERY
from formers.systems.measure import HELP
from formers.systems.system import Look, System, Verb

HERE = "systems.painting.evaluation"

SYSTEM = System(
    name="painting",
    title="Painting: pictures out of noise, as words say",
    models=("LatentDiffusion",),
    sizes="systems.painting.sizes:PainterSizes",
    data={"train": "builtin:captioned-shapes", "held_out": 500},
    rows="PaintingRows",
    task="PaintingConfig",
    parts="PainterParts",
    open="open_painter",
    example='paint {} "a red circle above a blue square"',
    verbs=(
        Verb(
            "paint",
            "Paint pictures of words: out of noise, over a picture, into a hole of one, larger.",
            "systems.painting.options:Painting",
            endings=(".png",),
            out="out.png",
        ),
        Verb("evaluate", HELP, f"{HERE}:EvaluatePainter", f"{HERE}:evaluate"),
    ),
    looks=(
        Look("noise", "A picture in ever more noise, as diffusion hides it.", "NoiseLook"),
        Look("strip", "How a picture appears, step by step.", "StripLook"),
        Look("attention", "Where in the picture each word of the prompt acts.", "WordLook"),
        Look("guidance", "What guidance does to a picture.", "GuidanceLook"),
        Look("steps", "How many steps are needed, by each sampler.", f"{HERE}:StepsLook", f"{HERE}:steps"),
        *(look for look in EVERY if look.name in ("parameters", "curve")),
    ),
    scores={
        "loss": "squared error of what the UNet predicts, at fixed times and noises",
        "agreement": "share of painted pictures that show their caption, as the judge sees them",
        "frechet": "Frechet distance of painted and real pictures, of the judge's features: comparable for one judge",
    },
)
