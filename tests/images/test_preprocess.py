"""Pictures become the tensors that transformers, timm and open_clip make of them, whatever form their file has."""

import json
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image

from formers.errors import CheckpointError, DataError
from formers.images.preprocess import FILE, IMAGENET, NESTED, OPEN_CLIP, Preprocessor, load_preprocessor, usual

SIZES = [(37, 61), (61, 37), (50, 50), (5, 9), (1, 3), (64, 41), (200, 31)]  # height, width: odd, tiny, long
PRINTED = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
PLAIN = {"do_normalize": False}
BYTES = {"image_mean": 127.0, "image_std": 60.0}
# name: (class, the rest of its file)
FILES = {
    "ViT": ("ViT", {"size": {"height": 32, "width": 32}, "resample": 2}),
    "ViT-oblong": ("ViT", {"size": {"height": 24, "width": 33}, "resample": 3, **PRINTED}),
    "DeiT": ("DeiT", {"size": {"height": 36, "width": 36}, "crop_size": {"height": 31, "width": 31}, **PRINTED}),
    "DINOv2": ("Bit", {"size": {"shortest_edge": 40}, "crop_size": {"height": 35, "width": 35}, **PRINTED}),
    "Bit-padded": ("Bit", {"size": {"shortest_edge": 20}, "crop_size": {"height": 35, "width": 30}}),
    "Bit-whole": ("Bit", {"do_resize": False, "crop_size": {"height": 24, "width": 24}}),
    "ResNet": ("ConvNext", {"size": {"shortest_edge": 32}, "crop_pct": 0.875, **PRINTED}),
    "ResNet-uneven": ("ConvNext", {"size": {"shortest_edge": 31}, "crop_pct": 0.8}),
    "ResNet-large": ("ConvNext", {"size": {"shortest_edge": 384}}),
    "CLIP": ("CLIP", {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}),
    "CLIP-Lanczos": ("CLIP", {"size": {"shortest_edge": 33}, "crop_size": {"height": 30, "width": 31}, "resample": 1}),
    "CLIP-plain": ("CLIP", {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}} | PLAIN),
    "CLIP-0-to-255": ("CLIP", {"crop_size": {"height": 32, "width": 32}, "do_rescale": False} | BYTES),
    "SigLIP": ("Siglip", {"size": {"height": 32, "width": 32}}),
    "SigLIP-scaled": ("Siglip", {"size": {"height": 30, "width": 32}, "rescale_factor": 1 / 127.5, "resample": 4}),
}  # fmt: skip
TYPES = {"ViT": "vit", "DeiT": "deit", "Bit": "dinov2", "ConvNext": "resnet", "CLIP": "clip", "Siglip": "siglip"}


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    smooth = np.random.default_rng(seed).integers(0, 256, (-(-height // 3), -(-width // 3), 3), dtype=np.uint8)
    return Image.fromarray(np.kron(smooth, np.ones((3, 3, 1), np.uint8))[:height, :width])


def written(folder, file, name=FILE):
    (folder / name).write_text(json.dumps(file))
    return folder


def reference(name, backend, **settings):
    """The processor of transformers of a class, in one of its two forms."""
    pytest.importorskip("transformers")
    pil = "Pil" if backend == "pil" else ""
    place = f"{name.lower()}.image_processing_{'pil_' if pil else ''}{name.lower()}"
    return getattr(import_module(f"transformers.models.{place}"), f"{name}ImageProcessor{pil}")(**settings)


def file_of(case, **more):
    name, settings = FILES[case]
    return {"image_processor_type": f"{name}ImageProcessor", **settings, **more}


@pytest.mark.parametrize("case", FILES)
def test_pixels_are_those_of_the_pillow_backend(case, tmp_path):
    name, settings = FILES[case]
    theirs = reference(name, "pil", **settings)
    theirs.save_pretrained(tmp_path)
    ours = load_preprocessor(tmp_path, {"model_type": TYPES[name]})
    for height, width in SIZES:
        image = picture(height, width)
        expected = theirs(image, return_tensors="pt").pixel_values[0]
        assert expected.shape[1:] == (ours.height, ours.width)
        tolerance = 1e-6 * max(1, float(expected.abs().max()))
        assert (ours(image) - expected).abs().max() <= tolerance, (height, width)
    batch = ours.batch([picture(*size) for size in SIZES])
    assert torch.equal(batch, torch.stack([ours(picture(*size)) for size in SIZES]))


@pytest.mark.parametrize("case", ["ViT", "ViT-oblong", "DeiT", "DINOv2", "Bit-whole", "ResNet", "CLIP", "SigLIP"])
def test_the_torchvision_backend_differs_by_at_most_a_grey_level(case, tmp_path):
    """Of smooth pictures: on noise its bicubic filter errs by more. It has no box filter; odd borders it puts below."""
    pytest.importorskip("torchvision")
    theirs = reference(FILES[case][0], "torchvision", **FILES[case][1])
    ours = load_preprocessor(written(tmp_path, file_of(case)), {"image_size": 1})
    level = torch.tensor(ours.scale / np.array(ours.std)).view(-1, 1, 1)
    for size in [(301, 402), (233, 400), (300, 300)]:
        image = picture(7, 9).resize(size, Image.Resampling.BICUBIC)
        expected = theirs(image, return_tensors="pt").pixel_values[0]
        assert ((ours(image) - expected).abs() <= 1.001 * level).all(), size


@pytest.mark.parametrize("case", FILES)
def test_what_is_written_gives_the_same_pixels_in_transformers(case, tmp_path):
    read = load_preprocessor(written(tmp_path, file_of(case, sort="of")), {"image_size": 9})
    assert json.loads(read.files()[FILE]) == file_of(case, sort="of")
    for form in (read, replace(read, source={})):
        (tmp_path / FILE).write_bytes(form.files()[FILE])
        file = json.loads((tmp_path / FILE).read_text())
        assert load_preprocessor(tmp_path, {"image_size": 9}) == read
        theirs = reference(file["image_processor_type"].removesuffix("ImageProcessor"), "pil").from_pretrained(tmp_path)
        for size in SIZES:
            expected = theirs(picture(*size), return_tensors="pt").pixel_values[0]
            assert (read(picture(*size)) - expected).abs().max() <= 1e-6 * max(1, float(expected.abs().max()))
    wider = replace(read, mean=(0.1, 0.2, 0.3))
    file = json.loads(wider.files()[FILE])
    assert file["sort"] == "of" and file["image_mean"] == [0.1, 0.2, 0.3]


def test_a_class_says_what_its_file_leaves_out(tmp_path):
    for name in TYPES:
        theirs = reference(name, "pil")
        written(tmp_path, {"image_processor_type": f"{name}ImageProcessor", "resample": None, "size": None})
        image = picture(301, 433)
        expected = theirs(image, return_tensors="pt").pixel_values[0]
        for config in ({"image_size": 1}, {"model_type": TYPES[name]}):
            assert (load_preprocessor(tmp_path, config)(image) - expected).abs().max() <= 1e-6, name
        written(tmp_path, {})
        assert (load_preprocessor(tmp_path, {"model_type": TYPES[name]})(image) - expected).abs().max() <= 1e-6, name


def test_forms_of_older_files(tmp_path):
    config = {"image_size": 224}
    vit = load_preprocessor(written(tmp_path, {"feature_extractor_type": "ViTFeatureExtractor", "size": 32}), config)
    assert (vit.height, vit.width, vit.resize, vit.crop) == (32, 32, (32, 32), False)
    file = {"feature_extractor_type": "CLIPFeatureExtractor", "size": 32, "crop_size": 30}
    clip = load_preprocessor(written(tmp_path, file), config)
    assert (clip.height, clip.width, clip.resize, clip.crop) == (30, 30, 32, True)
    fast = load_preprocessor(
        written(tmp_path, {"image_processor_type": "ViTImageProcessorFast", "size": [24, 32]}), config
    )
    assert (fast.height, fast.width, fast.resize) == (24, 32, (24, 32))


def test_the_nested_file_comes_first(tmp_path):
    written(tmp_path, {"image_processor_type": "ViTImageProcessor", "size": 48})
    inner = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}, "crop_size": 32}
    written(tmp_path, {"image_processor": inner, "processor_class": "CLIPProcessor"}, NESTED)
    read = load_preprocessor(tmp_path, {"model_type": "clip"})
    assert read.height == 32 and json.loads(read.files()[FILE])["processor_class"] == "CLIPProcessor"
    written(tmp_path, {"processor_class": "CLIPProcessor"}, NESTED)  # of a time when nothing was nested
    assert load_preprocessor(tmp_path, {"model_type": "clip"}).height == 48


def test_a_folder_that_says_nothing(tmp_path):
    assert load_preprocessor(tmp_path, {"model_type": "vit", "image_size": 224}) is None
    written(tmp_path, {"feature_extractor_type": "WhisperFeatureExtractor", "sampling_rate": 16000})
    assert load_preprocessor(tmp_path, {"model_type": "vit"}) is None
    written(tmp_path, {"image_processor_type": "Something"})
    assert load_preprocessor(tmp_path, {"model_type": "bert"}) is None
    plain = usual(32, 48)
    assert plain(picture(50, 50)).shape == (3, 32, 48)
    assert usual(28, 28, channels=1).batch([picture(30, 30), picture(9, 20)]).shape == (2, 1, 28, 28)
    ends = usual(2, 2)(Image.fromarray(np.array([[[0] * 3, [255] * 3]] * 2, np.uint8)))
    assert ends.min() == -1 and ends.max() == 1


@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize("size", [(32, 32), (35, 35), (30, 41)])
def test_settings_of_timm(mode, size, tmp_path):
    pytest.importorskip("torchvision")
    timm = pytest.importorskip("timm.data")
    settings = {
        "input_size": [3, *size],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "crop_mode": mode,
        "std": [0.5] * 3,
    }
    theirs = timm.create_transform(**timm.resolve_data_config(pretrained_cfg=settings), is_training=False)
    for config in ({"architecture": "vit", "pretrained_cfg": settings}, {"architecture": "vit", **settings}):
        ours = load_preprocessor(tmp_path, config)
        assert ours.mean == tuple(IMAGENET["image_mean"])
        for height, width in [(47, 61), (61, 47), (50, 50), (40, 333), (46, 49)]:
            image = picture(height, width)
            assert (ours(image) - theirs(image)).abs().max() <= 1e-6, (height, width)
    (tmp_path / FILE).write_bytes(ours.files()[FILE])
    assert load_preprocessor(tmp_path, {"image_size": [*size]}) == ours


@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_settings_of_open_clip(mode, tmp_path):
    pytest.importorskip("torchvision")
    transform = pytest.importorskip("open_clip.transform")
    settings = {"size": 33, "interpolation": "bicubic", "resize_mode": mode, "mean": [0.5] * 3, "std": [0.4] * 3}
    written(tmp_path, {"model_cfg": {"vision_cfg": {"image_size": 33}}, "preprocess_cfg": settings}, OPEN_CLIP)
    theirs = transform.image_transform_v2(transform.PreprocessCfg(**settings), is_train=False)
    ours = load_preprocessor(tmp_path, {})
    for size in [(37, 61), (61, 37), (50, 50), (40, 333), (36, 39)]:
        assert (ours(picture(*size)) - theirs(picture(*size))).abs().max() <= 1e-6, size
    written(tmp_path, {"model_cfg": {}, "preprocess_cfg": {}}, OPEN_CLIP)
    assert load_preprocessor(tmp_path, {}).height == 224


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file, message",
    [
        ({"do_pad": True}, "do_pad is True, which is not computed here; if it changes nothing for your pictures, say"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order is True"),
        ({"image_processor_type": "SamImageProcessor"}, "the processor 'SamImageProcessor' is not computed here"),
        ({"image_processor_type": "ClipImageProcessor"}, 'did you mean "CLIPImageProcessor"?'),
        ({"size": {"shortest_edge": 8, "longest_edge": 9}}, "expected height and width, or shortest_edge alone"),
        ({"size": {}}, "expected height and width, or shortest_edge alone"),
        ({"size": 0}, "size is 0, expected in [1, 4096]"),
        ({"size": [1, 2, 3]}, "size has 3 entries, expected at most 2"),
        ({"size": "224"}, "size is '224', expected"),
        ({"resample": 7}, "resample is 7, expected in [0, 5]"),
        ({"resample": "bicubic"}, "resample is 'bicubic', expected"),
        ({"image_std": [0.5, 0, 0.5]}, "image_std[1] is 0, expected a positive number"),
        ({"image_mean": [0.5, 0.5]}, "image_mean has 2 values and image_std 3"),
        ({"image_processor_type": "ConvNextImageProcessor", "size": {"height": 9, "width": 9}}, "shortest_edge"),
    ],
)
def test_what_would_give_other_pixels_is_refused_by_name(file, message, tmp_path):
    written(tmp_path, {"image_processor_type": "ViTImageProcessor", **file})
    with pytest.raises(CheckpointError) as fault:
        load_preprocessor(tmp_path, {"image_size": 9})
    assert message in str(fault.value) and str(tmp_path / FILE) in str(fault.value)


def test_a_key_may_be_ignored_where_it_changes_nothing(tmp_path):
    written(
        tmp_path, {"image_processor_type": "ViTImageProcessor", "do_pad": True, "do_reduce_labels": True, "do_x": None}
    )
    assert load_preprocessor(tmp_path, {"image_size": 9}, ["do_pad"]).height == 224


def test_settings_of_others_that_are_refused(tmp_path):
    for settings, message in (
        ({"input_size": [3, 9, 9], "crop_mode": "border"}, "crop_mode 'border' to 9 x 9 is not computed here"),
        ({"interpolation": "bicubical"}, 'did you mean "bicubic"?'),
        ({"input_size": 9}, "input_size is 9, expected"),
        (7, "pretrained_cfg: it is 7, expected"),
    ):
        with pytest.raises(CheckpointError, match="pretrained_cfg") as fault:
            load_preprocessor(tmp_path, {"pretrained_cfg": settings})
        assert message in str(fault.value)
    written(tmp_path, {"preprocess_cfg": {"resize_mode": "longest"}}, OPEN_CLIP)
    with pytest.raises(CheckpointError, match="resize_mode 'longest'"):
        load_preprocessor(tmp_path, {})


def test_a_picture_of_another_size_where_none_is_resized(tmp_path):
    written(tmp_path, {"image_processor_type": "ViTImageProcessor", "do_resize": False})
    read = load_preprocessor(tmp_path, {"image_size": 28})
    assert read(picture(28, 28)).shape == (3, 28, 28)
    with pytest.raises(DataError, match="a picture has 30 x 28 pixels, its model takes 28 x 28; crop or resize it"):
        read(picture(28, 30))
    (tmp_path / FILE).write_bytes(replace(read, mean=(0.0,) * 3).files()[FILE])
    assert load_preprocessor(tmp_path, {"image_size": 28}) == replace(read, mean=(0.0,) * 3)
    with pytest.raises(DataError, match="when its shorter side is 20, its model takes 20 x 20"):
        Preprocessor(20, 20, 20).batch([picture(20, 20), picture(30, 40)])
    with pytest.raises(DataError, match="a picture, of 9000 x 1 pixels, is too long for its model"):
        Preprocessor(224, 224, 224, crop=True)(picture(1, 9000))


@pytest.mark.parametrize("size", [(1, 65535), (65535, 1), (65535, 20), (40, 65535)])
@pytest.mark.parametrize(
    "how",
    [
        Preprocessor(32, 32, 32, crop=True),
        Preprocessor(32, 32, 36, crop=True, to_even=True),
        Preprocessor(32, 20, (36, 24), crop=True, cover=True),
        Preprocessor(32, 20, (32, 20)),
        Preprocessor(32, 32, 32),
        Preprocessor(32, 32, None, crop=True),
        Preprocessor(32, 32, None),
    ],
)
def test_pictures_that_are_hardly_more_than_a_line(how, size, monkeypatch):
    """They are read, or refused before they take memory."""
    largest, resize = [], Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda image, to, *more: largest.append(to[0] * to[1]) or resize(image, to, *more)
    )
    try:
        assert how.pixels(Image.new("RGB", size, "red")).shape[1:] == (how.height, how.width)
    except DataError as fault:
        assert not largest and ("expected at most 33,554,432 pixels" in str(fault) or "its model takes" in str(fault))
    assert max(largest, default=0) <= 2**25
