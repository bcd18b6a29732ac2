"""Learning to paint: in pixels and latents, with texts and without, from a checkpoint, with LoRA; what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import formers
from formers.errors import CheckpointError, ConfigError
from formers.preview import preview
from formers.recipe import load_recipe
from formers.registry import prepare
from formers.text.clip_tokenizer import train_clip
from formers.training.events import Sampled, Stepped

SMALL = [
    "model.height=8", "model.widths=[8, 16]", "model.attention=[false, true]", "model.heads=2", "model.groups=4",
    "model.text_dim=8", "model.text_layers=1", "model.text_heads=2", "model.length=16", "data.count=16",
    "data.held_out=8", "rows.batch=8", "rows.vocab=540", "task.steps=2", "task.sheet=2", "train.precision=fp32",
    "train.steps=4", "train.schedule=constant", "train.warmup=1", "train.evaluate_every=2", "train.save_every=2",
    "train.sample_every=0",
]  # fmt: skip
VAE = [
    "model.height=8", "model.sizes=[4, 4, 2]", "model.groups=2", "data.train=builtin:shapes", "data.count=8",
    "data.held_out=8", "rows.batch=8", "train.steps=2", "train.warmup=0", "train.evaluate_every=0",
    "train.save_every=2", "train.sample_every=0", "train.precision=fp32",
]  # fmt: skip


def train(folder, *more, recipe="painting"):
    return list(formers.train(recipe, [*SMALL, *more], run=folder))


def prepared(folder, *more, parts=None):
    return prepare("painting", load_recipe("painting", [*SMALL, *more]).sections, folder, parts or {})


def files(folder, name):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob(name)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("painting") / "run"
    train(folder, "train.sample_every=4")
    return folder


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("autoencoder") / "run"
    list(formers.train("reconstruction/latent", VAE, run=folder))
    return formers.registry.locate(folder)


def test_it_learns_eight_pictures(tmp_path):
    more = ["data.count=8", "train.steps=150", "train.rate=1e-2", "train.average=0", "train.evaluate_every=0"]
    losses = [event.loss for event in train(tmp_path / "run", *more) if isinstance(event, Stepped)]
    assert losses[-1] < 0.7 * losses[0]


def test_going_on_is_exact(run, tmp_path):
    train(tmp_path / "run", "train.steps=2")
    train(tmp_path / "run")
    for name in ("*.safetensors", "scheduler_config.json"):
        once, twice = files(run / "checkpoints/000004", name), files(tmp_path / "run/checkpoints/000004", name)
        assert once and once == twice


def test_a_run_opens_and_paints(run):
    painter = formers.load(run, system="painting")
    assert painter.side == 8 and painter.factor == 1
    assert painter.scheduler.schedule.prediction_type == "v_prediction"
    assert (
        painter.scheduler.raw()["clip_sample"] is False
    )  # with which DDIM and guidance painted other digits than asked
    assert painter.scheduler.schedule.rescale_betas_zero_snr
    *_, last = painter.paint(formers.systems.painting.options.Painting(prompt="a red circle", steps=2))
    assert last.pixels.shape == (8, 8, 3)
    assert len(list((run / "samples/000004").glob("*.png"))) == 1


def test_a_batch_is_a_function_of_its_rows_alone(run, tmp_path):
    batches = prepared(tmp_path, "task.empty=0.5").batches
    rows = batches.epoch(3)[0]
    whole, part = batches.collate(rows), batches.collate(rows[2:5])
    for one, other in zip(whole, part, strict=True):
        assert torch.equal(one[2:5], other)
    assert not torch.equal(whole.noise, batches.collate(batches.epoch(4)[0]).noise)
    assert 0 < (whole.tokens == batches.tokens[-1]).all(1).sum() < 8  # of no text


def test_two_halves_make_the_loss_of_the_whole(tmp_path):
    """What two processes add up."""
    built = prepared(tmp_path, "task.min_snr=5")
    rows = built.batches.epoch(0)[0]
    gradients = []
    for parts in ([rows], [rows[:3], rows[3:]]):
        built.task.model.zero_grad()
        losses = [built.task.loss(built.batches.collate(part)) for part in parts]
        sum(loss.total for loss in losses).backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in built.task.model.parameters()]))
        assert sum(loss.count for loss in losses) == 8 and {*losses[0].parts} == {"pictures", "error"}
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_validation_is_comparable(tmp_path):
    """The same noise at the same times, whatever the batch and however times are weighed."""
    losses = set()
    for more in ([], ["rows.batch=3"], ["task.min_snr=5"], ["task.times=logit-normal"], ["task.empty=1"]):
        built = prepared(tmp_path, *more)
        losses.add(round(built.task.evaluate().value("loss"), 5))
        times = torch.cat([batch.times for batch in built.task.validation.judged()])
        assert (times.sort().values.diff() > 50).all()  # of 1000, eight pictures
    assert len(losses) == 1


def test_times_in_the_middle_are_drawn_more_often(tmp_path):
    """Two thirds within one deviation of a normal: 1000 / (1 + e) to 1000 e / (1 + e); of uniform ones 46%."""
    shares = []
    for more in ([], ["task.times=logit-normal"], ["task.times=logit-normal", "task.times_shift=1"]):
        batches = prepared(tmp_path, *more).batches
        times = torch.cat([batches.which.draw(one, 1000) for one in batches.generators(0, np.arange(2000))])
        assert times.min() >= 0 and times.max() < 1000
        shares.append(((times > 269) & (times < 731)).float().mean().item())
    assert shares == pytest.approx([0.462, 0.683, 0.477], abs=0.03)


def test_min_snr_weighs_times(tmp_path):
    built = prepared(tmp_path, "task.min_snr=5", "model.prediction=epsilon", "model.zero_snr=false")
    batch = built.batches.collate(built.batches.epoch(0)[0])
    errors, weights = built.task.errors(batch)
    ratio = built.task.schedule.alpha_bars[batch.times] / (1 - built.task.schedule.alpha_bars[batch.times])
    torch.testing.assert_close(weights, ratio.clamp(max=5) / ratio)
    assert built.task.loss(batch).total.item() == pytest.approx((errors * weights).sum().item())


def test_the_weights_of_convolutions_lie_channels_last(tmp_path):
    model = prepared(tmp_path).task.model
    assert model.unet.convolution_in.weight.is_contiguous(memory_format=torch.channels_last)


def test_latents_are_painted_and_computed_once(autoencoder, tmp_path):
    built = prepared(tmp_path, "train.steps=8", parts={"vae": autoencoder})
    assert "latents are computed once" in built.report
    batch = built.batches.collate(built.batches.epoch(0)[0])
    assert batch.pictures.shape == (8, 4, 4, 4) and batch.noise.shape == (8, 2, 4, 4)  # moments of two channels
    changed = prepared(tmp_path, "rows.flip=0.5", parts={"vae": autoencoder})
    assert "latents are computed in each step (pictures are changed at random)" in changed.report
    plain = prepared(tmp_path, "train.steps=8", "rows.unreadable=1", parts={"vae": autoencoder})
    plain.batches.order.once = plain.task.validation.order.once = None
    again = plain.batches.collate(plain.batches.epoch(0)[0])
    painter = built.task.painter
    torch.testing.assert_close(painter.moments(again.pictures), batch.pictures)
    latents = painter.drawn(batch.pictures, batch.drawn)
    mean, logvar = batch.pictures.chunk(2, 1)
    torch.testing.assert_close(latents, (mean + (logvar / 2).exp() * batch.drawn) * painter.parts.vae.config.scale)


@pytest.mark.parametrize("pooled", ["false", "true"])
def test_its_parts_are_trained_first_and_diffusers_opens_what_comes_out(pooled, tmp_path, autoencoder):
    diffusers = pytest.importorskip("diffusers")
    from transformers import CLIPTokenizer

    more = "train.sample_every=4", "model.length=77", f"model.pooled={pooled}"
    events = train(tmp_path / "run", f"parts.vae={autoencoder}", *more)
    assert any(isinstance(event, Sampled) for event in events)
    folder = formers.registry.locate(tmp_path / "run")
    ours = formers.load(folder)
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    prompt = "a red circle above a blue square"
    text, negative = pipeline.encode_prompt([prompt], "cpu", 1, True, [""])
    for one, other in zip(ours.prompted([prompt], [""]), (text, negative), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    latents = torch.randn(1, 2, 4, 4)
    with torch.no_grad():
        theirs = pipeline.unet(latents, 500, encoder_hidden_states=text).sample
        torch.testing.assert_close(ours.predict(latents, torch.tensor([500]), text), theirs, rtol=1e-4, atol=1e-4)
        theirs = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
        torch.testing.assert_close(ours.pictures(latents), (theirs / 2 + 0.5).clamp(0, 1), rtol=1e-4, atol=1e-4)
    assert type(pipeline.tokenizer) is CLIPTokenizer or pipeline.tokenizer.vocab_size == ours.parts.tokenizer.vocab


def test_a_tower_of_clip_is_read_as_it_is(tmp_path):
    clip = ["model.kind=resnet", "model.height=8", "model.widths=[4]", "model.depths=[1]", "model.text_dim=8",
            "model.text_layers=1", "model.text_heads=2", "model.text_hidden=8", "model.projection=4", "data.count=8",
            "data.held_out=8", "rows.batch=8", "rows.label=", "rows.vocab=530", "rows.tokenizer=clip",
            "train.steps=2", "train.warmup=0", "train.evaluate_every=0", "train.sample_every=0",
            "train.precision=fp32"]  # fmt: skip
    list(formers.train("clip", clip, run=tmp_path / "clip"))
    place = formers.registry.locate(tmp_path / "clip")
    task = prepared(tmp_path, parts={"text": place}).task
    before = formers.load(place).model.text.stack.state_dict()
    assert task.model.text is None and task.painter.parts.text.config.projection == 0
    assert all(torch.equal(weight, before[name]) for name, weight in task.painter.parts.text.stack.state_dict().items())
    assert not any(weight.requires_grad for weight in task.painter.parts.text.parameters())
    train(tmp_path / "run", f"parts.text={tmp_path / 'clip'}", "train.steps=2")
    assert formers.load(tmp_path / "run").tokens(["a red circle"]).shape == (1, 32)


def test_digits_by_class_and_pictures_of_nothing(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import io

    from pyarrow import parquet

    rows = []
    for digit in range(16):
        Image.fromarray(np.full((8, 8), 10 * digit, np.uint8)).save(content := io.BytesIO(), "PNG")
        rows.append({"image": content.getvalue(), "label": digit % 10})
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "digits.parquet")
    digits = [f"data.train={tmp_path / 'digits.parquet'}", "rows.text=label", "rows.grey=true"]
    train(tmp_path / "run", *digits, "train.steps=2")
    painter = formers.load(tmp_path / "run")
    assert painter.parts.unet.config.out_channels == 1
    assert painter.tokens(["7"])[0, 1] != painter.tokens(["8"])[0, 1]
    train(tmp_path / "nothing", "rows.text=", "train.steps=2", "train.sample_every=2")
    assert formers.load(tmp_path / "nothing").parts.text is None


def test_a_checkpoint_is_tuned_whole_and_with_lora(run, tmp_path):
    start = f"model.start={run}"
    train(tmp_path / "whole", start, "train.steps=2")
    tuned, before = formers.load(tmp_path / "whole").parts, formers.load(run).parts
    assert torch.equal(tuned.text.embedding.weight, before.text.embedding.weight)  # its texts are as they were
    assert not torch.equal(tuned.unet.convolution_in.weight, before.unet.convolution_in.weight)
    lora = [start, "adapter.kind=lora", "adapter.rank=2", "adapter.targets=['q', 'o']", "train.rate=1e-2"]
    events = train(tmp_path / "lora", *lora, "task.learn_text=true")
    assert any("adapter: LoRA of rank 2" in line for line in events[0].lines)
    (file,) = files(tmp_path / "lora/checkpoints/000004", "pytorch_lora_weights.safetensors")
    adapted = formers.load(tmp_path / "lora", system="painting").parts
    for name in ("unet", "text"):
        old, new = (getattr(parts, name).state_dict() for parts in (before, adapted))
        changed = {key.split(".")[-2] for key in old if not torch.equal(old[key], new[key])}
        assert changed == {"q", "o"}
    train(tmp_path / "lora-2", *lora, "task.learn_text=true", "train.steps=2")
    train(tmp_path / "lora-2", *lora, "task.learn_text=true")
    once, twice = (files(tmp_path / name / "checkpoints/000004", str(file)) for name in ("lora", "lora-2"))
    assert once == twice


def test_diffusers_reads_our_lora(tmp_path, autoencoder):
    diffusers = pytest.importorskip("diffusers")
    pytest.importorskip("peft")
    train(tmp_path / "base", f"parts.vae={autoencoder}", "train.steps=2", "model.length=77")
    base = formers.registry.locate(tmp_path / "base")
    lora = [f"model.start={base}", "adapter.kind=lora", "adapter.rank=2", "train.rate=1e-1"]
    train(tmp_path / "lora", *lora, "task.learn_text=true", "train.steps=2")
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(base, safety_checker=None)
    pipeline.load_lora_weights(formers.registry.locate(tmp_path / "lora"))
    ours, latents = formers.load(tmp_path / "lora"), torch.randn(1, 2, 4, 4)
    text = pipeline.encode_prompt(["a red circle"], "cpu", 1, False)[0]
    torch.testing.assert_close(ours.prompted(["a red circle"])[0], text, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        theirs = pipeline.unet(latents, 500, encoder_hidden_states=text).sample
    torch.testing.assert_close(ours.predict(latents, torch.tensor([500]), text), theirs, rtol=1e-4, atol=1e-4)


def test_the_report_says_what_is_cut_and_repeated(tmp_path):
    lines = prepared(tmp_path, "model.length=6", "data.count=200").report
    assert any(line.startswith("captions: 200, ") and "repeat another" in line for line in lines)
    assert any(
        line.startswith("warning: of the captions ") and "more than the 6 that are read" in line for line in lines
    )


def test_a_sheet_has_captions(tmp_path):
    view = preview("painting", "train", 4, changes=[*SMALL])
    view.sheet(tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_a_trained_tokenizer_is_one_of_clip(tmp_path):
    transformers = pytest.importorskip("transformers")
    texts = ["a red circle above a blue square", "A red ring", "naïve 7 circles!", ""]
    tokenizer = train_clip(texts * 2, 600)
    assert len(tokenizer.encode(["red circle"])[0]) == 4 and 514 < tokenizer.vocab <= 600
    assert train_clip(texts * 2, 514).vocab == 514
    tokenizer.save(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip_text_model"}))
    theirs = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    for text in texts:
        assert theirs(text).input_ids == tokenizer.encode([text])[0]
    with pytest.raises(ConfigError, match="vocab \\(500\\) must be at least 514"):
        train_clip(texts, 500)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (["model.prediction=epsilon"], 'model.zero_snr ends in pure noise, .* set prediction to "v"'),
        (["model.heads=3"], r"\[model\]: widths \(8\) must be multiples of heads \(3\)"),
        (["model.attention=[true]"], "must be equally many"),
        (["model.text_heads=3"], r"model.text_dim \(8\) must be a multiple of model.text_heads \(3\)"),
        (["task.times_shift=1"], "task.times_shift is for task.times logit-normal"),
        (["model.start=RUN", "rows.grey=true"], "these networks paint coloured pictures: set rows.grey=false"),
        (["model.start=RUN", "rows.text="], "this model reads captions: name rows.text"),
        (["model.start=RUN", "adapter.kind=bitfit"], 'adapter.kind "bitfit" has no form of file for this model'),
        (["model.start=RUN", "parts.vae=VAE"], "has all its parts; leave out"),
        (["parts.vae=VAE", "model.height=9"], r"model.height \(9\) must be a multiple of 2, .* such as 8"),
        (["parts.vae=RUN"], "parts.vae: .* is a LatentDiffusion, expected a VAE or TinyVAE"),
        (["model.start=VAE"], "is a VAE, expected a folder of diffusers"),
        (["adapter.kind=lora"], "name it in model.start"),
        (["train.recompute=true"], "train.recompute is for transformers"),
    ],
)
def test_recipes_that_are_none(changes, what, run, autoencoder, tmp_path):
    changes = [change.replace("RUN", str(run)).replace("VAE", str(autoencoder)) for change in changes]
    with pytest.raises((ConfigError, CheckpointError), match=what):
        train(tmp_path / "run", *changes)
