"""Speed of Stable Diffusion 1.5 on a CPU against what a user would pick instead: same weights and inputs, fp32.

    python benchmarks/diffusion.py [--repeats 5] [--only unet-32,unet-64,vae,tiny,picture,train,openvino-32,openvino-64]

Weights are random, of the published sizes. unet-32, unet-64: a pass over latents of 32 x 32 and 64 x 64 with guidance
(two rows), against diffusers; openvino-32, openvino-64: the same against OpenVINO in fp32, where it is installed; vae,
tiny: decoding 64 x 64 latents to 512 x 512 pixels, against diffusers; picture: the seconds of one of 512 x 512 by 4
steps of LCM without guidance, ours alone, with either decoder, from a whole folder that diffusers has written: its
parts have the published sizes, and a pass of its UNet is compared; train: a step of a small UNet (64 and 128 channels,
16 latents of 16 x 16) against diffusers in a plain loop, which both compute in fp32, ours in bf16 as well, as
train.precision = "auto" has it where that is faster. Outputs are compared before anything is timed. Ratios are of
processor time, which alone says something on a busy machine; last comes the most memory that the process has had.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from _turns import asked, same, show
from torch import Tensor, nn

from formers.pretrained.diffusers_folder import DiffusionParts, load_diffusers
from formers.pretrained.families import family
from formers.systems.painting.options import Painting
from formers.systems.painting.system import Painter
from formers.training.optimizer import adamw, scale_gradients
from formers.training.precision import autocast

import diffusers  # isort: skip (after _turns)
import transformers  # isort: skip

PARTS = ("unet-32", "unet-64", "vae", "tiny", "picture", "train", "openvino-32", "openvino-64")
ROWS, SIDE, WORDS, READ = 2, 64, 77, 768
SIZES = {"sample_size": SIDE, "cross_attention_dim": READ, "attention_head_dim": 8}
LEVELS = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
VAE = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, **LEVELS}
PARAMETERS = {"unet": 859_520_964, "vae": 83_653_863, "text": 123_060_480}
TOY = {
    "sample_size": 16, "block_out_channels": (64, 128), "layers_per_block": 2, "cross_attention_dim": 128,
    "attention_head_dim": 4, "norm_num_groups": 32, "down_block_types": ("CrossAttnDownBlock2D",) * 2,
    "up_block_types": ("CrossAttnUpBlock2D",) * 2,
}  # fmt: skip
TRAINED = 16


def main() -> None:
    options = asked(__doc__, PARTS)
    parts, results = options.only.split(","), []
    passes = [part for part in parts if part.startswith(("unet", "openvino"))]
    if passes:
        results += unet(passes, options.repeats)
    if "vae" in parts:
        reference = diffusers.AutoencoderKL(**VAE).eval()
        results.append(decoder("VAE", reference, options.repeats))
    if "tiny" in parts:
        results.append(decoder("tiny decoder", diffusers.AutoencoderTiny().eval(), options.repeats))
    if "train" in parts:
        results += training(options.repeats)
    if "picture" in parts:
        results += picture(options.repeats)
    show([row for row in results if "theirs" in row], options.repeats, theirs="theirs")
    print(f"\n{'processor seconds':44}{'formers':>12}{'theirs':>14}")
    for row in results:
        theirs = f"{row['their_cpu']:14.2f}" if "their_cpu" in row else ""
        print(f"{row['what']:44}{row['cpu']:12.2f}{theirs}")
    print(f"at most {peak():.2f} GB of memory in this process, references included")
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def peak() -> float:
    """GB that the process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def turns(what: str, mine: Callable[[], object], other: Callable[[], object], repeats: int) -> dict:
    """`_turns.compare` for functions that take long: both have run once, and processor time stands beside."""
    wall: tuple[list[float], list[float]] = ([], [])
    cpu: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for side, function in enumerate((mine, other)):
            start = time.perf_counter(), time.process_time()
            function()
            wall[side].append(time.perf_counter() - start[0]), cpu[side].append(time.process_time() - start[1])
    a, b, own, their = (statistics.median(seconds) for seconds in (*wall, *cpu))
    row = {"what": what, "formers": 60 / a, "theirs": 60 / b, "ratio": their / own, "cpu": own, "their_cpu": their}
    print(f"{what}: processor seconds {own:.2f}, theirs {their:.2f}: {their / own:.2f}x", flush=True)
    return {**row, "seconds": wall, "processor": cpu}


def ours_of(reference: Any, kind: str) -> Any:
    """Our model with the weights of a reference, as our loader of folders arranges them."""
    config = {"_class_name": kind, **json.loads(reference.to_json_string())}
    model = family(kind, ()).build(config, reference.state_dict()).model
    return model.to(memory_format=torch.channels_last)


def unet(parts: list[str], repeats: int) -> list[dict]:
    reference = diffusers.UNet2DConditionModel(**SIZES).eval()
    painter, results = Painter(DiffusionParts(unet=ours_of(reference, "UNet2DConditionModel"))), []
    times, text = torch.full((ROWS,), 500.0), torch.randn(ROWS, WORDS, READ)
    for part in parts:
        library, side = part.split("-")
        latents = torch.randn(ROWS, 4, int(side), int(side))
        theirs: Callable[[], Tensor] | None

        @torch.no_grad()
        def ours(latents: Tensor = latents) -> Tensor:
            return painter.predict(latents, times, text)

        @torch.no_grad()
        def plain(latents: Tensor = latents) -> Tensor:
            return reference(latents, times, text).sample

        theirs = plain if library == "unet" else openvino(reference, (latents, times, text))
        if theirs is not None:
            what = f"UNet {side} x {side}, {'diffusers' if library == 'unet' else 'OpenVINO'}, passes/min"
            same(what, ours(), theirs())
            results.append(turns(what, ours, theirs, repeats))
    return results


def openvino(reference: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[[], Tensor] | None:
    """The reference as OpenVINO compiles it, in fp32."""
    if importlib.util.find_spec("openvino") is None:
        print("OpenVINO: left out, it is not installed")
        return None
    import openvino as ov

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unet = reference

        def forward(self, latents: Tensor, times: Tensor, text: Tensor) -> Tensor:
            return self.unet(latents, times, text, return_dict=False)[0]

    with torch.no_grad():
        graph = ov.convert_model(Plain(), example_input=inputs, input=[tuple(part.shape) for part in inputs])
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = ov.Core().compile_model(graph, "CPU", settings)
    given = [part.numpy() for part in inputs]
    return lambda: torch.from_numpy(compiled(given)[0])


def decoder(name: str, reference: Any, repeats: int) -> dict:
    painter = Painter(DiffusionParts(unet=nn.Module(), vae=ours_of(reference, type(reference).__name__)))  # type: ignore[arg-type]
    latents, vae = torch.randn(1, 4, SIDE, SIDE), painter.parts.vae
    assert vae is not None

    @torch.no_grad()
    def ours() -> Tensor:
        return vae.decode(latents)

    @torch.no_grad()
    def theirs() -> Tensor:
        return reference.decode(latents).sample

    same(f"{name}, 512 pixels", ours(), theirs())
    return turns(f"{name}, 512 pixels, diffusers, pictures/min", ours, theirs, repeats)


def training(repeats: int) -> list[dict]:
    """A step: forward, backward, gradients clipped, AdamW; here as the trainer does it, there as is usual."""
    reference = diffusers.UNet2DConditionModel(**TOY)
    model = ours_of(reference, "UNet2DConditionModel").train()
    model.load_state_dict({name: value.clone() for name, value in model.state_dict().items()}, assign=True)
    model.requires_grad_(True).to(memory_format=torch.channels_last)
    latents, noise, text = (
        torch.randn(TRAINED, 4, 16, 16),
        torch.randn(TRAINED, 4, 16, 16),
        torch.randn(TRAINED, 16, 128),
    )
    times = torch.randint(1000, (TRAINED,))
    mine, theirs = adamw(model), torch.optim.AdamW(reference.parameters(), lr=1e-6, fused=True)
    for group in mine.param_groups:
        group["lr"] = 1e-6

    def step(precision: str = "fp32") -> None:
        with autocast(precision, "cpu"):
            answer = model(latents, times, text).float()
        F.mse_loss(answer, noise, reduction="sum").backward()
        scale_gradients([weight.grad for weight in model.parameters() if weight.grad is not None], 1 / TRAINED, 1.0)
        mine.step()
        mine.zero_grad()

    def reference_step() -> None:
        F.mse_loss(reference.train()(latents, times, text).sample, noise).backward()
        nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        theirs.step()
        theirs.zero_grad()

    with torch.no_grad():
        same("training", model(latents, times, text), reference(latents, times, text).sample)
    rows = []
    for precision in ("fp32", "bf16"):
        step(precision), reference_step()
        what = f"training a small UNet in {precision}, steps/min"
        rows.append(turns(what, partial(step, precision), reference_step, repeats))
    return rows


def picture(repeats: int) -> list[dict]:
    """A folder that diffusers has written: its parts have the published sizes, and the first step is the same."""
    before = peak()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        latents, text = torch.randn(1, 4, SIDE // 2, SIDE // 2), torch.randn(1, WORDS, READ)
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # whose memory is not counted
            answer = pool.apply(write_folder, (folder, latents, text))
        parts = load_diffusers(folder)
        for key, model in (("unet", parts.unet), ("vae", parts.vae), ("text", parts.text)):
            assert model is not None and sum(weight.numel() for weight in model.parameters()) == PARAMETERS[key], key
        painter = Painter(parts)
        with torch.no_grad():
            same("a pass of a folder of diffusers", painter.predict(latents, torch.tensor([500.0]), text), answer)
        vectors = torch.randn(1, WORDS, READ)
        painter.prompted = lambda prompts, negatives=(), **more: (vectors, vectors)  # type: ignore[method-assign]
        results = []
        for decoder_name in ("VAE", "tiny"):
            if decoder_name == "tiny":
                diffusers.AutoencoderTiny().save_pretrained(folder / "tiny")
                parts = formers_tiny(parts, folder / "tiny")
                painter = Painter(parts)
                painter.prompted = lambda prompts, negatives=(), **more: (vectors, vectors)  # type: ignore[method-assign]
            wall, cpu = [], []
            for _ in range(repeats):
                start = time.perf_counter(), time.process_time()
                list(painter.paint(Painting(prompt="x", steps=4, guidance=1, sampler="lcm", size="512x512")))
                wall.append(time.perf_counter() - start[0]), cpu.append(time.process_time() - start[1])
            what = f"512 x 512, LCM 4 steps, {decoder_name}"
            median, busy = statistics.median(wall), statistics.median(cpu)
            print(
                f"{what}: {median:.1f} s, {busy:.1f} of the processor, {peak():.2f} GB (before {before:.2f})",
                flush=True,
            )
            results.append(
                {"what": what, "cpu": statistics.median(cpu), "seconds": wall, "processor": cpu, "gb": peak()}
            )
    return results


def formers_tiny(parts: DiffusionParts, folder: Path) -> DiffusionParts:
    """The same with a tiny decoder."""
    from dataclasses import replace

    from formers.pretrained.load import load_model

    vae: Any = load_model(folder).model.to(memory_format=torch.channels_last)
    return replace(parts, vae=vae)


def write_folder(folder: Path, latents: Tensor, text: Tensor) -> Tensor:
    """A whole Stable Diffusion 1.5 of random weights; gives what its UNet makes of latents at time 500."""
    tower = transformers.CLIPTextConfig(
        hidden_size=READ, intermediate_size=4 * READ, num_hidden_layers=12, num_attention_heads=12
    )
    unet = diffusers.UNet2DConditionModel(**SIZES).eval()
    with torch.no_grad():
        answer = unet(latents, torch.tensor([500.0]), text).sample
    scheduler = diffusers.LCMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    pipeline = diffusers.StableDiffusionPipeline(
        diffusers.AutoencoderKL(**VAE), transformers.CLIPTextModel(tower), None, unet, scheduler, None, None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    return answer


if __name__ == "__main__":
    main()
