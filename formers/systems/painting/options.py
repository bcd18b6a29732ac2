"""What to paint, and how: the options of `formers paint`, which Python, a request and a painted file have too."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from formers.errors import ConfigError, nearest, shown
from formers.fields import NOTHING, Between, Count, Given, Natural, check, fields_of
from formers.systems.system import NOWHERE, Origin, Typed

# What an axis of a grid may be
AXES = (
    *("steps", "guidance", "sampler", "spacing", "eta", "rescale", "seed", "strength", "blur", "upscale", "size"),
    *("negative", "prompt"),
)
MOST_CELLS = 400
SCALED = re.compile(r"(.+\.\w+):([^/\\]*)")
MANY, FEW = (50, 7.5), (4, 1.0)  # steps and guidance
STRENGTH, ANEW, AGAIN = 0.6, 1.0, 0.3  # of a picture to begin with, of a part of one, of one that was made larger


@dataclass(frozen=True, kw_only=True)
class Painting:
    """What to paint."""

    prompt: Annotated[str, Typed("PROMPT", positional=True)] = ""
    """What to paint, in words; (word:1.3) weighs more, (word:0.7) less."""
    axes: Annotated[tuple[str, ...], Typed("AXIS=A,B", positional=True)] = ()
    """More axes of --grid."""
    negative: str = ""
    """What not to paint, in words."""
    chunks: bool = False
    """Read prompts of more than 77 tokens to their end, in chunks of 75 (default: the rest is cut, and said)."""
    lora: Annotated[tuple[str, ...], Typed("FILE[:SCALE]", file=True)] = ()
    """Add this LoRA file, of kohya's form or of diffusers'; several are added up."""
    inversion: Annotated[tuple[str, ...], Typed("FILE", file=True)] = ()
    """Let prompts have the word of this textual inversion file."""
    steps: Natural | None = None
    """Steps from noise to picture, the more the finer (default: 50, of lcm 4)."""
    guidance: Annotated[float, Between(0)] | None = None
    """How closely to follow the prompt (default: 7.5, of lcm 1); at 1 or less not at all beyond reading it, in half of
    the time."""
    sampler: Literal["", "ddpm", "ddim", "pndm", "euler", "euler-a", "heun", "dpm++", "unipc", "lcm"] = ""
    """How to go from noise to picture (default: the model's own)."""
    spacing: Literal["", "leading", "linspace", "trailing", "karras", "exponential"] = ""
    """Which times the steps are at (default: the sampler's own)."""
    eta: Annotated[float, Between(0, 1)] = 0.0
    """Fresh noise at each step of ddim: 0 none, 1 as much as ddpm."""
    rescale: Annotated[float, Between(0, 1)] = 0.0
    """Take back so much of the contrast that guidance adds."""
    seed: Annotated[int, Between(0, 2**53)] = 1
    """Of the noise: the same seed paints the same picture; the next of --count has the next seed."""
    count: Natural = 1
    """Pictures to paint."""
    size: Annotated[str, Typed("WIDTHxHEIGHT")] = ""
    """Pixels (default: those of --image, else those that the model was trained with)."""
    image: Annotated[str, Typed("PICTURE", file=True)] = ""
    """Begin with this picture rather than with noise."""
    strength: Annotated[float, Between(above=0, most=1)] | None = None
    """How much of the way from noise to picture is gone (default: 0.6 with --image, 1 with --mask, 0.3 with --upscale):
    little keeps the picture, 1 leaves nothing of it."""
    mask: Annotated[str, Typed("PICTURE", file=True)] = ""
    """A picture as large as --image that is white where to paint anew; all other pixels stay exactly as they are."""
    blur: Count = 4
    """Width in pixels of the soft edge of a mask, inside of it."""
    upscale: Annotated[int, Between(1, 4)] = 1
    """Make the picture 2 or 4 times as large (Lanczos), then paint details into it: image to image at low strength."""
    grid: Annotated[tuple[str, ...], Typed("AXIS=A,B ...")] = ()
    """Paint every combination as one sheet with labels: --grid guidance=1,5,9 sampler=ddim,lcm; the first axis goes
    from left to right."""
    fast: Annotated[str, Typed("FOLDER", file=True)] = ""
    """Decode by the tiny autoencoder of this folder (AutoencoderTiny): in much less time, a little less fine."""
    preview: Annotated[str, Typed("FILE", file=True)] = ""
    """Write here after each step what the picture is going to be, roughly; with --fast decoded."""
    again: Annotated[str, Typed("FILE.png", file=True)] = ""
    """Paint this file of ours again, byte for byte; options given beside it win."""
    given: Given = NOTHING
    """The names of those that were given."""
    origin: Origin = NOWHERE
    """The model."""

    def __post_init__(self) -> None:
        check(self)
        if self.upscale == 3:
            raise ConfigError("upscale (3) must be 1, 2 or 4")
        if self.size:
            self.sides  # noqa: B018 -- refuses what is no size
        list(map(file_and_scale, self.lora))  # refuses what is no scale
        if self.axes and not self.grid:
            raise ConfigError(f"got {shown(self.axes[0])} after the prompt; put the whole prompt into quotes")
        if self.again:
            return  # the rest depends on what that file says
        if self.mask and not self.image:
            raise ConfigError("a mask says where to paint anew in a picture: give it too, --image PICTURE")
        if self.mask and self.upscale > 1:
            raise ConfigError("a mask keeps pixels as they are, upscaling makes new ones: do one after the other")
        if self.strength is not None and not self.image and self.upscale == 1:
            raise ConfigError("strength says how much of a picture is left: give one, --image PICTURE, or --upscale")
        if self.grid and self.count > 1:
            raise ConfigError("a grid has a picture for each combination; for several seeds give the axis seed=1,2,3")

    @property
    def sides(self) -> tuple[int, int]:
        """Width and height of `size`, of which one number stands for both. Raises ConfigError."""
        match = re.fullmatch(r"(\d{1,6})(?:[xX*](\d{1,6}))?", self.size.strip())
        if match is None or not int(match[1]) or (match[2] and not int(match[2])):
            raise ConfigError(f"size ({shown(self.size)}) must be two numbers such as 512x512")
        return int(match[1]), int(match[2] or match[1])

    @property
    def pace(self) -> tuple[int, float]:
        """Steps and guidance, or the usual ones of the sampler."""
        return pace(self.sampler, self.steps, self.guidance)

    @property
    def amount(self) -> float:
        """The strength, or the usual one."""
        usual = AGAIN if self.upscale > 1 else ANEW if self.mask else STRENGTH
        return usual if self.strength is None else self.strength

    def cells(self) -> Iterator[tuple[str, Painting]]:
        """The paintings of a grid with their labels, the first axis fastest. Raises ConfigError."""
        axes = self.grid_axes()
        whole = replace(self, grid=(), axes=())
        for values in itertools.product(*reversed(axes.values())):
            changes = dict(zip(axes, reversed(values), strict=True))
            words = (value if isinstance(value, str) else f"{name} {value:g}" for name, value in changes.items())
            yield ", ".join(words), replace(whole, **changes)

    def grid_axes(self) -> dict[str, list[Any]]:
        """Field -> its values. Raises ConfigError."""
        axes: dict[str, list[Any]] = {}
        for text in (part for words in (*self.grid, *self.axes) for part in re.split(r"\s+(?=\w+=)", words.strip())):
            name, _, values = text.partition("=")
            if name not in AXES:
                raise ConfigError(f'grid: "{name}" is no axis{nearest(name, AXES)}')
            if name in axes or not values:
                what = "is given twice" if name in axes else "has no values"
                raise ConfigError(f"grid: {name} {what}, expected once something such as {name}=A,B")
            axes[name] = [_value(name, value.strip()) for value in values.split(",")]
        if (cells := math.prod(map(len, axes.values()))) > MOST_CELLS:
            raise ConfigError(f"grid: {cells:,} pictures, expected at most {MOST_CELLS}; give fewer values")
        return axes


def pace(sampler: str, steps: int | None, guidance: float | None) -> tuple[int, float]:
    """Steps and guidance, the usual ones of a sampler where they are None: lcm has learned to need few and none."""
    usual = FEW if sampler == "lcm" else MANY
    return steps or usual[0], usual[1] if guidance is None else guidance


def file_and_scale(text: str) -> tuple[str, float]:
    """FILE or FILE:SCALE, which is 1 where it is left out. Raises ConfigError for a scale that is none."""
    if (match := SCALED.fullmatch(text)) is None:
        return text, 1.0
    try:
        scale = float(match[2])
    except ValueError:
        scale = math.nan
    if not math.isfinite(scale):
        raise ConfigError(f"lora {text}: the scale is {shown(match[2])}, expected a number, as in {match[1]}:0.8")
    return match[1], scale


def _value(name: str, text: str) -> Any:
    kind = fields_of(Painting)[name].kind
    if kind not in (int, float):
        return text
    try:
        return kind(text)
    except ValueError:
        raise ConfigError(f"grid: {name} is {shown(text)}, expected a number") from None
