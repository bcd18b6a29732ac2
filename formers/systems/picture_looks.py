"""What there is to see of a model that reads pictures: where it looks, how far, what a label rests on; of CLIP its
matrix of pictures and captions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from formers.errors import ConfigError, nearest, shortened
from formers.fields import Between, Natural
from formers.systems.looks import EVERY, Picture, PlainLook
from formers.systems.system import NOWHERE, Event, Line, Look, Origin, Typed

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

    from formers.models.vit import ViT

HERE = "systems.picture_looks"
FEW = 3  # labels whose reasons are shown
PICTURE_LOOKS = (
    Look(
        "attention", "What the class token looks at, every head of a layer.", f"{HERE}:ClassLook", f"{HERE}:attention"
    ),
    Look("rollout", "What the class token is made of after all layers.", f"{HERE}:PictureLook", f"{HERE}:rollout"),
    Look("distance", "How far each head looks, over the layers.", f"{HERE}:DistanceLook", f"{HERE}:distance"),
    Look("positions", "How it tells places apart.", f"{HERE}:PlainLook", f"{HERE}:positions"),
    Look("patches", "How a picture is cut and becomes a sequence.", f"{HERE}:PictureLook", f"{HERE}:patches"),
    Look("gradcam", "Which places of a picture a label rests on.", f"{HERE}:LabelLook", f"{HERE}:gradcam"),
    *(look for look in EVERY if look.name not in ("attention", "positions")),
)
CLIP_LOOKS = (
    *PICTURE_LOOKS,
    Look("matrix", "How alike pictures and captions are, each with each.", f"{HERE}:MatrixLook", f"{HERE}:matrix"),
)


@dataclass(frozen=True, kw_only=True)
class PictureLook:
    """A look at what is done with a picture."""

    origin: Origin = NOWHERE
    """The model."""
    picture: Annotated[str, Typed("PICTURE", positional=True, file=True)] = ""
    """The picture that is read."""

    def __post_init__(self) -> None:
        of_picture(self)


@dataclass(frozen=True, kw_only=True)
class ClassLook:
    """A look at what the class token looks at in a picture."""

    origin: Origin = NOWHERE
    """The model."""
    picture: Annotated[str, Typed("PICTURE", positional=True, file=True)] = ""
    """The picture that is read."""
    layer: Natural | None = None
    """Layer, from 1 (default: the last)."""
    head: Natural | None = None
    """Only this head, from 1."""

    def __post_init__(self) -> None:
        of_picture(self)


@dataclass(frozen=True, kw_only=True)
class LabelLook:
    """A look at what speaks for a label."""

    origin: Origin = NOWHERE
    """The model."""
    picture: Annotated[str, Typed("PICTURE", positional=True, file=True)] = ""
    """The picture that is read."""
    label: Annotated[tuple[str, ...], Typed("NAME")] = ()
    """A label (default: the three likeliest)."""

    def __post_init__(self) -> None:
        of_picture(self)


@dataclass(frozen=True, kw_only=True)
class DistanceLook:
    """A look at how far heads look."""

    origin: Origin = NOWHERE
    """The model."""
    picture: Annotated[str, Typed("PICTURE", positional=True, file=True)] = ""
    """The picture that is read, or a folder or table of them."""
    pictures: Annotated[int, Between(1)] = 12
    """So many of a folder or table, from all over it."""

    def __post_init__(self) -> None:
        of_picture(self)


@dataclass(frozen=True, kw_only=True)
class MatrixLook:
    """A look at pictures and their captions."""

    origin: Origin = NOWHERE
    """The model."""
    picture: Annotated[str, Typed("SOURCE", positional=True, file=True)] = ""
    """A table of pictures with captions."""
    pictures: Annotated[int, Between(2, 32)] = 12
    """So many of a folder or table, from all over it."""
    caption: Annotated[str, Typed("COLUMN")] = "text"
    """Column of the captions."""
    image: Annotated[str, Typed("COLUMN")] = "image"
    """Column of the pictures."""

    def __post_init__(self) -> None:
        of_picture(self)


def of_picture(look: Any) -> None:
    """Refuse a look at nothing. Raises ConfigError."""
    if not look.picture.strip():
        raise ConfigError(f"of which picture? formers inspect {look.origin.name} LOOK picture.jpg")


# ---- what is read --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sight:
    """A picture as it is, and as a model reads it."""

    image: Image
    name: str
    pixels: Tensor
    """(channels, height, width), 0 to 255."""
    read: Tensor
    """The same normalised, on the device of the model."""

    @property
    def shown(self) -> NDArray[Any]:
        """(height, width, 3), 0 to 1."""
        return self.pixels.expand(3, -1, -1).permute(1, 2, 0).float().div(255).numpy()


def sights(opened: Any, source: str, count: int = 1) -> list[Sight]:
    """Pictures of a file, a folder or a table, evenly from all over it."""
    from formers.data.pictures import read_pictures

    table, preprocessor = read_pictures(source), opened.preprocessor
    like = next(opened.model.parameters())  # its device and number format
    images = [(table.image(row), table.where(row)) for row in spread(len(table), count)]
    pixels = [preprocessor.pixels(image) for image, _ in images]
    return [
        Sight(image, short(name), own, preprocessor.normalise(own).to(like))
        for (image, name), own in zip(images, pixels, strict=True)
    ]


def spread(total: int, count: int) -> Sequence[int]:
    """At most so many of all rows, evenly."""
    return [i * total // count for i in range(count)] if count < total else range(total)


def as_bytes(pictures: Tensor) -> Any:
    """(n, height, width, 3) or grey (n, height, width), uint8, of pictures in 0 to 1."""
    pixels = (255 * pictures.clamp(0, 1)).round().byte().permute(0, 2, 3, 1).numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def short(name: str) -> str:
    """A picture's name without its folder."""
    return name.rpartition("/")[2]


def vit_of(opened: Any, options: Any, what: str) -> ViT:
    """The vision transformer of a model. Raises ConfigError for a network that is none."""
    from formers.models.vit import ViT
    from formers.systems.picture_inspection import body_of

    body = body_of(opened.model)
    if not isinstance(body, ViT):
        name, headed = options.origin.name, body is not opened.model
        instead = f"; where it looks: formers inspect {name} gradcam picture.jpg" if headed else ""
        raise ConfigError(f"{name} is a ResNet, which has no {what}{instead}")
    return body


# ---- looks ---------------------------------------------------------------------------------------------------------


def attention(opened: Any, options: ClassLook) -> Iterator[Event]:
    """What the class token (without one: the mean patch) looks at in one layer: the heads and their mean."""
    from formers.pictures.overlay import draw_overlays
    from formers.systems.picture_inspection import class_attention

    vit = vit_of(opened, options, "attention")
    layers, heads = vit.config.stack.layers, vit.config.stack.heads
    for name, number, most in (("layer", options.layer, layers), ("head", options.head, heads)):
        if number is not None and number > most:
            raise ConfigError(f"--{name} ({number}) must be 1 to {most}")
    (sight,) = sights(opened, options.picture)
    layer = options.layer or layers
    weights = class_attention(vit, sight.read)[layer - 1].cpu()
    names = [f"head {i + 1}: {share:.0%} on patches" for i, share in enumerate(weights.sum((1, 2)).tolist())]
    if options.head:
        weights, names = weights[options.head - 1 :][:1], names[options.head - 1 :][:1]
    else:
        weights = weights.new_tensor([*([weights.mean(0).tolist()] if heads > 1 else []), *weights.tolist()])
        names = [*([f"mean of {heads} heads"] if heads > 1 else []), *names]
    title = f"what {looking(vit)} of {options.origin.short} looks at in {sight.name}, layer {layer} of {layers}"
    maps = 100 * weights.numpy()
    yield Picture("attention", lambda: draw_overlays(sight.shown, maps, names, title, "% of the attention"))


def looking(vit: ViT) -> str:
    return "the class token" if vit.config.class_tokens else "the mean patch"


def rollout(opened: Any, options: PictureLook) -> Iterator[Event]:
    """Attention roll-out over the picture."""
    from formers.pictures.overlay import draw_overlays
    from formers.systems.picture_inspection import attention_rollout

    vit = vit_of(opened, options, "attention")
    (sight,) = sights(opened, options.picture)
    maps = 100 * attention_rollout(vit, sight.read)[None].cpu().numpy()
    title = f"attention roll-out of {options.origin.short} over {sight.name}"
    name = f"what {looking(vit)} is made of"
    yield Picture("rollout", lambda: draw_overlays(sight.shown, maps, [name], title, "% of all patches"))


def distance(opened: Any, options: DistanceLook) -> Iterator[Event]:
    """How far each head of each layer looks, as the mean over the pictures."""
    import torch

    from formers.blocks.patches import grid_of
    from formers.pictures.distances import draw_distances
    from formers.systems.picture_inspection import attention_distances, patch_distances

    vit = vit_of(opened, options, "attention")
    seen = sights(opened, options.picture, options.pictures)
    each = [attention_distances(vit, sight.read[None]) for sight in seen]
    far = torch.stack(each).mean(0).cpu().numpy()
    even = float(patch_distances(grid_of(seen[0].read.shape[-2:], vit.sides), vit.sides).mean())
    of = seen[0].name if len(seen) == 1 else f"{len(seen)} pictures of {short(options.picture)}"
    title = f"how far each head of {options.origin.short} looks in {of}"
    yield Picture("distance", lambda: draw_distances(far, even, vit.config.patch, title))


def positions(opened: Any, options: PlainLook) -> Iterator[Event]:
    """How alike the learned position of each patch is to all others."""
    from formers.pictures.positions import draw_position_grid
    from formers.systems.picture_inspection import position_similarity

    alike = position_similarity(vit_of(opened, options, "positions")).cpu().numpy()
    title = f"learned positions of {options.origin.short}: how alike each is to all others"
    yield Picture("positions", lambda: draw_position_grid(alike, title))


def patches(opened: Any, options: PictureLook) -> Iterator[Event]:
    """The picture as it is, as it is cut, and as a sequence."""
    import numpy as np

    from formers.blocks.patches import grid_of
    from formers.pictures.patches import draw_patches

    vit = vit_of(opened, options, "patches")
    (sight,) = sights(opened, options.picture)
    grid = grid_of(sight.read.shape[-2:], vit.sides)
    classes = ["class", *(f"class {i + 2}" for i in range(vit.config.class_tokens - 1))][: vit.config.class_tokens]
    front = [*classes, *(f"register {i + 1}" for i in range(vit.config.registers))]
    title = f"{sight.name} as {options.origin.short} reads it"
    image = np.asarray(sight.image)
    yield Picture("patches", lambda: draw_patches(image, sight.shown, grid, front, title))


def gradcam(opened: Any, options: LabelLook) -> Iterator[Event]:
    """Grad-CAM of the likeliest labels, or of those that are asked for; of CLIP, captions are its labels."""
    import torch

    from formers.kernels.weight import Weight
    from formers.models.clip import CLIP
    from formers.models.picture_classifier import PictureClassifier
    from formers.pictures.overlay import draw_overlays
    from formers.systems.picture_inspection import body_of, grad_cam

    model, name = opened.model, options.origin.name
    if any(isinstance(weight, Weight) for weight in model.parameters()):
        raise ConfigError(f"{name} has int8 weights, through which no gradient goes; open it without --int8")
    if isinstance(model, PictureClassifier):
        names: Sequence[str] = model.config.labels
        for label in options.label:
            if label not in names:
                raise ConfigError(f'{name} has no label "{label}"{shortened(nearest(label, names), 200)}')
        logits_of: Callable[[Tensor], Tensor] = model
    elif isinstance(model, CLIP) and options.label:
        names = options.label
        texts = torch.as_tensor(opened.encode_texts(names), device=model.logit_scale.device)
        logits_of = lambda pictures: model.similarities(model.encode_picture(pictures), texts)  # noqa: E731
    else:
        wanted = '; name captions: --label "a photo of a cat"' if isinstance(model, CLIP) else ", so none has reasons"
        raise ConfigError(f"{name} has no labels of its own{wanted}")
    (sight,) = sights(opened, options.picture)
    reasons = grad_cam(body_of(model), logits_of, sight.read, [names.index(label) for label in options.label], most=FEW)
    several = isinstance(model, PictureClassifier) and model.config.kind == "several"
    likely = (reasons.logits.sigmoid() if several else reasons.logits.softmax(-1)).tolist()
    maps = (reasons.maps / reasons.maps.amax((1, 2), keepdim=True).clamp(min=1e-12)).cpu().numpy()
    shares = [f": {share:.1%}" if len(likely) > 1 or several else "" for share in likely]  # one of one says nothing
    titles = [f"{shortened(names[label], 28)}{shares[label]}" for label in reasons.labels]
    title = f"where {sight.name} speaks for a label of {options.origin.short} (Grad-CAM)"
    unit = "share of the strongest place"
    yield Picture("gradcam", lambda: draw_overlays(sight.shown, maps, titles, title, unit, most=1.0))


def matrix(opened: Any, options: MatrixLook) -> Iterator[Event]:
    """Every picture with every caption: cosines, and how likely each caption is for a picture."""
    import numpy as np
    import torch

    from formers.data.pictures import read_pictures
    from formers.pictures.matrix import draw_matrix

    table = read_pictures(options.picture, columns=[options.caption], image=options.image, text=[options.caption])
    table = table.select(spread(len(table), options.pictures))
    captions = table.table.columns[options.caption]
    images = [table.image(row) for row in range(len(table))]
    with torch.no_grad():
        device = opened.model.logit_scale.device
        texts = torch.as_tensor(opened.encode_texts(captions), device=device)
        pictures = torch.as_tensor(opened.encode_pictures(images), device=device)
        cosines = (texts @ pictures.T).float().cpu().numpy()
        logits = opened.model.similarities(pictures, texts).float()
    likely = logits.softmax(1).T.cpu().numpy()
    right = int((likely.argmax(0) == np.arange(len(images))).sum())
    scale = f"scale {opened.model.logit_scale.exp().item():.1f}"
    yield Line(f"{right} of {len(images)} pictures have their own caption as the likeliest; {scale}")
    title = f"{short(table.name)} as {options.origin.short} sees it: {right} of {len(images)} right"
    thumbnails = [np.asarray(image) for image in images]
    yield Picture("matrix", lambda: draw_matrix(thumbnails, captions, cosines, likely, title))
