"""Pictures of how painting works: noise that grows and goes, where a word acts, guidance, steps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from formers.errors import ConfigError, nearest
from formers.fields import Between, Natural, Part
from formers.systems.looks import Picture, of_what, quoted
from formers.systems.painting.many import USUAL_WAY, SamplerOptions, moments, paint_prompts
from formers.systems.system import NOWHERE, Event, Origin, Progress, Typed

if TYPE_CHECKING:
    from torch import Tensor

    from formers.systems.painting.system import Painter

Prompt = Annotated[str, Typed("PROMPT", positional=True)]
SHOWN = 10  # moments of a strip
WORDS = 8  # words whose maps are shown where none is asked for


@dataclass(frozen=True, kw_only=True)
class NoiseLook:
    """A look at how a picture goes under in noise."""

    origin: Origin = NOWHERE
    """The model."""
    picture: Annotated[str, Typed("PICTURE", positional=True, file=True)] = ""
    """The picture that is hidden."""
    amounts: Annotated[int, Between(2, 20)] = SHOWN
    """How many amounts of noise are shown, from none to all."""
    seed: Annotated[int, Between(0, 2**53)] = 1
    """Of the noise."""


@dataclass(frozen=True, kw_only=True)
class StripLook:
    """A look at how a picture appears."""

    origin: Origin = NOWHERE
    """The model."""
    text: Prompt = ""
    """What is painted, in words."""
    way: Annotated[SamplerOptions, Part()] = USUAL_WAY
    """How to go from noise to a picture."""
    every: Natural | None = None
    """Show every N-th step (default: so that ten are shown)."""


@dataclass(frozen=True, kw_only=True)
class WordLook:
    """A look at where the words of a prompt act."""

    origin: Origin = NOWHERE
    """The model."""
    text: Prompt = ""
    """What is painted, in words."""
    word: Annotated[tuple[str, ...], Typed("WORD")] = ()
    """A word of it (default: all, at most eight)."""
    way: Annotated[SamplerOptions, Part()] = USUAL_WAY
    """How to go from noise to a picture."""


@dataclass(frozen=True, kw_only=True)
class GuidanceLook:
    """A look at what guidance does."""

    origin: Origin = NOWHERE
    """The model."""
    text: Prompt = ""
    """What is painted, in words."""
    scale: Annotated[tuple[float, ...], Typed("NUMBER")] = (1.0, 2.0, 4.0, 7.5, 12.0, 20.0)
    """How closely to follow it."""
    pictures: Annotated[int, Between(1, 20)] = 3
    """Pictures of each scale, of the same noises."""
    steps: Natural = 50
    """Steps from noise to picture."""
    sampler: str = ""
    """How to go from noise to picture (default: the model's own)."""
    seed: Annotated[int, Between(0, 2**53)] = 1
    """Of the first picture's noise."""


def noise(painter: Painter, options: NoiseLook) -> Iterator[Event]:
    """The picture as the model knows it, in ever more noise, and what share of each is noise."""
    import torch

    from formers.diffusion.denoise import draw, generators
    from formers.pictures.sheet import draw_sheet
    from formers.systems.picture_looks import as_bytes, of_picture, short

    of_picture(options)
    schedule = painter.scheduler.schedule
    latents = painter.latents(pictures_of(painter, options.picture))
    added = draw(generators([options.seed]), latents.shape[1:], latents.device)
    bars = schedule.alpha_bars
    amounts = torch.linspace(float(bars[0]), float(bars[-1]), options.amounts)
    points = [schedule.point(int((bars - amount).abs().argmin())) for amount in amounts]
    titles = [f"time {point.time}: {point.noise**2:.1%} noise" for point in points]
    tiles = [tile for at in points for tile in as_bytes(painter.pictures(at.signal * latents + at.noise * added).cpu())]
    what = "" if painter.parts.vae is None else " (its latents, decoded)"
    title = f"{short(options.picture)} on the way to noise{what}"
    yield Picture("noise", lambda: draw_sheet(tiles, titles, title, columns=min(len(tiles), SHOWN)))


def pictures_of(painter: Painter, name: str) -> Tensor:
    """(1, channels, height, width) in 0 to 1 of a file, in the size that the model was trained on."""
    from PIL import Image, ImageOps

    from formers.systems.painting.paint import as_original, coloured, opened

    image = coloured(painter, opened(name))
    whole = [max(1, length // painter.factor) * painter.factor for length in image.size]
    size = (painter.side or whole[0], painter.side or whole[1])
    return as_original(painter, ImageOps.fit(image, size, Image.Resampling.LANCZOS)).pixels


def strip(painter: Painter, options: StripLook) -> Iterator[Event]:
    """Every n-th step: the latents as they are, and what the network takes the finished ones to be, both decoded."""
    from formers.pictures.sheet import draw_sheet
    from formers.systems.picture_looks import as_bytes

    of_prompt(painter, "strip", options)
    shown, titles = list[Any](), list[str]()
    for moment in moments(painter, [options.text], options.way):
        yield Progress(moment.step, moment.steps, "painting")
        every = options.every or max(1, -(-moment.steps // SHOWN))
        if (moment.steps - moment.step) % every == 0:
            shown.append((moment.latents, moment.clean))
            titles.append(f"step {moment.step} of {moment.steps}")
    tiles = [as_bytes(painter.pictures(part).cpu())[0] for row in zip(*shown, strict=True) for part in row]
    words = [*titles, *["the picture it expects"] * len(titles)]
    title = f"how {quoted(options.text)} appears"
    yield Picture("strip", lambda: draw_sheet(tiles, words, title, columns=len(titles)))


def of_prompt(painter: Painter, name: str, options: Any) -> None:
    """Refuse a look at nothing; a model that reads no prompts needs none."""
    if painter.parts.text is not None:
        of_what(name, options)


def attention(painter: Painter, options: WordLook) -> Iterator[Event]:
    """How much each place of the picture looks at each word: the mean over steps, layers and heads."""
    import numpy as np

    from formers.blocks.attention import recording
    from formers.pictures.overlay import draw_overlays
    from formers.systems.picture_looks import as_bytes

    if painter.parts.text is None:
        raise ConfigError(f"{options.origin.name} reads no prompts, so no word acts anywhere")
    of_what("attention", options)
    words = words_of(painter, options.text, options.word)
    layers = {module for name, module in painter.parts.unet.named_modules() if name.endswith("cross_attention")}
    tokens = [token for _, places in words for token in places]
    # of the prompt, which guidance puts last; (places, tokens)
    with recording(lambda weights: weights[-1].float().mean(0)[:, tokens].cpu(), layers) as notes:
        moment = None
        for moment in moments(painter, [options.text], options.way):
            yield Progress(moment.step, moment.steps, "painting")
    assert moment is not None
    shape = tuple(moment.latents.shape[2:])
    maps = mean_map([weights for _, weights in notes.maps], shape)
    joined, start = [], 0
    for _, places in words:
        joined.append(maps[start : start + len(places)].sum(0).numpy())
        start += len(places)
    picture = as_bytes(painter.pictures(moment.latents).cpu())[0]
    shown = (picture if picture.ndim == 3 else picture[..., None].repeat(3, -1)).astype("float32") / 255
    title, names = f"where the words of {quoted(options.text)} act", [word for word, _ in words]
    heat = np.stack([grid / grid.mean() for grid in joined])
    most, unit = float(np.quantile(heat, 0.995)), "attention to the word, of its mean over the picture"
    yield Picture("attention", lambda: draw_overlays(shown, heat, names, title, unit, most=most, first="the picture"))


def words_of(painter: Painter, prompt: str, asked: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Words of a prompt with the places of their tokens. Raises ConfigError for a word that is not there, or is cut."""
    from formers.systems.painting.prompts import weighted

    reader = painter.reader
    found: list[tuple[str, list[int]]] = []
    place, end = 1, reader.length - 1  # behind the beginning of the text
    for piece in weighted(prompt):
        offsets = [(a, b) for a, b in reader.read([piece.text])[0].offsets if b > a]
        for match in re.finditer(r"\w+", piece.text):
            start, stop = match.span()
            places = [place + i for i, (a, b) in enumerate(offsets) if a < stop and b > start]
            found.append((match.group(), [at for at in places if at < end]))
        place += len(offsets)
    known = {word.lower() for word, _ in found}
    for word in asked:
        if word.lower() not in known:
            raise ConfigError(f'--word {word}: is not in "{prompt}"{nearest(word, known)}')
    wanted = {word.lower() for word in asked} or known
    words = [(word, places) for word, places in found if word.lower() in wanted and places]
    if not words:
        raise ConfigError(f"none of these words is among the {reader.length} tokens that are read")
    return words if asked else words[:WORDS]


def mean_map(maps: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
    """(tokens, rows, columns) of `shape`: the mean of maps (places, tokens) of all levels, which halve its sides."""
    import torch
    import torch.nn.functional as F

    levels = [shape]
    while max(levels[-1]) > 1:
        levels.append(tuple(-(-side // 2) for side in levels[-1]))
    sizes = {rows * columns: (rows, columns) for rows, columns in levels}
    grids = [weights.T.unflatten(1, sizes[len(weights)]) for weights in maps]
    large = [F.interpolate(grid[None], shape, mode="bilinear")[0] for grid in grids]
    return torch.stack(large).mean(0)


def guidance(painter: Painter, options: GuidanceLook) -> Iterator[Event]:
    """The same noises at every scale, a column each."""
    from formers.pictures.sheet import draw_sheet

    if painter.parts.text is None:
        raise ConfigError(f"{options.origin.name} reads no prompts, so nothing guides it")
    of_what("guidance", options)
    way = SamplerOptions(steps=options.steps, sampler=options.sampler, seed=options.seed)
    columns = []
    for place, scale in enumerate(options.scale, 1):
        columns.append(painted(painter, [options.text] * options.pictures, replace(way, guidance=scale)))
        yield Progress(place, len(options.scale), "painting")
    tiles = [column[row] for row in range(options.pictures) for column in columns]
    names = [f"guidance {scale:g}" for scale in options.scale] + [""] * len(columns) * (options.pictures - 1)
    yield Picture("guidance", lambda: draw_sheet(tiles, names, quoted(options.text), columns=len(columns)))


def painted(painter: Painter, prompts: Sequence[str], way: SamplerOptions) -> list[Any]:
    """Finished pictures, (height, width, 3) or grey, uint8."""
    from formers.systems.picture_looks import as_bytes

    return [tile for some in paint_prompts(painter, prompts, way) for tile in as_bytes(some)]
