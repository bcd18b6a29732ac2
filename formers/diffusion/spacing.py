"""Which times a sampler visits: from the number of steps to points on the way from noise to picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

import numpy as np

from formers.diffusion.schedule import CLEAN, Point, Schedule
from formers.errors import ConfigError
from formers.fields import Between, Count, Natural

RUNGE_KUTTA = (1 / 6, 1 / 3, 1 / 3, 1 / 6)
"""Weights of the four evaluations of such a move."""
RHO = 7.0  # Karras et al. 2022, equation 5
Positive = Annotated[float, Between(above=0)]


class Leg(NamedTuple):
    """One evaluation of the network: where it looks, and from where to where the latents move by it."""

    at: Point
    start: Point
    end: Point


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a sampler goes; fields and words are those of scheduler_config.json, `eta` is ours."""

    timestep_spacing: Literal["leading", "linspace", "trailing"] = "leading"
    steps_offset: Count = 0
    set_alpha_to_one: bool = True
    """Whether the last step ends without noise, rather than with that of time 0."""
    skip_prk_steps: bool = True
    """Whether PNDM begins without its Runge-Kutta moves."""
    clip_sample: bool = False
    clip_sample_range: Positive = 1.0
    thresholding: bool = False
    dynamic_thresholding_ratio: Annotated[float, Between(0, 1)] = 0.995
    sample_max_value: Positive = 1.0
    variance_type: Literal["fixed_small", "fixed_small_log", "fixed_large"] = "fixed_small"
    use_karras_sigmas: bool = False
    use_exponential_sigmas: bool = False
    sigma_min: Positive | None = None
    sigma_max: Positive | None = None
    final_sigmas_type: Literal["zero", "sigma_min"] = "zero"
    solver_order: Annotated[int, Between(1, 3)] = 2
    solver_type: Literal["midpoint", "heun", "bh1", "bh2", "logrho"] = "midpoint"
    """logrho is the default's other name in files of other samplers."""
    lower_order_final: bool = True
    euler_at_final: bool = False
    lambda_min_clipped: float | None = None
    """Least log(signal / noise) to begin at."""
    disable_corrector: tuple[Count, ...] = ()
    original_inference_steps: Natural = 50
    timestep_scaling: Positive = 10.0
    eta: Annotated[float, Between(0, 1)] = 0.0
    """Fresh noise of DDIM: 0 none, 1 as much as DDPM."""


Walk = Callable[[Schedule, Sampling, int, int], list[Leg]]
"""(schedule, sampling, steps, evaluations to leave out at the begin) -> legs."""


def times(sampling: Sampling, count: int, steps: int, last: int) -> np.ndarray:
    """`steps` times below `last` of `count`, falling, fractions of linspace included."""
    if sampling.timestep_spacing == "linspace":
        return np.linspace(0, last - 1, steps)[::-1]
    if sampling.timestep_spacing == "leading":
        return (np.arange(steps) * (last // steps))[::-1] + sampling.steps_offset
    return np.arange(last, 0, -count / steps).round() - 1


def whole_times(schedule: Schedule, sampling: Sampling, steps: int) -> list[int]:
    """Those of the samplers that know no others. Raises ConfigError for a time that was never trained."""
    return _trained(schedule, times(sampling, schedule.times, steps, schedule.times).round().astype(int).tolist())


def _trained(schedule: Schedule, visited: list[int]) -> list[int]:
    if max(visited) >= schedule.times:
        got = f"the first time would be {max(visited):,}, but the network knows 0 to {schedule.times - 1:,}"
        raise ConfigError(f"{got}; ask for fewer steps or a smaller steps_offset")
    return visited


def strided(schedule: Schedule, sampling: Sampling, steps: int, skipped: int) -> list[Leg]:
    """DDIM: moves by an equal stride, whatever the next time of the list is."""
    end = _strides(schedule, sampling, steps)
    points = [schedule.point(time) for time in whole_times(schedule, sampling, steps)][skipped:]
    return [Leg(point, point, end(int(point.time))) for point in points]


def repeated(schedule: Schedule, sampling: Sampling, steps: int, skipped: int) -> list[Leg]:
    """PNDM: the second time twice, once to take the first move again; or three moves of four evaluations at first.

    Raises ConfigError where those are left out.
    """
    end, stride = _strides(schedule, sampling, steps), schedule.times // steps
    visited = whole_times(schedule, sampling, steps)
    if not sampling.skip_prk_steps:
        if skipped or steps < len(RUNGE_KUTTA):
            why = "begins with moves of Runge and Kutta (skip_prk_steps is false)"
            raise ConfigError(f"pndm {why}: ask for at least 4 steps and strength 1, or choose another sampler")
        first = [leg for pair in pairwise(visited[:4]) for leg in _runge_kutta(schedule, *pair, stride // 2)]
        points = [schedule.point(time) for time in visited[3:]]
        return [*first, *(Leg(point, point, end(int(point.time))) for point in points)]
    points = [schedule.point(time) for time in [*visited[:2], *visited[1:]][skipped:]]
    legs = [Leg(point, point, end(int(point.time))) for point in points]
    if len(legs) > 1:
        again = points[1]
        legs[1] = Leg(again, schedule.point(int(again.time) + stride), again)
    return legs


def _runge_kutta(schedule: Schedule, start: int, end: int, half: int) -> list[Leg]:
    ways = [(start, start - half), (end + half, end + half), (end + half, end), (end, end)]
    return [Leg(schedule.point(at), schedule.point(start), schedule.point(to)) for at, to in ways]


def _strides(schedule: Schedule, sampling: Sampling, steps: int) -> Callable[[int], Point]:
    stride, rest = schedule.times // steps, CLEAN if sampling.set_alpha_to_one else schedule.point(0)
    return lambda time: schedule.point(time - stride) if time >= stride else rest


def chained(schedule: Schedule, sampling: Sampling, steps: int, skipped: int) -> list[Leg]:
    """DDPM: moves to the next time of the list, the last to the clean latents."""
    return _chain([schedule.point(time) for time in whole_times(schedule, sampling, steps)])[skipped:]


def distilled(schedule: Schedule, sampling: Sampling, steps: int, skipped: int) -> list[Leg]:
    """LCM: times of the coarse grid that the network was distilled on."""
    grid = sampling.original_inference_steps
    if steps > grid or grid > schedule.times:
        got = f"lcm was asked for {steps:,} steps, expected at most {min(grid, schedule.times):,}"
        raise ConfigError(f"{got} (original_inference_steps {grid:,}, trained times {schedule.times:,})")
    visited = (np.arange(grid, 0, -1) * (schedule.times // grid) - 1)[
        np.linspace(0, grid, steps, endpoint=False).astype(int)
    ]
    return _chain([schedule.point(time) for time in visited.tolist()])[skipped:]


def _chain(points: Sequence[Point], end: Point = CLEAN) -> list[Leg]:
    return [Leg(point, point, after) for point, after in zip(points, [*points[1:], end], strict=True)]


def fractional(schedule: Schedule, sampling: Sampling, steps: int, skipped: int) -> list[Leg]:
    """Euler: between two times too."""
    visited = times(sampling, schedule.times, steps, schedule.times).astype(np.float32)
    _trained(schedule, visited.astype(int).tolist())
    sigmas = np.interp(visited, np.arange(schedule.times), schedule.sigmas)
    if sampling.use_karras_sigmas or sampling.use_exponential_sigmas:
        sigmas = _curve(sampling, sigmas, steps)
        visited = _times_of(schedule, sigmas).astype(np.float32)
    return _sigma_chain(schedule, sampling, visited, sigmas)[skipped:]


def doubled(schedule: Schedule, sampling: Sampling, steps: int, skipped: int) -> list[Leg]:
    """Heun: each move once more with the slope at its end, all but the last."""
    legs = fractional(schedule, sampling, steps, 0)
    both = [leg for here in legs for leg in (here, Leg(here.end, here.start, here.end))]
    return both[:-1][skipped:]


def solved(schedule: Schedule, sampling: Sampling, steps: int, skipped: int, *, rounded: bool = False) -> list[Leg]:
    """DPM-Solver++ and UniPC: whole times, of one more than the steps, which is left out.

    rounded: whether times of Karras' sigmas are rounded where the schedule is a cosine, rather than cut.
    """
    count = schedule.times
    if sampling.use_karras_sigmas or sampling.use_exponential_sigmas:
        sigmas = _curve(sampling, schedule.sigmas[::-1], steps)
        visited = _times_of(schedule, sigmas)
        if sampling.use_karras_sigmas and (rounded or schedule.beta_schedule != "squaredcos_cap_v2"):
            visited = visited.round()
    else:
        least = sampling.lambda_min_clipped
        last = count if least is None else int((-np.log(schedule.sigmas) >= least).sum())
        more = steps if sampling.timestep_spacing == "trailing" else steps + 1
        visited = times(sampling, count, more, last).round()[:steps]
        _trained(schedule, visited.astype(int).tolist())
        sigmas = np.interp(visited, np.arange(count), schedule.sigmas)
    return _sigma_chain(schedule, sampling, visited.astype(int), sigmas)[skipped:]


def _curve(sampling: Sampling, sigmas: np.ndarray, steps: int) -> np.ndarray:
    """Sigmas from the first of these to the last, in equal strides of their logarithm or of their seventh root."""
    most = sampling.sigma_max or float(sigmas[0])
    least = sampling.sigma_min or float(sigmas[-1])
    if sampling.use_exponential_sigmas:
        return np.exp(np.linspace(np.log(most), np.log(least), steps))
    return np.linspace(most ** (1 / RHO), least ** (1 / RHO), steps) ** RHO


def _times_of(schedule: Schedule, sigmas: np.ndarray) -> np.ndarray:
    return np.interp(np.log(np.maximum(sigmas, 1e-10)), np.log(schedule.sigmas), np.arange(schedule.times))


def _sigma_chain(schedule: Schedule, sampling: Sampling, visited: np.ndarray, sigmas: np.ndarray) -> list[Leg]:
    places = zip(visited.tolist(), sigmas.astype(np.float32).tolist(), strict=True)
    points = [Point.of_sigma(time, sigma) for time, sigma in places]
    if sampling.final_sigmas_type == "zero":
        return _chain(points)
    return _chain(points, Point.of_sigma(0, float(schedule.sigmas[0])))
