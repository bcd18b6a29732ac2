"""Learning rates as pure functions of the step: 1 is the first update, `steps` the last."""

from __future__ import annotations

import math
from collections.abc import Callable


def inverse_sqrt(step: int, warmup: int, steps: int) -> float:
    """Rises to 1 at `warmup`, then falls as 1/sqrt(step) (Vaswani et al. 2017, normalised to its peak)."""
    warmup = max(warmup, 1)
    return min(step / warmup, math.sqrt(warmup / step))


def cosine(step: int, warmup: int, steps: int) -> float:
    """Rises to 1 at `warmup`, then falls along half a cosine; would be 0 one step after the last."""
    return _rise(step, warmup) * 0.5 * (1 + math.cos(math.pi * _progress(step, warmup, steps)))


def linear(step: int, warmup: int, steps: int) -> float:
    """Rises to 1 at `warmup`, then falls in a straight line; would be 0 one step after the last."""
    return _rise(step, warmup) * (1 - _progress(step, warmup, steps))


def constant(step: int, warmup: int, steps: int) -> float:
    """Rises to 1 at `warmup` and stays."""
    return _rise(step, warmup)


SCHEDULES: dict[str, Callable[[int, int, int], float]] = {
    "inverse_sqrt": inverse_sqrt,
    "cosine": cosine,
    "linear": linear,
    "constant": constant,
}


def rate(schedule: str, step: int, *, peak: float, warmup: int, steps: int, final: float = 0.0) -> float:
    """The learning rate of update number `step` (1, 2, ...): from 0 up to `peak`, then down towards `final`."""
    bottom = 0.0 if step < warmup else final
    return bottom + (peak - bottom) * SCHEDULES[schedule](step, warmup, steps)


def _rise(step: int, warmup: int) -> float:
    return min(1.0, step / warmup) if warmup else 1.0


def _progress(step: int, warmup: int, steps: int) -> float:
    return min(1.0, max(0, step - warmup) / max(1, steps + 1 - warmup))
