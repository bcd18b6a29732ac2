"""Any task with few weights that learn: what it saves is an adapter, a small folder that names the model it changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from formers.adapters.config import AdapterConfig, adapt
from formers.errors import ConfigError
from formers.files import Content
from formers.models.heads import HEADS
from formers.pretrained.files import write_folder
from formers.pretrained.load import model_class
from formers.pretrained.peft.adapters import base_file, family_of, layout, save_adapter
from formers.pretrained.peft.heads import head_parts
from formers.systems.begin import Prepared
from formers.training.task import Evaluation, Loss, Task


class AdaptedTask:
    """A task whose model was adapted; learns, is judged and shown as before."""

    def __init__(self, task: Task, save: Callable[[Path], object]) -> None:
        """save: writes what was learned, and the name of the model that it belongs to."""
        self.task, self.model, self.save_few = task, task.model, save

    def loss(self, batch: Any) -> Loss:
        return self.task.loss(batch)

    def evaluate(self) -> Evaluation:
        return self.task.evaluate()

    def sample(self) -> Sequence[tuple[str, str | bytes]]:
        return self.task.sample()

    def save(self, folder: Path) -> None:
        self.save_few(folder)

    def set_recompute(self) -> None:
        self.task.set_recompute()


def adapted(prepared: Prepared, config: AdapterConfig, *, place: Path, base: str, seed: int) -> Prepared:
    """A prepared task with its model frozen but for what `config` says; place: where the model was read; base: what
    names it."""
    task, files = prepared.task, prepared.lora_files
    save: Callable[[Path], object]
    whole: Sequence[str] = ()
    if files is None:
        family = layout(task.model, family_of(place)).model_type
        encoder = isinstance(task.model, HEADS)
        whole = head_parts(task.model, same=type(task.model) is model_class(place)) if encoder else ()
        save = partial(save_peft, task.model, prepared.beside, base=base, kind=config.kind, family=family)
    elif config.kind == "lora":
        save = partial(save_lora, files, base)
    else:
        raise ConfigError(f'adapter.kind "{config.kind}" has no form of file for this model; set it to "lora"')
    line = adapt(task.model, config, seed, whole=whole)
    return replace(prepared, task=AdaptedTask(task, save), report=[*prepared.report, line])


def save_peft(model: nn.Module, beside: Callable[[], Mapping[str, Content]], folder: Path, **about: str) -> None:
    save_adapter(folder, model, extra=beside(), **about)


def save_lora(files: Callable[[], Mapping[str, Content]], base: str, folder: Path) -> None:
    write_folder(folder, {**files(), **base_file(base)})
