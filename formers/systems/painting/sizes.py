"""The section [model] of a recipe of painting: sizes of a new UNet and its tower of texts, or where to start."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Annotated, Literal

from formers.blocks.stack import StackConfig
from formers.diffusion.schedule import PREDICTIONS, SCHEDULES, Schedule
from formers.diffusion.scheduler import Scheduler
from formers.errors import ConfigError
from formers.fields import Between, check
from formers.models.clip import TextTowerConfig
from formers.models.unet import UNetConfig
from formers.systems.sizes import Layers, Width

SIDE = 32  # of the pictures of a new model that names no size
# Betas of the published models: of Ho et al. 2020, of Rombach et al. 2022; the cosine has none
BETAS = {"linear": (0.0001, 0.02), "scaled-linear": (0.00085, 0.012), "cosine": (0.0001, 0.02)}


@dataclass(frozen=True, kw_only=True)
class PainterSizes:
    """The sizes of a new UNet, of the tower that reads for it, and the noise that it learns from."""

    start: str = ""
    """A run, folder or hub id in the layout of diffusers to start from; all below but height is then its own."""
    ignore_keys: tuple[str, ...] = ()
    """Keys of its config.json to take for absent, which are not computed here and are known to change nothing."""
    height: Annotated[int, Between(0, 4096)] = 0
    """Side of the pictures, in pixels (0: the checkpoint's; of a new model 32)."""
    widths: tuple[Width, ...] = (32, 64, 128)
    """Channels of each level; between two of them the sides are halved."""
    depth: Layers = 1
    """Residual blocks of a level on the way down; on the way up there is one more."""
    attention: tuple[bool, ...] = (False, True, True)
    """Which levels attend, and read the text; the middle always does."""
    heads: Width = 4
    """Attention heads of every level."""
    pooled: bool = False
    """The text is also pooled into one vector, which is added to the time and so reaches every convolution."""
    groups: Width = 16
    """Groups of channels in the norms."""
    text_dim: Width = 128
    """Width of a new tower of texts."""
    text_layers: Layers = 2
    """Its blocks."""
    text_heads: Width = 4
    """Its attention heads."""
    length: Annotated[int, Between(3, 2**14)] = 32
    """Tokens of a text, its beginning and end included: longer ones are cut, shorter ones filled up."""
    prediction: Literal["epsilon", "v", "x0"] = "epsilon"
    """What the UNet learns to say: the noise, the velocity (Salimans and Ho 2022), or the picture."""
    schedule: Literal["linear", "scaled-linear", "cosine"] = "scaled-linear"
    """How the noise grows with time."""
    zero_snr: bool = False
    """The last time is pure noise (Lin et al. 2023), so that painting begins where learning did; not with epsilon."""

    def __post_init__(self) -> None:
        check(self, "model")
        if self.text_dim % self.text_heads:
            what = f"model.text_dim ({self.text_dim}) must be a multiple of model.text_heads ({self.text_heads})"
            raise ConfigError(what)
        if self.zero_snr and self.prediction == "epsilon":
            raise ConfigError('model.zero_snr ends in pure noise, which says nothing of a picture to model.prediction '
                              '"epsilon"; set prediction to "v"')  # fmt: skip

    @property
    def side(self) -> int:
        """Of the pictures of a new model."""
        return self.height or SIDE

    def unet(self, channels: int, size: int, memory_dim: int | None) -> UNetConfig:
        """The config of a new UNet on latents of so many channels and rows. Raises ConfigError for unfit sizes."""
        try:
            return UNetConfig(
                channels=channels,
                out_channels=channels,
                widths=self.widths,
                depth=self.depth,
                attention=self.attention,
                heads=(self.heads,) * len(self.widths),
                memory_dim=memory_dim,
                groups=self.groups,
                pooled_heads=gcd(self.text_heads, memory_dim) if self.pooled and memory_dim else 0,
                size=size,
                linear=True,
            )
        except ValueError as fault:
            raise ConfigError(f"[model]: {fault}") from None

    def text(self, vocab: int, end: int | None) -> TextTowerConfig:
        """The config of a new tower of texts, in the form of CLIP's."""
        stack = StackConfig(
            dim=self.text_dim, layers=self.text_layers, heads=self.text_heads, hidden=4 * self.text_dim,
            activation="gelu_quick",
        )  # fmt: skip
        return TextTowerConfig(stack=stack, vocab=vocab, length=self.length, end=end, projection=0)

    def scheduler(self) -> Scheduler:
        """How a new UNet is trained, and painted with by DDIM.

        Nothing is clipped on the way, pixels neither: the noise that DDIM goes on with would not fit what is left, and
        with guidance other pictures come out than were asked for.
        """
        start, end = BETAS[self.schedule]
        schedule = Schedule(
            beta_start=start,
            beta_end=end,
            beta_schedule=SCHEDULES[self.schedule],  # type: ignore[arg-type]
            prediction_type=PREDICTIONS[self.prediction],  # type: ignore[arg-type]
            rescale_betas_zero_snr=self.zero_snr,
        )
        given = {"clip_sample": False, "timestep_spacing": "trailing", "set_alpha_to_one": True, "steps_offset": 1}
        return Scheduler(schedule, "ddim", given)
