"""The section [parts] of a recipe of painting: what the UNet works on and what it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from formers.fields import check
from formers.systems.system import ModelClass


@dataclass(frozen=True, kw_only=True)
class PainterParts:
    """Models that are used as they are; a recipe is trained first."""

    vae: Annotated[str, ModelClass(("VAE", "TinyVAE"))] = ""
    """Folder or recipe of the autoencoder whose latents are painted (empty: pixels)."""
    text: Annotated[str, ModelClass(("CLIP", "TextTower"))] = ""
    """Folder or recipe of the tower that reads the captions (empty: a new one learns with the UNet)."""

    def __post_init__(self) -> None:
        check(self, "parts")
