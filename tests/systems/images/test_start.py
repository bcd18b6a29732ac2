"""Published models as the beginning: what is saved after fine-tuning is of their family again."""

import json

import pytest
import torch

import formers
from tests.systems.images import toy

transformers = pytest.importorskip("transformers")
VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 16}
STARTS = {
    "vit": lambda: transformers.ViTModel(transformers.ViTConfig(**VIT, patch_size=4)),
    "dinov2": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**VIT, patch_size=4, mlp_ratio=2)),
    "resnet": lambda: transformers.ResNetModel(
        transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    ),
}


@pytest.mark.parametrize("family", STARTS)
def test_a_published_body_gets_labels(family, tmp_path):
    torch.manual_seed(0)
    start, photos = tmp_path / "start", toy.folder(tmp_path / "photos", 8)
    STARTS[family]().save_pretrained(start)
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(start)
    changes = [f"model.start={start}", f"data.train={photos}", "data.held_out=3", "train.steps=2", "train.warmup=1",
               "train.evaluate_every=2", "rows.batch=8", "model.height=24"]  # fmt: skip
    events = list(formers.train("images/finetune", changes, run=tmp_path / "run"))
    lines = "\n".join(events[0].lines)
    assert "a new head of 3" in lines and "model reads 24 x 24 pixels" in lines
    folder = tmp_path / "run" / "checkpoints" / "000002"
    assert json.loads((folder / "config.json").read_text())["model_type"] == family
    theirs = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    ours = formers.load(folder, system="images")
    pixels = ours.preprocessor.batch([toy.picture("red", 1), toy.picture("green", 2)])
    with torch.no_grad():
        torch.testing.assert_close(theirs(pixel_values=pixels).logits, ours.model(pixels), atol=1e-4, rtol=1e-4)
