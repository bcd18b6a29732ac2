"""The numbers behind the pictures of vision: where a network looks, how far, and which places a label rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from formers.blocks.attention import recording
from formers.blocks.mode import inference
from formers.blocks.patches import grid_of
from formers.errors import ConfigError
from formers.models.clip import CLIP
from formers.models.picture_classifier import PictureClassifier
from formers.models.resnet import ResNet
from formers.models.vit import ViT


def body_of(model: nn.Module) -> ViT | ResNet:
    """What reads the pictures of any of these models."""
    if isinstance(model, CLIP):
        return model.picture.body
    body = model.body if isinstance(model, PictureClassifier) else model
    assert isinstance(body, ViT | ResNet)
    return body


@torch.no_grad()
def attention_of(
    vit: ViT, pictures: Float[Tensor, "batch channels height width"], take: Callable[[Tensor], Tensor]
) -> Float[Tensor, "layers ..."]:
    """take(weights) of every layer; weights (batch, heads, tokens, tokens), of which one layer's exist at a time."""
    with inference(vit), recording(lambda weights: take(weights.float())) as notes:
        vit(pictures)
    return torch.stack([kept for _, kept in notes.maps])


def on_patches(
    vit: ViT, weights: Float[Tensor, "*some tokens tokens"], grid: tuple[int, int]
) -> Float[Tensor, "*some rows columns"]:
    """What the class token looks at (AST: the mean of both), or without one the mean patch: its weights on patches."""
    first = vit.config.class_tokens if vit.config.pooler == "classes" else 1
    looking = (weights[..., :first, :] if vit.config.class_tokens else weights[..., vit.leading :, :]).mean(-2)
    return looking[..., vit.leading :].unflatten(-1, grid)


def class_attention(
    vit: ViT, picture: Float[Tensor, "channels height width"]
) -> Float[Tensor, "layers heads rows columns"]:
    """The attention of the class token (without one: of the mean patch) to every patch.

    A head's weights sum to 1 less what it looks at in front of the patches: class tokens and registers.
    """
    grid = vit.grid(picture.shape[-2:])
    return attention_of(vit, picture[None], lambda weights: on_patches(vit, weights[0], grid))


def attention_distances(
    vit: ViT, pictures: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, "layers heads"]:
    """How far each head looks, in pixels of what the model reads: the distance from a patch to the patches, weighted by
    its attention to them; the mean over patches and pictures. Source: Dosovitskiy et al. 2021, D.7.
    """
    far = patch_distances(grid_of(pictures.shape[-2:], vit.sides), vit.sides).to(pictures.device)

    def distances(weights: Tensor) -> Tensor:
        between = weights[..., vit.leading :, vit.leading :]
        return ((between * far).sum(-1) / between.sum(-1)).mean((0, 2))

    return attention_of(vit, pictures, distances)


def patch_distances(grid: tuple[int, int], sides: tuple[int, int]) -> Float[Tensor, "patches patches"]:
    """Pixels between the middles of every two patches."""
    places = torch.cartesian_prod(torch.arange(grid[0]) * sides[0], torch.arange(grid[1]) * sides[1]).float()
    return torch.cdist(places, places)


def rollout(layers: Float[Tensor, "layers tokens tokens"]) -> Float[Tensor, "tokens tokens"]:
    """How much of each token's input is in each output, if a layer were the half of its input and the half of what its
    attention brings. layers: the mean of the heads. Source: Abnar and Zuidema 2020, equation 1.
    """
    same = torch.eye(layers.shape[-1], device=layers.device)
    flow = same
    for weights in layers:
        flow = (weights + same) / 2 @ flow
    return flow


def attention_rollout(vit: ViT, picture: Float[Tensor, "channels height width"]) -> Float[Tensor, "rows columns"]:
    """What the class token (without one: the mean patch) is made of after all layers: the share of every patch."""
    layers = attention_of(vit, picture[None], lambda weights: weights[0].mean(0))
    patches = on_patches(vit, rollout(layers), grid_of(picture.shape[-2:], vit.sides))
    return patches / patches.sum()


@torch.no_grad()
def position_similarity(vit: ViT) -> Float[Tensor, "rows columns rows columns"]:
    """The cosine of every patch's learned position with all others. Source: Dosovitskiy et al. 2021, figure 7.

    Raises ConfigError for a model that learns none.
    """
    if vit.positions is None:
        raise ConfigError(
            "this model has no learned positions to see: it turns queries and keys by where patches stand"
        )
    grid = vit.positions.grid
    unit = nn.functional.normalize(vit.positions.weight[vit.positions.extra :].float(), dim=-1)
    return (unit @ unit.T).view(*grid, *grid)


class Reasons(NamedTuple):
    """What speaks for some labels of a picture."""

    labels: list[int]
    logits: Float[Tensor, " all_labels"]
    maps: Float[Tensor, "labels rows columns"]


def grad_cam(
    body: ViT | ResNet,
    logits_of: Callable[[Tensor], Tensor],
    picture: Float[Tensor, "channels height width"],
    labels: Sequence[int] = (),
    *,
    most: int = 3,
) -> Reasons:
    """Where that is what speaks for each label (default: the likeliest, at most so many): features weighted by the
    mean gradient of the label's logit, where positive.

    logits_of: pictures -> (batch, labels), by way of the body. The features are those of a ResNet's last stage, or what
    goes into a vision transformer's last block, behind which a class token reads nothing of the patches.
    Source: Selvaraju et al. 2017, equations 1 and 2.
    """
    features = list[Tensor]()

    def keep(x: Tensor) -> Tensor:
        features.append(x.detach().requires_grad_())  # nothing in front of it needs a gradient
        return features[0]

    if isinstance(body, ResNet):
        hook = body.stages[-1].register_forward_hook(lambda stage, given, x: keep(x))
    else:
        last = body.stack.block(body.config.stack.layers - 1)
        hook = last.register_forward_pre_hook(lambda block, given: (keep(given[0]),))
    try:
        with inference(body), torch.enable_grad():
            logits = logits_of(picture[None])[0]
    finally:
        hook.remove()
    labels = list(labels) or logits.topk(min(most, len(logits))).indices.tolist()
    maps = []
    for label in labels:
        (slope,) = torch.autograd.grad(logits[label], features[0], retain_graph=True)
        x, slope = features[0].detach()[0].float(), slope[0].float()
        if isinstance(body, ViT):  # (tokens, dim) -> (dim, rows, columns)
            grid = grid_of(picture.shape[-2:], body.sides)
            x, slope = (part[body.leading :].T.unflatten(1, grid) for part in (x, slope))
        maps.append(torch.einsum("drc, d -> rc", x, slope.mean((1, 2))).relu())
    return Reasons(labels, logits.detach().float(), torch.stack(maps))
