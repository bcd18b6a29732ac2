"""LoRA files, learned words and chunks beside a prompt: what they change, what is left when the picture is done."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from formers.errors import CheckpointError, ConfigError, DataError
from formers.systems.painting.options import Painting, file_and_scale
from formers.systems.painting.paint import Painted
from formers.systems.painting.png import painting_of
from formers.systems.painting.verbs import paint

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning", "ignore::FutureWarning")
HOW = {"steps": 2, "size": "64x48", "guidance": 3.0, "seed": 4, "sampler": "ddim"}


@pytest.fixture
def lora(tmp_path):
    """In kohya's form, of one convolution and one matrix of the tower."""
    generator = torch.Generator().manual_seed(1)
    keys = {"lora_unet_conv_in": ((2, 4, 3, 3), (8, 2, 1, 1)),
            "lora_te_text_model_encoder_layers_1_mlp_fc1": ((2, 12), (20, 2))}  # fmt: skip
    tensors = {}
    for key, shapes in keys.items():
        down, up = (torch.randn(shape, generator=generator) for shape in shapes)
        tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(1.0)}
    save_file(tensors, tmp_path / "style.safetensors")
    return tmp_path / "style.safetensors"


@pytest.fixture
def inversion(tmp_path):
    save_file({"<cat>": torch.randn(2, 12, generator=torch.Generator().manual_seed(2))}, tmp_path / "cat.safetensors")
    return tmp_path / "cat.safetensors"


def latents(painter, prompt="a red (circle:1.2)", **options):
    events = list(painter.paint(Painting(prompt=prompt, **HOW, **options)))
    assert isinstance(events[-1], Painted)
    return events[-2].latents


def test_a_lora_changes_this_painting_alone(painter, lora):
    plain = latents(painter)
    with_it, half = latents(painter, lora=(str(lora),)), latents(painter, lora=(f"{lora}:0.5",))
    assert not torch.allclose(plain, with_it, atol=0.01) and not torch.allclose(half, with_it, atol=0.01)
    torch.testing.assert_close(latents(painter, lora=(f"{lora}:0.25",) * 2), half, atol=1e-4, rtol=1e-4)
    assert torch.equal(latents(painter), plain)
    *_, sheet = paint(painter, Painting(prompt="red", grid=("guidance=1,3",), lora=(str(lora),), **HOW))
    assert str(lora) in Image.open(sheet.write(lora.parent / "sheet.png")).text["formers"]
    unfinished = painter.paint(Painting(prompt="red", lora=(str(lora),), **HOW))
    next(unfinished)
    unfinished.close()
    assert torch.equal(latents(painter), plain)


def test_as_the_reference_with_both(model, painter, lora, inversion):
    """The whole way of its pipeline, with a LoRA and a word of two vectors."""
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(model)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_textual_inversion(str(inversion.parent), weight_name=inversion.name)
    pipeline.load_lora_weights(str(lora.parent), weight_name=lora.name, adapter_name="style")
    pipeline.set_adapters(["style"], [0.8])
    expected = pipeline("a <cat> red", num_inference_steps=2, guidance_scale=3.0, height=48, width=64,
                        generator=[torch.Generator().manual_seed(4)], output_type="latent").images  # fmt: skip
    ours = latents(painter, "a <cat> red", lora=(f"{lora}:0.8",), inversion=(str(inversion),))
    torch.testing.assert_close(ours, expected, atol=2e-4, rtol=1e-4)


def test_chunks(painter, caplog):
    long = " ".join(["red"] * 80)
    assert torch.equal(latents(painter, long), latents(painter, " ".join(["red"] * 75)))
    assert "has 80 tokens, of which 75 are read; cut: 'red red red red red' (--chunks reads all)" in caplog.text
    assert not torch.equal(latents(painter, long, chunks=True), latents(painter, long))


def test_painted_again(painter, lora, inversion, tmp_path):
    """The file names what it was painted with, in the words of the web interface too."""
    files = {"lora": (f"{lora}:0.5",), "inversion": (str(inversion),)}
    *_, result = paint(painter, Painting(prompt="a <cat>", **HOW, **files))
    path = result.write(tmp_path / "out.png")
    assert Image.open(path).text["parameters"].startswith("a <cat> <lora:style:0.5>\nSteps: 2")
    again = painting_of(str(path), {})
    assert (again.lora, again.inversion) == (files["lora"], files["inversion"])
    *_, other = painter.paint(again)
    assert np.array_equal(other.pixels, np.asarray(Image.open(path)))
    assert "lora" not in json.loads(Image.open(paint_plain(painter, tmp_path)).text["formers"])
    save_file({"<cat>": torch.ones(2, 12)}, inversion)
    with pytest.raises(DataError, match="is not the inversion any more that"):
        painting_of(str(path), {})


def paint_plain(painter, folder):
    *_, result = paint(painter, Painting(prompt="a", **HOW))
    return result.write(folder / "plain.png")


def test_files_of_words(painter, tmp_path):
    """One vector; the web interface's form, whose word is the name of the file; files that are none."""
    save_file({"<one>": torch.randn(12)}, tmp_path / "one.safetensors")
    save_file({"emb_params": torch.randn(3, 12)}, tmp_path / "easy.safetensors")
    both = (str(tmp_path / "one.safetensors"), str(tmp_path / "easy.safetensors"))
    assert not torch.equal(latents(painter, "<one> easy", inversion=both), latents(painter, "<one> easy"))
    with pytest.raises(ConfigError, match='has the word "<one>", which another file has too'):
        latents(painter, inversion=both[:1] * 2)
    for tensors, message in (
        ({"<x>": torch.randn(1, 768)}, "has vectors of 768 numbers, but this model's text encoder reads 12"),
        ({"clip_l": torch.ones(1, 12)}, "is of Stable Diffusion XL"),
        ({"lora.down": torch.ones(1, 2, 3)}, r"has the shape \(1, 2, 3\), expected \(vectors, numbers\)"),
        ({"<x>": torch.full((1, 12), torch.nan)}, "holds NaN or infinity"),
        ({}, "holds no learned words"),
    ):
        save_file(tensors, tmp_path / "x.safetensors")
        with pytest.raises((CheckpointError, ConfigError), match=message):
            latents(painter, inversion=(str(tmp_path / "x.safetensors"),))
    for name in ("learned_embeds.bin", "easy.pt"):
        with pytest.raises(CheckpointError, match="is a pickle, which can run code, so it is not read"):
            latents(painter, inversion=(str(tmp_path / name),))


def test_a_scale_behind_the_name():
    assert file_and_scale("a.safetensors") == ("a.safetensors", 1.0)
    assert file_and_scale("b:c.safetensors:-.5") == ("b:c.safetensors", -0.5)
    assert file_and_scale("b:c/d.safetensors") == ("b:c/d.safetensors", 1.0)
    for scale in ("much", "nan", ""):
        with pytest.raises(ConfigError, match=rf"the scale is '{scale}', expected a number, as in a.safetensors:0.8"):
            Painting(lora=(f"a.safetensors:{scale}",))
