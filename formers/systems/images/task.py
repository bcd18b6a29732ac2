"""Learning to label pictures: any body of vision with a head, from the beginning or from a checkpoint.

picture -> random changes, mixing -> PictureClassifier -> logits -> cross-entropy | binary cross-entropy
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import torch
from numpy.typing import NDArray

from formers.data.labels import Labels, learn_labels
from formers.data.picture_report import picture_lines
from formers.errors import ConfigError
from formers.fields import Between, Count, Part, check
from formers.models.clip import width_of
from formers.models.picture_classifier import PictureClassifier, PictureHeadConfig
from formers.models.resnet import ResNet
from formers.models.vit import ViT
from formers.pretrained.loaded import Loaded
from formers.systems.begin import Beginning, Prepared, on_device
from formers.systems.images.data import PictureBatch, PictureBatches
from formers.systems.images.system import PictureModel
from formers.systems.labelling import LABELS, LabelLearning, summed_loss
from formers.systems.picture_bodies import begun_body, freeze, new_preprocessor, used
from formers.training.task import Loss

SAMPLES = 3  # pictures of the validation data that are shown


@dataclass(frozen=True, kw_only=True)
class ImagesConfig:
    """What is learned of a picture, and how."""

    labels: Annotated[LabelLearning, Part()] = LABELS
    """How labels are learned."""
    mixup: Annotated[float, Between(0)] = 0.0
    """Pictures are mixed with others of their batch, in shares from Beta(mixup, mixup), such as 0.2 (0: not)."""
    cutmix: Annotated[float, Between(0)] = 0.0
    """A rectangle of another picture is put in, of an area from Beta(cutmix, cutmix), such as 1 (0: not)."""
    freeze: Count = 0
    """How many of the lowest blocks do not learn, and what is below them (0: all learn; all: the head alone learns)."""
    samples: tuple[str, ...] = ()
    """Files of pictures to classify now and then while training; empty: some of the validation data."""

    def __post_init__(self) -> None:
        check(self, "task")


class ImagesTask:
    """What the trainer sees: the loss of the labels, and scores on held-out pictures."""

    def __init__(
        self,
        pictures: PictureModel,
        validation: PictureBatches,
        config: ImagesConfig,
        weights: NDArray[Any] | None = None,
        *,
        frozen: bool = False,
    ) -> None:
        """weights: how much each label counts; None: all the same; frozen: whether the head alone learns."""
        self.pictures, self.validation, self.config = pictures, validation, config
        self.model, self.save = pictures.head, pictures.save
        self.evaluate, self.frozen = partial(pictures.evaluate, validation), frozen
        self.format = torch.channels_last if isinstance(self.model.body, ResNet) else torch.contiguous_format
        self.model.to(memory_format=self.format)  # type: ignore[call-overload]
        self.weights = None if weights is None else torch.tensor(weights, dtype=torch.float32, device=pictures.device)

    def loss(self, batch: PictureBatch) -> Loss:
        """Summed over the pictures (of several labels, over these too); a weighted one counts as its weight."""
        read = batch.pictures.to(self.pictures.device)
        if read.ndim == 4:
            read = read.contiguous(memory_format=self.format)
            with used(self.model.body) if self.frozen else nullcontext():
                read = self.model.read(read)
        total, count = summed_loss(
            self.pictures.kind,
            self.model.label(read).float(),
            batch.labels.to(self.pictures.device),
            weights=self.weights,
            smoothing=self.config.labels.label_smoothing,
        )
        return Loss(total, count, {"pictures": len(read)})

    def sample(self) -> Sequence[tuple[str, str]]:
        """Pictures with their likeliest labels."""
        from formers.systems.pictures import Pictures

        if self.config.samples:
            named = [picture for group in Pictures.of_files(self.config.samples) for picture in group]
        else:
            table = self.validation.table
            named = [(table.where(row), table.image(row)) for row in range(min(SAMPLES, len(table)))]
        rows = self.pictures.classify([image for _, image in named])
        return [
            (name, self.pictures.likeliest(name, row, 3, alone=True).line().replace("\t", ", "))
            for (name, _), row in zip(named, rows, strict=True)
        ]

    def set_recompute(self) -> None:
        if not isinstance(self.model.body, ViT):
            raise ConfigError("train.recompute is for transformers, but this is a residual network; set it to false")
        self.model.body.stack.recompute = True


def prepare(beginning: Beginning) -> Prepared:
    """Labelled pictures, model and task of a recipe, and the lines of the report on them."""
    rows, config, source = beginning.rows, beginning.task, beginning.source
    table, held_out = beginning.tables()
    loaded = None if beginning.start is None else beginning.loaded()
    learned = loaded.model.config.labels if loaded and isinstance(loaded.model, PictureClassifier) else ()
    labels = learn_labels(table.table, rows.label, config.labels.kind, known=learned, separator=rows.separator)
    if labels.kind == "number":
        what = f'the column "{rows.label}" holds numbers with fractions, expected labels'
        raise ConfigError(f"{what}; choose another with --set rows.label=COLUMN")
    body, preprocessor, size = begun_body(
        beginning.sizes, loaded, lambda side: new_preprocessor(side, table, rows.pictures)
    )
    model, head = with_head(loaded, body, labels)
    frozen = freeze(body, config.freeze)
    batches = PictureBatches(
        table, preprocessor, rows, labels, seed=source.seed, mixup=config.mixup, cutmix=config.cutmix
    )
    validation = PictureBatches(held_out, preprocessor, rows, labels, seed=source.seed)
    weights = config.labels.weights(labels, batches.labels)
    pictures, train = PictureModel(on_device(model), preprocessor), beginning.sections["train"]
    adapters = beginning.sections["adapter"].kind != "none"  # which learn in the body
    if whole := not adapters and not any(weight.requires_grad for weight in body.parameters()):
        validation.order.once = lambda inputs: torch.cat(list(pictures.outputs(inputs, pictures.head.read)))
        mixing = "pictures are mixed" if config.mixup or config.cutmix else ""
        anew = mixing or rows.pictures.anew(train, len(table), 2 * width_of(body.config))
        if not anew:
            batches.order.once = validation.order.once
        frozen = [f"{frozen[0]}, of vectors that are computed {f'in each step ({anew})' if anew else 'once'}"]
    task = ImagesTask(pictures, validation, config, weights, frozen=whole)
    lines = [
        f"training data: {table.described}",
        f"examples: {len(table):,}",
        *picture_lines(table, held_out, label=rows.label, separator=rows.separator),
        *config.labels.lines(labels, batches.labels),
        f"validation: {held_out.name}, {len(held_out):,} examples",
        size,
        head,
        *frozen,
    ]
    return beginning.prepared(task, batches, lines, batch=f"{rows.pictures.batch:,} pictures")


def with_head(loaded: Loaded | None, body: ViT | ResNet, labels: Labels) -> tuple[PictureClassifier, str]:
    """The classifier on a body, and in words where its head is from: the checkpoint's where it has these labels."""
    wanted: dict[str, Any] = {"body": body.config, "labels": labels.names, "kind": labels.kind}
    old = None if loaded is None else loaded.model
    if isinstance(old, PictureClassifier):
        config = replace(old.config, **wanted)
    else:
        twice = loaded is not None and loaded.family.startswith("dinov2")  # its heads read the patches' mean too
        config = PictureHeadConfig(pooling="first_and_mean" if twice else "pool", **wanted)
    model = PictureClassifier(config)
    model.body = body
    if isinstance(old, PictureClassifier) and (old.config.labels, old.config.kind) == (labels.names, labels.kind):
        model.out.load_state_dict(old.out.state_dict())
        return model, f"the checkpoint's head of {len(labels.names)} label(s) kept"
    return model, f"a new head of {len(labels.names)} label(s)"
