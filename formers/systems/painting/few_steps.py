"""Learning to paint in few steps: latent consistency distillation (Luo et al. 2023) of a painter into itself.

latents at a time -> frozen teacher, guided -> the same a grid's step nearer to the picture -> target
               \\-> student ---------------------------------------------------> clean latents, which both must agree on

What is particular:
  * The student answers c_skip * latents + c_out * (clean latents that it predicts), so that it is right at time 0.
  * Guidance is learned: the student paints without, at the strength that its teacher had.
  * The target is a running average of the student. It lies in buffers, which checkpoints hold.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from formers.diffusion.samplers import boundary
from formers.diffusion.scheduler import Scheduler
from formers.diffusion.spacing import Sampling
from formers.errors import ConfigError
from formers.fields import Between, Natural
from formers.models.unet import UNet
from formers.systems.begin import Beginning
from formers.systems.painting.data import PaintingBatch
from formers.systems.painting.system import Painter
from formers.systems.system import Report, cost
from formers.training.task import Loss

HUBER = 1e-3  # where the loss turns from a square into a line
SCALING = Sampling.timestep_scaling


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """How a painter of many steps becomes one of few."""

    few_steps: bool = False
    """Distil the painter of model.start into one that lcm paints with in 4 to 8 steps, rather than learn to paint."""
    teacher_guidance: Annotated[float, Between(0)] = 3.0
    """How closely the teacher follows captions, and so its student without any guidance."""
    teacher_steps: Natural = 50
    """Steps of the grid of times that the student learns at; it can be asked for at most so many."""
    target_average: Annotated[float, Between(0, below=1)] = 0.95
    """How much of itself the target keeps at each step."""

    @property
    def line(self) -> str:
        """Of the report."""
        teacher = f"{self.teacher_steps} steps with a guidance of {self.teacher_guidance:g}"
        return f"learns to paint in few steps (lcm) what it paints in {teacher}"


NOT_DISTILLED = Distillation()


class Student(nn.Module):
    """The UNet that learns, and beside it in buffers the average of its weights that it learns from."""

    def __init__(self, unet: UNet) -> None:
        super().__init__()
        self.unet = unet
        self.names = [name for name, _ in unet.named_parameters()]
        for number, weight in enumerate(unet.parameters()):
            self.register_buffer(f"average_{number}", weight.detach().clone())

    def averages(self) -> list[Tensor]:
        """One for each weight, in the order of the UNet's."""
        return [self.get_buffer(f"average_{number}") for number in range(len(self.names))]

    @torch.no_grad()
    def follow(self, kept: float) -> None:
        """Take the weights of now into their average."""
        torch._foreach_lerp_(self.averages(), [weight.detach() for weight in self.unet.parameters()], 1 - kept)

    @torch.no_grad()
    def average(self, *inputs: Tensor | None) -> Tensor:
        """What the averaged UNet answers."""
        weights = dict(zip(self.names, self.averages(), strict=True))
        answer: Tensor = torch.func.functional_call(self.unet, weights, inputs)
        return answer


class FewStepsTask:
    """What the trainer sees: how far the student's answers at two neighbouring times are apart."""

    def __init__(self, painting: Any, config: Distillation) -> None:
        """painting: the `PaintingTask` of the same painter, which reads batches, paints samples and saves."""
        self.painting, self.config, self.painter = painting, config, painting.painter
        self.schedule = self.painter.scheduler.schedule
        self.teacher = deepcopy(self.painter.parts.unet).requires_grad_(False).eval()
        self.model = Student(self.painter.parts.unet)
        self.stride = self.schedule.times // config.teacher_steps
        self.sample, self.save, self.set_recompute = painting.sample, painting.save, painting.set_recompute
        self.lora_files, tokens = painting.lora_files, painting.validation.tokens
        self.nothing = None if tokens is None else painting.memory(tokens[-1:].to(self.painter.device))

    def loss(self, batch: PaintingBatch) -> Loss:
        """Pseudo-Huber, the mean over the numbers of a picture, summed over pictures."""
        if self.model.training:
            self.model.follow(self.config.target_average)
        errors = self.errors(batch)
        return Loss(errors.sum(), len(errors), {"pictures": len(errors)})

    @torch.no_grad()
    def evaluate(self) -> Report:
        """The same on held-out pictures, each at its own time with its own noise."""
        errors = torch.cat([self.errors(batch) for batch in self.painting.validation.judged()])
        return Report([cost("loss", float(errors.double().mean()), "")], facts={"pictures": len(errors)})

    def errors(self, batch: PaintingBatch) -> Tensor:
        """(rows,): of each picture at the place of the grid that its time lies at."""
        clean, noise, memory = self.painting.read(batch)
        place = batch.times.to(clean.device) * self.config.teacher_steps // self.schedule.times
        start = (place + 1) * self.stride - 1
        end = (start - self.stride).clamp(min=0)
        latents = self.schedule.noised(clean, noise, start)
        nearer = self.nearer(latents, start, end, memory)
        target = self.clean(self.model.average(nearer, end, memory), nearer, end)
        answer = self.clean(self.model.unet(latents, start, memory), latents, start)
        return (((answer - target).square() + HUBER**2).sqrt() - HUBER).flatten(1).mean(1)

    @torch.no_grad()
    def nearer(self, latents: Tensor, start: Tensor, end: Tensor, memory: Tensor | None) -> Tensor:
        """Where a step of DDIM brings latents, as the guided teacher says."""
        answer = self.teacher(latents, start, memory).float()
        if self.nothing is not None and self.config.teacher_guidance > 1:
            away = self.teacher(latents, start, self.nothing.expand(len(latents), -1, -1)).float()
            answer = away + self.config.teacher_guidance * (answer - away)
        return self.schedule.noised(*self.schedule.read_at(answer, latents, start), end)

    def clean(self, prediction: Tensor, latents: Tensor, times: Tensor) -> Tensor:
        """The clean latents that a prediction means, right by itself at time 0."""
        amounts = latents.new_tensor([boundary(time, SCALING) for time in times.tolist()])
        skip, out = (part.reshape(-1, 1, 1, 1) for part in amounts.unbind(1))
        return out * self.schedule.read_at(prediction.float(), latents, times)[0] + skip * latents


def for_few_steps(beginning: Beginning, painter: Painter) -> Painter:
    """The same painter with lcm as its own sampler. Raises ConfigError for a recipe that does not distil."""
    config, times = beginning.task.distillation, painter.scheduler.schedule.times
    if beginning.start is None:
        raise ConfigError("task.few_steps distils a painter that is there: name it, --set model.start=RUN")
    if beginning.task.learn_text or beginning.sections["adapter"].kind != "none":
        raise ConfigError("task.few_steps teaches the whole UNet and nothing else: leave out learn_text and adapters")
    if config.teacher_steps > times:
        raise ConfigError(f"task.teacher_steps ({config.teacher_steps:,}) must be at most {times:,}, the trained times")
    given = {**painter.scheduler.given, "original_inference_steps": config.teacher_steps}
    scheduler = Scheduler(painter.scheduler.schedule, "lcm", given).raw()
    return Painter(replace(painter.parts, scheduler=scheduler), painter.model)
