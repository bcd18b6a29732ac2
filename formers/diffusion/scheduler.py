"""The scheduler_config.json of a diffusers folder: read, obeyed or refused by name, written, and made into a plan."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from torch import Tensor

from formers.diffusion.samplers import SAMPLERS, Sampler
from formers.diffusion.schedule import Schedule
from formers.diffusion.spacing import Leg, Sampling
from formers.errors import CheckpointError, ConfigError, nearest, shown
from formers.notes import note
from formers.shapes import fault, revive

WHAT = "the scheduler settings (scheduler_config.json)"
CLASSES = {sampler.class_name: name for name, sampler in SAMPLERS.items()}
SPACINGS = ("leading", "linspace", "trailing", "karras", "exponential")
SAYS_NOTHING = {"flow_shift", "time_shift_type"}  # of keys that are refused where they are on


class Plan(NamedTuple):
    """What a sampler does in so many steps; see `denoised`."""

    schedule: Schedule
    sampler: Sampler
    sampling: Sampling
    steps: int
    """Evaluations of the network, with those that a picture to begin with leaves out."""
    legs: Sequence[Leg]

    def start(self, noise: Tensor) -> Tensor:
        """The latents to begin with, from noise alone."""
        spread = self.sampler.spread and self.sampling.timestep_spacing != "leading"
        return noise * self.legs[0].start.noise if spread else noise

    def start_from(self, clean: Tensor, noise: Tensor) -> Tensor:
        """The same from a picture's latents, which `strength` leaves something of."""
        return self.legs[0].start.signal * clean + self.legs[0].start.noise * noise


@dataclass(frozen=True)
class Scheduler:
    """How a checkpoint was trained and is to be sampled."""

    schedule: Schedule = field(default_factory=Schedule)
    sampler: str | None = "ddim"
    """The file's own; None where it is none of ours, so that one must be asked for."""
    given: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """The keys as they were read; other samplers than the file's obey those that are theirs."""

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Scheduler:
        """Of the keys of the file. Raises CheckpointError, one line, for a training that cannot be obeyed."""
        name = CLASSES.get(str(raw.get("_class_name")))
        given = {key: value for key, value in raw.items() if value is not None}
        if name == "pndm":  # a file that says nothing means it; other samplers' files leave it to us
            given.setdefault("skip_prk_steps", False)
        if given.get("prediction_type") == "original_sample":  # Euler's other word
            given["prediction_type"] = "sample"
        trained = [part.name for part in fields(Schedule)]
        known = {*trained, *SAYS_NOTHING, *(part.name for part in fields(Sampling))}
        known |= {key for table in SAMPLERS.values() for key in table.only}
        strange = [key for key in given if key not in known and not key.startswith("_")]
        if strange:
            note(f"{WHAT} have keys that are not known here: {', '.join(strange)}")
        schedule: Schedule = _revived(Schedule, {**(SAMPLERS[name].schedule if name else {}), **_only(given, trained)})
        betas, count = schedule.trained_betas, schedule.num_train_timesteps
        if betas is not None and len(betas) != count:
            raise CheckpointError(
                f"{WHAT}: trained_betas has {len(betas):,} values, expected num_train_timesteps, {count:,}"
            )
        return cls(schedule, name, given)

    def raw(self) -> dict[str, Any]:
        """The same as scheduler_config.json: what was read, and all that changes numbers, written out."""
        own = {part.name: getattr(self.schedule, part.name) for part in fields(Schedule)}
        if self.sampler is not None:
            sampling, table = self.sampling(), SAMPLERS[self.sampler]
            own |= {key: getattr(sampling, key) for key in table.keys if key != "eta"}
            own["_class_name"] = table.class_name
        own = {key: list(value) if isinstance(value, tuple) else value for key, value in own.items()}
        return {**self.given, **{key: value for key, value in own.items() if value is not None}}

    def sampling(self, sampler: str | None = None) -> Sampling:
        """How a sampler (None: the file's own) goes. Raises ConfigError or CheckpointError for what it cannot."""
        name = sampler or self.sampler
        if name is None:
            got = f"_class_name is {shown(self.given.get('_class_name'))}, which is not done here"
            raise CheckpointError(f"{WHAT}: {got}; choose a sampler: {', '.join(SAMPLERS)}")
        if name not in SAMPLERS:
            raise ConfigError(f'sampler "{name}" is not known{nearest(name, SAMPLERS)}')
        table, given = SAMPLERS[name], self.given
        for key, allowed in table.only.items():
            if given.get(key) is not None and given[key] not in allowed:
                got = f"{key} is {shown(given[key])}, which {name} does not do here (expected {allowed[0]})"
                raise CheckpointError(f"{WHAT}: {got}; choose another sampler")
        if self.schedule.prediction_type not in table.predictions:
            got = f"{name} cannot sample from a network that predicts {self.schedule.prediction_type}"
            raise ConfigError(
                f"{got}; choose {_others(lambda other: self.schedule.prediction_type in other.predictions)}"
            )
        if self.schedule.rescale_betas_zero_snr and not table.pure:
            got = f"{name} cannot begin with pure noise (rescale_betas_zero_snr)"
            raise ConfigError(f"{got}; choose {_others(lambda other: other.pure)}")
        keys = {**table.defaults, **_only(given, table.keys)}
        sampling: Sampling = _revived(Sampling, keys)
        if sampling.solver_order not in table.orders:
            raise CheckpointError(f"{WHAT}: solver_order is {sampling.solver_order}, but {name} has {table.orders}")
        if sampling.use_karras_sigmas and sampling.use_exponential_sigmas:
            raise CheckpointError(f"{WHAT}: use_karras_sigmas and use_exponential_sigmas exclude each other")
        return sampling

    def plan(
        self,
        steps: int,
        *,
        sampler: str | None = None,
        spacing: str | None = None,
        eta: float = 0.0,
        strength: float = 1.0,
    ) -> Plan:
        """What to do in `steps` steps.

        spacing: one of SPACINGS, None for the file's or the sampler's own; eta: fresh noise of DDIM in 0..1; strength:
        how much of the way a picture to begin with is taken back, in (0, 1]. Raises ConfigError.
        """
        sampling, schedule = replace(self.sampling(sampler), eta=eta), self.schedule
        table = SAMPLERS[name := str(sampler or self.sampler)]
        if not 0 <= eta <= 1 or (eta and "eta" not in table.keys):
            raise ConfigError(f"eta ({eta:g}) must be in [0, 1], and is of ddim alone")
        if not 1 <= steps <= schedule.times:
            raise ConfigError(f"steps ({steps:,}) must be in [1, {schedule.times:,}], the times of the training")
        if spacing is not None:
            sampling = _spaced(sampling, name, spacing)
        if not 0 < strength <= 1 or int(steps * strength) == 0:
            least = f"at least {1 / steps:.2g} with {steps} steps" if 0 < strength < 1 else "in (0, 1]"
            raise ConfigError(f"strength ({strength:g}) must be {least}")
        skipped = (steps - int(steps * strength)) * table.evaluations
        legs = table.walk(schedule, sampling, steps, skipped)
        schedule.refuse_unreadable([leg.at for leg in legs])
        return Plan(schedule, table, sampling, len(legs) + skipped, legs)


def _others(can: typing.Callable[[Sampler], bool]) -> str:
    return ", ".join(name for name, sampler in SAMPLERS.items() if can(sampler))


def _only(given: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: given[key] for key in keys if given.get(key) is not None}


def _revived(kind: type, keys: dict[str, Any]) -> Any:
    if message := fault(keys, kind):
        raise CheckpointError(f"{WHAT}: {message}")
    return revive(kind, keys)


def _spaced(sampling: Sampling, name: str, spacing: str) -> Sampling:
    if spacing not in SPACINGS:
        raise ConfigError(f'spacing "{spacing}" is not known{nearest(spacing, SPACINGS)}')
    key = f"use_{spacing}_sigmas"
    keys = SAMPLERS[name].keys
    if "timestep_spacing" not in keys:
        raise ConfigError(f"{name} has a spacing of its own; leave out spacing {spacing}")
    changes: dict[str, Any] = {"use_karras_sigmas": False, "use_exponential_sigmas": False}
    if spacing in SPACINGS[:3]:
        return replace(sampling, timestep_spacing=spacing, **changes)  # type: ignore[arg-type]
    if key not in keys:
        raise ConfigError(f"{name} has no {spacing} spacing; choose {_others(lambda other: key in other.keys)}")
    return replace(sampling, **{**changes, key: True})
