"""Any task with few weights that learn: what it saves is an adapter, a small folder that names the model it changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from formers.adapters.config import AdapterConfig, adapt
from formers.files import Content
from formers.models.heads import HEADS
from formers.pretrained.load import model_class
from formers.pretrained.peft.adapters import family_of, layout, save_adapter
from formers.pretrained.peft.heads import head_parts
from formers.systems.begin import Prepared
from formers.training.task import Evaluation, Loss, Task


class AdaptedTask:
    """A task whose model was adapted; learns, is judged and shown as before."""

    def __init__(
        self, task: Task, *, kind: str, base: str, family: str, beside: Callable[[], Mapping[str, Content]]
    ) -> None:
        """kind: lora, bitfit or head; base: the model that was adapted; family: whose names the files use; beside:
        what the task settles besides weights.
        """
        self.task, self.model = task, task.model
        self.kind, self.base, self.family, self.beside = kind, base, family, beside

    def loss(self, batch: Any) -> Loss:
        return self.task.loss(batch)

    def evaluate(self) -> Evaluation:
        return self.task.evaluate()

    def sample(self) -> Sequence[tuple[str, str | bytes]]:
        return self.task.sample()

    def save(self, folder: Path) -> None:
        save_adapter(folder, self.model, base=self.base, kind=self.kind, family=self.family, extra=self.beside())

    def set_recompute(self) -> None:
        self.task.set_recompute()


def adapted(prepared: Prepared, config: AdapterConfig, *, place: Path, base: str, seed: int) -> Prepared:
    """A prepared task with its model frozen but for what `config` says; place: where the model was read."""
    task = prepared.task
    family = layout(task.model, family_of(place)).model_type
    encoder = isinstance(task.model, HEADS)
    whole = head_parts(task.model, same=type(task.model) is model_class(place)) if encoder else ()
    line = adapt(task.model, config, seed, whole=whole)
    few = AdaptedTask(task, kind=config.kind, base=base, family=family, beside=prepared.beside)
    return replace(prepared, task=few, report=[*prepared.report, line])
