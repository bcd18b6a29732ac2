"""The three steps of latent diffusion by one recipe: autoencoder, tower of texts, UNet; the folder opens elsewhere."""

import pytest
import torch

import formers
from formers.errors import ConfigError
from formers.models.clip import CLIP
from formers.models.vae import VAE
from formers.recipe import load_recipe
from formers.training.events import Reported

QUICK = ["data.count=16", "data.held_out=8", "rows.batch=8", "train.steps=2", "train.warmup=1", "train.average=0.0",
         "train.evaluate_every=2", "train.save_every=2", "train.sample_every=2", "train.log_every=1"]  # fmt: skip
VAE_SIZES = ["model.sizes=[4, 4, 3]", "model.height=16"]
CLIP_SIZES = ["model.widths=[4, 4]", "model.depths=[1, 1]", "model.text_dim=8", "model.text_heads=2",
              "model.text_hidden=16", "model.text_layers=1", "model.projection=6", "rows.vocab=530"]  # fmt: skip
SIZES = ["model.height=16", "model.widths=[4, 8]", "model.groups=2", "model.heads=2", "task.sheet=2", "task.steps=2"]


def without_data(name, changes, path):
    """The recipe in a file that says nothing of data."""
    before, _, rest = load_recipe(name, changes).to_toml().partition("[data]")
    path.write_text(before + rest[rest.index("[rows]") :])
    return path


def steps(tmp_path, *changes, tower=()):
    vae = without_data("reconstruction/latent", [*QUICK, *VAE_SIZES], tmp_path / "vae.toml")
    text = without_data("clip/tower", [*QUICK, "train.sample_every=0", *CLIP_SIZES, *tower], tmp_path / "text.toml")
    named = [f"parts.vae={vae}", f"parts.text={text}"]
    return formers.train("painting/three-steps", [*QUICK, *SIZES, *named, *changes], run=tmp_path / "run")


def test_three_steps_make_a_folder_that_opens_in_diffusers(tmp_path):
    lines = [line for event in steps(tmp_path) if isinstance(event, Reported) for line in event.lines]
    assert [line.split(",")[0] for line in lines if line.startswith("step ")] == [
        "step 1 of 3: vae", "step 2 of 3: text", "step 3 of 3: what is built of them"
    ]  # fmt: skip
    assert lines.count("training data: builtin:shape-pairs") == 3
    assert isinstance(formers.load(tmp_path / "run/parts/vae").model, VAE)
    clip, painter = formers.load(tmp_path / "run/parts/text"), formers.load(tmp_path / "run")
    assert isinstance(clip.model, CLIP)
    prompts = ["a red circle", "blue"]
    mine = painter.prompted(prompts)[0]
    torch.testing.assert_close(mine, clip.model.text.hidden(painter.tokens(prompts)).detach())
    diffusers = pytest.importorskip("diffusers", reason="the reference of such folders")
    painter.save(tmp_path / "saved")
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "saved")
    tokens = pipeline.tokenizer(prompts, padding="max_length", max_length=24, return_tensors="pt").input_ids
    assert torch.equal(tokens, painter.tokens(prompts))
    with torch.no_grad():
        torch.testing.assert_close(pipeline.text_encoder(tokens)[0], mine, atol=1e-4, rtol=1e-4)
    assert pipeline.vae.config.scaling_factor == painter.parts.vae.config.scale


def test_a_part_may_be_the_text_encoder_of_a_folder_of_diffusers(tmp_path):
    list(steps(tmp_path))
    folder = sorted((tmp_path / "run/checkpoints").glob("0*"))[-1]
    changes = [f"parts.vae={folder / 'vae'}", f"parts.text={folder / 'text_encoder'}"]
    list(formers.train("painting/three-steps", [*QUICK, *SIZES, *changes], run=tmp_path / "second"))
    assert not (tmp_path / "second/parts").exists()
    first, second = formers.load(tmp_path / "run"), formers.load(tmp_path / "second")
    torch.testing.assert_close(first.prompted(["a red circle"])[0], second.prompted(["a red circle"])[0])


def test_a_tower_with_word_pieces_says_how_to_train_another(tmp_path):
    with pytest.raises(ConfigError, match=r"marks no beginning and end of a text, .* rows.tokenizer clip"):
        list(steps(tmp_path, tower=["rows.tokenizer="]))
