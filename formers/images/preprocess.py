"""How a family's pictures become tensors: sizes, crop and normalisation as one value, read from a model's folder."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from formers.errors import CheckpointError, DataError, nearest, shown
from formers.fields import Between
from formers.files import as_json, read_json
from formers.shapes import Sized, fault

FILE, NESTED, OPEN_CLIP = "preprocessor_config.json", "processor_config.json", "open_clip_config.json"
FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # Pillow's numbers of them
HALVES = (0.5, 0.5, 0.5)
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
OPENAI = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
HALF = {"image_mean": list(HALVES), "image_std": list(HALVES)}
# What a file means that says nothing else, by the name of its class without "ImageProcessor".
_CLIP = {"size": {"shortest_edge": 224}, "do_center_crop": True, "crop_size": 224, "resample": 3, **OPENAI}
CLASSES: dict[str, dict[str, Any]] = {
    "ViT": {"size": 224, "resample": 2, **HALF},
    "DeiT": {"size": 256, "do_center_crop": True, "crop_size": 224, "resample": 3, **HALF},
    "Bit": _CLIP,
    "CLIP": _CLIP,
    "ConvNext": {"size": {"shortest_edge": 384}, "resample": 3, "crop_pct": 224 / 256, **HALF},
    "Siglip": {"size": {"height": 224, "width": 224}, "resample": 3, **HALF},
    "DINOv3ViT": {"size": 224, "resample": 2, **IMAGENET},
}
SQUASHES = {"ViT", "DeiT", "DINOv3ViT"}  # a size that is one number: both sides, else the shorter one
UNSQUASHED = 384  # ConvNext squashes pictures to sizes from this one on
# The class of files that name none.
USUAL = {
    "vit": "ViT", "deit": "DeiT", "dinov2": "Bit", "dinov2_with_registers": "Bit", "dinov3_vit": "DINOv3ViT",
    "resnet": "ConvNext", "clip": "CLIP", "clip_vision_model": "CLIP", "siglip": "Siglip",
    "siglip_vision_model": "Siglip", "formers-vision": "ViT", "formers-clip": "CLIP",
    "formers-autoencoder": "ViT",
}  # fmt: skip
OF_PICTURES = {"image_size", "num_channels", "vision_config", "pretrained_cfg", "_class_name"}  # of a model's config
ENDINGS = ("ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor")
SCALE = 1 / 255
MOST_RESIZED = 2**25  # pixels of a picture before its middle is cropped, 134 MB in each thread
ALWAYS = {"do_resize": True, "do_center_crop": False, "do_rescale": True, "rescale_factor": SCALE, "do_normalize": True}
HARMLESS = {"do_convert_rgb", "do_reduce_labels"}  # pictures are RGB when they come; labels are no pictures

Side = Annotated[int, Between(1, 4096)]
Spread = Annotated[float, Between(above=0)]
Channels = Annotated[list[float], Sized(1, 3)]
Spreads = Annotated[list[Spread], Sized(1, 3)]


class SizeShape(TypedDict, total=False):
    height: Side | None
    width: Side | None
    shortest_edge: Side | None


Sides = Side | Annotated[list[Side], Sized(1, 2)] | SizeShape


class ProcessorShape(TypedDict, total=False):
    """preprocessor_config.json: null stands for what its class does."""

    image_processor_type: str | None
    feature_extractor_type: str | None
    processor_class: str | None
    do_resize: bool | None
    size: Sides | None
    resample: Annotated[int, Between(0, 5)] | None
    do_center_crop: bool | None
    crop_size: Sides | None
    crop_pct: Annotated[float, Between(above=0, most=1)] | None
    crop_to_even: bool | None
    cover: bool | None
    do_rescale: bool | None
    rescale_factor: Spread | None
    do_normalize: bool | None
    image_mean: float | Channels | None
    image_std: Spread | Spreads | None


class NestedShape(TypedDict, total=False):
    """processor_config.json, of tokenizer and pictures together."""

    image_processor: ProcessorShape
    processor_class: str | None


class TimmShape(TypedDict, total=False):
    """`pretrained_cfg` of timm."""

    input_size: Annotated[list[Side], Sized(3, 3)] | None
    interpolation: str | None
    crop_pct: Annotated[float, Between(above=0, most=1)] | None
    crop_mode: str | None
    mean: Channels | None
    std: Spreads | None


class OpenClipSettings(TypedDict, total=False):
    size: Sides | None
    mode: Literal["RGB"] | None
    interpolation: str | None
    resize_mode: str | None
    mean: Channels | None
    std: Spreads | None


class OpenClipTower(TypedDict, total=False):
    image_size: Sides | None


class OpenClipModel(TypedDict, total=False):
    vision_cfg: OpenClipTower


class OpenClipFile(TypedDict, total=False):
    """open_clip_config.json."""

    model_cfg: OpenClipModel
    preprocess_cfg: OpenClipSettings


@dataclass(frozen=True)
class Preprocessor:
    """A picture is resized, its middle cropped, then every value becomes (value * scale - mean) / std of its channel.

    Equal to transformers' processors of the same file: to their Pillow backend within 1e-6, on photographs to their
    torchvision backend within one grey level, but for the side of an odd border.
    """

    height: int
    width: int
    """Of every picture that comes out."""
    resize: tuple[int, int] | int | None
    """(height, width) whatever the sides were, or the shorter side; None leaves pictures as they are."""
    crop: bool = False
    """Whether the middle of that size is taken, black around where the picture is smaller."""
    resample: int = FILTERS.index("bilinear")
    """Pillow's number of the filter."""
    scale: float = SCALE
    mean: tuple[float, ...] = HALVES
    """Of each channel: three of RGB, one of grey."""
    std: tuple[float, ...] = HALVES
    to_even: bool = False
    """Of a crop that cannot leave out as much on both sides: it begins at the even pixel, as torchvision's does for
    timm and open_clip; else one earlier.
    """
    cover: bool = False
    """Whether the ratio is kept and (height, width) of `resize` covered, as timm does; transformers would squash."""
    source: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """The file that it was read from; what that says beside is written again."""

    def __call__(self, image: Image.Image) -> Tensor:
        """One picture, (channels, height, width), float32. Raises DataError for a size that stays another one."""
        return self.normalise(self.pixels(image))

    def batch(self, images: Sequence[Image.Image]) -> Tensor:
        """Several, (n, channels, height, width); Pillow resizes them in as many threads as PyTorch has."""
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            return self.normalise(torch.stack(list(threads.map(self.pixels, images))))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Values of 0 to 255, (..., channels, height, width), as the model reads them, float32."""
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return pixels.to(torch.float32, memory_format=torch.contiguous_format).mul_(self.scale).sub_(mean).div_(std)

    def pixels(self, image: Image.Image) -> Tensor:
        """One picture in its size and before its values change, (channels, height, width), uint8."""
        pixels = np.array(self._sized(image.convert("L" if len(self.mean) == 1 else "RGB")))
        return torch.from_numpy(pixels.reshape(self.height, self.width, -1)).permute(2, 0, 1)

    def _sized(self, image: Image.Image) -> Image.Image:
        height, width = self.resize if isinstance(self.resize, tuple) else (image.height, image.width)
        if self.cover:
            ratio = min(image.height / height, image.width / width)
            height, width = round(image.height / ratio), round(image.width / ratio)
        if isinstance(self.resize, int):
            short = min(height, width)
            height, width = int(self.resize * height / short), int(self.resize * width / short)
        name = image.info.get("name", "a picture")
        sides, how = f"{width} x {height}", "" if self.resize is None else f" when its shorter side is {self.resize}"
        name = image.info.get("name", "a picture")
        if not self.crop and (height, width) != (self.height, self.width):
            expected = f"its model takes {self.width} x {self.height}"
            raise DataError(f"{name} has {sides} pixels{how}, {expected}; crop or resize it")
        if height * width > MOST_RESIZED and (height, width) != (image.height, image.width):
            what = f"{name}, of {image.width} x {image.height} pixels, is too long for its model"
            how = f"which takes the middle of {sides}, expected at most {MOST_RESIZED:,} pixels"
            raise DataError(f"{what}, {how}; crop it")
        image = image if image.size == (width, height) else image.resize((width, height), self.resample)
        if not self.crop or (height, width) == (self.height, self.width):
            return image
        extra = (height - self.height, width - self.width)
        top, left = (round(pixels / 2) if self.to_even else pixels // 2 for pixels in extra)  # left out before the rest
        return image.crop((left, top, left + self.width, top + self.height))

    def files(self) -> dict[str, bytes]:
        """The file that keeps it, which transformers reads too: as it was read, unless what it does has changed."""
        if self.source and _parsed(self.source, FILE, (self.height, self.width)) == self:
            return {FILE: as_json(self.source)}
        height, width = self.resize if isinstance(self.resize, tuple) else (self.height, self.width)
        squash = isinstance(self.resize, tuple) and not self.crop
        written = {
            "image_processor_type": f"{'ViT' if squash else 'CLIP'}ImageProcessor",
            "do_resize": self.resize is not None,
            "size": {"shortest_edge": self.resize} if type(self.resize) is int else {"height": height, "width": width},
            "resample": self.resample,
            "do_center_crop": self.crop,
            "crop_size": {"height": self.height, "width": self.width},
            "do_rescale": self.scale != 1,
            "rescale_factor": self.scale,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
            "do_convert_rgb": len(self.mean) == 3,
            **{key: True for key, on in (("crop_to_even", self.to_even), ("cover", self.cover)) if on},
        }
        kept = {key: value for key, value in self.source.items() if key not in ProcessorShape.__annotations__}
        return {FILE: as_json({**kept, **written})}


def usual(height: int, width: int, channels: int = 3) -> Preprocessor:
    """The preprocessor of a model whose folder says nothing: squash, bilinear, values of -1 to 1."""
    return Preprocessor(height, width, (height, width), mean=HALVES[:channels], std=HALVES[:channels])


def load_preprocessor(folder: Path, config: Mapping[str, Any], ignore: Sequence[str] = ()) -> Preprocessor | None:
    """The preprocessor that a model folder describes, in the form of transformers, timm or open_clip; None in none.

    config: config.json of the model; ignore: keys that change nothing, though they are not computed here. Raises
    CheckpointError for a key or class that would change pixels and is not computed.
    """
    timm = config.get("pretrained_cfg", config if "architecture" in config else None)
    raw, what = _of_transformers(folder, config)
    if raw is None and (folder / OPEN_CLIP).exists():
        raw, what = _of_open_clip(folder / OPEN_CLIP), str(folder / OPEN_CLIP)
    elif raw is None and timm is not None:
        what = f"{folder / 'config.json'}: pretrained_cfg"
        raw = _of_timm(timm, what)
    if raw is None:
        return None
    tower = config.get("vision_config")
    size = config.get("image_size") or (tower.get("image_size") if isinstance(tower, Mapping) else None)
    ends = None if size is None or fault(size, Sides) else _size(size, True, what)
    return _parsed({key: value for key, value in raw.items() if key not in ignore}, what, ends)


def _of_transformers(folder: Path, config: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The settings of a folder in its nested or own file, with the name of their class, and where they stand; None
    for a model that takes no pictures, and for the settings of sounds.
    """
    raw, what = None, str(folder / FILE)
    if config.get("model_type") not in USUAL and not OF_PICTURES & config.keys():
        return None, what
    if (folder / NESTED).exists():
        outer = read_json(folder / NESTED, NestedShape)
        if "image_processor" in outer:
            what, named = f"{folder / NESTED}: image_processor", outer.get("processor_class")
            raw = {**({"processor_class": named} if named else {}), **outer["image_processor"]}
    if raw is None and (folder / FILE).exists():
        raw = read_json(folder / FILE, ProcessorShape)
    if raw is None or "sampling_rate" in raw:
        return None, what
    name = (
        raw.get("image_processor_type") or raw.get("feature_extractor_type") or USUAL.get(str(config.get("model_type")))
    )
    if name is None:
        raise CheckpointError(f'{what} has no "image_processor_type"; add it, such as "ViTImageProcessor"')
    short = name.removesuffix(next((end for end in ENDINGS if name.endswith(end)), ""))
    if short not in CLASSES:
        names = [f"{known}ImageProcessor" for known in CLASSES]
        raise CheckpointError(f"{what}: the processor {shown(name)} is not computed here{nearest(name, names)}")
    return {**raw, "image_processor_type": f"{short}ImageProcessor"}, what


def _of_open_clip(path: Path) -> dict[str, Any]:
    """The settings of open_clip as transformers writes them."""
    raw = read_json(path, OpenClipFile)
    given = {key: value for key, value in raw.get("preprocess_cfg", {}).items() if value}
    size = raw.get("model_cfg", {}).get("vision_cfg", {}).get("image_size") or given.get("size", 224)
    height, width = _pair(_size(size, True, f"{path}: size"))
    mode = given.get("resize_mode", "shortest")
    if mode not in ("shortest", "squash"):
        raise CheckpointError(f"{path}: resize_mode {shown(mode)} to {height} x {width} is not computed here")
    sides = {"height": height, "width": width}
    return {
        **{f"image_{key}": given.get(key, OPENAI[f"image_{key}"]) for key in ("mean", "std")},
        "cover": mode == "shortest" and height != width,
        **_cropped(
            height if mode == "shortest" and height == width else sides,
            sides,
            given.get("interpolation", "bicubic"),
            str(path),
        ),
    }


def _of_timm(settings: Any, what: str) -> dict[str, Any]:
    """The settings of timm as transformers writes them."""
    if message := fault(settings, TimmShape):
        raise CheckpointError(f"{what}: {message}")
    given = {key: value for key, value in settings.items() if value}
    _, height, width = given.get("input_size", (3, 224, 224))
    mode, share = given.get("crop_mode", "center"), given.get("crop_pct", 0.875)
    if mode not in ("center", "squash"):
        raise CheckpointError(f"{what}: crop_mode {shown(mode)} to {height} x {width} is not computed here")
    before = {"height": math.floor(height / share), "width": math.floor(width / share)}
    size = before if mode == "squash" or height != width else before["height"]
    name = given.get("interpolation", "bicubic")
    return {
        **{f"image_{key}": given.get(key, IMAGENET[f"image_{key}"]) for key in ("mean", "std")},
        "cover": mode == "center" and height != width,
        **_cropped(size, {"height": height, "width": width}, "bilinear" if name == "random" else name, what),
    }


def _cropped(size: Any, ends: Mapping[str, int], name: str, what: str) -> dict[str, Any]:
    """A resize by the filter of a name and a crop as torchvision does it."""
    if name not in FILTERS:
        raise CheckpointError(f"{what}: interpolation {shown(name)} is not known{nearest(name, FILTERS)}")
    return {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": size} if isinstance(size, int) else size,
        "crop_size": ends,
        "crop_to_even": True,
        "resample": FILTERS.index(name),
    }


def _size(value: Any, square: bool, what: str) -> tuple[int, int] | int:
    """(height, width), or the shorter side; square: whether a number alone is both sides."""
    if message := fault(value, Sides):
        raise CheckpointError(f"{what}: {message}")
    if isinstance(value, Mapping):
        match {key: side for key, side in value.items() if side is not None}:
            case {"height": height, "width": width, **others} if not others:
                return height, width
            case {"shortest_edge": side, **others} if not others:
                return side
        raise CheckpointError(f"{what} is {shown(value)}, expected height and width, or shortest_edge alone")
    if isinstance(value, list) and len(value) == 2:
        return value[0], value[1]
    side = value[0] if isinstance(value, list) else value
    return (side, side) if square else side


def _pair(size: tuple[int, int] | int) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _parsed(raw: Mapping[str, Any], what: str, size: tuple[int, int] | int | None) -> Preprocessor:
    """What a file of transformers does; size: of the model, for pictures that stay as they are."""
    if message := fault(raw, ProcessorShape):
        raise CheckpointError(f"{what}: {message}")
    for key, value in raw.items():
        if value and re.match("do_|use_", key) and key not in {*ProcessorShape.__annotations__, *HARMLESS}:
            fix = f"if it changes nothing for your pictures, say --ignore-key {key}"
            raise CheckpointError(f"{what}: {key} is {shown(value)}, which is not computed here; {fix}")
    name = raw["image_processor_type"].removesuffix("ImageProcessor")
    said = {**ALWAYS, **CLASSES[name], **{key: value for key, value in raw.items() if value is not None}}
    resize, crop = _size(said["size"], name in SQUASHES, f"{what}: size"), said["do_center_crop"]
    ends = (
        _pair(_size(said["crop_size"], True, f"{what}: crop_size")) if crop and "crop_size" in said else _pair(resize)
    )
    if name == "ConvNext" and said["do_resize"]:
        if crop or not isinstance(resize, int):
            raise CheckpointError(f"{what}: expected a size with shortest_edge and no do_center_crop of {name}")
        crop = resize < UNSQUASHED
        resize = int(resize / said["crop_pct"]) if crop else ends
    elif not (said["do_resize"] or crop) and size is not None:
        ends = _pair(size)
    mean, std = (value if isinstance(value, list) else [value] * 3 for value in (said["image_mean"], said["image_std"]))
    channels = len(mean)
    if channels not in (1, 3) or len(std) != channels:
        raise CheckpointError(
            f"{what}: image_mean has {channels} values and image_std {len(std)}, expected three of each"
        )
    plain = not said["do_normalize"]
    return Preprocessor(
        *ends,
        resize if said["do_resize"] else None,
        crop,
        said["resample"],
        said["rescale_factor"] if said["do_rescale"] else 1.0,
        (0.0,) * channels if plain else tuple(mean),
        (1.0,) * channels if plain else tuple(std),
        bool(said.get("crop_to_even")),
        bool(said.get("cover")) and isinstance(resize, tuple) and said["do_resize"],
        raw,
    )
