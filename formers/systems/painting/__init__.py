"""Painting: pictures out of noise and words (latent diffusion, Rombach et al. 2022)."""

from formers.systems.looks import EVERY
from formers.systems.system import System, Verb

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
    ),
    looks=tuple(look for look in EVERY if look.name in ("parameters", "curve")),
    scores={"loss": "squared error of what the UNet predicts, at fixed times and noises"},
)
