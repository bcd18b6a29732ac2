"""Parity of vision: a reference with every parameter random -> our load -> equal outputs, other sizes too -> our save
-> it loads without a missing weight -> equal again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from formers.models.picture_classifier import PictureClassifier
from formers.models.resnet import ResNet
from formers.models.vit import ViT, preset
from formers.pretrained.load import load_model, save_model

transformers = pytest.importorskip("transformers")

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "image_size": 21,
    "patch_size": 7,
}
CNN = {"embedding_size": 6, "hidden_sizes": [8, 12, 16], "depths": [2, 1, 2], "layer_type": "basic"}
DINO = {**SIZES, "mlp_ratio": 3, "layerscale_value": 0.5}
LABELS = {0: "cat", 1: "dog", 2: "bird"}
# name: (their name, model_type, config, heads)
CASES = {
    "vit": ("ViT", "vit", SIZES, ("ForImageClassification",)),
    "vit-oblong": ("ViT", "vit", SIZES | {"image_size": [14, 28], "num_channels": 1, "qkv_bias": False}, ()),
    "deit": ("DeiT", "deit", SIZES, ("ForImageClassification", "ForImageClassificationWithTeacher")),
    "dinov2": ("Dinov2", "dinov2", DINO, ("ForImageClassification",)),
    "dinov2-giant": ("Dinov2", "dinov2", DINO | {"use_swiglu_ffn": True, "mlp_ratio": 4}, ()),
    "registers": (
        "Dinov2WithRegisters",
        "dinov2_with_registers",
        DINO | {"num_register_tokens": 3},
        ("ForImageClassification",),
    ),
    "dinov3": ("DINOv3ViT", "dinov3_vit", SIZES | {"num_register_tokens": 3, "layerscale_value": 0.5}, ()),
    "dinov3-gated": (
        "DINOv3ViT",
        "dinov3_vit",
        SIZES | {"use_gated_mlp": True, "hidden_act": "silu", "key_bias": True, "mlp_bias": False, "rope_theta": 30.0},
        (),
    ),
    "resnet": ("ResNet", "resnet", CNN, ("ForImageClassification",)),
    "resnet-bottleneck": ("ResNet", "resnet", CNN | {"layer_type": "bottleneck", "hidden_act": "silu"}, ()),
    "resnet-strides": (
        "ResNet",
        "resnet",
        CNN | {"layer_type": "bottleneck", "downsample_in_bottleneck": True, "downsample_in_first_stage": True},
        (),
    ),
}
PAIRS = [(case, head) for case in CASES for head in ("Model", *CASES[case][3])]


def reference(case, head="Model"):
    name, _, sizes, _ = CASES[case]
    torch.manual_seed(7)
    labels = {} if head == "Model" else {"id2label": LABELS, "label2id": {name: i for i, name in LABELS.items()}}
    model = getattr(transformers, name + head)(getattr(transformers, f"{name}Config")(**sizes, **labels))
    with torch.no_grad():
        for name, parameter in [*model.named_parameters(), *model.named_buffers()]:
            if not parameter.is_floating_point() or name.endswith("inv_freq"):  # which is computed, not learned
                continue
            around = "norm" in name and name.endswith("weight")
            parameter.copy_(torch.randn_like(parameter) * 0.3 + around)
            if name.endswith("running_var"):
                parameter.abs_().add_(0.5)
    return model.eval()


def their_outputs(model, pictures, head):
    square = not isinstance(getattr(model.config, "image_size", []), list)  # it reads other sizes of square ones only
    change = {"interpolate_pos_encoding": True} if square and model.config.model_type in ("vit", "deit") else {}
    with torch.no_grad():
        out = model(pictures, **change)
    if head != "Model":
        return out.logits
    return torch.cat([out.last_hidden_state.flatten(), out.pooler_output.flatten()])


def our_outputs(model, pictures, head):
    with torch.no_grad():
        out = model(pictures)
        return out if head != "Model" else torch.cat([out.flatten(), model.pool(out).flatten()])


def sizes(config):
    """The model's own size, a larger and a smaller one, and another shape of as many patches."""
    height, width = config.image_size if isinstance(config.image_size, list) else (config.image_size,) * 2
    return [(height, width)] if height != width else [(21, 21), (35, 28), (14, 14), (7, 63)]


@pytest.mark.parametrize(("case", "head"), PAIRS)
def test_outputs_equal_the_reference_both_ways(case, head, tmp_path):
    name, model_type, _, _ = CASES[case]
    original = reference(case, head)
    original.save_pretrained(tmp_path / "theirs")
    loaded = load_model(tmp_path / "theirs")
    assert loaded.family == model_type
    assert type(loaded.model) is (PictureClassifier if head != "Model" else ResNet if "resnet" in case else ViT)
    save_model(tmp_path / "ours", loaded.model, family=model_type)
    written = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert written["architectures"] == [name + head]
    again, info = type(original).from_pretrained(tmp_path / "ours", output_loading_info=True)
    strange = {key for key in info["missing_keys"] if "mask_token" not in key}
    assert not strange and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert again.config.id2label == original.config.id2label
    assert load_model(tmp_path / "ours").model.config == loaded.model.config
    channels = getattr(original.config, "num_channels", 3)
    shapes = [(37, 50), (64, 33)] if "resnet" in case else sizes(original.config)
    for model in (original, again.eval()):
        for shape in shapes:
            pictures = torch.randn(3, channels, *shape)
            expected = their_outputs(model, pictures, head)
            assert expected.std() > 0.02
            torch.testing.assert_close(our_outputs(loaded.model, pictures, head), expected, atol=1e-4, rtol=1e-4)


OURS = {
    "vit": {"patch": 4, "height": 16, "width": 16, "stem": 2},
    "resnet": {"small_stem": True},
    "maximum": {"halving": "maximum", "small_stem": True},
}


@pytest.mark.parametrize("form", OURS)
def test_what_no_family_has_a_word_for_is_written_in_our_own_layout(form, tmp_path):
    config = load_model(saved("vit" if form == "vit" else "resnet", tmp_path)).model.config
    model = PictureClassifier(replace(config, body=replace(config.body, **OURS[form]))).eval()
    save_model(tmp_path / "own", model)
    again = load_model(tmp_path / "own")
    assert again.family == "formers-vision" and again.model.config == model.config
    pictures = torch.randn(2, 3, 16, 32)
    with torch.no_grad():
        assert torch.equal(again.model(pictures), model(pictures))


def saved(case, folder):
    reference(case, "ForImageClassification").save_pretrained(folder / "theirs")
    return folder / "theirs"


def test_published_sizes():
    assert (preset("vit-base/16").stack.dim, preset("vit-huge/14").patch) == (768, 14)
