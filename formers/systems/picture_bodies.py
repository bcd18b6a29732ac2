"""The body that a recipe of pictures trains: new, or a checkpoint's at the size of the recipe; what of it learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from formers.blocks.convolution import folded
from formers.data.pictures import PictureTable
from formers.data.pixels import Pixels, statistics
from formers.errors import ConfigError
from formers.images.preprocess import Preprocessor
from formers.models.picture_classifier import PictureClassifier
from formers.models.resnet import ResNet
from formers.models.vit import ViT
from formers.pretrained.loaded import Loaded
from formers.systems.memory import new_model
from formers.systems.picture_batches import PictureRows
from formers.systems.picture_sizes import PictureSizes, check_filled
from formers.systems.reading import reading

MEASURED = 2000  # pictures from which the mean colour is taken


def body_of(model: nn.Module) -> ViT | ResNet | None:
    """The body of a model of pictures, None for a model of something else."""
    inner = model.body if isinstance(model, PictureClassifier) else model
    return inner if isinstance(inner, ViT | ResNet) else None


def new_preprocessor(side: tuple[int, int], table: PictureTable, rows: PictureRows) -> Preprocessor:
    """Of a new model: to this size, and by the mean and deviation of the pictures' colours."""
    resize = side if rows.fit == "squash" or side[0] != side[1] else side[0]
    plain = Preprocessor(*side, resize, crop=not isinstance(resize, tuple))
    mean, std = statistics(Pixels(table, plain, unreadable=rows.unreadable).sample(MEASURED))
    return replace(plain, mean=mean, std=std)


@contextmanager
def used(model: nn.Module) -> Iterator[None]:
    """Inside, the model is read with: packed matrices, batch norms folded into their convolutions."""
    with reading(model), folded(model):
        yield


def begun_body(
    sizes: PictureSizes, loaded: Loaded | None, preprocessor_of: Callable[[tuple[int, int]], Preprocessor]
) -> tuple[ViT | ResNet, Preprocessor, str]:
    """The body to train, what its pictures go through, and both in words.

    loaded: the checkpoint to start from, whose pictures keep its preprocessing; preprocessor_of: of a new model, for
    pictures of (height, width).
    """
    body: ViT | ResNet
    if loaded is None:
        config, (height, width) = sizes.config(), sizes.side
        body = new_model(ResNet, config) if sizes.kind == "resnet" else new_model(ViT, config)
        return body, preprocessor_of(sizes.side), f"model reads {height} x {width} pixels: a new {sizes.kind}"
    inner, read = body_of(loaded.model), loaded.preprocessor
    if inner is None:
        kind = f"{type(loaded.model).__name__} (model_type {loaded.family})"
        raise ConfigError(f"{sizes.start} is a {kind}, expected a model of pictures such as vit, dinov2 or resnet")
    if read is None:
        what = f"{sizes.start} has no preprocessor_config.json, which says how its pictures are read"
        raise ConfigError(f"model.start: {what}; put the one of its publication beside config.json")
    side, before = (sizes.height or read.height, sizes.width or sizes.height or read.width), (read.height, read.width)
    change = ""
    if isinstance(inner, ViT):
        if side != before:  # the checkpoint's own size may fill less than all
            check_filled(side, inner.config.patch)
        body = at_size(inner, side, sizes)
        change = "" if side == before else f", positions interpolated from {before[0]} x {before[1]}"
    else:
        body = ResNet(replace(inner.config, drop_path=sizes.drop_path))
        body.load_state_dict(inner.state_dict())
    words = f"model reads {side[0]} x {side[1]} pixels{change}: the {type(inner).__name__} of {sizes.start}"
    return body, read if side == before else resized(read, side), words


def resized(preprocessor: Preprocessor, side: tuple[int, int]) -> Preprocessor:
    """The same at another size: what is cut off stays the same share."""
    if isinstance(preprocessor.resize, int):
        short = round(preprocessor.resize * min(side) / min(preprocessor.height, preprocessor.width))
        return replace(preprocessor, height=side[0], width=side[1], resize=short, crop=True)
    return replace(preprocessor, height=side[0], width=side[1], resize=side, crop=False)


@torch.no_grad()
def at_size(body: ViT, side: tuple[int, int], sizes: PictureSizes) -> ViT:
    """The same with positions of pictures of another size, the recipe's dropout, and no dense pooler, which a head
    reads past."""
    config = body.config
    stack, pooler = replace(config.stack, dropout=sizes.dropout), "" if config.pooler == "tanh" else config.pooler
    height, width = side
    config = replace(config, stack=stack, height=height, width=width, drop_path=sizes.drop_path, pooler=pooler)
    other, grid = ViT(config), (height // config.patch, width // config.patch)
    weights = {name: weight for name, weight in body.state_dict().items() if pooler or not name.startswith("pooler.")}
    if body.positions is not None:
        weights["positions.weight"] = body.positions(grid)
    other.load_state_dict(weights)
    return other


def freeze(body: ViT | ResNet, count: int) -> list[str]:
    """Keep the lowest `count` blocks and what is below them, of all blocks the whole body; gives the line of the
    report, none for 0."""
    below: list[nn.Module | nn.Parameter | None]
    if isinstance(body, ViT):
        blocks = list(body.stack.blocks)
        below = [body.stem, body.patches, body.positions, body.norm_input, *body.front()]
    else:
        blocks, below = [block for stage in body.stages for block in stage.children()], [body.stem]
    if not 0 <= count <= len(blocks):
        raise ConfigError(f"task.freeze ({count}) must be from 0 to {len(blocks)}: the model has {len(blocks)} blocks")
    if not count:
        return []
    if count == len(blocks):
        body.requires_grad_(False)
        return ["frozen: the whole body; the head alone learns"]
    for part in [*below, *blocks[:count]]:
        if part is not None:
            part.requires_grad_(False)
    learning = sum(weight.numel() for weight in body.parameters() if weight.requires_grad)
    share = learning / sum(weight.numel() for weight in body.parameters())
    return [f"frozen: the lowest {count} of {len(blocks)} blocks and what is below; {share:.1%} of the body learns"]
