"""Learning to paint: new networks or a checkpoint's, in pixels or in the latents of an autoencoder.

picture -> latents, noise at a random time -> UNet, which reads the caption -> squared error of what it was to say
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from formers.adapters.lora import LowRank, adapters
from formers.data.picture_report import picture_lines
from formers.diffusion.times import ALL_ALIKE, Times
from formers.errors import ConfigError
from formers.fields import Between, Count, Natural, Part, check
from formers.files import Content
from formers.models.clip import CLIP, TextTower
from formers.models.diffusion import LatentDiffusion
from formers.models.unet import UNet
from formers.pretrained.diffusers_folder import DiffusionParts
from formers.pretrained.load import load_model
from formers.pretrained.peft.diffusion_lora import diffusion_lora_files
from formers.systems.begin import Beginning, Prepared, on_device
from formers.systems.memory import new_model
from formers.systems.painting.data import PaintingBatch, PaintingBatches
from formers.systems.painting.few_steps import NOT_DISTILLED, Distillation, FewStepsTask, for_few_steps
from formers.systems.painting.many import SamplerOptions, paint_prompts
from formers.systems.painting.paint import USUAL, channels_of
from formers.systems.painting.system import Painter, open_painter
from formers.systems.picture_looks import as_bytes
from formers.systems.system import Report, cost
from formers.text.clip_tokenizer import train_clip
from formers.text.open import load_tokenizer
from formers.text.tokenizer import Tokenizer
from formers.training.task import Loss


@dataclass(frozen=True, kw_only=True)
class PaintingConfig:
    """What is learned, and what is painted meanwhile."""

    empty: Annotated[float, Between(0, 1)] = 0.1
    """Share of the captions that are left out, so that guidance has something to lead away from."""
    times: Annotated[Times, Part()] = ALL_ALIKE
    """Which times it learns at."""
    min_snr: Annotated[float, Between(0)] = 0.0
    """Times with little noise count less: their weight is capped as if signal to noise were this, such as 5 (Hang et
    al. 2023; 0: all times count alike)."""
    learn_text: bool = False
    """The checkpoint's tower of texts learns too (a new one always does, one of [parts] never)."""
    samples: tuple[str, ...] = ()
    """Prompts that are painted while training (empty: captions of the validation data)."""
    steps: Natural = 20
    """Steps of these pictures."""
    guidance: Annotated[float, Between(0)] = 3.0
    """How strongly they follow their prompts."""
    sheet: Count = 8
    """How many of them, one of each prompt in turn."""
    distillation: Annotated[Distillation, Part()] = NOT_DISTILLED
    """How a painter of many steps becomes one of few."""

    def __post_init__(self) -> None:
        check(self, "task")


class PaintingTask:
    """What the trainer sees: the squared error of a batch, the same on held-out pictures, pictures to look at."""

    def __init__(
        self, painter: Painter, validation: PaintingBatches, config: PaintingConfig, *, learn_text: bool
    ) -> None:
        self.painter, self.validation, self.config = painter, validation, config
        self.schedule, self.learn_text = painter.scheduler.schedule, learn_text
        parts = painter.parts
        for frozen in (parts.vae, None if learn_text else parts.text):
            if frozen is not None:
                frozen.requires_grad_(False).eval()
        self.model = LatentDiffusion(parts.unet, None, parts.text if learn_text else None)

    def read(self, batch: PaintingBatch) -> tuple[Tensor, Tensor, Tensor | None]:
        """The clean latents of a batch, its noise, and what the UNet reads of its captions."""
        painter, device = self.painter, self.painter.device
        pictures = batch.pictures.to(device)
        if self.validation.order.once is None:
            pictures = painter.moments(pictures)
        memory = None if batch.tokens is None else self.memory(batch.tokens.to(device))
        return painter.drawn(pictures, batch.drawn.to(device)), batch.noise.to(device), memory

    def errors(self, batch: PaintingBatch) -> tuple[Tensor, Tensor]:
        """(rows,): the mean squared error of each picture, and its weight."""
        (clean, noise, memory), times = self.read(batch), batch.times.to(self.painter.device)
        answer = self.model.unet(self.schedule.noised(clean, noise, times), times, memory).float()
        errors = (answer - self.schedule.target(clean, noise, times)).square().flatten(1).mean(1)
        gamma = self.config.min_snr
        return errors, self.schedule.weights(times, gamma) if gamma else torch.ones_like(errors)

    def memory(self, tokens: Tensor) -> Tensor | None:
        text = self.painter.parts.text
        if text is None:
            return None
        with torch.set_grad_enabled(self.learn_text and torch.is_grad_enabled()):
            return text.hidden(tokens)

    def loss(self, batch: PaintingBatch) -> Loss:
        """Summed over pictures."""
        errors, weights = self.errors(batch)
        parts: dict[str, Any] = {"pictures": len(errors)}
        if self.config.min_snr:
            parts["error"] = errors.detach().sum()
        return Loss((errors * weights).sum(), len(errors), parts)

    @torch.no_grad()
    def evaluate(self) -> Report:
        """The mean squared error, all times weighed alike, each picture at its own time with its own noise."""
        errors = torch.cat([self.errors(batch)[0] for batch in self.validation.judged()])
        return Report([cost("loss", float(errors.double().mean()), "")], facts={"pictures": len(errors)})

    def sample(self) -> Sequence[tuple[str, str | bytes]]:
        """A sheet of pictures, each of its prompt and with its own seed."""
        from formers.pictures.sheet import draw_sheet

        captions = list(dict.fromkeys(self.config.samples or self.validation.captions)) or [""]
        prompts = [captions[number % len(captions)] for number in range(self.config.sheet)]
        if not prompts:
            return []
        draw_sheet([*as_bytes(self.painted(prompts))], prompts).savefig(content := io.BytesIO(), format="png")
        return [(" | ".join(dict.fromkeys(prompts)), content.getvalue())]

    def painted(self, prompts: Sequence[str]) -> Tensor:
        """(prompts, channels, height, width) in 0 to 1: pictures of prompts, seeds 0, 1, ..."""
        options = SamplerOptions(steps=self.config.steps, guidance=self.config.guidance, seed=0)
        return torch.cat([*paint_prompts(self.painter, prompts, options, side=self.validation.shape[-1])])

    def save(self, folder: Path) -> None:
        self.painter.save(folder)

    def lora_files(self) -> dict[str, Content]:
        """What LoRA learned, in the form of diffusers."""
        names, models = {"unet": "unet", "text": "text_encoder"}, dict(self.painter.parts.models())
        parts: dict[str, dict[str, LowRank]] = {}
        for place, part in adapters(self.model)["default"].items():
            owner, _, name = place.partition(".")
            parts.setdefault(names[owner], {})[name] = part
        return diffusion_lora_files(models, parts)

    def set_recompute(self) -> None:
        raise ConfigError("train.recompute is for transformers, but this is a UNet; lower rows.batch and raise "
                          "train.accumulate instead")  # fmt: skip


# ---- a recipe's ---------------------------------------------------------------------------------------------


def prepare(beginning: Beginning) -> Prepared:
    """Pictures, networks and task of a recipe, and the lines of the report on them."""
    rows, config, source, sizes = beginning.rows, beginning.task, beginning.source, beginning.sizes
    table, held_out = beginning.tables()
    if beginning.start is not None:
        painter, learn_text, words = started(beginning)
        side = sizes.height or painter.side or USUAL
    else:
        painter, learn_text, words = new_painter(beginning, lambda: rows.captions(table))
        side = sizes.side
    if config.distillation.few_steps:
        painter = for_few_steps(beginning, painter)
        words.append(config.distillation.line)
    check_pictures(painter, side, rows.grey, bool(rows.text))
    batches, validation = (
        PaintingBatches(part, painter, rows, side, empty=config.empty, times=config.times, seed=source.seed)
        for part in (table, held_out)
    )
    task: Any = PaintingTask(painter, validation, config, learn_text=learn_text)
    if painter.parts.vae is not None:
        words.append(keep_latents(painter, batches, validation, beginning.sections["train"]))
    if config.distillation.few_steps:
        task = FewStepsTask(task, config.distillation)
    lines = [
        f"training data: {table.described}",
        f"examples: {len(table):,}",
        *picture_lines(table, held_out),
        *batches.lines(),
        f"validation: {held_out.name}, {len(held_out):,} examples",
        *words,
    ]
    prepared = beginning.prepared(
        task, batches, lines, painter.parts.tokenizer, batch=f"{rows.pictures.batch:,} pictures"
    )
    return replace(prepared, lora_files=task.lora_files)


def started(beginning: Beginning) -> tuple[Painter, bool, list[str]]:
    """A checkpoint's painter, whether its tower of texts learns, and both in words."""
    name, model = beginning.sizes.start, (loaded := beginning.loaded()).model
    if not isinstance(model, LatentDiffusion):
        raise ConfigError(f"{name} is a {type(model).__name__}, expected a folder of diffusers (model_index.json)")
    if beginning.parts:
        raise ConfigError(f"{name} has all its parts; leave out [parts], or model.start")
    unet = model.unet.config
    if unet.channels != unet.out_channels or unet.guidance_dim or unet.classes:
        raise ConfigError(f"the unet of {name} reads more than latents and a text, which is not trained here")
    painter, learn = open_painter(loaded), beginning.task.learn_text and model.text is not None
    on_device(painter.model)
    words = "; its tower of texts learns too" if learn else ""
    return painter, learn, [f"starts from {name}, which says {painter.scheduler.schedule.prediction_type}{words}"]


def new_painter(beginning: Beginning, captions: Callable[[], list[str]]) -> tuple[Painter, bool, list[str]]:
    """A new UNet with the parts that [parts] names, whether its tower of texts is new too, and both in words."""
    sizes, rows = beginning.sizes, beginning.rows
    vae = loaded_part(beginning, "vae")
    text, tokenizer, learn = None, None, False
    if "text" in beginning.parts:
        text, tokenizer = read_tower(beginning)
    elif rows.text:
        tokenizer = beginning.tokenizer(lambda: train_clip(captions(), rows.vocab), files="tokenizer.json")
        text, learn = new_model(TextTower, sizes.text(tokenizer.vocab, tokenizer.eos)), True
    channels = vae.config.latent_channels if vae is not None else 1 if rows.grey else 3
    rest = sizes.side if vae is None else sizes.side // vae.config.factor
    config = sizes.unet(channels, rest, None if text is None else text.config.stack.dim)
    scheduler = sizes.scheduler().raw()
    parts = DiffusionParts(unet=new_model(UNet, config), vae=vae, text=text, tokenizer=tokenizer, scheduler=scheduler)
    painter = Painter(parts)
    on_device(painter.model)
    on = f"latents of {channels} x {rest} x {rest}" if vae is not None else "pixels"
    reads = "a new tower of texts" if learn else "a tower of texts as it is" if text is not None else "no texts"
    words = f"a new UNet on {on} of pictures of {sizes.side} x {sizes.side} pixels, with {reads}"
    return painter, learn, [f"{words}; it says {scheduler['prediction_type']}"]


def loaded_part(beginning: Beginning, name: str) -> Any:
    """The model of a part; None where none is named."""
    return load_model(beginning.parts[name]).model if name in beginning.parts else None


def read_tower(beginning: Beginning) -> tuple[TextTower, Tokenizer]:
    """The tower of texts of [parts], without the map onto vectors of a CLIP, and its tokenizer."""
    loaded = load_model(beginning.parts["text"])
    whole: Any = loaded.model.text if isinstance(loaded.model, CLIP) else loaded.model
    beside = loaded.folder.parent / "tokenizer"  # of the text_encoder of a folder of diffusers
    tokenizer = loaded.tokenizer or (load_tokenizer(beside, loaded.config) if beside.is_dir() else None)
    if tokenizer is None:
        raise ConfigError(f"parts.text: {loaded.folder} has no tokenizer files; put tokenizer.json there")
    if tokenizer.bos is None or tokenizer.eos is None:
        what = f"parts.text: the tokenizer of {loaded.folder} marks no beginning and end of a text"
        raise ConfigError(f"{what}, as that of a painter has to; train the tower with rows.tokenizer clip")
    if not beginning.rows.text:
        raise ConfigError(
            "parts.text reads captions, but rows.text is empty: name their column, or leave out parts.text"
        )
    tower = TextTower(replace(whole.config, projection=0))
    tower.load_state_dict({key: value for key, value in whole.state_dict().items() if not key.startswith("project.")})
    return tower, tokenizer


def check_pictures(painter: Painter, side: int, grey: bool, captioned: bool) -> None:
    """Raises ConfigError for pictures or captions that these networks do not read."""
    parts, factor = painter.parts, painter.factor
    if side % factor:
        near = max(1, round(side / factor)) * factor
        raise ConfigError(
            f"model.height ({side}) must be a multiple of {factor}, the pixels of a latent, such as {near}"
        )
    channels = channels_of(painter)
    if channels != (1 if grey else 3):
        word = "grey" if channels == 1 else "coloured"
        raise ConfigError(f"these networks paint {word} pictures: set rows.grey={str(channels == 1).lower()}")
    if captioned != (parts.text is not None):
        need = "reads no captions: set rows.text to an empty text" if captioned else "reads captions: name rows.text"
        raise ConfigError(f"this model {need}")


def keep_latents(painter: Painter, batches: PaintingBatches, validation: PaintingBatches, train: Any) -> str:
    """Have latents computed once where that is the same and pays. Gives the line on it."""
    count = 2 * int(torch.tensor(batches.shape).prod())
    if anew := batches.config.anew(train, len(batches), count):
        return f"latents are computed in each step ({anew})"
    for part in (batches, validation):
        part.order.once = lambda pictures: torch.cat([painter.moments(some).cpu() for some in pictures])
    return "latents are computed once"
