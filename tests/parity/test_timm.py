"""Parity with timm: its models with every parameter random, saved as its hub folders -> our load -> equal outputs, at
other sizes too."""

from __future__ import annotations

import json

import pytest
import torch

from formers.errors import CheckpointError
from formers.models.picture_classifier import PictureClassifier
from formers.models.resnet import ResNet
from formers.models.vit import ViT
from formers.pretrained.families import family
from formers.pretrained.families.timm import type_of
from formers.pretrained.load import load_model, model_class, save_model

pytest.importorskip("torchvision", reason="timm needs torchvision: pip install --no-deps torchvision")
timm = pytest.importorskip("timm")

VIT = {"img_size": 21, "patch_size": 7, "embed_dim": 16, "depth": 2, "num_heads": 4, "num_classes": 5}
SWIGLU = VIT | {"mlp_ratio": 4}
# case: (architecture, what it is made with)
CASES = {
    "class token": ("vit_small_patch16_224", VIT),
    "oblong": ("vit_small_patch16_224", VIT | {"img_size": (14, 28), "in_chans": 1, "qkv_bias": False}),
    "not filled by patches": ("vit_small_patch16_224", VIT | {"img_size": (23, 27)}),
    "body": ("vit_tiny_patch16_224", VIT | {"num_classes": 0}),
    "mean": ("vit_medium_patch16_gap_256", VIT),
    "norm of the mean": ("eva_large_patch14_196", VIT),
    "norm of the mean, registers": ("vit_wee_patch16_reg1_gap_256", VIT | {"reg_tokens": 3}),
    "norm of the mean, body": ("vit_base_patch16_reg4_gap_256", VIT | {"num_classes": 0}),
    "dinov2": ("vit_small_patch14_dinov2", VIT | {"num_classes": 0}),
    "dinov2 registers": ("vit_small_patch14_reg4_dinov2", VIT | {"num_classes": 0}),
    "dinov2 giant": ("vit_giant_patch14_dinov2", SWIGLU),
    "clip": ("vit_base_patch16_clip_quickgelu_224", VIT),
    "siglip": ("vit_base_patch32_siglip_256", VIT | {"num_classes": 0}),
    "siglip mean": ("vit_base_patch32_siglip_gap_256", VIT),
    "deit": ("deit_small_distilled_patch16_224", VIT),
    "deit3": ("deit3_small_patch16_224", VIT),
    "resnet18": ("resnet18", {"num_classes": 5}),
    "resnet50": ("resnet50", {"num_classes": 0, "in_chans": 1}),
}


def reference(case, **more):
    """Their model with every parameter random, in evaluation mode."""
    name, arguments = CASES[case]
    torch.manual_seed(7)
    model = timm.create_model(name, **arguments, **more)
    with torch.no_grad():
        for name, parameter in [*model.named_parameters(), *model.named_buffers()]:
            if not parameter.is_floating_point():
                continue
            around = parameter.ndim == 1 and name.endswith("weight")
            scale = 0.5 / parameter[0].numel() ** 0.5 if parameter.ndim == 4 else 0.3
            parameter.copy_(torch.randn_like(parameter) * scale + around)
            if name.endswith("running_var"):
                parameter.abs_().add_(0.5)
    return model.eval()


def saved(model, folder, **more):
    """As their hub has it."""
    timm.models.save_for_hf(model, folder, model_config=more, safe_serialization=True)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_outputs_equal_theirs(case, tmp_path):
    original = reference(case)
    saved(original, tmp_path)
    loaded = load_model(tmp_path)
    whole = "num_classes" in CASES[case][1] and original.num_classes > 0
    body = ResNet if "resnet" in case else ViT
    assert type(loaded.model) is model_class(tmp_path) is (PictureClassifier if whole else body)
    height, width = (70, 50) if body is ResNet else original.patch_embed.img_size
    pictures = torch.randn(3, 1 if case in ("oblong", "resnet50") else 3, height, width)
    compare(loaded.model, original, pictures, whole)
    if body is ViT:
        flexible = reference(case, dynamic_img_size=True)
        for shape in ((height // 7 * 7 + 14, width // 7 * 7 + 7), (7, 63), (14, 14)):
            compare(loaded.model, flexible, torch.randn(2, pictures.shape[1], *shape), whole)


def compare(model, original, pictures, whole):
    with torch.no_grad():
        states, vector = original.forward_features(pictures), original(pictures)
        ours = (model.body if whole else model)(pictures)
        pooled = model(pictures) if whole else model.pool(ours)
    assert vector.std() > 0.02
    torch.testing.assert_close(ours, states, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pooled, vector, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("case", "model_type"),
    [
        ("class token", "vit"),
        ("body", "vit"),
        ("deit", "deit"),
        ("dinov2", "dinov2"),
        ("dinov2 registers", "dinov2_with_registers"),
        ("resnet18", "resnet"),
        ("resnet50", "resnet"),
        ("norm of the mean", "formers-vision"),
    ],
)
def test_saved_it_is_a_folder_of_transformers_where_that_has_a_word_for_it(case, model_type, tmp_path):
    transformers = pytest.importorskip("transformers")
    loaded = load_model(saved(reference(case), tmp_path / "theirs"))
    save_model(tmp_path / "ours", loaded.model)
    again = load_model(tmp_path / "ours")
    assert again.family == model_type and again.model.config == loaded.model.config
    pictures = torch.randn(2, 1 if case == "resnet50" else 3, 21, 21)
    with torch.no_grad():
        torch.testing.assert_close(again.model(pictures), loaded.model(pictures))
        if model_type == "formers-vision":
            return
        name = json.loads((tmp_path / "ours" / "config.json").read_text())["architectures"][0]
        theirs, about = getattr(transformers, name).from_pretrained(tmp_path / "ours", output_loading_info=True)
        assert not about["unexpected_keys"] and not about["mismatched_keys"]
        expected = theirs.eval()(pictures)
    expected = expected.last_hidden_state if name.endswith("Model") else expected.logits
    torch.testing.assert_close(again.model(pictures), expected, atol=1e-4, rtol=1e-4)


def test_what_goes_with_a_name_is_theirs():
    """Heads, activation and eps are not in the weights: compared for every architecture that is read. Two blocks of
    each suffice.
    """
    names = [*timm.list_models(module="vision_transformer"), *timm.list_models(module="deit"), "resnet18", "resnet152"]
    read = 0
    for name in names:
        try:
            model_type = type_of(name, "config.json")
        except CheckpointError:
            continue
        with torch.device("meta"):
            model = timm.create_model(name, num_classes=2, **({"depth": 2} if model_type == "timm-vit" else {}))
        size = model.patch_embed.img_size if model_type == "timm-vit" else (224, 224)
        raw = {
            "architecture": name,
            "global_pool": model.global_pool if model_type == "timm-vit" else "avg",
            "pretrained_cfg": {"input_size": [3, *size]},
        }
        tensors = model.state_dict()
        config = family(model_type, (), tensors).config.to_ours(raw, tensors)
        read += 1
        if "resnet" in name:
            assert config.body.depths == tuple(len(getattr(model, f"layer{i}")) for i in range(1, 5))
            continue
        block, stack = model.blocks[0], config.body.stack
        activation = {"GELU": "gelu", "GELUTanh": "gelu_tanh", "QuickGELU": "gelu_quick", "SiLU": "silu"}
        expected = (block.attn.num_heads, block.norm1.eps, activation[type(block.mlp.act).__name__])
        assert (stack.heads, stack.norm_eps, stack.activation) == expected, name
        assert (stack.layers, stack.dim) == (len(model.blocks), model.embed_dim), name
        assert (config.body.height, config.body.width) == model.patch_embed.img_size, name
    assert read > 120


@pytest.mark.parametrize("given", [["cat", "dog", "bird", "cow", "ant"], {"0": "cat", "3": "cow"}, None])
def test_labels(given, tmp_path):
    more = {} if given is None else {"label_names": given, "label_descriptions": {"cat": "cat, a pet"}}
    labels = load_model(saved(reference("class token"), tmp_path, **more)).model.config.labels
    expected = {
        list: ("cat, a pet", "dog", "bird", "cow", "ant"),
        dict: ("cat, a pet", "LABEL_1", "LABEL_2", "cow", "LABEL_4"),
    }
    assert labels == expected.get(type(given), tuple(f"LABEL_{i}" for i in range(5)))


@pytest.mark.parametrize(
    ("case", "change", "message"),
    [
        (
            "class token",
            {"architecture": "swin_tiny"},
            "timm's architecture 'swin_tiny' is not read here; known: resnet18",
        ),
        ("class token", {"architecture": "vit_base_patch16_rpn_224"}, "'vit_base_patch16_rpn_224' is not read here"),
        (
            "class token",
            {"architecture": "resnet18", "global_pool": "avg"},
            "there is no weight conv1.weight of 4 dimensions",
        ),
        ("resnet18", {"architecture": "resnet50"}, None),
        (
            "class token",
            {"model_args": {"norm_layer": "rmsnorm"}},
            "model_args say norm_layer = 'rmsnorm', which is not",
        ),
        ("class token", {"model_args": {"num_heads": 5}}, "16"),
        ("class token", {"model_args": {"num_heads": "5"}}, "expected a whole number"),
        ("class token", {"model_args": {"act_layer": "mish"}}, "act_layer = 'mish' is not computed here; known: gelu"),
        ("class token", {"global_pool": "max"}, "global_pool = 'max' is not computed here; known: token, avg, map"),
        ("class token", {"num_classes": 7}, "head.weight holds 5 labels, but num_classes is 7"),
        ("norm of the mean", {"global_pool": "token"}, "a norm behind the class token"),
        ("class token", {"pretrained_cfg": {"input_size": ["a", 3]}}, "a size is"),
        ("class token", {"architecture": 5}, "architecture is 5, expected a text"),
    ],
)
def test_what_is_said_of_a_file_that_does_not_fit(case, change, message, tmp_path):
    saved(reference(case), tmp_path)
    path = tmp_path / "config.json"
    raw = json.loads(path.read_text())
    inner = {key: {**raw.get(key, {}), **value} for key, value in change.items() if isinstance(value, dict)}
    if "pretrained_cfg" in inner:
        raw["model_args"].pop("img_size")
    path.write_text(json.dumps({**raw, **change, **inner}))
    if message is None:
        assert isinstance(load_model(tmp_path).model, PictureClassifier)
        return
    with pytest.raises(CheckpointError) as caught:
        load_model(tmp_path)
    assert message in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500
