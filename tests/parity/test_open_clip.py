"""Folders in open_clip's form: its models with random parameters -> our load -> equal outputs -> CLIP's own layout."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from safetensors.torch import save_file

from formers.errors import CheckpointError
from formers.models.clip import CLIP
from formers.pretrained.load import load_model, save_model

open_clip = pytest.importorskip("open_clip")

MODEL = {
    "embed_dim": 12,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 21, "layers": 2, "width": 20, "head_width": 5, "patch_size": 7},
    "text_cfg": {"context_length": 9, "vocab_size": 37, "width": 16, "heads": 4, "layers": 2},
}
CUSTOM = MODEL | {"quick_gelu": False, "custom_text": True}


def write(folder, config, name="open_clip_model.safetensors"):
    logging.disable(logging.WARNING)
    kind = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
    model = kind(**{key: value for key, value in config.items() if key != "custom_text"}).eval()
    logging.disable(logging.NOTSET)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + ("ln_" in key and key.endswith("weight")))
    folder.mkdir(exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, folder / name)
    return model


@pytest.mark.parametrize("config", [MODEL, CUSTOM], ids=["plain", "custom-text"])
def test_outputs_equal_and_it_is_saved_as_clip(config, tmp_path):
    theirs = write(tmp_path / "open", config)
    loaded = load_model(tmp_path / "open")
    assert loaded.family == "clip" and type(loaded.model) is CLIP
    save_model(tmp_path / "ours", loaded.model)
    written = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert written["architectures"] == ["CLIPModel"] and written["text_config"]["eos_token_id"] == 2
    again = pytest.importorskip("transformers").CLIPModel.from_pretrained(tmp_path / "ours").eval()
    pictures = torch.randn(3, 3, 21, 21)
    tokens = torch.tensor([[35, 1, 2, 36, 0, 0, 0, 0, 0], [35, 4, 36, 0, 0, 0, 0, 0, 0], [35, 1, 1, 2, 2, 9, 8, 7, 36]])
    with torch.no_grad():
        image, text, scale = theirs(pictures, tokens)[:3]
        expected = scale * image @ text.T
        assert expected.std() > 0.02
        torch.testing.assert_close(loaded.model(pictures, tokens), expected, atol=1e-4, rtol=1e-4)
        out = again(input_ids=tokens, pixel_values=pictures).logits_per_image
        torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)


def test_the_older_name_of_its_weights(tmp_path):
    write(tmp_path, MODEL, "open_clip_pytorch_model.safetensors")
    assert type(load_model(tmp_path).model) is CLIP


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("vision_cfg", {"timm_model_name": "vit_base_patch16_siglip_224"}, "vision_cfg.timm_model_name = .*siglip_224"),
        ("vision_cfg", {"layers": [3, 4, 6, 3]}, "vision_cfg.layers = .*a ResNet whose features attention pools"),
        ("text_cfg", {"hf_model_name": "roberta-base"}, "text_cfg.hf_model_name"),
        ("text_cfg", {"pool_type": "last", "no_causal_mask": True}, "text_cfg.pool_type = .*text_cfg.no_causal_mask"),
    ],
)
def test_towers_that_clip_does_not_have_are_refused_by_name(part, change, message, tmp_path):
    config = MODEL | {part: MODEL[part] | change}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path)
