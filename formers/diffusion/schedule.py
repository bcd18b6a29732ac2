"""How much noise a latent has at each time of the training, and what a network's prediction says of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from formers.errors import ConfigError
from formers.fields import Between, Natural
from formers.shapes import Sized

SCHEDULES = {"linear": "linear", "scaled-linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}
"""What recipes call them -> what files call them."""
PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction", "x0": "sample"}
LEAST = 2.0**-24  # alpha-bar in place of 0 where a sampler counts in sigmas, which would be infinite
COSINE_SHIFT = 0.008  # Nichol and Dhariwal 2021, section 3.2
MOST_BETA = 0.999
Beta = Annotated[float, Between(1e-7, below=1)]  # with less, float32 has no noise


class Point(NamedTuple):
    """A place on the way from noise to picture: latents are signal * clean + noise * epsilon there."""

    time: float
    """What the network is told; samplers in sigmas have fractions."""
    signal: float
    noise: float

    @property
    def sigma(self) -> float:
        return self.noise / self.signal

    @classmethod
    def of_alpha_bar(cls, time: float, alpha_bar: float) -> Point:
        return cls(time, math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar))

    @classmethod
    def of_sigma(cls, time: float, sigma: float) -> Point:
        signal = 1 / math.sqrt(sigma**2 + 1)
        return cls(time, signal, sigma * signal)


CLEAN = Point(0, 1.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The noise that a network was trained with; fields and words are those of scheduler_config.json."""

    num_train_timesteps: Natural = 1000
    beta_start: Beta = 0.0001
    beta_end: Beta = 0.02
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"] = "linear"
    trained_betas: Annotated[tuple[Beta, ...], Sized(1)] | None = None
    """In place of the three fields above, as many as times."""
    rescale_betas_zero_snr: bool = False
    """Whether the last time is pure noise (Lin et al. 2023); its network cannot predict epsilon there."""
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "epsilon"

    @cached_property
    def alpha_bars(self) -> Tensor:
        """Share of the picture in the variance at each time, falling: (times,), float32 as in the training."""
        bars = (1 - self._betas()).cumprod(0)
        if not self.rescale_betas_zero_snr:
            return bars
        roots = bars.sqrt()
        bars = ((roots - roots[-1]) * (roots[0] / (roots[0] - roots[-1]))) ** 2
        betas = 1 - torch.cat([bars[:1], bars[1:] / bars[:-1]])  # and back, with the rounding of the training
        return (1 - betas).cumprod(0)

    def _betas(self) -> Tensor:
        count, first, last = self.num_train_timesteps, self.beta_start, self.beta_end
        if self.trained_betas is not None:
            return torch.tensor(self.trained_betas)
        if self.beta_schedule == "linear":
            return torch.linspace(first, last, count)
        if self.beta_schedule == "scaled_linear":
            return torch.linspace(first**0.5, last**0.5, count) ** 2
        if self.beta_schedule == "sigmoid":
            return torch.linspace(-6, 6, count).sigmoid() * (last - first) + first
        curve = np.cos((np.arange(count + 1) / count + COSINE_SHIFT) / (1 + COSINE_SHIFT) * math.pi / 2) ** 2
        return torch.tensor(np.minimum(1 - curve[1:] / curve[:-1], MOST_BETA), dtype=torch.float32)

    @property
    def times(self) -> int:
        return self.num_train_timesteps

    @cached_property
    def sigmas(self) -> np.ndarray:
        """noise / signal at each time, rising: (times,), float32; never infinite."""
        bars = self.alpha_bars.clone()
        if self.rescale_betas_zero_snr:
            bars[-1] = LEAST
        return ((1 - bars) / bars).sqrt().numpy()

    def point(self, time: int) -> Point:
        return Point.of_alpha_bar(time, float(self.alpha_bars[time]))

    def noised(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """What the network reads in training: clean and noise (batch, ...), times (batch,), each in 0..times - 1."""
        signal, spread = self._amounts(times, clean)
        return signal * clean + spread * noise

    def target(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """What the network is to answer, as `noised`."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "sample":
            return clean
        signal, spread = self._amounts(times, clean)
        return signal * noise - spread * clean

    def weights(self, times: Tensor, gamma: float = 5.0) -> Tensor:
        """Min-SNR weights of the squared error at each time: (batch,), Hang et al. 2023, for this prediction."""
        bars = self.alpha_bars.to(times.device)[times]
        ratio = bars / (1 - bars)
        if self.prediction_type == "epsilon":
            return (gamma / ratio).clamp(max=1)
        capped = ratio.clamp(max=gamma)
        return capped if self.prediction_type == "sample" else capped / (ratio + 1)

    def _amounts(self, times: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        bars = self.alpha_bars.to(like.device)[times].reshape(-1, *[1] * (like.dim() - 1))
        return bars.sqrt().to(like.dtype), (1 - bars).sqrt().to(like.dtype)

    def read_at(self, prediction: Tensor, latents: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """As `read`, each of a batch at its own time of the training, (batch,)."""
        signal, spread = self._amounts(times, latents)
        return READINGS[self.prediction_type](prediction, latents, Amounts(signal, spread))

    def read(self, prediction: Tensor, latents: Tensor, at: Point) -> tuple[Tensor, Tensor]:
        """The clean latents and the noise that a prediction at a point means."""
        return READINGS[self.prediction_type](prediction, latents, at)

    def refuse_unreadable(self, points: list[Point]) -> None:
        """Raises ConfigError where noise is to be predicted at a point that holds nothing else."""
        if self.prediction_type == "epsilon" and any(point.signal == 0 for point in points):
            why = "prediction_type is epsilon, but rescale_betas_zero_snr begins with pure noise, which says nothing"
            raise ConfigError(f"{why} of the picture; use v_prediction (as the network was trained) or leading spacing")


class Amounts(NamedTuple):
    """Of each of a batch, (batch, 1, 1, 1), what `Point` is of all."""

    signal: Tensor
    noise: Tensor


Place = Point | Amounts


def _of_noise(prediction: Tensor, latents: Tensor, at: Place) -> tuple[Tensor, Tensor]:
    return (latents - at.noise * prediction) / at.signal, prediction


def _of_velocity(prediction: Tensor, latents: Tensor, at: Place) -> tuple[Tensor, Tensor]:
    return at.signal * latents - at.noise * prediction, at.signal * prediction + at.noise * latents


def _of_clean(prediction: Tensor, latents: Tensor, at: Place) -> tuple[Tensor, Tensor]:
    return prediction, noise_in(latents, prediction, at)


def noise_in(latents: Tensor, clean: Tensor, at: Place) -> Tensor:
    """The epsilon of latents at a point of which the clean part is known."""
    return (latents - at.signal * clean) / at.noise


READINGS: dict[str, Callable[[Tensor, Tensor, Place], tuple[Tensor, Tensor]]] = {
    "epsilon": _of_noise,
    "v_prediction": _of_velocity,
    "sample": _of_clean,
}
