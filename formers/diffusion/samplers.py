"""One step of each sampler: latents at one point of the way, and what a network says of them -> those at the next.

All are written in latents of variance one, signal * clean + noise * epsilon. There Euler is DDIM between whole times,
Euler ancestral is DDIM with eta 1, and each move of PNDM is one of DDIM.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from formers.diffusion import spacing
from formers.diffusion.schedule import Point, Schedule, noise_in
from formers.diffusion.spacing import RUNGE_KUTTA, Leg, Sampling, Walk

SIGMA_DATA = 0.5  # of consistency models: Song et al. 2023
FEW = 15  # steps of DPM-Solver++ below which the last are of lower order

Memory = tuple[Tensor, ...]
"""What a sampler of several evaluations keeps of those before."""


class Denoising(NamedTuple):
    """What is there when the network has answered; all tensors (pictures, channels, height, width)."""

    schedule: Schedule
    sampling: Sampling
    legs: Sequence[Leg]
    place: int
    """Of the leg."""
    steps: int
    """As asked for, those left out at the begin included."""
    latents: Tensor
    prediction: Tensor
    clean: Tensor
    """The clean latents that it means, within their limits."""
    noise: Tensor
    """The noise that it means, whatever the limits."""
    draw: Callable[[], Tensor]
    """Fresh noise, each picture's from its own generator."""

    @property
    def leg(self) -> Leg:
        return self.legs[self.place]

    @property
    def left(self) -> int:
        """Denoisings, with this one."""
        return len(self.legs) - self.place


Step = Callable[[Denoising, Memory], tuple[Tensor, Memory]]


@dataclass(frozen=True)
class Sampler:
    """How a sampler walks and steps, and the keys of scheduler_config.json that it obeys."""

    class_name: str
    """Of the file."""
    step: Step
    walk: Walk
    keys: tuple[str, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Where a file says nothing, other than those of `Sampling`."""
    schedule: Mapping[str, Any] = field(default_factory=dict)
    """The same of the `Schedule`."""
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Key -> the values that can be obeyed of it."""
    predictions: tuple[str, ...] = ("epsilon", "v_prediction", "sample")
    orders: tuple[int, ...] = (1, 2, 3)
    """Of `solver_order`."""
    evaluations: int = 1
    """A step's."""
    spread: bool = False
    """Whether what it starts from is as much noise as its first point has, where the spacing is not leading."""
    pure: bool = True
    """Whether it can begin with pure noise (rescale_betas_zero_snr)."""


def toward(clean: Tensor, noise: Tensor, end: Point, fresh: float = 0.0) -> Tensor:
    """Latents at `end` with this clean part and this noise; `fresh` of it is left to be drawn."""
    return end.signal * clean + math.sqrt(max(end.noise**2 - fresh**2, 0)) * noise


def fresh_noise(start: Point, end: Point) -> float:
    """Deviation of the noise that the reverse process adds between two points (DDPM; DDIM with eta 1)."""
    kept = (start.signal / end.signal) ** 2
    return end.noise / start.noise * math.sqrt(max(1 - kept, 0))


def ddim(now: Denoising, memory: Memory, eta: float | None = None) -> tuple[Tensor, Memory]:
    """Song et al. 2021, equation 12."""
    _, start, end = now.leg
    fresh = (now.sampling.eta if eta is None else eta) * fresh_noise(start, end)
    latents = toward(now.clean, now.noise, end, fresh)
    return (latents + fresh * now.draw() if fresh else latents), memory


def ddpm(now: Denoising, memory: Memory) -> tuple[Tensor, Memory]:
    """Ho et al. 2020, equation 7: the noise is that of the limited clean latents."""
    _, start, end = now.leg
    small = fresh_noise(start, end)
    latents = toward(now.clean, noise_in(now.latents, now.clean, start), end, small)
    fresh = small
    if now.sampling.variance_type == "fixed_large":
        fresh = math.sqrt(1 - (start.signal / end.signal) ** 2)
    return (latents + fresh * now.draw() if start.time > 0 else latents), memory


MULTISTEP = ((1,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
"""Weights of Adams and Bashforth, the newest first."""


def pndm(now: Denoising, memory: Memory) -> tuple[Tensor, Memory]:
    """Liu et al. 2022; memory: predictions before, the newest first, and what the first moves need."""
    if not now.sampling.skip_prk_steps and now.place < 3 * len(RUNGE_KUTTA):
        return _runge_kutta(now, memory)
    kept = (now.prediction, *memory)[:4]
    if now.place == 1:  # the first move again, with the mean slope
        first, latents = memory
        prediction, kept = (now.prediction + first) / 2, (first,)
    else:
        weights = MULTISTEP[len(kept) - 1]
        prediction = sum((w * past for w, past in zip(weights, kept, strict=True)), torch.zeros(()))
        latents = now.latents
    clean, noise = now.schedule.read(prediction, latents, now.leg.start)
    return toward(clean, noise, now.leg.end), (*kept, now.latents) if now.place == 0 else kept


def _runge_kutta(now: Denoising, memory: Memory) -> tuple[Tensor, Memory]:
    """One of four evaluations of a move; memory: where it began, the weighted sum so far, predictions before."""
    turn = now.place % len(RUNGE_KUTTA)
    start, total, *before = memory if turn else (now.latents, torch.zeros(()), now.prediction, *memory)
    total = total + RUNGE_KUTTA[turn] * now.prediction
    last = turn == len(RUNGE_KUTTA) - 1
    clean, noise = now.schedule.read(total if last else now.prediction, start, now.leg.start)
    return toward(clean, noise, now.leg.end), tuple(before) if last else (start, total, *before)


def heun(now: Denoising, memory: Memory) -> tuple[Tensor, Memory]:
    """Karras et al. 2022, algorithm 1; memory between the two evaluations of a move: what the first one said."""
    at, start, end = now.leg
    slope = noise_in(now.latents, now.clean, at)
    if not memory:
        return toward(now.clean, slope, end), (now.clean, slope)
    clean, first = memory
    return toward(clean, first, end) + end.signal * (end.sigma - start.sigma) / 2 * (slope - first), ()


def boundary(time: float, scaling: float) -> tuple[float, float]:
    """How much of the latents, and of the clean ones that it means, a consistency model gives: at time 0 the latents
    alone (Song et al. 2023, section 3)."""
    total = (time * scaling) ** 2 + SIGMA_DATA**2
    return SIGMA_DATA**2 / total, time * scaling / math.sqrt(total)


def lcm(now: Denoising, memory: Memory) -> tuple[Tensor, Memory]:
    """Luo et al. 2023: clean latents at once, then noise again."""
    at, _, end = now.leg
    skip, out = boundary(at.time, now.sampling.timestep_scaling)
    clean = out * now.clean + skip * now.latents
    return (end.signal * clean + end.noise * now.draw() if now.left > 1 else clean), memory


def log_ratio(start: Point, end: Point) -> float:
    """By how much log(signal / noise) grows; infinite where the noise ends."""
    return math.inf if end.noise == 0 else math.log(start.sigma / end.sigma)


def dpm_solver(now: Denoising, memory: Memory) -> tuple[Tensor, Memory]:
    """Lu et al. 2022, algorithm 2M; memory: the clean latents of the step before."""
    sampling, (_, start, end) = now.sampling, now.leg
    stays = now.left == 1 and (
        sampling.euler_at_final
        or (sampling.lower_order_final and now.steps < FEW)
        or sampling.final_sigmas_type == "zero"
    )
    step = log_ratio(start, end)
    move = end.signal * -math.expm1(-step)
    latents = end.noise / start.noise * now.latents + move * now.clean
    if memory and sampling.solver_order > 1 and not stays and step:
        slope = (now.clean - memory[0]) * (step / log_ratio(now.legs[now.place - 1].start, start))
        weight = end.signal * (1 + math.expm1(-step) / step) if sampling.solver_type == "heun" else move / 2
        latents = latents + weight * slope
    return latents, (now.clean,)


def unipc(now: Denoising, memory: Memory) -> tuple[Tensor, Memory]:
    """Zhao et al. 2023: first the latents that are there are corrected; memory: the ones before, then clean ones."""
    order, legs, index = now.sampling.solver_order, now.legs, now.place
    latents = now.latents
    skipped = now.steps - len(legs)
    if memory and index - 1 + skipped not in now.sampling.disable_corrector:
        before, *clean = memory
        latents = _unified(now, index - 1, before, clean[: _order(now, index - 1)], now.clean)
    clean = [now.clean, *memory[1:]][:order]
    return _unified(now, index, latents, clean[: _order(now, index)], None), (latents, *clean)


def _order(now: Denoising, index: int) -> int:
    order = 1 if now.legs[index].end.noise == 0 else now.sampling.solver_order
    return min(order, index + 1, len(now.legs) - index if now.sampling.lower_order_final else order)


def _unified(now: Denoising, index: int, latents: Tensor, clean: Sequence[Tensor], after: Tensor | None) -> Tensor:
    """The move of one leg from the clean latents at its start and before, the newest first; `after`: at its end."""
    _, start, end = now.legs[index]
    if (step := log_ratio(start, end)) == 0:
        return latents
    moved = end.noise / start.noise * latents - end.signal * math.expm1(-step) * clean[0]
    ratios = [-log_ratio(now.legs[index - i].start, start) / step for i in range(1, len(clean))]
    slopes = [(past - clean[0]) / ratio for past, ratio in zip(clean[1:], ratios, strict=True)]
    if after is not None:
        slopes, ratios = [*slopes, after - clean[0]], [*ratios, 1.0]
    scale = -step if now.sampling.solver_type == "bh1" else math.expm1(-step)
    for weight, slope in zip(_weights(ratios, -step, scale), slopes, strict=True):
        moved = moved - end.signal * scale * weight * slope
    return moved


def _weights(ratios: Sequence[float], step: float, scale: float) -> list[float]:
    """Of the slopes at these places: exact for polynomials; a single one has a half, as its authors chose."""
    if len(ratios) < 2:
        return [0.5] * len(ratios)
    moments, phi = [], math.expm1(step) / step - 1
    for power in range(1, len(ratios) + 1):
        moments.append(phi * math.factorial(power) / scale)
        phi = phi / step - 1 / math.factorial(power + 1)
    return np.linalg.solve(np.vander(ratios, increasing=True).T, moments).tolist()


_CLIP = ("clip_sample", "clip_sample_range")
_THRESHOLD = ("thresholding", "dynamic_thresholding_ratio", "sample_max_value")
_SPACING = ("timestep_spacing", "steps_offset")
_CURVES = ("use_karras_sigmas", "use_exponential_sigmas")
_PLAIN: dict[str, tuple[Any, ...]] = {"use_beta_sigmas": (False, None)}
_SOLVER = ("solver_order", "solver_type", "lower_order_final", "final_sigmas_type", *_THRESHOLD, *_SPACING, *_CURVES)
_FLOW: dict[str, tuple[Any, ...]] = {"use_flow_sigmas": (False, None), "use_dynamic_shifting": (False, None)}
_FIXED: dict[str, tuple[Any, ...]] = {
    "variance_type": ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log")
}
_LINSPACE = {"timestep_spacing": "linspace"}

SAMPLERS: Mapping[str, Sampler] = {
    "ddpm": Sampler(
        "DDPMScheduler", ddpm, spacing.chained, ("variance_type", *_CLIP, *_THRESHOLD, *_SPACING), {"clip_sample": True}
    ),
    "ddim": Sampler(
        "DDIMScheduler", ddim, spacing.strided, ("set_alpha_to_one", "eta", *_CLIP, *_THRESHOLD, *_SPACING),
        {"clip_sample": True},
    ),
    "pndm": Sampler(
        "PNDMScheduler", pndm, spacing.repeated, ("set_alpha_to_one", "skip_prk_steps", *_SPACING),
        {"set_alpha_to_one": False}, predictions=("epsilon", "v_prediction"), pure=False,
    ),
    "euler": Sampler(
        "EulerDiscreteScheduler", partial(ddim, eta=0.0), spacing.fractional,
        ("final_sigmas_type", "sigma_min", "sigma_max", *_SPACING, *_CURVES), _LINSPACE, spread=True,
        only={**_PLAIN, "interpolation_type": ("linear",), "timestep_type": ("discrete",)},
    ),
    "euler-a": Sampler(
        "EulerAncestralDiscreteScheduler", partial(ddim, eta=1.0), spacing.fractional, _SPACING, _LINSPACE, spread=True
    ),
    "heun": Sampler(
        "HeunDiscreteScheduler", heun, spacing.doubled, (*_CLIP, *_SPACING, *_CURVES), _LINSPACE,
        {"beta_start": 0.00085, "beta_end": 0.012}, _PLAIN, evaluations=2, spread=True, pure=False,
    ),
    "dpm++": Sampler(
        "DPMSolverMultistepScheduler", dpm_solver, spacing.solved, ("euler_at_final", "lambda_min_clipped", *_SOLVER),
        _LINSPACE, orders=(1, 2),
        only={**_PLAIN, **_FLOW, **_FIXED, "use_lu_lambdas": (False,), "algorithm_type": ("dpmsolver++", "deis")},
    ),
    "unipc": Sampler(
        "UniPCMultistepScheduler", unipc, partial(spacing.solved, rounded=True),
        ("disable_corrector", "sigma_min", "sigma_max", *_SOLVER), {**_LINSPACE, "solver_type": "bh2"},
        only={**_PLAIN, **_FLOW, "predict_x0": (True,), "solver_p": (None,), "shift_terminal": (None,)},
    ),
    "lcm": Sampler(
        "LCMScheduler", lcm, spacing.distilled, ("original_inference_steps", "timestep_scaling", *_CLIP, *_THRESHOLD),
        schedule={"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"},
    ),
}  # fmt: skip
"""What `--sampler` knows."""
