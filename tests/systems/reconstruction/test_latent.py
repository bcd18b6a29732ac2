"""Autoencoders of latent diffusion, learned: their loss, their scale, what they are saved as, a tiny one's teacher."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import formers
from formers.data.pictures import read_pictures
from formers.errors import ConfigError
from formers.models.vae import VAE, TinyVAE, TinyVAEConfig, VAEConfig
from formers.systems.reconstruction.data import ReconstructionRows
from formers.systems.reconstruction.latent import LatentCoder
from formers.systems.reconstruction.system import Reconstructor
from formers.training.events import Finished, Reported

SHORT = ["data.count=24", "data.held_out=8", "rows.batch=8", "train.steps=4", "train.warmup=1", "train.average=0.5",
         "train.evaluate_every=2", "train.save_every=2", "train.sample_every=4", "train.log_every=2",
         "model.height=16", "model.groups=2"]  # fmt: skip
LATENT = [*SHORT, "model.sizes=[4, 6, 3]"]
TINY = [*SHORT, "model.kind=tiny", "model.sizes=[5, 5, 3]"]


def coder(kind: str) -> LatentCoder:
    """With random weights, of pictures of 8 x 8."""
    torch.manual_seed(0)
    if kind == "tiny":
        sizes = {"width": 4, "encoder_depths": (1, 1), "decoder_depths": (1, 1), "scale": 0.5}
        return LatentCoder(TinyVAE(TinyVAEConfig(**sizes)).eval(), (8, 8))
    return LatentCoder(VAE(VAEConfig(widths=(4, 4), depth=1, groups=2, scale=0.5)).eval(), (8, 8))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["latent", "tiny"])
def test_codes_are_latents_with_their_scale_and_sides_need_not_be_even(kind):
    own, x = coder(kind), torch.rand(2, 3, 9, 7)
    even = torch.cat([x, x[..., -1:, :]], 2)
    even = torch.cat([even, even[..., -1:]], 3)
    latents = own.model.encode(even * 2 - 1)
    latents = latents[0] if kind == "latent" else latents
    torch.testing.assert_close(own.encode(x), latents * 0.5)
    assert own.config.code == own.encode(torch.rand(1, 3, 8, 8)).shape[1:] == (4, 4, 4)
    assert own(x).shape == x.shape
    torch.testing.assert_close(own(x), (own.model.decode(latents)[..., :9, :7] + 1) / 2)


@torch.no_grad()
def test_what_is_drawn_is_normal_and_its_divergence_is_the_usual_one():
    own, x = coder("latent"), torch.rand(2, 3, 8, 8)
    mean, logvar = own.model.encode(x * 2 - 1)
    usual = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (0.5 * logvar).exp()), torch.distributions.Normal(0.0, 1.0)
    )
    latents, divergence = own.drawn(x)
    torch.testing.assert_close(divergence, usual.sum())
    torch.manual_seed(1)
    many = torch.stack([(own.drawn(x)[0] - mean) / (0.5 * logvar).exp() for _ in range(50)])
    assert abs(float(many.mean())) < 0.05 and abs(float(many.std()) - 1) < 0.05


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latent") / "run"
    events = list(formers.train("reconstruction/latent", LATENT, run=folder))
    assert isinstance(events[-1], Finished) and list((folder / "samples").rglob("*.png"))
    return folder


def test_a_run_is_a_folder_of_diffusers_with_the_measured_scale(run, tmp_path):
    diffusers = pytest.importorskip("diffusers", reason="the reference of such folders")
    owner = formers.load(run, system="reconstruction")
    assert isinstance(owner, Reconstructor) and isinstance(owner.model, VAE)
    rows = ReconstructionRows()
    held_out = owner.batches(read_pictures("builtin:shapes", count=32), rows)
    assert {"psnr", "ssim", "rmse", "loss"} <= {score.name for score in owner.evaluate(held_out).scores}
    best = json.loads((run / "checkpoints/best.json").read_text())["step"]
    folder = run / f"checkpoints/{best:06}"
    theirs = diffusers.AutoencoderKL.from_pretrained(folder)
    x = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        posterior = theirs.encode(x * 2 - 1).latent_dist
        latents = posterior.mean * theirs.config.scaling_factor
        expected = theirs.decode(posterior.mean).sample / 2 + 0.5
    torch.testing.assert_close(owner.coder.encode(x).detach(), latents, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(owner.reconstruct(x), expected.clamp(0, 1), atol=1e-4, rtol=1e-4)
    assert owner.encode([Image.fromarray(np.zeros((16, 16, 3), np.uint8))]).shape == (1, 3 * 8 * 8)
    owner.save(tmp_path / "saved")
    again = formers.load(tmp_path / "saved")
    assert again.preprocessor == owner.preprocessor and again.model.config == owner.model.config


@torch.no_grad()
def test_the_scale_makes_the_deviation_of_drawn_latents_one(run):
    from formers.recipe import load_recipe
    from formers.registry import prepare

    sections = load_recipe(run / "recipe.toml").sections
    task = prepare("reconstruction", sections, run, {}).task
    pictures = next(task.validation.order.plain())[1]
    torch.nn.init.normal_(task.model.quantise.weight[:3], std=3)  # of the means
    task.save(run.parent / "scaled")
    scale = formers.load(run.parent / "scaled").model.config.scale
    with torch.no_grad():
        assert float(task.system.coder.drawn(pictures)[0].std()) * scale == pytest.approx(1, abs=0.05)


def test_a_tiny_one_learns_the_latents_of_its_teacher(run, tmp_path):
    diffusers = pytest.importorskip("diffusers", reason="the reference of such folders")
    changes = [*TINY, f"parts.teacher={run}", "train.steps=60", "train.rate=0.01", "data.count=8", "train.average=0.0"]
    before = after = None
    for event in formers.train("reconstruction/latent", [*changes, "train.evaluate_every=60"], run=tmp_path / "run"):
        if type(event).__name__ == "Evaluated":
            assert event.metrics["psnr_of_latents"] > 10
        if parts := getattr(event, "parts", None):
            before, after = before or parts["latents"], parts["latents"]
    assert after < before / 2
    owner, teacher = formers.load(tmp_path / "run"), formers.load(run)
    assert isinstance(owner.model, TinyVAE) and owner.model.config.scale == 1
    x = torch.stack([image for image in read_of(owner, 8)])
    with torch.no_grad():
        own, wanted = owner.coder.encode(x), teacher.coder.encode(x)
    assert (own - wanted).square().mean() < wanted.square().mean()
    assert diffusers.AutoencoderTiny.from_pretrained(sorted((tmp_path / "run/checkpoints").glob("0*"))[-1])


@torch.no_grad()
def read_of(owner: Reconstructor, count: int) -> torch.Tensor:
    table = read_pictures("builtin:shapes", count=count, seed=1)
    return owner.preprocessor.batch([table.image(row) for row in range(count)])


def test_a_tiny_one_without_teacher_and_a_start_that_keeps_its_scale(run, tmp_path):
    list(formers.train("reconstruction/latent", TINY, run=tmp_path / "tiny"))
    assert isinstance(formers.load(tmp_path / "tiny").model, TinyVAE)
    list(formers.train("reconstruction/latent", [*LATENT, f"model.start={run}"], run=tmp_path / "more"))
    assert formers.load(tmp_path / "more").model.config.scale == formers.load(run).model.config.scale


def test_a_published_folder_says_its_side_or_gets_the_usual_one(tmp_path):
    from formers.pretrained.load import save_model

    for sample, side in ((64, 64), (None, 512)):
        folder = save_model(tmp_path / str(side), coder("latent").model, settings={"sample_size": sample})
        assert formers.load(folder).preprocessor.height == side


def test_the_teacher_is_trained_first_and_a_run_goes_on_where_it_was(tmp_path):
    recipe, teacher = tmp_path / "tiny.toml", tmp_path / "teacher.toml"
    write(teacher, LATENT, data=False)
    write(recipe, [*TINY, f"parts.teacher={teacher}"])
    lines: list[str] = []
    for event in formers.train(recipe, run=tmp_path / "run"):
        lines += event.lines if isinstance(event, Reported) else []
        if type(event).__name__ == "Saved" and "parts" in event.folder:
            break  # killed in the first step
    assert lines[0] == f"step 1 of 2: teacher, by the recipe {teacher}, in {tmp_path / 'run/parts/teacher'}"
    assert "validation: builtin:shapes, 8 examples" in lines  # of the data of the outer recipe
    events = list(formers.train(recipe, run=tmp_path / "run"))
    assert [event.resumed for event in events if type(event).__name__ == "Started"] == [True, False]
    assert [type(event).__name__ for event in events].count("Finished") == 1
    first = (tmp_path / "run/parts/teacher/events.jsonl").read_bytes()
    again = list(formers.train(recipe, run=tmp_path / "run"))
    assert again[0].lines[0].endswith(": it is trained") and again[-1].already
    assert (tmp_path / "run/parts/teacher/events.jsonl").read_bytes() == first
    events = list(formers.train(recipe, run=tmp_path / "run", fresh=True))
    assert [event.resumed for event in events if type(event).__name__ == "Started"] == [False, False]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".tmp")] == []


def write(path, changes, *, data: bool = True) -> None:
    from formers.recipe import load_recipe

    text = load_recipe("reconstruction/latent", changes).to_toml()
    if not data:
        before, _, rest = text.partition("[data]")
        text = before + rest[rest.index("[rows]") :]
    path.write_text(text)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (["parts.teacher=reconstruction/latnet"], 'there is no recipe "reconstruction/latnet"; did you mean'),
        (["parts.teacher=nowhere/at/all"], "there is no such run, folder"),
        (["parts.teacher=clip"], r"parts.teacher: clip trains a CLIP, expected a VAE"),
        (["parts.teacher=reconstruction/latent"], "which has it as a part itself"),
        (["parts.teacher=reconstruction"], "parts.teacher: reconstruction is a Autoencoder, expected a VAE"),
        (["task.loss=cross_entropy"], 'is of logits, but a VAE gives colours; write loss = "absolute_error"'),
        (
            ["rows.grey=true", "model.start=RUN"],
            "the model reads 3 channels, but rows.grey and rows.corruption give it 1",
        ),
        (["rows.corruption=grey"], "the model reads 3 channels, but rows.grey and rows.corruption give it 1"),
        (["model.height=17"], r"sides \(17\) must be multiples of 2"),
        (["model.groups=3"], r"widths \(4\) must be multiples of groups \(3\)"),
        ([*TINY, "model.sizes=[4, 6, 3]"], "levels of a tiny one are equally wide"),
        (["parts.teacher=RUN"], 'parts.teacher is for model.kind "tiny", but this is a VAE'),
        ([*TINY, "model.sizes=[5, 3]", "parts.teacher=RUN"], r"the factor of the model \(1\) must be those"),
    ],
)
def test_recipes_that_are_none(changes, what, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = [change.replace("RUN", str(run)) for change in changes]
    with pytest.raises((ConfigError, formers.errors.CheckpointError), match=what):
        list(formers.train("reconstruction/latent", [*LATENT, *changes], run=tmp_path / "run"))
