"""A model folder says how its pictures are read, and says it again when it is saved."""

import json

import pytest
import torch
from PIL import Image

from formers.errors import CheckpointError
from formers.images.preprocess import FILE, NESTED, usual
from formers.models.picture_classifier import PictureClassifier
from formers.pretrained.load import load_model, save_model

transformers = pytest.importorskip("transformers")

SETTINGS = {"size": {"height": 14, "width": 14}, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}


@pytest.fixture
def folder(tmp_path):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = transformers.ViTConfig(**sizes, image_size=14, patch_size=7)
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    transformers.ViTImageProcessorPil(**SETTINGS, of_us="kept").save_pretrained(tmp_path / "vit")
    edit(tmp_path / "vit" / FILE, of_us="kept")
    return tmp_path / "vit"


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_folder_keeps_how_its_pictures_are_read(folder, tmp_path):
    loaded = load_model(folder)
    assert isinstance(loaded.model, PictureClassifier) and loaded.preprocessor.mean == (0.1, 0.2, 0.3)
    saved = save_model(tmp_path / "saved", loaded.model, preprocessor=loaded.preprocessor)
    assert json.loads((saved / FILE).read_text())["of_us"] == "kept"
    image = Image.effect_noise((31, 22), 90).convert("RGB")
    theirs = transformers.AutoImageProcessor.from_pretrained(saved, backend="pil")
    pixels = theirs(image, return_tensors="pt").pixel_values
    assert (loaded.preprocessor.batch([image]) - pixels).abs().max() <= 1e-6
    with torch.no_grad():
        expected = transformers.ViTForImageClassification.from_pretrained(saved)(pixels).logits
        assert torch.allclose(loaded.model(loaded.preprocessor.batch([image])), expected, atol=1e-5)


def test_a_save_leaves_no_other_preprocessor_behind(folder):
    loaded = load_model(folder)
    edit(folder / FILE, size=7)
    (folder / NESTED).write_text(json.dumps({"image_processor": json.loads((folder / FILE).read_text())}))
    assert load_model(folder).preprocessor.height == 7
    save_model(folder, loaded.model, preprocessor=usual(14, 14))
    assert load_model(folder).preprocessor == usual(14, 14)
    save_model(folder, loaded.model)
    assert load_model(folder).preprocessor is None


def test_other_pixels_are_refused_unless_the_key_is_ignored(folder):
    edit(folder / FILE, do_pad=True)
    with pytest.raises(CheckpointError, match=r"do_pad is True, which is not computed here; .* --ignore-key do_pad"):
        load_model(folder)
    assert load_model(folder, ignore_keys=["do_pad"]).preprocessor.height == 14
