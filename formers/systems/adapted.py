"""Any task with few weights that learn: what it saves is an adapter, a small folder that names the model it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from formers.adapters.config import AdapterConfig, adapt
from formers.files import Content, as_json
from formers.models.heads import HEADS
from formers.pretrained.files import GENERATION
from formers.pretrained.load import model_class
from formers.pretrained.peft.adapters import family_of, layout, save_adapter
from formers.pretrained.peft.heads import head_parts
from formers.systems.embedding_tasks import EmbeddingTask
from formers.systems.instruct import InstructTask
from formers.systems.language_tasks import LanguageTask
from formers.systems.preferences import PreferenceTask
from formers.training.task import Batches, Evaluation, Loss, Task


class AdaptedTask:
    """A task whose model was adapted; learns, is judged and shown as before."""

    def __init__(self, task: Task, *, kind: str, base: str, family: str) -> None:
        """kind: lora, bitfit or head; base: the model that was adapted; family: whose names the files use."""
        self.task, self.model = task, task.model
        self.kind, self.base, self.family = kind, base, family

    def loss(self, batch: Any) -> Loss:
        return self.task.loss(batch)

    def evaluate(self) -> Evaluation | Mapping[str, float]:
        return self.task.evaluate()

    def sample(self) -> Sequence[tuple[str, str | bytes]]:
        return self.task.sample()

    def save(self, folder: Path) -> None:
        save_adapter(folder, self.model, base=self.base, kind=self.kind, family=self.family, extra=beside(self.task))

    def set_recompute(self) -> None:
        self.task.set_recompute()


def beside(task: Task) -> dict[str, Content]:
    """What a task settles besides weights: how conversations are written, where a text ends, how a vector is made."""
    if isinstance(task, EmbeddingTask):
        return task.beside()
    if not isinstance(task, LanguageTask | InstructTask | PreferenceTask):
        return {}
    language = task.language
    files: dict[str, Content] = {GENERATION: as_json(language.settings.raw())}
    return files if language.template is None else {**files, **language.template.files()}


def adapted(
    prepared: tuple[Task, Batches, list[str]], config: AdapterConfig, *, place: Path, base: str, seed: int
) -> tuple[AdaptedTask, Batches, list[str]]:
    """A prepared task with its model frozen but for what `config` says; place: where the model was read."""
    task, batches, report = prepared
    family = layout(task.model, family_of(place)).model_type
    encoder = isinstance(task.model, HEADS)
    whole = head_parts(task.model, same=type(task.model) is model_class(place)) if encoder else ()
    line = adapt(task.model, config, seed, whole=whole)
    return AdaptedTask(task, kind=config.kind, base=base, family=family), batches, [*report, line]
