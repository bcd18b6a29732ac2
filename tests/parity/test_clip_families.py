"""Parity of CLIP and SigLIP, whole and as single towers: the reference with every parameter random -> our load -> equal
outputs -> our save -> it loads without a missing weight -> equal again."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from formers.models.clip import CLIP, PictureTower, TextTower
from formers.models.picture_classifier import PictureClassifier
from formers.models.vit import ViT
from formers.pretrained.load import load_model, save_model

transformers = pytest.importorskip("transformers")

STACK = {"num_hidden_layers": 2, "num_attention_heads": 4}
TEXT = STACK | {"hidden_size": 16, "intermediate_size": 24, "vocab_size": 37, "max_position_embeddings": 11}
PICTURE = STACK | {"hidden_size": 20, "intermediate_size": 28, "image_size": 21, "patch_size": 7}
CLIP_WHOLE = {"text_config": TEXT | {"eos_token_id": 36}, "vision_config": PICTURE, "projection_dim": 12}
OLD = CLIP_WHOLE | {"text_config": TEXT | {"eos_token_id": 2, "hidden_act": "gelu"}}
SIGLIP_WHOLE = {"text_config": TEXT | {"hidden_size": 20, "pad_token_id": 1}, "vision_config": PICTURE}
LABELS = {"id2label": {0: "cat", 1: "dog", 2: "bird"}, "label2id": {"cat": 0, "dog": 1, "bird": 2}}
# case: (model_type, their class, its config, ours)
CASES = {
    "clip": ("clip", "CLIPModel", CLIP_WHOLE, CLIP),
    "clip-old": ("clip", "CLIPModel", OLD, CLIP),
    "clip-text": ("clip_text_model", "CLIPTextModel", TEXT | {"eos_token_id": 36}, TextTower),
    "clip-text-old": ("clip_text_model", "CLIPTextModel", TEXT | {"eos_token_id": 2}, TextTower),
    "clip-text-projected": (
        "clip_text_model",
        "CLIPTextModelWithProjection",
        TEXT | {"eos_token_id": 36, "projection_dim": 9},
        TextTower,
    ),
    "clip-picture": ("clip_vision_model", "CLIPVisionModel", PICTURE, ViT),
    "clip-picture-projected": (
        "clip_vision_model",
        "CLIPVisionModelWithProjection",
        PICTURE | {"projection_dim": 9, "num_channels": 1},
        PictureTower,
    ),
    "clip-classifier": ("clip", "CLIPForImageClassification", CLIP_WHOLE | LABELS, PictureClassifier),
    "siglip": ("siglip", "SiglipModel", SIGLIP_WHOLE, CLIP),
    "siglip-text": ("siglip_text_model", "SiglipTextModel", TEXT | {"projection_size": 9}, TextTower),
    "siglip-picture": ("siglip_vision_model", "SiglipVisionModel", PICTURE, ViT),
    "siglip-uneven": ("siglip", "SiglipModel", SIGLIP_WHOLE | {"vision_config": PICTURE | {"image_size": 24}}, CLIP),
    "siglip-classifier": ("siglip", "SiglipForImageClassification", SIGLIP_WHOLE | LABELS, PictureClassifier),
}
SHAPES = [(21, 21), (35, 28), (14, 14), (7, 63)]  # its own, larger, smaller, another shape of as many patches


def reference(case):
    _, name, config, _ = CASES[case]
    torch.manual_seed(7)
    kind = getattr(transformers, name)
    model = kind(kind.config_class(**json.loads(json.dumps(config)))).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            around = "norm" in name and name.endswith("weight")
            parameter.copy_(torch.randn_like(parameter) * 0.3 + around)
    return model


def texts(siglip):
    """Three of unequal length, and where they are real."""
    tokens = torch.tensor([[35, 4, 5, 6, 36], [35, 7, 36, 1, 1], [35, 3, 4, 36, 1]])
    keep = torch.tensor([[1] * 5, [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]).bool()
    return (torch.nn.functional.pad(tokens, (0, 6), value=1), None) if siglip else (tokens, keep)


@torch.no_grad()
def their_outputs(model, pictures):
    name, kind = type(model).__name__, model.config.model_type
    change = {"pixel_values": pictures, "interpolate_pos_encoding": True}
    tokens, keep = texts("siglip" in kind)
    words = {"input_ids": tokens, **({} if keep is None else {"attention_mask": keep.long()})}
    if name in ("CLIPModel", "SiglipModel"):
        out = model(**words, **change)
        return [out.image_embeds, out.text_embeds, out.logits_per_image]
    out = model(**(words if "Text" in name else change))
    parts = ("image_embeds", "text_embeds", "logits", "pooler_output")
    return [next(out[part] for part in parts if part in out)]


@torch.no_grad()
def our_outputs(model, pictures):
    tokens, keep = texts(False)
    if isinstance(model, CLIP):
        return [model.encode_picture(pictures), model.encode_text(tokens, keep), model(pictures, tokens, keep)]
    if isinstance(model, TextTower):
        return [model(tokens, keep)]
    return [model.pool(model(pictures)) if isinstance(model, ViT) else model(pictures)]


@pytest.mark.parametrize("case", CASES)
def test_outputs_equal_the_reference_both_ways(case, tmp_path):
    model_type, name, _, ours = CASES[case]
    original = reference(case)
    original.save_pretrained(tmp_path / "theirs")
    loaded = load_model(tmp_path / "theirs")
    assert loaded.family == model_type and type(loaded.model) is ours
    save_model(tmp_path / "ours", loaded.model, family=model_type)
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["architectures"] == [name]
    again, info = type(original).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert again.config.id2label == original.config.id2label
    assert load_model(tmp_path / "ours").model.config == loaded.model.config
    channels = 1 if "num_channels" in CASES[case][2] else 3
    for model in (original, again.eval()):
        for shape in SHAPES if "uneven" not in case else [(24, 24), *SHAPES[:2]]:
            pictures = torch.randn(3, channels, *shape)
            for out, expected in zip(our_outputs(loaded.model, pictures), their_outputs(model, pictures), strict=True):
                assert expected.std() > 0.02
                torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_hidden_states_of_a_text_are_those_that_other_models_read(tmp_path):
    original = reference("clip-text")
    original.save_pretrained(tmp_path)
    tokens, _ = texts(False)
    expected = original(input_ids=tokens).last_hidden_state
    torch.testing.assert_close(load_model(tmp_path).model.hidden(tokens), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("case", ["clip-text", "clip-picture-projected", "siglip-text", "siglip-picture"])
def test_a_single_tower_is_read_with_its_prefix_and_without_and_written_with_it(case, tmp_path):
    original = reference(case)
    prefix = "text_model." if "text" in case else "vision_model."
    original.save_pretrained(tmp_path / "plain")
    original.save_pretrained(tmp_path / "prefixed")
    for folder, change in (("plain", lambda name: name.removeprefix(prefix)), ("prefixed", lambda name: name)):
        path = tmp_path / folder / "model.safetensors"
        tensors = {change(name): tensor for name, tensor in load_file(path).items()}
        if folder == "prefixed":
            bare = {name for name in tensors if "projection" not in name and not name.startswith(prefix)}
            tensors = {prefix + name if name in bare else name: tensor for name, tensor in tensors.items()}
            tensors[f"{prefix}embeddings.position_ids"] = torch.arange(9)[None]
        save_file(tensors, path, {"format": "pt"})
    models = [load_model(tmp_path / folder).model for folder in ("plain", "prefixed")]
    for name, tensor in models[0].state_dict().items():
        assert torch.equal(tensor, models[1].state_dict()[name])
    save_model(tmp_path / "ours", models[0])
    names = {name.partition(".")[0] + "." for name in load_file(tmp_path / "ours" / "model.safetensors")}
    assert names - {"visual_projection."} == {prefix}
